//! Policy rules of others (`ip rule`): which table a packet's route is looked up in, before ours and before the main one.
//!
//! [`decide`] asks them in the kernel's order. What a packet cannot be asked here (a port, a user) is told as a doubt.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What a rule does with a packet that it selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleDoes {
    /// Looks it up in a table; the next rule is asked where that has no route.
    Lookup(u32),
    /// Goes on with the rules from this priority on.
    Goto(u32),
    /// Nothing: the next rule is asked.
    Nop,
    /// Ends it: `blackhole`, `unreachable`, `prohibit`.
    Refuse,
}

/// A policy rule that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RoutingRule {
    /// Lower is asked first.
    pub priority: u32,
    /// Whether it is an IPv6 rule.
    pub ipv6: bool,
    /// Whether it selects what the selectors do not (`not`).
    #[serde(default)]
    pub inverted: bool,
    /// Source prefix.
    #[serde(default)]
    pub from: Option<IpNet>,
    /// Destination prefix.
    #[serde(default)]
    pub to: Option<IpNet>,
    /// The link a packet came by; `lo`: it starts here.
    #[serde(default)]
    pub iif: Option<String>,
    /// The link that a socket is bound to.
    #[serde(default)]
    pub oif: Option<String>,
    /// Mark and mask.
    #[serde(default)]
    pub mark: Option<(u32, u32)>,
    /// Whether it asks for more, such as a port or a user.
    #[serde(default)]
    pub more: bool,
    /// Routes of at most this length that lead on are as if they were not there (`suppress_prefixlength`).
    #[serde(default)]
    pub suppress: Option<u8>,
    /// What it does.
    pub does: RuleDoes,
}

/// A route of a table that such a rule looks into.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableRoute {
    /// Destination.
    pub dst: IpNet,
    /// What becomes of the packet.
    pub leads: Leads,
}

/// What a route does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leads {
    /// It leaves by a link, to a router there or to its destination itself.
    By {
        /// The link.
        device: String,
        /// The router.
        gateway: Option<IpAddr>,
    },
    /// The table has nothing for it: the next rule is asked.
    Throw,
    /// It ends here.
    Refuse,
}

/// A packet as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Destination.
    pub dst: IpAddr,
    /// Source; `None`: the host has not chosen one yet.
    pub src: Option<IpAddr>,
    /// The link it came by; `lo`: it starts on this host.
    pub iif: &'a str,
    /// Its mark.
    pub mark: u32,
}

impl<'a> Asking<'a> {
    /// A packet of the host's own, whose source is not chosen.
    pub const fn own(dst: IpAddr, mark: u32) -> Asking<'a> {
        Asking { dst, src: None, iif: "lo", mark }
    }
}

/// Whose rule decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecidedBy {
    /// One of others.
    Rule(RoutingRule),
    /// One of ours, or the main table.
    Usual,
}

/// Where a packet goes.
#[derive(Debug, Clone)]
pub struct Decision<W> {
    /// The route; `None`: there is none, or it is refused.
    pub way: Option<W>,
    /// Whose rule led there.
    pub by: DecidedBy,
    /// Rules that may decide otherwise: they ask what is not known here.
    pub doubts: Vec<String>,
}

/// Whether a rule is one for a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selects {
    Yes,
    No,
    /// It asks for what is not known of the packet.
    Perhaps,
}

impl RoutingRule {
    fn selects(&self, packet: &Asking<'_>) -> Selects {
        let holds = |net: &IpNet, ip: Option<IpAddr>| match ip {
            Some(ip) => net.contains(&ip),
            None => net.prefix_len() == 0,
        };
        let is_selected = self.from.as_ref().is_none_or(|net| holds(net, packet.src))
            && self.to.as_ref().is_none_or(|net| net.contains(&packet.dst))
            && self.iif.as_ref().is_none_or(|name| name == packet.iif)
            // No socket that is asked about here is bound to a link.
            && self.oif.is_none()
            && self.mark.is_none_or(|(mark, mask)| packet.mark & mask == mark & mask);
        match is_selected {
            true if self.more => Selects::Perhaps,
            _ if is_selected != self.inverted => Selects::Yes,
            _ => Selects::No,
        }
    }

    /// Returns the mark that keeps a packet out of the rule, where it takes everything but what bears one.
    pub fn spares(&self) -> Option<u32> {
        self.mark.filter(|(mark, _)| self.inverted && *mark != 0).map(|(mark, _)| mark)
    }
}

/// As `ip rule` shows it, after its priority.
impl std::fmt::Display for RoutingRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.priority)?;
        if self.inverted {
            f.write_str("not ")?;
        }
        match &self.from {
            Some(net) => write!(f, "from {net}")?,
            None => f.write_str("from all")?,
        }
        if let Some(net) = &self.to {
            write!(f, " to {net}")?;
        }
        match self.mark {
            Some((mark, u32::MAX)) => write!(f, " fwmark {mark:#x}")?,
            Some((mark, mask)) => write!(f, " fwmark {mark:#x}/{mask:#x}")?,
            None => {}
        }
        for (word, link) in [("iif", &self.iif), ("oif", &self.oif)] {
            if let Some(link) = link {
                write!(f, " {word} {link}")?;
            }
        }
        match self.does {
            RuleDoes::Lookup(254) => f.write_str(" lookup main")?,
            RuleDoes::Lookup(table) => write!(f, " lookup {table}")?,
            RuleDoes::Goto(priority) => write!(f, " goto {priority}")?,
            RuleDoes::Nop => f.write_str(" nop")?,
            RuleDoes::Refuse => f.write_str(" unreachable")?,
        }
        match self.suppress {
            Some(length) => write!(f, " suppress_prefixlength {length}"),
            None => Ok(()),
        }
    }
}

/// A rule in the order that packets meet: of others, or what ours does.
pub enum Asked<'r, O> {
    /// Of others.
    Others(&'r RoutingRule),
    /// Ours.
    Ours(&'r O),
}

/// Asks the rules in the order of their priority; `rules` are sorted by it. `lookup` finds the route of the longest prefix in a
/// table, one that leads on only where it has at least so many bits (`Some(None)`: it refuses); `ours` asks a rule of ours (likewise), and `usual` the main table, which every host
/// looks into at [`MAIN_PRIORITY`].
pub fn decide<W, O>(
    rules: &[(u32, Asked<'_, O>)],
    packet: &Asking<'_>,
    lookup: impl Fn(u32, u8) -> Option<Option<W>>,
    ours: impl Fn(&O) -> Option<Option<W>>,
    usual: impl Fn() -> Option<W>,
) -> Decision<W> {
    let mut doubts = Vec::new();
    let mut from = 0;
    let mut main_is_asked = false;
    for (priority, rule) in rules {
        if *priority < from {
            continue;
        }
        if *priority > MAIN_PRIORITY && from <= MAIN_PRIORITY && !main_is_asked {
            if let Some(way) = usual() {
                return Decision { way: Some(way), by: DecidedBy::Usual, doubts };
            }
            main_is_asked = true;
        }
        let rule = match rule {
            Asked::Ours(rule) => match ours(rule) {
                Some(way) => return Decision { way, by: DecidedBy::Usual, doubts },
                None => continue,
            },
            Asked::Others(rule) if rule.ipv6 != packet.dst.is_ipv6() => continue,
            Asked::Others(rule) => *rule,
        };
        let is_doubtful = match rule.selects(packet) {
            Selects::No => continue,
            Selects::Yes => false,
            Selects::Perhaps => true,
        };
        let way = match rule.does {
            RuleDoes::Nop => continue,
            // One that leads nowhere is as if it were not there.
            RuleDoes::Goto(to) if !is_there(rules, to) => continue,
            RuleDoes::Goto(_) if is_doubtful => None,
            RuleDoes::Goto(to) => {
                from = to;
                continue;
            }
            RuleDoes::Refuse => None,
            RuleDoes::Lookup(table) => {
                let least = rule.suppress.map_or(0, |length| length.saturating_add(1));
                let Some(way) = lookup(table, least) else { continue };
                way
            }
        };
        if is_doubtful {
            doubts.push(format!(
                "policy rule {rule}, which asks for more than addresses and marks, may decide otherwise"
            ));
            continue;
        }
        return Decision { way, by: DecidedBy::Rule(rule.clone()), doubts };
    }
    let way = if main_is_asked || from > MAIN_PRIORITY { None } else { usual() };
    Decision { way, by: DecidedBy::Usual, doubts }
}

/// The priority of the rule for the main table, which every host has (`ip-rule(8)`).
pub const MAIN_PRIORITY: u32 = 32_766;

/// Says whether there is a rule of this very priority, to go on with.
fn is_there<O>(rules: &[(u32, Asked<'_, O>)], priority: u32) -> bool {
    [MAIN_PRIORITY, MAIN_PRIORITY + 1].contains(&priority) || rules.iter().any(|(p, _)| *p == priority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(priority: u32, does: RuleDoes) -> RoutingRule {
        RoutingRule {
            priority,
            ipv6: false,
            inverted: false,
            from: None,
            to: None,
            iif: None,
            oif: None,
            mark: None,
            more: false,
            suppress: None,
            does,
        }
    }

    /// A table's number stands for its route; table 9 has only a default one.
    fn decided(rules: &[RoutingRule], packet: &Asking<'_>) -> (Option<u32>, bool, usize) {
        let list: Vec<(u32, Asked<'_, ()>)> = rules.iter().map(|r| (r.priority, Asked::Others(r))).collect();
        let lookup = |table, least| (table != 9 || least == 0).then_some(Some(table));
        let found = decide(&list, packet, lookup, |()| None, || Some(254));
        (found.way, found.by != DecidedBy::Usual, found.doubts.len())
    }

    #[test]
    fn rules_are_asked_in_their_order() {
        let packet = Asking { dst: "10.88.0.2".parse().unwrap(), src: None, iif: "lo", mark: 7 };
        let look = RuleDoes::Lookup;
        let first = |rules: &[RoutingRule]| decided(rules, &packet);
        assert_eq!(first(&[]), (Some(254), false, 0));
        assert_eq!(first(&[rule(1, look(52)), rule(2, look(53))]), (Some(52), true, 0));
        let of = |f: &dyn Fn(&mut RoutingRule)| {
            let mut r = rule(1, look(52));
            f(&mut r);
            first(&[r])
        };
        let usual = (Some(254), false, 0);
        assert_eq!(of(&|r| r.from = Some("10.0.0.0/8".parse().unwrap())), usual, "no source yet");
        assert_eq!(of(&|r| r.to = Some("10.88.0.0/24".parse().unwrap())), (Some(52), true, 0));
        assert_eq!(of(&|r| r.iif = Some("eth0".into())), usual);
        assert_eq!(of(&|r| r.oif = Some("eth0".into())), usual);
        assert_eq!(of(&|r| r.mark = Some((7, u32::MAX))), (Some(52), true, 0));
        assert_eq!(of(&|r| (r.mark, r.inverted) = (Some((7, u32::MAX)), true)), usual);
        assert_eq!(of(&|r| r.more = true), (Some(254), false, 1), "told as a doubt");
        assert_eq!(of(&|r| (r.more, r.inverted) = (true, true)), (Some(254), false, 1), "likewise");
        let of_another =
            |r: &mut RoutingRule| (r.more, r.inverted, r.mark) = (true, true, Some((8, u32::MAX)));
        assert_eq!(of(&of_another), (Some(52), true, 0), "whatever else it asks for, it is not that");
        assert_eq!(of(&|r| r.does = RuleDoes::Refuse), (None, true, 0));
        assert_eq!(of(&|r| (r.does, r.suppress) = (look(9), Some(0))), usual);
        assert_eq!(
            first(&[rule(1, RuleDoes::Goto(3)), rule(2, look(52)), rule(3, look(53))]),
            (Some(53), true, 0)
        );
        assert_eq!(first(&[rule(1, RuleDoes::Nop), rule(2, look(52))]), (Some(52), true, 0));
        let nowhere = [rule(1, RuleDoes::Goto(4)), rule(2, look(52)), rule(5, look(53))];
        assert_eq!(first(&nowhere), (Some(52), true, 0), "there is no rule 4");
        assert_eq!(first(&[rule(32_767, look(52))]), usual, "the main table has it already");
        let past = [rule(1, RuleDoes::Goto(32_767)), rule(40_000, look(52))];
        assert_eq!(first(&past), (Some(52), true, 0), "the main table is left out");
        let goes_on = [rule(1, RuleDoes::Goto(32_766)), rule(2, look(52))];
        assert_eq!(first(&goes_on), usual);
        let other_family = RoutingRule { ipv6: true, ..rule(1, look(52)) };
        assert_eq!(first(&[other_family]), usual);
    }

    #[test]
    fn a_rule_reads_as_ip_rule_shows_it() {
        let mut r = rule(32_764, RuleDoes::Lookup(51_820));
        (r.inverted, r.mark) = (true, Some((0xca6c, u32::MAX)));
        assert_eq!(r.to_string(), "32764: not from all fwmark 0xca6c lookup 51820");
        assert_eq!(r.spares(), Some(51_820));
        assert_eq!(rule(5270, RuleDoes::Lookup(52)).to_string(), "5270: from all lookup 52");
    }
}
