//! The firewall as data: one nft table of a network, made from its policy, and the texts it becomes.
//!
//! Apart from `plan`, because `reach` evaluates the very same rules; [`foreign`] is what others' filters do and need.

mod compile;
mod fence;
pub mod fingerprint;
#[cfg(test)]
pub(crate) mod fixture;
pub mod foreign;
pub(crate) mod hooks;
mod iptables_text;
mod nft_json;
pub mod nft_text;
mod prefixes;
mod rule;
mod surroundings;
mod tag;

pub use compile::{SiteMatch, compile};
pub use fence::{Fence, fence_name, fence_removed};
pub use hooks::{Hooks, hooks, hooks_of};
pub use nft_json::{add_elements, delete_elements, delete_table, elements, load_table};
pub use prefixes::aggregate;
pub use rule::{Action, Addresses, Chain, CtState, Family, Hook, Mark, Match, Rule, Set, Table};
pub use surroundings::{Surroundings, forwarding_v4};
pub use tag::{IFALIAS_PREFIX, ifalias, table_name};
