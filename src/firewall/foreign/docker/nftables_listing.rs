//! Reads the rules of Docker's nftables backend: which mark, which links, which bridges.
//!
//! The names of its chains are Docker's own, and not promised to last: what is not found counts as not set.

use std::collections::{BTreeMap, BTreeSet};

use super::{DockerBridge, DockerNftables};
use crate::firewall::{Family, Mark};

/// Docker's table, in each of the two families.
pub(crate) const TABLE: &str = "docker-bridges";
/// Where it drops what comes by another link than a container's own bridge.
const RAW: &str = "raw-PREROUTING";
/// What it decides of packets on their way into a bridge: this and the bridge's name.
const INTO: &str = "filter-forward-in__";

/// Reads a table, as `nft -s list table` prints it.
pub(crate) fn read(family: Family, text: &str) -> DockerNftables {
    let mut bridges: BTreeMap<String, DockerBridge> = BTreeMap::new();
    let mut chain = "";
    for line in text.lines().map(str::trim) {
        // A comment may say anything, braces and verdicts too.
        let line = line.split(" comment ").next().unwrap_or(line);
        if let Some(name) = line.strip_prefix("chain ").and_then(|rest| rest.split(' ').next()) {
            chain = name;
        } else if chain == RAW {
            guard(line, &mut bridges);
        } else if let Some(bridge) = chain.strip_prefix(INTO) {
            let bridge = bridges.entry(bridge.into()).or_default();
            if line == "counter accept" || line == "accept" {
                bridge.open = true;
            }
            bridge.accepts = bridge.accepts.or(accepted_mark(line));
        }
    }
    DockerNftables { family, bridges }
}

/// `ip daddr ADDRESS iifname != { "BRIDGE", "TRUSTED" } counter drop`; of a single name nft makes no set.
fn guard(line: &str, bridges: &mut BTreeMap<String, DockerBridge>) {
    let Some((_, others)) = line.split_once("iifname != ") else { return };
    if !line.ends_with(" drop") {
        return;
    }
    let links: BTreeSet<String> = others.split('"').skip(1).step_by(2).map(str::to_string).collect();
    // Which of the names is the bridge, the rule does not say: the others are trusted by it, and by themselves.
    for link in &links {
        let bridge = bridges.entry(link.clone()).or_default();
        bridge.guarded = true;
        bridge.trusted.extend(links.iter().cloned());
    }
}

/// `meta mark VALUE counter accept` or `meta mark & MASK == VALUE counter accept`; `None`: the line says something else.
fn accepted_mark(line: &str) -> Option<Mark> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let condition = line.strip_prefix("meta mark ")?.strip_suffix(" accept")?;
    let condition = condition.strip_suffix(" counter").unwrap_or(condition);
    match condition.split(' ').collect::<Vec<_>>().as_slice() {
        [value] => Some(Mark { value: number(value)?, mask: u32::MAX }),
        ["&" | "and", mask, "==", value] => Some(Mark { value: number(value)?, mask: number(mask)? }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"table ip docker-bridges {
	map filter-forward-in-jumps {
		type ifname : verdict
		elements = { "br-a" : jump filter-forward-in__br-a, "br-b" : jump filter-forward-in__br-b }
	}
	chain raw-PREROUTING {
		type filter hook prerouting priority raw; policy accept;
		ip daddr 172.19.0.5 iifname != "br-a" counter drop comment "DROP DIRECT ACCESS"
		ip daddr 172.20.0.5 iifname != { "br-b", "wg0" } counter drop comment "DROP DIRECT ACCESS"
		ip daddr 127.0.0.1 iifname != "lo" counter accept
	}
	chain filter-forward-in__br-a {
		ct state established,related counter accept
		meta mark & 0x01000000 == 0x01000000 counter accept comment "ALLOW FW MARK"
		iifname "br-a" counter accept comment "ICC"
		counter drop comment "UNPUBLISHED PORT DROP"
	}
	chain filter-forward-in__br-b {
		meta mark 0x00000007 counter accept comment "counter accept"
		counter drop
	}
	chain filter-forward-in__br-c {
		counter accept comment "UNPROTECTED"
	}
	chain filter-forward-out__br-d {
		counter accept comment "OUTGOING"
	}
}
"#;

    #[test]
    fn what_the_rules_say() {
        let bridges = read(Family::V4, TEXT).bridges;
        let a = &bridges["br-a"];
        assert!(a.guarded && !a.trusted.contains("wg0") && !a.open);
        assert_eq!(a.accepts, Some(Mark { value: 0x0100_0000, mask: 0x0100_0000 }));
        let b = &bridges["br-b"];
        assert!(b.guarded && b.trusted.contains("wg0") && !b.open);
        assert_eq!(b.accepts, Some(Mark { value: 7, mask: u32::MAX }));
        assert!(bridges["br-c"].open && !bridges["br-c"].guarded);
        assert!(!bridges.contains_key("br-d") && !bridges.contains_key("lo"));
    }
}
