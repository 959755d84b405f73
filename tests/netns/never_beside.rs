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
