//! The spokes: each peer of the relay, with its own file where there is one, and what the two do not agree on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::docker::Engine;
use super::finding::Findings;
use super::hooks::Hooks;
use super::relay::{docker_bridge, limited_to, site};
use super::routes::{is_host, is_private};
use super::subnet::Origin;
use super::{Source, addresses, masquerade, names, with_interface};
use crate::model::{Endpoint, Network, Node, PrivateKey, PublicKey, Role};
use crate::wgconf::{Key, Peer};

/// A spoke, and where it was read.
#[derive(Clone)]
pub(super) struct Spoke {
    pub node: Node,
    /// Its own file.
    source: Option<usize>,
    /// Its place among the relay's peers; `None`: the relay does not know it.
    peer: Option<usize>,
    relay: PublicKey,
}

impl Spoke {
    pub(super) fn private_key<'s>(&self, sources: &'s [Source<'_>]) -> Option<&'s PrivateKey> {
        sources[self.source?].reading.document.interface.private_key.as_ref()
    }

    /// Its own file.
    pub(super) fn source<'s, 'f>(&self, sources: &'s [Source<'f>]) -> Option<&'s Source<'f>> {
        self.source.map(|i| &sources[i])
    }

    /// Its place among the relay's peers.
    pub(super) const fn peer(&self) -> Option<usize> {
        self.peer
    }

    /// The peer in its own file that is the relay.
    pub(super) fn relay_peer<'s>(&self, sources: &'s [Source<'_>]) -> Option<&'s Peer> {
        relay_peer(&sources[self.source?], Some(self.relay))
    }

    /// `FILE:LINE:COLUMN` of a key of its relay's section in its own file, else of that section; of neither: nothing.
    pub(super) fn relay_place(&self, sources: &[Source<'_>], key: Key) -> String {
        let Some(source) = self.source(sources) else { return String::new() };
        let relay = self.relay_peer(sources).map(|p| p.public_key);
        let index = source.reading.document.peers.iter().position(|p| Some(p.public_key) == relay);
        index.map_or_else(|| source.place(key), |index| source.place_in_peer(index, key))
    }
}

/// The peer that is the relay: by its key, else the only one, else the first with an endpoint.
fn relay_peer<'s>(source: &'s Source<'_>, relay: Option<PublicKey>) -> Option<&'s Peer> {
    let peers = &source.reading.document.peers;
    let by_key = relay.and_then(|key| peers.iter().find(|p| p.public_key == key));
    by_key.or_else(|| peers.iter().find(|p| p.endpoint.is_some())).or(peers.first())
}

/// Makes the spokes of a relay in the order of its peers, then those that it does not know. Of several relays one is no
/// other's spoke, and who is in the network already is at home there.
pub(super) fn collect(
    sources: &[Source<'_>],
    (relay, hubs): (usize, &[usize]),
    network: &Network,
    origin: Origin,
    told: &mut Findings,
) -> Vec<Spoke> {
    let mut network = network.clone();
    let hub = &sources[relay];
    let own = super::relay::key(sources, relay);
    let Some(relay_key) = own else { return Vec::new() };
    let is_in = |network: &Network, key: PublicKey| network.nodes.values().any(|n| n.public_key == key);
    let mut spokes: Vec<Spoke> = Vec::new();
    let mut used: BTreeSet<usize> = hubs.iter().copied().collect();
    let peers = &hub.reading.document.peers;
    let mut order: Vec<usize> = (0..peers.len()).collect();
    // Who has an address comes first: a free one must not be somebody's.
    order.sort_by_key(|i| !peers[*i].allowed_ips.iter().any(|n| n.prefix_len() == n.max_prefix_len()));
    for (i, peer) in order.into_iter().map(|i| (i, &peers[i])) {
        if Some(peer.public_key) == own {
            told.add(
                "own-key",
                hub.place_in_peer(i, Key::PublicKey),
                "this peer has the relay's own key: WireGuard ignores it, and so does the import",
                "",
            );
            continue;
        }
        if peer.public_key == PublicKey::from_bytes([0; 32]) {
            told.add(
                "zero-key",
                hub.place_in_peer(i, Key::PublicKey),
                "this peer's public key is all zeros, which is nobody's: it is left out",
                "write its own, as `wg pubkey` prints it",
            );
            continue;
        }
        if hubs.len() > 1 && is_in(&network, peer.public_key) {
            continue;
        }
        // A second section with the same key replaces the first.
        if peers[i + 1..].iter().any(|p| p.public_key == peer.public_key) {
            continue;
        }
        let source = file_of(sources, &used, peer);
        if source.is_none() && is_exit(peer) {
            told.add(
                "exit-left-out",
                hub.place_in_peer(i, Key::Endpoint),
                "this peer is called, and everything goes to it: it is where the relay leaves to the Internet, and no member of \
                 this network; it is not taken over",
                "run it as an interface of its own beside wgrelay's; egress = true of the relay leaves by the host's routes",
            );
            continue;
        }
        used.extend(source);
        let mut spoke = spoke(sources, source, Some((hub, i, peer)), (&network, origin), relay_key, told);
        claim(hub, i, peer, &mut spoke, sources, &network, told);
        network.nodes.insert(spoke.node.name.clone(), spoke.node.clone());
        spokes.push(spoke);
    }
    for (i, source) in sources.iter().enumerate() {
        if used.contains(&i) || !calls(source, sources, relay, hubs) {
            continue;
        }
        let twin = |other: &&Source<'_>| source.key.is_some() && other.key == source.key;
        if let Some(first) =
            sources.iter().enumerate().filter(|(j, _)| *j != i && used.contains(j)).map(|(_, s)| s).find(twin)
        {
            told.add(
                "given-twice",
                format!("{}:1:1", source.name),
                format!("the file has the private key of {}, and is left out", first.name),
                "give each node's file once; two machines need a key each",
            );
            continue;
        }
        if source.key.is_none() || network.nodes.values().any(|n| Some(n.public_key) == source.key) {
            told.add(
                "file-left-out",
                format!("{}:1:1", source.name),
                "the file belongs to no peer of the relay, and has no key of its own to make one of",
                "add its PrivateKey, or give the relay a [Peer] for it",
            );
            continue;
        }
        if !source.key.is_some_and(|key| hub.off.contains(&key)) {
            told.add(
                "unknown-to-relay",
                format!("{}:1:1", source.name),
                "the relay's file has no [Peer] with this file's key: it answers none of its handshakes",
                "it is a node of the network now; wgrelay up on the relay makes it known",
            );
        }
        used.insert(i);
        let spoke = spoke(sources, Some(i), None, (&network, origin), relay_key, told);
        network.nodes.insert(spoke.node.name.clone(), spoke.node.clone());
        spokes.push(spoke);
    }
    for spoke in &spokes {
        if let (Some(i), Some(key)) = (spoke.source, own) {
            hold_against_relay(&sources[i], key, told);
        }
    }
    spokes
}

/// Whether a file that no relay knows is for this one: it calls it, or none of them, and this is the first.
fn calls(source: &Source<'_>, sources: &[Source<'_>], relay: usize, hubs: &[usize]) -> bool {
    let has =
        |hub: usize| source.reading.document.peers.iter().any(|p| Some(p.public_key) == sources[hub].key);
    let is_known = |hub: &usize| {
        sources[*hub]
            .reading
            .document
            .peers
            .iter()
            .any(|p| Some(p.public_key) == source.key && source.key.is_some())
    };
    match hubs {
        [_] => true,
        _ if hubs.iter().any(is_known) => false,
        _ => hubs.iter().copied().find(|hub| has(*hub)).unwrap_or(hubs[0]) == relay,
    }
}

/// Finds a peer's own file: by its key, else, where the file has none, by the address that the relay gives it.
fn file_of(sources: &[Source<'_>], used: &BTreeSet<usize>, peer: &Peer) -> Option<usize> {
    let mut free = sources.iter().enumerate().filter(|(i, _)| !used.contains(i));
    // Of copies the one with the shorter name: `phone` before `phone-old`.
    let by_key =
        free.clone().filter(|(_, s)| s.key == Some(peer.public_key)).min_by_key(|(_, s)| s.stem.len());
    let claims = |s: &Source<'_>| {
        s.key.is_none()
            && s.reading.document.interface.addresses.iter().any(|a| {
                peer.allowed_ips.iter().any(|n| n.prefix_len() == n.max_prefix_len() && n.addr() == a.addr())
            })
    };
    by_key.or_else(|| free.find(|(_, s)| claims(s))).map(|(i, _)| i)
}

/// Whether a peer is how the relay itself gets out, a provider's server, say: all goes to it, and it has no address here.
fn is_exit(peer: &Peer) -> bool {
    let sends_all = peer.allowed_ips.iter().any(|net| net.prefix_len() <= 1);
    sends_all && peer.endpoint.is_some() && peer.allowed_ips.iter().all(|net| net.prefix_len() <= 1)
}

fn spoke(
    sources: &[Source<'_>],
    source: Option<usize>,
    peer: Option<(&Source<'_>, usize, &Peer)>,
    (network, origin): (&Network, Origin),
    relay: PublicKey,
    told: &mut Findings,
) -> Spoke {
    let own = source.map(|i| &sources[i]);
    let key = peer.map(|(_, _, p)| p.public_key).or_else(|| own.and_then(|s| s.key));
    let key = key.expect("a spoke is a peer, or a file with a key");
    let comments: Vec<String> = peer.map_or_else(Vec::new, |(hub, i, p)| {
        let behind = hub.section(i).and_then(|section| hub.behind.get(&section));
        behind.into_iter().chain(&p.comments).chain(&p.notes).cloned().collect()
    });
    let unnamed = format!("peer{}", peer.map_or(network.nodes.len(), |(_, i, _)| i + 1));
    let place = peer.map_or_else(String::new, |(hub, i, _)| hub.place_in_peer(i, Key::PublicKey));
    let name = names::node(own, (place, &comments), &unnamed, network, told);
    let (v4, v6) = addresses::of_spoke(own, peer, network, origin, told);
    let mut node = Node::new(name, Role::Spoke, v4, key);
    node.address6 = v6;
    node.platform = names::platform(&node.name, &comments);
    if let Some(own) = own {
        node = with_interface(node, own, network, told);
        let keepalive = relay_peer(own, Some(relay)).and_then(|p| p.keepalive).unwrap_or(0);
        node.keepalive = (keepalive != network.keepalive).then_some(keepalive);
        // Where it alone calls the relay: at home, or by IPv4 where others do by IPv6.
        let called = relay_peer(own, Some(relay)).and_then(|p| p.endpoint.clone());
        let hub = network.nodes.values().find(|n| n.public_key == relay);
        if let (Some(hub), Some(called)) = (hub, called)
            && hub.endpoint.as_ref().is_some_and(|usual| *usual != called)
        {
            node.endpoint_of.insert(hub.name.clone(), called);
        }
    }
    if let Some((hub, index, peer)) = peer {
        node.endpoint = endpoint(hub, index, peer, &node, told);
        if let Some(seconds) = peer.keepalive.filter(|k| *k > 0) {
            told.add(
                "keepalive-left-out",
                hub.place_in_peer(index, Key::PersistentKeepalive),
                format!("the relay's keepalive to {} ({seconds} s) is not taken over: spokes keep the sessions open", node.name),
                format!("keepalive = {seconds} under [node.{}] makes it do so", node.name),
            );
        }
    }
    node.listen_port = node.listen_port.filter(|p| Some(*p) != node.endpoint.as_ref().map(|e| e.port));
    Spoke { node, source, peer: peer.map(|(_, i, _)| i), relay }
}

/// Where the relay calls a spoke. What `SaveConfig` wrote is where it was last heard from, unless it listens at that port.
fn endpoint(
    hub: &Source<'_>,
    index: usize,
    peer: &Peer,
    node: &Node,
    told: &mut Findings,
) -> Option<Endpoint> {
    let endpoint = peer.endpoint.clone()?;
    let is_learned = hub.reading.document.interface.save_config == Some(true)
        && endpoint.socket_addr().is_some()
        && node.listen_port != Some(endpoint.port);
    if !is_learned {
        return Some(endpoint);
    }
    told.add(
        "learned-endpoint",
        hub.place_in_peer(index, Key::Endpoint),
        format!("{endpoint} is where {} was last heard from (SaveConfig): it is not taken over", node.name),
        format!("`wgrelay set {} endpoint HOST:PORT` gives it one, if it has a fixed address", node.name),
    );
    None
}

/// Takes a peer's prefixes on the relay for its sites.
fn claim(
    hub: &Source<'_>,
    index: usize,
    peer: &Peer,
    spoke: &mut Spoke,
    sources: &[Source<'_>],
    network: &Network,
    told: &mut Findings,
) {
    let node = &mut spoke.node;
    let own = spoke.source.map(|i| &sources[i]);
    let tunnels = network.subnets();
    let known: BTreeSet<IpAddr> = addresses::own(own, Some(peer), network).into_iter().collect();
    let routed = routed_to(hub, index, peer, network);
    for net in peer.allowed_ips.iter().chain(&routed) {
        let addresses = node.host_prefixes();
        // Its own addresses have been told where they are lost.
        if addresses.contains(net) || (!tunnels.iter().any(|t| t.contains(net)) && is_host(net, &known)) {
            continue;
        }
        let later = hub.reading.document.peers[index + 1..].iter().any(|p| p.allowed_ips.contains(net));
        if later {
            // The later peer takes it over, as the reading has told.
            continue;
        }
        let left_out = if net.prefix_len() <= 1 {
            Some((
                "route-to-spoke",
                format!("{net}, the way to everywhere, is not taken over: spokes leave by the relay"),
            ))
        } else if tunnels.iter().any(|t| net.contains(t)) && (tunnels.contains(net) || !is_private(net)) {
            Some((
                "claims-tunnel",
                format!("{net} gives this peer the whole tunnel subnet: it may send with anybody's address"),
            ))
        } else if tunnels.iter().any(|t| t.contains(net)) {
            Some((
                "address-left-out",
                format!("{net} lies in the tunnel subnet and is not this peer's address"),
            ))
        } else {
            None
        };
        match left_out {
            Some((code, message)) => {
                let hint = "AllowedIPs are made from the peer's address and sites";
                told.add(code, hub.place_in_peer(index, Key::AllowedIps), message, hint);
            }
            None => {
                // The engine here is not the one there.
                let (none, nowhere) = (Hooks::default(), BTreeMap::new());
                node.sites.push(site(*net, own.map_or(&none, |s| &s.hooks), Engine(&nowhere)));
            }
        }
    }
    if let Some(own) = own {
        for (site, link) in node.sites.iter().filter_map(|s| Some((s, s.interface.as_ref()?))) {
            docker_bridge(own, &node.name, site, link, told);
        }
        let what = match node.sites.as_slice() {
            [] => "wgrelay masquerades nothing on a node without sites".into(),
            sites => limited_to(sites),
        };
        masquerade::tell(own, &what, told);
    }
}

/// What the relay's hooks route into the tunnel and nobody has but the peer that has everything: it is behind that one.
fn routed_to(hub: &Source<'_>, index: usize, peer: &Peer, network: &Network) -> Vec<IpNet> {
    let holds = |net: &IpNet| peer.allowed_ips.iter().any(|n| n.prefix_len() <= 1 && n.contains(net));
    let others =
        || hub.reading.document.peers.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, p)| p);
    let is_others = |net: &IpNet| {
        others()
            .flat_map(|p| &p.allowed_ips)
            .any(|n| n.prefix_len() > 1 && (n.contains(net) || net.contains(n)))
    };
    let is_tunnels = |net: &IpNet| network.subnets().iter().any(|t| t.contains(net) || net.contains(t));
    let mut nets = hub.hooks.routed.clone();
    nets.retain(|net| net.prefix_len() > 1 && holds(net) && !is_others(net) && !is_tunnels(net));
    nets.sort();
    nets.dedup();
    nets.retain(|net| !peer.allowed_ips.contains(net));
    nets
}

/// Says where a client's own file and the relay's do not fit each other.
fn hold_against_relay(source: &Source<'_>, relay: PublicKey, told: &mut Findings) {
    match relay_peer(source, Some(relay)) {
        None => told.add(
            "no-peer",
            format!("{}:1:1", source.name),
            "the file has no [Peer]: it reaches nobody",
            "`wgrelay export` writes a whole one",
        ),
        Some(peer) if peer.public_key != relay => told.add(
            "wrong-relay-key",
            source.place(Key::PublicKey),
            "the peer's key is not the relay's: no handshake succeeds",
            "`wgrelay export` writes the right one",
        ),
        Some(_) => {}
    }
}
