//! Files that `wgrelay export` wrote: the relay's tells its network in comments, and where no file was changed since, that is it.
//!
//! Policy, promises, platforms, what a node is attached to itself: no `.conf` has a key for these.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::finding::Findings;
use super::{ImportOptions, Source};
use crate::config::{Secrets, parse_network};
use crate::model::{
    DEFAULT_MTU, FULL_TUNNEL, Network, Node, PresharedKey, PublicKey, Timestamp, claimed_by_spoke, conf_mark,
    derive_for_spoke, has_own_table,
};
use crate::wgconf::{Document, Table};

/// The network that a relay's file tells, if its own lines and those of the other files are still what it would export.
pub(super) fn network(
    sources: &[Source<'_>],
    relay: usize,
    options: &mut ImportOptions<'_>,
    told: &mut Findings,
) -> Option<(Network, Secrets)> {
    let source = &sources[relay];
    let text = crate::config::network_of_comments(&source.reading.document.interface.comments)?;
    let mut network = parse_network(text.as_bytes(), "network.toml").value?;
    let differs = |message: String, name: &str, told: &mut Findings| {
        told.add(
            "changed-export",
            format!("{name}:1:1"),
            message,
            "what the lines say counts; what only the comments of the relay's file say is lost: policy, promises, platforms",
        );
    };
    let now = options.now;
    let hub = network.nodes.values().find(|n| n.is_relay() && key_fits(source, n)).cloned()?;
    if !is_relays(&network, &hub, &source.reading.document, now) {
        differs("the file was changed since `wgrelay export` wrote it".into(), source.name, told);
        return None;
    }
    let mut seen = BTreeSet::from([hub.name.clone()]);
    for other in sources.iter().enumerate().filter(|(i, _)| *i != relay).map(|(_, s)| s) {
        let node = network.nodes.values().find(|n| !n.is_relay() && other.key == Some(n.public_key));
        let fits = node.is_some_and(|n| {
            seen.insert(n.name.clone()) && is_spokes(&network, &hub, n, &other.reading.document, now)
        });
        if !fits {
            differs(
                format!("the file is not what the network in {} gives its node", source.name),
                other.name,
                told,
            );
            return None;
        }
    }
    let secrets = secrets(sources, relay, &network, &hub, options);
    if let Some(name) = options.name.clone() {
        network.name = name;
    }
    Some((network, secrets))
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

fn is_relays(network: &Network, hub: &Node, document: &Document, now: Timestamp) -> bool {
    let spokes: BTreeMap<PublicKey, &Node> =
        network.spokes().filter(|s| s.is_active(now)).map(|s| (s.public_key, s)).collect();
    is_interface(network, hub, document)
        && document.peers.len() == spokes.len()
        && document.peers.iter().all(|peer| {
            spokes.get(&peer.public_key).is_some_and(|spoke| {
                sorted(&peer.allowed_ips) == claimed_by_spoke(spoke)
                    && peer.endpoint == spoke.endpoint
                    && (peer.preshared_key.is_none() || network.preshared_keys)
                    && peer.keepalive.is_none()
            })
        })
}

fn is_spokes(network: &Network, hub: &Node, node: &Node, document: &Document, now: Timestamp) -> bool {
    let [peer] = document.peers.as_slice() else { return false };
    let allowed = carried(network, node, derive_for_spoke(network, node, now));
    is_interface(network, node, document)
        && peer.public_key == hub.public_key
        && sorted(&peer.allowed_ips) == allowed
        && peer.endpoint == hub.endpoint
        && peer.keepalive == network.keepalive_of(node)
        && (peer.preshared_key.is_none() || network.preshared_keys)
}

/// The keys that the files hold; a spoke that is in none of them, as one that was switched off, gets a preshared key.
fn secrets(
    sources: &[Source<'_>],
    relay: usize,
    network: &Network,
    hub: &Node,
    options: &mut ImportOptions<'_>,
) -> Secrets {
    let mut secrets = Secrets::default();
    for node in network.nodes.values() {
        let own = sources.iter().find(|s| s.key == Some(node.public_key));
        if let Some(key) = own.and_then(|s| s.reading.document.interface.private_key.as_ref()) {
            secrets.private_keys.insert(node.name.clone(), key.clone());
        }
        if node.is_relay() || !network.preshared_keys {
            continue;
        }
        let peers = sources[relay].reading.document.peers.iter().filter(|p| p.public_key == node.public_key);
        let others = own.into_iter().flat_map(|s| &s.reading.document.peers);
        // A pair whose files have none has none; one that is in no file gets one.
        let sections = || peers.clone().chain(others.clone());
        let key = sections().find_map(|p| p.preshared_key.clone());
        let key = key.or_else(|| sections().next().map(|_| PresharedKey::NONE));
        let key = key.unwrap_or_else(|| (options.preshared_key)());
        secrets.preshared_keys.entry(hub.name.clone()).or_default().insert(node.name.clone(), key);
    }
    secrets
}
