//! Files that `wgrelay export` wrote: the relay's tells its network in comments, and where no file was changed since, that is it.
//!
//! Policy, promises, platforms, what a node is attached to itself: no `.conf` has a key for these.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::finding::Findings;
use super::{ImportOptions, Source};
use crate::config::{Secrets, parse_network};
use crate::model::{
    DEFAULT_MTU, FULL_TUNNEL, Network, Node, PresharedKey, Problem, PublicKey, Timestamp, conf_mark,
    derive_for_spoke, has_own_table,
};
use crate::wgconf::{Document, Table};

/// The network that a relay's file tells, if its own lines and those of the other files are still what it would export.
///
/// # Errors
/// The files were changed, and their network has several relays, which the lines alone do not tell.
pub(super) fn network(
    sources: &[Source<'_>],
    relay: usize,
    options: &mut ImportOptions<'_>,
    told: &mut Findings,
) -> Result<Option<(Network, Secrets)>, Problem> {
    let source = &sources[relay];
    let text = crate::config::network_of_comments(&source.reading.document.interface.comments);
    let Some(mut network) = text.and_then(|text| parse_network(text.as_bytes(), "network.toml").value) else {
        return Ok(None);
    };
    let Some(hub) = network.nodes.values().find(|n| n.is_relay() && key_fits(source, n)).cloned() else {
        return Ok(None);
    };
    if let Err((file, message)) = is_whole(sources, relay, &network, &hub, options.now) {
        if network.relays().nth(1).is_some() {
            return Err(Problem::error(
                "changed-export",
                format!("{file}:1:1"),
                format!("{message}; its network has several relays, and no line of a .conf tells that"),
                "give the files as `wgrelay export --all` wrote them, and change the network that comes of them",
            ));
        }
        told.add(
            "changed-export",
            format!("{file}:1:1"),
            message,
            "what the lines say counts; what only the comments of the relay's file say is lost: policy, promises, platforms",
        );
        return Ok(None);
    }
    let secrets = secrets(sources, &network, options);
    if let Some(name) = options.name.clone() {
        network.name = name;
    }
    Ok(Some((network, secrets)))
}

/// Says whether every file is what the network gives its node; else which is not, and why.
fn is_whole(
    sources: &[Source<'_>],
    relay: usize,
    network: &Network,
    hub: &Node,
    now: Timestamp,
) -> Result<(), (String, String)> {
    let source = &sources[relay];
    if !is_relays(network, hub, &source.reading.document, now) {
        let message = "the file was changed since `wgrelay export` wrote it";
        return Err((source.name.into(), message.into()));
    }
    let mut seen = BTreeSet::from([hub.name.clone()]);
    for other in sources.iter().enumerate().filter(|(i, _)| *i != relay).map(|(_, s)| s) {
        let node = network.nodes.values().find(|n| other.key == Some(n.public_key));
        let fits = node.is_some_and(|n| {
            let is_its = if n.is_relay() { is_relays } else { is_spokes };
            seen.insert(n.name.clone()) && is_its(network, n, &other.reading.document, now)
        });
        if !fits {
            let message = format!("the file is not what the network in {} gives its node", source.name);
            return Err((other.name.into(), message));
        }
    }
    Ok(())
}

fn key_fits(source: &Source<'_>, node: &Node) -> bool {
    source.key.is_none_or(|key| key == node.public_key)
}

fn sorted<T: Ord + Clone>(list: &[T]) -> BTreeSet<T> {
    list.iter().cloned().collect()
}

/// What an exported file has of prefixes: a link of less than 1280 bytes has no IPv6.
fn carried(network: &Network, node: &Node, prefixes: impl IntoIterator<Item = IpNet>) -> BTreeSet<IpNet> {
    let has_v6 = network.mtu_of(node) >= super::MIN_MTU6;
    prefixes.into_iter().filter(|net| has_v6 || matches!(net, IpNet::V4(_))).collect()
}

fn is_interface(network: &Network, node: &Node, document: &Document) -> bool {
    let interface = &document.interface;
    let mtu = node.mtu.or_else(|| Some(network.mtu).filter(|mtu| *mtu != DEFAULT_MTU));
    let table = has_own_table(node).then(|| Table::Named(FULL_TUNNEL.to_string()));
    let dns: Vec<String> = interface.dns.iter().map(ToString::to_string).collect();
    sorted(&interface.addresses) == carried(network, node, network.interface_addresses(node))
        && interface.listen_port == node.listen_port()
        && interface.mtu == mtu
        && dns == node.dns
        && interface.table == table
        && interface.fwmark == conf_mark(node)
        && interface.save_config.is_none()
}

fn is_relays(network: &Network, relay: &Node, document: &Document, now: Timestamp) -> bool {
    let others: BTreeMap<PublicKey, &Node> =
        network.peers_of(relay, now).map(|other| (other.public_key, other)).collect();
    is_interface(network, relay, document)
        && document.peers.len() == others.len()
        && document.peers.iter().all(|peer| {
            others.get(&peer.public_key).is_some_and(|other| {
                let mut allowed = network.allowed_ips(relay, other, now);
                allowed.retain(|net| !relay.local.contains(net));
                sorted(&peer.allowed_ips) == allowed
                    && peer.endpoint == other.endpoint
                    && (peer.preshared_key.is_none() || network.preshared_keys)
                    && peer.keepalive == network.keepalive_towards(relay, other)
            })
        })
}

fn is_spokes(network: &Network, node: &Node, document: &Document, now: Timestamp) -> bool {
    let [peer] = document.peers.as_slice() else { return false };
    let Some(home) = network.home_of(node, now) else { return false };
    let allowed = carried(network, node, derive_for_spoke(network, node, now));
    is_interface(network, node, document)
        && peer.public_key == home.public_key
        && sorted(&peer.allowed_ips) == allowed
        && peer.endpoint == home.endpoint
        && peer.keepalive == network.keepalive_of(node)
        && (peer.preshared_key.is_none() || network.preshared_keys)
}

/// The keys that the files hold; a pair that is in none of them, as one with a spoke that was switched off, gets a preshared key.
fn secrets(sources: &[Source<'_>], network: &Network, options: &mut ImportOptions<'_>) -> Secrets {
    let mut secrets = Secrets::default();
    let files: BTreeMap<PublicKey, &Source<'_>> =
        sources.iter().filter_map(|source| Some((source.key?, source))).collect();
    for node in network.nodes.values() {
        let own = files.get(&node.public_key);
        if let Some(key) = own.and_then(|s| s.reading.document.interface.private_key.as_ref()) {
            secrets.private_keys.insert(node.name.clone(), key.clone());
        }
    }
    if !network.preshared_keys {
        return secrets;
    }
    for (relay, other) in network.key_pairs() {
        let of = |file: &Node, peer: &Node| {
            let file = files.get(&file.public_key)?;
            file.reading.document.peers.iter().find(|p| p.public_key == peer.public_key)
        };
        let sections = || of(relay, other).into_iter().chain(of(other, relay));
        // A pair whose files have none has none; one that is in no file gets one.
        let key = sections().find_map(|p| p.preshared_key.clone());
        let key = key.or_else(|| sections().next().map(|_| PresharedKey::NONE));
        let key = key.unwrap_or_else(|| (options.preshared_key)());
        secrets.set_preshared_key(&relay.name, &other.name, key);
    }
    secrets
}
