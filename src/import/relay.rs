//! Which file is the relay's, what it says of its node, and the sites behind it, which only its clients' lines name.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::finding::Findings;
use super::spokes::Spoke;
use super::{Source, names, with_interface};
use crate::model::{
    Endpoint, Nat, Network, Node, NodeName, Platform, Problem, PublicKey, Role, Site, SiteInterface, quoted,
};
use crate::wgconf::Key;

/// What a relay is called that nothing names.
const UNNAMED: &str = "relay";

/// Finds the relay's file: the one that most others have as a peer, that calls few and is called by many.
pub(super) fn find(sources: &[Source<'_>]) -> Result<usize, Problem> {
    let rank = |(i, source): &(usize, &Source<'_>)| {
        let document = &source.reading.document;
        let others = sources.iter().enumerate().filter(|(j, _)| j != i);
        let named = source.key.map_or(0, |key| {
            others.filter(|(_, o)| o.reading.document.peers.iter().any(|p| p.public_key == key)).count()
        });
        let calls = document.peers.iter().filter(|p| p.endpoint.is_some()).count();
        let is_called = document.peers.len() > calls;
        (named > 0 && is_called, named, is_called, document.peers.len(), document.interface.listen_port)
    };
    // Of equals the first one.
    let best = sources.iter().enumerate().rev().max_by_key(rank);
    match best {
        Some((i, source)) if source.reading.document.peers.len() > 1 || rank(&(i, source)).2 => Ok(i),
        _ if sources.iter().all(|s| s.reading.document.peers.is_empty()) => Err(Problem::error(
            "no-relay",
            format!("{}:1:1", sources.first().map_or("", |s| s.name)),
            "none of these files has a [Peer]: there is nothing that a network could be made from",
            format!(
                "`wgrelay lint {}` says what is wrong in it, line by line",
                quoted(sources.first().map_or("FILE", |s| s.name))
            ),
        )),
        _ => Err(Problem::error(
            "no-relay",
            format!("{}:1:1", sources.first().map_or("", |s| s.name)),
            "none of these files is a relay's: each has one peer and calls it",
            "name the relay's file, too: the one with a [Peer] for each client",
        )),
    }
}

/// Makes the relay's node, without its sites.
pub(super) fn node(
    sources: &[Source<'_>],
    relay: usize,
    network: &Network,
    told: &mut Findings,
) -> Result<Node, Problem> {
    let source = &sources[relay];
    let interface = &source.reading.document.interface;
    let key = match source.key {
        Some(key) => key,
        None => key_of_others(sources, relay).ok_or_else(|| {
            Problem::error(
                "no-relay-key",
                format!("{}:1:1", source.name),
                "the relay's file has no private key, and no client's file has its public key",
                "add its PrivateKey, or name a client's file, too",
            )
        })?,
    };
    let mut v4 = interface.addresses.iter().filter_map(|a| match a.addr() {
        IpAddr::V4(a) if network.subnet.contains(&a) => Some(a),
        _ => None,
    });
    let address = v4.next().unwrap_or_else(|| network.subnet.network());
    let name = names::node(Some(source), &interface.comments, UNNAMED, network, told);
    let mut node = with_interface(Node::new(name, Role::Relay, address, key), source);
    node.address6 = interface.addresses.iter().find_map(|a| match a.addr() {
        IpAddr::V6(a) if network.subnet6.is_some_and(|net| net.contains(&a)) => Some(a),
        _ => None,
    });
    node.platform = match names::platform(&node.name, &[]) {
        Platform::Docker => Platform::Docker,
        _ => Platform::Linux,
    };
    let taken = [Some(IpAddr::V4(address)), node.address6.map(IpAddr::V6)];
    for extra in interface.addresses.iter().filter(|a| !taken.contains(&Some(a.addr()))) {
        told.add(
            "address-left-out",
            source.place(Key::Address),
            format!("{extra} is not taken over: a node has one address of each family in the tunnel"),
            "",
        );
    }
    node.endpoint = endpoint(sources, relay, key, told);
    node.listen_port =
        interface.listen_port.filter(|p| *p > 0 && Some(*p) != node.endpoint.as_ref().map(|e| e.port));
    Ok(node)
}

/// The peer that the other files have in common, which is none of them.
fn key_of_others(sources: &[Source<'_>], relay: usize) -> Option<PublicKey> {
    let mut count: BTreeMap<PublicKey, usize> = BTreeMap::new();
    let others = sources.iter().enumerate().filter(|(i, _)| *i != relay);
    for peer in others.flat_map(|(_, s)| &s.reading.document.peers) {
        if sources.iter().all(|s| s.key != Some(peer.public_key)) {
            *count.entry(peer.public_key).or_default() += 1;
        }
    }
    count.into_iter().max_by_key(|(_, n)| *n).map(|(key, _)| key)
}

/// Where the clients call the relay.
fn endpoint(sources: &[Source<'_>], relay: usize, key: PublicKey, told: &mut Findings) -> Option<Endpoint> {
    let mut count: BTreeMap<String, (usize, &Endpoint)> = BTreeMap::new();
    let others = || sources.iter().enumerate().filter(|(i, _)| *i != relay).map(|(_, s)| s);
    // A client that knows the relay by another key still knows where it is.
    let ours = |s: &Source<'_>| s.reading.document.peers.len() == 1;
    let peers = others().flat_map(|s| s.reading.document.peers.iter().map(move |p| (s, p)));
    for endpoint in
        peers.filter(|(s, p)| p.public_key == key || ours(s)).filter_map(|(_, p)| p.endpoint.as_ref())
    {
        count.entry(endpoint.to_string()).or_insert((0, endpoint)).0 += 1;
    }
    let best = count.values().max_by_key(|(n, _)| *n).map(|(_, e)| (*e).clone());
    match &best {
        None => told.add(
            "no-endpoint",
            format!("{}:1:1", sources[relay].name),
            "no client's file says where the relay is reached",
            "endpoint = \"HOST:51820\" under the relay's [node.…]",
        ),
        Some(best) => {
            for source in others() {
                let other = source.reading.document.peers.iter().filter_map(|p| p.endpoint.as_ref());
                for other in other.filter(|e| *e != best && count.contains_key(&e.to_string())) {
                    told.add(
                        "several-endpoints",
                        source.place(Key::Endpoint),
                        format!("this file calls the relay at {other}, others at {best}, which is taken"),
                        "a network's relay has one endpoint; a name can mean another address at home",
                    );
                }
            }
        }
    }
    best
}

/// Finds the sites behind the relay: what clients send to it and no spoke has; and whether it lets spokes out.
pub(super) fn sites(
    sources: &[Source<'_>],
    relay: usize,
    spokes: &[Spoke],
    network: &mut Network,
    name: &NodeName,
    docker: &BTreeMap<IpNet, String>,
    told: &mut Findings,
) {
    let source = &sources[relay];
    let tunnels = network.subnets();
    let claimed: Vec<IpNet> =
        spokes.iter().flat_map(|s| s.node.sites.iter().map(|s| s.subnet)).chain(tunnels).collect();
    let meets = |net: &IpNet| claimed.iter().any(|c| c.contains(net) || net.contains(c));
    // What is every address, or half of them, is no site.
    let is_site = |net: &IpNet| net.prefix_len() > 1 && !meets(net);
    let mut subnets: Vec<IpNet> =
        spokes.iter().flat_map(|s| s.allowed_ips(sources)).filter(is_site).collect();
    subnets.sort();
    subnets.dedup();
    let whole = subnets.clone();
    subnets.retain(|net| !whole.iter().any(|wider| wider != net && wider.contains(net)));
    let link = source.hooks.only_link();
    let lets_out = spokes.iter().any(|s| s.sends_everything(sources));
    let masquerades = !source.hooks.masquerades.is_empty();
    let sites: Vec<Site> = subnets.iter().map(|net| site(*net, link, masquerades, docker)).collect();
    for (site, link) in sites.iter().filter_map(|s| Some((s, s.interface.as_ref()?))) {
        docker_bridge(source, name, site, link, told);
    }
    if !sites.is_empty() && link.is_none() {
        let list: Vec<String> = subnets.iter().map(ToString::to_string).collect();
        told.add(
            "site-without-interface",
            source.place(Key::PostUp),
            format!("the file does not say behind which link {} is", list.join(", ")),
            "wgrelay up looks for a link with an address in it; interface = \"…\" under the site says it",
        );
    }
    let what = match sites.as_slice() {
        [] if lets_out => "wgrelay masquerades what full-tunnel spokes send out, and nothing else".into(),
        [] => link.map_or_else(
            || "wgrelay masquerades nothing here".into(),
            |link| {
                format!(
                    "no client's file says which network is behind {link}: add it as a [[node.{name}.site]]"
                )
            },
        ),
        _ => limited_to(&sites),
    };
    masquerades_everything(source, &what, told);
    let node = network.nodes.get_mut(name).expect("the relay was put in before");
    node.egress = lets_out && masquerades && (sites.is_empty() || link.is_none());
    node.sites = sites;
}

/// A site as the hooks of its node have it.
pub(super) fn site(
    subnet: IpNet,
    link: Option<&str>,
    masquerades: bool,
    docker: &BTreeMap<IpNet, String>,
) -> Site {
    let interface = match (docker.get(&subnet), link) {
        (Some(network), Some(link)) if is_docker_bridge(link) => Some(SiteInterface::Docker(network.clone())),
        (_, Some(link)) => Some(SiteInterface::Link(link.to_owned())),
        _ => None,
    };
    let nat = if masquerades { Nat::Masquerade } else { Nat::Auto };
    // Containers have their bridge as the gateway; of a Docker network by name that goes without saying.
    let gateway = matches!(&interface, Some(SiteInterface::Link(link)) if is_docker_bridge(link));
    Site { subnet, interface, nat, gateway, address: None, egress: false }
}

/// Docker names a network's bridge after the first twelve digits of its id.
fn is_docker_bridge(link: &str) -> bool {
    link.strip_prefix("br-").is_some_and(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

pub(super) fn docker_bridge(
    source: &Source<'_>,
    node: &NodeName,
    site: &Site,
    link: &SiteInterface,
    told: &mut Findings,
) {
    match link {
        SiteInterface::Link(bridge) if is_docker_bridge(bridge) => told.add(
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

pub(super) fn masquerades_everything(source: &Source<'_>, instead: &str, told: &mut Findings) {
    let Some(blanket) = source.hooks.masquerades.iter().find(|m| !m.limited) else { return };
    let by = blanket.link.as_ref().map_or_else(String::new, |link| format!(" by {link}"));
    told.add(
        "masquerades-everything",
        source.place(Key::PostUp),
        format!("PostUp masquerades all that leaves{by}, not only what comes out of the tunnel"),
        instead,
    );
}
