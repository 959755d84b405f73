//! A base chain of nftables at the input hook, as nft's JSON has it: what each rule asks of a new UDP packet, and what it does.
//! Sets that have a name are listed without what they hold (see `host`'s `nft::rules`): what is compared with one is not known.

use serde_json::Value;

use super::ListedChain;
use crate::firewall::Family;
use crate::firewall::foreign::input::{Asks, Does, InputChain, Steps};

/// Statements that decide nothing.
const GOES_ON: [&str; 5] = ["counter", "log", "mangle", "notrack", "comment"];

/// Reads a listing of the base chain's table, or of all of its family, for what the chain makes of packets of one family.
pub(crate) fn input(listing: &Value, base: &ListedChain, family: Family) -> InputChain {
    let objects = |kind: &'static str| {
        let objects = listing.get("nftables").and_then(Value::as_array).into_iter().flatten();
        objects.filter_map(move |o| o.get(kind)).filter(|o| o["table"] == base.table)
    };
    let mut steps: Steps =
        objects("chain").filter_map(|o| Some((o.get("name")?.as_str()?.to_owned(), Vec::new()))).collect();
    for rule in objects("rule") {
        let (Some(chain), Some(expr)) =
            (rule.get("chain").and_then(Value::as_str), rule.get("expr").and_then(Value::as_array))
        else {
            continue;
        };
        steps.entry(chain.into()).or_default().extend(read(expr, family));
    }
    InputChain::new(&steps, &base.name, base.policy == "drop")
}

/// Reads a rule; nothing where no new UDP packet meets it, or it decides nothing.
fn read(expr: &[Value], family: Family) -> Vec<(Asks, Does)> {
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
                if !compare(&mut asks, body, family) {
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
fn compare(asks: &mut Asks, body: &Value, family: Family) -> bool {
    let question = question(&body["left"]);
    match question {
        // Another protocol's field is in none of our packets, whatever it is compared with.
        ("payload", "tcp" | "icmp" | "icmpv6" | "sctp" | "dccp" | "esp" | "ah" | "igmp", _) => return false,
        ("payload", "ip", _) if family == Family::V6 => return false,
        ("payload", "ip6", _) if family == Family::V4 => return false,
        _ => {}
    }
    let is = match body["op"].as_str() {
        Some("==" | "in") => Some(true),
        Some("!=" | "!") => Some(false),
        _ => None,
    };
    let (Some(is), Some(values)) = (is, values(&body["right"])) else {
        asks.sure = false;
        return true;
    };
    let named = |name: &str| values.iter().any(|v| v.as_str() == Some(name));
    let words = values.iter().all(|v| v.is_string());
    match question {
        ("payload", "udp" | "th", "dport") if is && asks.ports.is_empty() => match ports(&values) {
            Some(ports) => asks.ports = ports,
            None => asks.sure = false,
        },
        ("payload", "ip" | "ip6", "daddr") if is => match values.as_slice() {
            [one] => match prefix(one) {
                Some(net) => asks.to = Some(net),
                None => asks.sure = false,
            },
            _ => asks.sure = false,
        },
        ("payload", "ip", "protocol") | ("payload", "ip6", "nexthdr") | ("meta", "l4proto", _)
            if values.iter().all(|v| v.is_string() || v.is_u64()) =>
        {
            let number = values.iter().any(|v| v.as_u64() == Some(17));
            return (named("udp") || number) == is;
        }
        ("meta", "nfproto", _) if words => {
            return named(if family == Family::V4 { "ipv4" } else { "ipv6" }) == is;
        }
        ("meta", "iifname" | "iif", _) => match values.as_slice() {
            [Value::String(link)] if is && link == "lo" => return false,
            [Value::String(link)] if !is && link == "lo" => {}
            [Value::String(link)] if is => asks.by = Some(link.replace('*', "+")),
            _ => asks.sure = false,
        },
        // The first packet is new, or not tracked (`notrack`).
        ("ct", "state", _) if words => match (named("new") == is, named("untracked") == is) {
            (false, false) => return false,
            (true, true) => {}
            _ => asks.sure = false,
        },
        _ => asks.sure = false,
    }
    true
}

/// `iifname vmap { "lo" : accept, "eth0" : jump x }`, `ct state vmap { established : accept, invalid : drop }`.
fn verdicts(asks: &Asks, body: &Value) -> Vec<(Asks, Does)> {
    let unknown = || vec![(asks.clone(), Does::Unknown)];
    let entries = body.get("data").and_then(|d| d.get("set")).and_then(Value::as_array);
    let (Some(key), Some(entries)) = (body.get("key"), entries.filter(|e| !e.is_empty())) else {
        return unknown();
    };
    let question = question(key);
    let mut steps = Vec::new();
    for entry in entries {
        let Some([value, verdict]) = entry.as_array().map(Vec::as_slice) else { return unknown() };
        let mut asks = asks.clone();
        match (question, value.as_str()) {
            (("ct", "state", _), Some("new" | "untracked")) => asks.sure = false,
            (("ct", "state", _), Some("established" | "related" | "invalid")) => continue,
            (("meta", "iifname" | "iif", _), Some("lo")) => continue,
            (("meta", "iifname" | "iif", _), Some(link)) => asks.by = Some(link.replace('*', "+")),
            _ => return unknown(),
        }
        let found = read(std::slice::from_ref(verdict), Family::V4);
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

/// Returns the values of a right side: one, a list, or those of a set that is written there. `None`: they are not known, as
/// those of a set that goes by its name.
fn values(right: &Value) -> Option<Vec<&Value>> {
    let values: Vec<&Value> = match right.get("set").unwrap_or(right) {
        Value::Array(values) => values.iter().map(element).collect(),
        one => vec![element(one)],
    };
    // Some versions of nft list sets without a name as empty, too.
    let unknown = values.is_empty() || values.iter().any(|v| v.as_str().is_some_and(|v| v.starts_with('@')));
    (!unknown).then_some(values)
}

/// Returns the value of an element, which may have a comment, a counter or a timeout around it.
fn element(value: &Value) -> &Value {
    value.get("elem").and_then(|e| e.get("val")).unwrap_or(value)
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
    use crate::firewall::fixture::arrival;

    /// As nft 1.0.6 lists tests/cases/nft-input/table.nft, without what sets hold.
    const LISTING: &str = include_str!("../../../../tests/cases/nft-input/listing.json");

    /// Says whether the port is closed, with something in the listing replaced.
    fn closed(from: &str, to: &str, family: Family) -> bool {
        assert!(LISTING.contains(from), "{from}");
        let address = if family == Family::V4 { "192.0.2.1" } else { "2001:db8::1" };
        is_closed(&LISTING.replacen(from, to, 1), "drop", address, family)
    }

    fn is_closed(listing: &str, policy: &str, address: &str, family: Family) -> bool {
        let base = ListedChain {
            table: "filter".into(),
            name: "input".into(),
            policy: policy.into(),
            ..ListedChain::default()
        };
        let listing = serde_json::from_str(listing).unwrap();
        input(&listing, &base, family).is_closed(51820, &arrival(address))
    }

    /// Says whether one rule closes the port, or leaves it closed.
    fn with_rule(policy: &str, left: &str, op: &str, right: &str, verdict: &str) -> bool {
        let listing = format!(
            r#"{{"nftables": [{{"chain": {{"table": "filter", "name": "input"}}}},
            {{"rule": {{"table": "other", "chain": "input", "expr": [{{"{}": null}}]}}}},
            {{"rule": {{"table": "filter", "chain": "input", "expr": [
            {{"match": {{"op": "{op}", "left": {left}, "right": {right}}}}}, {{"{verdict}": null}}]}}}}]}}"#,
            if policy == "drop" { "accept" } else { "drop" }
        );
        is_closed(&listing, policy, "192.0.2.1", Family::V4)
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
            // Nobody knows what a set with a name holds.
            (
                "\"tcp\", \"field\": \"dport\"}}, \"right\": \"@open\"",
                "\"udp\", \"field\": \"dport\"}}, \"right\": \"@open\"",
            ),
            ("\"right\": \"eth1\"", "\"right\": \"@links\""),
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

    const PORT: &str = r#"{"payload": {"protocol": "udp", "field": "dport"}}"#;
    const L4: &str = r#"{"meta": {"key": "l4proto"}}"#;
    const STATE: &str = r#"{"ct": {"key": "state"}}"#;

    #[test]
    fn a_set_that_is_not_known_closes_nothing() {
        for right in ["\"@blocked\"", r#"{"set": []}"#] {
            assert!(!with_rule("accept", PORT, "==", right, "drop"), "{right}");
            assert!(!with_rule("accept", PORT, "!=", right, "drop"), "{right}");
            assert!(!with_rule("accept", L4, "!=", right, "drop"), "{right}");
            assert!(!with_rule("drop", L4, "==", right, "accept"), "{right}");
        }
        assert!(with_rule("accept", PORT, "==", "51820", "drop"));
        let vmap = LISTING.replacen(
            r#"{"set": [["lo", {"accept": null}], ["eth1", {"jump": {"target": "other"}}]]}"#,
            r#"{"set": []}"#,
            1,
        );
        assert_ne!(vmap, LISTING);
        assert!(!is_closed(&vmap, "drop", "192.0.2.1", Family::V4));
    }

    #[test]
    fn elements_that_are_not_plain_are_read_or_not_known() {
        let udp = r#"{"set": [{"elem": {"val": "udp", "comment": "x"}}]}"#;
        let tcp = r#"{"set": [{"elem": {"val": "tcp", "counter": {"packets": 0, "bytes": 0}}}]}"#;
        assert!(!with_rule("drop", L4, "==", udp, "accept") && with_rule("drop", L4, "==", tcp, "accept"));
        let ports = r#"{"set": [{"elem": {"val": {"range": [51000, 52000]}, "timeout": 60}}]}"#;
        assert!(with_rule("accept", PORT, "==", ports, "drop"));
        for (op, right) in [("==", r#"{"range": [15, 18]}"#), ("!=", r#"{"range": [1, 2]}"#), ("<", "20")] {
            assert!(!with_rule("drop", L4, op, right, "accept"), "{op} {right}");
        }
        assert!(!with_rule("accept", L4, "!=", r#"{"range": [15, 18]}"#, "drop"));
    }

    #[test]
    fn the_first_packet_may_be_untracked() {
        for (op, right, verdict, expected) in [
            ("==", r#"{"set": ["established", "related", "untracked"]}"#, "accept", false),
            ("in", r#"["established", "untracked"]"#, "accept", false),
            ("!=", "\"new\"", "accept", false),
            ("!=", r#"{"set": ["new", "untracked"]}"#, "accept", true),
            ("==", r#"{"set": ["established", "related"]}"#, "accept", true),
            ("in", "\"new\"", "drop", false),
            ("in", r#"["new", "untracked"]"#, "drop", true),
            ("!=", "\"established\"", "drop", true),
            ("!=", r#"{"set": ["established", "untracked"]}"#, "drop", false),
        ] {
            let policy = if verdict == "drop" { "accept" } else { "drop" };
            assert_eq!(with_rule(policy, STATE, op, right, verdict), expected, "{op} {right} {verdict}");
        }
    }
}
