//! IPv6 beside Docker: ip6tables' chains drop as iptables' do, in raw PREROUTING too.

use crate::beside::{PATIENCE, PORT, Place, all_rules, can_run, page};
use crate::engine::Engine;
use crate::rig::drive::{Wgrelay, wg_quick_up};
use crate::rig::probe::{no_ping, ping};

const CONTAINER: &str = "fd00:19::5";

fn beside(variant: &'static str) {
    if !can_run() {
        return;
    }
    let place = Place::new();
    place.lan.ip("address add 2001:db8:39::1/64 dev br0 nodad");
    place.relay.ip("address add 2001:db8:39::45/64 dev eth0 nodad");
    place.lan.ip("route add fd00:19::/64 via 2001:db8:39::45");
    let engine = Engine::start(&place.relay, "28", variant);
    engine.ok(&[
        "network",
        "create",
        "--ipv6",
        "--subnet",
        "172.19.0.0/16",
        "--subnet",
        "fd00:19::/64",
        "six",
    ]);
    engine.serve("site", &["--network", "six", "--ip", "172.19.0.5", "--ip6", CONTAINER]);
    let relay = Wgrelay::on(&place.relay);
    relay.ok(&["init", "--endpoint", "192.168.39.45:51820", "--subnet6", "fd5e:1::/64"]);
    relay.ok(&["add", "phone"]);
    let site = "[[node.wsl.site]]\nsubnet = \"fd00:19::/64\"\ninterface = \"docker:six\"\n\n[node.windows]";
    relay.edit(|text| {
        text.replace("docker:webvirtcloud_default", "docker:six").replace("[node.windows]", site)
    });
    let before = all_rules(&place.relay);
    relay.up().ok();
    let conf = relay.ok(&["export", "windows"]);
    let windows = conf.split([' ', ',', '/', '\n']).find(|w| w.starts_with("fd5e:1::")).expect("an address");
    wg_quick_up(&place.windows, "wg0", &conf).ok();
    wg_quick_up(&place.phone, "wg0", &relay.ok(&["export", "phone"])).ok();

    assert!(ping(&place.windows, CONTAINER), "a client pings a container");
    assert!(page(&place.windows, CONTAINER, PORT, PATIENCE), "a client reads a container's page");
    assert!(
        engine.exec("site", &["ping", "-6", "-c", "1", "-W", "5", windows]),
        "a container pings a client"
    );
    assert!(ping(&place.phone, windows), "a client pings another client");
    assert!(ping(&place.lan, "2001:db8:39::45"), "a LAN host pings the relay");
    assert!(no_ping(&place.lan, CONTAINER), "a LAN host does not ping a container");
    let rules =
        place.relay.run(&["ip6tables-save"]).stdout + &place.relay.run(&["ip6tables-legacy-save"]).stdout;
    for chain in ["DOCKER-USER", "PREROUTING"] {
        let ours =
            |l: &str| l.starts_with(&format!("-A {chain} -d fd00:19::/64")) && l.contains("wgrelay:wg0");
        assert!(rules.lines().any(ours), "an accept in {chain}:\n{rules}");
    }
    assert_eq!(relay.call(&["plan", "--check"]).code, Some(0), "up again would change nothing");
    relay.ok(&["down"]);
    assert_eq!(before, all_rules(&place.relay), "after down");
}

#[test]
fn engine_28_5() {
    beside("nft");
}

#[test]
fn engine_28_5_on_iptables_legacy() {
    beside("legacy");
}
