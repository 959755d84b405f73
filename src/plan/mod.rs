//! What a host should be, what it is, and the difference.
//!
//! [`wanted`] turns a network, a node and the host's [`Facts`] into a [`HostState`]; [`diff`] turns two
//! states into a [`Plan`]. Pure: the same inputs give the same plan, so `plan`, `up`, verification and
//! undo cannot disagree.

pub mod bridge;
mod carried;
mod change;
mod diff;
#[cfg(test)]
mod diff_tests;
mod exit;
#[cfg(test)]
mod firewalld_tests;
#[cfg(test)]
mod foreign_accepts_tests;
mod full_tunnel;
mod keys;
mod multi_homed;
mod name_servers;
mod own_address;
mod path_mtu;
mod policy_routing;
mod preflight;
mod read_only;
mod restrict;
mod route_interest;
mod site_link;
mod state;
mod wanted;

pub use crate::firewall::foreign::docker::{
    DockerBridge, DockerContainer, DockerEngine, DockerNetwork, DockerNftables, GatewayMode,
};
pub use crate::firewall::foreign::{Facts, ForeignRoute, Link, WslMode};
pub use crate::firewall::{IFALIAS_PREFIX, ifalias, table_name};
pub use carried::{carried, standing_by};
pub use change::{Change, Line, Plan};
pub use diff::diff;
pub use exit::{ExitHooks, hooks as exit_hooks};
pub use full_tunnel::is_strict;
pub use keys::{Keys, Missing};
pub use multi_homed::doubt as multi_homed_doubt;
pub use name_servers::NameServers;
pub use preflight::preflight;
pub use route_interest::RouteInterest;
pub use site_link::{SiteLink, resolve as resolve_site, wrong_docker_subnets};
pub use state::{
    Backend, Carried, Device, HostState, MAIN_TABLE, Peer, PolicyRule, ROUTE_PROTOCOL, Route, RuleSelector,
};
pub use wanted::{Wanted, wanted, wanted_of};
