//! iptables' filter as its programs print it, read as data.

mod input;
pub(crate) mod save;
