//! Sites that all call each other, and none that the others meet at: each is a relay of the network, because relays have a
//! session with each other.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::docker::Engine;
use super::finding::Findings;
use super::relay::site;
use super::routes::is_private;
use super::{Source, addresses};
use crate::config::Secrets;
use crate::model::{Endpoint, Network, NodeName, PresharedKey, PublicKey, quoted};
use crate::wgconf::{Key, Peer};

/// Fewer are a relay and its client.
const FEWEST: usize = 3;

fn peer_of<'s>(source: &'s Source<'_>, key: Option<PublicKey>) -> Option<(usize, &'s Peer)> {
    let key = key?;
    source.reading.document.peers.iter().enumerate().find(|(_, p)| p.public_key == key)
}

/// Finds the files of a mesh, in their order: three or more, each with a peer for all the others, and two that are called at least.
/// `None`: the files are no mesh.
pub(super) fn members(sources: &[Source<'_>]) -> Option<Vec<usize>> {
    let knows = |i: usize, j: usize| peer_of(&sources[i], sources[j].key).is_some();
    let are_mutual = |i: usize, j: usize| i == j || (knows(i, j) && knows(j, i));
    let mut members: Vec<usize> = (0..sources.len())
        .filter(|i| sources[*i].key.is_some() && sources[*i].reading.document.peers.len() + 1 >= FEWEST)
        .collect();
    // Two files of one key are one site's, and told elsewhere.
    let mut keys = BTreeSet::new();
    members.retain(|i| keys.insert(sources[*i].key));
    let by_others = |i: usize| {
        (0..sources.len()).filter_map(move |j| peer_of(&sources[j], sources[i].key)).map(|(_, p)| p)
    };
    let is_called = |i: usize| by_others(i).any(|p| p.endpoint.is_some());
    let has_site =
        |i: usize| by_others(i).any(|p| p.allowed_ips.iter().any(|n| n.prefix_len() < n.max_prefix_len()));
    let strangers = |i: usize, all: &[usize]| all.iter().filter(|j| !are_mutual(i, **j)).count();
    // Who knows the fewest goes first, until all know all; of equals one that is no site.
    while let Some(worst) =
        members.iter().copied().max_by_key(|i| (strangers(*i, &members), !is_called(*i), !has_site(*i)))
    {
        if strangers(worst, &members) == 0 {
            break;
        }
        members.retain(|i| *i != worst);
    }
    let several = members.len() >= FEWEST && members.iter().filter(|i| is_called(**i)).count() > 1;
    (several && !is_around_one(sources, &members)).then_some(members)
}

/// Whether one of the members is the others' relay, and these have sessions with each other besides: they send to it what is for
/// another, or it alone serves somebody else and not all of the rest are sites that can be called.
fn is_around_one(sources: &[Source<'_>], members: &[usize]) -> bool {
    let addresses = |i: usize| sources[i].reading.document.interface.addresses.iter().map(IpNet::addr);
    let sent_to = |from: usize, to: usize| {
        peer_of(&sources[from], sources[to].key).into_iter().flat_map(|(_, p)| &p.allowed_ips)
    };
    let pairs = || members.iter().flat_map(|a| members.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b);
    let carries = pairs().any(|(from, to)| {
        let mut third = members.iter().copied().filter(|m| ![from, to].contains(m)).flat_map(addresses);
        third.any(|ip| sent_to(from, to).any(|net| net.contains(&ip)))
    });
    let is_member = |key: PublicKey| members.iter().any(|m| sources[*m].key == Some(key));
    let serves = |i: usize| {
        let hooks = &sources[i].hooks;
        sources[i].reading.document.peers.iter().any(|p| !is_member(p.public_key))
            || hooks.lets_anything_out()
            || hooks.forwards_everything.is_some()
    };
    let has_site = |i: usize| {
        let others = members.iter().copied().filter(|m| *m != i);
        others
            .flat_map(|other| sent_to(other, i))
            .any(|n| n.prefix_len() < n.max_prefix_len() && n.prefix_len() > 1)
    };
    let is_server = |i: usize| {
        let port = sources[i].reading.document.interface.listen_port.filter(|p| *p > 0);
        let others = members.iter().filter_map(|m| peer_of(&sources[*m], sources[i].key));
        let mut called = others.filter_map(|(_, p)| p.endpoint.as_ref());
        // A host of the same link is called there by those beside it alone.
        port.is_some() && called.any(|e| e.socket_addr().is_none_or(|at| !is_private(&IpNet::from(at.ip()))))
    };
    let serving: Vec<usize> = members.iter().copied().filter(|i| serves(*i)).collect();
    let alone = |hub: usize| members.iter().any(|i| *i != hub && !has_site(*i) && !is_server(*i));
    carries || matches!(serving.as_slice(), [hub] if alone(*hub))
}

/// Tells that the files were taken for a mesh.
pub(super) fn tell(sources: &[Source<'_>], members: &[(usize, NodeName)], told: &mut Findings) {
    let names: Vec<&str> = members.iter().map(|(_, name)| name.as_str()).collect();
    let first = sources[members[0].0].name;
    told.add(
        "mesh",
        format!("{first}:1:1"),
        format!(
            "{} all call each other: each is a relay of the network, and keeps its sessions with the others",
            names.join(", ")
        ),
        format!("import --relay {} makes that one the relay, and the others its spokes", quoted(first)),
    );
}

/// Gives each site what the others send to it, and a keepalive where it has one to keep itself reachable.
pub(super) fn sites(
    sources: &[Source<'_>],
    members: &[(usize, NodeName)],
    network: &mut Network,
    told: &mut Findings,
) {
    let of_spokes: BTreeSet<IpNet> =
        network.spokes().flat_map(|n| n.sites.iter().map(|s| s.subnet)).collect();
    for (member, name) in members {
        let source = &sources[*member];
        let others = || members.iter().filter(|(i, _)| i != member);
        let own: Vec<_> = addresses::own(Some(source), None, network);
        let is_own = |net: &IpNet| net.prefix_len() == net.max_prefix_len() && own.contains(&net.addr());
        let tunnels = network.subnets();
        let mut given: BTreeMap<IpNet, Vec<usize>> = BTreeMap::new();
        for (other, _) in others() {
            let Some((i, peer)) = peer_of(&sources[*other], source.key) else { continue };
            for net in peer.allowed_ips.iter().filter(|net| !is_own(net)) {
                if net.prefix_len() <= 1 {
                    told.add(
                        "route-to-spoke",
                        sources[*other].place_in_peer(i, Key::AllowedIps),
                        format!("{net}, the way to everywhere, is not taken over: the network has no node that leaves to the Internet by {name} alone"),
                        "egress = true under the node that lets others out, and routes = \"full\" under those that use it",
                    );
                } else if !tunnels.iter().any(|t| t.contains(net) || net.contains(t))
                    && !of_spokes.contains(net)
                {
                    given.entry(*net).or_default().push(*other);
                }
            }
        }
        for (net, by) in &given {
            let lacking: Vec<&str> =
                others().filter(|(i, _)| !by.contains(i)).map(|(_, other)| other.as_str()).collect();
            if !lacking.is_empty() {
                told.add(
                    "sites-differ",
                    sources[by[0]].place(Key::AllowedIps),
                    format!(
                        "{net} is behind {name} for this file and not for {}: in the network it is for all",
                        lacking.join(", ")
                    ),
                    "[[allow]] rules say who may reach it",
                );
            }
        }
        let nowhere = BTreeMap::new();
        let sites = given.keys().map(|net| site(*net, &source.hooks, Engine(&nowhere))).collect();
        let kept = source.reading.document.peers.iter().filter_map(|p| p.keepalive).max().filter(|k| *k > 0);
        let default = network.keepalive;
        let called: BTreeMap<NodeName, Endpoint> = others()
            .filter_map(|(other, name)| {
                let endpoint = peer_of(source, sources[*other].key)?.1.endpoint.clone()?;
                let usual = network.nodes.get(name)?.endpoint.as_ref()?;
                (endpoint != *usual).then(|| (name.clone(), endpoint))
            })
            .collect();
        let Some(node) = network.nodes.get_mut(name) else { continue };
        node.sites = sites;
        node.endpoint_of = called;
        if node.endpoint.is_none() {
            node.keepalive = Some(kept.unwrap_or(0)).filter(|k| *k != default);
        } else if let Some(seconds) = kept {
            told.add(
                "keepalive-left-out",
                source.place(Key::PersistentKeepalive),
                format!("the keepalive to the others ({seconds} s) is not taken over: {name} has an endpoint, and they call it there"),
                "",
            );
        }
    }
}

/// Says at which relays a client is known: its home first, the others stand by.
pub(super) fn homes(sources: &[Source<'_>], members: &[(usize, NodeName)], network: &mut Network) {
    for node in network.nodes.values_mut().filter(|n| !n.is_relay()) {
        let own = sources.iter().find(|s| s.key == Some(node.public_key));
        let calls = |member: usize| own.is_some_and(|s| peer_of(s, sources[member].key).is_some());
        let mut known: Vec<&(usize, NodeName)> = members
            .iter()
            .filter(|(i, _)| peer_of(&sources[*i], Some(node.public_key)).is_some() || calls(*i))
            .collect();
        known.sort_by_key(|(i, _)| !calls(*i));
        let known = if known.is_empty() { members.iter().take(1).collect() } else { known };
        node.relays = known.into_iter().map(|(_, name)| name.clone()).collect();
    }
}

/// Keeps the preshared keys of sites with each other; a pair that has none, or no session, has zeros.
pub(super) fn preshared_keys(
    sources: &[Source<'_>],
    members: &[(usize, NodeName)],
    network: &mut Network,
    secrets: &mut Secrets,
    told: &mut Findings,
) {
    let file = |name: &NodeName| members.iter().find(|(_, n)| n == name).map(|(i, _)| &sources[*i]);
    let key_in = |of: Option<&Source<'_>>, other: PublicKey| {
        let (i, peer) = peer_of(of?, Some(other))?;
        Some((i, peer.preshared_key.clone()?))
    };
    let mut pairs: Vec<(NodeName, NodeName, Option<PresharedKey>)> = Vec::new();
    for (relay, other) in network.key_pairs() {
        let known = secrets.preshared_keys.get(&relay.name).and_then(|keys| keys.get(&other.name));
        let (a, b) = (file(&relay.name), file(&other.name));
        let key = match (key_in(a, other.public_key), key_in(b, relay.public_key)) {
            (Some((i, ours)), theirs) if b.is_some() && theirs.as_ref().is_none_or(|(_, t)| *t != ours) => {
                told.add(
                    "preshared-key",
                    a.map_or_else(String::new, |s| s.place_in_peer(i, Key::PresharedKey)),
                    format!(
                        "{} and {} do not have the same preshared key: no handshake succeeds",
                        relay.name, other.name
                    ),
                    format!(
                        "this one is taken; give {} a new file: `wgrelay export {}`",
                        other.name, other.name
                    ),
                );
                Some(ours)
            }
            (Some((_, key)), _) => Some(key),
            (None, Some((i, theirs))) => {
                told.add(
                    "preshared-key",
                    b.map_or_else(String::new, |s| s.place_in_peer(i, Key::PresharedKey)),
                    format!(
                        "{} has a preshared key with {}, which has none: no handshake succeeds",
                        other.name, relay.name
                    ),
                    format!("it is taken; give {} a new file: `wgrelay export {}`", relay.name, relay.name),
                );
                Some(theirs)
            }
            (None, None) => known.cloned(),
        };
        pairs.push((relay.name.clone(), other.name.clone(), key));
    }
    if pairs.iter().all(|(.., key)| key.is_none()) {
        return;
    }
    network.preshared_keys = true;
    for (relay, other, key) in pairs {
        secrets.preshared_keys.entry(relay).or_default().insert(other, key.unwrap_or(PresharedKey::NONE));
    }
}
