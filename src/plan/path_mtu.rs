//! The MTU of the tunnel, from what carries it: as wg-quick(8) derives it, from the routes to the endpoints.

use std::net::IpAddr;

use ipnet::IpNet;

use super::state::Peer;
use super::{Facts, ForeignRoute};
use crate::model::{DEFAULT_MTU, Network, Node, Problem};

/// What WireGuard adds to a packet, in bytes: IPv6, UDP, and its own header and tag (RFC 8200, RFC 768, WireGuard's paper).
pub const OVERHEAD: u32 = 80;
/// The least that IPv6 asks of a link, in bytes (RFC 8200, section 5).
pub const LEAST_V6: u16 = 1280;

/// What carries a tunnel's packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carrier {
    /// The link.
    pub link: String,
    /// Bytes of a packet that the link or the route takes.
    pub mtu: u32,
}

/// Returns the narrowest of the links and routes that packets for the peers' endpoints leave by; without an endpoint, and on
/// a relay, whose spokes may come from anywhere, the default routes count.
pub fn carrier<'p>(
    network: &Network,
    node: &Node,
    peers: impl Iterator<Item = &'p Peer>,
    facts: &Facts,
) -> Option<Carrier> {
    let ours = network.name.as_str();
    let foreign = || facts.routes.iter().filter(|r| r.device != ours && !r.device.is_empty());
    let to = |ip: IpAddr| {
        let holds = foreign().filter(|r| r.dst.contains(&ip));
        // Of routes to one prefix the first listed is the one with the least metric.
        holds.rev().max_by_key(|r| r.dst.prefix_len())
    };
    let mut ways: Vec<&ForeignRoute> =
        peers.filter_map(|p| p.endpoint).filter_map(|endpoint| to(endpoint.ip())).collect();
    if node.is_relay() || ways.is_empty() {
        ways.extend(foreign().filter(|r| r.dst.prefix_len() == 0));
    }
    let carried = ways.into_iter().filter_map(|route| {
        let link = facts.links.get(&route.device).map(|l| l.mtu).filter(|m| *m > 0);
        let mtu = [route.mtu, link].into_iter().flatten().min()?;
        Some(Carrier { link: route.device.clone(), mtu })
    });
    carried.min_by_key(|c| c.mtu)
}

/// Decides the tunnel's MTU in bytes: what the file asks for, else the default or the little less that fits.
pub fn mtu(network: &Network, node: &Node, carrier: Option<&Carrier>, problems: &mut Vec<Problem>) -> u16 {
    let asked = network.mtu_of(node);
    let Some(carrier) = carrier else { return asked };
    let fits = u16::try_from(carrier.mtu.saturating_sub(OVERHEAD)).unwrap_or(u16::MAX).max(576);
    if asked <= fits {
        return asked;
    }
    let Carrier { link, mtu } = carrier;
    let place = format!("interface {}", network.name);
    if node.mtu.is_none() && network.mtu == DEFAULT_MTU {
        problems.push(Problem::warning(
            "mtu",
            place,
            format!("the tunnel's MTU is {fits}, not {asked}: {link} carries packets of {mtu} bytes"),
            format!(
                "nothing to change here; where larger datagrams get lost, mtu = {fits} under [network] tells every node"
            ),
        ));
        return fits;
    }
    let table = if node.mtu.is_some() { format!("[node.{}]", node.name) } else { "[network]".into() };
    problems.push(Problem::warning(
        "mtu",
        place,
        format!(
            "mtu = {asked} does not fit: {link} carries packets of {mtu} bytes, and {fits} in the tunnel"
        ),
        format!("mtu = {fits} under {table}"),
    ));
    asked
}

/// Says whether this host can have IPv6 in the tunnel; `Err` tells why not.
pub fn ipv6(network: &Network, mtu: u16, facts: &Facts) -> Result<(), String> {
    let switch = |link: &str| facts.sysctl(&format!("net/ipv6/conf/{link}/disable_ipv6"));
    if switch(network.name.as_str()).or_else(|| switch("default")) == Some("1") {
        return Err("IPv6 is off on this host".into());
    }
    if mtu < LEAST_V6 {
        return Err(format!("IPv6 needs an MTU of {LEAST_V6}, and the tunnel has {mtu}"));
    }
    Ok(())
}

/// Says that a node goes without IPv6, where the network gives it any.
pub fn without_ipv6(network: &Network, node: &Node, why: &str) -> Option<Problem> {
    let sites = network.nodes.values().flat_map(|n| &n.sites);
    let has_any = node.address6.is_some() || sites.into_iter().any(|s| matches!(s.subnet, IpNet::V6(_)));
    has_any.then(|| {
        Problem::warning(
            "no-family",
            format!("node {}", node.name),
            format!("{why}: {} is up with IPv4 alone", node.name),
            if why.contains("MTU") {
                "a larger MTU on the way out, or take subnet6 out of the network".to_owned()
            } else {
                format!(
                    "net.ipv6.conf.default.disable_ipv6 = 0 and net.ipv6.conf.{}.disable_ipv6 = 0 switch it on",
                    network.name
                )
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Link;

    fn facts(links: &[(&str, u32)], routes: &[(&str, &str, Option<u32>)]) -> Facts {
        Facts {
            links: links
                .iter()
                .map(|(n, mtu)| ((*n).to_owned(), Link { mtu: *mtu, ..Link::default() }))
                .collect(),
            routes: routes
                .iter()
                .map(|(dst, device, mtu)| ForeignRoute {
                    dst: dst.parse().unwrap(),
                    device: (*device).into(),
                    gateway: None,
                    protocol: 3,
                    mtu: *mtu,
                })
                .collect(),
            ..Facts::default()
        }
    }

    fn network(more: &str) -> Network {
        let text = format!(
            "[network]\nname = \"wg0\"\nsubnet = \"10.88.0.0/24\"\n{more}[node.relay]\nrole = \"relay\"\naddress = \"10.88.0.1\"\n\
             endpoint = \"203.0.113.10:51820\"\npublic_key = \"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\"\n"
        );
        crate::config::parse_network(text.as_bytes(), "f").value.unwrap()
    }

    #[test]
    fn the_tunnel_is_as_wide_as_what_carries_it() {
        let endpoint = Peer {
            preshared_key: None,
            endpoint: Some("203.0.113.10:51820".parse().unwrap()),
            keepalive: None,
            allowed_ips: Default::default(),
        };
        let links = [("eth0", 1500), ("ppp0", 1492), ("gre1", 1280), ("wg0", 1420)];
        let (net, node) = (network(""), network("").nodes["relay"].clone());
        let found = |routes: &[(&str, &str, Option<u32>)], peers: &[Peer]| {
            let facts = facts(&links, routes);
            let carrier = carrier(&net, &node, peers.iter(), &facts);
            let mut problems = Vec::new();
            (mtu(&net, &node, carrier.as_ref(), &mut problems), problems.len())
        };
        assert_eq!(found(&[("0.0.0.0/0", "eth0", None)], &[]), (1420, 0));
        assert_eq!(found(&[("0.0.0.0/0", "ppp0", None)], &[]), (1412, 1));
        assert_eq!(found(&[("0.0.0.0/0", "eth0", Some(1460))], &[]), (1380, 1), "a route's own");
        assert_eq!(found(&[("0.0.0.0/0", "wg0", None)], &[]), (1420, 0), "not through itself");
        let narrow = [("0.0.0.0/0", "eth0", None), ("203.0.113.0/24", "gre1", None)];
        assert_eq!(found(&narrow, &[endpoint]), (1200, 1), "the endpoint's own way");
        assert_eq!(found(&[], &[]), (1420, 0));
    }

    #[test]
    fn what_the_file_asks_for_stays_and_is_warned_of() {
        let (net, mut problems) = (network("mtu = 1400\n"), Vec::new());
        let carrier = Carrier { link: "eth0".into(), mtu: 1460 };
        assert_eq!(mtu(&net, &net.nodes["relay"], Some(&carrier), &mut problems), 1400);
        assert!(problems[0].hint.contains("mtu = 1380 under [network]"), "{problems:?}");
        let fits = network("mtu = 1380\n");
        problems.clear();
        assert_eq!(mtu(&fits, &fits.nodes["relay"], Some(&carrier), &mut problems), 1380);
        assert!(problems.is_empty());
    }
}
