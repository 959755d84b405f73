//! A Linux spoke that sends everything into the tunnel: marks, a table of its own, two policy rules.
//!
//! The outer packets carry a mark and are kept out of the tunnel's table; everything else looks at the main
//! table without its default route first, so that connected networks stay reachable.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::firewall::foreign::Facts;
use crate::firewall::{Action, Chain, Hook, Match, Rule};

use super::state::{PolicyRule, Route, RuleSelector};

/// The table with the tunnel's default route, and the outer packets' mark: wg-quick(8) uses the same number.
pub const TABLE: u32 = 51820;
/// Priorities of the two rules, below the main table's 32766; fixed, so that they can be found again.
const PRIORITY_MAIN: u32 = 32_400;
const PRIORITY_TUNNEL: u32 = 32_401;

/// Returns the table that a route belongs in.
pub fn table_of(dst: &IpNet) -> u32 {
    if dst.prefix_len() == 0 { TABLE } else { super::MAIN_TABLE }
}

/// Returns the rules for the families that have routes in that table.
pub fn rules(routes: &BTreeSet<Route>) -> BTreeSet<PolicyRule> {
    let families: BTreeSet<bool> =
        routes.iter().filter(|r| r.table == TABLE).map(|r| matches!(r.dst, IpNet::V6(_))).collect();
    families
        .into_iter()
        .flat_map(|ipv6| {
            let tunnel = RuleSelector::NotMarked { mark: TABLE, table: TABLE };
            [
                PolicyRule { ipv6, priority: PRIORITY_MAIN, selector: RuleSelector::MainWithoutDefault },
                PolicyRule { ipv6, priority: PRIORITY_TUNNEL, selector: tunnel },
            ]
        })
        .collect()
}

/// Says whether a way out drops what comes from where it would not send to (`rp_filter` 1, RFC 3704): with a full tunnel that is
/// all that comes from the endpoints.
pub fn is_strict(facts: &Facts) -> bool {
    let value = |link: &str| {
        facts.sysctl(&format!("net/ipv4/conf/{link}/rp_filter")).and_then(|v| v.trim().parse::<u8>().ok())
    };
    let all = value("all").unwrap_or(0);
    let ways = facts.routes.iter().filter(|r| r.dst.prefix_len() == 0 && matches!(r.dst, IpNet::V4(_)));
    ways.filter(|r| !r.device.is_empty()).any(|r| value(&r.device).unwrap_or(0).max(all) == 1)
}

/// Returns the chains that give answers of the endpoints the mark of what they answer, so that they pass such a filter.
pub fn marks(mark: u32) -> [Chain; 2] {
    let chain = |name: &str, hook, condition, action| Chain {
        name: name.into(),
        hook,
        rules: vec![Rule { matches: vec![Match::Udp(1, u16::MAX), condition], action }],
    };
    [
        chain("incoming", Hook::Incoming, Match::FlowMarked(mark), Action::RestoreMark),
        chain("outgoing", Hook::Outgoing, Match::Marked(mark), Action::SaveMark),
    ]
}
