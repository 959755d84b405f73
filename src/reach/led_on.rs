//! What somebody outside reaches by a port that a host's owner leads on by DNAT, where no route of his does. What a `[[forward]]` leads
//! to is asked of the relay's own port.

use std::net::IpAddr;

use super::flow::Flow;
use super::place::Place;
use super::world::{NodeId, World};
use crate::firewall::foreign::forward::Does;
use crate::model::{PortRange, PortSpec};

/// Returns flows to the ports of relays that lead to where a flow goes, each with its words.
pub(super) fn ways(world: &World, flow: &Flow) -> Vec<(Flow, String)> {
    if !matches!(flow.from, Place::Internet | Place::Outside(_)) {
        return Vec::new();
    }
    let there = world.addresses(&flow.to);
    let of = |id: NodeId| {
        let name = world.name(id);
        // A gateway leads to what its site's hosts have; others know them by the site's alias.
        let is_there = |to: &IpAddr| there.contains(&world.seen_at(id, *to));
        let ports: Vec<_> = ports(world, id).into_iter().filter(|(to, ..)| is_there(to)).collect();
        ports.into_iter().filter_map(move |(_, called, inside)| {
            let called = called_for(called, inside, flow.port)?;
            let led = Flow { from: flow.from.clone(), to: Place::Node(name.clone()), port: Some(called) };
            Some((led, format!("by {called} of {name}, which leads there")))
        })
    };
    world.ids().flat_map(of).collect()
}

/// The ports of a host that its owner leads on: to which address, which is called, and which it is there.
fn ports(world: &World, id: NodeId) -> Vec<(IpAddr, PortSpec, PortSpec)> {
    let rules = world.host(id).facts.foreign.dnat.iter().flat_map(|f| f.rules.chains.values().flatten());
    rules
        .flat_map(|rule| {
            let Does::Dnat(to, port) = rule.does else { return Vec::new() };
            let (Some(protocol), Some(ports)) = (&rule.asks.protocol, &rule.asks.port) else {
                return Vec::new();
            };
            let spec = |first, last| match protocol.of.as_slice() {
                [one] if one == "tcp" => Some(PortSpec::Tcp(PortRange { first, last })),
                [one] if one == "udp" => Some(PortSpec::Udp(PortRange { first, last })),
                _ => None,
            };
            let led = |(first, last): &(u16, u16)| {
                let called = spec(*first, *last)?;
                Some((to, called, port.map_or(Some(called), |port| spec(port, port))?))
            };
            if protocol.not || ports.not { Vec::new() } else { ports.of.iter().filter_map(led).collect() }
        })
        .collect()
}

/// The port to call for one behind it; `None`: it does not lead there.
fn called_for(called: PortSpec, inside: PortSpec, asked: Option<PortSpec>) -> Option<PortSpec> {
    let (inner, wanted) = match (inside, asked) {
        (_, None) => return Some(called),
        (PortSpec::Tcp(a), Some(PortSpec::Tcp(b))) | (PortSpec::Udp(a), Some(PortSpec::Udp(b))) => (a, b),
        _ => return None,
    };
    if wanted.first < inner.first || wanted.last > inner.last {
        return None;
    }
    asked.filter(|_| called == inside).or(Some(called))
}
