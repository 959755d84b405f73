//! What has our names, or our port, on a host that keeps no record of us: somebody else's.

use super::Facts;
use crate::firewall::foreign::wsl;
use crate::firewall::{ifalias, table_name};
use crate::model::{Network, Node, Problem};

/// Tells what stands in the way of a network that was not brought up here yet.
pub fn preflight(network: &Network, node: &Node, facts: &Facts) -> Vec<Problem> {
    let mut problems = Vec::new();
    let is_ours = facts.links.get(network.name.as_str()).is_some_and(|l| l.alias == ifalias(&network.name));
    let table = table_name(&network.name);
    if facts.foreign.lookalikes.contains(&table) {
        problems.push(Problem::error(
            "foreign-table",
            format!("table inet {table}"),
            format!("there is an nft table {table} on this host already, and wgrelay did not make it"),
            format!(
                "see it: `nft list table inet {table}`; rename or delete it, or give the network another name"
            ),
        ));
    }
    if let Some(port) = node.listen_port().filter(|port| !is_ours && facts.udp_ports.contains(port)) {
        problems.push(Problem::error(
            "port-taken",
            format!("UDP port {port}"),
            format!("somebody on this host holds UDP port {port} already"),
            format!(
                "see who: `ss -ulpn 'sport = :{port}'` (kernel WireGuard has no process: `wg show all listen-port`); \
                 or set another listen_port"
            ),
        ));
    }
    problems.extend(facts.wsl.and_then(wsl::refusal));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::fixture::relay_alone;
    use crate::plan::Link;

    #[test]
    fn ours_is_not_in_our_way() {
        let (network, relay) = relay_alone();
        let node = &network.nodes[&relay];
        let codes = |facts: &Facts| -> Vec<String> {
            preflight(&network, node, facts).into_iter().map(|p| p.code).collect()
        };
        let mut facts = Facts::default();
        assert!(codes(&facts).is_empty());
        facts.udp_ports.extend([51820, 53]);
        facts.foreign.lookalikes.insert("wgrelay-wg0".into());
        assert_eq!(codes(&facts), ["foreign-table", "port-taken"]);
        facts.links.insert("wg0".into(), Link { alias: ifalias(&network.name), ..Link::default() });
        assert_eq!(codes(&facts), ["foreign-table"]);
    }
}
