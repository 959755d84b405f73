//! Sessions live: a change to one spoke disturbs no other. A hundred pings a second, in both directions, and none lost
//! while a hundred spokes come, change and go.

use crate::foreign_clients::clients_up;
use crate::rig::drive::Wgrelay;
use crate::rig::need::{NAMESPACES, met};
use crate::rig::probe::{Flow, ping};
use crate::rig::snapshot::Snapshot;
use crate::rig::topology::{Families, Topology};

/// Spokes that come and go.
const SPOKES: usize = 100;
/// How many of them are applied one by one; the rest with one `up` for all.
const SINGLY: usize = 20;

#[test]
fn no_packet_is_lost_while_other_spokes_come_change_and_go() {
    if !met(&NAMESPACES) {
        return;
    }
    let t = Topology::new(Families::V4);
    let relay = Wgrelay::relay_of(&t, Families::V4);
    relay.up().ok();
    clients_up(&t, &relay);
    assert!(
        ping(&t.windows, "192.168.3.1") && ping(&t.windows, "192.168.33.71") && ping(&t.relay, "192.168.3.2")
    );
    let before = Snapshot::of(&t.relay);
    let handshakes = || t.windows.run(&["wg", "show", "wg0", "latest-handshakes"]).ok().stdout;
    let session = handshakes();
    let flows = [
        ("windows to the relay", Flow::start(&t.windows, "192.168.3.1")),
        ("the relay to windows", Flow::start(&t.relay, "192.168.3.2")),
        ("windows to a VM", Flow::start(&t.windows, "192.168.33.71")),
    ];
    let began = std::time::Instant::now();

    let each = |change: &dyn Fn(&str, bool)| {
        for i in 0..SPOKES {
            change(&format!("spoke{i}"), i < SINGLY);
        }
        relay.up().ok();
    };
    let applied = |words: &[&str], at_once: bool| {
        let words: Vec<&str> = words.iter().copied().chain(at_once.then_some("--up")).collect();
        relay.ok(&words);
    };
    each(&|name, at_once| applied(&["add", name], at_once));
    let peers = t.relay.run(&["wg", "show", "wg0", "peers"]).ok().stdout;
    assert_eq!(peers.lines().count(), SPOKES + 2, "every spoke is a peer");
    each(&|name, at_once| applied(&["disable", name], at_once));
    let peers = t.relay.run(&["wg", "show", "wg0", "peers"]).ok().stdout;
    assert_eq!(peers.lines().count(), 2, "no disabled spoke is a peer");
    each(&|name, at_once| applied(&["enable", name], at_once));
    each(&|name, at_once| applied(&["remove", name], at_once));

    for (name, flow) in flows {
        let tally = flow.stop();
        assert!(tally.sent > 100 && tally.lost() == 0, "{name}: {tally:?}");
    }
    if began.elapsed().as_secs() < 100 {
        assert_eq!(handshakes(), session, "it is the same session still");
    }
    before.assert_same(&Snapshot::of(&t.relay), "after all the spokes have gone");
}
