//! What a base chain of nftables makes of a packet that is forwarded, out of the text that nft lists a table as: names are
//! quoted in it, and nft 1.0.6 crashes where it is to write a newer nft's tables as JSON.

use ipnet::IpNet;

use crate::firewall::foreign::forward::{Asks, Does, ForwardChain, ForwardRule, OneOf, destination};

/// Reads the chains of a listed table, from the point of view of one that is at the forward hook.
pub(crate) fn forward(listing: &str, base: &str) -> ForwardChain {
    let mut chain = ForwardChain { base: base.into(), ..ForwardChain::default() };
    let mut inside: Option<String> = None;
    for line in listing.lines().map(str::trim) {
        if line.ends_with('{') {
            if let Some(name) = line.strip_prefix("chain ").and_then(|l| l.strip_suffix(" {")) {
                inside = Some(name.trim_matches('"').to_owned());
            }
            continue;
        }
        if line == "}" {
            inside = None;
            continue;
        }
        let Some(name) = &inside else { continue };
        if line.starts_with("type ") {
            if name == base && line.contains("policy drop") {
                chain.drops = true;
            }
            continue;
        }
        let mapped = by_state(line);
        let rules = if mapped.is_empty() { read(line).into_iter().collect() } else { mapped };
        chain.chains.entry(name.clone()).or_default().extend(rules);
    }
    chain
}

/// Splits a rule at its spaces; what is in quotes, and what is in braces, is one word.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut braces) = (Vec::new(), String::new(), false, 0_usize);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            '{' if !quoted => braces += 1,
            '}' if !quoted => braces = braces.saturating_sub(1),
            ' ' if !quoted && braces == 0 => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// The values of an operand: one, or those between braces or commas.
fn values(word: &str) -> Vec<String> {
    let inner = word.trim_start_matches('{').trim_end_matches('}');
    inner.split(',').map(|v| v.trim().trim_matches('"').to_owned()).filter(|v| !v.is_empty()).collect()
}

/// Writes out a verdict map of states or links that is all of a rule: `ct state vmap { invalid : drop }`; empty: it is none.
fn by_state(line: &str) -> Vec<ForwardRule> {
    let Some((asked, rest)) = line.split_once(" vmap {") else { return Vec::new() };
    let Some(inside) = rest.strip_suffix('}') else { return Vec::new() };
    if !matches!(asked, "ct state" | "iif" | "iifname" | "oif" | "oifname") {
        return Vec::new();
    }
    let rules = inside.split(',').map(|pair| {
        let (value, verdict) = pair.split_once(" : ")?;
        let mut rule = read(&format!("{asked} {} {}", value.trim(), verdict.trim()))?;
        line.clone_into(&mut rule.text);
        Some(rule)
    });
    rules.collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// Ports as nft writes them: one, a range, several; `None`: a name of a set.
fn ports(word: &str) -> Option<Vec<(u16, u16)>> {
    let of = |value: String| {
        let (first, last) = value.split_once('-').unwrap_or((&value, &value));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    values(word).into_iter().map(of).collect()
}

/// Adds what a rule asks: of two that it asks of the same, either keeps a packet out, and only one is kept.
fn also<T: PartialEq>(asked: &mut Option<OneOf<T>>, one: OneOf<T>, sure: &mut bool) {
    match asked {
        Some(before) => *sure &= *before == one,
        None => *asked = Some(one),
    }
}

fn read(line: &str) -> Option<ForwardRule> {
    let words = words(line);
    let mut asks = Asks { sure: true, ..Asks::default() };
    let mut does = None;
    let mut rest = words.as_slice();
    while let [first, tail @ ..] = rest {
        rest = tail;
        // An operand, and whether it is to be another.
        let operand = |tail: &[String]| match tail {
            [not, value, ..] if not == "!=" => Some((value.clone(), true, 2)),
            [value, ..] => Some((value.clone(), false, 1)),
            [] => None,
        };
        let mut skip = 0;
        match first.as_str() {
            "iifname" | "iif" | "oifname" | "oif" => {
                if let Some((value, not, n)) = operand(tail) {
                    skip = n;
                    let one = OneOf { of: values(&value), not };
                    if value.starts_with('@') || value == "vmap" {
                        asks.sure = false;
                    } else if first.starts_with("iif") {
                        also(&mut asks.iif, one, &mut asks.sure);
                    } else {
                        also(&mut asks.oif, one, &mut asks.sure);
                    }
                }
            }
            "ip" | "ip6" if matches!(tail.first().map(String::as_str), Some("saddr" | "daddr")) => {
                if let Some((value, not, n)) = operand(&tail[1..]) {
                    skip = n + 1;
                    let of: Option<Vec<IpNet>> = values(&value).iter().map(|v| net(v)).collect();
                    match of {
                        Some(of) if tail[0] == "saddr" => {
                            also(&mut asks.src, OneOf { of, not }, &mut asks.sure);
                        }
                        Some(of) => also(&mut asks.dst, OneOf { of, not }, &mut asks.sure),
                        None => asks.sure = false,
                    }
                }
            }
            "tcp" | "udp" | "th" if tail.first().is_some_and(|w| w == "dport") => {
                if let Some((value, not, n)) = operand(&tail[1..]) {
                    skip = n + 1;
                    if first != "th" {
                        also(
                            &mut asks.protocol,
                            OneOf { of: vec![first.clone()], not: false },
                            &mut asks.sure,
                        );
                    }
                    match ports(&value) {
                        Some(of) => also(&mut asks.port, OneOf { of, not }, &mut asks.sure),
                        None => asks.sure = false,
                    }
                }
            }
            "tcp" | "udp" => {
                also(&mut asks.protocol, OneOf { of: vec![first.clone()], not: false }, &mut asks.sure);
                asks.sure = false;
            }
            "icmp" | "icmpv6" if tail.first().is_some_and(|w| w == "type") => {
                if let Some((value, not, n)) = operand(&tail[1..]) {
                    skip = n + 1;
                    let types = values(&value);
                    let asked = types.iter().any(|t| t == "echo-request") != not;
                    let echoes = asked || types.iter().any(|t| t == "echo-reply");
                    // Of ICMP, echoes alone are asked for.
                    let kind = if echoes { first.clone() } else { "no echo".into() };
                    also(&mut asks.protocol, OneOf { of: vec![kind], not: false }, &mut asks.sure);
                    asks.sure &= asked || !echoes;
                }
            }
            "meta" if tail.first().is_some_and(|w| w == "l4proto") => {
                if let Some((value, not, n)) = operand(&tail[1..]) {
                    skip = n + 1;
                    also(&mut asks.protocol, OneOf { of: values(&value), not }, &mut asks.sure);
                }
            }
            "ip" | "ip6" if matches!(tail.first().map(String::as_str), Some("protocol" | "nexthdr")) => {
                if let Some((value, not, n)) = operand(&tail[1..]) {
                    skip = n + 1;
                    also(&mut asks.protocol, OneOf { of: values(&value), not }, &mut asks.sure);
                }
            }
            "ct" if tail.first().is_some_and(|w| w == "state")
                && tail.get(1).is_some_and(|w| w != "vmap") =>
            {
                if let Some((value, not, n)) = operand(&tail[1..]) {
                    skip = n + 1;
                    also(&mut asks.state, OneOf { of: values(&value), not }, &mut asks.sure);
                }
            }
            "counter" => {
                if tail.first().is_some_and(|w| w == "packets") {
                    skip = 4;
                }
            }
            "log" => {
                let word =
                    |w: &String| matches!(w.as_str(), "prefix" | "level" | "flags" | "group" | "snaplen");
                while tail.get(skip).is_some_and(word) {
                    skip += 2;
                }
            }
            "comment" => skip = 1,
            "accept" => does = does.or(Some(Does::Accept)),
            "drop" | "reject" => {
                does = does.or(Some(Does::Drop));
                break;
            }
            "return" => does = does.or(Some(Does::Return)),
            "jump" => (does, skip) = (tail.first().map(|c| Does::Jump(c.trim_matches('"').into())), 1),
            "goto" => (does, skip) = (tail.first().map(|c| Does::Goto(c.trim_matches('"').into())), 1),
            "continue" => return None,
            "vmap" => {
                does = Some(Does::Unknown);
                break;
            }
            "fib" if tail.starts_with(&["daddr", "type", "local"].map(str::to_owned)) => skip = 3,
            "dnat" => {
                let to = tail.iter().position(|w| w == "to").and_then(|at| tail.get(at + 1));
                does = Some(to.and_then(|to| destination(to)).unwrap_or(Does::Unknown));
                break;
            }
            "redirect" => {
                does = Some(Does::Accept);
                break;
            }
            "queue" | "dup" | "fwd" | "tproxy" => does = Some(Does::Unknown),
            _ => asks.sure = false,
        }
        rest = rest.get(skip..).unwrap_or_default();
    }
    // Without a verdict it only counts, logs, or changes the packet.
    does.map(|does| ForwardRule { asks, does, text: line.to_owned() })
}

fn net(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::foreign::forward::{Carried, Forwarded};

    /// Of a rule that asks twice for the same, a packet that meets the last alone is not taken.
    #[test]
    fn what_is_asked_twice_is_asked_both_times() {
        let dropped = |rule: &str, dst: &str| {
            let chain = forward(&format!("chain c {{\ntype filter hook input\n{rule} drop\n}}\n"), "c");
            let packet = Forwarded {
                src: "10.1.0.1".parse().unwrap(),
                dst: dst.parse().unwrap(),
                iif: "eth0",
                oif: "eth1",
                established: false,
                carried: Some(Carried::Tcp(22)),
            };
            let judged = chain.judge(packet);
            (judged.drop.is_some(), !judged.doubts.is_empty())
        };
        let twice = "ip daddr 10.20.0.0/24 ip daddr 10.0.0.0/8";
        assert_eq!(dropped(twice, "10.88.0.2"), (false, false), "not in the first");
        assert_eq!(dropped(twice, "10.20.0.5"), (false, true), "the second is not known any more");
        assert_eq!(dropped("meta l4proto icmp tcp dport 22", "10.20.0.5"), (false, false));
        assert_eq!(dropped("iifname \"eth1\" iifname \"eth0\"", "10.20.0.5"), (false, false));
        assert_eq!(dropped("meta l4proto tcp tcp dport 22", "10.20.0.5"), (true, false));
    }
}
