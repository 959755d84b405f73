//! What `check` expects of every packet in a lab, and how that compares with what was seen. Pure.
//!
//! The prediction is made for the lab's own links and addresses: the analyser gets them as facts, nothing else of the lab.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::led;
use super::topology::{INTERNET, Place, PlaceKind, Topology};
use crate::model::{
    Network, Node, NodeName, Platform, PortRange, PortSpec, Routes, Site, Timestamp, Verdict,
};
use crate::plan::{Facts, ForeignRoute, Link};
use crate::reach::{self, Flow, Reason, Session, World, assumed_facts, trace};

/// The port that stands for all that no rule names.
const ANY_PORT: u16 = 9009;
/// How many ports at the edges of what rules name are tried, of TCP and of UDP.
const RULED_PORTS: usize = 4;
/// `RTPROT_KERNEL` and `RTPROT_BOOT`.
const KERNEL: u8 = 2;
const BOOT: u8 = 3;

/// One packet to send, and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The asking place's name.
    pub from: String,
    /// The name of the place asked for.
    pub to: String,
    /// The asking space, by its index.
    pub space: usize,
    /// Where the target is, by index.
    pub target_space: usize,
    /// What is called.
    pub target: IpAddr,
    /// With which protocol, and to which one port.
    pub port: PortSpec,
    /// Who is to answer, at which address and port: what is called, unless that leads on.
    pub listens: (IpAddr, PortSpec),
    /// What `trace` says.
    pub predicted: Verdict,
    /// Why.
    pub reason: Option<Reason>,
    /// The sessions that it may wake.
    pub wakes: Vec<Session>,
    /// The session that has to be asleep for the prediction to hold.
    pub idle: Option<Session>,
    /// Whether what is called is a node that keeps no session alive, or behind one.
    pub calls_quiet: bool,
}

/// One question with both answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Who asked.
    pub from: String,
    /// For whom.
    pub to: String,
    /// By which of its addresses.
    pub address: IpAddr,
    /// `icmp`, `tcp/9009` and the like.
    pub port: String,
    /// What `trace` says.
    pub predicted: Verdict,
    /// What the packets did.
    pub observed: Verdict,
    /// The prediction's reason.
    pub reason: Option<Reason>,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The version of this form: 1.
    pub version: u32,
    /// Every question that was asked.
    pub pairs: Vec<Compared>,
    /// Whether all predictions were right.
    pub agree: bool,
    /// How many could not be asked: in a lab that stands everybody has spoken already.
    pub left_out: usize,
}

/// Returns every question of a lab: each pair of places with an address of one family, by each protocol and ruled port.
pub fn questions(network: &Network, topology: &Topology, now: Timestamp) -> Vec<Question> {
    asked_in(&world(network, topology, now), network, topology, now)
}

/// Returns the questions that are left when a node is dead: those of the others, the hosts of its sites among them. The network is
/// the one that the others follow by then, the topology that of the lab as it was built.
pub fn questions_without(
    dead: &NodeName,
    network: &Network,
    topology: &Topology,
    now: Timestamp,
) -> Vec<Question> {
    let of_dead = |space: usize| topology.spaces[space].node.as_ref() == Some(dead);
    let mut questions = asked_in(&world(network, topology, now).with_dead(dead), network, topology, now);
    questions.retain(|q| !of_dead(q.space) && !of_dead(q.target_space));
    questions
}

fn asked_in(world: &World, network: &Network, topology: &Topology, now: Timestamp) -> Vec<Question> {
    let places = places(network, topology);
    let ports = ports(network);
    let mut out = Vec::new();
    for from in places.iter().filter(|p| matches!(p.kind, PlaceKind::Node | PlaceKind::HostBehind(_))) {
        for to in places.iter().filter(|to| asks(network, from, to)) {
            for port in ports.iter().filter(|port| !led::is_led(network, to.address, **port)) {
                let flow = Flow { from: start(from), to: end(to), port: Some(*port) };
                let traced = trace(world, &flow);
                out.push(Question {
                    from: from.name.clone(),
                    to: to.name.clone(),
                    space: from.space,
                    target_space: to.space,
                    target: topology.called(from, to),
                    port: *port,
                    listens: (to.own_address(), *port),
                    predicted: traced.verdict,
                    reason: traced.reason,
                    wakes: traced.sessions,
                    idle: traced.idle,
                    calls_quiet: is_quiet(network, &to.kind, &to.name),
                });
            }
        }
    }
    out.extend(led::questions(world, network, topology, &places, now));
    out
}

/// Puts what was seen beside what was expected; `observed` is in the order of the questions, `None`: not asked.
pub fn compare(questions: &[Question], observed: &[Option<Verdict>]) -> Comparison {
    let pairs: Vec<Compared> = questions
        .iter()
        .zip(observed)
        .filter_map(|(q, seen)| {
            Some(Compared {
                from: q.from.clone(),
                to: q.to.clone(),
                address: q.target,
                port: q.port.to_string(),
                predicted: q.predicted,
                observed: (*seen)?,
                reason: q.reason.clone(),
            })
        })
        .collect();
    let agree = pairs.iter().all(|p| p.predicted == p.observed);
    Comparison { version: 1, agree, left_out: questions.len() - pairs.len(), pairs }
}

impl Comparison {
    /// Returns the answer in a first line, then what disagrees and why another answer was expected.
    pub fn text(&self) -> String {
        let wrong: Vec<&Compared> = self.pairs.iter().filter(|p| p.predicted != p.observed).collect();
        let mut text = match wrong.len() {
            0 => format!("lab and check agree on all {} probes\n", self.pairs.len()),
            1 => format!("1 of {} probes disagrees\n", self.pairs.len()),
            n => format!("{n} of {} probes disagree\n", self.pairs.len()),
        };
        for pair in wrong {
            let (said, seen) = (word(pair.predicted), word(pair.observed));
            text += &format!(
                "{} to {} ({}) {}: check says {said}, the lab {seen}",
                pair.from, pair.to, pair.address, pair.port
            );
            if let Some(reason) = &pair.reason {
                text += &format!("\n  {} at {}: {}", reason.code, reason.node, reason.message);
            }
            text.push('\n');
        }
        if self.left_out > 0 {
            text += &format!(
                "{} left out: in a lab that stands, spokes without keepalive have spoken already\n",
                self.left_out
            );
        }
        text.trim_end().to_owned()
    }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reaches => "reaches",
        Verdict::Blocked => "blocked",
    }
}

/// Says whether a place is a node that keeps no session alive, or behind one.
pub(super) fn is_quiet(network: &Network, kind: &PlaceKind, name: &str) -> bool {
    let node = match kind {
        PlaceKind::Node | PlaceKind::SecondHome(_) => node(network, name),
        PlaceKind::HostBehind(owner) => network.nodes.get(owner),
        PlaceKind::Internet => None,
    };
    node.is_some_and(|n| !n.is_relay() && network.keepalive_of(n).is_none())
}

/// A node asks with the address that its host picks, a site's host has one.
fn start(place: &Place) -> reach::Place {
    match &place.kind {
        PlaceKind::Node | PlaceKind::SecondHome(_) => {
            place.name.parse::<NodeName>().map_or(reach::Place::Address(place.address), reach::Place::Node)
        }
        PlaceKind::HostBehind(_) => reach::Place::Address(place.address),
        PlaceKind::Internet => reach::Place::Internet,
    }
}

fn end(place: &Place) -> reach::Place {
    match place.kind {
        PlaceKind::Internet => reach::Place::Internet,
        _ => reach::Place::Address(place.address),
    }
}

/// The lab's places, and the Internet wherever anybody goes there through the network.
fn places(network: &Network, topology: &Topology) -> Vec<Place> {
    let mut places = topology.places.clone();
    for place in &topology.places {
        if place.kind == PlaceKind::Node
            && let Some(address) = node(network, &place.name).and_then(|n| n.address6)
        {
            places.push(Place { address: address.into(), ..place.clone() });
        }
    }
    let router = topology.spaces.first().and_then(|s| s.addresses.last());
    if let Some((_, address)) = router
        && !places.iter().any(|p| p.kind == PlaceKind::Internet)
    {
        let address = address.addr();
        places.push(Place {
            name: INTERNET.into(),
            kind: PlaceKind::Internet,
            space: 0,
            address,
            near: None,
        });
    }
    places
}

fn node<'n>(network: &'n Network, name: &str) -> Option<&'n Node> {
    network.nodes.values().find(|n| n.name.as_str() == name)
}

fn asks(network: &Network, from: &Place, to: &Place) -> bool {
    // A node is two places where it has two families; it asks by the one that the target has.
    if from.space == to.space || from.address.is_ipv4() != to.address.is_ipv4() {
        return false;
    }
    match (&from.kind, &to.kind) {
        (PlaceKind::Node, PlaceKind::Internet) => {
            node(network, &from.name).is_some_and(|n| !n.is_relay() && n.routes == Routes::Full)
        }
        (PlaceKind::HostBehind(owner), PlaceKind::Internet) => {
            let holds = |site: &&Site| site.prefix().contains(&from.address);
            let own: Vec<&Site> =
                network.nodes.get(owner).into_iter().flat_map(|n| &n.sites).filter(holds).collect();
            // Where its node is dead, another carries its site.
            let elsewhere = network.nodes.values().flat_map(|n| &n.sites).filter(holds);
            if own.is_empty() { elsewhere.collect() } else { own }.iter().any(|site| site.egress)
        }
        _ => true,
    }
}

/// ICMP, the port that no rule names, and some that rules do.
fn ports(network: &Network) -> Vec<PortSpec> {
    let one = |p| PortRange { first: p, last: p };
    let own: BTreeSet<u16> =
        network.nodes.values().filter_map(|n| n.endpoint.as_ref().map(|e| e.port)).collect();
    // Where a range begins, where it ends, and the first port beyond.
    let ruled = |ranges: &mut dyn Iterator<Item = PortRange>| {
        let edges = ranges.flat_map(|r| [Some(r.first), Some(r.last), r.last.checked_add(1)]);
        let edges: BTreeSet<u16> = edges.flatten().filter(|p| !own.contains(p)).collect();
        edges.into_iter().rev().take(RULED_PORTS).collect::<BTreeSet<u16>>()
    };
    let specs = || network.allow.iter().flat_map(|r| &r.ports);
    let mut tcp = ruled(&mut specs().filter_map(|p| if let PortSpec::Tcp(r) = p { Some(*r) } else { None }));
    let mut udp = ruled(&mut specs().filter_map(|p| if let PortSpec::Udp(r) = p { Some(*r) } else { None }));
    tcp.insert(ANY_PORT);
    udp.insert(ANY_PORT);
    let tcp = tcp.into_iter().map(|p| PortSpec::Tcp(one(p)));
    let udp = udp.into_iter().map(|p| PortSpec::Udp(one(p)));
    std::iter::once(PortSpec::Icmp).chain(tcp).chain(udp).collect()
}

/// The analyser's world, with the lab's links in the place of what it would assume.
fn world(network: &Network, topology: &Topology, now: Timestamp) -> World {
    // Whatever the clients of other platforms do, here every node is Linux.
    let mut linux = network.clone();
    linux
        .nodes
        .values_mut()
        .filter(|n| n.platform.binds_to_uplink())
        .for_each(|n| n.platform = Platform::Linux);
    let world = World::assumed(&linux, now).without_docker_masquerade();
    topology.spaces.iter().enumerate().fold(world, |world, (index, space)| match &space.node {
        Some(name) => match network.nodes.get(name) {
            Some(node) => world.with_facts(name, facts(network, node, topology, index)),
            None => world,
        },
        None => world,
    })
}

fn facts(network: &Network, node: &Node, topology: &Topology, index: usize) -> Facts {
    let space = &topology.spaces[index];
    let assumed = assumed_facts(network, node);
    let mut facts = Facts { resolved: assumed.resolved, ..Facts::default() };
    for switch in assumed.sysctls.keys().filter(|k| k.starts_with("net/ipv6/")) {
        facts.sysctls.insert(switch.clone(), "0".into());
    }
    let ends = topology.cables.iter().flat_map(|c| [&c.0, &c.1]).filter(|e| e.space == index);
    let plain = ends.filter(|e| e.bridge.is_none()).map(|e| (e.link.clone(), "veth"));
    let bridges = space.bridges.iter().map(|b| (b.clone(), "bridge"));
    for (name, kind) in plain.chain(bridges) {
        let of_link = space.addresses.iter().filter(|(link, _)| *link == name);
        let addresses: Vec<IpNet> = of_link.map(|(_, a)| *a).collect();
        for address in addresses.iter().filter(|a| a.prefix_len() < a.max_prefix_len()) {
            facts.routes.push(route(address.trunc(), &name, None, KERNEL));
        }
        facts.sysctls.insert(format!("net/ipv4/conf/{name}/forwarding"), "0".into());
        facts
            .links
            .insert(name, Link { kind: kind.into(), mtu: 1500, up: true, addresses, ..Link::default() });
    }
    facts.sysctls.insert(format!("net/ipv4/conf/{}/forwarding", network.name), "0".into());
    facts.routes.extend(space.routes.iter().map(|hop| route(hop.dst, &hop.link, hop.via, BOOT)));
    facts
}

fn route(dst: IpNet, device: &str, gateway: Option<IpAddr>, protocol: u8) -> ForeignRoute {
    ForeignRoute { dst, device: device.into(), gateway, protocol, mtu: None }
}
