//! A floating relay on one of its hosts: what it has while it carries the relay, and what it is while another one does.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::state::{Carried, HostState};
use super::{Facts, Wanted};
use crate::model::{Node, Problem};

/// Returns on which link this host is to have the floating address: where it has another one of its subnet, else where its default
/// route leads. `None`: the node has no floating address.
///
/// # Errors
/// No link here is of that subnet, and there is no default route.
pub fn carried(node: &Node, facts: &Facts) -> Option<Result<Carried, Problem>> {
    let address = node.floating?;
    let port = node.listen_port().unwrap_or(crate::model::DEFAULT_PORT);
    let is_near = |other: &IpNet| other.addr() != address.addr() && address.contains(&other.addr());
    let near =
        facts.links.iter().find(|(_, link)| link.addresses.iter().any(is_near)).map(|(name, _)| name.clone());
    let by_default = || {
        let leads = |dst: &IpNet| dst.prefix_len() == 0 && dst.addr().is_ipv4() == address.addr().is_ipv4();
        facts
            .routes
            .iter()
            .find(|route| leads(&route.dst) && !route.device.is_empty())
            .map(|route| route.device.clone())
    };
    let found = near.or_else(by_default).map(|link| Carried { address, link, port });
    Some(found.ok_or_else(|| {
        let family = if matches!(address.addr(), IpAddr::V4(_)) { "IPv4" } else { "IPv6" };
        Problem::error(
            "no-floating-link",
            format!("node {}", node.name),
            format!(
                "no link of this host has an address in {}, and it has no default route of {family}: {} cannot be carried here",
                address.trunc(),
                address.addr()
            ),
            "give a link of this host an address of its own in that subnet",
        )
    }))
}

/// Returns what this host is to be while another one carries the relay: nothing of it is here.
pub fn standing_by(node: &Node, facts: &Facts) -> Wanted {
    let problems = carried(node, facts).and_then(Result::err);
    let state = HostState { sysctls: BTreeMap::new(), ..HostState::default() };
    Wanted { state, problems: problems.into_iter().collect() }
}
