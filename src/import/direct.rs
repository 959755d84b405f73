//! Peers of a spoke besides its relay: other spokes, which it called by itself and meets at the relay now, and strangers.
//!
//! What it sent to another spoke goes by the relay: its prefixes stay the spoke's own, and what it had behind that one is its site.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Source;
use super::docker::Engine;
use super::finding::Findings;
use super::relay::site;
use super::routes::is_private;
use super::spokes::Spoke;
use crate::model::{Endpoint, Network, Node, NodeName, PublicKey};
use crate::wgconf::{Dns, Key, Peer};

/// A peer of a spoke that is another spoke.
pub(super) struct Direct<'s> {
    pub peer: &'s Peer,
    /// Who that is.
    pub to: &'s Node,
    /// Its place among the file's peers.
    index: usize,
    /// Whether the other's file, where it is given, has this one's key: else no handshake succeeds.
    pub is_answered: bool,
}

/// Finds the spokes that a file has a peer for.
pub(super) fn of<'s>(
    source: &'s Source<'_>,
    sources: &'s [Source<'_>],
    network: &'s Network,
) -> impl Iterator<Item = Direct<'s>> {
    let by_key: BTreeMap<PublicKey, &Node> = match source.reading.document.peers.len() {
        0 | 1 => BTreeMap::new(),
        _ => network.spokes().map(|n| (n.public_key, n)).collect(),
    };
    let peers = source.reading.document.peers.iter().enumerate();
    peers.filter_map(move |(index, peer)| {
        let to = by_key.get(&peer.public_key).copied().filter(|_| source.key != Some(peer.public_key))?;
        let others = sources.iter().find(|s| s.key == Some(peer.public_key));
        let is_answered = others.is_none_or(|other| {
            source.key.is_some_and(|key| other.reading.document.peers.iter().any(|p| p.public_key == key))
        });
        Some(Direct { peer, to, index, is_answered })
    })
}

/// What a spoke sends to its relay from now on: what it sent there, and what it sent to other spokes by itself.
pub(super) fn sent(
    source: &Source<'_>,
    to_relay: &Peer,
    sources: &[Source<'_>],
    network: &Network,
) -> Vec<IpNet> {
    let direct = of(source, sources, network).filter(|link| link.is_answered);
    let nets = direct.flat_map(|link| link.peer.allowed_ips.iter().filter(|net| net.prefix_len() > 1));
    let mut all = to_relay.allowed_ips.clone();
    // Of a /0 that goes to the relay anyway there is nothing to add.
    let is_sent = |net: &IpNet| to_relay.allowed_ips.iter().any(|n| n.contains(net));
    all.extend(nets.filter(|net| !is_sent(net)));
    all
}

/// Gives spokes what others sent to them by themselves: it is behind them, also where the relay's file does not know it.
pub(super) fn sites(sources: &[Source<'_>], spokes: &[Spoke], network: &mut Network) {
    let mut found: Vec<(NodeName, IpNet)> = Vec::new();
    for source in spokes.iter().filter_map(|s| s.source(sources)) {
        for link in of(source, sources, network).filter(|link| link.is_answered) {
            let meets = |net: &IpNet, other: &IpNet| net.contains(other) || other.contains(net);
            let is_place = |net: &&IpNet| {
                net.prefix_len() > 1
                    && is_private(net)
                    && !network.subnets().iter().any(|t| meets(net, t))
                    && !network.nodes.values().flat_map(|n| &n.sites).any(|s| meets(net, &s.subnet))
            };
            found.extend(
                link.peer.allowed_ips.iter().filter(is_place).map(|net| (link.to.name.clone(), *net)),
            );
        }
    }
    let mut seen = BTreeSet::new();
    found.retain(|(_, net)| seen.insert(*net));
    let nowhere = BTreeMap::new();
    for (name, net) in found {
        let Some(node) = network.nodes.get_mut(&name) else { continue };
        let own = sources.iter().find(|s| s.key == Some(node.public_key));
        let none = super::Hooks::default();
        node.sites.push(site(net, own.map_or(&none, |s| &s.hooks), Engine(&nowhere)));
    }
}

/// Tells of each peer that is left out, at its line.
pub(super) fn tell(
    sources: &[Source<'_>],
    spokes: &[Spoke],
    hubs: &[PublicKey],
    network: &Network,
    told: &mut Findings,
) {
    for (spoke, source) in spokes.iter().filter_map(|s| Some((s, s.source(sources)?))) {
        let name = &spoke.node.name;
        let mut known: BTreeSet<usize> = BTreeSet::new();
        for link in of(source, sources, network) {
            known.insert(link.index);
            let (to, why) =
                (&link.to.name, if link.is_answered { "" } else { ", whose file does not know it," });
            told.add(
                "direct-peer",
                source.place_in_peer(link.index, Key::PublicKey),
                format!(
                    "{name} has a session of its own with {to}{why}{}: it is not taken over, the two meet at the relay",
                    written(link.peer)
                ),
                "what goes between them takes the way by the relay, and as long as that one is there",
            );
        }
        let own = spoke.relay_peer(sources).map(|p| p.public_key);
        let peers = source.reading.document.peers.iter().enumerate();
        for (index, peer) in peers {
            let is_relay = Some(peer.public_key) == own || hubs.contains(&peer.public_key);
            if is_relay || known.contains(&index) || Some(peer.public_key) == source.key {
                continue;
            }
            // A name server that only this peer led to.
            let leads = |peer: &Peer, ip: &IpAddr| peer.allowed_ips.iter().any(|net| net.contains(ip));
            let is_by_it =
                |ip: &IpAddr| leads(peer, ip) && !spoke.relay_peer(sources).is_some_and(|p| leads(p, ip));
            let servers = source.reading.document.interface.dns.iter().filter_map(|dns| match dns {
                Dns::Server(ip) if is_by_it(ip) && is_private(&IpNet::from(*ip)) => Some(ip.to_string()),
                _ => None,
            });
            let servers: Vec<String> = servers.collect();
            let dns = if servers.is_empty() {
                String::new()
            } else {
                format!("; its DNS = {} is reached by that one alone", servers.join(", "))
            };
            told.add(
                "several-peers",
                source.place_in_peer(index, Key::PublicKey),
                format!(
                    "{name} has a peer that nobody else here knows{}: it is not taken over, as a spoke has its relay alone{dns}",
                    written(peer)
                ),
                "an interface of its own beside wgrelay's keeps it",
            );
        }
    }
}

/// What is written of a peer, as a parenthesis.
fn written(peer: &Peer) -> String {
    let nets: Vec<String> = peer.allowed_ips.iter().map(ToString::to_string).collect();
    let at = peer.endpoint.as_ref().map(|endpoint: &Endpoint| format!("at {endpoint}"));
    let parts: Vec<String> = (!nets.is_empty()).then(|| nets.join(", ")).into_iter().chain(at).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(" ")) }
}
