//! A neighbour of a spoke takes the spoke's address in the tunnel for his own.

use crate::rig::drive::Wgrelay;
use crate::rig::node::Node;
use crate::rig::probe::ping;
use crate::rig::topology::{Families, Topology};

/// What he sends is told from all else by its length: 40 bytes of IPv6, 8 of ICMPv6 and 777.
const WATCH: &str = "nft add table inet seen
nft 'add chain inet seen in { type filter hook prerouting priority -400; }'
nft add rule inet seen in ip6 saddr fd5e:1::2 meta length 825 counter";

fn seen(node: &Node) -> u64 {
    let shown = node.run(&["nft", "list", "table", "inet", "seen"]).ok().stdout;
    let words: Vec<&str> = shown.split_whitespace().collect();
    let at = words.iter().position(|w| *w == "packets").expect("it counts");
    words[at + 1].parse().expect("a number")
}

#[test]
fn a_neighbour_who_forges_a_spokes_ipv6_address_gets_nothing_in() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let (relay, spoke) = Wgrelay::relay_and_spoke(&t, Families::Both, "");
    t.windows.set_sysctl("ipv6/conf/all/forwarding", "1");
    relay.up().ok();
    spoke.up_with(&relay, "windows").ok();
    assert!(ping(&t.windows, "fd5e:1::1"), "the spoke itself gets through");
    for node in [&t.windows, &t.relay] {
        node.run(&["sh", "-ec", WATCH]).ok();
    }
    t.internet.ip("addr add fd5e:1::2/128 dev lo nodad\nroute add fd5e:1::1/128 via fd00:39::50");
    let forged = || {
        t.internet.run(&[
            "ping",
            "-6",
            "-c",
            "3",
            "-i",
            "0.2",
            "-W",
            "1",
            "-s",
            "777",
            "-I",
            "fd5e:1::2",
            "fd5e:1::1",
        ])
    };
    forged().exits(1);
    assert!(seen(&t.windows) > 0, "they came to the spoke's host");
    assert_eq!(seen(&t.relay), 0, "and into no tunnel");
    assert!(ping(&t.windows, "fd5e:1::1"), "which goes on");
    assert_eq!(spoke.status()["drift"], serde_json::json!([]));
    spoke.ok(&["down"]);
    let tables = t.windows.run(&["nft", "list", "tables"]).ok().stdout;
    assert_eq!(tables.trim(), "table inet seen", "nothing is left");
}
