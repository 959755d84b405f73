//! What the analysis says of a lab's questions, before a packet is sent. Pure.

use super::probe::PORT;
use super::topology::{Pair, PlaceKind, Topology};
use crate::model::{Network, PortRange, PortSpec, Timestamp, Verdict};
use crate::reach::{Flow, Place, World, place, trace};

/// The analysis' answer to one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Predicted {
    /// To a ping.
    pub ping: Verdict,
    /// To a TCP connection.
    pub tcp: Verdict,
}

/// Returns every question that a lab can ask: all that ask for all, but for themselves.
pub fn every_pair(topology: &Topology) -> Vec<Pair> {
    let asks = |kind: &PlaceKind| matches!(kind, PlaceKind::Node | PlaceKind::HostBehind(_));
    let places = || topology.places.iter().enumerate();
    places()
        .filter(|(_, a)| asks(&a.kind))
        .flat_map(|(from, a)| {
            places()
                .filter(move |(_, b)| a.space != b.space && a.address.is_ipv4() == b.address.is_ipv4())
                .map(move |(to, _)| Pair { from, to, promised: false, seen_as: None })
        })
        .collect()
}

/// Says whether whoever asks is behind a session that no keepalive holds open: until it has asked for the first time its
/// relay does not know where it is, so it has to ask last.
pub fn is_quiet(network: &Network, topology: &Topology, pair: &Pair) -> bool {
    let place = &topology.places[pair.from];
    let node = match &place.kind {
        PlaceKind::HostBehind(node) => network.nodes.get(node),
        _ => network.nodes.get(place.name.as_str()),
    };
    node.is_some_and(|n| !n.is_relay() && n.endpoint.is_none() && network.keepalive_of(n).is_none())
}

/// Answers the questions of a topology by analysis, in their order.
pub fn predict(network: &Network, topology: &Topology, now: Timestamp) -> Vec<Predicted> {
    // No engine runs in the lab, so nobody hides its containers' addresses.
    let world = World::assumed(network, now).without_docker_masquerade();
    let tcp = PortSpec::Tcp(PortRange { first: PORT, last: PORT });
    let named = |index: usize| -> Option<Place> { place(network, &topology.places[index].name).ok() };
    let verdict = |from: &Place, to: &Place, port: PortSpec| {
        trace(&world, &Flow { from: from.clone(), to: to.clone(), port: Some(port) }).verdict
    };
    topology
        .pairs
        .iter()
        .map(|pair| match (named(pair.from), named(pair.to)) {
            (Some(from), Some(to)) => {
                Predicted { ping: verdict(&from, &to, PortSpec::Icmp), tcp: verdict(&from, &to, tcp) }
            }
            _ => Predicted { ping: Verdict::Blocked, tcp: Verdict::Blocked },
        })
        .collect()
}
