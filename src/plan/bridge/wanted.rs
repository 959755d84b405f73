//! The bridges and ports that a node's `bridge` tables ask for, and what is to be said of them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::{Facts, Link};
use super::{LinkAddress, LinkState, Links};
use crate::model::{Bridge, Node, Problem};

/// Returns the links as the tables have them; what moves from ports is added where they were looked at: [`super::settle`].
pub(in super::super) fn links(node: &Node, facts: &Facts) -> Links {
    let mut links = Links::new();
    for bridge in &node.bridges {
        let name = bridge.name.to_string();
        let mut state = LinkState::bridge(bridge.stp, bridge.mtu.map(u32::from));
        let addresses = bridge.addresses.iter().copied().filter(|net| is_given_now(node, bridge, facts, net));
        state.addresses = addresses.map(LinkAddress::of).collect();
        for port in &bridge.ports {
            if facts.links.get(port).is_some_and(|link| is_ports(bridge, link)) {
                links.insert(port.clone(), Some(LinkState::port_of(&name)));
            }
        }
        links.insert(name, Some(state));
    }
    links
}

/// Says whether a bridge has an address by now. Where none of its ports is there yet, it has what is for the hosts behind it alone:
/// a prefix of the other side would hold the way to it, and an engine does not give a container a link whose prefix it has.
fn is_given_now(node: &Node, bridge: &Bridge, facts: &Facts, net: &IpNet) -> bool {
    let waits = !bridge.ports.is_empty() && bridge.ports.iter().all(|port| !facts.links.contains_key(port));
    let is_behind = |ip: &IpAddr| node.sites.iter().any(|site| site.subnet.contains(ip));
    !waits || net.prefix_len() == net.max_prefix_len() || is_behind(&net.addr())
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
                    format!(
                        "{port} is to be a port of {name}, and this host has no such interface{}",
                        waiting(node, bridge, facts)
                    ),
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
                Some(link) => found.extend(misfit(node, bridge, port, link, facts)),
            }
        }
    }
    found
}

/// Which addresses wait for a bridge's ports, in words.
fn waiting(node: &Node, bridge: &Bridge, facts: &Facts) -> String {
    let waits = |net: &&IpNet| !is_given_now(node, bridge, facts, net);
    let list: Vec<String> = bridge.addresses.iter().filter(waits).map(ToString::to_string).collect();
    if list.is_empty() { String::new() } else { format!("; {} waits for it", list.join(", ")) }
}

/// Tells where what a port has and what its bridge is to have do not fit.
fn misfit(node: &Node, bridge: &Bridge, port: &str, link: &Link, facts: &Facts) -> Option<Problem> {
    let name = bridge.name.as_str();
    let place = format!("bridge {name}");
    let of_v4 =
        |nets: &[IpNet]| -> Vec<IpNet> { nets.iter().filter(|n| n.addr().is_ipv4()).copied().collect() };
    let (has, gets) = (of_v4(&link.addresses), of_v4(&bridge.addresses));
    let fits = |gets: &[IpNet], has: &IpNet| {
        gets.iter().any(|net| net.contains(&has.addr()) && has.contains(&net.addr()))
    };
    if has.is_empty() || gets.is_empty() {
        return None;
    }
    if !has.iter().any(|net| fits(&gets, net))
        && let Some((other, net)) = node.bridges.iter().filter(|b| b.name != bridge.name).find_map(|other| {
            let of_other = of_v4(&other.addresses);
            has.iter().find(|net| fits(&of_other, net)).map(|net| (other, net))
        })
    {
        return Some(Problem::error(
            "ports-exchanged",
            place,
            format!(
                "{port} is to be a port of {name}, and has {net}, which belongs to {} by its addresses",
                other.name
            ),
            format!(
                "ports = [{port:?}] under the [[node.{}.bridge]] {}; what `ip -br address` shows says which link is on which network",
                node.name, other.name
            ),
        ));
    }
    let neighbour = has.iter().find_map(|has| {
        let given = gets.iter().find(|net| net.trunc() == has.trunc() && net.addr() != has.addr())?;
        (!gets.iter().any(|net| net.addr() == has.addr())).then_some((has, given))
    });
    if let Some((has, given)) = neighbour {
        return Some(Problem::warning(
            "bridge-address",
            place,
            format!(
                "{port} has {has}, and {name} is to have {given} in its place: whoever gave {port} its address may have given that \
                 one to somebody else"
            ),
            format!(
                "addresses = [\"{has}\"] under the [[node.{}.bridge]] {name}, where nobody keeps {} free for this host",
                node.name,
                given.addr()
            ),
        ));
    }
    let lost = facts.routes.iter().find(|route| {
        route.dst.prefix_len() == 0
            && route.device == port
            && route
                .gateway
                .is_some_and(|gateway| gateway.is_ipv4() && !gets.iter().any(|net| net.contains(&gateway)))
    })?;
    let gateway = lost.gateway?;
    Some(Problem::warning(
        "default-route-lost",
        place,
        format!(
            "the default route by {gateway} leaves by {port}, and {name}, which takes {port}, has no address beside {gateway}: the route goes"
        ),
        format!("an address beside {gateway} under the [[node.{}.bridge]] {name} keeps it", node.name),
    ))
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
