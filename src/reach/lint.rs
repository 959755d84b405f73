//! What is odd about a network, though its file is valid: lines that work, but probably not as meant.
//!
//! What the reader of the file says already (nested sites, an endpoint inside a site, a relay without endpoint) is not said
//! again.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{
    Derivation, EndpointHost, Network, Node, NodeName, PlaceRef, Platform, Problem, Routes, Timestamp,
    ascii_domain, without,
};

/// The largest MTU in bytes that fits 1500 over IPv4, and over IPv6: 60 and 80 bytes of IP, UDP and WireGuard headers.
const MTU_OVER_V4: u16 = 1440;
const MTU_OVER_V6: u16 = 1420;
/// Every IPv6 link carries as much (RFC 8200, section 5).
const MTU_V6: u16 = 1280;

/// What routers for the home give their LAN.
const HOME: [&str; 7] = [
    "192.168.0.0/24",
    "192.168.1.0/24",
    "192.168.2.0/24",
    "192.168.8.0/24",
    "192.168.178.0/24",
    "10.0.0.0/24",
    "10.0.1.0/24",
];

/// Looks for oddities; every problem is a warning.
pub fn lint(network: &Network, now: Timestamp) -> Vec<Problem> {
    let mut out = Vec::new();
    shadowed(network, now, &mut out);
    let part = part_that_tells(network);
    let called = network.relays().filter(|r| r.is_active(now)).filter_map(|r| Some((r, address_of(r)?)));
    let called: Vec<(&Node, IpAddr)> = called.collect();
    let derivation = Derivation::of(&part, now);
    let asked_for = asked_for(network);
    // Spokes with the same lines get one warning together.
    let mut alike: BTreeMap<String, (Vec<&Node>, BTreeSet<IpNet>)> = BTreeMap::new();
    for spoke in network.spokes().filter(|n| n.is_active(now)) {
        keepalive(network, spoke, &mut out);
        let allowed = derivation.for_spoke(spoke);
        if !allowed.iter().any(|net| asked_for.iter().any(|asked| net.contains(asked))) {
            continue;
        }
        let key = format!(
            "{:?}{:?}{:?}{}{allowed:?}",
            spoke.routes,
            spoke.local,
            spoke.relays,
            spoke.platform.as_str()
        );
        let key = if spoke.sites.is_empty() { key } else { format!("{key}{}", spoke.name) };
        alike.entry(key).or_insert_with(|| (Vec::new(), allowed)).0.push(spoke);
    }
    for (spokes, allowed) in alike.values() {
        let of_home = |(relay, _): &&(&Node, IpAddr)| network.are_peers(relay, spokes[0], now);
        let called: Vec<_> = called.iter().filter(of_home).copied().collect();
        endpoint_inside(&called, spokes, allowed, &mut out);
        swallowed_lan(spokes, allowed, &mut out);
    }
    mtu(network, now, &mut out);
    dns(network, now, &mut out);
    out.sort();
    out
}

/// What of a network decides whether a spoke's AllowedIPs hold a relay's endpoint or a home network: of the sites only those
/// that touch one. With all of them, thousands of spokes with a site each would take the square of their number.
pub(super) fn part_that_tells(network: &Network) -> Network {
    let asked_for = asked_for(network);
    let touches = |site: &IpNet| asked_for.iter().any(|net| net.contains(site) || site.contains(net));
    let named: BTreeSet<&NodeName> = network
        .allow
        .iter()
        .flat_map(|rule| rule.from.iter().chain(&rule.to))
        .filter_map(|place| if let PlaceRef::Node(name) = place { Some(name) } else { None })
        .collect();
    let nodes = network.nodes.values().filter_map(|node| {
        let is_of_use = node.is_relay() || named.contains(&node.name);
        let sites: Vec<_> = node.sites.iter().filter(|s| touches(&s.prefix())).cloned().collect();
        (is_of_use || !sites.is_empty()).then(|| (node.name.clone(), Node { sites, ..node.clone() }))
    });
    let nodes = nodes.collect();
    Network {
        nodes,
        forward: Vec::new(),
        expect: Vec::new(),
        allow: network.allow.clone(),
        name: network.name.clone(),
        ..*network
    }
}

/// The endpoints that spokes call, and what home networks use.
pub(super) fn asked_for(network: &Network) -> Vec<IpNet> {
    let endpoints = network.relays().filter_map(address_of).map(IpNet::from);
    endpoints.chain(HOME.iter().filter_map(|t| t.parse().ok())).collect()
}

fn address_of(relay: &Node) -> Option<IpAddr> {
    match relay.endpoint.as_ref()?.host {
        EndpointHost::Ip(ip) => Some(ip),
        EndpointHost::Name(_) => None,
    }
}

/// A site whose every address is in longer prefixes of other sites.
fn shadowed(network: &Network, now: Timestamp, out: &mut Vec<Problem>) {
    let sites = || {
        let active = network.nodes.values().filter(|n| n.is_active(now));
        active.flat_map(|n| n.sites.iter().enumerate().map(move |(i, s)| (n, i, s)))
    };
    let mut all: Vec<IpNet> = sites().map(|(.., s)| s.prefix()).collect();
    all.sort();
    for (node, index, site) in sites() {
        let last = IpNet::from(site.prefix().broadcast());
        let from = all.partition_point(|n| *n < site.prefix());
        let inside: Vec<IpNet> = all[from..]
            .iter()
            .take_while(|n| **n <= last)
            .filter(|n| **n != site.prefix() && site.prefix().contains(*n))
            .copied()
            .collect();
        if !inside.is_empty() && without(&BTreeSet::from([site.prefix()]), &inside).is_empty() {
            out.push(Problem::warning(
                "shadowed-prefix",
                format!("node.{}.site[{}]", node.name, node.written_place(index)),
                format!(
                    "no packet ever goes to site {} of {}: longer prefixes cover all of it",
                    site.prefix(),
                    node.name
                ),
                "take it away, or make the sites inside it smaller",
            ));
        }
    }
    for node in network.spokes() {
        let Routes::Only(list) = &node.routes else { continue };
        for net in list {
            if let Some(wider) = list.iter().find(|w| *w != net && w.contains(net)) {
                out.push(Problem::warning(
                    "shadowed-prefix",
                    format!("node.{}.routes", node.name),
                    format!("{net} in routes of {} says nothing: {wider} is there too", node.name),
                    format!("take {net} away"),
                ));
            }
        }
    }
}

/// A gateway that cannot be called: no endpoint, and no keepalive that holds its session open.
fn keepalive(network: &Network, spoke: &Node, out: &mut Vec<Problem>) {
    if !spoke.sites.is_empty() && spoke.endpoint.is_none() && network.keepalive_of(spoke).is_none() {
        out.push(Problem::warning(
            "no-keepalive",
            format!("node.{}.keepalive", spoke.name),
            format!(
                "{} has sites, no endpoint and no keepalive: behind NAT nobody reaches its sites until it speaks first",
                spoke.name
            ),
            format!("keepalive = 25 under [node.{}]", spoke.name),
        ));
    }
}

fn names(spokes: &[&Node]) -> String {
    match spokes {
        [one] => one.name.to_string(),
        [one, rest @ ..] => format!("{} and {} more", one.name, rest.len()),
        [] => String::new(),
    }
}

/// An endpoint that the spoke itself would look for in the tunnel. A full tunnel marks its own packets and is safe, and so is a
/// client that keeps them outside anyway.
fn endpoint_inside(
    called: &[(&Node, IpAddr)],
    spokes: &[&Node],
    allowed: &BTreeSet<IpNet>,
    out: &mut Vec<Problem>,
) {
    let is_marked = spokes[0].routes == Routes::Full && spokes[0].platform.is_linux();
    if spokes[0].platform.binds_to_uplink() || is_marked {
        return;
    }
    for (relay, ip) in called {
        let Some(net) = allowed.iter().find(|n| n.prefix_len() > 0 && n.contains(ip)) else { continue };
        out.push(Problem::warning(
            "endpoint-in-tunnel",
            format!("node.{}.routes", spokes[0].name),
            format!(
                "{net} of {} goes into the tunnel and holds {ip}, the endpoint of {}: no session can start",
                names(spokes),
                relay.name
            ),
            format!("local = [\"{net}\"] where the spoke is on that network; else another endpoint"),
        ));
    }
}

/// A prefix that a client out and about may stand in itself.
fn swallowed_lan(spokes: &[&Node], allowed: &BTreeSet<IpNet>, out: &mut Vec<Problem>) {
    let roams =
        matches!(spokes[0].platform, Platform::Windows | Platform::Macos | Platform::Android | Platform::Ios);
    if !roams || spokes[0].routes == Routes::Full {
        return;
    }
    let home: Vec<IpNet> = HOME.iter().filter_map(|t| t.parse().ok()).collect();
    for net in allowed.iter().filter(|n| n.prefix_len() > 0) {
        let Some(lan) = home.iter().find(|h| net.contains(*h)) else { continue };
        out.push(Problem::warning(
            "swallows-lan",
            format!("node.{}.routes", spokes[0].name),
            format!(
                "{net} goes into the tunnel of {} and holds {lan}, which many home networks use: at home it loses its own \
                 LAN or this prefix",
                names(spokes)
            ),
            "renumber that site, or send a narrower prefix",
        ));
    }
}

/// Entries of `dns` that the node's client has no use for.
fn dns(network: &Network, now: Timestamp, out: &mut Vec<Problem>) {
    for node in network.nodes.values().filter(|n| n.is_active(now) && !n.dns.is_empty()) {
        let place = || format!("node.{}.dns", node.name);
        let is_server = |text: &&String| text.parse::<IpAddr>().is_ok();
        if node.platform.is_linux() && !node.dns.iter().any(|text| is_server(&text)) {
            out.push(Problem::warning(
                "search-domain-alone",
                place(),
                format!("dns of {} names no server: wg-quick sets search domains only beside one", node.name),
                "add the address of the server that knows them",
            ));
        }
        for domain in node.dns.iter().filter(|text| !is_server(text)) {
            let what = if !domain.is_ascii() {
                "no client takes another name than one of letters, digits and hyphens"
            } else if node.platform == Platform::Android && domain.contains('_') {
                "WireGuard for Android refuses a file with an underscore there"
            } else {
                continue;
            };
            out.push(Problem::warning(
                "bad-search-domain",
                place(),
                format!("{domain:?} in dns of {}: {what}", node.name),
                match ascii_domain(domain) {
                    Some(ascii) if !domain.is_ascii() => format!("write it as DNS does: {ascii}"),
                    _ => "call the domain otherwise".into(),
                },
            ));
        }
    }
}

/// A node that sends IPv6 into a tunnel whose MTU is less than IPv6 can do with.
fn mtu6(
    network: &Network,
    node: &Node,
    known: &OnceCell<Derivation>,
    now: Timestamp,
    out: &mut Vec<Problem>,
) {
    let mtu = network.mtu_of(node);
    if mtu >= MTU_V6 || node.is_relay() {
        return;
    }
    let allowed = known.get_or_init(|| Derivation::of(network, now)).for_spoke(node);
    let Some(net) = allowed.iter().find(|n| n.addr().is_ipv6()) else { return };
    out.push(Problem::warning(
        "mtu-without-ipv6",
        format!("node.{}.mtu", node.name),
        format!("{net} goes into the tunnel of {}, whose MTU of {mtu} bytes lets no IPv6 through", node.name),
        format!("use {MTU_V6} or more, or take the IPv6 prefixes out of its routes"),
    ));
}

fn mtu(network: &Network, now: Timestamp, out: &mut Vec<Problem>) {
    let known = OnceCell::new();
    for node in network.spokes().filter(|n| n.is_active(now)) {
        mtu6(network, node, &known, now, out);
    }
    let active = || network.nodes.values().filter(|n| n.is_active(now));
    let over_v6 = active()
        .any(|n| matches!(n.endpoint.as_ref().map(|e| &e.host), Some(EndpointHost::Ip(IpAddr::V6(_)))));
    let limit = if over_v6 { MTU_OVER_V6 } else { MTU_OVER_V4 };
    let mut tell = |place: String, mtu: u16, what: String, hint: String| {
        if mtu > limit {
            let message = format!(
                "{what} of {mtu} bytes leaves no room for the outer headers in 1500: packets are fragmented"
            );
            out.push(Problem::warning("mtu-large", place, message, format!("use {limit} or less{hint}")));
        } else if mtu < MTU_V6 {
            let message = format!("{what} of {mtu} bytes is less than any IPv6 network carries");
            out.push(Problem::warning("mtu-small", place, message, format!("use {MTU_V6} or more{hint}")));
        }
    };
    tell("network.mtu".into(), network.mtu, "an MTU".into(), String::new());
    for node in active() {
        if let Some(mtu) = node.mtu {
            tell(format!("node.{}.mtu", node.name), mtu, format!("the MTU of {}", node.name), String::new());
        }
    }
    for relay in network.relays().filter(|r| r.is_active(now)) {
        let least = network.mtu_of(relay);
        let wider: Vec<&Node> = network.peers_of(relay, now).filter(|n| network.mtu_of(n) > least).collect();
        let Some(first) = wider.first() else { continue };
        out.push(Problem::warning(
            "mtu-narrows",
            format!("node.{}.mtu", relay.name),
            format!(
                "the MTU of relay {} ({least}) is below that of {} ({}): their larger packets rely on path MTU discovery",
                relay.name,
                names(&wider),
                network.mtu_of(first)
            ),
            format!("mtu = {least} under [network]"),
        ));
    }
}
