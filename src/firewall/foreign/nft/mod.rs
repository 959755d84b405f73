//! nftables' chains of others, as nft lists them, read as data.

pub(crate) mod input;

use serde::Deserialize;

/// A chain as listed; the last three are empty for one that is reached by jumps only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct ListedChain {
    pub family: String,
    pub table: String,
    pub name: String,
    pub hook: String,
    pub policy: String,
}
