//! What passed is written down by whoever sees the counters.

use serde_json::Value;

use crate::confirm::until;
use crate::rig::drive::{Wgrelay, wg_quick_up};
use crate::rig::probe::ping;
use crate::rig::topology::{Families, Topology};

#[test]
fn what_passed_is_kept_and_told() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let told = |node: &str| -> Value {
        serde_json::from_str(&relay.ok(&["traffic", node, "--json"])).expect("it is JSON")
    };
    let nothing = relay.ok(&["traffic", "windows"]);
    assert!(nothing.contains("nothing is known yet") && told("windows")["minutes"] == serde_json::json!([]));
    // The agent of this `up` hosts the embedded device; with the kernel's, somebody runs one.
    relay.up().ok();
    let mut running = relay.command(&["run"]);
    let mut running = (relay.backend == "kernel").then(|| relay.node.spawn(&mut running));
    wg_quick_up(&t.windows, "wg0", &relay.ok(&["export", "windows"])).ok();
    assert!(ping(&t.windows, "172.19.0.5"));
    let sum = |told: &Value, key: &str, way: &str| -> u64 {
        let all = told[key].as_array().expect("a list");
        all.iter().map(|one| one[way].as_u64().expect("bytes")).sum()
    };
    // A handshake is less each way, and a ping more. The agent may have looked between them: then it looks again in a minute.
    until("the agent has seen the ping", || sum(&told("windows"), "minutes", "tx_bytes") > 150);
    let windows = told("windows");
    assert!(
        sum(&windows, "minutes", "rx_bytes") > 150 && sum(&windows, "hours", "tx_bytes") > 150,
        "{windows}"
    );
    let sessions = windows["sessions"].as_array().expect("a list");
    let from = sessions[0]["endpoint"].as_str().expect("an endpoint");
    assert!(sessions.len() == 1 && from.starts_with("192.168.39.50:"), "{windows}");
    assert_eq!(told("docker")["sessions"], serde_json::json!([]), "nobody saw it yet");
    let text = relay.ok(&["traffic", "windows"]);
    assert!(text.contains("last hour") && text.contains(from), "{text}");
    // The file is for root alone, and nobody's history is told once it is off.
    let mode = t.relay.run(&["stat", "-c", "%a %U", &format!("{}/wg0/traffic.db", relay.dir)]).ok().stdout;
    assert_eq!(mode.trim(), "600 root");
    relay.ok(&["set", "windows", "history", "false"]);
    assert!(told("windows")["kept"] == false && told("windows")["sessions"] == serde_json::json!([]));
    assert!(relay.ok(&["traffic", "windows"]).contains("history = false"));
    relay.call(&["traffic", "nobody"]).exits(2);
    if let Some(running) = &mut running {
        let _ = running.kill();
        let _ = running.wait();
    }
}
