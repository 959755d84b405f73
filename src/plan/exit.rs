//! A relay whose spokes leave to the Internet by another node: policy rules by source, and a table of its own with the way there.
//!
//! What is for a place that this host has a route to goes there first, as with a full tunnel. The last rule asks for nothing that
//! could be away: what has no way to its exit does not leave by the relay's own uplink.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::state::{MAIN_TABLE, PolicyRule, Route, RuleSelector};
use crate::firewall::{Family, aggregate};
use crate::model::{Network, Node, Timestamp, everything};

/// Priorities of the rules, before those of a full tunnel.
const PRIORITY_MAIN: u32 = 32_390;
const PRIORITY_EXIT: u32 = 32_391;
const PRIORITY_REFUSED: u32 = 32_392;
/// Added to the port that the network has on this host alone, it numbers the network's table.
const FIRST_TABLE: u32 = 100_000;

/// Returns the table with the way to the exit.
pub fn table(node: &Node) -> u32 {
    FIRST_TABLE + u32::from(node.listen_port().unwrap_or_default())
}

/// Returns a relay's routes to the exit and the rules that lead there; none on a spoke, and where nobody leaves by another node.
pub fn ways(network: &Network, node: &Node, now: Timestamp) -> (BTreeSet<Route>, BTreeSet<PolicyRule>) {
    let (mut routes, mut rules) = (BTreeSet::new(), BTreeSet::new());
    if !node.is_relay() {
        return (routes, rules);
    }
    let (all, carried) = network.exit_sources(node, now);
    let table = table(node);
    for (family, everything) in Family::BOTH.into_iter().zip(everything()) {
        let ipv6 = family == Family::V6;
        let of = |nets: &BTreeSet<IpNet>| aggregate(nets.iter().copied(), family);
        let mut rule = |priority, selector| _ = rules.insert(PolicyRule { ipv6, priority, selector });
        for net in of(&all) {
            rule(PRIORITY_MAIN, RuleSelector::FromWithoutDefault { net });
            rule(PRIORITY_REFUSED, RuleSelector::FromRefused { net });
        }
        for net in of(&carried) {
            rule(PRIORITY_EXIT, RuleSelector::From { net, table });
            routes.insert(Route { dst: everything, table });
        }
    }
    (routes, rules)
}

/// The same as lines of a `.conf`, which then makes all its routes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExitHooks {
    /// The rules: before the interface is there.
    pub pre_up: Vec<String>,
    /// The way to the exit, and those into the tunnel that the interface's own subnet does not cover.
    pub post_up: Vec<String>,
    /// What takes the rules away; routes go with the interface.
    pub post_down: Vec<String>,
}

/// Makes these lines for a relay whose AllowedIPs are `sends`. `None`: nobody leaves by another node.
pub fn hooks(network: &Network, node: &Node, sends: &BTreeSet<IpNet>, now: Timestamp) -> Option<ExitHooks> {
    let (routes, rules) = ways(network, node, now);
    if rules.is_empty() {
        return None;
    }
    let ip = |ipv6: bool| if ipv6 { "ip -6" } else { "ip -4" };
    let by_name = |rule: &PolicyRule| format!("pref {} {}", rule.priority, super::change::rule_text(rule));
    let subnets = network.subnets();
    let is_covered = |net: &&IpNet| net.prefix_len() == 0 || subnets.iter().any(|s| s.contains(*net));
    let into_tunnel = sends.iter().filter(|net| !is_covered(net)).map(|net| (*net, MAIN_TABLE));
    let into_tunnel = into_tunnel.chain(routes.iter().map(|route| (route.dst, route.table)));
    let route = |(dst, table): (IpNet, u32)| {
        format!("{} route add {dst} dev %i table {table}", ip(dst.addr().is_ipv6()))
    };
    Some(ExitHooks {
        pre_up: rules.iter().map(|r| format!("{} rule add {} || :", ip(r.ipv6), by_name(r))).collect(),
        post_up: into_tunnel.map(route).collect(),
        post_down: rules
            .iter()
            .map(|r| format!("{} rule del {} 2>/dev/null || :", ip(r.ipv6), by_name(r)))
            .collect(),
    })
}
