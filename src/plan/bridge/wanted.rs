//! The bridges and ports that a node's `bridge` tables ask for, and what is to be said of them.

use std::net::IpAddr;

use super::super::{Facts, Link};
use super::{LinkAddress, LinkState, Links};
use crate::model::{Bridge, Node, Problem};

/// Returns the links as the tables have them; what moves from ports is added where they were looked at: [`super::settle`].
pub(in super::super) fn links(node: &Node, facts: &Facts) -> Links {
    let mut links = Links::new();
    for bridge in &node.bridges {
        let name = bridge.name.to_string();
        let mut state = LinkState::bridge(bridge.stp, bridge.mtu.map(u32::from));
        state.addresses = bridge.addresses.iter().copied().map(LinkAddress::of).collect();
        for port in &bridge.ports {
            if facts.links.get(port).is_some_and(|link| is_ports(bridge, link)) {
                links.insert(port.clone(), Some(LinkState::port_of(&name)));
            }
        }
        links.insert(name, Some(state));
    }
    links
}

/// Says whether a link can be a port of this bridge: it is one, or of no other.
pub(super) fn is_ports(bridge: &Bridge, link: &Link) -> bool {
    link.master.as_deref().is_none_or(|master| master == bridge.name.as_str())
}

/// Tells what is in a bridge's way.
pub(in super::super) fn problems(node: &Node, facts: &Facts) -> Vec<Problem> {
    let mut found = Vec::new();
    for bridge in &node.bridges {
        let name = bridge.name.as_str();
        let place = format!("bridge {name}");
        if let Some(link) = facts.links.get(name).filter(|link| link.kind != "bridge") {
            let kind = if link.kind.is_empty() { "physical" } else { link.kind.as_str() };
            found.push(Problem::error(
                "foreign-interface",
                place.clone(),
                format!("there is an interface {name} already, of kind {kind}, and it is no bridge"),
                format!("give the bridge another name in [[node.{}.bridge]]", node.name),
            ));
        }
        for port in &bridge.ports {
            match facts.links.get(port) {
                None => found.push(Problem::warning(
                    "interface-missing",
                    place.clone(),
                    format!("{port} is to be a port of {name}, and this host has no such interface"),
                    format!(
                        "create {port} (it joins {name} when it appears and `wgrelay up` runs again), or correct `ports`"
                    ),
                )),
                Some(link) if !is_ports(bridge, link) => found.push(Problem::warning(
                    "port-taken",
                    place.clone(),
                    format!(
                        "{port} is to be a port of {name}, and belongs to {} already",
                        link.master.as_deref().unwrap_or_default()
                    ),
                    format!("`ip link set {port} nomaster`, then `wgrelay up` again; or correct `ports`"),
                )),
                Some(_) => {}
            }
        }
    }
    found
}

/// Says whether a node's bridges take links of the host as their ports.
pub fn has_ports(node: &Node) -> bool {
    node.bridges.iter().any(|bridge| !bridge.ports.is_empty())
}

/// Tells of resolvers that do not answer on a host whose links are ports: Docker's own, in a container, is asked by rules that it
/// made for the container's links as they were, and asks others by them.
pub fn silent_resolvers(node: &Node, silent: &[IpAddr]) -> Option<Problem> {
    if silent.is_empty() || !has_ports(node) {
        return None;
    }
    let list: Vec<String> = silent.iter().map(ToString::to_string).collect();
    Some(Problem::warning(
        "resolver-silent",
        "/etc/resolv.conf",
        format!(
            "the resolver {} does not answer, with links of this host as ports of bridges",
            list.join(", ")
        ),
        "name one that is reached by the default route, such as `echo nameserver 9.9.9.9 > /etc/resolv.conf`; in a \
         container, Docker's own resolver (127.0.0.11) is not to be had back before the container is started anew",
    ))
}
