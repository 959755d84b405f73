//! What a host's own services are to its network: those behind the owner's DNAT are reached, those on the loopback are not;
//! and what a full tunnel's way out leads to.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::foreign_clients::clients_up;
use crate::rig::drive::Wgrelay;
use crate::rig::node::Node;
use crate::rig::probe::{no_ping, ping};
use crate::rig::topology::{Families, Topology};

/// Connects to an address that is another's here, and returns whom the one who answers sees; `None`: nobody does.
pub fn called(from: &Node, to: &Node, address: &str, port: u16, at: u16) -> Option<IpAddr> {
    let any = if address.contains(':') { "::" } else { "0.0.0.0" };
    let listener = to.inside(|| TcpListener::bind((any, at))).expect("the port is free");
    listener.set_nonblocking(true).expect("it is a socket");
    let target = SocketAddr::new(address.parse().expect("it is an address"), port);
    (0..3).find_map(|_| {
        let _call = from.inside(|| TcpStream::connect_timeout(&target, Duration::from_secs(1))).ok()?;
        listener.accept().ok().map(|(_, caller)| caller.ip())
    })
}

/// A relay with egress, and a laptop that sends everything to it.
fn relay(t: &Topology) -> Wgrelay<'_> {
    let relay = Wgrelay::relay_of(t, Families::V4);
    relay.edit(|text| {
        text.replace("role = \"relay\"", "role = \"relay\"\negress = true")
            .replace("platform = \"windows\"", "platform = \"windows\"\nroutes = \"full\"")
    });
    t.internet.ip("addr add 203.0.113.1/32 dev lo");
    relay
}

#[test]
fn what_the_owner_sends_on_by_dnat_is_a_service_of_the_host() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = relay(&t);
    t.relay
        .run(&[
            "nft",
            "add table ip owner; add chain ip owner pre { type nat hook prerouting priority -100; }; \
         add rule ip owner pre ip daddr 192.168.39.45 tcp dport 1-65535 dnat to 192.168.3.2; \
         add rule ip owner pre ip daddr 192.168.3.1 tcp dport 1-65535 dnat to 172.17.0.2; \
         add rule ip owner pre ip daddr 10.96.0.1 tcp dport 1-65535 dnat to 172.17.0.2",
        ])
        .ok();
    // From an address that the laptop has no other way to than the tunnel.
    t.internet.ip("route add 192.168.39.45/32 dev br0 src 203.0.113.1");
    // As on a host with Docker: answers find their way.
    t.relay.set_sysctl("ipv4/conf/docker0/forwarding", "1");
    let trial = || {
        clients_up(&t, &relay);
        assert!(ping(&t.windows, "192.168.3.1"), "the tunnel carries");
        let seen = called(&t.internet, &t.windows, "192.168.39.45", 8080, 8080);
        assert_eq!(seen, "203.0.113.1".parse().ok(), "from outside to the laptop");
        if t.relay.run(&["nft", "list", "table", "inet", "wgrelay-wg0"]).code == Some(0) {
            // By whichever end it is asked.
            for to in ["wsl", "windows"] {
                let traced = relay.ok(&["trace", "internet", to, "--port", "tcp/8080", "--live"]);
                assert!(traced.contains("dnat") && traced.contains("dnat to 192.168.3.2"), "{traced}");
                let udp = relay.call(&["trace", "internet", to, "--port", "udp/8080", "--live"]);
                assert!(!udp.stdout.contains("dnat"), "{udp}");
            }
        }
        t.docker.ip("route replace 192.168.3.2/32 via 172.17.0.1");
        let seen = called(&t.windows, &t.docker, "192.168.3.1", 8080, 8080);
        assert_eq!(seen, "192.168.3.2".parse().ok(), "from the tunnel to what is behind the relay");
        // What was not sent to this host is none of its services, whatever somebody's rule makes of it.
        let elsewhere = called(&t.windows, &t.docker, "10.96.0.1", 8080, 8080);
        assert_eq!(elsewhere, None, "a destination that is not the relay's own");
    };
    relay.up().ok();
    trial();
    relay.ok(&["down"]);
    crate::rig::drive::wg_quick_down(&t.windows, "wg0").ok();
    crate::rig::drive::wg_quick_down(&t.docker, "wg0").ok();
    crate::rig::drive::wg_quick_up(&t.relay, "wg0", &relay.ok(&["export", "wsl"])).ok();
    trial();
}

#[test]
fn the_loopback_is_the_hosts_own() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = relay(&t);
    relay.up().ok();
    clients_up(&t, &relay);
    for link in ["all", "wg0"] {
        t.relay.set_sysctl(&format!("ipv4/conf/{link}/route_localnet"), "1");
    }
    // The laptop sends 127.0.0.2 into the tunnel, and takes the answer.
    t.windows.set_sysctl("ipv4/conf/all/route_localnet", "1");
    t.windows.set_sysctl("ipv4/conf/wg0/route_localnet", "1");
    t.windows.ip("route add table local 127.0.0.2/32 dev wg0\nrule add to 127.0.0.2 lookup local pref 0");
    t.windows.run(&[
        "bash",
        "-c",
        "ip rule del to 127.0.0.2 || :; ip route del table local 127.0.0.0/8 || :",
    ]);
    assert!(ping(&t.windows, "192.168.3.1"), "the relay answers by its own address");
    assert!(no_ping(&t.windows, "127.0.0.2"), "and not by its loopback");
    t.relay.run(&["nft", "flush chain inet wgrelay-wg0 input"]).ok();
    let without = ping(&t.windows, "127.0.0.2");
    assert!(without, "without the rule it is reached: this test can fail");
}

#[test]
fn an_egress_leads_to_the_internet_and_not_to_the_relays_own_networks() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = relay(&t);
    // A public address beside the relay is reached by a link, not by the way to the Internet.
    t.internet.ip("addr add 198.51.100.1/24 dev br0");
    t.relay.ip("addr add 198.51.100.45/24 dev eth0");
    let near = ["172.17.0.2", "198.51.100.1"];
    // As on a host with Docker: answers would find their way.
    t.relay.set_sysctl("ipv4/conf/docker0/forwarding", "1");
    let trial = |how: &str| {
        clients_up(&t, &relay);
        assert!(ping(&t.windows, "203.0.113.1"), "{how}: the Internet");
        for to in near {
            assert!(no_ping(&t.windows, to), "{how}: {to} is not the Internet");
        }
        crate::rig::drive::wg_quick_down(&t.windows, "wg0").ok();
        crate::rig::drive::wg_quick_down(&t.docker, "wg0").ok();
    };
    relay.up().ok();
    trial("up");
    let said = relay.call(&["trace", "windows", "192.168.39.1"]).exits(4);
    assert!(said.stdout.contains("egress = \"all\""), "{said}");
    relay.edit(|text| text.replace("egress = true", "egress = \"all\""));
    relay.up().ok();
    clients_up(&t, &relay);
    for to in ["203.0.113.1", "172.17.0.2", "198.51.100.1"] {
        assert!(ping(&t.windows, to), "with egress = \"all\": {to}");
    }
    crate::rig::drive::wg_quick_down(&t.windows, "wg0").ok();
    crate::rig::drive::wg_quick_down(&t.docker, "wg0").ok();
    relay.edit(|text| text.replace("egress = \"all\"", "egress = true"));
    relay.ok(&["down"]);
    crate::rig::drive::wg_quick_up(&t.relay, "wg0", &relay.ok(&["export", "wsl"])).ok();
    trial("exported");
}
