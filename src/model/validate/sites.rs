//! Rules about prefixes: sites and what a node is attached to, against each other and the tunnel; endpoints among them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Check, Mark, NodeMarks, overlap, unusable};
use crate::model::{EndpointHost, Node, PrefixMap, Site};

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
        let mut claimants: BTreeMap<IpNet, Vec<Claim<'n>>> = BTreeMap::new();
        let mut placed: Vec<(IpNet, Mark, &Node)> = Vec::new();
        for (node, at) in self.nodes.clone() {
            for (site, at) in node.sites.iter().zip(&at.sites) {
                let Some(mark) = at.subnet else { continue };
                if let Some(other) = self.same_link_prefix(node, site) {
                    self.double_claim(
                        mark,
                        Clash::Itself,
                        &Claim { node, site: other },
                        &Claim { node, site },
                    );
                    continue;
                }
                let (subnet, mark) = match (site.alias, at.alias) {
                    (Some(_), Some(at)) if self.alias(node, site, mark, at) => (site.prefix(), at),
                    (Some(_), _) => continue,
                    (None, _) => (site.subnet, mark),
                };
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
                let claim = Claim { node, site };
                let clash = rivals.iter().filter_map(|rival| Some((clash(rival, &claim)?, rival)));
                if let Some((clash, rival)) = clash.min_by_key(|(clash, _)| *clash) {
                    self.double_claim(
                        at.preference.filter(|_| clash == Clash::Preference).unwrap_or(mark),
                        clash,
                        rival,
                        &claim,
                    );
                }
                // The site is of the node that carries it, as the file stands.
                let is_better = |rival: &Claim<'_>| claim.is_better_than(rival);
                if let Some(owner) = claims.get_mut(subnet).filter(|_| rivals.iter().all(is_better)) {
                    *owner = node;
                }
                rivals.push(claim);
                if rivals.len() > 1 {
                    continue;
                }
                claims.insert_new(subnet, node);
                placed.push((subnet, mark, node));
            }
        }
        for (subnet, mark, node) in placed {
            if let Some((wider, owner)) = claims.wider_than(subnet) {
                let is_alias = |node: &Node, net| node.aliases().any(|(_, alias)| alias == net);
                if is_alias(node, subnet) || is_alias(owner, wider) {
                    self.error(
                        mark,
                        "bad-alias",
                        format!("{subnet} of node {} overlaps {wider} of node {}", node.name, owner.name),
                        "an alias is a prefix that nobody else uses",
                    );
                    continue;
                }
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

/// A node that has a prefix as its site.
struct Claim<'n> {
    node: &'n Node,
    site: &'n Site,
}

impl Claim<'_> {
    fn is_better_than(&self, other: &Self) -> bool {
        let rank = |claim: &Self| (claim.node.enabled, claim.site.preference);
        rank(self) > rank(other)
    }
}

/// Why two claims of one prefix cannot be, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Clash {
    /// One node has it twice.
    Itself,
    /// Nothing says which of the two carries it.
    NoPreference,
    /// Both say the same number.
    Preference,
    /// Both have the same address there.
    Address,
    /// One is switched off, and claims nothing yet.
    Standby,
}

fn clash(a: &Claim<'_>, b: &Claim<'_>) -> Option<Clash> {
    if a.node.name == b.node.name {
        return Some(Clash::Itself);
    }
    match (a.site.preference, b.site.preference) {
        (Some(a), Some(b)) if a == b => Some(Clash::Preference),
        (Some(_), Some(_)) => {
            (a.site.address.is_some() && a.site.address == b.site.address).then_some(Clash::Address)
        }
        _ if a.node.enabled && b.node.enabled => Some(Clash::NoPreference),
        _ => Some(Clash::Standby),
    }
}

impl Check<'_> {
    fn double_claim(&mut self, mark: Mark, clash: Clash, rival: &Claim<'_>, claim: &Claim<'_>) {
        let (subnet, name, other) = (claim.site.prefix(), &claim.node.name, &rival.node.name);
        let already = format!("site {subnet} of node {name} is already a site of node {other}");
        match clash {
            Clash::Itself => {
                let hint = "a prefix can be behind one link of a node; take one of the two away";
                self.error(
                    mark,
                    "duplicate-prefix",
                    format!(
                        "node {name} has the site {} twice",
                        if claim.site.alias == rival.site.alias { subnet } else { claim.site.subnet }
                    ),
                    hint,
                );
            }
            Clash::NoPreference => {
                let hint = "where these are two networks with the same addresses, give one an alias, by which the others know it; \
                            where both nodes are gateways of one, give each a preference: the highest carries it; where a node \
                            is only attached to it, write it under local";
                self.error(mark, "duplicate-prefix", already, hint);
            }
            Clash::Preference => {
                let hint = "give each its own number: the highest carries the site";
                self.error(mark, "duplicate-prefix", format!("{already}, with the same preference"), hint);
            }
            Clash::Address => {
                let message = format!("{already}, with the same address in it");
                self.error(mark, "duplicate-address", message, "write each gateway's own address there");
            }
            // A stand-by that is switched off claims nothing yet.
            Clash::Standby => {
                let hint = "only one of them may be enabled, unless each has a preference";
                self.warn(mark, "duplicate-prefix", already, hint);
            }
        }
    }
}
