//! Files for people and machines, made from the network: a node's `.conf`, the same as a QR code or for other programs, and a
//! systemd unit.
//!
//! Pure functions of their arguments, so that a caller may make many at once.

pub mod format;
pub mod graph;
mod hooks;
mod index_page;
mod node_conf;
pub mod qr;
pub mod unit;
mod wiped;

pub use index_page::{Entry, MOST_CODES, index_page};
pub use node_conf::{ExportError, Exported, Hooks, Keys, node_conf, node_conf_of};
