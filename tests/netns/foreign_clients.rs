//! The network that must work first, with clients that are not ours: `wg-quick` and wireguard-go (in the guest, the
//! kernel's WireGuard), from the exported files unchanged.

use crate::rig::drive::{Wgrelay, wg_quick_up};
use crate::rig::node::Node;
use crate::rig::probe::{no_ping, ping, tcp, udp, udp_as};
use crate::rig::snapshot::Snapshot;
use crate::rig::topology::{BRIDGE, Families, Topology};

/// Fails unless everything reaches everything that it should, and each end sees the address it should.
#[track_caller]
pub fn assert_reaches(t: &Topology, families: Families) {
    // From, to, the address called, the caller's address that the called one sees.
    let mut flows: Vec<(&Node, &Node, &str, &str)> = vec![
        (&t.windows, &t.docker, "192.168.3.3", "192.168.3.2"),
        (&t.docker, &t.windows, "192.168.3.2", "192.168.3.3"),
        (&t.windows, &t.container, "172.19.0.5", "172.19.0.1"),
        (&t.windows, &t.docker, "172.19.0.9", "172.19.0.1"),
        (&t.windows, &t.vm, "192.168.33.71", "192.168.33.1"),
        (&t.relay, &t.windows, "192.168.3.2", "192.168.3.1"),
        (&t.container, &t.windows, "192.168.3.2", "172.19.0.5"),
    ];
    if families == Families::Both {
        flows.extend([
            (&t.windows, &t.docker, "fd5e:1::3", "fd5e:1::2"),
            (&t.docker, &t.windows, "fd5e:1::2", "fd5e:1::3"),
            (&t.windows, &t.container, "fd00:19::5", "fd00:19::1"),
            (&t.windows, &t.docker, "fd00:19::9", "fd00:19::1"),
            (&t.windows, &t.vm, "fd00:33::71", "fd00:33::1"),
        ]);
    }
    let mut wrong = Vec::new();
    for (from, to, address, seen) in flows {
        let call = format!("{} to {address} ({})", from.name, to.name);
        if !ping(from, address) {
            wrong.push(format!("{call}: no answer to pings"));
            continue;
        }
        match tcp(from, to, address) {
            Ok(source) if source.to_string() == seen => {}
            Ok(source) => wrong.push(format!("{call}: seen as {source}, not {seen}")),
            Err(e) => wrong.push(format!("{call}: TCP: {e}")),
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), circumstances(t));
}

/// Returns what one wants to know when packets do not arrive.
fn circumstances(t: &Topology) -> String {
    let told = |node: &Node| {
        let script =
            "wg show all; ip -br addr; ip route show table all | grep -v 'table local'; nft list ruleset;
            grep -H . /proc/sys/net/ipv4/conf/*/forwarding";
        format!("== {}\n{}\n", node.name, node.run(&["bash", "-c", script]).stdout)
    };
    [&t.relay, &t.windows, &t.docker].map(told).concat()
}

/// Brings the two clients up by `wg-quick` with what the relay exports.
#[track_caller]
pub fn clients_up(t: &Topology, relay: &Wgrelay<'_>) {
    for (name, node) in [("windows", &t.windows), ("docker", &t.docker)] {
        wg_quick_up(node, "wg0", &relay.ok(&["export", name])).ok();
    }
}

#[test]
fn windows_and_docker_reach_all_that_they_should() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    // The clients first, as it is after the relay's restart: their first packets find nobody.
    clients_up(&t, &relay);
    relay.up().ok();
    assert_reaches(&t, Families::V4);

    // What is no flow from the tunnel into a site keeps its address: the relay's own, and its other networks'.
    let seen = udp_as("192.168.39.45", &t.relay, &t.container, "172.19.0.5", 100).expect("the relay's own");
    assert_eq!(seen.to_string(), "192.168.39.45", "the relay's own traffic is not masqueraded");
    let seen = udp(&t.windows, &t.docker, "192.168.3.3", 4000).expect("fragments pass");
    assert_eq!(seen.to_string(), "192.168.3.2");
    // What is none of the network's places is not forwarded, though the relay has a link there.
    t.windows.ip("route add 172.17.0.2 via 192.168.3.1 dev wg0");
    assert!(no_ping(&t.windows, "172.17.0.2"));
    // Nor does the relay become a router for whoever asks it from outside.
    t.internet.ip("route add 172.19.0.0/16 via 192.168.39.45");
    assert!(no_ping(&t.internet, "172.19.0.5"));

    // The relay tells of it, in its own words and in wg(8)'s.
    let status = relay.status();
    assert_eq!(status["state"], "up", "{status}");
    assert_eq!(relay.call(&["status"]).code, Some(0));
    for peer in status["peers"].as_array().expect("peers is a list") {
        assert_eq!(peer["health"], "online", "{status}");
        assert!(peer["rx_bytes"].as_u64() > Some(1000) && peer["tx_bytes"].as_u64() > Some(1000), "{status}");
    }
    let dump = t.relay.run(&["wg", "show", "wg0", "dump"]).ok().stdout;
    assert_eq!(dump.lines().count(), 3, "{dump}");

    // Once more, and nothing changes.
    let before = Snapshot::of(&t.relay);
    relay.up().ok();
    before.assert_same(&Snapshot::of(&t.relay), "after a second up");
    relay.call(&["plan", "--check"]).ok();
}

#[test]
fn exported_files_alone_make_the_network() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    t.relay.run(&["mkdir", "/run/wireguard"]).ok(); // wireguard-go makes it, and leaves it
    let before = Snapshot::of(&t.relay);
    wg_quick_up(&t.relay, "wg0", &relay.ok(&["export", "wsl"])).ok();
    clients_up(&t, &relay);
    assert_reaches(&t, Families::V4);
    crate::rig::drive::wg_quick_down(&t.relay, "wg0").ok();
    t.relay.run(&["rm", "/etc/wireguard/wg0.conf"]).ok();
    t.relay.set_sysctl("ipv4/conf/all/send_redirects", "1");
    // A PostDown cannot know who else wants the bridge to forward.
    t.relay.set_sysctl(&format!("ipv4/conf/{BRIDGE}/forwarding"), "0");
    before.assert_same(&Snapshot::of(&t.relay), "after wg-quick down");
}

#[test]
fn both_families_pass() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let relay = Wgrelay::relay_of(&t, Families::Both);
    let before = Snapshot::of(&t.relay);
    relay.up().ok();
    clients_up(&t, &relay);
    assert_reaches(&t, Families::Both);
    relay.ok(&["down"]);
    before.assert_same(&Snapshot::of(&t.relay), "after down");
}
