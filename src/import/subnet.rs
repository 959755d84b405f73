//! The tunnel's subnets, which no `.conf` names: the relay's own address has its length, or the clients' lines tell it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Source;
use super::finding::Findings;
use crate::model::Network;
use crate::wgconf::{Document, Key};

/// The longest prefixes with room for a relay and a spoke.
const LONGEST: (u8, u8) = (30, 126);
/// The shortest that is taken for a tunnel's: a wider one is a list of everything.
const SHORTEST: (u8, u8) = (8, 16);
/// What is taken where nothing tells.
const USUAL: (u8, u8) = (24, 64);

/// Where a subnet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The relay has an address in it.
    Relay,
    /// The relay's file has none, and what it knows of its clients, or their files, have.
    Clients,
    /// No file has one: it is chosen among those that none of them names.
    Chosen,
}

/// Returns the IPv4 subnet: a network has one, and where the tunnel has none so far, one is chosen.
pub(super) fn v4(sources: &[Source<'_>], relay: usize) -> (Ipv4Net, Origin) {
    if let Some(IpNet::V4(net)) = of(sources, relay, false) {
        return (net, Origin::Relay);
    }
    match of_clients(sources, relay, false) {
        Some(IpNet::V4(net)) => (net, Origin::Clients),
        _ => (chosen(sources, relay), Origin::Chosen),
    }
}

/// Returns the IPv6 subnet; `None`: the relay has no IPv6 address.
pub(super) fn v6(sources: &[Source<'_>], relay: usize) -> Option<Ipv6Net> {
    let has_address = !sources[relay].reading.document.interface.addresses.is_empty();
    let net = if has_address { of(sources, relay, true) } else { of_clients(sources, relay, true) };
    match net {
        Some(IpNet::V6(net)) => Some(net),
        _ => None,
    }
}

/// Tells of a tunnel whose relay has no IPv4 address, or none at all.
pub(super) fn tell(
    source: &Source<'_>,
    network: &Network,
    origin: Origin,
    relay: Ipv4Addr,
    told: &mut Findings,
) {
    let subnet = network.subnet;
    let has_none = source.reading.document.interface.addresses.is_empty();
    let (message, hint) = match origin {
        Origin::Relay => return,
        Origin::Clients => (
            format!(
                "the relay's file gives it no {}address in the tunnel: it gets {relay} in {subnet}, which its clients' lines tell",
                if has_none { "" } else { "IPv4 " }
            ),
            format!("where something else gives it one, write that: address = \"…\" under its [node.…], inside {subnet}"),
        ),
        Origin::Chosen => (
            format!(
                "no file has an IPv4 address in the tunnel, and each node of a network has one: {subnet} is chosen, which none of \
                 the files names, and the relay gets {relay}"
            ),
            "what clients have goes on working as it is; a file that wgrelay exports has the IPv4 address, too".to_owned(),
        ),
    };
    told.add("no-address", source.place(Key::Address), message, hint);
}

fn of(sources: &[Source<'_>], relay: usize, ipv6: bool) -> Option<IpNet> {
    let pick = |(v4, v6): (u8, u8)| if ipv6 { v6 } else { v4 };
    let fits =
        |n: &IpNet| n.addr().is_ipv6() == ipv6 && (pick(SHORTEST)..=pick(LONGEST)).contains(&n.prefix_len());
    let addresses = &sources[relay].reading.document.interface.addresses;
    let own = addresses.iter().find(|a| a.addr().is_ipv6() == ipv6)?;
    if fits(own) {
        let others = addresses.iter().filter(|a| fits(a) && !own.contains(&a.addr()));
        return Some(
            others.fold(own.trunc(), |net, other| both(sources, relay, net, other.trunc()).unwrap_or(net)),
        );
    }
    let others = || sources.iter().enumerate().filter(|(i, _)| *i != relay).map(|(_, s)| &s.reading.document);
    let holds = |n: &&IpNet| fits(n) && n.contains(&own.addr());
    let addressed = others().flat_map(|d| &d.interface.addresses).filter(holds);
    let routed = others().flat_map(|d| &d.peers).flat_map(|p| &p.allowed_ips).filter(holds);
    let told = addressed.max_by_key(|n| n.prefix_len()).or_else(|| routed.max_by_key(|n| n.prefix_len()));
    if let Some(net) = told {
        return Some(net.trunc());
    }
    around(own.addr(), &peers(&sources[relay].reading.document, ipv6))
}

/// The first address of each of the relay's peers.
fn peers(relay: &Document, ipv6: bool) -> Vec<IpAddr> {
    let is_host = |n: &&IpNet| n.prefix_len() == n.max_prefix_len() && n.addr().is_ipv6() == ipv6;
    relay.peers.iter().filter_map(|p| p.allowed_ips.iter().find(is_host).map(IpNet::addr)).collect()
}

/// The usual subnet around an address, the relay's own /32, say, widened until every peer is inside.
fn around(own: IpAddr, peers: &[IpAddr]) -> Option<IpNet> {
    let (shortest, usual) = if own.is_ipv6() { (SHORTEST.1, USUAL.1) } else { (SHORTEST.0, USUAL.0) };
    (shortest..=usual).rev().find_map(|length| {
        let net = IpNet::new(own, length).ok()?.trunc();
        // The ends of a /31 are addresses as any other, and no node's in a wider one.
        let has =
            |ip: &IpAddr| net.contains(ip) && *ip != net.addr() && (own.is_ipv6() || *ip != net.broadcast());
        (peers.iter().chain([&own]).all(has) || length == shortest).then_some(net)
    })
}

/// The subnet of a relay without an address: the one that most of its clients' own addresses have, else the usual one around
/// what it sends to each of its peers.
fn of_clients(sources: &[Source<'_>], relay: usize, ipv6: bool) -> Option<IpNet> {
    let (shortest, longest) = if ipv6 { (SHORTEST.1, LONGEST.1) } else { (SHORTEST.0, LONGEST.0) };
    let peers = peers(&sources[relay].reading.document, ipv6);
    let others = || sources.iter().enumerate().filter(|(i, _)| *i != relay).map(|(_, s)| &s.reading.document);
    let typed = || others().flat_map(|d| &d.interface.addresses).filter(|a| a.addr().is_ipv6() == ipv6);
    let mut count: BTreeMap<IpNet, usize> = BTreeMap::new();
    for net in typed().filter(|a| (shortest..=longest).contains(&a.prefix_len())).map(IpNet::trunc) {
        *count.entry(net).or_default() += 1;
    }
    let told =
        count.into_iter().max_by_key(|(net, n)| (peers.iter().filter(|p| net.contains(*p)).count(), *n));
    if let Some((net, _)) = told {
        return Some(net);
    }
    let hosts: Vec<IpAddr> = if peers.is_empty() { typed().map(IpNet::addr).collect() } else { peers };
    around(*hosts.iter().min()?, &hosts)
}

/// A private subnet that no file names, with room for the relay and its peers.
fn chosen(sources: &[Source<'_>], relay: usize) -> Ipv4Net {
    /// Where the search begins: 10.66.0.0, which few have.
    const FIRST: u32 = u32::from_be_bytes([10, 66, 0, 0]);
    let documents = || sources.iter().map(|s| &s.reading.document);
    let named = documents().flat_map(|d| {
        d.interface.addresses.iter().chain(d.peers.iter().flat_map(|p| &p.allowed_ips)).map(IpNet::trunc)
    });
    // Who sends all of 10.0.0.0/8 into the tunnel names none of it.
    let named: Vec<Ipv4Net> = named
        .filter_map(|net| if let IpNet::V4(net) = net { Some(net) } else { None })
        .filter(|net| net.prefix_len() > SHORTEST.0)
        .collect();
    let members = sources[relay].reading.document.peers.len().max(sources.len()) + 3;
    let length =
        (SHORTEST.0..=USUAL.0).rev().find(|length| members <= 1 << (32 - length)).unwrap_or(SHORTEST.0);
    let size = 1u32 << (32 - length);
    let all = (0..(1u32 << (length - SHORTEST.0))).filter_map(|n| {
        let start = FIRST.wrapping_add(n.wrapping_mul(size)) & 0x00ff_ffff | 0x0a00_0000;
        Some(Ipv4Net::new(start.into(), length).ok()?.trunc())
    });
    let is_free = |net: &Ipv4Net| !named.iter().any(|n| n.contains(net) || net.contains(n));
    all.clone().find(is_free).or_else(|| all.clone().next()).unwrap_or_default()
}

/// The prefix around two subnets of one relay, whose members keep their addresses in it; `None`: it holds what is somebody else's.
fn both(sources: &[Source<'_>], relay: usize, one: IpNet, other: IpNet) -> Option<IpNet> {
    /// Subnets that are further apart have nothing to do with each other.
    const WIDEST: (u8, u8) = (12, 40);
    let shortest = if one.addr().is_ipv6() { WIDEST.1 } else { WIDEST.0 };
    let length = (shortest..one.prefix_len())
        .rev()
        .find(|length| IpNet::new(one.addr(), *length).is_ok_and(|net| net.contains(&other)))?;
    let around = IpNet::new(one.addr(), length).ok()?.trunc();
    let documents = || sources.iter().map(|s| &s.reading.document);
    let routed = documents().flat_map(|d| &d.peers).flat_map(|p| &p.allowed_ips);
    let mut strangers = routed.filter(|net| {
        around.contains(*net) && **net != around && !one.contains(*net) && !other.contains(*net)
    });
    let has_member = sources[relay]
        .reading
        .document
        .peers
        .iter()
        .flat_map(|p| &p.allowed_ips)
        .any(|net| other.contains(net));
    (has_member && strangers.next().is_none()).then_some(around)
}
