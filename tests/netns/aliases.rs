//! Two offices with the same subnet, and hosts with the same address: each is known by its alias; by `up` and by the exported
//! files, with nft and with iptables.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use crate::rig::drive::{Wgrelay, wg_quick_down, wg_quick_up};
use crate::rig::need::{NAMESPACES, met};
use crate::rig::net::{End, bridge, cable, up};
use crate::rig::node::Node;
use crate::rig::probe::{no_ping, no_tcp_known_as, ping, tcp, tcp_known_as, udp_known_as};
use crate::rig::snapshot::Snapshot;
use crate::services::called;

const NETWORK: &str = r#"[network]
name = "wg0"
subnet = "10.46.0.0/24"
[node.hub]
role = "relay"
address = "10.46.0.1"
endpoint = "203.0.113.10:51820"
[node.a]
address = "10.46.0.2"
[[node.a.site]]
subnet = "192.168.1.0/24"
alias = "10.99.1.0/24"
interface = "eth1"
gateway = true
[node.b]
address = "10.46.0.3"
[[node.b.site]]
subnet = "192.168.1.0/24"
alias = "10.99.2.0/24"
interface = "eth1"
gateway = true
"#;
/// What a host of either office has.
const OWN: &str = "192.168.1.5";
const HOST_A: &str = "10.99.1.5";
const HOST_B: &str = "10.99.2.5";

struct Office {
    gateway: Node,
    host: Node,
}

struct Trial {
    /// The Internet between them, which has to be there.
    _inet: Node,
    hub: Node,
    a: Office,
    b: Office,
}

impl Trial {
    fn possible() -> Option<Self> {
        if !met(&NAMESPACES) {
            return None;
        }
        let [inet, hub] = ["inet", "hub"].map(Node::new);
        inet.set_sysctl("ipv4/ip_forward", "1");
        let uplink = |node: &Node, net: &str, host: &str| {
            let port = format!("to-{host}");
            cable(End { node, link: "eth0" }, End { node: &inet, link: &port });
            inet.ip(&up(&port, &[&format!("{net}.1/24")]));
            node.ip(
                &(up("eth0", &[&format!("{net}.{host}/24")]) + &format!("route add default via {net}.1\n"))
            );
        };
        uplink(&hub, "203.0.113", "10");
        let office = |name: &str, net: &str, host: &str| {
            let [gateway, host_node] = [name.to_owned(), format!("host-{name}")].map(|n| Node::new(&n));
            for key in ["all", "default"] {
                gateway.set_sysctl(&format!("ipv6/conf/{key}/accept_dad"), "0");
            }
            uplink(&gateway, net, host);
            cable(End { node: &gateway, link: "eth1" }, End { node: &host_node, link: "eth0" });
            gateway.ip(&up("eth1", &["192.168.1.1/24"]));
            host_node.ip(&(up("eth0", &[&format!("{OWN}/24")]) + "route add default via 192.168.1.1\n"));
            Office { gateway, host: host_node }
        };
        let (a, b) = (office("a", "198.51.100", "20"), office("b", "198.18.0", "30"));
        Some(Self { _inet: inet, hub, a, b })
    }

    /// Both hosts reach each other, and each sees the other as the others know it.
    #[track_caller]
    fn offices_meet(&self) {
        let (a, b) = (&self.a.host, &self.b.host);
        for (from, to, called, seen) in [(a, b, HOST_B, HOST_A), (b, a, HOST_A, HOST_B)] {
            assert!(ping(from, called), "{called}");
            assert_eq!(tcp_known_as(from, to, called, OWN).expect("TCP").to_string(), seen);
            assert_eq!(udp_known_as(from, to, called, OWN, 900).expect("UDP").to_string(), seen);
        }
        // The relay, and what it looks like to the host.
        assert_eq!(tcp_known_as(&self.hub, a, HOST_A, OWN).expect("TCP").to_string(), "10.46.0.1");
        assert_eq!(tcp(a, &self.hub, "10.46.0.1").expect("TCP").to_string(), HOST_A);
        // The gateways' own addresses there are in the alias too, and at home a host has the address that it has.
        assert!(ping(b, "10.99.1.1"));
        assert_eq!(tcp(&self.a.gateway, a, OWN).expect("TCP").to_string(), "192.168.1.1");
        assert_eq!(tcp_known_as(&self.a.gateway, b, HOST_B, OWN).expect("TCP").to_string(), "10.46.0.2");
    }

    /// Errors about a flow come back to who began it, and speak of what he called.
    #[track_caller]
    fn errors_come_back(&self) {
        let closed = self.b.host.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.connect((HOST_A, 9)).expect("an address");
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a time");
            let asked = (0..5).map(|_| socket.send(b"?").and_then(|_| socket.recv(&mut [0])).map(|_| ()));
            asked.filter_map(Result::err).map(|e| e.kind()).find(|kind| *kind == ErrorKind::ConnectionRefused)
        });
        assert_eq!(closed, Some(ErrorKind::ConnectionRefused), "the host itself refuses");
        self.a.gateway.ip("link set eth1 mtu 1200");
        let large = self.b.host.run(&["ping", "-n", "-M", "do", "-s", "1300", "-c", "3", "-W", "1", HOST_A]);
        assert!(
            large.stdout.contains("mtu = 1200") || large.stdout.contains("mtu=1200"),
            "the gateway: {large}"
        );
        self.a.gateway.ip("link set eth1 mtu 1500");
    }
}

#[test]
fn two_offices_with_the_same_addresses_meet_and_down_leaves_nothing() {
    let Some(t) = Trial::possible() else { return };
    let hub = Wgrelay::on(&t.hub);
    hub.write_network(NETWORK);
    hub.up().ok();
    // The network that it was given stays in its folder.
    let before = [&t.a.gateway, &t.b.gateway].map(|node| Snapshot::of(node).without("files"));
    let offices = [(Wgrelay::on(&t.a.gateway), "a"), (Wgrelay::on(&t.b.gateway), "b")];
    for (office, name) in &offices {
        office.up_with(&hub, name).ok();
        assert_eq!(office.ok(&["plan"]).lines().count(), 1, "nothing is left to do");
    }
    t.offices_meet();
    t.errors_come_back();
    // Whose own LAN is the same as the site's is no matter any more.
    t.hub.ip(&bridge("lan", &[], &["192.168.1.5/24"]));
    assert!(ping(&t.hub, HOST_A) && ping(&t.hub, HOST_B));

    // One of the two by its own addresses: the others reach both, and these two do not reach each other.
    t.hub.ip("link del lan");
    hub.edit(|text| text.replace("alias = \"10.99.2.0/24\"\n", ""));
    hub.up().ok();
    for (office, name) in &offices {
        office.up_with(&hub, name).ok();
    }
    assert_eq!(tcp(&t.hub, &t.b.host, OWN).expect("TCP").to_string(), "10.46.0.1");
    assert_eq!(tcp_known_as(&t.b.gateway, &t.a.host, HOST_A, OWN).expect("TCP").to_string(), "10.46.0.3");
    assert!(no_tcp_known_as(&t.b.host, &t.a.host, HOST_A, OWN) && no_ping(&t.a.host, HOST_B));
    let said = hub.call(&["trace", HOST_A, "192.168.1.7"]);
    assert!(said.code == Some(4) && said.stdout.contains("alias"), "{said}");

    for ((office, name), before) in offices.iter().zip(&before) {
        office.ok(&["down"]);
        let after = Snapshot::of(office.node).without("files");
        before.assert_same(&after, &format!("on {name} after down"));
    }
}

/// Both by wg-quick; without nft, where that is asked for.
fn exported(nft: bool) {
    let Some(t) = Trial::possible() else { return };
    let hub = Wgrelay::on(&t.hub);
    hub.write_network(NETWORK);
    hub.up().ok();
    let offices = [(&t.a.gateway, "a"), (&t.b.gateway, "b")];
    let before = offices.map(|(node, _)| {
        node.run(&["mkdir", "-p", "/run/wireguard", "/etc/wireguard"]).ok();
        Snapshot::of(node)
    });
    for (node, name) in offices {
        let conf = hub.ok(&["export", name]);
        let conf = if nft { conf } else { conf.replace("command -v nft", "false") };
        wg_quick_up(node, "wg0", &conf).ok();
        let rules = node.run(&["iptables-save", "-t", "nat"]).stdout;
        assert_eq!(rules.contains("NETMAP"), !nft, "{rules}");
    }
    t.offices_meet();
    for ((node, name), before) in offices.iter().zip(&before) {
        wg_quick_down(node, "wg0").ok();
        node.run(&["rm", "/etc/wireguard/wg0.conf"]).ok();
        let after = Snapshot::of(node);
        if nft {
            before.assert_same(&after, &format!("on {name} after wg-quick down"));
        } else {
            let rules = node.run(&["iptables-save"]).stdout;
            assert!(!rules.contains("wgrelay") && !rules.contains("NETMAP"), "{rules}");
        }
    }
}

#[test]
fn exported_files_translate_with_nft() {
    exported(true);
}

#[test]
fn exported_files_translate_with_iptables() {
    exported(false);
}

/// The owner of a gateway leads a port of it to a host of its aliased site, by the address that the host has there.
#[test]
fn an_owners_port_leads_into_an_aliased_site_and_trace_follows() {
    let Some(t) = Trial::possible() else { return };
    let hub = Wgrelay::on(&t.hub);
    hub.write_network(NETWORK);
    hub.up().ok();
    let a = Wgrelay::on(&t.a.gateway);
    a.up_with(&hub, "a").ok();
    Wgrelay::on(&t.b.gateway).up_with(&hub, "b").ok();
    let lead = |node: &Node, address: &str, port: u16, to: &str| {
        let rule = format!("add rule ip owner pre ip daddr {address} tcp dport {port} dnat to {to}");
        let chain = "add chain ip owner pre { type nat hook prerouting priority -100; }";
        node.run(&["nft", &format!("add table ip owner; {chain}; {rule}")]).ok();
    };
    lead(&t.a.gateway, "10.46.0.2", 8080, "192.168.1.5:80");
    for (by, who, from, to, address, port) in
        [(&a, &t.hub, "hub", "a", "10.46.0.2", 8080), (&a, &t.b.host, HOST_B, "a", "10.46.0.2", 8080)]
    {
        let arrives = called(who, &t.a.host, address, port, 80).is_some();
        // By the host it is asked for its own port, by the gateway for the one that is called.
        let asked = if to == HOST_A { 80 } else { port };
        let traced = by.call(&["trace", from, to, "--port", &format!("tcp/{asked}"), "--live"]);
        assert_eq!(traced.code == Some(0), arrives, "{from} to {address}:{port}: {arrives}, but {traced}");
        assert!(traced.stdout.contains("dnat") && !traced.stdout.contains("uncertain"), "{traced}");
        assert!(arrives, "{from} to {address}:{port}: {traced}");
    }
}
