//! Rules about prefixes: sites and what a node is attached to, against each other and the tunnel; endpoints among them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Check, Mark, NodeMarks, overlap, unusable};
use crate::model::{EndpointHost, Node, PrefixMap};

impl<'n> Check<'n> {
    pub(super) fn node(&mut self, node: &'n Node, at: &NodeMarks) {
        let name = &node.name;
        // A place in [[allow]] is a node, an address, "internet" or "*": a node may not look like another of these.
        if name.as_str() == "internet" || name.as_str().parse::<IpAddr>().is_ok() {
            self.error(
                at.node,
                "bad-name",
                format!("{name} cannot be a node's name: it means something else in [[allow]]"),
                "choose another name",
            );
        }
        if name.as_str() == "network" {
            self.error(
                at.node,
                "bad-name",
                "network cannot be a node's name: `wgrelay set network` means the network itself".into(),
                "choose another name",
            );
        }
        for (site, at) in node.sites.iter().zip(&at.sites) {
            self.site_link(node, site, at);
        }
        self.bridges(node, at);
        for (local, mark) in node.local.iter().zip(&at.local) {
            if let Some(tunnel) = self.tunnels().find(|t| overlap(*t, *local)) {
                self.error(*mark, "local-in-tunnel", format!("node {name} cannot be attached to {local} itself: it overlaps the tunnel subnet {tunnel}"), "local names networks beside the tunnel; take it away, or change the tunnel subnet");
            } else if let Some(why) = unusable(*local) {
                self.error(*mark, "bad-prefix", format!("{local} cannot be local to node {name}: {why}"), "");
            } else if node
                .sites
                .iter()
                .zip(&at.sites)
                .any(|(s, at)| at.subnet.is_some() && s.subnet == *local)
            {
                self.warn(
                    *mark,
                    "local-is-site",
                    format!("{local} is a site of node {name} anyway"),
                    "a node's own sites need no local",
                );
            }
        }
    }

    pub(super) fn sites(&mut self) -> PrefixMap<&'n Node> {
        let mut claims: PrefixMap<&'n Node> = PrefixMap::default();
        let mut claimants: BTreeMap<IpNet, Vec<&'n Node>> = BTreeMap::new();
        let mut placed: Vec<(IpNet, Mark, &Node)> = Vec::new();
        for (node, at) in self.nodes.clone() {
            for (site, at) in node.sites.iter().zip(&at.sites) {
                let Some(mark) = at.subnet else { continue };
                let subnet = site.subnet;
                if let Some(why) = unusable(subnet) {
                    self.error(
                        mark,
                        "bad-prefix",
                        format!("{subnet} cannot be a site of node {}: {why}", node.name),
                        if subnet.prefix_len() == 0 {
                            "the Internet behind a relay is egress = true"
                        } else {
                            ""
                        },
                    );
                    continue;
                }
                if let Some(tunnel) = self.tunnels().find(|t| t.contains(&subnet)) {
                    self.error(
                        mark,
                        "site-in-tunnel",
                        format!("site {subnet} of node {} lies in the tunnel subnet {tunnel}", node.name),
                        "a site is a network behind the node; its tunnel address needs none",
                    );
                    continue;
                }
                if let Some(tunnel) = self.tunnels().find(|t| subnet.contains(t)) {
                    self.warn(mark, "tunnel-in-site", format!("site {subnet} of node {} surrounds the tunnel subnet {tunnel}: the tunnel wins there", node.name), "choose a tunnel subnet outside it if hosts of the site use these addresses");
                }
                let rivals = claimants.entry(subnet.trunc()).or_default();
                if let Some(rival) = worst_rival(rivals, node) {
                    let message = if rival.name == node.name {
                        format!("node {} has the site {subnet} twice", node.name)
                    } else {
                        format!(
                            "site {subnet} of node {} is already a site of node {}",
                            node.name, rival.name
                        )
                    };
                    // A stand-by that is switched off claims nothing yet.
                    if rival.name != node.name && !(rival.enabled && node.enabled) {
                        self.warn(mark, "duplicate-prefix", message, "only one of them may be enabled");
                    } else {
                        let hint = "a prefix can be behind one node; where a node is only attached to it, write it under local";
                        self.error(mark, "duplicate-prefix", message, hint);
                    }
                    rivals.push(node);
                    if let Some(owner) = claims.get_mut(subnet).filter(|o| !o.enabled && node.enabled) {
                        *owner = node;
                    }
                    continue;
                }
                rivals.push(node);
                claims.insert_new(subnet, node);
                placed.push((subnet, mark, node));
            }
        }
        for (subnet, mark, node) in placed {
            if let Some((wider, owner)) = claims.wider_than(subnet) {
                self.warn(
                    mark,
                    "nested-site",
                    format!(
                        "site {subnet} of node {} lies in site {wider} of node {}: the longer prefix wins",
                        node.name, owner.name
                    ),
                    "right where these addresses moved; else make the two apart, for hosts of the wider site look for them on \
                     their own link",
                );
            }
        }
        claims
    }

    /// A relay's endpoint that its spokes would look for inside the tunnel can never be reached.
    pub(super) fn endpoints(&mut self, sites: &PrefixMap<&'n Node>) {
        for (node, at) in self.nodes.clone() {
            let (Some(mark), Some(endpoint)) = (at.endpoint, &node.endpoint) else { continue };
            let EndpointHost::Ip(ip) = endpoint.host else { continue };
            if ip.is_unspecified() || ip.is_multicast() {
                self.error(
                    mark,
                    "bad-endpoint",
                    format!("{ip} cannot be the endpoint of node {}", node.name),
                    "write the address at which the others reach it",
                );
            } else if let Some(tunnel) = self.tunnels().find(|t| t.contains(&ip)) {
                self.error(
                    mark,
                    "endpoint-in-tunnel",
                    format!("endpoint {endpoint} of node {} lies in the tunnel subnet {tunnel}", node.name),
                    "an endpoint is an address outside the tunnel",
                );
            } else if let Some((site, owner)) = sites.overlapping(ip.into()) {
                self.warn(mark, "endpoint-in-site", format!("endpoint {endpoint} of node {} lies in site {site} of node {}: spokes would look for it through the tunnel", node.name, owner.name), "give spokes that are on that network local, or use an endpoint outside it");
            }
        }
    }
}

/// Of those who claim a prefix already, the one that a node clashes with most: itself, else one that is enabled as it is.
fn worst_rival<'n>(rivals: &[&'n Node], node: &Node) -> Option<&'n Node> {
    let itself = rivals.iter().find(|r| r.name == node.name);
    let enabled = || rivals.iter().find(|r| r.enabled && node.enabled);
    itself.or_else(enabled).or_else(|| rivals.first()).copied()
}
