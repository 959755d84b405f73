//! A full tunnel whose interface, routes or agent are gone sends nothing beside the tunnel: its last rule refuses.

use crate::refused::gone_for_good;
use crate::rig::drive::Wgrelay;
use crate::rig::node::Node;
use crate::rig::topology::{Families, Topology};

const FULL: &str = "routes = \"full\"\n";

/// The ways of a packet of the node's own and of one of the tunnel's, in both families.
fn ways(node: &Node) -> String {
    let line = "for to in 203.0.113.9 2001:db8:9::9; do for mark in 0 51820; do \
                ip route get $to mark $mark 2>&1 | head -1 | grep -Eo 'dev [a-z0-9]+|unreachable' | head -1; done; done";
    node.run(&["bash", "-c", line]).stdout.replace('\n', " ")
}

#[test]
fn a_full_tunnel_whose_agent_is_gone_lets_nothing_out() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let (relay, spoke) = Wgrelay::relay_and_spoke(&t, Families::Both, FULL);
    let rules = || t.windows.run(&["bash", "-c", "ip -4 rule; ip -6 rule"]).ok().stdout;
    let (before, rules_before) = (ways(&t.windows), rules());
    assert!(!before.contains("unreachable"), "there is a way out without the tunnel: {before}");
    spoke.up_with(&relay, "windows").ok();
    let up = ways(&t.windows);
    let marked = |ways: &str| ways.split("dev ").filter(|d| !d.trim().is_empty()).count();
    assert!(up.starts_with("dev wg0 ") && marked(&up) == 4, "{up}");

    let with_wg0_refused = up.replace("dev wg0", "unreachable");
    gone_for_good(&t.windows);
    for line in ["true", "ip link del wg0 2>/dev/null; true", "ip route flush table 51820 2>/dev/null; true"]
    {
        t.windows.run(&["bash", "-c", line]).ok();
        if line != "true" || spoke.backend == "embedded" {
            assert_eq!(ways(&t.windows), with_wg0_refused, "after {line}");
        }
    }
    // The file has what the network needs, and the tunnel comes back; `down` leaves what was there.
    spoke.call(&["up", "--backend", &spoke.backend]).ok();
    assert_eq!(ways(&t.windows), up);
    gone_for_good(&t.windows);
    spoke.ok(&["down"]);
    assert_eq!(ways(&t.windows), before);
    assert_eq!(rules(), rules_before);
}

/// A second network's agent looks at the host the moment the first one's interface goes, and leaves its rules alone.
#[test]
fn another_networks_agent_takes_no_rule_of_a_full_tunnel_that_is_gone() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let (relay, spoke) = Wgrelay::relay_and_spoke(&t, Families::V4, FULL);
    let of_second = |words: &[&str]| {
        let words: Vec<&str> = ["--network", "wg1"].iter().chain(words).copied().collect();
        spoke.call(&words)
    };
    let place = ["--endpoint", "192.168.39.50:51999", "--subnet", "10.77.0.0/24"];
    of_second(&[&["init", "--profile", "road-warrior"][..], &place].concat()).ok();
    of_second(&["up", "--backend", &spoke.backend]).ok();
    let rules = || t.windows.run(&["ip", "-4", "rule"]).ok().stdout;
    let before = rules();
    spoke.up_with(&relay, "windows").ok();
    let up = rules();
    assert!(up.contains("unreachable") && !before.contains("unreachable"), "{up}");
    gone_for_good(&t.windows);
    t.windows.run(&["bash", "-c", "ip link del wg0 2>/dev/null; true"]).ok();
    // Its own table follows the links that there are; the rules are not its own.
    let told = of_second(&["plan"]).ok();
    assert!(!told.stdout.contains("ipv4 priority"), "{told}");
    of_second(&["up", "--backend", &spoke.backend]).ok();
    assert_eq!(rules(), up);
    of_second(&["down"]).ok();
    assert_eq!(rules(), up);
    spoke.ok(&["--network", "wg0", "down"]);
    assert_eq!(rules(), before);
}
