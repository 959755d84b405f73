//! Rules about the prefix by which others know a site.

use ipnet::IpNet;

use super::{Check, Mark, overlap, unusable};
use crate::model::{Node, Site};

impl<'n> Check<'n> {
    /// Returns an earlier site of a node with the very subnet of this one, where either has an alias: behind two links of one host,
    /// nothing would tell them apart.
    pub(super) fn same_link_prefix(&self, node: &'n Node, site: &Site) -> Option<&'n Site> {
        let earlier = node.sites.iter().take_while(|other| !std::ptr::eq(*other, site));
        let same = |other: &&Site| {
            other.subnet.trunc() == site.subnet.trunc() && (other.alias.is_some() || site.alias.is_some())
        };
        earlier.into_iter().find(same)
    }

    /// Checks an alias by itself; what it shares with other places is the business of these. Says whether it can be one.
    pub(super) fn alias(&mut self, node: &Node, site: &Site, subnet_at: Mark, at: Mark) -> bool {
        let (subnet, name) = (site.subnet, &node.name);
        let Some(alias) = site.alias else { return true };
        let mut wrong = |message: String, hint: &str| {
            self.error(at, "bad-alias", message, hint);
            false
        };
        let is_v6 = |net: IpNet| net.addr().is_ipv6();
        if is_v6(alias) != is_v6(subnet) {
            return wrong(
                format!("{alias} cannot stand for {subnet} of node {name}: they are of two families"),
                "IPv4 for IPv4, IPv6 for IPv6",
            );
        }
        if alias.prefix_len() != subnet.prefix_len() {
            let hint = format!("write a prefix of /{}: each host keeps its place in it", subnet.prefix_len());
            return wrong(
                format!("{alias} cannot stand for {subnet} of node {name}: it has another length"),
                &hint,
            );
        }
        if overlap(alias, subnet) {
            return wrong(
                format!("{alias} is the subnet of that site of node {name} itself"),
                "take it away, or write a prefix that nobody uses",
            );
        }
        if site.preference.is_some() {
            return wrong(
                format!("site {subnet} of node {name} has an alias and a preference"),
                "one gateway translates a site; take one of the two away",
            );
        }
        if !node.platform.is_linux() {
            let platform = node.platform.as_str();
            return wrong(
                format!(
                    "node {name} cannot translate {subnet} to {alias}: wgrelay writes no translation for {platform}"
                ),
                "a gateway with platform linux or docker can",
            );
        }
        if let Some(other) = node.sites.iter().find(|o| !std::ptr::eq(*o, site) && overlap(o.subnet, alias)) {
            return wrong(
                format!("{alias} overlaps {} behind the same node {name}", other.subnet),
                "write a prefix that nobody uses",
            );
        }
        if let Some(local) = node.local.iter().find(|local| overlap(**local, alias)) {
            return wrong(
                format!("{alias} overlaps {local}, to which node {name} is attached itself"),
                "write a prefix that nobody uses",
            );
        }
        // What its hosts really have is on a link of the node all the same.
        if let Some(why) = unusable(subnet) {
            self.error(
                subnet_at,
                "bad-prefix",
                format!("{subnet} cannot be a site of node {name}: {why}"),
                "",
            );
            return false;
        }
        if let Some(tunnel) = self.tunnels().find(|tunnel| overlap(*tunnel, subnet)) {
            self.error(
                subnet_at,
                "site-in-tunnel",
                format!("site {subnet} of node {name} overlaps the tunnel subnet {tunnel}"),
                "an alias does not help there: choose another tunnel subnet",
            );
            return false;
        }
        true
    }

    /// Two networks with the same addresses, of which one has no alias: these two do not reach each other. On a relay the hosts of
    /// the other would be taken for its own, whatever `[[allow]]` says.
    pub(super) fn half_aliased(&mut self) {
        let sites = |node: &&'n Node| node.sites.iter().map(Site::prefix).collect::<Vec<_>>();
        let enabled = self.nodes.iter().map(|(node, _)| *node).filter(|node| node.enabled);
        let others: Vec<(&Node, Vec<IpNet>)> = enabled.map(|node| (node, sites(&node))).collect();
        for (node, at) in self.nodes.clone() {
            for (site, at) in node.sites.iter().zip(&at.sites).filter(|(site, _)| site.alias.is_some()) {
                let Some(mark) = at.subnet else { continue };
                let meets = |(other, nets): &(&'n Node, Vec<IpNet>)| {
                    let net = nets.iter().find(|net| overlap(**net, site.subnet))?;
                    (other.name != node.name).then_some((*other, *net))
                };
                let Some((other, net)) = others.iter().find_map(meets) else { continue };
                let (subnet, name, other) = (site.subnet, &node.name, &other.name);
                if node.is_relay() {
                    self.error(
                        mark,
                        "duplicate-prefix",
                        format!("{subnet} is behind the relay {name}, and {net} behind {other}: the relay has one way to it"),
                        format!("give the site of {other} an alias outside of {subnet}"),
                    );
                    continue;
                }
                self.warn(
                    mark,
                    "half-alias",
                    format!("hosts of {subnet} behind {name} and of {net} behind {other} do not reach each other: each looks on its own link"),
                    format!("where they are to, give the site of {other} an alias outside of {subnet}"),
                );
            }
        }
    }
}
