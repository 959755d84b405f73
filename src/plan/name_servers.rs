//! The name servers of a node's `dns`, as this host's resolver is given them for the tunnel's link.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Facts;
use crate::firewall::foreign::resolver::Resolver;
use crate::model::{Network, Node, Problem};

/// systemd-resolved's word for every name.
const EVERY_NAME: &str = "~.";

/// What a resolver has for our link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameServers {
    /// Who has it.
    pub resolver: Resolver,
    /// Whom it asks, in this order.
    pub servers: Vec<IpAddr>,
    /// Names below these are asked there, and completed with them; in systemd-resolved's words, `~.` is every name.
    pub domains: Vec<String>,
    /// Whether names that no link has a domain for are asked there, too (systemd-resolved: the default route; openresolv:
    /// nobody else is asked).
    pub every_name: bool,
}

impl NameServers {
    /// Returns it as a plan shows it.
    pub fn words(&self) -> String {
        let servers: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        let mut text = servers.join(", ");
        if !self.domains.is_empty() {
            text += &format!("; domains {}", self.domains.join(" "));
        }
        if self.every_name {
            text += "; for every name";
        }
        text
    }
}

/// Says what this host's resolver is to be given; or, where nobody here can be given it, tells so.
pub(super) fn wanted(
    network: &Network,
    node: &Node,
    is_full: bool,
    facts: &Facts,
) -> (Option<NameServers>, Option<Problem>) {
    let servers: Vec<IpAddr> = node.dns.iter().filter_map(|entry| entry.parse().ok()).collect();
    let mut domains: Vec<String> =
        node.dns.iter().filter(|entry| entry.parse::<IpAddr>().is_err()).cloned().collect();
    if servers.is_empty() {
        return (None, None);
    }
    let Some(resolver) = facts.resolver else {
        return (None, Some(not_set(network, node, &servers, &domains, is_full)));
    };
    let all = is_full || domains.is_empty();
    if resolver == Resolver::SystemdResolved && all {
        domains.insert(0, EVERY_NAME.to_owned());
    }
    let every_name = match resolver {
        Resolver::SystemdResolved => all,
        // Whoever else has told it nothing of an order comes first, unless nobody else is asked: wg-quick does the same.
        Resolver::Openresolv => true,
        // It has one list and no word for this.
        Resolver::Resolvconf => false,
    };
    (Some(NameServers { resolver, servers, domains, every_name }), None)
}

/// Tells that the resolver of this host is its owner's to set.
fn not_set(network: &Network, node: &Node, servers: &[IpAddr], domains: &[String], is_full: bool) -> Problem {
    let list = |names: &[String]| names.iter().map(|name| format!(" {name}")).collect::<String>();
    let link = &network.name;
    let all = if is_full || domains.is_empty() { " '~.'" } else { "" };
    let addresses: String = servers.iter().map(|ip| format!(" {ip}")).collect();
    let leak = if is_full { ": what it asks now may go beside the tunnel" } else { "" };
    Problem::warning(
        "dns-not-set",
        format!("node {}", node.name),
        format!(
            "the name servers of {} are not set on this host, where neither systemd-resolved nor resolvconf keeps \
             /etc/resolv.conf, or /etc is not to be written{leak}",
            node.name
        ),
        format!(
            "install systemd-resolved (or openresolv), then `wgrelay up`; by hand: resolvectl dns {link}{addresses} && \
             resolvectl domain {link}{all}{}, or nameserver {} in /etc/resolv.conf",
            list(domains),
            servers[0]
        ),
    )
}
