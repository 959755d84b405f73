//! A node's addresses in the tunnel: what its own file says, else what the relay gives it, else a free one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Source;
use super::finding::Findings;
use super::subnet::Origin;
use crate::model::{Network, next_address};
use crate::wgconf::{Key, Peer};

/// Whether a node can have an address: it lies in the tunnel's subnet and is not the subnet's own.
pub(super) fn is_usable(network: &Network, ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let net = network.subnet;
            net.contains(v4) && *v4 != net.network() && *v4 != net.broadcast()
        }
        IpAddr::V6(v6) => network.subnet6.is_some_and(|net| net.contains(v6) && *v6 != net.network()),
    }
}

/// Addresses that a peer of the relay has, by its file and the relay's: those outside the tunnel's subnet, too.
pub(super) fn own(source: Option<&Source<'_>>, peer: Option<&Peer>, network: &Network) -> Vec<IpAddr> {
    let typed: Vec<IpAddr> = source
        .into_iter()
        .flat_map(|s| s.reading.document.interface.addresses.iter().map(IpNet::addr))
        .collect();
    let given: Vec<IpAddr> = hosts(peer);
    if source.is_some() || given.iter().any(|a| network.subnets().iter().any(|n| n.contains(a))) {
        return typed;
    }
    // Nothing else tells: what the relay sends to it alone, the first of each family.
    let first = |v6: bool| given.iter().find(|a| a.is_ipv6() == v6).copied();
    first(false).into_iter().chain(first(true)).collect()
}

fn hosts(peer: Option<&Peer>) -> Vec<IpAddr> {
    let nets = peer.into_iter().flat_map(|p| &p.allowed_ips);
    nets.filter(|n| n.prefix_len() == n.max_prefix_len()).map(IpNet::addr).collect()
}

/// Finds a spoke's addresses, and tells of those that it loses.
pub(super) fn of_spoke(
    source: Option<&Source<'_>>,
    peer: Option<(&Source<'_>, usize, &Peer)>,
    network: &Network,
    origin: Origin,
    told: &mut Findings,
) -> (Ipv4Addr, Option<Ipv6Addr>) {
    let known = own(source, peer.map(|(_, _, p)| p), network);
    let given = hosts(peer.map(|(_, _, p)| p));
    let free = |ip: &IpAddr| {
        is_usable(network, ip)
            && !network
                .nodes
                .values()
                .any(|n| IpAddr::V4(n.address) == *ip || n.address6.map(IpAddr::V6) == Some(*ip))
    };
    let candidates = || known.iter().chain(&given).copied().filter(free);
    let v4 = candidates().find_map(|a| if let IpAddr::V4(v4) = a { Some(v4) } else { None });
    let v6 = candidates().find_map(|a| if let IpAddr::V6(v6) = a { Some(v6) } else { None });
    let place = match (source, peer) {
        (Some(own), _) => own.place(Key::Address),
        (None, Some((hub, i, _))) => hub.place_in_peer(i, Key::AllowedIps),
        (None, None) => String::new(),
    };
    // A full subnet is told by the network's own rules.
    let chosen = v4.unwrap_or_else(|| next_address(network).unwrap_or_else(|_| network.subnet.network()));
    for stray in known.iter().filter(|a| ![Some(IpAddr::V4(chosen)), v6.map(IpAddr::V6)].contains(&Some(**a)))
    {
        let why = if network.subnets().iter().any(|n| n.contains(stray)) {
            "a node has one address of each family".to_owned()
        } else {
            let nets: Vec<String> = network.subnets().iter().map(ToString::to_string).collect();
            format!("it lies outside the tunnel's subnet {}", nets.join(", "))
        };
        told.add(
            "address-left-out",
            place.clone(),
            format!("{stray}, its own address, is not taken over: {why}"),
            "whoever calls it by that address calls it by its new one",
        );
    }
    // Of a subnet that is new to everybody the relay's file was told.
    if v4.is_none() && (v6.is_none() || origin != Origin::Chosen) {
        let needs = if v6.is_some() {
            "; IPv6 goes on as it is, IPv4 needs a new file"
        } else {
            ", and needs a new file"
        };
        told.add(
            "no-address",
            place,
            format!(
                "nothing gives it an IPv4 address of its own in {}: it gets {chosen}{needs}",
                network.subnet
            ),
            "`wgrelay export` writes it",
        );
    }
    if let Some(own) = source {
        lengths(own, network, told);
        if let Some((hub, i, p)) = peer {
            not_held(hub, i, p, &known, network, told);
        }
    }
    (chosen, v6)
}

/// Tells of addresses whose prefix has another length than the tunnel's subnet: an exported file has that one.
pub(super) fn lengths(own: &Source<'_>, network: &Network, told: &mut Findings) {
    let nets = network.subnets();
    let other = own.reading.document.interface.addresses.iter().filter_map(|address| {
        let net = nets.iter().find(|n| n.contains(&address.addr()))?;
        (net.prefix_len() != address.prefix_len())
            .then(|| (address.to_string(), format!("{}/{}", address.addr(), net.prefix_len())))
    });
    let (written, exported): (Vec<String>, Vec<String>) = other.unzip();
    if written.is_empty() {
        return;
    }
    let verb = if written.len() == 1 { "is" } else { "are" };
    told.add(
        "address-length",
        own.place(Key::Address),
        format!("{} {verb} {} in a file that wgrelay exports", written.join(", "), exported.join(", ")),
        "the file as it is goes on working; with the longer prefix, other members are reached by AllowedIPs alone",
    );
}

fn not_held(
    hub: &Source<'_>,
    index: usize,
    peer: &Peer,
    known: &[IpAddr],
    network: &Network,
    told: &mut Findings,
) {
    let inside = known.iter().filter(|a| network.subnets().iter().any(|n| n.contains(*a)));
    for lost in inside.filter(|a| !peer.allowed_ips.iter().any(|n| n.contains(*a))) {
        told.add(
            "source-not-allowed",
            hub.place_in_peer(index, Key::AllowedIps),
            format!("AllowedIPs of this peer do not hold {lost}, its own Address: the relay drops all that it sends"),
            "the network gives it what it needs",
        );
    }
}
