//! iptables' filter as its programs print it, read as data.

pub(crate) mod forward;
mod input;
pub(crate) mod save;
