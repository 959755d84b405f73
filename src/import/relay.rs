//! What the relay's file says of its node, and the sites behind it, which only its clients' lines name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::addresses::is_usable;
use super::docker::{self, Engine, is_named_by_id};
use super::finding::Findings;
use super::hooks::Hooks;
use super::routes::{is_host, is_private, leads_out, led, outside};
use super::spokes::Spoke;
use super::{Source, masquerade, names, with_interface};
use crate::model::{
    Endpoint, Nat, Network, Node, NodeName, Platform, Problem, PublicKey, Role, Site, SiteInterface,
};
use crate::wgconf::{Dns, Key, Peer};

/// What a relay is called that nothing names.
const UNNAMED: &str = "relay";

/// Makes the relay's node, without its sites.
pub(super) fn node(
    sources: &[Source<'_>],
    relay: usize,
    network: &Network,
    told: &mut Findings,
) -> Result<Node, Problem> {
    let source = &sources[relay];
    let interface = &source.reading.document.interface;
    let key = key(sources, relay).ok_or_else(|| {
        Problem::error(
            "no-relay-key",
            format!("{}:1:1", source.name),
            "the relay's file has no private key, and no client's file has its public key",
            "add its PrivateKey, or name a client's file, too",
        )
    })?;
    let usable = || interface.addresses.iter().map(IpNet::addr).filter(|a| is_usable(network, a));
    let v4 = usable().find_map(|a| if let IpAddr::V4(v4) = a { Some(v4) } else { None });
    let address = v4.unwrap_or_else(|| free(sources, network));
    let v6 = usable().find_map(|a| if let IpAddr::V6(v6) = a { Some(v6) } else { None });
    let v6 = v6.or_else(|| free6(sources, network).filter(|_| interface.addresses.is_empty()));
    let name = names::node(Some(source), (source.start(), &interface.comments), UNNAMED, network, told);
    let mut node = with_interface(Node::new(name, Role::Relay, address, key), source, network, told);
    node.address6 = v6;
    node.platform = match names::platform(&node.name, &[]) {
        Platform::Docker => Platform::Docker,
        _ => Platform::Linux,
    };
    let taken = [Some(IpAddr::V4(address)), node.address6.map(IpAddr::V6)];
    for extra in interface.addresses.iter().filter(|a| !taken.contains(&Some(a.addr()))) {
        let is_nets = |a: &IpNet| network.subnets().iter().any(|n| n.addr() == a.addr());
        if is_nets(extra) {
            let instead = if extra.addr().is_ipv6() { "no IPv6 address".into() } else { address.to_string() };
            told.add(
                "network-address",
                source.place(Key::Address),
                format!(
                    "{extra} is the address of the subnet itself, and no node's: the relay gets {instead}"
                ),
                "clients that ask it for names, or are pinged by it, have to know",
            );
            continue;
        }
        told.add(
            "address-left-out",
            source.place(Key::Address),
            format!("{extra} is not taken over: a node has one address of each family in the tunnel"),
            "",
        );
    }
    super::addresses::lengths(source, network, told);
    node.endpoint = endpoint(sources, relay, key, told);
    node.listen_port =
        interface.listen_port.filter(|p| *p > 0 && Some(*p) != node.endpoint.as_ref().map(|e| e.port));
    Ok(node)
}

/// The relay's key: its own, else the one that the files of its peers have in common.
pub(super) fn key(sources: &[Source<'_>], relay: usize) -> Option<PublicKey> {
    sources[relay].key.or_else(|| key_of_others(sources, relay))
}

/// The address that clients ask for names and that is none of theirs, else the first one of the subnet that no file names.
fn free(sources: &[Source<'_>], network: &Network) -> Ipv4Addr {
    let named = named(sources);
    let v4 = |ip: IpAddr| if let IpAddr::V4(v4) = ip { Some(v4) } else { None };
    asked(sources, network, &named).find_map(v4).unwrap_or_else(|| {
        let mut hosts = network.subnet.hosts();
        hosts.find(|a| !named.contains(&IpAddr::V4(*a))).unwrap_or_else(|| network.subnet.network())
    })
}

/// The same of IPv6, where the network has any.
fn free6(sources: &[Source<'_>], network: &Network) -> Option<Ipv6Addr> {
    let named = named(sources);
    let v6 = |ip: IpAddr| if let IpAddr::V6(v6) = ip { Some(v6) } else { None };
    let subnet = network.subnet6?;
    asked(sources, network, &named)
        .find_map(v6)
        .or_else(|| subnet.hosts().find(|a| *a != subnet.network() && !named.contains(&IpAddr::V6(*a))))
}

/// The addresses that the files name for somebody.
fn named(sources: &[Source<'_>]) -> BTreeSet<IpAddr> {
    let documents = sources.iter().map(|s| &s.reading.document);
    documents
        .flat_map(|d| d.interface.addresses.iter().chain(d.peers.iter().flat_map(|p| &p.allowed_ips)))
        .map(IpNet::addr)
        .collect()
}

/// Name servers in the tunnel that are nobody's of those who are named.
fn asked<'s>(
    sources: &'s [Source<'_>],
    network: &'s Network,
    named: &'s BTreeSet<IpAddr>,
) -> impl Iterator<Item = IpAddr> + 's {
    let servers = sources.iter().flat_map(|s| &s.reading.document.interface.dns);
    let servers = servers.filter_map(|dns| if let Dns::Server(ip) = dns { Some(*ip) } else { None });
    servers.filter(|ip| is_usable(network, ip) && !named.contains(ip))
}

/// The peer that the other files have in common, which is none of them.
fn key_of_others(sources: &[Source<'_>], relay: usize) -> Option<PublicKey> {
    let mut count: BTreeMap<PublicKey, usize> = BTreeMap::new();
    let of_peers =
        |s: &Source<'_>| sources[relay].reading.document.peers.iter().any(|p| Some(p.public_key) == s.key);
    let others = || sources.iter().enumerate().filter(|(i, _)| *i != relay);
    // A file of another network does not vote, where there are files of this one.
    let ours = others().any(|(_, s)| of_peers(s));
    for peer in others().filter(|(_, s)| !ours || of_peers(s)).flat_map(|(_, s)| &s.reading.document.peers) {
        if sources.iter().all(|s| s.key != Some(peer.public_key)) {
            *count.entry(peer.public_key).or_default() += 1;
        }
    }
    count.into_iter().max_by_key(|(_, n)| *n).map(|(key, _)| key)
}

/// Where the clients call the relay.
fn endpoint(sources: &[Source<'_>], relay: usize, key: PublicKey, told: &mut Findings) -> Option<Endpoint> {
    let mut count: BTreeMap<String, (usize, Endpoint)> = BTreeMap::new();
    let others = || sources.iter().enumerate().filter(|(i, _)| *i != relay).map(|(_, s)| s);
    // A client that knows the relay by another key still knows where it is.
    let is_known = |key: PublicKey| sources.iter().any(|s| s.key == Some(key));
    let ours = |s: &Source<'_>, p: &Peer| {
        p.public_key == key || (s.reading.document.peers.len() == 1 && !is_known(p.public_key))
    };
    let peers = |s: &Source<'_>| -> Vec<Endpoint> {
        let own = s.reading.document.peers.iter().filter(|p| ours(s, p));
        own.filter_map(|p| p.endpoint.clone()).collect()
    };
    for endpoint in others().flat_map(peers) {
        count.entry(endpoint.to_string()).or_insert((0, endpoint)).0 += 1;
    }
    let best = count.values().max_by_key(|(n, _)| *n).map(|(_, e)| e.clone());
    let best = best.or_else(|| said(&sources[relay]));
    if best.is_none() {
        told.add(
            "no-endpoint",
            format!("{}:1:1", sources[relay].name),
            "no client's file says where the relay is reached",
            "endpoint = \"HOST:51820\" under the relay's [node.…]",
        );
    }
    best
}

/// Where the relay is reached by a comment of its own file: Nyr's `# ENDPOINT HOST`.
fn said(source: &Source<'_>) -> Option<Endpoint> {
    let interface = &source.reading.document.interface;
    let comments = source.head.iter().chain(&interface.comments);
    let host = comments.filter_map(|c| c.strip_prefix("ENDPOINT ")).next()?.trim();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("{host}:{}", interface.listen_port?).parse().ok()
}

/// Finds the sites behind the relay: private prefixes that clients send to it, that no spoke has, and that its own file carries;
/// and whether it lets spokes out.
pub(super) fn sites(
    sources: &[Source<'_>],
    relay: usize,
    spokes: &[Spoke],
    network: &mut Network,
    name: &NodeName,
    engine: Engine<'_>,
    told: &mut Findings,
) {
    let source = &sources[relay];
    let hooks = &source.hooks;
    // Another subnet of the interface is the tunnel's, too: nothing that is behind the relay.
    let tunnels = source.reading.document.interface.addresses.iter().map(IpNet::trunc);
    let tunnels = tunnels.filter(|net| net.prefix_len() < net.max_prefix_len());
    let claimed: Vec<IpNet> = spokes
        .iter()
        .map(|s| &s.node)
        .chain(network.nodes.values())
        .flat_map(|n| n.sites.iter().map(|s| s.subnet))
        .chain(network.subnets())
        .chain(tunnels)
        .collect();
    let addresses: BTreeSet<IpAddr> = sources
        .iter()
        .flat_map(|s| s.reading.document.interface.addresses.iter().map(IpNet::addr))
        .chain(source.reading.document.peers.iter().flat_map(|p| p.allowed_ips.iter().map(IpNet::addr)))
        .collect();
    let meets = |net: &IpNet| claimed.iter().any(|c| c.contains(net) || net.contains(c));
    let is_candidate = |net: &IpNet| is_private(net) && !meets(net) && !is_host(net, &addresses);
    let is_carried = |net: &IpNet| hooks.carries(net) || engine.of_subnet(net).is_some();
    let mut subnets: BTreeSet<IpNet> = BTreeSet::new();
    let is_claimed = |net: &IpNet| claimed.iter().any(|c| c.contains(net));
    let mut lets_out = false;
    for spoke in spokes {
        let (Some(file), Some(peer)) = (spoke.source(sources), spoke.relay_peer(sources)) else { continue };
        // The pieces of everything but a few are no places.
        let is_cut = outside(&peer.allowed_ips.iter().copied().collect()).is_some();
        let allowed: BTreeSet<IpNet> = peer.allowed_ips.iter().copied().collect();
        let sent = led(file, &allowed).unwrap_or(allowed);
        let nets = || sent.iter().copied().filter(|net| !is_cut || !is_private(net) || claimed.contains(net));
        subnets.extend(nets().filter(|net| is_candidate(net) && is_carried(net)));
        let lost: Vec<String> =
            nets().filter(|n| is_candidate(n) && !is_carried(n)).map(|n| n.to_string()).collect();
        if !lost.is_empty() {
            told.add(
                "not-behind-relay",
                spoke.relay_place(sources, Key::AllowedIps),
                format!(
                    "nothing in {} says that {} is behind the relay: only {} sends there",
                    source.name,
                    lost.join(", "),
                    spoke.node.name
                ),
                format!("if it is: add it as a [[node.{name}.site]]"),
            );
        }
        let (goes, stays): (Vec<_>, Vec<_>) =
            nets().filter(|n| leads_out(n, network) && !is_claimed(n)).partition(|n| hooks.lets_out(n));
        lets_out |= !goes.is_empty();
        let out: Vec<String> = stays.iter().map(ToString::to_string).collect();
        if !goes.is_empty() && !out.is_empty() {
            if network.subnet6.is_some() {
                let family = if goes[0].addr().is_ipv6() { "IPv6" } else { "IPv4" };
                told.add(
                    "egress-of-one-family",
                    source.place(Key::PostUp),
                    format!(
                        "{} lets out {family} alone, and {} sends {}, too: with egress = true that leaves as well",
                        source.name,
                        spoke.node.name,
                        out.join(", ")
                    ),
                    format!("routes without it under [node.{}] keeps it out of the tunnel", spoke.node.name),
                );
            }
        } else if !out.is_empty() {
            let more = if out.len() > 1 { format!(" and {} more", out.len() - 1) } else { String::new() };
            told.add(
                "no-egress",
                spoke.relay_place(sources, Key::AllowedIps),
                format!(
                    "{} sends {}{more} to the relay, and {} lets nothing out to the Internet",
                    spoke.node.name, out[0], source.name
                ),
                format!("if rules that stand elsewhere let it out until now: egress = true under [node.{name}] does"),
            );
        }
        // A private prefix around the tunnel's: what of it is no place of the network went wherever the relay sent it.
        let around: Vec<IpNet> =
            nets().filter(|n| is_private(n) && claimed.iter().any(|c| n.contains(c) && n != c)).collect();
        if let (Some(net), true) =
            (around.first(), hooks.lets_anything_out() || hooks.forwards_everything.is_some())
        {
            told.add(
                "wider-than-network",
                spoke.relay_place(sources, Key::AllowedIps),
                format!("{} sends all of {net} to the relay; what of that is no place of the network is not forwarded any more", spoke.node.name),
                format!("add what is behind the relay as a [[node.{name}.site]]"),
            );
        }
    }
    let whole = subnets.clone();
    subnets.retain(|net| !whole.iter().any(|wider| wider != net && wider.contains(net)));
    let found = docker::with_unnamed(source, name, subnets.into_iter().collect(), &claimed, engine, told);
    let mut sites = network.nodes[name].sites.clone();
    sites.extend(found);
    for (site, link) in sites.iter().filter_map(|s| Some((s, s.interface.as_ref()?))) {
        docker_bridge(source, name, site, link, told);
    }
    let unknown: Vec<String> =
        sites.iter().filter(|s| s.interface.is_none()).map(|s| s.subnet.to_string()).collect();
    if !unknown.is_empty() {
        told.add(
            "site-without-interface",
            source.place(Key::PostUp),
            format!("the file does not say behind which link {} is", unknown.join(", ")),
            "wgrelay up looks for a link with an address in it; interface = \"…\" under the site says it",
        );
    }
    let what = match sites.as_slice() {
        [] if lets_out => "wgrelay masquerades what spokes send to the Internet, and nothing else".into(),
        [] => hooks.only_link().map_or_else(
            || "wgrelay masquerades nothing here".into(),
            |link| {
                format!(
                    "no client's file says what is behind {link}: add it as a [[node.{name}.site]]; egress = true under [node.{name}] \
                     where clients leave to the Internet there"
                )
            },
        ),
        _ => limited_to(&sites),
    };
    masquerade::tell(source, &what, told);
    let without_file: Vec<&str> =
        spokes.iter().filter(|s| s.source(sources).is_none()).map(|s| s.node.name.as_str()).collect();
    masquerade::unused(source, &without_file, (lets_out, &sites), name, told);
    let node = network.nodes.get_mut(name).expect("the relay was put in before");
    node.egress = lets_out;
    node.sites = sites;
}

/// A site as the hooks of its node have it.
pub(super) fn site(subnet: IpNet, hooks: &Hooks, engine: Engine<'_>) -> Site {
    // Of several links the engine tells which one it is.
    let by_subnet = engine.of_subnet(&subnet);
    let of_subnet = |link: &&str| engine.of_bridge(link).is_some_and(|(name, _)| Some(name) == by_subnet);
    let link = hooks.link_of(&subnet).or_else(|| hooks.links().into_iter().find(of_subnet));
    let by_bridge = link.and_then(|link| engine.of_bridge(link)).map(|(name, _)| name);
    let interface = match (by_bridge.or(by_subnet), link) {
        (Some(network), Some(link)) if is_named_by_id(link) => {
            Some(SiteInterface::Docker(network.to_owned()))
        }
        (_, Some(link)) => Some(SiteInterface::Link(link.to_owned())),
        _ => None,
    };
    let nat = if hooks.masquerades(&subnet) { Nat::Masquerade } else { Nat::Auto };
    // Containers have their bridge as the gateway; of a Docker network by name that goes without saying.
    let gateway = matches!(&interface, Some(SiteInterface::Link(link)) if is_named_by_id(link));
    Site { interface, nat, gateway, ..Site::new(subnet) }
}

pub(super) fn docker_bridge(
    source: &Source<'_>,
    node: &NodeName,
    site: &Site,
    link: &SiteInterface,
    told: &mut Findings,
) {
    match link {
        SiteInterface::Link(bridge) if is_named_by_id(bridge) => told.add(
            "docker-bridge",
            source.place(Key::PostUp),
            format!(
                "{bridge} is the bridge of a Docker network, and has another name when that network is made again"
            ),
            format!(
                "interface = \"docker:NETWORK\" under [[node.{node}.site]] {}: `docker network ls` has its name beside {}",
                site.subnet,
                bridge.trim_start_matches("br-")
            ),
        ),
        SiteInterface::Docker(network) => told.add(
            "docker-bridge",
            source.place(Key::PostUp),
            format!("the bridge here is Docker's network {network} today: interface = \"docker:{network}\" is written"),
            "",
        ),
        SiteInterface::Link(_) => {}
    }
}

pub(super) fn limited_to(sites: &[Site]) -> String {
    let list: Vec<String> = sites.iter().map(|s| s.subnet.to_string()).collect();
    format!("wgrelay masquerades what the tunnel sends to {}, and nothing else", list.join(", "))
}
