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
        return Some(own.trunc());
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
        (peers.iter().all(|p| net.contains(p)) || length == pick(SHORTEST)).then_some(net)
    })
}
