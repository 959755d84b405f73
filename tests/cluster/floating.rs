//! A relay that two hosts carry, one at a time, for a client that knows nothing of it: drained, stopped, cut off and without power.
//! Counters on the wire judge that never two hosts answer.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::rig::drive::{Wgrelay, wg_quick_up};
use crate::rig::node::PLACE;
use crate::stage::{Stage, until};

const FLOATING: &str = "192.0.2.100";
/// The relay's address in the tunnel.
const INSIDE: &str = "10.88.0.1";

/// What each host sent in the floating address's name: on its port of the switch.
fn counters(stage: &Stage) -> [u64; 2] {
    let output = stage.switch.run(&["nft", "-j", "list", "counters"]).ok().stdout;
    let listed: serde_json::Value = serde_json::from_str(&output).expect("JSON");
    let count = |name: &str| {
        let all = listed["nftables"].as_array().expect("a list").iter().map(|o| &o["counter"]);
        all.filter(|c| c["name"] == name).filter_map(|c| c["packets"].as_u64()).sum()
    };
    [count("a"), count("b")]
}

fn judge(stage: &Stage) {
    let chain = |name: &str, port: &str| {
        format!(
            "counter {name} {{ }}\n chain {name} {{ type filter hook ingress device \"{port}\" priority 0\n ip saddr {FLOATING} counter name {name}\n arp \
             saddr ip {FLOATING} counter name {name}\n }}\n"
        )
    };
    let rules = format!("table netdev judge {{\n{}{}}}\n", chain("a", "eu"), chain("b", "us"));
    stage.switch.write(format!("{PLACE}/judge.nft"), &rules);
    stage.switch.run(&["nft", "-f", &format!("{PLACE}/judge.nft")]).ok();
}

fn holder(of: &Wgrelay<'_>) -> String {
    of.status()["floating"]["holder"].as_str().unwrap_or_default().to_owned()
}

/// Waits until the client is answered, and until then looks that the host that lost it (0 or 1) sends nothing once the other one has
/// begun. Returns how long it took.
#[track_caller]
fn back_by_the_other(stage: &Stage, lost: usize, what: &str) -> Duration {
    let began = Instant::now();
    let first = counters(stage);
    let mut at_the_change: Option<u64> = None;
    let mut answered = None;
    while answered.is_none() || began.elapsed() < answered.unwrap_or_default() + Duration::from_secs(2) {
        let now = counters(stage);
        if now[1 - lost] > first[1 - lost] {
            let then = *at_the_change.get_or_insert(now[lost]);
            assert_eq!(now[lost], then, "{what}: two hosts answer");
        }
        if answered.is_none() && pings(stage) {
            answered = Some(began.elapsed());
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: the client is not answered");
    }
    assert!(at_the_change.is_some(), "{what}: the other host has it");
    answered.unwrap_or_default()
}

fn pings(stage: &Stage) -> bool {
    stage.relays[2].run(&["ping", "-n", "-c", "1", "-W", "0.2", INSIDE]).code == Some(0)
}

fn signal_all(host: &Wgrelay<'_>, signal: &str) {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("kill -{signal} -1")]).stdin(Stdio::null());
    drop(host.node.spawn(&mut command).wait());
}

#[test]
fn one_of_two_hosts_carries_the_relay_and_a_stock_client_stays() {
    let Some(stage) = Stage::possible() else { return };
    let (a, b) = (stage.relay(0), stage.relay(1));
    a.ok(&["init", "--profile", "road-warrior", "--endpoint", FLOATING]);
    a.ok(&["rename", "relay", "eu"]);
    a.ok(&["set", "laptop", "routes", "split"]);
    a.ok(&["set", "laptop", "dns", "--unset"]);
    a.ok(&["set", "eu", "hosts", "eu-a", "eu-b"]);
    a.ok(&["set", "eu", "floating", &format!("{FLOATING}/24")]);
    // Without a store nobody says which of them it is.
    let refused = a.up();
    assert!(refused.code == Some(3) && refused.stderr.contains("floating-without-cluster"), "{refused}");
    let urls = stage.etcd_urls();
    a.ok(&["cluster", "create", "--etcd", &urls, "--host", "eu-a"]);
    let bundle = format!("{PLACE}/eu.bundle");
    b.node.write(&bundle, &a.ok(&["export", "eu", "--format", "bundle"]));
    b.ok(&["cluster", "join", "--bundle", &bundle, "--etcd", &urls, "--host", "eu-b"]);
    judge(&stage);
    a.up().ok();
    until("eu-a carries it", || holder(&a) == "eu-a");
    b.up().ok();
    until("eu-b stands by", || holder(&b) == "eu-a" && a.status()["floating"]["ready"][0] == "eu-b");
    // Nothing of it is where it is not carried.
    assert_ne!(b.node.run(&["ip", "link", "show", "wg0"]).code, Some(0));
    assert!(!b.node.run(&["ip", "addr"]).ok().stdout.contains(FLOATING));
    b.call(&["status"]).exits(0);

    let conf = a.ok(&["export", "laptop"]);
    assert!(conf.contains(&format!("Endpoint = {FLOATING}:51820")), "{conf}");
    wg_quick_up(&stage.relays[2], "wg0", &conf).ok();
    until("the client is answered", || pings(&stage));
    // What was learned of it is known to the others.
    until("its endpoint is in the store", || {
        stage.stored().contains_key("/wgrelay/wg0/floating/eu/endpoints")
    });

    a.ok(&["drain", "eu-a"]);
    println!("drained: back after {:?}", back_by_the_other(&stage, 0, "drain"));
    until("eu-b carries it", || holder(&a) == "eu-b" && holder(&b) == "eu-b");
    a.ok(&["undrain", "eu-a"]);
    until("eu-a stands by", || b.status()["floating"]["ready"][0] == "eu-a");
    std::thread::sleep(Duration::from_secs(3));

    // A host that is stopped for longer than the lease answers nothing when it wakes, and takes all of it away.
    signal_all(&b, "STOP");
    println!("stopped: back after {:?}", back_by_the_other(&stage, 1, "SIGSTOP"));
    let before = counters(&stage)[1];
    signal_all(&b, "CONT");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(counters(&stage)[1], before, "it wakes, and says nothing");
    until("it has nothing of it", || !b.node.run(&["ip", "addr"]).ok().stdout.contains(FLOATING));
    until("eu-b stands by", || a.status()["floating"]["ready"][0] == "eu-b");
    std::thread::sleep(Duration::from_secs(3));

    // Without power.
    a.node.ip("link set eth0 down");
    signal_all(&a, "KILL");
    println!("without power: back after {:?}", back_by_the_other(&stage, 0, "power"));
    b.ok(&["down"]);
    assert!(!b.node.run(&["ip", "addr"]).ok().stdout.contains(FLOATING));
    let left = b.node.run(&["nft", "list", "tables"]).ok().stdout;
    assert!(!left.contains("wgrelay"), "{left}");
}
