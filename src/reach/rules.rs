//! What one of our tables does to one packet: chain by chain, rule by rule, as nft evaluates them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::compared::{Compared, Comparison};
use crate::firewall::{Action, Addresses, CtState, Family, Hook, Match, Rule, Table};
use crate::model::carried_over;

/// The protocol of a packet, with the destination port where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP to this port.
    Tcp(u16),
    /// UDP to this port.
    Udp(u16),
    /// ICMP, or ICMPv6 in IPv6.
    Icmp,
}

/// What connection tracking says of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracking {
    /// The first of its flow.
    New,
    /// It belongs to a flow that passed here.
    Established,
    /// It belongs to none and cannot start one.
    Invalid,
}

/// A packet as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol and destination port.
    pub protocol: Protocol,
    /// The protocol of its flow, with the port that was called.
    pub flow: Protocol,
    /// The link it came by; `None`: this host made it.
    pub iif: Option<&'a str>,
    /// The link it leaves by.
    pub oif: &'a str,
    /// Connection tracking.
    pub tracking: Tracking,
    /// Where its flow was going before this host rewrote its destination; `None`: it did not.
    pub dnatted: Option<IpAddr>,
}

impl Packet<'_> {
    /// Who began its flow, and who answers it; `None`: no flow is known.
    const fn ends(&self) -> Option<(IpAddr, IpAddr)> {
        match self.tracking {
            Tracking::New => Some((self.src, self.dst)),
            Tracking::Established => Some((self.dst, self.src)),
            Tracking::Invalid => None,
        }
    }
}

/// What comes out of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It goes on: a rule accepted it, or none spoke and the chain's policy did.
    Accept,
    /// It is gone.
    Drop,
    /// It goes on with the address of the link it leaves by.
    Masquerade,
    /// It goes to another address, and to another port where one is given.
    Dnat(IpAddr, Option<u16>),
    /// It goes on with this source.
    Snat(IpAddr),
}

/// The decision, the rule that made it, and what it hung on.
#[derive(Debug, Clone)]
pub struct Evaluation<'t> {
    /// What happens.
    pub decision: Decision,
    /// The rule; `None`: the chain's policy, which accepts.
    pub rule: Option<&'t Rule>,
    /// What the protocol and its port were compared with.
    pub compared: Compared,
    /// Whether the packet was put to the network's policy, and the policy was silent.
    pub not_in_policy: bool,
}

/// nft stops following jumps at this depth (NFT_JUMP_STACK_SIZE).
const MAX_JUMPS: usize = 16;

/// Sends a packet through the chains of a hook.
pub fn evaluate<'t>(table: &'t Table, hook: Hook, packet: &Packet<'_>) -> Evaluation<'t> {
    let mut out = Evaluation {
        decision: Decision::Accept,
        rule: None,
        compared: Compared::default(),
        not_in_policy: false,
    };
    for chain in table.chains.iter().filter(|c| c.hook == hook) {
        if let Some((decision, rule)) = run(table, &chain.rules, packet, 0, &mut out) {
            (out.decision, out.rule) = (decision, Some(rule));
            // An accept leaves this chain only; the next one of the hook still has its say.
            if decision == Decision::Drop {
                break;
            }
        }
    }
    out
}

fn run<'t>(
    table: &'t Table,
    rules: &'t [Rule],
    packet: &Packet<'_>,
    depth: usize,
    out: &mut Evaluation<'t>,
) -> Option<(Decision, &'t Rule)> {
    for rule in rules {
        if !rule.matches.iter().all(|m| holds(table, m, packet, &mut out.compared)) {
            continue;
        }
        match &rule.action {
            Action::Accept => return Some((Decision::Accept, rule)),
            Action::Drop => return Some((Decision::Drop, rule)),
            Action::Dnat(ip, port) => return Some((Decision::Dnat(*ip, *port), rule)),
            Action::DnatPrefix(net) => {
                return Some((Decision::Dnat(in_prefix(packet.dst, *net), None), rule));
            }
            Action::SnatPrefix(net) => return Some((Decision::Snat(in_prefix(packet.src, *net)), rule)),
            Action::Masquerade => return Some((Decision::Masquerade, rule)),
            Action::ClampMss | Action::Mark(_) | Action::SaveMark | Action::RestoreMark => {}
            Action::Jump(name) if depth < MAX_JUMPS => {
                let chain = table.chains.iter().find(|c| c.name == *name);
                if let Some(end) = chain.and_then(|c| run(table, &c.rules, packet, depth + 1, out)) {
                    return Some(end);
                }
                out.not_in_policy |= matches!(name.as_str(), "pairs" | "strays");
            }
            Action::Jump(_) => return None,
        }
    }
    None
}

fn holds(table: &Table, condition: &Match, packet: &Packet<'_>, compared: &mut Compared) -> bool {
    let mut protocol = |with: Comparison, yes: bool| {
        compared.push(with);
        yes
    };
    match condition {
        // A packet that this host made came by no link: its iifname is empty.
        Match::Iif { name, is } => (packet.iif == Some(name.as_str())) == *is,
        Match::Oif { name, is } => (packet.oif == name) == *is,
        Match::Saddr { family, with, is } => address(table, *family, with, packet.src, *is),
        Match::Daddr { family, with, is } => address(table, *family, with, packet.dst, *is),
        Match::Dnatted => packet.dnatted.is_some(),
        Match::OriginalDaddr(family, set) => {
            let with = Addresses::Set(set.clone());
            packet.dnatted.is_some_and(|ip| address(table, *family, &with, ip, true))
        }
        Match::Nfproto(family) => is_of(*family, packet.src),
        Match::FlowFrom { family, with } => {
            packet.ends().is_some_and(|(from, _)| address(table, *family, with, from, true))
        }
        Match::FlowTo { family, with, is } => {
            packet.ends().is_some_and(|(_, to)| address(table, *family, with, to, *is))
        }
        Match::FlowTcp(first, last) => {
            let with = Comparison::Tcp(*first, *last);
            protocol(with, matches!(packet.flow, Protocol::Tcp(p) if (*first..=*last).contains(&p)))
        }
        Match::FlowUdp(first, last) => {
            let with = Comparison::Udp(*first, *last);
            protocol(with, matches!(packet.flow, Protocol::Udp(p) if (*first..=*last).contains(&p)))
        }
        Match::Answer => packet.tracking == Tracking::Established,
        // Errors about flows, what a helper expects, and what is not tracked, are no question that is asked here.
        Match::Expected | Match::Ct(CtState::Related | CtState::Untracked) => false,
        Match::Ct(CtState::Stray) => packet.tracking == Tracking::Invalid,
        Match::Ct(CtState::EstablishedRelated) => packet.tracking == Tracking::Established,
        Match::Ct(CtState::Invalid) => packet.tracking == Tracking::Invalid,
        Match::Tcp(first, last) => {
            let with = Comparison::Tcp(*first, *last);
            protocol(with, matches!(packet.protocol, Protocol::Tcp(p) if (*first..=*last).contains(&p)))
        }
        Match::Udp(first, last) => {
            let with = Comparison::Udp(*first, *last);
            protocol(with, matches!(packet.protocol, Protocol::Udp(p) if (*first..=*last).contains(&p)))
        }
        Match::Icmp(family) => {
            protocol(Comparison::Kind, packet.protocol == Protocol::Icmp && is_of(*family, packet.src))
        }
        // Marks are the tunnel's own packets', which are no flow of the network.
        Match::Marked(_) | Match::FlowMarked(_) => false,
        // Only a clamp looks at it, and a clamp decides nothing.
        Match::TcpSyn => matches!(packet.protocol, Protocol::Tcp(_)),
    }
}

/// The same place in another prefix of the same length.
fn in_prefix(ip: IpAddr, to: IpNet) -> IpAddr {
    let from = IpNet::new(ip, to.prefix_len()).map(|net| net.trunc());
    from.ok().and_then(|from| carried_over(ip, from, to)).unwrap_or(ip)
}

fn is_of(family: Family, address: IpAddr) -> bool {
    (family == Family::V6) == address.is_ipv6()
}

/// `ip saddr != …` implies IPv4, so a packet of the other family matches neither way.
fn address(table: &Table, family: Family, with: &Addresses, address: IpAddr, is: bool) -> bool {
    if !is_of(family, address) {
        return false;
    }
    let inside = match with {
        Addresses::Net(net) => net.contains(&address),
        Addresses::Set(name) => match table.sets.get(name) {
            // The elements do not overlap: the last one that starts at or before the address is the only candidate.
            Some(set) => {
                set.elements.range(..=IpNet::from(address)).next_back().is_some_and(|n| n.contains(&address))
            }
            None => return false,
        },
    };
    inside == is
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::{Chain, Set};

    fn m(text: &str) -> Match {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (is, rest) = rest.strip_prefix("!= ").map_or((true, rest), |r| (false, r));
        let with = || match rest.strip_prefix('@') {
            Some(set) => Addresses::Set(set.into()),
            None => Addresses::Net(rest.parse().unwrap()),
        };
        match word {
            "iif" => Match::Iif { name: rest.into(), is },
            "oif" => Match::Oif { name: rest.into(), is },
            "saddr" => Match::Saddr { family: Family::V4, with: with(), is },
            "daddr" => Match::Daddr { family: Family::V4, with: with(), is },
            "saddr6" => Match::Saddr { family: Family::V6, with: with(), is },
            "tcp" => Match::Tcp(rest.parse().unwrap(), rest.parse().unwrap()),
            "icmp" => Match::Icmp(Family::V4),
            "est" => Match::Ct(CtState::EstablishedRelated),
            "invalid" => Match::Ct(CtState::Invalid),
            "syn" => Match::TcpSyn,
            other => panic!("{other}"),
        }
    }

    fn rule(conditions: &[&str], action: Action) -> Rule {
        Rule { matches: conditions.iter().map(|t| m(t)).collect(), action }
    }

    fn table(forward: Vec<Rule>, pairs: Vec<Rule>) -> Table {
        let set = |elements: &[&str]| Set {
            family: Family::V4,
            elements: elements.iter().map(|e| e.parse().unwrap()).collect(),
        };
        Table {
            name: "t".into(),
            sets: [
                ("lan".into(), set(&["10.0.0.0/24", "10.0.2.0/23", "192.168.3.2/32"])),
                ("none".into(), set(&[])),
            ]
            .into(),
            chains: vec![
                Chain { name: "pairs".into(), hook: Hook::None, rules: pairs },
                Chain { name: "forward".into(), hook: Hook::Forward, rules: forward },
            ],
        }
    }

    fn packet(src: &str, dst: &str) -> Packet<'static> {
        Packet {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            protocol: Protocol::Tcp(22),
            flow: Protocol::Tcp(22),
            iif: Some("wg0"),
            oif: "eth0",
            tracking: Tracking::New,
            dnatted: None,
        }
    }

    fn decide(forward: Vec<Rule>, p: &Packet<'_>) -> Decision {
        evaluate(&table(forward, vec![]), Hook::Forward, p).decision
    }

    #[test]
    fn the_policy_accepts_and_the_first_word_counts() {
        let p = packet("10.0.0.1", "10.9.9.9");
        assert_eq!(decide(vec![], &p), Decision::Accept);
        let first = rule(&["iif wg0"], Action::Accept);
        assert_eq!(decide(vec![first.clone(), rule(&[], Action::Drop)], &p), Decision::Accept);
        assert_eq!(decide(vec![rule(&[], Action::Drop), first], &p), Decision::Drop);
    }

    #[test]
    fn links() {
        let mut p = packet("10.0.0.1", "10.9.9.9");
        assert_eq!(decide(vec![rule(&["iif wg0", "oif eth0"], Action::Drop)], &p), Decision::Drop);
        assert_eq!(decide(vec![rule(&["iif != wg0"], Action::Drop)], &p), Decision::Accept);
        assert_eq!(decide(vec![rule(&["oif != wg0"], Action::Drop)], &p), Decision::Drop);
        p.iif = None;
        assert_eq!(decide(vec![rule(&["iif != wg0"], Action::Drop)], &p), Decision::Drop);
    }

    #[test]
    fn sets_hold_exactly_their_prefixes() {
        let inside = |src: &str, set: &str| {
            decide(vec![rule(&[&format!("saddr {set}")], Action::Drop)], &packet(src, "1.1.1.1"))
                == Decision::Drop
        };
        for (address, is) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.0.0.255", true),
            ("10.0.1.0", false),
            ("10.0.3.255", true),
            ("10.0.4.0", false),
            ("192.168.3.1", false),
            ("192.168.3.2", true),
            ("192.168.3.3", false),
        ] {
            assert_eq!(inside(address, "@lan"), is, "{address}");
            assert_eq!(inside(address, "!= @lan"), !is, "{address}");
        }
        assert!(!inside("10.0.0.1", "@none"));
        assert!(inside("10.0.0.1", "!= @none"));
        assert!(!inside("10.0.0.1", "@missing") && !inside("10.0.0.1", "!= @missing"));
    }

    #[test]
    fn the_other_family_matches_neither_way() {
        let p = packet("fd00::1", "fd00::2");
        assert_eq!(decide(vec![rule(&["saddr != 10.0.0.0/8"], Action::Drop)], &p), Decision::Accept);
        assert_eq!(decide(vec![rule(&["saddr6 fd00::/8"], Action::Drop)], &p), Decision::Drop);
        let mut ping = p;
        ping.protocol = Protocol::Icmp;
        assert_eq!(decide(vec![rule(&["icmp"], Action::Drop)], &ping), Decision::Accept);
    }

    #[test]
    fn connection_tracking() {
        let rules = || {
            vec![rule(&["est"], Action::Accept), rule(&["invalid"], Action::Drop), rule(&[], Action::Drop)]
        };
        for (tracking, decision) in [
            (Tracking::New, Decision::Drop),
            (Tracking::Established, Decision::Accept),
            (Tracking::Invalid, Decision::Drop),
        ] {
            assert_eq!(decide(rules(), &Packet { tracking, ..packet("10.0.0.1", "10.0.0.2") }), decision);
        }
    }

    #[test]
    fn a_jump_comes_back_where_the_chain_is_silent() {
        let forward = vec![
            rule(&["syn"], Action::ClampMss),
            rule(&["iif wg0"], Action::Jump("pairs".into())),
            rule(&["iif wg0"], Action::Drop),
        ];
        let pairs = vec![rule(&["saddr @lan", "tcp 22"], Action::Accept)];
        let table = table(forward, pairs);
        let ask = |p: Packet<'_>| evaluate(&table, Hook::Forward, &p);
        let yes = ask(packet("10.0.0.1", "10.0.0.2"));
        assert_eq!(
            (yes.decision, !yes.compared.is_empty(), yes.not_in_policy),
            (Decision::Accept, true, false)
        );
        let port = ask(Packet { protocol: Protocol::Tcp(23), ..packet("10.0.0.1", "10.0.0.2") });
        assert_eq!(
            (port.decision, !port.compared.is_empty(), port.not_in_policy),
            (Decision::Drop, true, true)
        );
        // Where the address decides, the port was never asked.
        let no = ask(packet("10.0.1.1", "10.0.0.2"));
        assert_eq!((no.decision, !no.compared.is_empty(), no.not_in_policy), (Decision::Drop, false, true));
        let beside = ask(Packet { iif: Some("eth1"), ..packet("10.0.1.1", "10.0.0.2") });
        assert_eq!((beside.decision, beside.not_in_policy), (Decision::Accept, false));
    }

    #[test]
    fn a_chain_that_jumps_to_itself_ends() {
        let round = vec![rule(&[], Action::Jump("pairs".into()))];
        let table = table(round.clone(), round);
        let p = packet("10.0.0.1", "10.0.0.2");
        assert_eq!(evaluate(&table, Hook::Forward, &p).decision, Decision::Accept);
    }
}
