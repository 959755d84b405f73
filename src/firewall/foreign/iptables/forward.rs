//! What iptables' FORWARD makes of a packet, out of what `iptables-save` prints. Docker's own chains are left out: what they
//! let through is known (`docker`). So are rules of ours.

use ipnet::IpNet;

use super::save::{Saved, SavedRule};
use crate::firewall::foreign::forward::{Asks, Does, ForwardChain, ForwardRule, OneOf};

/// Targets that decide nothing.
const HARMLESS: [&str; 10] =
    ["LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "TCPMSS", "DSCP", "TOS", "CLASSIFY", "SECMARK"];

/// Reads the chains of the table filter.
pub(crate) fn forward(saved: &Saved) -> ForwardChain {
    let mut chain = ForwardChain {
        base: "FORWARD".into(),
        drops: saved.policies.get(&("filter".into(), "FORWARD".into())).is_some_and(|p| p == "DROP"),
        ..ForwardChain::default()
    };
    for rule in saved.rules.iter().filter(|r| r.table == "filter" && !r.is_ours()) {
        if matches!(rule.chain.as_str(), "INPUT" | "OUTPUT") || is_dockers(&rule.chain) {
            continue;
        }
        if let Some(read) = read(rule) {
            chain.chains.entry(rule.chain.clone()).or_default().push(read);
        }
    }
    if chain.is_open() { ForwardChain::default() } else { chain }
}

fn is_dockers(chain: &str) -> bool {
    chain == "DOCKER" || chain.starts_with("DOCKER-")
}

fn read(rule: &SavedRule) -> Option<ForwardRule> {
    let mut asks = Asks { sure: true, ..Asks::default() };
    let mut does = Does::Unknown;
    let words = rule.plain_words();
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
            "-m" if matches!(value, "conntrack" | "state") => {}
            "--ctstate" | "--state" => {
                asks.state = Some(OneOf { of: value.split(',').map(str::to_lowercase).collect(), not });
            }
            "-j" if HARMLESS.contains(&value) => return None,
            "-j" | "-g" => {
                does = match value {
                    "ACCEPT" => Does::Accept,
                    "DROP" | "REJECT" => Does::Drop,
                    "RETURN" => Does::Return,
                    // Known elsewhere.
                    chain if is_dockers(chain) => return None,
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
