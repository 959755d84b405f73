//! Whether this host lets WireGuard's own port in. What reaches the host itself is for its own firewall to say, so nothing
//! is opened here: that it is closed is told, with the command.

use std::collections::BTreeSet;

use super::Facts;
use super::beside::uplinks;
use super::firewall::Family;
use super::foreign::IptablesFacts;
use crate::model::{Network, Node, Problem};

/// Tells of a port that others are to dial and cannot.
pub(super) fn problems(network: &Network, node: &Node, facts: &Facts) -> Vec<Problem> {
    let (Some(endpoint), Some(port)) = (&node.endpoint, node.listen_port()) else { return Vec::new() };
    let tell = |who: String, fix: String| {
        let why = format!(
            "{who} does not let UDP {port} in: nobody out there can begin a handshake of {}",
            network.name
        );
        Problem::warning("port-closed", format!("UDP port {port}"), why, fix)
    };
    let mut told: Vec<Problem> = closed_zones(facts, port)
        .into_iter()
        .map(|zone| {
            let open = format!("--zone {zone} --add-port {port}/udp");
            tell(
                format!("firewalld's zone {zone}"),
                format!("firewall-cmd {open} && firewall-cmd --permanent {open}"),
            )
        })
        .collect();
    let family = match endpoint.socket_addr() {
        Some(address) if address.is_ipv6() => Family::V6,
        _ => Family::V4,
    };
    let closed = facts.foreign.iptables.iter().find(|there| there.family == family && is_closed(there, port));
    told.extend(closed.map(|there| {
        let program = there.iptables.program(family);
        if there.ufw {
            tell("ufw".into(), format!("ufw allow {port}/udp"))
        } else {
            tell(
                format!("INPUT of {program}"),
                format!("`{program} -I INPUT -p udp --dport {port} -j ACCEPT`, and the same where that firewall keeps its rules"),
            )
        }
    }));
    told
}

fn is_closed(there: &IptablesFacts, port: u16) -> bool {
    there.input_drops && !there.input_udp.iter().any(|(first, last)| (*first..=*last).contains(&port))
}

/// The zones of firewalld that the outside is in and that are known to keep the port closed.
fn closed_zones(facts: &Facts, port: u16) -> BTreeSet<&str> {
    let Some(there) = &facts.foreign.firewalld else { return BTreeSet::new() };
    let links: BTreeSet<String> = Family::BOTH.iter().flat_map(|f| uplinks(facts, *f)).collect();
    let mut zones: BTreeSet<&str> = links.iter().map(|link| there.zone_of(link)).collect();
    if links.is_empty() {
        zones.insert(&there.default_zone);
    }
    zones.retain(|zone| there.is_closed(zone, port));
    zones
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_network;
    use crate::plan::foreign::{ForeignFirewall, Iptables};

    fn told(there: IptablesFacts) -> Vec<String> {
        let text = "[network]\nname = \"wg0\"\nsubnet = \"10.8.0.0/24\"\n[node.hub]\nrole = \"relay\"\naddress = \"10.8.0.1\"\n\
                    endpoint = \"192.0.2.1:51820\"\npublic_key = \"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\"\n";
        let network = parse_network(text.as_bytes(), "network.toml").value.unwrap();
        let foreign = ForeignFirewall { iptables: vec![there], ..ForeignFirewall::default() };
        let facts = Facts { foreign, ..Facts::default() };
        problems(&network, &network.nodes["hub"], &facts).into_iter().map(|p| p.hint).collect()
    }

    #[test]
    fn a_closed_input_is_told_with_the_command_of_who_closed_it() {
        let open = IptablesFacts::open(Iptables::Nft, Family::V4);
        let closed = IptablesFacts { input_drops: true, input_udp: [(53, 53)].into(), ..open.clone() };
        assert_eq!(told(open), [""; 0]);
        let command = "`iptables-nft -I INPUT -p udp --dport 51820 -j ACCEPT`, and the same where that firewall keeps its rules";
        assert_eq!(told(closed.clone()), [command]);
        assert_eq!(told(IptablesFacts { ufw: true, ..closed.clone() }), ["ufw allow 51820/udp"]);
        assert_eq!(told(IptablesFacts { input_udp: [(50000, 60000)].into(), ..closed.clone() }), [""; 0]);
        assert_eq!(told(IptablesFacts { family: Family::V6, ..closed }), [""; 0], "the endpoint is IPv4");
    }
}
