//! Sessions live: a change to one spoke disturbs no other. A hundred datagrams a second, in both directions, and none lost
//! while a hundred spokes come, change and go.

use crate::foreign_clients::clients_up;
use crate::rig::drive::Wgrelay;
use crate::rig::probe::{Flow, ping};
use crate::rig::snapshot::Snapshot;
use crate::rig::topology::{Families, Topology};

/// Spokes that come and go.
const SPOKES: usize = 100;

/// How many of them come and go one by one, by a command each; the rest by one edit of the file and one `up`. A process
/// start takes a second or two in the emulated guest.
fn singly() -> usize {
    if std::env::var_os("WGRELAY_GUEST").is_some() { 5 } else { 25 }
}

/// A spoke as a person would type it; its key is nobody's.
fn typed(i: usize) -> String {
    let key = wgrelay::model::PublicKey::from_bytes([u8::try_from(i).expect("few spokes") + 1; 32]);
    format!("\n[node.spoke{i}]\naddress = \"192.168.3.{}\"\npublic_key = \"{key}\"\n", i + 100)
}

#[test]
fn no_packet_is_lost_while_other_spokes_come_change_and_go() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    // Preshared keys would have to be typed for the typed spokes.
    relay.edit(|text| text.replacen("[network]\n", "[network]\npreshared_keys = false\n", 1));
    relay.up().ok();
    clients_up(&t, &relay);
    assert!(
        ping(&t.windows, "192.168.3.1") && ping(&t.windows, "192.168.33.71") && ping(&t.relay, "192.168.3.2")
    );
    let before = Snapshot::of(&t.relay).without("files"); // they tell when it was applied
    let handshakes = || t.windows.run(&["wg", "show", "wg0", "latest-handshakes"]).ok().stdout;
    let session = handshakes();
    let flows = [
        ("windows to the relay", Flow::start(&t.windows, &t.relay, "192.168.3.1")),
        ("the relay to windows", Flow::start(&t.relay, &t.windows, "192.168.3.2")),
        ("windows to a VM", Flow::start(&t.windows, &t.vm, "192.168.33.71")),
    ];
    let began = std::time::Instant::now();

    let singly = singly();
    let one_by_one = |word: &str| {
        for i in 0..singly {
            relay.ok(&[word, &format!("spoke{i}"), "--up"]);
        }
    };
    let peers = || t.relay.run(&["wg", "show", "wg0", "peers"]).ok().stdout.lines().count();
    one_by_one("add");
    let few = t.relay.read(relay.network_file());
    relay.edit(|text| text + &(singly..SPOKES).map(typed).collect::<String>());
    relay.up().ok();
    assert_eq!(peers(), SPOKES + 2, "every spoke is a peer");
    let on = t.relay.read(relay.network_file());
    let off = on
        .lines()
        .map(|line| {
            format!("{line}\n{}", if line.starts_with("[node.spoke") { "enabled = false\n" } else { "" })
        })
        .collect::<String>();
    relay.edit(|_| off);
    relay.up().ok();
    assert_eq!(peers(), 2, "no disabled spoke is a peer");
    relay.edit(|_| on);
    relay.up().ok();
    relay.ok(&["disable", "spoke7", "--up"]);
    relay.ok(&["enable", "spoke7", "--up"]);
    assert_eq!(peers(), SPOKES + 2, "all are back");
    relay.edit(|_| few);
    relay.up().ok();
    assert_eq!(peers(), singly + 2, "those of the one edit have gone");
    one_by_one("remove");

    for (name, flow) in flows {
        let tally = flow.stop();
        assert!(tally.sent > 100 && tally.lost() == 0, "{name}: {tally:?}");
    }
    if began.elapsed().as_secs() < 100 {
        assert_eq!(handshakes(), session, "it is the same session still");
    }
    before.assert_same(&Snapshot::of(&t.relay).without("files"), "after all the spokes have gone");
}

#[test]
fn new_keys_wait_for_up() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    let keys = || {
        let show = "wg show wg0 private-key; wg show wg0 preshared-keys";
        t.relay.run(&["bash", "-c", show]).ok().stdout
    };
    let before = keys();
    relay.ok(&["rotate", "windows"]);
    relay.ok(&["rotate", "wsl"]);
    let drift = || relay.status()["drift"].as_array().expect("status has drift").len();
    assert_eq!(drift(), 0, "{}", relay.status());
    if relay.backend == "embedded" {
        // What its agent puts right is what was applied, with the keys of then.
        t.relay.ip("addr del 192.168.3.1/24 dev wg0");
        let began = std::time::Instant::now();
        while drift() != 0 {
            assert!(began.elapsed() < crate::rig::node::LONG, "{}", relay.status());
        }
    }
    assert_eq!(keys(), before, "keys of a network that nobody has applied");
    relay.up().ok();
    assert_ne!(keys(), before);
}
