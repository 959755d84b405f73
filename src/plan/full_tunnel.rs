//! A Linux spoke that sends everything into the tunnel: marks, a table of its own, policy rules of its own.
//!
//! The outer packets carry a mark and are kept out of the tunnel's table; everything else looks at the main
//! table without its default route first, so that connected networks stay reachable. The last rule needs neither interface nor
//! route: while these are away, since the agent died or somebody took them, nothing leaves in clear.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::firewall::foreign::Facts;
use crate::firewall::{Action, Chain, Hook, Match, Rule};

use super::state::{PolicyRule, Route, RuleSelector};

/// The table with the tunnel's default route, and the outer packets' mark: wg-quick(8) uses the same number.
pub const TABLE: u32 = 51820;
/// Priorities of the rules, below the main table's 32766; fixed, so that they can be found again.
const PRIORITY_MAIN: u32 = 32_400;
const PRIORITY_TUNNEL: u32 = 32_401;
const PRIORITY_OUTSIDE: u32 = 32_402;
const PRIORITY_REFUSED: u32 = 32_403;

/// Returns the table that a route belongs in.
pub fn table_of(dst: &IpNet) -> u32 {
    if dst.prefix_len() == 0 { TABLE } else { super::MAIN_TABLE }
}

/// Returns the rules for the families that have routes in that table; `outside` is what the tunnel leaves out.
pub fn rules(routes: &BTreeSet<Route>, outside: &[IpNet]) -> BTreeSet<PolicyRule> {
    let is_v6 = |net: &IpNet| matches!(net, IpNet::V6(_));
    let families: BTreeSet<bool> =
        routes.iter().filter(|r| r.table == TABLE).map(|r| is_v6(&r.dst)).collect();
    let outside = outside.iter().filter(|net| families.contains(&is_v6(net)));
    let outside = outside.map(|net| PolicyRule {
        ipv6: is_v6(net),
        priority: PRIORITY_OUTSIDE,
        selector: RuleSelector::Outside { net: *net },
    });
    let outside: BTreeSet<PolicyRule> = outside.collect();
    families
        .into_iter()
        .flat_map(|ipv6| {
            let tunnel = RuleSelector::NotMarked { mark: TABLE, table: TABLE };
            [
                PolicyRule { ipv6, priority: PRIORITY_MAIN, selector: RuleSelector::MainWithoutDefault },
                PolicyRule { ipv6, priority: PRIORITY_TUNNEL, selector: tunnel },
                PolicyRule {
                    ipv6,
                    priority: PRIORITY_REFUSED,
                    selector: RuleSelector::Refused { mark: TABLE },
                },
            ]
        })
        .chain(outside)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_way_into_a_full_tunnel_finds_none_beside_it() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let full = [Route { dst: net("0.0.0.0/0"), table: TABLE }].into();
        let outside = [net("10.0.0.0/8"), net("fd00::/8")];
        let of = |outside: &[IpNet]| {
            let rules = rules(&full, outside);
            rules.into_iter().map(|r| (r.ipv6, r.priority, r.selector)).collect::<Vec<_>>()
        };
        let refused = (false, 32_403, RuleSelector::Refused { mark: TABLE });
        assert_eq!(of(&[]).last(), Some(&refused));
        // What is left out comes before it, and the family that has no tunnel has no rule.
        let with = of(&outside);
        assert_eq!(with.iter().filter(|(ipv6, ..)| *ipv6).count(), 0);
        assert!(with.contains(&(false, 32_402, RuleSelector::Outside { net: outside[0] })));
        assert_eq!(with.last(), Some(&refused));
        // A tunnel that is not full refuses nothing.
        let split = [Route { dst: net("10.0.0.0/8"), table: crate::plan::MAIN_TABLE }].into();
        assert_eq!(rules(&split, &outside), BTreeSet::new());
    }
}
