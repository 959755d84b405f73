//! A status that the agent tells: the same as a look of one's own, and never an old one.

use std::process::Command;

use serde_json::Value;

use crate::rig::drive::Wgrelay;
use crate::rig::node::{Output, PLACE};
use crate::rig::topology::{Families, Topology};

/// Runs `status --json` where secrets.toml cannot be read by this process: who looks himself says so. Only the agent still
/// has the keys in mind.
fn without_secrets(relay: &Wgrelay<'_>, program: &str) -> Value {
    let secrets = format!("{}/wg0/secrets.toml", relay.dir);
    let line =
        format!("mount --bind /dev/null {secrets} && exec {program} --dir {} status --json", relay.dir);
    let words = ["--mount", "--propagation", "private", "sh", "-c", &line];
    read(&relay.node.command(Command::new("unshare").args(words)))
}

fn read(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output}"))
}

/// What does not change from second to second.
fn timeless(mut status: Value) -> Value {
    // Nobody but the agent knows.
    status["repairs_in_a_minute"] = Value::Null;
    status["repaired_after"] = Value::Null;
    for peer in status["peers"].as_array_mut().expect("status has peers") {
        for field in ["handshake_age", "rx_bytes", "tx_bytes"] {
            peer[field] = Value::Null;
        }
    }
    status
}

#[test]
fn the_agent_tells_what_a_look_tells() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    if relay.backend != "embedded" {
        // The kernel's data plane has no agent unless somebody runs one.
        return;
    }
    let program = env!("CARGO_BIN_EXE_wgrelay");
    let is_unread = |status: &Value| status["problems"].to_string().contains("secrets-unread");
    assert!(!is_unread(&without_secrets(&relay, program)), "the agent's word");

    // Another file of the same program, which no agent tells anything.
    let copy = format!("{PLACE}/another");
    std::fs::copy(program, t.relay.outside(&copy)).expect("the program is copied");
    let own = t.relay.run(&[&copy, "--dir", &relay.dir, "status", "--json"]);
    assert_eq!(timeless(relay.status()), timeless(read(&own)));
    let text = |program: &str| t.relay.run(&[program, "--dir", &relay.dir, "status"]);
    let (told, own) = (text(program), text(&copy));
    assert_eq!((told.code, &told.stdout, &told.stderr), (own.code, &own.stdout, &own.stderr));
    assert!(is_unread(&without_secrets(&relay, &copy)), "another program looks itself");

    // Another network namespace sees the same files and socket, and has no such interface.
    let elsewhere = t.relay.run(&["unshare", "--net", program, "--dir", &relay.dir, "status", "--json"]);
    assert_eq!(read(&elsewhere)["state"], "down", "{elsewhere}");

    // More at a time than the agent looks for: all are told, by it or by themselves.
    let line = format!(
        "for _ in $(seq 12); do {program} --dir {} status --json > /dev/null & pids=\"$pids $!\"; done",
        relay.dir
    );
    let line = format!("{line}; for pid in $pids; do wait $pid; test $? -eq 4 || exit 9; done");
    t.relay.run(&["bash", "-c", &line]).ok();

    // The hints are the caller's.
    relay.edit(|text| text + "\n# newer\n");
    let pending = |status: &Value| {
        let problems = status["problems"].as_array().expect("status has problems");
        problems.iter().find(|p| p["code"] == "pending").cloned()
    };
    let told = pending(&relay.status()).expect("a newer file is told");
    assert!(
        told["hint"].as_str().is_some_and(|h| h.contains(&format!("--dir {} plan", relay.dir))),
        "{told}"
    );

    // A change and a key of this moment, right after one that the agent may still have in mind.
    relay.up().ok();
    for octet in [61, 62, 63] {
        relay.edit(|text| text.replace("192.168.33.0/24", &format!("192.168.{octet}.0/24")));
        relay.up().ok();
        let status = relay.status();
        assert_eq!(status["drift"], Value::Array(vec![]), "{status}");
        assert_eq!(pending(&status), None);
        let routed = status["peers"].to_string();
        assert!(routed.contains(&format!("192.168.{octet}.0/24")), "{routed}");
        relay.edit(|text| text.replace(&format!("192.168.{octet}.0/24"), "192.168.33.0/24"));
    }
    relay.up().ok();
    relay.ok(&["rotate", "windows"]);
    relay.up().ok();
    assert_eq!(relay.status()["drift"], Value::Array(vec![]));
}

#[test]
fn only_root_reaches_an_agent() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    if relay.backend != "embedded" {
        return;
    }
    let modes = |find: &str| t.relay.run(&["bash", "-c", find]).ok().stdout;
    let folders = modes("stat -L -c '%a %u' /run/wgrelay/wg0 /run/wireguard");
    assert_eq!(folders, "700 0\n700 0\n");
    let sockets = modes("find -L /run/wgrelay/wg0 /run/wireguard -type s -printf '%m %U %f\\n' | sort");
    let lines: Vec<&str> = sockets.lines().collect();
    assert!(lines.len() > 1 && lines.iter().all(|line| line.starts_with("600 0 ")), "{sockets}");
}
