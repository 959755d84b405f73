//! A host that forwards only because of its network is no router for others: outsiders on its uplink's link, networks of
//! its own that are no site, and its sites among themselves, where policy says no.

use crate::foreign_clients::clients_up;
use crate::rig::drive::{Wgrelay, wg_quick_down, wg_quick_up};
use crate::rig::node::Node;
use crate::rig::probe::{no_ping, ping, udp};
use crate::rig::topology::{Families, Topology};

pub const CONTAINER: &str = "172.19.0.5";
pub const CONTAINER6: &str = "fd00:19::5";
/// What is on docker0, which is no site.
pub const BESIDE: &str = "172.17.0.2";
pub const BESIDE6: &str = "fd00:17::2";

/// The relay with egress, in both families; an outsider on its uplink knows the way to all that is behind it.
pub fn relay(t: &Topology) -> Wgrelay<'_> {
    let relay = Wgrelay::relay_of(t, Families::Both);
    relay.edit(|text| {
        text.replace("role = \"relay\"", "role = \"relay\"\negress = true")
            .replace("platform = \"windows\"", "platform = \"windows\"\nroutes = \"full\"")
    });
    t.internet.ip("route add 172.19.0.0/16 via 192.168.39.45\nroute add 172.17.0.0/16 via 192.168.39.45\n\
         route add fd00:19::/64 via fd00:39::45\nroute add fd00:17::/64 via fd00:39::45\n\
         addr add 203.0.113.1/32 dev lo\naddr add 2001:db8:1::1/128 dev lo");
    relay
}

#[track_caller]
fn none_passes(flows: &[(&Node, &str)], why: &str) {
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            flows.iter().map(|(from, to)| scope.spawn(move || (from, to, no_ping(from, to)))).collect();
        for one in asked {
            let (from, to, silent) = one.join().expect("a ping ends");
            assert!(silent, "{} reaches {to}: {why}", from.name);
        }
    });
}

#[test]
fn forwarding_that_we_switched_on_serves_the_network_alone() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let relay = relay(&t);
    relay.up().ok();
    clients_up(&t, &relay);
    let serves = || {
        // The network's own flows, and a full tunnel's way out.
        for to in [CONTAINER, CONTAINER6, "203.0.113.1"] {
            assert!(ping(&t.windows, to), "windows reaches {to}");
        }
    };
    serves();
    let outsiders =
        [CONTAINER, CONTAINER6, BESIDE, BESIDE6].map(|to| (&t.internet, to)).into_iter().collect::<Vec<_>>();
    none_passes(&outsiders, "nothing was forwarded there before");
    // Nor do the relay's other networks go out by it, or into the site.
    none_passes(
        &[(&t.container, "203.0.113.1"), (&t.container, "2001:db8:1::1"), (&t.container, BESIDE6)],
        "that is no flow of the network",
    );
    // Again, and nothing changes: the switches are on now, and still ours.
    relay.call(&["plan", "--check"]).ok();
    none_passes(&outsiders, "after a second look");
    relay.up().ok();
    relay.ok(&["down"]);
}

#[test]
fn one_site_to_another_is_a_matter_of_policy() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let site = "[[node.wsl.site]]\nsubnet = \"172.17.0.0/16\"\ninterface = \"docker0\"\nnat = \"none\"\n[node.windows]";
    relay.edit(|text| {
        let text = text.replacen("[node.windows]", site, 1);
        text.replacen("nat = \"masquerade\"", "gateway = true\nnat = \"masquerade\"", 1)
    });
    // The compute node is on both of the relay's bridges; its answer has to go the way that the question came.
    t.docker.ip("route replace 172.19.0.5/32 via 172.17.0.1");
    relay.up().ok();
    assert!(ping(&t.container, BESIDE), "without [[allow]] everybody reaches everybody");
    relay.edit(|text| text + "[[allow]]\nfrom = [\"windows\"]\nto = [\"172.17.0.0/16\"]\n");
    relay.up().ok();
    none_passes(&[(&t.container, BESIDE)], "no rule allows it");
    relay.edit(|text| {
        text + "[[allow]]\nfrom = [\"172.19.0.0/16\"]\nto = [\"172.17.0.0/16\"]\nports = [\"udp\"]\n"
    });
    relay.up().ok();
    assert!(udp(&t.container, &t.docker, BESIDE, 100).is_ok(), "one does");
    none_passes(&[(&t.container, BESIDE)], "that one is for UDP");
    let said = relay.call(&["trace", CONTAINER, BESIDE, "--port", "tcp/22", "--live"]).exits(4);
    assert!(said.stdout.contains("policy-denied"), "{said}");
}

#[test]
fn what_was_forwarded_before_is_as_it_was() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let relay = relay(&t);
    t.relay.set_sysctl("ipv4/ip_forward", "1");
    t.relay.set_sysctl("ipv6/conf/all/forwarding", "1");
    let flows = [(&t.internet, CONTAINER), (&t.internet, CONTAINER6), (&t.container, "203.0.113.1")];
    let all_pass = |when: &str| {
        for (from, to) in flows {
            assert!(ping(from, to), "{} reaches {to} {when}", from.name);
        }
    };
    all_pass("before");
    relay.up().ok();
    all_pass("while the network is up");
    relay.ok(&["down"]);
    all_pass("afterwards");
}

#[test]
fn exported_files_keep_others_out_as_well() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let relay = relay(&t);
    let conf = relay.ok(&["export", "wsl"]);
    wg_quick_up(&t.relay, "wg0", &conf).ok();
    clients_up(&t, &relay);
    for to in [CONTAINER, CONTAINER6, "203.0.113.1"] {
        assert!(ping(&t.windows, to), "windows reaches {to}");
    }
    let outsiders = [CONTAINER, CONTAINER6, BESIDE, BESIDE6].map(|to| (&t.internet, to));
    none_passes(&outsiders, "nothing was forwarded there before");
    none_passes(&[(&t.container, "203.0.113.1")], "that is no flow of the network");
    wg_quick_down(&t.relay, "wg0").ok();
    for link in ["eth0", "br-6a7541fe74a1"] {
        let value =
            t.relay.inside(|| std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{link}/forwarding")));
        assert_eq!(value.expect("it is there").trim(), "0", "{link} after wg-quick down");
    }
}
