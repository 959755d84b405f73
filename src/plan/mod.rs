//! What a host should be, what it is, and the difference.
//!
//! [`wanted`] turns a network, a node and the host's [`Facts`] into a [`HostState`]; [`diff`] turns two
//! states into a [`Plan`]. Pure: the same inputs give the same plan, so `plan`, `up`, verification and
//! undo cannot disagree.

mod beside;
mod change;
mod diff;
#[cfg(test)]
mod diff_tests;
mod docker;
mod docker_nftables;
mod facts;
pub mod firewall;
pub mod firewalld;
#[cfg(test)]
pub(crate) mod fixture;
pub mod foreign;
mod full_tunnel;
mod in_the_way;
pub mod input;
mod own_port;
mod site_link;
mod state;
mod two_homes;
mod wanted;

pub use change::{Change, Line, Plan};
pub use diff::diff;
pub use docker::{DockerBridge, DockerContainer, DockerEngine, DockerNetwork, DockerNftables, GatewayMode};
pub use facts::{Facts, ForeignRoute, Link, WslMode};
pub use in_the_way::in_the_way;
pub use site_link::{SiteLink, resolve as resolve_site};
pub use state::{
    Backend, Device, HostState, IFALIAS_PREFIX, MAIN_TABLE, Peer, PolicyRule, ROUTE_PROTOCOL, Route,
    RuleSelector, ifalias, table_name,
};
pub use wanted::{Keys, Wanted, wanted};
