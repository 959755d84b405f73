//! The fence around a floating address: rules of a host that hold without any process. What is for that address or comes from it,
//! ARP and neighbour discovery included, and what is for the tunnel's port, passes only while this host was said to carry the relay: an
//! element of a set ends by itself, by the kernel's own clock, and a rule ends at an hour of the day, for a host that slept meanwhile.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::fingerprint::{CHAIN, fingerprint};
use super::table_name;
use crate::model::InterfaceName;

/// What is fenced in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The network.
    pub network: InterfaceName,
    /// The floating address.
    pub address: IpAddr,
    /// The tunnel's UDP port.
    pub port: u16,
}

/// The chain whose rules come and go with the lease.
const UNTIL: &str = "until";

fn objects(listing: &Value) -> impl Iterator<Item = &Value> {
    listing.get("nftables").and_then(Value::as_array).into_iter().flatten()
}

/// Returns the name of the fence's tables, in the families `inet` and `arp`.
pub fn fence_name(network: &InterfaceName) -> String {
    format!("{}-floating", table_name(network))
}

/// The part of a table by which it opens: nobody passes before [`fence_opened`] says until when.
const GATE: &str = " set holder { type ether_type; flags timeout; }\n chain until {\n }\n chain gate {\n  \
                    meta protocol @holder jump until\n  drop\n }\n";

impl Fence {
    /// Returns the families that it has tables in.
    pub fn families(&self) -> &'static [&'static str] {
        families(self.address.is_ipv4())
    }

    /// Returns the text for nft that makes it anew, closed.
    pub fn closed(&self) -> String {
        let Self { network, address, port } = self;
        let name = fence_name(network);
        let mut text = fence_removed(network);
        let hook = |name: &str, at: &str, priority: i16, rules: &[String]| {
            let rules: String = rules.iter().map(|rule| format!("  {rule} jump gate\n")).collect();
            format!(" chain {name} {{\n  type filter hook {at} priority {priority}\n{rules} }}\n")
        };
        let ip = if address.is_ipv4() { "ip" } else { "ip6" };
        let mut sent = vec![format!("udp sport {port}")];
        if let IpAddr::V6(address) = address {
            // Who answers for the address may do so from another one (RFC 4861, section 4.4: the target is behind 8 bytes).
            sent.push(format!("icmpv6 type nd-neighbor-advert @th,64,128 {:#034x}", u128::from(*address)));
        }
        let chains = [
            hook("prerouting", "prerouting", -300, &[format!("{ip} daddr {address}")]),
            hook("input", "input", -300, &[format!("udp dport {port}")]),
            hook("output", "output", -300, &sent),
            hook("postrouting", "postrouting", 300, &[format!("{ip} saddr {address}")]),
        ];
        let _ = write!(text, "table inet {name} {{\n{GATE}{}}}\n", chains.concat());
        if address.is_ipv4() {
            let chains = [
                hook("input", "input", -300, &[format!("arp daddr ip {address}")]),
                hook("output", "output", -300, &[format!("arp saddr ip {address}")]),
            ];
            let _ = write!(text, "table arp {name} {{\n{GATE}{}}}\n", chains.concat());
        }
        text
    }

    /// Returns the text that opens it for so long, and by no means after an hour of the day, in Unix seconds.
    pub fn opened(&self, left: Duration, until: u64) -> String {
        let name = fence_name(&self.network);
        let left = left.as_millis();
        let mut text = String::new();
        for family in self.families() {
            let kinds: &[&str] = if *family == "arp" { &["arp"] } else { &["ip", "ip6"] };
            let elements: Vec<String> = kinds.iter().map(|kind| format!("{kind} timeout {left}ms")).collect();
            let _ = write!(
                text,
                "flush set {family} {name} holder\nadd element {family} {name} holder {{ {} }}\nflush chain {family} {name} \
                 until\nadd rule {family} {name} until meta time < {until} accept\n",
                elements.join(", ")
            );
        }
        text
    }

    /// Returns the text that marks a table as ours: `listing` is what nft has of it, just loaded. [`Fence::is_whole`] finds the mark again.
    pub fn marked(&self, family: &str, listing: &Value) -> String {
        let (name, mark) = (fence_name(&self.network), self.mark(listing));
        format!(
            "add chain {family} {name} {CHAIN}\nflush chain {family} {name} {CHAIN}\nadd rule {family} {name} {CHAIN} continue comment \"{mark}\"\n"
        )
    }

    /// Says whether a listing is the fence's, as it was loaded, open or closed.
    pub fn is_whole(&self, listing: &Value) -> bool {
        let mark = self.mark(listing);
        objects(listing)
            .filter_map(|object| object.get("rule"))
            .any(|rule| rule["chain"] == CHAIN && rule["comment"] == *mark)
    }

    /// The comment that says: this is the structure, and what it was made for. What opens and closes does not count.
    fn mark(&self, listing: &Value) -> String {
        let is_until = |object: &&Value| object.get("rule").is_some_and(|rule| rule["chain"] == UNTIL);
        let kept: Vec<&Value> = objects(listing).filter(|object| !is_until(object)).collect();
        format!("structure {} for {} {}", fingerprint(&json!({ "nftables": kept })), self.address, self.port)
    }

    /// Says whether a listing, just after it was loaded, has as many rules in each chain as were loaded: somebody may have changed it meanwhile.
    pub fn is_as_loaded(&self, family: &str, listing: &Value) -> bool {
        let text = self.closed();
        let (mut is_inside, mut chain, mut loaded) = (false, "", BTreeMap::<&str, usize>::new());
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("table ") {
                is_inside = line.ends_with('{') && head.starts_with(family);
            } else if let Some(head) = line.strip_prefix(" chain ") {
                chain = head.trim_end_matches(" {");
            } else if is_inside && line.starts_with("  ") && !line.starts_with("  type ") {
                *loaded.entry(chain).or_default() += 1;
            }
        }
        let mut listed = BTreeMap::<&str, usize>::new();
        for rule in objects(listing).filter_map(|object| object.get("rule")) {
            let chain = rule["chain"].as_str().unwrap_or_default();
            if ![UNTIL, CHAIN].contains(&chain) {
                *listed.entry(chain).or_default() += 1;
            }
        }
        listed == loaded
    }

    /// Returns the text that closes it.
    pub fn shut(&self) -> String {
        let name = fence_name(&self.network);
        let shut =
            |family: &&str| format!("flush set {family} {name} holder\nflush chain {family} {name} until\n");
        self.families().iter().map(shut).collect()
    }
}

const fn families(v4: bool) -> &'static [&'static str] {
    if v4 { &["inet", "arp"] } else { &["inet"] }
}

/// Returns the text that takes a network's fence away, whether it is there or not.
pub fn fence_removed(network: &InterfaceName) -> String {
    let name = fence_name(network);
    let remove = |family: &&str| format!("table {family} {name}\ndelete table {family} {name}\n");
    families(true).iter().map(remove).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(address: &str) -> Fence {
        Fence { network: "wg0".parse().unwrap(), address: address.parse().unwrap(), port: 51820 }
    }

    #[test]
    fn what_is_made_is_closed_and_what_opens_it_ends_twice() {
        let closed = fence("198.51.100.10").closed();
        assert!(!closed.contains("timeout 2") && !closed.contains("accept"), "{closed}");
        for rule in [
            "ip daddr 198.51.100.10 jump gate",
            "ip saddr 198.51.100.10 jump gate",
            "arp daddr ip 198.51.100.10 jump gate",
            "arp saddr ip 198.51.100.10 jump gate",
            "udp dport 51820 jump gate",
            "udp sport 51820 jump gate",
        ] {
            assert!(closed.contains(rule), "{rule} in {closed}");
        }
        let opened = fence("198.51.100.10").opened(Duration::from_millis(2_431), 1_800_000_003);
        assert_eq!(opened.matches("timeout 2431ms").count(), 3, "{opened}");
        assert_eq!(opened.matches("meta time < 1800000003 accept").count(), 2, "{opened}");
        assert!(!fence("198.51.100.10").shut().contains("add"));
    }

    #[test]
    fn a_table_of_its_name_is_judged_by_what_it_does() {
        let fence = fence("198.51.100.10");
        let listing = |rules: &[(&str, Value)], mark: &str| {
            let rule = |(chain, expr): &(&str, Value)| json!({"rule": {"chain": chain, "handle": 7, "expr": [expr]}});
            let mut all: Vec<Value> = rules.iter().map(rule).collect();
            all.push(json!({"chain": {"name": "input", "hook": "input", "prio": -300}}));
            all.push(json!({"chain": {"name": CHAIN}}));
            all.push(json!({"rule": {"chain": CHAIN, "comment": mark, "expr": []}}));
            json!({ "nftables": all })
        };
        let (jump, drop) = (json!({"jump": {"target": "gate"}}), json!({"drop": null}));
        let ours = [("input", jump.clone()), ("gate", drop.clone())];
        let mark = fence.mark(&listing(&ours, ""));
        assert!(fence.is_whole(&listing(&ours, &mark)));
        let opened = [ours[0].clone(), ours[1].clone(), (UNTIL, json!({"accept": null}))];
        assert!(fence.is_whole(&listing(&opened, &mark)), "open or closed");
        for (why, other) in [
            ("nothing in it", vec![]),
            ("a rule is gone", vec![ours[1].clone()]),
            (
                "one before it lets through",
                vec![("input", json!({"accept": null})), ours[0].clone(), ours[1].clone()],
            ),
            ("it does something else", vec![("input", jump), ("gate", json!({"accept": null}))]),
        ] {
            assert!(!fence.is_whole(&listing(&other, &mark)), "{why}");
        }
        // As many rules as were loaded, in each chain.
        let gate = || ("gate", json!({"drop": null}));
        let hooks = |names: &[&'static str]| names.iter().map(|name| (*name, json!({}))).collect::<Vec<_>>();
        let arp = [vec![gate(), gate()], hooks(&["input", "output"])].concat();
        assert!(
            fence.is_as_loaded("arp", &listing(&arp, "")) && !fence.is_as_loaded("inet", &listing(&arp, ""))
        );
        assert!(!fence.is_as_loaded("arp", &listing(&arp[1..], "")));
        assert!(!fence.is_as_loaded("arp", &listing(&[arp.clone(), vec![gate()]].concat(), "")));
        let inet = [arp, hooks(&["prerouting", "postrouting"])].concat();
        assert!(fence.is_as_loaded("inet", &listing(&inet, "")));
        // The same rules for another address or port say so in nft's words, and here as well.
        assert!(!Fence { port: 51821, ..fence.clone() }.is_whole(&listing(&ours, &mark)));
        assert!(!fence.is_whole(&json!({"nftables": []})) && !fence.is_whole(&json!({})));
        let text = fence.marked("arp", &listing(&ours, ""));
        assert!(text.contains(&format!("comment \"{mark}\"")), "{text}");
    }

    #[test]
    fn an_answer_for_an_ipv6_address_is_fenced_whoever_gives_it() {
        let closed = fence("2001:db8::10").closed();
        assert!(closed.contains("@th,64,128 0x20010db8000000000000000000000010 jump gate"), "{closed}");
        assert!(!closed.contains("table arp wgrelay-wg0-floating {"), "{closed}");
    }
}
