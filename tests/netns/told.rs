//! What `status` tells of a host that is not as it was applied, and of a file that is newer.

use serde_json::Value;

use crate::rig::drive::Wgrelay;
use crate::rig::need::{NAMESPACES, met};
use crate::rig::node::PLACE;
use crate::rig::topology::{Families, Topology};

/// Returns what of the drift is about peers: their keys, and how they are.
fn drift(status: &Value) -> Vec<(String, Value)> {
    let lines = status["drift"].as_array().expect("status has drift");
    let peers = lines.iter().filter(|line| line["kind"] == "peer");
    peers.map(|line| (line["target"].as_str().unwrap_or_default().to_owned(), line["from"].clone())).collect()
}

fn has_problem(status: &Value, code: &str) -> bool {
    status["problems"].as_array().expect("status has problems").iter().any(|p| p["code"] == code)
}

fn key_of(status: &Value, name: &str) -> String {
    let peers = status["peers"].as_array().expect("status has peers");
    let peer = peers.iter().find(|p| p["name"] == name).expect("the peer is told of");
    peer["public_key"].as_str().expect("a peer has a key").to_owned()
}

#[test]
fn drift_and_a_newer_file_are_told() {
    if !met(&NAMESPACES) {
        return;
    }
    let t = Topology::new(Families::V4);
    let relay = Wgrelay::relay_of(&t, Families::V4);
    relay.up().ok();
    let status = relay.status();
    assert_eq!((drift(&status), has_problem(&status, "pending")), (vec![], false), "{status}");
    let (windows, docker) = (key_of(&status, "windows"), key_of(&status, "docker"));

    // wg(8) is no news to the agent, so nothing is repaired meanwhile.
    let wg = |words: &[&str]| t.relay.run(&[&["wg", "set", "wg0", "peer"], words].concat()).ok();
    wg(&[&windows, "remove"]);
    wg(&[&docker, "allowed-ips", "10.99.0.0/24"]);
    let stranger = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    wg(&[stranger, "allowed-ips", "10.98.0.0/24"]);
    let seen = drift(&relay.status());
    let mut keys: Vec<&str> = seen.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    let mut changed = [windows.as_str(), docker.as_str(), stranger];
    changed.sort_unstable();
    assert_eq!(keys, changed, "{seen:?}");
    assert!(seen.contains(&(windows.clone(), Value::Null)), "one is gone: {seen:?}");
    relay.up().ok();
    assert_eq!(drift(&relay.status()), vec![]);

    // A spoke gives its peer an endpoint, which roams; only one that is lost was taken by somebody.
    let bundle = relay.ok(&["export", "windows", "--format", "bundle"]);
    let path = format!("{PLACE}/windows.bundle");
    t.windows.write(&path, &bundle);
    let spoke = Wgrelay::on(&t.windows);
    spoke.call(&["up", "--bundle", &path, "--backend", &spoke.backend]).ok();
    let hub = key_of(&spoke.status(), "wsl");
    let wg = |words: &[&str]| t.windows.run(&[&["wg", "set", "wg0", "peer", &hub], words].concat()).ok();
    wg(&["endpoint", "192.168.39.99:4000"]);
    assert_eq!(drift(&spoke.status()), vec![]);
    let psk = t.windows.run(&["wg", "show", "wg0", "preshared-keys"]).ok();
    let psk = psk.stdout.split_whitespace().nth(1).expect("there is a preshared key").to_owned();
    t.windows.write(format!("{PLACE}/psk"), &psk);
    wg(&["remove"]);
    wg(&[
        "preshared-key",
        &format!("{PLACE}/psk"),
        "persistent-keepalive",
        "25",
        "allowed-ips",
        "192.168.3.0/24,172.19.0.0/16,192.168.33.0/24",
    ]);
    let seen = drift(&spoke.status());
    assert_eq!(seen.len(), 1, "{seen:?}");
    spoke.up().ok();
    assert_eq!(drift(&spoke.status()), vec![]);

    let file = format!("{}/wg0/network.toml", relay.dir);
    let text = t.relay.run(&["cat", &file]).ok().stdout;
    t.relay.write(&file, &format!("{text}# newer\n"));
    assert!(has_problem(&relay.status(), "pending"));
    t.relay.write(&file, &text);
    assert!(!has_problem(&relay.status(), "pending"));
    spoke.ok(&["down"]);
    relay.ok(&["down"]);
}
