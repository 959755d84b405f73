//! Members of etcd that die, majorities that go and come back, a relay that is cut off: the network goes on from the copy, agents
//! follow once the store is there again.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::drive::Wgrelay;
use crate::rig::probe::{no_ping, ping};
use crate::stage::{PATIENCE, Stage, nodes};

fn brought_up<'a>(stage: &'a Stage) -> [Wgrelay<'a>; 3] {
    let all = stage.founded();
    for relay in &all {
        relay.up().ok();
    }
    all
}

/// Says since when a relay's store is not reached, as its `status` has it.
fn unreached_since(relay: &Wgrelay<'_>) -> Option<u64> {
    relay.status()["store"]["unreachable_since"].as_u64()
}

/// Whether a relay sends to a node, by whichever peer that is.
fn applied(relay: &Wgrelay<'_>, name: &str) -> bool {
    let shown = relay.call(&["show", name, "--json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap_or_default();
    let Some(address) = shown["address"].as_str().map(str::to_owned) else { return false };
    let status = relay.status();
    let allowed =
        status["peers"].as_array().into_iter().flatten().flat_map(|peer| peer["allowed_ips"].as_array());
    allowed.flatten().any(|net| *net == format!("{address}/32"))
}

#[test]
fn agents_follow_through_dead_members_and_without_a_majority_all_goes_on_as_it_was() {
    let Some(mut stage) = Stage::possible() else { return };
    drop(brought_up(&stage));
    let eu_to_us = |stage: &Stage| ping(&stage.relays[0], "10.88.0.4") && ping(&stage.relays[1], "10.88.0.1");
    assert!(eu_to_us(&stage), "the tunnel carries");

    // An edit anywhere is applied everywhere, by agents.
    stage.relay(1).ok(&["add", "first"]);
    let took = [0, 1, 2].map(|n| seen(&stage, "it is applied", || applied(&stage.relay(n), "first")));
    println!("an edit was applied on all relays after {took:?}");

    // Whoever leads dies: edits go on.
    let leader = stage.leader();
    stage.kill(leader);
    seen(&stage, "an edit goes through", || {
        let output = stage.relay(2).call(&["add", "second"]);
        output.code == Some(0) || output.stderr.contains("already")
    });
    seen(&stage, "it is applied", || {
        applied(&stage.relay(0), "second") && applied(&stage.relay(1), "second")
    });

    // No majority: no change, and packets as before; told by status, and since when.
    let other = (leader + 1) % 3;
    stage.kill(other);
    let refused = stage.relay(0).call(&["add", "third"]).exits(1);
    assert!(
        refused.stderr.contains("etcd is not reached") || refused.stderr.contains("did not answer"),
        "{refused}"
    );
    for n in 0..3 {
        seen(&stage, "it is told", || unreached_since(&stage.relay(n)).is_some());
    }
    let since = unreached_since(&stage.relay(0));
    let status = stage.relay(0).call(&["status"]);
    let first = status.stdout.lines().next().unwrap_or_default();
    assert!(first.contains("the store is not reached since"), "{status}");
    stage.relay(0).call(&["cluster", "status"]).exits(4);
    assert!(!nodes(&stage.relay(0)).contains(&"third".into()));
    assert!(eu_to_us(&stage), "the tunnel carries");
    // As after a restart of the host: the agent is started anew, and brings up the last good copy.
    let us = stage.relay(1);
    us.ok(&["down"]);
    assert!(no_ping(&stage.relays[0], "10.88.0.4"));
    us.up().ok();
    assert!(eu_to_us(&stage), "it came up from the copy");
    assert!(applied(&us, "second"));
    assert_eq!(unreached_since(&stage.relay(0)), since, "it is the same time still");

    // Back: nothing has to be done by anybody.
    stage.start(other, "existing");
    stage.answers();
    for n in 0..3 {
        seen(&stage, "it is told no more", || unreached_since(&stage.relay(n)).is_none());
    }
    stage.relay(1).ok(&["add", "fourth"]);
    seen(&stage, "it is applied", || [0, 2].iter().all(|n| applied(&stage.relay(*n), "fourth")));

    // A relay that is cut off while the store is compacted lists anew.
    stage.relays[2].ip("link set eth0 down");
    for n in 0..3 {
        stage.relay(0).ok(&["add", &format!("away{n}")]);
    }
    let revision = stage.with_client(|client| client.range("/wgrelay/", None).expect("it answers").revision);
    stage.etcdctl(&["compact", &revision.to_string()]).ok();
    stage.relays[2].ip("link set eth0 up");
    seen(&stage, "it caught up", || applied(&stage.relay(2), "away2"));

    // Who is removed elsewhere is gone from the interface here.
    stage.relay(2).ok(&["remove", "first"]);
    seen(&stage, "it is gone", || !peers(&stage.relay(0)).contains(&"first".into()));

    // A wiped store takes nobody away.
    let before = peers(&stage.relay(0));
    stage.wipe();
    for n in 0..3 {
        seen(&stage, "it is told", || {
            let status = stage.relay(n).status();
            status["problems"].as_array().is_some_and(|all| all.iter().any(|p| p["code"] == "store-wiped"))
        });
    }
    assert_eq!(peers(&stage.relay(0)), before);
    assert!(eu_to_us(&stage), "the tunnel carries");
    let urls = stage.etcd_urls();
    stage.relay(2).ok(&["cluster", "create", "--etcd", &urls]);
    stage.relay(1).ok(&["add", "last"]);
    seen(&stage, "it is applied", || [0, 2].iter().all(|n| applied(&stage.relay(*n), "last")));
}

/// Waits for something; where it does not come, with what each relay says.
#[track_caller]
fn seen(stage: &Stage, what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > PATIENCE {
            let said = [0, 1, 2].map(|n| {
                let relay = stage.relay(n);
                let log = relay.node.run(&["cat", "/run/wgrelay/wg0/agent.log"]).stdout;
                format!("{}\n{}\n{log}", relay.call(&["cluster", "status"]), relay.call(&["status"]))
            });
            panic!("not within {PATIENCE:?}: {what}\n{}", said.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    began.elapsed()
}

fn peers(relay: &Wgrelay<'_>) -> Vec<Value> {
    let status = relay.status();
    status["peers"]
        .as_array()
        .map(|all| all.iter().map(|peer| peer["name"].clone()).collect())
        .unwrap_or_default()
}
