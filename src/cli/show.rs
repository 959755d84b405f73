//! `show`: one node, and what the network makes of it.

use serde::Serialize;

use super::args::Show;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::{Output, Role};
use super::table::wrapped;
use crate::app::find_node;
use crate::model::{AllowRule, Network, Node, NodeName, Platform, Routes, Site, Timestamp};

/// A node as `show --json` tells it.
#[derive(Serialize)]
struct Shown {
    version: u32,
    name: NodeName,
    role: crate::model::Role,
    platform: Platform,
    enabled: bool,
    active: bool,
    expires: Option<String>,
    address: String,
    address6: Option<String>,
    endpoint: Option<String>,
    public_key: String,
    routes: Vec<String>,
    dns: Vec<String>,
    mtu: u16,
    keepalive: Option<u16>,
    listen_port: Option<u16>,
    egress: bool,
    egress_all: bool,
    local: Vec<String>,
    sites: Vec<ShownSite>,
    /// What the hosts of its sites have to be told so that they go out by it.
    hosts: Vec<SiteHosts>,
    /// What is reached without a proxy; `None`: nobody goes out by it.
    no_proxy: Option<String>,
    /// What each peer's section of this node's configuration has as AllowedIPs.
    allowed_ips: Vec<PeerAllowed>,
    rules: Vec<String>,
}

#[derive(Serialize)]
struct ShownSite {
    subnet: String,
    interface: Option<String>,
    masqueraded: bool,
    gateway: bool,
    egress: bool,
}

#[derive(Serialize)]
struct SiteHosts {
    subnet: String,
    /// The command that sets a host's default route.
    route: String,
    /// The same for netplan, with an address of the site.
    netplan: Vec<String>,
}

#[derive(Serialize)]
struct PeerAllowed {
    peer: NodeName,
    allowed_ips: Vec<String>,
}

/// Shows a node.
pub fn show(ctx: &Context, args: &Show) -> Result<Exit, Fault> {
    let network = ctx.load_network()?.network;
    let node = find_node(&network, &args.name)?;
    let shown = shown(&network, node, ctx.now);
    if ctx.out.json {
        ctx.out.json(&shown)?;
    } else {
        ctx.out.prose(&text(&ctx.out, &shown))?;
    }
    Ok(Exit::Done)
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
        egress: node.egress,
        egress_all: node.egress_all,
        local: texts(&node.local),
        sites: node.sites.iter().map(shown_site).collect(),
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
        let sites = network.nodes.values().flat_map(|n| &n.sites).map(|s| s.subnet);
        let bridges = node.bridges.iter().flat_map(|b| &b.addresses).map(ipnet::IpNet::trunc);
        let all: std::collections::BTreeSet<ipnet::IpNet> =
            network.subnets().into_iter().chain(sites).chain(bridges).collect();
        let list: Vec<String> = all.iter().map(ToString::to_string).collect();
        format!("localhost,127.0.0.1,{}", list.join(","))
    })
}

fn shown_site(site: &Site) -> ShownSite {
    ShownSite {
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
        node.host_prefixes().into_iter().chain(node.sites.iter().map(|s| s.subnet)).collect();
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

fn text(out: &Output, node: &Shown) -> String {
    let state = match (node.enabled, node.active) {
        (false, _) => out.paint(Role::Dim, "disabled"),
        (true, false) => out.paint(Role::Warn, "expired"),
        (true, true) => out.paint(Role::Good, "enabled"),
    };
    let role = if node.role == crate::model::Role::Relay { "relay" } else { "spoke" };
    let mut text = format!(
        "{}: {role} on {}, {state}\n",
        out.paint(Role::Name, node.name.as_str()),
        node.platform.as_str()
    );
    let mut line = |head: &str, values: &[String]| {
        for (i, value) in values.iter().enumerate() {
            let head = if i == 0 { head } else { "" };
            text += &format!("  {} {value}\n", out.paint(Role::Dim, &format!("{head:<12}")));
        }
    };
    let some = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
    let mut addresses = vec![node.address.clone()];
    addresses.extend(node.address6.clone());
    line("address", &addresses);
    line("endpoint", &some(&node.endpoint));
    line("public key", std::slice::from_ref(&node.public_key));
    line("expires", &some(&node.expires));
    if node.routes != ["split"] {
        line("routes", &node.routes);
    }
    line("dns", &node.dns);
    let keepalive = node.keepalive.map_or_else(|| "no keepalive".into(), |s| format!("keepalive {s} s"));
    let port = node.listen_port.map_or_else(String::new, |p| format!(", UDP port {p}"));
    line("session", &[format!("MTU {}, {keepalive}{port}", node.mtu)]);
    let sites: Vec<String> = node.sites.iter().map(site_text).collect();
    line("sites", &sites);
    line("attached to", &node.local);
    for hosts in &node.hosts {
        line(
            &format!("in {}", hosts.subnet.split('/').next().unwrap_or_default()),
            std::slice::from_ref(&hosts.route),
        );
        line("or netplan", &hosts.netplan);
    }
    line("no_proxy", &some(&node.no_proxy));
    if node.egress {
        let to = if node.egress_all { "anywhere" } else { "to the Internet" };
        line("egress", &[format!("full-tunnel spokes leave {to} here")]);
    }
    // Two for the margin, thirteen for the heading.
    let room = out.width().map(|w| w.saturating_sub(15));
    let allowed: Vec<String> = node
        .allowed_ips
        .iter()
        .flat_map(|p| {
            let mut words = p.allowed_ips.clone();
            words.iter_mut().take(1).for_each(|first| *first = format!("{}: {first}", p.peer));
            wrapped(&words, room)
        })
        .collect();
    line("allowed IPs", &allowed);
    let rules = if node.rules.is_empty() {
        vec!["none: everyone may talk to everyone".into()]
    } else {
        node.rules.clone()
    };
    line("rules", &rules);
    text
}

fn site_text(site: &ShownSite) -> String {
    let mut text = site.subnet.clone();
    if let Some(interface) = &site.interface {
        text += &format!(" behind {interface}");
    }
    text += match (site.masqueraded, site.gateway) {
        (true, _) => ", masqueraded",
        (false, true) => ", its hosts' gateway",
        (false, false) => ", routed",
    };
    if site.egress {
        text += ", egress";
    }
    text
}
