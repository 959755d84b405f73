//! A relay that several hosts carry, one at a time: who they are, and the address that goes with it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Check, Mark, NodeMarks, usable_host};
use crate::model::{Node, NodeName, Site};

impl Check<'_> {
    pub(super) fn floating(&mut self) {
        let mut seen: BTreeMap<&NodeName, &NodeName> = BTreeMap::new();
        let mut addresses: BTreeMap<IpAddr, &NodeName> = BTreeMap::new();
        for (node, at) in self.nodes.clone() {
            let (Some(mark), written) = (at.hosts.or(at.floating), (at.hosts, at.floating)) else { continue };
            if !node.is_relay() && at.role.is_some() {
                self.error(
                    mark,
                    "hosts-of-spoke",
                    format!("{} is a spoke, and only a relay is carried by several hosts", node.name),
                    "take `hosts` and `floating` away, or give it role = \"relay\"",
                );
                continue;
            }
            match written {
                (Some(mark), None) => self.warn(
                    mark,
                    "hosts-and-floating",
                    format!("{} has hosts, and no address that goes with it from one to the other: nothing moves", node.name),
                    "floating = \"198.51.100.10/24\": an address of the hosts' link that no host has for itself",
                ),
                (None, Some(mark)) => self.error(
                    mark,
                    "hosts-and-floating",
                    format!("{} has a floating address, and no hosts that carry it", node.name),
                    "hosts = [\"eu-a\", \"eu-b\"]",
                ),
                _ => {}
            }
            for (index, (host, mark)) in node.hosts.iter().zip(&at.each_host).enumerate() {
                let why = match seen.insert(host, &node.name) {
                    _ if node.hosts[..index].contains(host) => "it has it twice".to_owned(),
                    Some(other) if *other != node.name => format!("{other} has it, too"),
                    _ if self.network.nodes.contains_key(host) => "a node is called so".to_owned(),
                    _ => continue,
                };
                let message = format!("hosts of {} names {host}, and {why}", node.name);
                self.error(
                    *mark,
                    "repeated-host",
                    message,
                    "each host has a name of its own, and carries one relay",
                );
            }
            if let (Some(mark), [_]) = (at.hosts, node.hosts.as_slice()) {
                let message = format!("{} is carried by one host alone", node.name);
                self.warn(mark, "one-host", message, "name another one, which takes over");
            }
            if let (Some(mark), Some(net)) = (at.floating, node.floating) {
                self.floating_address(node, at, mark, net);
                if let Some(other) = addresses.insert(net.addr(), &node.name) {
                    let message =
                        format!("{} and {other} have the same floating address {}", node.name, net.addr());
                    self.error(mark, "bad-floating", message, "each relay has its own");
                }
            }
        }
    }

    fn floating_address(&mut self, node: &Node, at: &NodeMarks, mark: Mark, net: IpNet) {
        let ip = net.addr();
        let inside = self
            .tunnels()
            .find(|tunnel| tunnel.contains(&ip))
            .map(|tunnel| format!("the tunnel subnet {tunnel}"));
        let sites = self.network.nodes.values().flat_map(|other| &other.sites);
        let behind = sites
            .map(Site::prefix)
            .find(|subnet| subnet.contains(&ip))
            .map(|subnet| format!("the site {subnet}"));
        let why = if ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() {
            "no host is reached there".to_owned()
        } else if !usable_host(net.trunc(), ip) && net.prefix_len() + 1 < net.max_prefix_len() {
            format!("no host of {} has it", net.trunc())
        } else if matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
            "a link-local address is reached on its link alone".to_owned()
        } else if let Some(inside) = inside.or(behind) {
            format!("it is in {inside}, and who is to reach the relay is not in the tunnel yet")
        } else {
            return self.called_elsewhere(node, at);
        };
        let message = format!("{ip} cannot be floating of {}: {why}", node.name);
        self.error(
            mark,
            "bad-floating",
            message,
            "an address of the link that its hosts share, outside of the tunnel",
        );
    }

    /// Says that clients call another address than the one that moves. It may lead there: a NAT, or a name.
    fn called_elsewhere(&mut self, node: &Node, at: &NodeMarks) {
        let called = node.endpoint.as_ref().and_then(crate::model::Endpoint::socket_addr);
        let (Some(mark), Some(called), Some(net)) = (at.endpoint, called, node.floating) else { return };
        if called.ip() != net.addr() {
            self.warn(
                mark,
                "endpoint-not-floating",
                format!("clients call {} at {}, and {} is what moves", node.name, called.ip(), net.addr()),
                format!("right where {} leads to it; else take `endpoint` away", called.ip()),
            );
        }
    }
}
