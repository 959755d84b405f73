//! What is sent all the time and must not arrive: by outsiders, and by places of the network that a policy keeps apart.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use wgrelay::lab::{Place, PlaceKind, questions};
use wgrelay::model::{NodeName, PortSpec, Routes};
use wgrelay::reach::Code;

use super::lab::Lab;
use super::outsiders::{Link, OUTSIDE4, OUTSIDE6, Outsiders};
use super::windows::{Guard, Windows};
use crate::dice::Dice;

/// How every datagram begins.
pub const MAGIC: &[u8; 8] = b"wgrstorm";
/// The port that stands for all that no rule names.
pub const PORT: u16 = 9009;
/// So many flows of each kind at most: more would be heard less often.
const EACH: usize = 48;
/// Between two rounds.
const ROUND: Duration = Duration::from_millis(10);

/// Who sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// An outsider on a link.
    Outsider(Link),
    /// A place of the network, in this space.
    Place(usize),
}

/// Datagrams from one to another.
pub struct Flow {
    /// For people.
    pub what: String,
    /// Who sends.
    pub from: From,
    /// Where it must not arrive; `None`: nowhere but on the link that it came from.
    pub at: Option<usize>,
    /// What keeps it: each of these.
    pub guards: Vec<Guard>,
    /// The address that it is sent from; `None`: the sender's own.
    own: Option<IpAddr>,
    to: IpAddr,
}

/// All of them.
pub struct Flows {
    /// By number.
    pub all: Vec<Flow>,
    sockets: Vec<UdpSocket>,
    /// How many datagrams were sent.
    pub sent: AtomicU64,
    /// Whether to stop.
    pub ended: AtomicBool,
}

/// Some of a list, by chance.
fn some<T>(mut list: Vec<T>, dice: &mut Dice) -> Vec<T> {
    while list.len() > EACH {
        let at = usize::try_from(dice.below(list.len() as u64)).unwrap();
        list.swap_remove(at);
    }
    list
}

impl Flows {
    /// Those of a lab.
    pub fn of(lab: &Lab, outsiders: &Outsiders, dice: &mut Dice) -> Self {
        let mut all = some(strangers(lab, outsiders), dice);
        all.extend(some(kept_apart(lab), dice));
        all.extend(some(kept_inside(lab), dice));
        let socket = |flow: &Flow| match (&flow.from, flow.own) {
            (From::Outsider(link), Some(own)) => outsiders.socket(lab, link, own),
            (From::Outsider(Link { node: space, .. }) | From::Place(space), _) => {
                let any = if flow.to.is_ipv6() { "::" } else { "0.0.0.0" };
                lab.inside(*space, || UdpSocket::bind((any, 0)))
            }
        };
        let sockets = all.iter().map(socket).collect();
        Self { all, sockets, sent: AtomicU64::new(0), ended: AtomicBool::new(false) }
    }

    /// Sends until told to stop.
    pub fn send(&self, windows: &Windows) {
        while !self.ended.load(Ordering::Relaxed) {
            for (number, (flow, socket)) in self.all.iter().zip(&self.sockets).enumerate() {
                let mut bytes = MAGIC.to_vec();
                bytes.extend((number as u64).to_be_bytes());
                bytes.extend(u64::try_from(windows.now().as_micros()).unwrap().to_be_bytes());
                if socket.send_to(&bytes, SocketAddr::new(flow.to, PORT)).is_ok() {
                    self.sent.fetch_add(1, Ordering::Relaxed);
                }
            }
            std::thread::sleep(ROUND);
        }
    }
}

/// Which flow a packet belongs to, and when it was sent; it begins with its IP header.
pub fn recognised(packet: &[u8]) -> Option<(usize, Duration)> {
    let header = if packet.first()? >> 4 == 6 { 40 } else { usize::from(packet[0] & 15) * 4 };
    of_payload(packet.get(header + 8..)?)
}

/// The same of a datagram's payload.
pub fn of_payload(payload: &[u8]) -> Option<(usize, Duration)> {
    let rest = payload.strip_prefix(MAGIC)?;
    let number = |at: usize| Some(u64::from_be_bytes(rest.get(at..at + 8)?.try_into().ok()?));
    Some((usize::try_from(number(0)?).ok()?, Duration::from_micros(number(8)?)))
}

/// From every link to all that is protected: addresses of nodes in the tunnel, hosts of sites, and the Internet.
fn strangers(lab: &Lab, outsiders: &Outsiders) -> Vec<Flow> {
    let mut flows = Vec::new();
    let mut targets: BTreeSet<IpAddr> = lab.topology.places.iter().map(|p| p.address).collect();
    targets.extend(lab.network.nodes.values().filter_map(|n| n.address6).map(IpAddr::from));
    let spoofed = lab.network.nodes.values().next().map(|n| IpAddr::from(n.address));
    for link in &outsiders.links {
        for target in &targets {
            let own: IpAddr = if target.is_ipv4() { OUTSIDE4 } else { OUTSIDE6 }.parse().unwrap();
            // One who says that he is a node of the network, too.
            for own in [Some(own), spoofed.filter(|s| s.is_ipv4() == target.is_ipv4())].into_iter().flatten()
            {
                let (there, node) = (&link.bridge, &lab.topology.spaces[link.node].name);
                flows.push(Flow {
                    what: format!(
                        "{own} on {} of {node} to {target}",
                        there.as_deref().unwrap_or("the uplink")
                    ),
                    from: From::Outsider(link.clone()),
                    at: None,
                    guards: vec![Guard::Beside(link.node)],
                    own: Some(own),
                    to: *target,
                });
            }
        }
    }
    flows
}

/// What `trace` says that `[[allow]]` denies.
fn kept_apart(lab: &Lab) -> Vec<Flow> {
    let mut flows = Vec::new();
    let any: PortSpec = format!("udp/{PORT}").parse().unwrap();
    for question in questions(&lab.network, &lab.topology, lab.now()) {
        let denied = question.reason.as_ref().is_some_and(|r| r.code == Code::PolicyDenied);
        // Who is asked by an address in somebody's site is a neighbour of whoever is attached there.
        let second_home = |place: &Place| {
            matches!(place.kind, PlaceKind::SecondHome(_)) && place.address == question.target
        };
        // Of a node with an address beside the target too, whenever its tunnel is away.
        let sender = &lab.topology.spaces[question.space];
        let beside = sender.node.is_some()
            && sender.addresses.iter().any(|(_, net)| net.trunc().contains(&question.target));
        if !denied || question.port != any || beside || lab.topology.places.iter().any(second_home) {
            continue;
        }
        // Who is attached to both sides forwards his own flows, where the host forwarded before.
        let nodes = |space: usize| match lab.topology.spaces[space].node {
            Some(_) => vec![space],
            None => lab.attached(space).into_iter().map(|(node, _)| node).collect(),
        };
        let far = nodes(question.target_space);
        let both = nodes(question.space).into_iter().filter(|node| far.contains(node));
        let guards = both.map(Guard::Beside).chain([Guard::Policy]).collect();
        flows.push(Flow {
            what: format!("{} to {}, which no rule allows", question.from, question.target),
            from: From::Place(question.space),
            at: Some(question.target_space),
            guards,
            own: None,
            to: question.target,
        });
    }
    flows
}

fn space_of(lab: &Lab, node: &NodeName) -> Option<usize> {
    lab.nodes().find(|(_, name)| *name == node).map(|(space, _)| space)
}

/// Full tunnels beside the tunnel, and hosts of sites that have no way out.
fn kept_inside(lab: &Lab) -> Vec<Flow> {
    // The second address of the space that stands for the Internet.
    let Some(IpNet::V4(internet)) = lab.topology.spaces[0].addresses.get(1).map(|(_, a)| *a) else {
        return Vec::new();
    };
    let internet = IpAddr::from(internet.addr());
    let flow = |space: usize, guard: Guard, what: String| Flow {
        what,
        from: From::Place(space),
        at: Some(0),
        guards: vec![guard],
        own: None,
        to: internet,
    };
    let mut flows = Vec::new();
    for (space, name) in lab.nodes() {
        if lab.network.nodes[name].routes == Routes::Full {
            flows.push(flow(space, Guard::Full(space), format!("{name} beside its full tunnel")));
        }
    }
    for place in &lab.topology.places {
        let PlaceKind::HostBehind(node) = &place.kind else { continue };
        let mut sites = lab.network.nodes[node].sites.iter();
        if place.address.is_ipv6() || sites.any(|s| s.egress && s.prefix().contains(&place.address)) {
            continue;
        }
        if let Some(behind) = space_of(lab, node) {
            let what = format!("{} to the Internet, which its site has no way to", place.name);
            flows.push(flow(place.space, Guard::Beside(behind), what));
        }
    }
    flows
}
