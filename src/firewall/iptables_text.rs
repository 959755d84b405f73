//! A table as input of `iptables-restore --noflush`, for an exported file on a host without nft.
//!
//! iptables has no named sets here, so each rule that uses sets becomes a small tree of chains: linear in
//! the number of prefixes, not their product.

use std::fmt::Write as _;

use super::compile::{
    ANSWERED, BESIDE, DSTNAT, FORWARDS, FROM_SITE, NEAR, OPENED, SERVICES, SRCNAT, STRAYS, TO_SITE,
};
use super::rule::{Action, Addresses, Chain, CtState, Family, Hook, Match, Rule, Table};

/// What to load and what takes it away again: the text of one `iptables-restore` call each.
pub struct Restore {
    /// Creates and fills our chains and attaches them.
    pub up: String,
    /// Detaches and deletes them.
    pub down: String,
}

/// Who began a flow, and who answers it.
const FLOW_FROM: &str = "-m conntrack --ctorigsrc";
const FLOW_TO: &str = "-m conntrack --ctreplsrc";

struct Writer<'a> {
    table: &'a Table,
    family: Family,
    chains: Vec<String>,
    rules: Vec<String>,
    /// How many chains there are of the hooks before: those of one of iptables' tables share their names.
    before: usize,
}

/// Returns the rules of one family; `None` where it has none.
///
/// What is for the host itself is left alone: iptables-nft makes a chain INPUT for a rule in it, and by iptables alone nobody
/// can tell whether one was there before.
pub fn restore(table: &Table, family: Family) -> Option<Restore> {
    let mut out = Restore { up: String::new(), down: String::new() };
    let mut before = 0;
    for (iptables_table, hook, attached) in [
        ("filter", Hook::Forward, "FORWARD"),
        ("nat", Hook::Dstnat, "PREROUTING"),
        ("nat", Hook::Postrouting, "POSTROUTING"),
        // Inserted last, it is asked first.
        ("nat", Hook::Srcnat, "POSTROUTING"),
    ] {
        let Some(chain) = table.chains.iter().find(|c| c.hook == hook) else { continue };
        let mut w = Writer { table, family, chains: Vec::new(), rules: Vec::new(), before };
        let entry = w.chain(chain);
        if hook == Hook::Forward {
            // What is filled later has to be there.
            for inner in table.chains.iter().filter(|c| c.hook == Hook::None && c.name != FORWARDS) {
                if !w.chains.contains(&format!("{}{}", table.name, suffix(&inner.name))) {
                    w.chain(inner);
                }
            }
        }
        if hook == Hook::Dstnat
            && let Some(forwards) = table.chains.iter().find(|c| c.name == FORWARDS)
            && !w.chains.contains(&format!("{}{}", table.name, suffix(FORWARDS)))
        {
            w.chain(forwards);
        }
        if w.chains.is_empty() {
            continue;
        }
        before += w.chains.len();
        let _ = writeln!(out.up, "*{iptables_table}");
        let _ = writeln!(out.down, "*{iptables_table}");
        for name in &w.chains {
            let _ = writeln!(out.up, ":{name} - [0:0]");
        }
        for rule in &w.rules {
            let _ = writeln!(out.up, "{rule}");
        }
        // What this host sends itself goes the same way.
        let also = (hook == Hook::Dstnat).then_some("OUTPUT");
        for attached in [Some(attached), also].into_iter().flatten() {
            let _ = writeln!(out.up, "-I {attached} 1 -j {entry}");
            let _ = writeln!(out.down, "-D {attached} -j {entry}");
        }
        for name in &w.chains {
            let _ = writeln!(out.down, "-F {name}");
        }
        for name in &w.chains {
            let _ = writeln!(out.down, "-X {name}");
        }
        out.up += "COMMIT\n";
        out.down += "COMMIT\n";
    }
    (!out.up.is_empty()).then_some(out)
}

impl Writer<'_> {
    fn new_chain(&mut self, suffix: &str) -> String {
        // `wgrelay-` and 15 characters of interface leave 5 of iptables' 28.
        let name = format!("{}{suffix}", self.table.name);
        self.chains.push(name.clone());
        name
    }

    fn chain(&mut self, chain: &Chain) -> String {
        let name = self.new_chain(suffix(&chain.name));
        for rule in &chain.rules {
            self.rule(&name, rule);
        }
        name
    }

    fn rule(&mut self, chain: &str, rule: &Rule) {
        if rule.matches.iter().any(|m| family_of(m).is_some_and(|f| f != self.family)) {
            return;
        }
        let mut target = match &rule.action {
            // What is not ours is others' to decide: in nft an accept ends our chain only, in iptables all of FORWARD.
            Action::Accept if is_left_to_others(chain, rule) => "RETURN".to_string(),
            Action::Accept => "ACCEPT".to_string(),
            Action::Drop => "DROP".to_string(),
            Action::Masquerade => "MASQUERADE".to_string(),
            Action::Dnat(ip, _) if ip.is_ipv6() != (self.family == Family::V6) => return,
            Action::Dnat(ip, port) => {
                let bare = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
                format!("DNAT --to-destination {bare}{}", port.map_or_else(String::new, |p| format!(":{p}")))
            }
            Action::DnatPrefix(net) | Action::SnatPrefix(net) if Family::of(net) != self.family => return,
            Action::DnatPrefix(net) | Action::SnatPrefix(net) => format!("NETMAP --to {net}"),
            Action::Mark(mark) => format!("MARK --set-xmark {:#x}/{:#x}", mark.value, mark.mask),
            Action::SaveMark => "CONNMARK --save-mark".to_string(),
            Action::RestoreMark => "CONNMARK --restore-mark".to_string(),
            Action::ClampMss => "TCPMSS --clamp-mss-to-pmtu".to_string(),
            Action::Jump(to) => {
                let name = format!("{}{}", self.table.name, suffix(to));
                match self.table.chains.iter().find(|c| &c.name == to) {
                    Some(inner) if !self.chains.contains(&name) => self.chain(inner),
                    _ => name,
                }
            }
        };
        // From the last set to the first: each becomes a chain that goes on to the one made before it.
        for m in rule.matches.iter().rev() {
            let (flag, set, is) = match m {
                Match::Saddr { with: Addresses::Set(s), is, .. } => ("-s", s, *is),
                Match::Daddr { with: Addresses::Set(s), is, .. } => ("-d", s, *is),
                Match::FlowFrom { with: Addresses::Set(s), .. } => (FLOW_FROM, s, true),
                Match::FlowTo { with: Addresses::Set(s), is, .. } => (FLOW_TO, s, *is),
                _ => continue,
            };
            let inner = self.new_chain(&format!("-{}", self.before + self.chains.len()));
            let elements = self.table.sets.get(set).into_iter().flat_map(|s| &s.elements);
            let to = if is { target.as_str() } else { "RETURN" };
            for net in elements {
                self.rules.push(format!("-A {inner} {flag} {net} -j {to}"));
            }
            if !is {
                self.rules.push(format!("-A {inner} -j {target}"));
            }
            target = inner;
        }
        let words: String = rule.matches.iter().filter_map(plain).map(|w| w + " ").collect();
        self.rules.push(format!("-A {chain} {words}-j {target}"));
    }
}

/// What stands for a chain's name after the table's: there is room for two letters.
pub(super) fn suffix(chain: &str) -> &'static str {
    match chain {
        "forward" => "-f",
        "postrouting" => "-n",
        SRCNAT => "-c",
        "mark" => "-m",
        "input" => "-i",
        DSTNAT => "-d",
        FORWARDS => "-w",
        SERVICES => "-v",
        NEAR => "-e",
        BESIDE => "-b",
        ANSWERED => "-a",
        STRAYS => "-u",
        OPENED => "-o",
        FROM_SITE => "-s",
        TO_SITE => "-t",
        _ => "-p",
    }
}

/// Says whether an accept only means that a packet is not the network's.
fn is_left_to_others(chain: &str, rule: &Rule) -> bool {
    rule.matches.iter().all(is_elsewhere)
        || chain.ends_with(suffix("input"))
        || chain.ends_with(suffix(BESIDE))
            && matches!(rule.matches[..], [Match::Ct(CtState::Related) | Match::Expected | Match::Answer])
}

/// Says whether a condition is that a link is not the tunnel.
const fn is_elsewhere(m: &Match) -> bool {
    matches!(m, Match::Iif { is: false, .. } | Match::Oif { is: false, .. })
}

fn family_of(m: &Match) -> Option<Family> {
    match m {
        Match::Saddr { family, .. }
        | Match::Daddr { family, .. }
        | Match::FlowFrom { family, .. }
        | Match::FlowTo { family, .. }
        | Match::Icmp(family)
        | Match::OriginalDaddr(family, _)
        | Match::Nfproto(family) => Some(*family),
        _ => None,
    }
}

/// A condition that needs no set.
fn plain(m: &Match) -> Option<String> {
    let not = |is: bool| if is { "" } else { "! " };
    Some(match m {
        Match::Iif { name, is } => format!("{}-i {name}", not(*is)),
        Match::Oif { name, is } => format!("{}-o {name}", not(*is)),
        Match::Saddr { with: Addresses::Net(net), is, .. } => format!("{}-s {net}", not(*is)),
        Match::Daddr { with: Addresses::Net(net), is, .. } => format!("{}-d {net}", not(*is)),
        Match::Dnatted => "-m conntrack --ctstate DNAT".into(),
        // Whose program it is says which family; an original destination is written where the host is known.
        Match::OriginalDaddr(..) => return None,
        Match::Saddr { .. } | Match::Daddr { .. } | Match::Nfproto(_) => return None,
        Match::FlowFrom { with: Addresses::Net(net), .. } => format!("{FLOW_FROM} {net}"),
        Match::FlowTo { with: Addresses::Net(net), is, .. } => {
            let (module, option) = FLOW_TO.rsplit_once(' ')?;
            format!("{module} {}{option} {net}", not(*is))
        }
        Match::FlowFrom { .. } | Match::FlowTo { .. } => return None,
        Match::FlowTcp(a, b) => format!("-p tcp -m conntrack --ctreplsrcport {a}:{b}"),
        Match::FlowUdp(a, b) => format!("-p udp -m conntrack --ctreplsrcport {a}:{b}"),
        Match::Answer => "-m conntrack --ctdir REPLY".into(),
        Match::Expected => "-m conntrack --ctstatus EXPECTED".into(),
        Match::Ct(CtState::Stray) => "-m conntrack --ctstate INVALID,UNTRACKED".into(),
        Match::Ct(CtState::Untracked) => "-m conntrack --ctstate UNTRACKED".into(),
        Match::Ct(CtState::Related) => "-m conntrack --ctstate RELATED".into(),
        Match::Ct(CtState::EstablishedRelated) => "-m conntrack --ctstate ESTABLISHED,RELATED".into(),
        Match::Ct(CtState::Invalid) => "-m conntrack --ctstate INVALID".into(),
        Match::Tcp(a, b) => format!("-p tcp --dport {a}:{b}"),
        Match::Udp(a, b) => format!("-p udp --dport {a}:{b}"),
        Match::Icmp(Family::V4) => "-p icmp".into(),
        Match::Icmp(Family::V6) => "-p ipv6-icmp".into(),
        Match::Marked(mark) => format!("-m mark --mark {mark:#x}"),
        Match::FlowMarked(mark) => format!("-m connmark --mark {mark:#x}"),
        Match::TcpSyn => "-p tcp --tcp-flags SYN,RST SYN".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::rule::Set;
    use super::*;

    #[test]
    fn no_chain_of_one_hook_has_the_name_of_anothers() {
        let set = Set { family: Family::V4, elements: ["10.8.0.0/24".parse().unwrap()].into() };
        let chain = |name: &str, hook, action: &Action| {
            let with = Addresses::Set("some4".into());
            let rule = |is| Rule {
                matches: vec![Match::Saddr { family: Family::V4, with: with.clone(), is }],
                action: action.clone(),
            };
            Chain { name: name.into(), hook, rules: vec![rule(true), rule(false)] }
        };
        let table = Table {
            name: "wgrelay-wg0".into(),
            sets: [("some4".to_owned(), set)].into(),
            chains: vec![
                chain(DSTNAT, Hook::Dstnat, &Action::Accept),
                chain("postrouting", Hook::Postrouting, &Action::Masquerade),
                chain(SRCNAT, Hook::Srcnat, &Action::Accept),
            ],
        };
        let text = restore(&table, Family::V4).unwrap().up;
        let mut made: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(':')).collect();
        let all = made.len();
        made.sort_unstable();
        made.dedup();
        // The second of a name would empty the first.
        assert_eq!((made.len(), all), (9, 9), "{text}");
    }
}
