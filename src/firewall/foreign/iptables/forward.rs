//! What iptables' FORWARD makes of a packet, out of what `iptables-save` prints. Docker's own chains are left out: what they
//! let through is known (`docker`). So are rules of ours.

use ipnet::IpNet;

use super::save::{Saved, SavedRule};
use crate::firewall::foreign::forward::{Asks, Does, ForwardChain, ForwardRule, OneOf, destination};

/// Targets that decide nothing.
const HARMLESS: [&str; 10] =
    ["LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "TCPMSS", "DSCP", "TOS", "CLASSIFY", "SECMARK"];

/// Reads the chains of the table filter, from the point of view of FORWARD.
pub(crate) fn forward(saved: &Saved) -> ForwardChain {
    of_base(saved, "FORWARD")
}

/// Reads the chains of the table filter, from the point of view of one of its base chains.
pub(crate) fn of_base(saved: &Saved, base: &str) -> ForwardChain {
    of_table(saved, "filter", base)
}

/// Reads what sends on what is for this host: the table nat, from the point of view of PREROUTING.
pub(crate) fn dnat(saved: &Saved) -> ForwardChain {
    of_table(saved, "nat", "PREROUTING")
}

fn of_table(saved: &Saved, table: &str, base: &str) -> ForwardChain {
    let mut chain = ForwardChain {
        base: base.into(),
        drops: saved.policies.get(&(table.into(), base.into())).is_some_and(|p| p == "DROP"),
        ..ForwardChain::default()
    };
    for rule in saved.rules.iter().filter(|r| r.table == table && !r.is_ours()) {
        let is_base =
            matches!(rule.chain.as_str(), "INPUT" | "FORWARD" | "OUTPUT" | "PREROUTING" | "POSTROUTING");
        if is_base && rule.chain != base || table == "filter" && is_dockers(&rule.chain) {
            continue;
        }
        if let Some(read) = read(rule) {
            chain.chains.entry(rule.chain.clone()).or_default().push(read);
        }
    }
    if chain.is_open() { ForwardChain::default() } else { chain }
}

/// Ports as iptables writes them: `22`, `8000:8100`, several between commas.
fn ports(text: &str) -> Option<Vec<(u16, u16)>> {
    let of = |value: &str| {
        let (first, last) = value.split_once(':').unwrap_or((value, value));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    text.split(',').map(of).collect()
}

fn is_dockers(chain: &str) -> bool {
    chain == "DOCKER" || chain.starts_with("DOCKER-")
}

fn read(rule: &SavedRule) -> Option<ForwardRule> {
    let mut asks = Asks { sure: true, ..Asks::default() };
    let mut does = Does::Unknown;
    let words = rule.plain_words();
    let is_nat = rule.table == "nat";
    let mut not = false;
    let mut rest = words.as_slice();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let (value, after) = match tail {
            [value, after @ ..] => (*value, after),
            [] => ("", tail),
        };
        let one = |not| OneOf { of: vec![value.to_owned()], not };
        let net = |not| value.parse::<IpNet>().ok().map(|net| OneOf { of: vec![net], not });
        match *first {
            "!" => {
                not = true;
                continue;
            }
            "-i" => asks.iif = Some(one(not)),
            "-o" => asks.oif = Some(one(not)),
            "-s" => (asks.src, asks.sure) = (net(not), asks.sure && net(not).is_some()),
            "-d" => (asks.dst, asks.sure) = (net(not), asks.sure && net(not).is_some()),
            "-m" if matches!(
                value,
                "conntrack" | "state" | "tcp" | "udp" | "icmp" | "icmp6" | "icmpv6" | "multiport"
            ) => {}
            "-p" if value != "all" => asks.protocol = Some(one(not)),
            "--dport" | "--dports" => match ports(value) {
                Some(of) => asks.port = Some(OneOf { of, not }),
                None => asks.sure = false,
            },
            // Of ICMP, echoes alone are asked for: 8 and 0, of IPv6 128 and 129.
            "--icmp-type" | "--icmpv6-type" if !not => match value {
                "8" | "128" | "echo-request" | "any" => {}
                "0" | "129" | "echo-reply" => asks.sure = false,
                _ => asks.protocol = Some(OneOf { of: vec!["no echo".into()], not }),
            },
            "--ctstate" | "--state" => {
                asks.state = Some(OneOf { of: value.split(',').map(str::to_lowercase).collect(), not });
            }
            // What is asked here is for this host itself.
            "-m" if is_nat && value == "addrtype" => {}
            "--dst-type" if is_nat && value == "LOCAL" && !not => {}
            "-j" if HARMLESS.contains(&value) => return None,
            "-j" | "-g" => {
                does = match value {
                    "ACCEPT" => Does::Accept,
                    "DROP" | "REJECT" => Does::Drop,
                    "RETURN" => Does::Return,
                    "DNAT" => {
                        let to = after.iter().position(|w| *w == "--to-destination");
                        let to = to.and_then(|at| destination(after.get(at + 1)?));
                        to.unwrap_or(Does::Unknown)
                    }
                    "REDIRECT" => Does::Accept,
                    // Known elsewhere.
                    chain if !is_nat && is_dockers(chain) => return None,
                    chain if *first == "-g" => Does::Goto(chain.into()),
                    chain => Does::Jump(chain.into()),
                };
                // What follows says how, not whether.
                break;
            }
            _ => {
                asks.sure = false;
                not = false;
                continue;
            }
        }
        not = false;
        rest = after;
    }
    // Without a target it only counts.
    words.iter().any(|w| matches!(*w, "-j" | "-g")).then(|| ForwardRule { asks, does, text: words.join(" ") })
}
