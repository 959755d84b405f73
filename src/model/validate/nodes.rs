//! Rules about nodes and the tunnel subnets: roles, addresses, keys.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Check, Mark, unusable};
use crate::model::allocate::{is_host, is_host6};
use crate::model::{Node, NodeName, Platform, Routes};

/// The smallest MTU in bytes that every IPv6 link has (RFC 8200, section 5).
const MTU_IPV6: u16 = 1280;

impl<'n> Check<'n> {
    pub(super) fn tunnel(&mut self) {
        let net = self.network;
        if let Some(mark) = self.marks.subnet {
            if net.subnet.prefix_len() > 30 {
                let message = format!("{} is too small for a relay and a spoke", net.subnet);
                self.error(mark, "subnet-too-small", message, "use a /30 or wider; a /24 holds 254 nodes");
            } else if let Some(why) = unusable(net.subnet.into()) {
                self.error(
                    mark,
                    "bad-subnet",
                    format!("{} cannot be a tunnel subnet: {why}", net.subnet),
                    "use a private range such as 10.88.0.0/24",
                );
            }
        }
        if let (Some(mark), Some(subnet)) = (self.marks.subnet6, net.subnet6) {
            if subnet.prefix_len() > 126 {
                let message = format!("{subnet} is too small for a relay and a spoke");
                self.error(mark, "subnet-too-small", message, "use a /64 out of fd00::/8");
            } else if let Some(why) = unusable(subnet.into()) {
                self.error(
                    mark,
                    "bad-subnet",
                    format!("{subnet} cannot be a tunnel subnet: {why}"),
                    "use a /64 out of fd00::/8",
                );
            }
        }
        if let (Some(mark), Some(_)) = (self.marks.mtu, net.subnet6)
            && net.mtu < MTU_IPV6
        {
            self.error(
                mark,
                "bad-mtu",
                format!("an MTU of {} is too small for IPv6", net.mtu),
                "use 1280 or more, or take subnet6 away",
            );
        }
    }

    pub(super) fn roles(&mut self) {
        let relays: Vec<_> =
            self.nodes.iter().copied().filter(|(n, at)| n.is_relay() && at.role.is_some()).collect();
        if relays.is_empty() && self.marks.complete {
            self.error(
                Mark(0),
                "no-relay",
                "the network has no relay".into(),
                "give one node role = \"relay\" and an endpoint",
            );
        }
        self.homes();
        self.called();
        self.exits();
        let several = relays.len() > 1;
        for (node, at) in &relays {
            if !at.has_endpoint {
                self.warn(
                    at.node,
                    "no-endpoint",
                    format!("relay {} has no endpoint: no spoke can start a session with it", node.name),
                    "add endpoint = \"HOST:51820\"",
                );
            }
            if !node.enabled {
                self.warn(
                    at.node,
                    "relay-disabled",
                    if several {
                        self.without_relay(node)
                    } else {
                        format!("relay {} is disabled: no packet passes between nodes", node.name)
                    },
                    format!("enable it: `wgrelay enable {}`", node.name),
                );
            }
            if matches!(node.platform, Platform::Android | Platform::Ios) {
                self.warn(
                    at.node,
                    "relay-platform",
                    format!(
                        "relay {} runs on {}, whose client does not forward packets",
                        node.name,
                        node.platform.as_str()
                    ),
                    "make a Linux node the relay",
                );
            }
        }
        for (node, at) in self.nodes.clone() {
            let by_relay = node.routes == Routes::Full && node.via.is_none() && !node.is_relay();
            if by_relay && self.marks.complete && !self.leads_out(node) {
                self.warn(
                    at.routes.unwrap_or(at.node),
                    "no-egress",
                    format!(
                        "node {} sends everything into the tunnel, and {} to the Internet",
                        node.name,
                        if several { "its relay does not let it out" } else { "no relay lets it out" },
                    ),
                    "set egress = true on the relay, or routes = \"split\"",
                );
            }
        }
    }

    /// What the absence of one of several relays means for the spokes that list it.
    fn without_relay(&self, relay: &Node) -> String {
        const NAMED: usize = 3;
        let is_on = |name: &NodeName| self.network.nodes.get(name).is_some_and(|n| n.is_relay() && n.enabled);
        let spokes = self.nodes.iter().map(|(node, _)| *node).filter(|n| n.relays.contains(&relay.name));
        let cut_off: Vec<&str> =
            spokes.filter(|n| n.enabled && !n.relays.iter().any(is_on)).map(|n| n.name.as_str()).collect();
        let more = match cut_off.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        match cut_off.as_slice() {
            [] => {
                format!("relay {} is disabled: its spokes are at home on the next of their list", relay.name)
            }
            names => format!(
                "relay {} is disabled, and no other of their relays is enabled for {}{more}",
                relay.name,
                names[..names.len().min(NAMED)].join(", ")
            ),
        }
    }

    /// Says whether the relay that a spoke is at home on, whenever that is, lets it out.
    fn leads_out(&self, spoke: &Node) -> bool {
        let relay = match spoke.relays.first() {
            Some(home) => self.network.nodes.get(home),
            None => self.nodes.iter().map(|(n, _)| *n).find(|n| n.is_relay()),
        };
        relay.is_some_and(|relay| relay.egress)
    }

    /// Each name of `endpoint_of` is one that the node has a session with.
    fn called(&mut self) {
        for (node, at) in self.nodes.clone() {
            for (name, mark) in &at.endpoint_of {
                let why = match self.network.nodes.get(name) {
                    _ if *name == node.name => "itself",
                    Some(other) if other.is_relay() || node.is_relay() => continue,
                    Some(_) => "a spoke, and spokes speak to relays alone",
                    None if !self.marks.complete => continue,
                    None => "no node of this file",
                };
                self.error(
                    *mark,
                    "unknown-peer",
                    format!("endpoint_of of {} names {name}, which is {why}", node.name),
                    "endpoint_of.RELAY, with the name of a relay",
                );
            }
        }
    }

    /// Each name of `relays` is a relay's, once, and on a spoke.
    fn homes(&mut self) {
        for (node, at) in self.nodes.clone() {
            let Some(mark) = at.relays else { continue };
            if node.is_relay() {
                self.error(
                    mark,
                    "relays-of-relay",
                    format!("{} is a relay, and relays peer with each other whatever they list", node.name),
                    "take the line away; it belongs on spokes",
                );
                continue;
            }
            if at.each_relay.is_empty() {
                let message = format!("relays of {} is empty: it would have no peer", node.name);
                self.error(mark, "no-relay", message, "list the relays by preference, or take the line away");
            }
            for (index, (name, mark)) in node.relays.iter().zip(&at.each_relay).enumerate() {
                match self.network.nodes.get(name) {
                    _ if node.relays[..index].contains(name) => {
                        self.error(
                            *mark,
                            "repeated-relay",
                            format!("relays of {} has {name} twice", node.name),
                            "keep the first",
                        );
                    }
                    Some(relay) if relay.is_relay() => {}
                    Some(_) => self.error(
                        *mark,
                        "unknown-relay",
                        format!("relays of {} names {name}, which is a spoke", node.name),
                        format!("name a relay, or give {name} role = \"relay\""),
                    ),
                    None if !self.marks.complete => {}
                    None => self.error(
                        *mark,
                        "unknown-relay",
                        format!("relays of {} names {name}, and there is no such node", node.name),
                        "the names of nodes with role = \"relay\"",
                    ),
                }
            }
        }
    }

    pub(super) fn addresses(&mut self) {
        let net = self.network;
        let mut seen: HashMap<IpAddr, &NodeName> = HashMap::new();
        for (node, at) in self.nodes.clone() {
            if let Some(mark) = at.address {
                let a = node.address;
                if self.marks.subnet.is_some() && !is_host(net.subnet, a) {
                    let (code, why) = if !net.subnet.contains(&a) {
                        ("address-outside", format!("is outside the tunnel subnet {}", net.subnet))
                    } else if a == net.subnet.network() {
                        ("bad-address", format!("is the network address of {}", net.subnet))
                    } else {
                        ("bad-address", format!("is the broadcast address of {}", net.subnet))
                    };
                    let hint = in_between(net.subnet);
                    self.error(mark, code, format!("{a} of node {} {why}", node.name), hint);
                }
                self.once(&mut seen, a.into(), node, mark);
            }
            if let (Some(mark), Some(a)) = (at.address6, node.address6) {
                match net.subnet6 {
                    None => {
                        // A subnet6 that was written and not valid has been told already.
                        if self.marks.complete {
                            self.error(
                                mark,
                                "no-subnet6",
                                format!(
                                    "node {} has an IPv6 address, and the network has no subnet6",
                                    node.name
                                ),
                                "add subnet6 = \"fd…::/64\" to [network]",
                            );
                        }
                    }
                    Some(subnet) if self.marks.subnet6.is_some() && !is_host6(subnet, a) => {
                        let (code, why) = if subnet.contains(&a) {
                            ("bad-address", "is the network address of")
                        } else {
                            ("address-outside", "is outside the tunnel subnet")
                        };
                        self.error(mark, code, format!("{a} of node {} {why} {subnet}", node.name), "");
                    }
                    Some(_) => {}
                }
                self.once(&mut seen, a.into(), node, mark);
            }
            if let (Some(mark), Some(mtu), Some(_)) = (at.mtu, node.mtu, net.subnet6)
                && mtu < MTU_IPV6
            {
                self.error(
                    mark,
                    "bad-mtu",
                    format!("an MTU of {mtu} on node {} is too small for IPv6", node.name),
                    "use 1280 or more",
                );
            }
        }
    }

    pub(super) fn once(
        &mut self,
        seen: &mut HashMap<IpAddr, &'n NodeName>,
        address: IpAddr,
        node: &'n Node,
        mark: Mark,
    ) {
        match seen.get(&address) {
            Some(other) => {
                let message =
                    format!("{address} of node {} is already the address of node {other}", node.name);
                self.error(mark, "duplicate-address", message, "give one of them a free address");
            }
            None => {
                seen.insert(address, &node.name);
            }
        }
    }

    pub(super) fn keys(&mut self) {
        let mut seen: HashMap<&[u8; 32], &NodeName> = HashMap::new();
        for (node, at) in self.nodes.clone() {
            let Some(mark) = at.public_key else { continue };
            let key = node.public_key.as_bytes();
            if *key == [0; 32] {
                self.error(
                    mark,
                    "bad-key",
                    format!("the public key of node {} is all zero", node.name),
                    "make a pair: `wgrelay genkey`, then `wgrelay pubkey`",
                );
            } else if let Some(other) = seen.insert(key, &node.name) {
                let message = format!("node {} has the same public key as node {other}", node.name);
                self.error(
                    mark,
                    "duplicate-key",
                    message,
                    format!("every node needs a pair of its own: `wgrelay rotate {}`", node.name),
                );
                seen.insert(key, other);
            }
        }
    }
}

fn in_between(subnet: ipnet::Ipv4Net) -> String {
    let mut hosts = subnet.hosts();
    match (hosts.next(), hosts.next_back()) {
        (Some(first), Some(last)) => format!("use a free one of {first} to {last}"),
        _ => String::new(),
    }
}
