//! A base chain of nftables at the input hook, as nft's JSON has it: what each rule asks of a new UDP packet, and what it does.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::plan::firewall::Family;
use crate::plan::input::{Asks, Does, InputChain, Steps};

/// Statements that decide nothing.
const GOES_ON: [&str; 5] = ["counter", "log", "mangle", "notrack", "comment"];

/// The elements of a table's sets.
type Sets<'v> = BTreeMap<&'v str, &'v [Value]>;

/// Reads a table's listing for what its base chain makes of packets of one family.
pub(super) fn input(listing: &Value, chain: &str, drops: bool, family: Family) -> InputChain {
    let objects = || listing.get("nftables").and_then(Value::as_array).into_iter().flatten();
    let sets: Sets<'_> = objects()
        .filter_map(|o| {
            let set = o.get("set")?;
            let elements = set.get("elem").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            Some((set.get("name")?.as_str()?, elements))
        })
        .collect();
    let mut steps: Steps = objects()
        .filter_map(|o| Some((o.get("chain")?.get("name")?.as_str()?.to_owned(), Vec::new())))
        .collect();
    for rule in objects().filter_map(|o| o.get("rule")) {
        let (Some(chain), Some(expr)) =
            (rule.get("chain").and_then(Value::as_str), rule.get("expr").and_then(Value::as_array))
        else {
            continue;
        };
        steps.entry(chain.into()).or_default().extend(read(expr, &sets, family));
    }
    InputChain::new(&steps, chain, drops)
}

/// Reads a rule; nothing where no new UDP packet meets it, or it decides nothing.
fn read<'v>(expr: &'v [Value], sets: &Sets<'v>, family: Family) -> Vec<(Asks, Does)> {
    let mut asks = Asks::nothing();
    for statement in expr {
        let Some((kind, body)) = statement.as_object().and_then(|o| o.iter().next()) else {
            asks.sure = false;
            continue;
        };
        let does = match kind.as_str() {
            "accept" => Does::Accept,
            "drop" | "reject" => Does::Drop,
            "return" => Does::Return,
            "jump" | "goto" => {
                let target = body.get("target").and_then(Value::as_str).unwrap_or_default().to_owned();
                if kind == "jump" { Does::Jump(target) } else { Does::Goto(target) }
            }
            "match" => {
                if !compare(&mut asks, body, sets, family) {
                    return Vec::new();
                }
                continue;
            }
            "vmap" => return verdicts(&asks, body),
            kind if GOES_ON.contains(&kind) => continue,
            // A limit, a quota, or something of a later nft: it may hold the packet back.
            "limit" | "quota" | "ct count" | "meter" | "set" => {
                asks.sure = false;
                continue;
            }
            _ => Does::Unknown,
        };
        return vec![(asks, does)];
    }
    Vec::new()
}

/// Narrows what is asked by a comparison; `false`: no new UDP packet meets it.
fn compare<'v>(asks: &mut Asks, body: &'v Value, sets: &Sets<'v>, family: Family) -> bool {
    let op = body.get("op").and_then(Value::as_str).unwrap_or_default();
    let (Some(left), Some(right)) = (body.get("left"), body.get("right")) else {
        asks.sure = false;
        return true;
    };
    let is = matches!(op, "==" | "in");
    let values = values(right, sets);
    let named = |names: &[&str]| values.iter().any(|v| v.as_str().is_some_and(|v| names.contains(&v)));
    let known = values.iter().all(|v| v.as_str().is_none_or(|v| !v.starts_with('@')));
    match question(left) {
        ("payload", "udp" | "th", "dport") if is && asks.ports.is_empty() => match ports(&values) {
            Some(ports) => asks.ports = ports,
            None => asks.sure = false,
        },
        // Another protocol's field is in none of our packets, whatever it is compared with.
        ("payload", "tcp" | "icmp" | "icmpv6" | "sctp" | "dccp" | "esp" | "ah" | "igmp", _) => return false,
        ("payload", "ip", _) if family == Family::V6 => return false,
        ("payload", "ip6", _) if family == Family::V4 => return false,
        ("payload", "ip" | "ip6", "daddr") if is => match values.as_slice() {
            [one] => match prefix(one) {
                Some(net) => asks.to = Some(net),
                None => asks.sure = false,
            },
            _ => asks.sure = false,
        },
        ("payload", "ip", "protocol") | ("payload", "ip6", "nexthdr") | ("meta", "l4proto", _) if known => {
            let number = values.iter().any(|v| v.as_u64() == Some(17));
            return (named(&["udp"]) || number) == is;
        }
        ("meta", "nfproto", _) if known => {
            let ours = if family == Family::V4 { "ipv4" } else { "ipv6" };
            return named(&[ours]) == is;
        }
        ("meta", "iifname" | "iif", _) => match values.as_slice() {
            [Value::String(link)] if is && link == "lo" => return false,
            [Value::String(link)] if !is && link == "lo" => {}
            [Value::String(link)] if is => asks.by = Some(link.replace('*', "+")),
            _ => asks.sure = false,
        },
        ("ct", "state", _) if known => {
            if named(&["new"]) != is {
                return false;
            }
            // Packets that are not tracked are met by neither.
            asks.sure &= is || !named(&["untracked"]);
        }
        _ => asks.sure = false,
    }
    true
}

/// `iifname vmap { "lo" : accept, "eth0" : jump x }`, `ct state vmap { established : accept, invalid : drop }`.
fn verdicts(asks: &Asks, body: &Value) -> Vec<(Asks, Does)> {
    let unknown = || vec![(asks.clone(), Does::Unknown)];
    let entries = body.get("data").and_then(|d| d.get("set")).and_then(Value::as_array);
    let (Some(key), Some(entries)) = (body.get("key"), entries) else { return unknown() };
    let question = question(key);
    let mut steps = Vec::new();
    for entry in entries {
        let Some([value, verdict]) = entry.as_array().map(Vec::as_slice) else { return unknown() };
        let mut asks = asks.clone();
        match (question, value.as_str()) {
            (("ct", "state", _), Some("new")) => {}
            (("ct", "state", _), Some("established" | "related" | "invalid")) => continue,
            (("meta", "iifname" | "iif", _), Some("lo")) => continue,
            (("meta", "iifname" | "iif", _), Some(link)) => asks.by = Some(link.replace('*', "+")),
            _ => return unknown(),
        }
        let found = read(std::slice::from_ref(verdict), &Sets::new(), Family::V4);
        steps.extend(found.into_iter().map(|(_, does)| (asks.clone(), does)));
    }
    steps
}

/// Returns what a comparison is about: its kind, and two words of it.
fn question(left: &Value) -> (&str, &str, &str) {
    let Some((kind, body)) = left.as_object().and_then(|o| o.iter().next()) else { return ("", "", "") };
    let word = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    match kind.as_str() {
        "payload" => ("payload", word("protocol"), word("field")),
        kind => (kind, word("key"), ""),
    }
}

/// Returns the values of a right side: one, a list, or those of a set, written there or by its name.
fn values<'v>(right: &'v Value, sets: &Sets<'v>) -> Vec<&'v Value> {
    let named = right.as_str().and_then(|text| sets.get(text.strip_prefix('@')?));
    if let Some(elements) = named {
        return elements.iter().collect();
    }
    match right {
        Value::Array(values) => values.iter().collect(),
        Value::Object(object) => match object.get("set") {
            Some(Value::Array(values)) => values.iter().collect(),
            _ => vec![right],
        },
        one => vec![one],
    }
}

fn ports(values: &[&Value]) -> Option<Vec<(u16, u16)>> {
    let number = |v: &Value| u16::try_from(v.as_u64()?).ok();
    let range = |v: &&Value| match v.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        Some([first, last]) => Some((number(first)?, number(last)?)),
        _ => number(v).map(|p| (p, p)),
    };
    values.iter().map(range).collect()
}

fn prefix(value: &Value) -> Option<ipnet::IpNet> {
    if let Some(text) = value.as_str() {
        return text.parse::<std::net::IpAddr>().ok().map(Into::into);
    }
    let prefix = value.get("prefix")?;
    let (addr, len) = (prefix.get("addr")?.as_str()?, prefix.get("len")?.as_u64()?);
    ipnet::IpNet::new(addr.parse().ok()?, u8::try_from(len).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::arrival;

    /// As nft 1.0.6 lists tests/cases/nft-input/table.nft.
    const LISTING: &str = include_str!("../../tests/cases/nft-input/listing.json");

    /// Says whether the port is closed, with something in the listing replaced.
    fn closed(from: &str, to: &str, family: Family) -> bool {
        assert!(LISTING.contains(from), "{from}");
        let listing = serde_json::from_str(&LISTING.replacen(from, to, 1)).unwrap();
        let address = if family == Family::V4 { "192.0.2.1" } else { "2001:db8::1" };
        input(&listing, "input", true, family).is_closed(51820, &arrival(address))
    }

    #[test]
    fn a_chain_that_lets_in_other_things_is_closed() {
        assert!(closed("", "", Family::V4) && closed("", "", Family::V6));
        // Its last rule rejects whatever is left.
        let policy = closed("\"policy\": \"drop\"", "\"policy\": \"accept\"", Family::V4);
        assert!(policy);
    }

    #[test]
    fn what_may_let_in_is_not_called_closed() {
        for (from, to) in [
            ("[80, 443]", "[80, 51820]"),
            ("198.51.100.0", "192.0.2.0"),
            ("\"right\": \"eth1\"", "\"right\": \"eth0\""),
            ("[\"eth1\", {\"jump\"", "[\"eth0\", {\"jump\""),
            ("[5000, 5100]", "[51000, 52000]"),
            ("[\"icmp\", \"ipv6-icmp\"]", "[\"icmp\", \"udp\"]"),
            ("[\"established\", \"related\"]", "[\"established\", \"new\"]"),
            ("[\"related\", {\"accept\"", "[\"new\", {\"accept\""),
            ("{\"return\": null}", "{\"queue\": null}"),
            (
                "{\"key\": \"pkttype\"}}, \"right\": \"multicast\"}}, {\"drop\"",
                "{\"key\": \"cgroup\"}}, \"right\": 1}}, {\"accept\"",
            ),
        ] {
            assert!(!closed(from, to, Family::V4), "{from} -> {to}");
        }
        // Only packets of IPv4 have such a destination.
        assert!(closed("198.51.100.0", "192.0.2.0", Family::V6));
    }
}
