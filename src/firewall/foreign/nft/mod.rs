//! nftables' chains of others, as nft lists them, read as data.

pub(crate) mod forward;
pub(crate) mod input;

use std::collections::BTreeSet;

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

/// Returns the names in quotes of a listed table: the links that its rules name are among them.
pub(crate) fn links_named_in(text: &str) -> BTreeSet<String> {
    text.split('"').skip(1).step_by(2).map(str::to_string).collect()
}
