//! How what is ours on a host is known: by names made of the network's.

use crate::model::InterfaceName;

/// What the `ifalias` of an interface of ours begins with.
pub const IFALIAS_PREFIX: &str = "wgrelay:";

/// Returns the `ifalias` that marks a network's interface as ours.
pub fn ifalias(network: &InterfaceName) -> String {
    format!("{IFALIAS_PREFIX}{network}")
}

/// Returns the name of a network's nft table, of family `inet`.
pub fn table_name(network: &InterfaceName) -> String {
    format!("wgrelay-{network}")
}
