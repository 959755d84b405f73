//! Who reached whom before, held against who reaches whom now: an import that takes something away says so, pair by pair.
//!
//! Before is what the files say by WireGuard's own rules: a packet goes where AllowedIPs of the sender have it, the relay takes it
//! from the peer that its source belongs to and gives it to the one that its destination belongs to, and the receiver takes it
//! where its own AllowedIPs have the source. What a relay's firewall kept out is not known here and counts as let through.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::finding::Findings;
use super::spokes::Spoke;
use super::{Source, addresses, direct};
use crate::model::{EndpointHost, Network, NodeName, Timestamp, Verdict};
use crate::reach::{LongestPrefix, Matrix, Place, World, matrix};
use crate::wgconf::Peer;

/// So many spokes with files of their own are held against each other; more of them are of one make.
const MOST: usize = 1_000;
/// So many pairs are named.
const NAMED: usize = 8;

/// An end of a flow as the files have it.
struct End<'s> {
    node: NodeName,
    /// As it is called in the network now.
    place: Place,
    addresses: Vec<IpAddr>,
    /// What it sends into its tunnel; `None`: all, or nobody knows.
    sends: Option<&'s [IpNet]>,
    /// What it sends to others by itself, and whom.
    direct: Vec<(NodeName, &'s [IpNet])>,
    /// Whether it is there before it has spoken: it keeps its session alive, or the relay knows where it is.
    is_callable: bool,
}

/// Tells of pairs that reached each other by the files and do not in the network.
pub(super) fn tell_lost(
    sources: &[Source<'_>],
    relay: usize,
    spokes: &[Spoke],
    network: &Network,
    now: Timestamp,
    told: &mut Findings,
) {
    let lost = lost(sources, relay, spokes, network, now);
    if lost.is_empty() {
        return;
    }
    let named: Vec<String> = lost.iter().take(NAMED).map(|(from, to)| format!("{from} to {to}")).collect();
    let more = lost.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more pairs") } else { String::new() };
    told.add(
        "reached-before",
        format!("{}:1:1", sources[relay].name),
        format!(
            "by the files these reach each other, and in the network they do not: {}{more}",
            named.join(", ")
        ),
        "`wgrelay trace FROM TO` says where it ends; what else is told here says why",
    );
}

/// Returns the pairs that are lost, as the network calls them.
fn lost(
    sources: &[Source<'_>],
    relay: usize,
    spokes: &[Spoke],
    network: &Network,
    now: Timestamp,
) -> Vec<(Place, Place)> {
    let ends = ends(sources, relay, spokes, network);
    let peers = &sources[relay].reading.document.peers;
    let owners = owners(peers, spokes);
    let verdicts = Verdicts::of(&matrix(&World::assumed(network, now)));
    let hub = network.relays().next().map(|r| r.name.clone());
    let own: BTreeSet<IpAddr> =
        sources[relay].reading.document.interface.addresses.iter().map(IpNet::addr).collect();
    // What goes to the relay itself stays there, whoever has a prefix around it.
    let given = |ip: IpAddr| owners.lookup(ip).map(|(_, node)| node).filter(|_| !own.contains(&ip));
    let owner = |ip: IpAddr| given(ip).or(hub.as_ref());
    let sends = |end: &End<'_>, ip: IpAddr| end.sends.is_none_or(|nets| nets.iter().any(|n| n.contains(&ip)));
    // There and back take the same four looks.
    let reached = |from: &End<'_>, to: &End<'_>| {
        let mut called = to.addresses.iter().filter(|_| to.is_callable);
        called.any(|b| {
            owner(*b) == Some(&to.node)
                && sends(from, *b)
                && from
                    .addresses
                    .iter()
                    .any(|a| a.is_ipv4() == b.is_ipv4() && owner(*a) == Some(&from.node) && sends(to, *a))
        })
    };
    let directly = |from: &End<'_>, to: &End<'_>, ip: &IpAddr| {
        let mut links = from.direct.iter().filter(|(name, _)| *name == to.node);
        links.any(|(_, nets)| nets.iter().any(|n| n.contains(ip)))
    };
    // By a session of their own.
    let met = |from: &End<'_>, to: &End<'_>| {
        let same = |a: &&IpAddr, b: &IpAddr| a.is_ipv4() == b.is_ipv4() && directly(to, from, a);
        let mut called = to.addresses.iter();
        called.any(|b| directly(from, to, b) && from.addresses.iter().any(|a| same(&a, b)))
    };
    let starts = ends.iter().filter(|e| matches!(e.place, Place::Node(_)));
    let pairs = starts.flat_map(|from| ends.iter().map(move |to| (from, to)));
    pairs
        .filter(|(from, to)| {
            from.node != to.node
                && (reached(from, to) || met(from, to))
                && !verdicts.reaches(&from.place, &to.place)
        })
        .map(|(from, to)| (from.place.clone(), to.place.clone()))
        .collect()
}

fn ends<'s>(
    sources: &'s [Source<'_>],
    relay: usize,
    spokes: &'s [Spoke],
    network: &'s Network,
) -> Vec<End<'s>> {
    let hub = &sources[relay];
    let peers = &hub.reading.document.peers;
    let mut ends: Vec<End<'_>> = Vec::new();
    for node in network.relays() {
        let addresses = hub.reading.document.interface.addresses.iter().map(IpNet::addr).collect();
        ends.push(End {
            node: node.name.clone(),
            place: Place::Node(node.name.clone()),
            addresses,
            sends: None,
            direct: Vec::new(),
            is_callable: true,
        });
    }
    for spoke in spokes.iter().filter(|s| s.source(sources).is_some()).take(MOST) {
        let Some(peer) = spoke.peer().map(|i| &peers[i]) else { continue };
        let sends = spoke.relay_peer(sources).map(|p| p.allowed_ips.as_slice());
        // One that nobody lets in, and one that has no end that could call the other.
        let is_called = sends.is_some() && spoke.relay_peer(sources).is_some_and(|p| p.endpoint.is_some());
        let is_off = network.nodes.get(&spoke.node.name).is_none_or(|n| !n.enabled);
        if is_off || !(is_called || spoke.node.endpoint.is_some()) || calls_into_tunnel(spoke, sends, sources)
        {
            continue;
        }
        let keeps = spoke.relay_peer(sources).and_then(|p| p.keepalive).is_some_and(|k| k > 0);
        // Where it was last heard from is no place to call it at.
        let is_callable = keeps || spoke.node.endpoint.is_some();
        let node = &spoke.node.name;
        let links = spoke.source(sources).into_iter().flat_map(|s| direct::of(s, sources, network));
        let links = links.filter(|link| link.is_answered);
        let direct: Vec<_> =
            links.map(|link| (link.to.name.clone(), link.peer.allowed_ips.as_slice())).collect();
        let own = addresses::own(spoke.source(sources), Some(peer), network);
        ends.push(End {
            node: node.clone(),
            place: Place::Node(node.clone()),
            addresses: own.clone(),
            sends,
            direct: direct.clone(),
            is_callable,
        });
        for net in sites(peer, &own, network) {
            // A host in it that is not the node's own address.
            let host = net.hosts().find(|ip| !own.contains(ip));
            let place = Place::Site(net);
            ends.push(End {
                node: node.clone(),
                place,
                addresses: host.into_iter().collect(),
                sends,
                direct: direct.clone(),
                is_callable,
            });
        }
    }
    ends
}

/// Whether a spoke looks for its relay in the tunnel itself: it had no session then, and has none now.
fn calls_into_tunnel(spoke: &Spoke, sends: Option<&[IpNet]>, sources: &[Source<'_>]) -> bool {
    let endpoint = spoke.relay_peer(sources).and_then(|p| p.endpoint.as_ref());
    let Some(EndpointHost::Ip(ip)) = endpoint.map(|e| &e.host) else { return false };
    let is_own = |net: &&IpNet| net.contains(ip);
    !spoke.node.platform.binds_to_uplink()
        && sends.into_iter().flatten().filter(is_own).any(|net| net.prefix_len() > 0)
}

/// What a peer of the relay has behind it, by the relay's file.
fn sites(peer: &Peer, own: &[IpAddr], network: &Network) -> BTreeSet<IpNet> {
    let is_own = |net: &IpNet| net.prefix_len() == net.max_prefix_len() && own.contains(&net.addr());
    let meets = |net: &IpNet| network.subnets().iter().any(|t| t.contains(net) || net.contains(t));
    peer.allowed_ips.iter().filter(|n| n.prefix_len() > 1 && !is_own(n) && !meets(n)).copied().collect()
}

/// Who the relay gives what to: of equal prefixes the last peer has it.
fn owners(peers: &[Peer], spokes: &[Spoke]) -> LongestPrefix<NodeName> {
    let mut owners = LongestPrefix::default();
    for (i, peer) in peers.iter().enumerate() {
        let Some(spoke) = spokes.iter().find(|s| s.peer() == Some(i)) else { continue };
        for net in &peer.allowed_ips {
            owners.insert(*net, spoke.node.name.clone());
        }
    }
    owners
}

/// The network's answers, by place.
struct Verdicts {
    class: HashMap<Place, usize>,
    reaches: BTreeMap<(usize, usize), bool>,
}

impl Verdicts {
    fn of(matrix: &Matrix) -> Self {
        let places =
            matrix.classes.iter().enumerate().flat_map(|(i, c)| c.iter().map(move |p| (p.clone(), i)));
        let class: HashMap<Place, usize> = places.collect();
        let mut reaches = BTreeMap::new();
        for pair in &matrix.pairs {
            let (Some(from), Some(to)) = (class.get(&pair.from), class.get(&pair.to)) else { continue };
            *reaches.entry((*from, *to)).or_insert(false) |= pair.verdict == Verdict::Reaches;
        }
        Self { class, reaches }
    }

    fn reaches(&self, from: &Place, to: &Place) -> bool {
        let (Some(from), Some(to)) = (self.class.get(from), self.class.get(to)) else { return false };
        self.reaches.get(&(*from, *to)).copied().unwrap_or(false)
    }
}
