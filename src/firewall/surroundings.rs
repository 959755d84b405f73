//! What a node's rules depend on besides the network: what its host forwarded before, and what it is attached to.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::IFALIAS_PREFIX;
use super::foreign::{Facts, Link};
use crate::model::{Network, Node};

/// The switch of IPv6's forwarding, for the whole host.
const ALL_V6: &str = "net/ipv6/conf/all/forwarding";

/// The path of a link's IPv4 forwarding switch, below `/proc/sys`.
pub fn forwarding_v4(link: &str) -> String {
    format!("net/ipv4/conf/{link}/forwarding")
}

/// A host as its rules see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Links that forward the IPv4 packets they get because of this network alone.
    pub opened4: BTreeSet<String>,
    /// Whether the host forwards IPv6 because of this network alone.
    pub opened6: bool,
    /// Whether that is found out when the rules are loaded, by whoever loads them: an exported file.
    pub opened_later: bool,
    /// Bridges whose own ports' packets to each other pass these rules (br_netfilter): nothing is routed there.
    pub bridged: BTreeSet<String>,
    /// Other networks' tunnels: what enters them is their tables' matter.
    pub tunnels: BTreeSet<String>,
    /// This host's own addresses.
    pub own: BTreeSet<IpNet>,
    /// What this host reaches by another route than a default one.
    pub near: BTreeSet<IpNet>,
    /// What the node is attached to itself (`local`), and by which link.
    pub attached: Vec<(IpNet, String)>,
}

impl Surroundings {
    /// Reads them off a host; `sysctls` are the switches that the network wants.
    pub fn of(network: &Network, node: &Node, facts: &Facts, sysctls: &BTreeMap<String, String>) -> Self {
        let ours = network.name.as_str();
        // Somebody who turned forwarding on for the whole host has flows of his own by every link.
        let is_global = facts.sysctl("net/ipv4/ip_forward") == Some("1");
        let is_off = |path: &str| facts.before(path).is_none_or(|value| value.trim() == "0");
        // A switch that was ours and is to go back: until it has, packets pass.
        let is_ours = |path: &str| sysctls.contains_key(path) || facts.saved_sysctls.contains_key(path);
        let is_opened = |path: &str| is_ours(path) && is_off(path);
        let others = || facts.links.keys().filter(|link| *link != ours);
        let is_called =
            |family: &str| facts.sysctl(&format!("net/bridge/bridge-nf-call-{family}")) == Some("1");
        let bridged = is_called("iptables") || is_called("ip6tables");
        // Bridges that were made for a network bear its mark as its tunnel does, and are no way of its own.
        let is_tunnel = |link: &Link| link.alias.starts_with(IFALIAS_PREFIX) && link.kind != "bridge";
        let links = |wanted: &dyn Fn(&Link) -> bool| {
            let found = facts.links.iter().filter(|(name, link)| *name != ours && wanted(link));
            found.map(|(name, _)| name.clone()).collect::<BTreeSet<String>>()
        };
        let addresses = || others().flat_map(|link| &facts.links[link].addresses).copied();
        // Two halves of everything are a default route, too.
        let routed = facts.routes.iter().filter(|r| r.device != ours).map(|r| r.dst);
        Self {
            opened4: others().filter(|link| !is_global && is_opened(&forwarding_v4(link))).cloned().collect(),
            opened6: is_opened(ALL_V6),
            opened_later: false,
            bridged: links(&|link| bridged && link.kind == "bridge"),
            tunnels: links(&is_tunnel),
            attached: attached(node, facts),
            own: addresses()
                .chain(network.interface_addresses(node))
                .filter(|a| !a.addr().is_loopback())
                .map(|a| IpNet::from(a.addr()))
                .collect(),
            near: routed.chain(addresses().map(|a| a.trunc())).filter(|net| net.prefix_len() > 1).collect(),
        }
    }

    /// Those of a host that nobody has seen yet: an exported file's.
    pub fn later() -> Self {
        Self { opened_later: true, ..Self::default() }
    }

    /// Says whether this network makes the host forward anything that it did not forward before.
    pub fn opens(&self) -> bool {
        !self.opened4.is_empty() || self.opened6 || self.opened_later
    }
}

/// The prefixes of `local` that a link has an address in.
fn attached(node: &Node, facts: &Facts) -> Vec<(IpNet, String)> {
    let link = |net: &IpNet| {
        let has_one = |link: &Link| link.addresses.iter().any(|a| net.contains(&a.addr()));
        facts.links.iter().find(|(_, link)| has_one(link)).map(|(name, _)| name.clone())
    };
    node.local.iter().map(IpNet::trunc).filter_map(|net| Some((net, link(&net)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::fixture::relay_alone;
    use crate::firewall::ifalias;

    #[test]
    fn a_bridge_with_a_mark_of_ours_is_no_tunnel() {
        let (network, relay) = relay_alone();
        let mut facts = Facts::default();
        let marked = |kind: &str, name: &str| Link {
            kind: kind.into(),
            alias: ifalias(&name.parse().unwrap()),
            ..Link::default()
        };
        facts.links.insert("br-ext".into(), marked("bridge", "wg0"));
        facts.links.insert("wg1".into(), marked("tun", "wg1"));
        facts.links.insert("wg2".into(), marked("wireguard", "wg2"));
        let around = Surroundings::of(&network, &network.nodes[&relay], &facts, &BTreeMap::new());
        assert_eq!(around.tunnels, ["wg1", "wg2"].map(String::from).into());
    }
}
