//! A node's bridges: links that we make, and the links of the host that become their ports.
//!
//! [`LinkState`] is what such a link has by itself, wanted and observed alike; `ahead` says how a host will look once they
//! stand; [`settle`] hands over what stood on the ports.

mod ahead;
mod change;
mod link_state;
mod settle;
#[cfg(test)]
mod tests;
mod wanted;

pub use change::LinkChange;
pub use link_state::{LinkAddress, LinkRoute, LinkState, Links};
pub use settle::{either, keep_others, names, settle};
pub use wanted::{has_ports, silent_resolvers};

pub use ahead::behind;

pub(super) use ahead::ahead;
pub(super) use change::{grow, shrink};
pub(super) use wanted::{links, problems};
