//! Files for people and machines, made from the network: a node's `.conf`, and the same as a QR code.
//!
//! Pure functions of their arguments, so that a caller may make many at once.

mod node_conf;
pub mod qr;

pub use node_conf::{ExportError, Exported, Hooks, Keys, node_conf};
