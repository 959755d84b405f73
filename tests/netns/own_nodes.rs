//! wgrelay on all three nodes, from bundles; each on its own backend.

use crate::foreign_clients::assert_reaches;
use crate::rig::drive::{Wgrelay, backend};
use crate::rig::need::{NAMESPACES, met};
use crate::rig::node::PLACE;
use crate::rig::snapshot::Snapshot;
use crate::rig::topology::{Families, Topology};

/// Makes the network with these backends on relay, windows and docker; tries it; takes it away.
fn all_three(backends: [&str; 3]) {
    let t = Topology::new(Families::V4);
    let relay = Wgrelay::relay_of(&t, Families::V4).with_backend(backends[0]);
    let nodes = [&t.relay, &t.windows, &t.docker];
    let before = nodes.map(Snapshot::of);
    relay.up().ok();
    let mut spokes = Vec::new();
    for (name, node, backend) in [("windows", &t.windows, backends[1]), ("docker", &t.docker, backends[2])] {
        let bundle = relay.ok(&["export", name, "--format", "bundle"]);
        let path = format!("{PLACE}/{name}.bundle");
        node.write(&path, &bundle);
        let spoke = Wgrelay::on(node).with_backend(backend);
        spoke.call(&["up", "--bundle", &path, "--backend", backend]).ok();
        // It is installed: this needs the file no more, and changes nothing.
        node.run(&["rm", &path]).ok();
        let once = Snapshot::of(node);
        spoke.up().ok();
        once.assert_same(&Snapshot::of(node), &format!("on {name} after a second up"));
        spokes.push(spoke);
    }
    assert_reaches(&t, Families::V4);
    for (wgrelay, backend) in [&relay, &spokes[0], &spokes[1]].iter().zip(backends) {
        let status = wgrelay.status();
        assert_eq!(
            (status["state"].as_str(), status["backend"].as_str()),
            (Some("up"), Some(backend)),
            "{status}"
        );
    }
    assert_eq!(spokes[1].status()["node"], "docker");
    for wgrelay in [&spokes[1], &spokes[0], &relay] {
        wgrelay.ok(&["down"]);
    }
    for ((node, before), spoke) in nodes.iter().zip(before).zip([false, true, true]) {
        if spoke {
            // The bundle stays installed; the network is gone.
            node.run(&["rm", "-r", &relay.dir]).ok();
        }
        before.assert_same(&Snapshot::of(node), &format!("on {} after down", node.name));
    }
}

#[test]
fn from_bundles_on_all_three() {
    if !met(&NAMESPACES) {
        return;
    }
    let backend = backend();
    all_three([&backend; 3]);
}

#[test]
fn either_backend_speaks_with_the_other() {
    // Where the kernel has no WireGuard, there is nothing to mix; the guest's run of this test does.
    if !met(&NAMESPACES) || backend() != "kernel" {
        return;
    }
    all_three(["kernel", "embedded", "kernel"]);
    all_three(["embedded", "kernel", "embedded"]);
}
