//! A table as nft's own language: for the hooks of an exported file, and for people to read in `plan`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ipnet::IpNet;

use super::rule::{Action, Addresses, Chain, CtState, Family, Hook, Mark, Match, Rule, Table};

/// Returns one rule as nft writes it.
pub fn rule_text(rule: &Rule) -> String {
    let mut words: Vec<String> = rule.matches.iter().map(match_text).collect();
    words.push(match &rule.action {
        Action::Accept => "accept".into(),
        Action::Drop => "drop".into(),
        Action::Jump(chain) => format!("jump {chain}"),
        Action::Dnat(ip, port) => {
            let (word, bare) = if ip.is_ipv6() { ("ip6", format!("[{ip}]")) } else { ("ip", ip.to_string()) };
            match port {
                Some(port) => format!("dnat {word} to {bare}:{port}"),
                None => format!("dnat {word} to {ip}"),
            }
        }
        Action::DnatPrefix(net) => format!("dnat {}", to_prefix(*net)),
        Action::SnatPrefix(net) => format!("snat {}", to_prefix(*net)),
        Action::Masquerade => "masquerade".into(),
        Action::ClampMss => "tcp option maxseg size set rt mtu".into(),
        Action::SaveMark => "ct mark set meta mark".into(),
        Action::RestoreMark => "meta mark set ct mark".into(),
        Action::Mark(Mark { value, mask: u32::MAX }) => format!("meta mark set {value:#x}"),
        Action::Mark(Mark { value, mask }) => {
            format!("meta mark set meta mark & {:#x} | {value:#x}", !mask)
        }
    });
    words.join(" ")
}

fn to_prefix(net: IpNet) -> String {
    let word = Family::of(&net).nft();
    if net.prefix_len() == net.max_prefix_len() {
        return format!("{word} to {}", net.addr());
    }
    format!("{word} prefix to {net}")
}

fn match_text(m: &Match) -> String {
    let not = |is: bool| if is { "" } else { "!= " };
    let with = |a: &Addresses| match a {
        Addresses::Set(name) => format!("@{name}"),
        Addresses::Net(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        Addresses::Net(net) => net.to_string(),
    };
    let range = |a: u16, b: u16| if a == b { a.to_string() } else { format!("{a}-{b}") };
    match m {
        Match::Iif { name, is } => format!("iifname {}\"{name}\"", not(*is)),
        Match::Oif { name, is } => format!("oifname {}\"{name}\"", not(*is)),
        Match::Saddr { family, with: a, is } => format!("{} saddr {}{}", family.nft(), not(*is), with(a)),
        Match::Daddr { family, with: a, is } => format!("{} daddr {}{}", family.nft(), not(*is), with(a)),
        Match::Dnatted => "ct status dnat".into(),
        Match::OriginalDaddr(family, set) => format!("ct original {} daddr @{set}", family.nft()),
        Match::Nfproto(Family::V4) => "meta nfproto ipv4".into(),
        Match::Nfproto(Family::V6) => "meta nfproto ipv6".into(),
        Match::Ct(CtState::EstablishedRelated) => "ct state established,related".into(),
        Match::Ct(CtState::Related) => "ct state related".into(),
        Match::Ct(CtState::Stray) => "ct state invalid,untracked".into(),
        Match::Ct(CtState::Untracked) => "ct state untracked".into(),
        Match::Ct(CtState::Invalid) => "ct state invalid".into(),
        Match::Tcp(a, b) => format!("tcp dport {}", range(*a, *b)),
        Match::Udp(a, b) => format!("udp dport {}", range(*a, *b)),
        Match::Icmp(Family::V4) => "meta l4proto icmp".into(),
        Match::Icmp(Family::V6) => "meta l4proto ipv6-icmp".into(),
        Match::FlowFrom { family, with: a } => format!("ct original {} saddr {}", family.nft(), with(a)),
        Match::FlowTo { family, with: a, is } => {
            format!("ct reply {} saddr {}{}", family.nft(), not(*is), with(a))
        }
        Match::FlowTcp(a, b) => format!("meta l4proto tcp ct reply proto-src {}", range(*a, *b)),
        Match::FlowUdp(a, b) => format!("meta l4proto udp ct reply proto-src {}", range(*a, *b)),
        Match::Answer => "ct direction reply".into(),
        Match::Expected => "ct status expected".into(),
        Match::Marked(mark) => format!("meta mark {mark:#x}"),
        Match::FlowMarked(mark) => format!("ct mark {mark:#x}"),
        Match::TcpSyn => "tcp flags syn".into(),
    }
}

/// Returns a chain's attachment as nft writes it; empty for a chain that is only jumped to.
pub fn hook_text(chain: &Chain) -> &'static str {
    match chain.hook {
        Hook::Forward => "type filter hook forward priority 0; policy accept;",
        Hook::Postrouting => "type nat hook postrouting priority 100; policy accept;",
        Hook::Srcnat => "type nat hook postrouting priority 99; policy accept;",
        Hook::Dstnat => "type nat hook prerouting priority -100; policy accept;",
        Hook::Output => "type nat hook output priority -100; policy accept;",
        Hook::Input => "type filter hook input priority 0; policy accept;",
        Hook::Mark => "type filter hook forward priority -150; policy accept;",
        Hook::Incoming => "type filter hook prerouting priority -150; policy accept;",
        Hook::Outgoing => "type filter hook postrouting priority -150; policy accept;",
        Hook::None => "",
    }
}

/// How long a line of a set's elements may grow, in bytes.
const WIDTH: usize = 100;

/// Returns what makes the whole table, in place of one of its name.
pub fn text(table: &Table) -> String {
    let name = &table.name;
    let mut out = format!("add table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n");
    for (set_name, set) in &table.sets {
        let kind = match set.family {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        };
        let _ = writeln!(out, "    set {set_name} {{\n        type {kind}\n        flags interval");
        if !set.elements.is_empty() {
            let _ = writeln!(out, "        elements = {{\n{}\n        }}", lines_of(&set.elements));
        }
        out += "    }\n";
    }
    for chain in &table.chains {
        let _ = writeln!(out, "    chain {} {{", chain.name);
        for line in std::iter::once(hook_text(chain).to_owned()).chain(chain.rules.iter().map(rule_text)) {
            if !line.is_empty() {
                let _ = writeln!(out, "        {line}");
            }
        }
        out += "    }\n";
    }
    out + "}"
}

/// A set's elements, as many on a line as fit.
fn lines_of(elements: &BTreeSet<IpNet>) -> String {
    let mut lines = vec![String::new()];
    for (n, element) in elements.iter().enumerate() {
        let comma = if n + 1 < elements.len() { "," } else { "" };
        let word = format!("{element}{comma}");
        match lines.last_mut() {
            Some(line) if line.is_empty() || line.len() + word.len() < WIDTH => {
                *line += if line.is_empty() { "            " } else { " " };
                *line += &word;
            }
            _ => lines.push(format!("            {word}")),
        }
    }
    lines.join("\n")
}
