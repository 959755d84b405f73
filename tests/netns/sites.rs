//! A site whose interface is not there yet: the network is up and degraded, says so, and is finished when it appears.

use std::time::{Duration, Instant};

use crate::foreign_clients::{assert_reaches, clients_up};
use crate::rig::drive::Wgrelay;
use crate::rig::probe::ping;
use crate::rig::snapshot::Snapshot;
use crate::rig::topology::{BRIDGE, Families, Topology};

#[test]
fn a_missing_interface_degrades_and_is_finished_later() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    // As it is after a reboot, before Docker has made its bridges.
    t.relay.ip(&format!("link set {BRIDGE} down\nlink set {BRIDGE} name br-away"));
    let up = relay.up().ok();
    assert!(up.stderr.contains(BRIDGE) || up.stdout.contains(BRIDGE), "the missing interface is named: {up}");
    let status = relay.call(&["status", "--json"]);
    assert!(status.stdout.contains("\"degraded\""), "{status}");
    clients_up(&t, &relay);
    assert!(ping(&t.windows, "192.168.3.3"), "the rest of the network works");

    t.relay.ip(&format!("link set br-away name {BRIDGE}\nlink set {BRIDGE} up"));
    if relay.backend != "embedded" {
        relay.up().ok(); // no agent is there to see it
    }
    let began = Instant::now();
    while relay.status()["state"] != "up" && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let status = relay.status();
    assert_eq!(status["state"], "up", "the interface is there, and the agent finished its site: {status}");
    assert_reaches(&t, Families::V4);
}

#[test]
fn down_while_degraded_leaves_nothing() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    t.relay.ip(&format!("link set {BRIDGE} down\nlink set {BRIDGE} name br-away"));
    let before = Snapshot::of(&t.relay);
    relay.up().ok();
    relay.ok(&["down"]);
    before.assert_same(&Snapshot::of(&t.relay), "after down");
}
