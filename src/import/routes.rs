//! What each client sends into the tunnel, kept as written where it is not what the network gives it anyway.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::finding::Findings;
use super::spokes::Spoke;
use super::subnet::Origin;
use super::{Source, direct};
use crate::model::{Network, Node, NodeName, Routes, Timestamp, derive_for_spoke, without};
use crate::wgconf::{Key, Table};

const PRIVATE: [&str; 7] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// Whether every address of a prefix is one that the Internet has no way to.
pub(super) fn is_private(net: &IpNet) -> bool {
    PRIVATE.iter().filter_map(|t| t.parse::<IpNet>().ok()).any(|p| p.contains(net))
}

/// Whether a prefix leads to the Internet: it is public, or as wide as only a list of everything has it.
pub(super) fn leads_out(net: &IpNet, network: &Network) -> bool {
    !is_private(net) && !network.subnets().iter().any(|t| t.contains(net))
}

/// Keeps what clients send into the tunnel: everything, what the network gives them, or what is written.
pub(super) fn keep(
    sources: &[Source<'_>],
    spokes: &[Spoke],
    network: &mut Network,
    origin: Origin,
    told: &mut Findings,
) {
    for spoke in spokes {
        let (Some(source), Some(peer)) = (spoke.source(sources), spoke.relay_peer(sources)) else { continue };
        let name = &spoke.node.name;
        let place = spoke.relay_place(sources, Key::AllowedIps);
        let written = direct::sent(source, peer, sources, network);
        let allowed: BTreeSet<IpNet> = written.iter().copied().collect();
        let mut wanted = derive_for_spoke(network, &network.nodes[name], Timestamp(0));
        // Nobody lacks a subnet that did not exist before.
        wanted.retain(|net| origin != Origin::Chosen || *net != IpNet::V4(network.subnet));
        let everything =
            [0, 1].map(|v6| IpNet::new_assert(if v6 == 0 { [0; 4].into() } else { [0; 16].into() }, 0));
        let allowed = match led(source, &allowed) {
            Some(led) => {
                led_elsewhere(source, name, &allowed, &led, &wanted, told);
                led
            }
            None => allowed,
        };
        let allowed = own_sites_left_out(&place, &network.nodes[name], allowed, told);
        if written.is_empty() {
            sends_nothing(place.clone(), name, told);
        }
        let routes = if everything.iter().all(|net| allowed.contains(net)) {
            Routes::Full
        } else if let Some(outside) = outside(&allowed) {
            if let Some(node) = network.nodes.get_mut(name) {
                node.except = outside;
            }
            Routes::Full
        } else if allowed == wanted || allowed.is_empty() {
            Routes::Split
        } else {
            narrow(place, network, name, &allowed, &wanted, told);
            let mut list = written;
            let mut seen = BTreeSet::new();
            list.retain(|net| allowed.contains(net) && seen.insert(*net));
            list.extend(allowed.iter().filter(|net| !seen.contains(*net)));
            Routes::Only(list)
        };
        if let Some(node) = network.nodes.get_mut(name) {
            node.routes = routes;
        }
    }
}

/// Returns AllowedIPs without the client's own sites: hosts there are reached without the tunnel, and an exported file has none of it.
fn own_sites_left_out(
    place: &str,
    node: &Node,
    mut allowed: BTreeSet<IpNet>,
    told: &mut Findings,
) -> BTreeSet<IpNet> {
    // A default route, or half of one, is none of it.
    let around = |net: &IpNet| allowed.iter().find(|a| a.prefix_len() > 1 && a.contains(net)).copied();
    let own: Vec<(IpNet, IpNet)> =
        node.sites.iter().filter_map(|s| Some((s.subnet, around(&s.subnet)?))).collect();
    for (site, within) in &own {
        let of = if site == within { String::new() } else { format!("of {within} ") };
        told.add(
            "own-site",
            place.to_owned(),
            format!(
                "{of}{site} is left out: it is behind {} itself, which sends nothing of it into the tunnel",
                node.name
            ),
            "hosts there are reached by the node's own link",
        );
    }
    allowed.retain(|net| !own.iter().any(|(site, _)| site == net));
    allowed
}

/// Tells of a client that sent nothing to its relay and took nothing from it.
fn sends_nothing(place: String, name: &NodeName, told: &mut Findings) {
    told.add(
        "no-allowed-ips",
        place,
        format!("the relay has no AllowedIPs here: {name} sent it nothing, and took nothing from it"),
        "`wgrelay export` writes a file with what the network has; until it has that one, it reaches nobody",
    );
}

/// What a file sends into the tunnel whose `Table` has wg-quick route nothing by itself, or not for everybody: what its hooks
/// lead there, and of AllowedIPs what is no "everything"; `None`: wg-quick makes the routes.
pub(super) fn led(source: &Source<'_>, allowed: &BTreeSet<IpNet>) -> Option<BTreeSet<IpNet>> {
    let interface = &source.reading.document.interface;
    let is_usual = match interface.table.as_ref() {
        None | Some(Table::Auto) => true,
        Some(Table::Off) => false,
        Some(Table::Named(name)) => ["main", "254"].contains(&name.as_str()),
    };
    let is_wide = |net: &IpNet| net.prefix_len() <= 1;
    if is_usual
        || source.hooks.own
        || source.hooks.leads_everything
        || !allowed.iter().any(is_wide)
        || source.hooks.routed.iter().any(is_wide)
    {
        return None;
    }
    let connected =
        interface.addresses.iter().filter(|a| a.prefix_len() < a.max_prefix_len()).map(IpNet::trunc);
    let routed = source.hooks.routed.iter().copied();
    Some(allowed.iter().copied().filter(|net| !is_wide(net)).chain(connected).chain(routed).collect())
}

/// Tells of a client that took everything from its relay and sent only part of it there.
fn led_elsewhere(
    source: &Source<'_>,
    name: &NodeName,
    allowed: &BTreeSet<IpNet>,
    led: &BTreeSet<IpNet>,
    wanted: &BTreeSet<IpNet>,
    told: &mut Findings,
) {
    let list =
        |nets: &mut dyn Iterator<Item = &IpNet>| nets.map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let wide = list(&mut allowed.iter().filter(|net| net.prefix_len() <= 1));
    let sends = if led.is_empty() { wanted } else { led };
    told.add(
        "led-elsewhere",
        source.place(Key::Table),
        format!("AllowedIPs have {wide}, and this line keeps wg-quick from sending all of it into the tunnel: {name} sends {}", list(&mut sends.iter())),
        format!("routes = \"full\" under [node.{name}] sends everything; rules of your own go on choosing what else goes there"),
    );
}

/// Returns what a list of everything but a few prefixes leaves out; `None`: it is no such list.
pub(super) fn outside(allowed: &BTreeSet<IpNet>) -> Option<Vec<IpNet>> {
    /// More than these are no list that somebody made of what to leave out.
    const FEW: usize = 24;
    let allowed: Vec<IpNet> = allowed.iter().copied().collect();
    let everything = ["0.0.0.0/0", "::/0"].iter().filter_map(|t| t.parse::<IpNet>().ok()).collect();
    let left: Vec<IpNet> = without(&everything, &allowed).into_iter().collect();
    let is_list = (1..=FEW).contains(&left.len()) && left.iter().all(|net| net.prefix_len() >= 7);
    is_list.then_some(left)
}

/// Tells what a client does not reach that is there: other nodes' addresses and sites.
fn narrow(
    place: String,
    network: &Network,
    name: &NodeName,
    allowed: &BTreeSet<IpNet>,
    wanted: &BTreeSet<IpNet>,
    told: &mut Findings,
) {
    let is_sent = |net: &IpNet| allowed.iter().any(|a| a.contains(net));
    let own: Vec<IpNet> = network.nodes[name].sites.iter().map(|s| s.subnet).collect();
    let others = network.nodes.values().filter(|n| n.name != *name);
    let lost: Vec<IpNet> = others
        .flat_map(|n| n.host_prefixes().into_iter().chain(n.sites.iter().map(|s| s.subnet)))
        .filter(|net| !is_sent(net) && !own.iter().any(|o| o.contains(net)))
        .collect();
    let missing: Vec<IpNet> =
        wanted.iter().filter(|w| !is_sent(w) && lost.iter().any(|l| w.contains(l))).copied().collect();
    if missing.is_empty() {
        return;
    }
    let behind = |net: &IpNet| {
        let owner = network.nodes.values().find(|n| n.sites.iter().any(|s| s.subnet == *net));
        owner.map_or_else(|| net.to_string(), |o| format!("{net} (behind {})", o.name))
    };
    let list: Vec<String> = missing.iter().map(behind).collect();
    let plain: Vec<String> = missing.iter().map(|n| format!("\"{n}\"")).collect();
    told.add(
        "narrow-allowed-ips",
        place,
        format!("AllowedIPs lack {}: {name} reaches nothing there, and nothing there reaches it", list.join(", ")),
        format!(
            "kept as it is, for `wgrelay check` to show; routes = \"split\" under [node.{name}] sends all of it, and \
             local = [{}] says that it is attached there itself",
            plain.join(", ")
        ),
    );
}

/// The addresses of hosts that are peers' own: no place of somebody else's, whoever sends to them.
pub(super) fn is_host(net: &IpNet, addresses: &BTreeSet<IpAddr>) -> bool {
    net.prefix_len() == net.max_prefix_len() && addresses.contains(&net.addr())
}
