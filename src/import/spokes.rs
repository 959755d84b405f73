//! The spokes: each peer of the relay, with its own file where there is one, and what the two do not agree on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::finding::Findings;
use super::relay::{docker_bridge, limited_to, masquerades_everything, site};
use super::{Source, names, with_interface};
use crate::config::Secrets;
use crate::model::{
    Network, Node, PresharedKey, PrivateKey, PublicKey, Role, Routes, Timestamp, derive_for_spoke,
    next_address,
};
use crate::wgconf::{Key, Peer};

/// A spoke, and where it was read.
#[derive(Clone)]
pub(super) struct Spoke {
    pub node: Node,
    /// Its own file.
    source: Option<usize>,
    /// Its place among the relay's peers; `None`: the relay does not know it.
    peer: Option<usize>,
}

impl Spoke {
    pub(super) fn private_key<'s>(&self, sources: &'s [Source<'_>]) -> Option<&'s PrivateKey> {
        sources[self.source?].reading.document.interface.private_key.as_ref()
    }

    /// The peer in its own file that is the relay.
    fn relay_peer<'s>(&self, sources: &'s [Source<'_>]) -> Option<&'s Peer> {
        relay_peer(&sources[self.source?], None)
    }

    /// What its own file sends to the relay.
    pub(super) fn allowed_ips<'s>(&self, sources: &'s [Source<'_>]) -> impl Iterator<Item = IpNet> + 's {
        self.relay_peer(sources).into_iter().flat_map(|p| p.allowed_ips.iter().copied())
    }

    pub(super) fn sends_everything(&self, sources: &[Source<'_>]) -> bool {
        let nets: Vec<IpNet> = self.allowed_ips(sources).filter(|n| !n.addr().is_ipv6()).collect();
        // Two halves are the usual way around a client's kill switch.
        nets.iter().any(|n| n.prefix_len() == 0) || nets.iter().filter(|n| n.prefix_len() == 1).count() == 2
    }
}

/// The peer that is the relay: by its key, else the only one, else the first with an endpoint.
fn relay_peer<'s>(source: &'s Source<'_>, relay: Option<PublicKey>) -> Option<&'s Peer> {
    let peers = &source.reading.document.peers;
    let by_key = relay.and_then(|key| peers.iter().find(|p| p.public_key == key));
    by_key.or_else(|| peers.iter().find(|p| p.endpoint.is_some())).or(peers.first())
}

/// Makes the spokes in the order of the relay's peers, then those that it does not know.
pub(super) fn collect(
    sources: &[Source<'_>],
    relay: usize,
    network: &Network,
    told: &mut Findings,
) -> Vec<Spoke> {
    let mut network = network.clone();
    let hub = &sources[relay];
    let own = network.relays().next().map(|r| r.public_key);
    let mut spokes: Vec<Spoke> = Vec::new();
    let mut used: BTreeSet<usize> = [relay].into();
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
        // A second section with the same key replaces the first.
        if peers[i + 1..].iter().any(|p| p.public_key == peer.public_key) {
            continue;
        }
        let source = file_of(sources, &used, peer);
        used.extend(source);
        let mut spoke = spoke(sources, source, Some((hub, i, peer)), &network, told);
        claim(hub, i, peer, &mut spoke, sources, told);
        network.nodes.insert(spoke.node.name.clone(), spoke.node.clone());
        spokes.push(spoke);
    }
    for (i, source) in sources.iter().enumerate() {
        if used.contains(&i) {
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
        told.add(
            "unknown-to-relay",
            format!("{}:1:1", source.name),
            "the relay's file has no [Peer] with this file's key: it answers none of its handshakes",
            "it is a node of the network now; wgrelay up on the relay makes it known",
        );
        used.insert(i);
        let spoke = spoke(sources, Some(i), None, &network, told);
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

/// Finds a peer's own file: by its key, else, where the file has none, by the address that the relay gives it.
fn file_of(sources: &[Source<'_>], used: &BTreeSet<usize>, peer: &Peer) -> Option<usize> {
    let mut free = sources.iter().enumerate().filter(|(i, _)| !used.contains(i));
    let by_key = free.clone().find(|(_, s)| s.key == Some(peer.public_key));
    let claims = |s: &Source<'_>| {
        s.key.is_none()
            && s.reading.document.interface.addresses.iter().any(|a| {
                peer.allowed_ips.iter().any(|n| n.prefix_len() == n.max_prefix_len() && n.addr() == a.addr())
            })
    };
    by_key.or_else(|| free.find(|(_, s)| claims(s))).map(|(i, _)| i)
}

fn spoke(
    sources: &[Source<'_>],
    source: Option<usize>,
    peer: Option<(&Source<'_>, usize, &Peer)>,
    network: &Network,
    told: &mut Findings,
) -> Spoke {
    let own = source.map(|i| &sources[i]);
    let key = peer.map(|(_, _, p)| p.public_key).or_else(|| own.and_then(|s| s.key));
    let key = key.expect("a spoke is a peer, or a file with a key");
    let comments: Vec<String> =
        peer.map_or_else(Vec::new, |(_, _, p)| p.comments.iter().chain(&p.notes).cloned().collect());
    let unnamed = format!("peer{}", peer.map_or(network.nodes.len(), |(_, i, _)| i + 1));
    let name = names::node(own, &comments, &unnamed, network, told);
    let (v4, v6) = addresses(own, peer, network, told);
    let mut node = Node::new(name, Role::Spoke, v4, key);
    node.address6 = v6;
    node.platform = names::platform(&node.name, &comments);
    node.endpoint = peer.and_then(|(_, _, p)| p.endpoint.clone());
    if let Some(own) = own {
        node = with_interface(node, own);
        let keepalive = relay_peer(own, None).and_then(|p| p.keepalive).unwrap_or(0);
        node.keepalive = (keepalive != network.keepalive).then_some(keepalive);
    }
    node.listen_port = node.listen_port.filter(|p| Some(*p) != node.endpoint.as_ref().map(|e| e.port));
    Spoke { node, source, peer: peer.map(|(_, i, _)| i) }
}

/// A spoke's addresses: its own file's, else what the relay gives it, else a free one.
fn addresses(
    own: Option<&Source<'_>>,
    peer: Option<(&Source<'_>, usize, &Peer)>,
    network: &Network,
    told: &mut Findings,
) -> (Ipv4Addr, Option<Ipv6Addr>) {
    let tunnel = |a: &IpAddr| network.subnets().iter().any(|n| n.contains(a));
    let typed: Vec<IpAddr> = own
        .into_iter()
        .flat_map(|s| s.reading.document.interface.addresses.iter().map(IpNet::addr))
        .collect();
    let given: Vec<IpAddr> = peer
        .into_iter()
        .flat_map(|(_, _, p)| &p.allowed_ips)
        .filter(|n| n.prefix_len() == n.max_prefix_len())
        .map(IpNet::addr)
        .collect();
    if let Some(own) = own {
        for stray in typed.iter().filter(|a| !tunnel(a)) {
            told.add(
                "address-left-out",
                own.place(Key::Address),
                format!("{stray} is not taken over: it lies outside the tunnel subnet {}", network.subnet),
                "",
            );
        }
        if let Some((hub, i, p)) = peer {
            for lost in typed.iter().filter(|a| tunnel(a) && !p.allowed_ips.iter().any(|n| n.contains(*a))) {
                told.add(
                    "source-not-allowed",
                    hub.place_in_peer(i, Key::AllowedIps),
                    format!("AllowedIPs of this peer do not hold {lost}, its own Address: the relay drops all that it sends"),
                    "the network gives it what it needs",
                );
            }
        }
    }
    let inside: Vec<IpAddr> = typed.into_iter().chain(given).filter(tunnel).collect();
    let taken = |ip: &IpAddr| {
        network
            .nodes
            .values()
            .any(|n| IpAddr::V4(n.address) == *ip || n.address6.map(IpAddr::V6) == Some(*ip))
    };
    let v4 = inside.iter().find_map(|a| match a {
        IpAddr::V4(v4) if !taken(a) => Some(*v4),
        _ => None,
    });
    let v6 = inside.iter().find_map(|a| match a {
        IpAddr::V6(v6) if !taken(a) => Some(*v6),
        _ => None,
    });
    let v4 = v4.unwrap_or_else(|| {
        // A full subnet is told by the network's own rules.
        let free = next_address(network).unwrap_or_else(|_| network.subnet.network());
        let place = match (own, peer) {
            (Some(own), _) => own.place(Key::Address),
            (None, Some((hub, i, _))) => hub.place_in_peer(i, Key::AllowedIps),
            (None, None) => String::new(),
        };
        told.add(
            "no-address",
            place,
            format!("nothing gives it an IPv4 address of its own in {}: it gets {free}", network.subnet),
            "",
        );
        free
    });
    (v4, v6)
}

/// Takes a peer's prefixes on the relay for its sites.
fn claim(
    hub: &Source<'_>,
    index: usize,
    peer: &Peer,
    spoke: &mut Spoke,
    sources: &[Source<'_>],
    told: &mut Findings,
) {
    let node = &mut spoke.node;
    let own = spoke.source.map(|i| &sources[i]);
    let link = own.and_then(|s| s.hooks.only_link());
    let masquerades = own.is_some_and(|s| !s.hooks.masquerades.is_empty());
    let tunnels = super::subnet::v4(sources, hub_index(sources, hub)).ok().map(IpNet::V4);
    let tunnels: Vec<IpNet> = tunnels
        .into_iter()
        .chain(super::subnet::v6(sources, hub_index(sources, hub)).map(IpNet::V6))
        .collect();
    for net in &peer.allowed_ips {
        let addresses = node.host_prefixes();
        if addresses.contains(net) {
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
        } else if tunnels.iter().any(|t| net.contains(t)) {
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
            None => node.sites.push(site(*net, link, masquerades, &BTreeMap::new())),
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
        masquerades_everything(own, &what, told);
    }
}

fn hub_index(sources: &[Source<'_>], hub: &Source<'_>) -> usize {
    sources.iter().position(|s| std::ptr::eq(s, hub)).unwrap_or(0)
}

/// Says where a client's own file and the relay's do not fit each other.
fn hold_against_relay(source: &Source<'_>, relay: PublicKey, told: &mut Findings) {
    let peers = &source.reading.document.peers;
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
    if peers.len() > 1 {
        told.add(
            "several-peers",
            format!("{}:1:1", source.name),
            format!("the file has {} peers, and a spoke has one: the others are left out", peers.len()),
            "",
        );
    }
}

/// Keeps what clients send into the tunnel: everything, what the network has become, or less.
pub(super) fn routes(sources: &[Source<'_>], spokes: &[Spoke], network: &mut Network, told: &mut Findings) {
    let now = Timestamp(0);
    for spoke in spokes.iter().filter(|s| s.relay_peer(sources).is_some()) {
        let Some(source) = spoke.source.map(|i| &sources[i]) else { continue };
        let name = &spoke.node.name;
        let allowed: BTreeSet<IpNet> = spoke.allowed_ips(sources).collect();
        let wanted = derive_for_spoke(network, &network.nodes[name], now);
        let missing: Vec<IpNet> =
            wanted.iter().filter(|w| !allowed.iter().any(|a| a.contains(*w))).copied().collect();
        let routes = if spoke.sends_everything(sources) {
            Routes::Full
        } else if missing.is_empty() {
            Routes::Split
        } else {
            narrow(source, network, spoke, &missing, told);
            Routes::Only(allowed.into_iter().collect())
        };
        if let Some(node) = network.nodes.get_mut(name) {
            node.routes = routes;
        }
    }
}

fn narrow(source: &Source<'_>, network: &Network, spoke: &Spoke, missing: &[IpNet], told: &mut Findings) {
    let behind = |net: &IpNet| {
        let owner = network.nodes.values().find(|n| n.sites.iter().any(|s| s.subnet == *net));
        owner.map_or_else(|| net.to_string(), |o| format!("{net} (behind {})", o.name))
    };
    let list: Vec<String> = missing.iter().map(behind).collect();
    let plain: Vec<String> = missing.iter().map(|n| format!("\"{n}\"")).collect();
    let name = &spoke.node.name;
    told.add(
        "narrow-allowed-ips",
        source.place(Key::AllowedIps),
        format!("AllowedIPs lack {}: {name} reaches nothing there, and nothing there reaches it", list.join(", ")),
        format!(
            "kept as it is, for `wgrelay check` to show; routes = \"split\" under [node.{name}] sends all of it, and \
             local = [{}] says that it is attached there itself",
            plain.join(", ")
        ),
    );
}

/// Keeps preshared keys where there are any; a pair without one gets a new one.
pub(super) fn preshared_keys(
    sources: &[Source<'_>],
    relay: usize,
    spokes: &[Spoke],
    network: &mut Network,
    secrets: &mut Secrets,
    make: &mut dyn FnMut() -> PresharedKey,
    told: &mut Findings,
) {
    let hub = &sources[relay];
    let ours = |s: &Spoke| s.peer.and_then(|i| hub.reading.document.peers[i].preshared_key.clone());
    let theirs = |s: &Spoke| s.relay_peer(sources).and_then(|p| p.preshared_key.clone());
    let Some(hub_node) = network.relays().next().map(|r| r.name.clone()) else { return };
    if spokes.iter().all(|s| ours(s).is_none() && theirs(s).is_none()) {
        return;
    }
    network.preshared_keys = true;
    let keys = secrets.preshared_keys.entry(hub_node).or_default();
    for spoke in spokes {
        let (ours, theirs) = (ours(spoke), theirs(spoke));
        let place = || {
            spoke
                .peer
                .map_or_else(|| format!("{}:1:1", hub.name), |i| hub.place_in_peer(i, Key::PresharedKey))
        };
        let name = &spoke.node.name;
        if let (Some(a), Some(b)) = (&ours, &theirs)
            && a != b
        {
            told.add(
                "preshared-key",
                place(),
                format!(
                    "the preshared key with {name} is not the one in its own file: no handshake succeeds"
                ),
                format!("this one is taken; give {name} a new file: `wgrelay export {name}`"),
            );
        }
        let key = ours.or(theirs).unwrap_or_else(|| {
            told.add(
                "preshared-key",
                place(),
                format!("{name} has no preshared key where others have: it gets one"),
                format!(
                    "give {name} a new file: `wgrelay export {name}`; or preshared_keys = false under [network]"
                ),
            );
            make()
        });
        keys.insert(name.clone(), key);
    }
}
