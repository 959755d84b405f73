//! The tunnel's subnets, which no `.conf` names: the relay's own address has its length, or the clients' lines tell it.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Source;
use crate::model::Problem;
use crate::wgconf::Key;

/// The longest prefixes with room for a relay and a spoke.
const LONGEST: (u8, u8) = (30, 126);
/// The shortest that is taken for a tunnel's: a wider one is a list of everything.
const SHORTEST: (u8, u8) = (8, 16);
/// What is taken where nothing tells.
const USUAL: (u8, u8) = (24, 64);

/// Returns the IPv4 subnet.
pub(super) fn v4(sources: &[Source<'_>], relay: usize) -> Result<Ipv4Net, Problem> {
    match of(sources, relay, false) {
        Some(IpNet::V4(net)) => Ok(net),
        _ => Err(Problem::error(
            "no-address",
            sources[relay].place(Key::Address),
            "the relay's file gives it no IPv4 address in the tunnel",
            "add Address = ADDRESS/LENGTH to its [Interface], such as 192.168.3.1/24",
        )),
    }
}

/// Returns the IPv6 subnet; `None`: the relay has no IPv6 address.
pub(super) fn v6(sources: &[Source<'_>], relay: usize) -> Option<Ipv6Net> {
    match of(sources, relay, true) {
        Some(IpNet::V6(net)) => Some(net),
        _ => None,
    }
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
    // The relay's own /32 and its peers': the usual subnet around it, widened until every peer is inside.
    let peers = sources[relay].reading.document.peers.iter().filter_map(|p| {
        p.allowed_ips
            .iter()
            .find(|n| n.prefix_len() == n.max_prefix_len() && n.addr().is_ipv6() == ipv6)
            .map(IpNet::addr)
    });
    let peers: Vec<IpAddr> = peers.collect();
    (pick(SHORTEST)..=pick(USUAL)).rev().find_map(|length| {
        let net = IpNet::new(own.addr(), length).ok()?.trunc();
        // The ends of a /31 are addresses as any other, and no node's in a wider one.
        let has = |ip: &IpAddr| net.contains(ip) && *ip != net.addr() && (ipv6 || *ip != net.broadcast());
        (peers.iter().chain([&own.addr()]).all(has) || length == pick(SHORTEST)).then_some(net)
    })
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
