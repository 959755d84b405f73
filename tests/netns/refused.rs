//! An `up` that is refused adds nothing, and takes away all the same what the network takes away.

use std::time::Duration;

use crate::rig::drive::Wgrelay;
use crate::rig::node::Node;
use crate::rig::topology::{Families, Topology};

const TABLE: &str = "nft list table inet wgrelay-wg0";

fn show(node: &Node, line: &str) -> String {
    let shown = node.run(&["bash", "-c", line]);
    shown.stdout + &shown.stderr
}

fn key_of(relay: &Wgrelay<'_>, name: &str) -> String {
    let list = relay.ok(&["show", name, "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&list).expect("it is JSON");
    shown["public_key"].as_str().expect("a node has a key").to_owned()
}

#[test]
fn a_fault_of_the_host_forbids_what_is_added_and_not_what_goes() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    relay.ok(&["add", "guest", "--site", "10.55.0.0/24"]);
    relay.ok(&["add", "phone"]);
    relay.up().ok();
    let (guest, phone) = (key_of(&relay, "guest"), key_of(&relay, "phone"));
    let at_first = show(&t.relay, TABLE);

    // Another program gets an address inside the tunnel's subnet: nothing can be added from here on.
    t.relay.ip("link add vpn0 type bridge\nlink set vpn0 up\naddr add 192.168.3.200/32 dev vpn0");
    relay.ok(&["remove", "guest"]);
    relay.ok(&["add", "late", "--site", "10.66.0.0/24"]);
    let late = key_of(&relay, "late");
    relay.edit(|text| text + "\n[[allow]]\nfrom = [\"windows\"]\nto = [\"*\"]\nports = [\"tcp/4242\"]\n");
    let refused = relay.up().exits(1);
    assert!(refused.stderr.contains("overlap") && refused.stderr.contains("nothing was added"), "{refused}");
    assert!(refused.stderr.contains("restricted-only") && refused.stderr.contains(&guest), "{refused}");
    let as_restricted = || {
        let (device, table) = (show(&t.relay, "wg showconf wg0; ip route"), show(&t.relay, TABLE));
        assert!(
            !device.contains(&guest) && !device.contains("10.55.0.0"),
            "the guest is still there: {device}"
        );
        assert!(!device.contains(&late) && !device.contains("10.66.0.0"), "an addition was made: {device}");
        assert!(device.contains(&phone), "{device}");
        assert!(table.contains("4242") && table != at_first, "the policy is as it was: {table}");
    };
    as_restricted();
    // Nobody puts it back: not the agent, with news of the host or without, nor another `up`.
    t.relay.ip("link set vpn0 mtu 1400");
    std::thread::sleep(Duration::from_secs(2));
    as_restricted();
    relay.up().exits(1);
    as_restricted();
    let status = relay.status();
    assert_eq!(status["state"], "degraded", "{status}");
    assert!(status["problems"].to_string().contains("pending"), "{status}");

    t.relay.ip("link del vpn0");
    relay.up().ok();
    let device = show(&t.relay, "wg showconf wg0; ip route");
    assert!(
        device.contains(&late) && device.contains("10.66.0.0/24") && !device.contains(&guest),
        "{device}"
    );
}

/// A change on trial goes back whole, or is kept whole: refused, it changes nothing.
#[test]
fn a_trial_that_is_refused_takes_nothing_away() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    let before = show(&t.relay, "wg showconf wg0 | sort");
    t.relay.ip("link add vpn0 type bridge\nlink set vpn0 up\naddr add 192.168.3.200/32 dev vpn0");
    relay.ok(&["remove", "windows"]);
    let refused = relay.call(&["up", "--backend", &relay.backend, "--confirm", "30"]).exits(1);
    // What protects may be put right meanwhile, by whoever comes first.
    assert!(!refused.stderr.contains("peer "), "{refused}");
    assert_eq!(show(&t.relay, "wg showconf wg0 | sort"), before);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(show(&t.relay, "wg showconf wg0 | sort"), before);
}

/// A file that tells nothing, while no agent is there to repair: what the running network is protected by comes back all the same.
#[test]
fn a_file_that_cannot_be_read_puts_back_what_protects_the_network_that_is_up() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    let whole = show(&t.relay, TABLE);
    assert!(whole.contains("chain forward"), "{whole}");
    gone_for_good(&t.relay);
    for name in ["network.toml", "secrets.toml"] {
        let path = format!("{}/wg0/{name}", relay.dir);
        let text = t.relay.read(&path);
        t.relay.write(&path, &text.replacen('"', "", 1));
        t.relay.run(&["nft", "flush", "table", "inet", "wgrelay-wg0"]).ok();
        assert_ne!(show(&t.relay, TABLE), whole);
        let refused = relay.up().exits(3);
        assert!(
            refused.stderr.contains("nothing was added") && refused.stderr.contains("restricted-only"),
            "{name}: {refused}"
        );
        assert_eq!(show(&t.relay, TABLE), whole, "{name}: {refused}");
        // There is nothing left to put right, and nothing is said of it.
        let again = relay.up().exits(3);
        assert!(again.stderr.contains("nothing was changed"), "{name}: {again}");
        t.relay.write(&path, &text);
    }
    relay.up().ok();
}

/// Kills a network's agent and what would start it again.
pub fn gone_for_good(node: &Node) {
    let line = "p=$(cat /run/wgrelay/wg0/pid); s=$(ps -o ppid= -p $p | tr -d ' '); \
                grep -q wgrelay /proc/$s/comm && kill -9 $s; kill -9 $p; while [ -d /proc/$p ]; do sleep 0.02; done; true";
    node.run(&["bash", "-c", line]).ok();
}
