//! The data of `show`: one node, and what the network makes of it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::fault::Fault;
use super::session::find_node;
use crate::config::SiteWords;
use crate::model::{AllowRule, Network, Node, NodeName, Platform, Routes, Site, Timestamp};

/// A node as `show --json` tells it.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "as in network.toml")]
pub struct Shown {
    pub version: u32,
    pub name: NodeName,
    pub role: crate::model::Role,
    pub platform: Platform,
    pub enabled: bool,
    pub active: bool,
    pub expires: Option<String>,
    pub address: String,
    pub address6: Option<String>,
    pub endpoint: Option<String>,
    /// Where it calls others instead of at their own endpoint.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoint_of: BTreeMap<NodeName, String>,
    pub public_key: String,
    pub routes: Vec<String>,
    pub dns: Vec<String>,
    pub mtu: u16,
    pub keepalive: Option<u16>,
    pub listen_port: Option<u16>,
    /// By whose egress it leaves to the Internet, where that is not its relay's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<NodeName>,
    pub egress: bool,
    pub egress_all: bool,
    pub local: Vec<String>,
    pub sites: Vec<ShownSite>,
    /// What the hosts of its sites have to be told so that they go out by it.
    pub hosts: Vec<SiteHosts>,
    /// What is reached without a proxy; `None`: nobody goes out by it.
    pub no_proxy: Option<String>,
    /// What each peer's section of this node's configuration has as AllowedIPs.
    pub allowed_ips: Vec<PeerAllowed>,
    pub rules: Vec<String>,
}

/// A site of a node.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct ShownSite {
    pub subnet: String,
    pub interface: Option<String>,
    pub masqueraded: bool,
    pub gateway: bool,
    pub egress: bool,
    /// Who of several nodes carries it: the highest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preference: Option<u32>,
    /// The prefix under which the others see it.
    pub alias: Option<String>,
    /// All that the file has of it, as `add --site` and `set NODE site` take it.
    pub typed: String,
    /// Who carries it, where this node stands by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carried_by: Option<NodeName>,
}

/// What the hosts of a site have to be told.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct SiteHosts {
    pub subnet: String,
    /// The command that sets a host's default route.
    pub route: String,
    /// The same for netplan, with an address of the site.
    pub netplan: Vec<String>,
}

/// The AllowedIPs of a peer.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct PeerAllowed {
    pub peer: NodeName,
    pub allowed_ips: Vec<String>,
}

/// Shows a node.
///
/// # Errors
/// There is none of that name.
pub fn show_node(network: &Network, name: &NodeName, now: Timestamp) -> Result<Shown, Fault> {
    Ok(shown(network, find_node(network, name)?, now))
}

fn shown(network: &Network, node: &Node, now: Timestamp) -> Shown {
    let texts = |list: &[ipnet::IpNet]| list.iter().map(ToString::to_string).collect();
    Shown {
        version: 1,
        name: node.name.clone(),
        role: node.role,
        platform: node.platform,
        enabled: node.enabled,
        active: node.is_active(now),
        expires: node.expires.map(|t| t.to_string()),
        address: node.address.to_string(),
        address6: node.address6.map(|a| a.to_string()),
        endpoint: node.endpoint.as_ref().map(ToString::to_string),
        endpoint_of: node.endpoint_of.iter().map(|(n, e)| (n.clone(), e.to_string())).collect(),
        public_key: node.public_key.to_string(),
        routes: match &node.routes {
            Routes::Split => vec!["split".into()],
            Routes::Full => vec!["full".into()],
            Routes::Only(list) => texts(list),
        },
        dns: node.dns.clone(),
        mtu: network.mtu_of(node),
        keepalive: network.keepalive_of(node),
        listen_port: node.listen_port(),
        via: node.via.clone(),
        egress: node.egress,
        egress_all: node.egress_all,
        local: texts(&node.written_local()),
        sites: shown_sites(network, node, now),
        hosts: node.sites.iter().filter_map(site_hosts).collect(),
        no_proxy: no_proxy(network, node),
        allowed_ips: allowed_ips(network, node, now),
        rules: network.allow.iter().filter(|r| concerns(r, node)).map(rule_text).collect(),
    }
}

/// What the hosts of a site that goes out by its node have to be told.
fn site_hosts(site: &Site) -> Option<SiteHosts> {
    let gateway = site.address.filter(|_| site.egress || site.is_gateway())?;
    let own = match site.subnet {
        ipnet::IpNet::V4(net) => net.hosts().map(std::net::IpAddr::V4).find(|ip| *ip != gateway),
        ipnet::IpNet::V6(net) => net.hosts().skip(1).map(std::net::IpAddr::V6).find(|ip| *ip != gateway),
    }?;
    let to = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    Some(SiteHosts {
        subnet: site.subnet.to_string(),
        route: format!("ip route replace default via {gateway}"),
        netplan: [
            "network:".to_string(),
            "  version: 2".to_string(),
            "  ethernets:".to_string(),
            "    eth0:".to_string(),
            format!("      addresses: [\"{own}/{}\"]", site.subnet.prefix_len()),
            format!("      routes: [{{to: \"{to}\", via: \"{gateway}\"}}]"),
        ]
        .to_vec(),
    })
}

/// What programs of the node and its sites reach without a proxy: the network itself.
fn no_proxy(network: &Network, node: &Node) -> Option<String> {
    node.sites.iter().any(|s| s.egress).then(|| {
        let sites = network.nodes.values().flat_map(|n| &n.sites).map(Site::prefix);
        let own = node.sites.iter().map(|s| s.subnet);
        let bridges = node.bridges.iter().flat_map(|b| &b.addresses).map(ipnet::IpNet::trunc);
        let all: std::collections::BTreeSet<ipnet::IpNet> =
            network.subnets().into_iter().chain(sites).chain(own).chain(bridges).collect();
        let list: Vec<String> = all.iter().map(ToString::to_string).collect();
        format!("localhost,127.0.0.1,{}", list.join(","))
    })
}

/// What the node carries, then what it stands by for.
fn shown_sites(network: &Network, node: &Node, now: Timestamp) -> Vec<ShownSite> {
    let (ready, written) = (node.ready(), node.written_sites());
    let carrier = |(index, site): (usize, &Site)| {
        let other = network.carrier_of(site.subnet, now).filter(|_| index >= node.sites.len());
        let written = written.iter().find(|written| written.subnet == site.subnet);
        let typed = SiteWords::of(written.copied().unwrap_or(site));
        ShownSite { carried_by: other.map(|other| other.name.clone()), typed, ..shown_site(site) }
    };
    ready.sites.iter().enumerate().map(carrier).collect()
}

fn shown_site(site: &Site) -> ShownSite {
    ShownSite {
        preference: site.preference,
        alias: site.alias.map(|net| net.to_string()),
        carried_by: None,
        typed: String::new(),
        subnet: site.subnet.to_string(),
        interface: site.interface.as_ref().map(ToString::to_string),
        masqueraded: site.is_masqueraded(),
        gateway: site.is_gateway(),
        egress: site.egress,
    }
}

fn allowed_ips(network: &Network, node: &Node, now: Timestamp) -> Vec<PeerAllowed> {
    network
        .peers_of(node, now)
        .map(|peer| {
            let prefixes = network.allowed_ips(node, peer, now);
            let allowed_ips = prefixes.iter().map(ToString::to_string).collect();
            PeerAllowed { peer: peer.name.clone(), allowed_ips }
        })
        .collect()
}

/// Says whether a rule is about the node, or a site of it.
fn concerns(rule: &AllowRule, node: &Node) -> bool {
    use crate::model::PlaceRef;
    let own: Vec<ipnet::IpNet> =
        node.host_prefixes().into_iter().chain(node.sites.iter().map(Site::prefix)).collect();
    rule.from.iter().chain(&rule.to).any(|place| match place {
        PlaceRef::Any => true,
        PlaceRef::Internet => node.egress,
        PlaceRef::Lan(_) => false,
        PlaceRef::Group(group) => node.groups.contains(group),
        PlaceRef::Node(name) => *name == node.name,
        PlaceRef::Prefix(net) => own.iter().any(|o| o.contains(net) || net.contains(o)),
        PlaceRef::Address(ip) => own.iter().any(|o| o.contains(ip)),
    })
}

fn rule_text(rule: &AllowRule) -> String {
    let join =
        |list: &[crate::model::PlaceRef]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let ports: Vec<String> = rule.ports.iter().map(ToString::to_string).collect();
    let ports = if ports.is_empty() { String::new() } else { format!(": {}", ports.join(", ")) };
    format!("{} to {}{ports}", join(&rule.from), join(&rule.to))
}
