//! Where a flow starts and ends, as people write it.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::is_private::is_private;
use crate::model::{Network, Node, NodeName, PlaceRef, nearest, net_carried_over};

/// A start or an end of a flow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A node, by its tunnel addresses.
    Node(NodeName),
    /// An address in a site, a node's in the tunnel, or one on a bridge of a node's.
    Address(IpAddr),
    /// A host in a site, or in that part of one, that is no node's own address.
    Site(IpNet),
    /// Any address outside the network.
    Internet,
    /// This address outside the network.
    Outside(IpAddr),
    /// A host on the link by which a node reaches the Internet; it has a route to all that is behind that node.
    Lan(NodeName),
}

/// A text that names no place of the network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unknown {
    /// What was asked for.
    pub text: String,
    /// Why it is no place.
    pub message: String,
    /// What may have been meant.
    pub hint: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "{name}"),
            Self::Address(ip) | Self::Outside(ip) => write!(f, "{ip}"),
            Self::Site(net) => write!(f, "{net}"),
            Self::Internet => f.write_str("internet"),
            Self::Lan(name) => write!(f, "lan:{name}"),
        }
    }
}

impl serde::Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Reads a place: a node's name, an address in a site or of a node, a site's subnet or a part of it, `internet`, `lan:NODE`.
///
/// # Errors
/// [`Unknown`] where the network has no such place; the hint names what is near.
pub fn place(network: &Network, text: &str) -> Result<Place, Unknown> {
    let unknown = |message: String, hint: String| Unknown { text: text.into(), message, hint };
    match PlaceRef::parse(text) {
        Some(PlaceRef::Node(name)) if network.nodes.contains_key(&name) => Ok(Place::Node(name)),
        Some(PlaceRef::Internet) => Ok(Place::Internet),
        Some(PlaceRef::Lan(name)) if network.nodes.contains_key(&name) => Ok(Place::Lan(name)),
        Some(PlaceRef::Address(ip)) => address(network, ip).ok_or_else(|| {
            if network.subnets().iter().any(|subnet| subnet.contains(&ip)) {
                return unknown(
                    format!("{ip} is a tunnel address that no node has"),
                    of_the_tunnel(network, ip),
                );
            }
            if let Some(alias) = aliased(network, ip.into()) {
                return unknown(format!("{ip} is an address that only its own site uses"), alias);
            }
            let (why, hint) = outside(network, ip);
            unknown(format!("{ip} lies in no site and is no node's address{why}"), hint)
        }),
        Some(PlaceRef::Prefix(net)) => prefix(network, net).ok_or_else(|| {
            let sites = inside(network, net);
            let hint = if let Some(alias) = aliased(network, net) {
                alias
            } else if sites.is_empty() {
                known(network)
            } else {
                format!("ask for one at a time: {}", sites.join(", "))
            };
            unknown(format!("{net} is no site, nor a part of one"), hint)
        }),
        Some(PlaceRef::Any) => Err(unknown("\"*\" is every place; a flow has two".into(), known(network))),
        _ => {
            let names = network.nodes.keys().map(NodeName::as_str).chain(["internet"]);
            let hint =
                nearest(text, names).map_or_else(|| known(network), |name| format!("did you mean {name}?"));
            Err(unknown(format!("no node is called {text}"), hint))
        }
    }
}

/// The same for where a flow goes: an address in no place of the network is outside, where some node lets others go out.
///
/// # Errors
/// [`Unknown`] where the network has no such place.
pub fn destination(network: &Network, text: &str) -> Result<Place, Unknown> {
    let found = place(network, text);
    let lets_out = network.nodes.values().any(|n| n.egress || n.sites.iter().any(|s| s.egress));
    match (&found, PlaceRef::parse(text)) {
        (Err(_), Some(PlaceRef::Address(ip))) if lets_out && is_outside(network, ip) => {
            Ok(Place::Outside(ip))
        }
        _ => found,
    }
}

fn is_outside(network: &Network, ip: IpAddr) -> bool {
    let is_nobodys = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let in_tunnel = network.subnets().iter().any(|s| s.contains(&ip));
    !(in_tunnel || is_nobodys || ip.is_loopback() || ip.is_multicast() || ip.is_unspecified())
}

fn address(network: &Network, ip: IpAddr) -> Option<Place> {
    let of_node = network
        .nodes
        .values()
        .any(|n| IpAddr::V4(n.address) == ip || n.address6.is_some_and(|a| IpAddr::V6(a) == ip));
    let in_tunnel = network.subnets().iter().any(|s| s.contains(&ip));
    let in_site = network.nodes.values().flat_map(|n| &n.sites).any(|s| s.prefix().contains(&ip));
    let bridges = network.nodes.values().flat_map(|n| &n.bridges);
    let on_bridge = bridges.flat_map(|b| &b.addresses).any(|a| a.contains(&ip));
    // A site may surround the tunnel subnet; there the tunnel wins.
    (of_node || (in_site || on_bridge) && !in_tunnel).then_some(Place::Address(ip))
}

/// Tells what a full tunnel makes of an address that is no place, and what to do.
fn outside(network: &Network, ip: IpAddr) -> (String, String) {
    let Some(exit) = network.relays().chain(network.spokes()).find(|n| network.is_exit(n)) else {
        return (
            String::new(),
            format!("{}; what is elsewhere is reached by egress = true of a relay or a site", known(network)),
        );
    };
    if is_private(ip) && !exit.egress_all {
        let name = &exit.name;
        return (
            format!(", and it is private: the egress of {name} leads to the Internet, not there"),
            format!("a [[node.NAME.site]] that holds it, or egress = \"all\" under [node.{name}]"),
        );
    }
    (String::new(), format!("ask for internet, which stands for what the egress of {} leads to", exit.name))
}

/// What to do about an address of the tunnel subnet that is free, or that no node may have.
fn of_the_tunnel(network: &Network, ip: IpAddr) -> String {
    let ends = network.subnets().iter().any(|s| s.network() == ip || s.broadcast() == ip);
    match ip {
        IpAddr::V4(ip) if !ends => {
            format!(
                "`wgrelay list` has the nodes' addresses; `wgrelay add NAME --address {ip}` gives this one to a new node"
            )
        }
        _ => "`wgrelay list` has the nodes' addresses".into(),
    }
}

fn prefix(network: &Network, net: IpNet) -> Option<Place> {
    let net = net.trunc();
    if net.prefix_len() == net.max_prefix_len() {
        return address(network, net.addr());
    }
    let mut sites = network.nodes.values().flat_map(|n| &n.sites);
    sites.any(|s| s.prefix().contains(&net)).then_some(Place::Site(net))
}

fn inside(network: &Network, net: IpNet) -> Vec<String> {
    let sites = network.nodes.values().flat_map(|n| &n.sites).filter(|s| net.contains(&s.prefix()));
    let nodes = network.nodes.values().filter(|n| n.host_prefixes().iter().any(|p| net.contains(p)));
    sites.map(|s| s.prefix().to_string()).chain(nodes.map(|n| n.name.to_string())).take(8).collect()
}

/// How the network knows what is in the subnet of an aliased site.
fn aliased(network: &Network, net: IpNet) -> Option<String> {
    let mut all = network.nodes.values().flat_map(Node::aliases);
    let (site, alias) = all.find(|(site, _)| site.subnet.contains(&net))?;
    let seen = net_carried_over(net, site.subnet, alias)?;
    let seen =
        if net.prefix_len() == net.max_prefix_len() { seen.addr().to_string() } else { seen.to_string() };
    Some(format!("the others know it as {seen} (alias): ask for that"))
}

fn known(network: &Network) -> String {
    let nodes = network.nodes.keys().map(ToString::to_string);
    let sites = network.nodes.values().flat_map(|n| &n.sites).map(|s| s.prefix().to_string());
    let list: Vec<String> = nodes.chain(sites).collect();
    let more = if list.len() > 12 { ", …" } else { "" };
    format!(
        "a place is one of {}{more}, an address in one of them, or internet",
        list[..list.len().min(12)].join(", ")
    )
}
