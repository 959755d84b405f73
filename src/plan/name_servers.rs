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

#[cfg(test)]
mod tests {
    use super::*;

    fn given(resolver: Resolver, dns: &str, is_full: bool) -> Option<(Vec<String>, bool)> {
        let text = format!(
            "[network]\nname = \"wg0\"\nsubnet = \"10.1.0.0/24\"\n[node.a]\nrole = \"relay\"\naddress = \"10.1.0.1\"\n\
             endpoint = \"192.0.2.1:51820\"\npublic_key = \"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\"\n[node.b]\n\
             address = \"10.1.0.2\"\npublic_key = \"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\"\ndns = {dns}\n"
        );
        let network = crate::config::parse_network(text.as_bytes(), "f").value.unwrap();
        let facts = Facts { resolver: Some(resolver), ..Facts::default() };
        let (given, untold) = wanted(&network, &network.nodes["b"], is_full, &facts);
        assert_eq!(untold, None);
        given.map(|servers| (servers.domains, servers.every_name))
    }

    #[test]
    fn who_is_asked_for_which_names() {
        use Resolver::{Openresolv, Resolvconf, SystemdResolved};
        let (servers, both) = ("[\"10.1.0.1\"]", "[\"10.1.0.1\", \"a.example\"]");
        for (resolver, dns, is_full, domains, every_name) in [
            (SystemdResolved, servers, false, &["~."][..], true),
            (SystemdResolved, servers, true, &["~."], true),
            (SystemdResolved, both, false, &["a.example"], false),
            (SystemdResolved, both, true, &["~.", "a.example"], true),
            (Openresolv, servers, false, &[], true),
            (Openresolv, both, false, &["a.example"], true),
            (Resolvconf, both, true, &["a.example"], false),
        ] {
            let wanted = (domains.iter().map(ToString::to_string).collect(), every_name);
            assert_eq!(given(resolver, dns, is_full), Some(wanted), "{resolver} {dns} {is_full}");
        }
        // A search domain alone is nobody's to ask.
        assert_eq!(given(SystemdResolved, "[\"a.example\"]", true), None);
    }
}
