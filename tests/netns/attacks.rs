//! Policy under attack, with real packets: spokes and hosts that lie, and nothing gets through.
//!
//! Every attack is a packet with a token of its own; the ear at its target must not hear it, while the same kind of packet,
//! sent afterwards on the same path where it is allowed, is heard. The spokes are `wg-quick`'s, whose owner is root there and
//! writes what he likes into his own AllowedIPs and routes.

use crate::foreign_clients::clients_up;
use crate::packet::{
    ACK, Ear, GRE, RST, SYN, echo, fragments, fragments6, icmp_error, icmp6, ip, piece, send, tcp, token, udp,
};
use crate::rig::drive::Wgrelay;
use crate::rig::node::Node;
use crate::rig::topology::{Families, Topology};

/// Windows may call two ports of the containers over IPv4, and one of the VMs over IPv6; docker may call windows; one VM may
/// call the relay. Everything else is an attack.
const POLICY: &str = r#"
[[allow]]
from = ["192.168.3.2"]
to = ["172.19.0.0/16"]
ports = ["tcp/7007", "udp/7007"]
[[allow]]
from = ["windows"]
to = ["fd00:33::/64"]
ports = ["udp/7007"]
[[allow]]
from = ["docker"]
to = ["windows"]
[[allow]]
from = ["192.168.33.71"]
to = ["192.168.3.1"]
ports = ["udp/7007"]
"#;
const WINDOWS: &str = "192.168.3.2";
const WINDOWS6: &str = "fd5e:1::2";
const DOCKER: &str = "192.168.3.3";
const DOCKER6: &str = "fd5e:1::3";
const CONTAINER: &str = "172.19.0.5";
const CONTAINER6: &str = "fd00:19::5";
const VM: &str = "192.168.33.71";
const VM6: &str = "fd00:33::71";
/// A port that no rule names.
const OTHER: u16 = 7008;

/// The network under that policy, with both spokes up and widened.
fn under_policy(t: &Topology) -> Wgrelay<'_> {
    let relay = Wgrelay::relay_of(t, Families::Both);
    relay.edit(|text| {
        // Without NAT an answer's addresses are the question's; every host here knows the way back.
        text.replace("nat = \"masquerade\"", "nat = \"none\"") + POLICY
    });
    relay.up().ok();
    clients_up(t, &relay);
    widen(&t.windows, &["172.17.0.0/16", "172.19.0.0/16", "192.168.33.0/24", "192.168.39.1/32"]);
    widen(&t.docker, &[]);
    // A host that speaks first needs to know the way.
    t.vm.ip("route add 192.168.3.0/24 via 192.168.33.1\nroute add fd5e:1::/64 via fd00:33::1");
    relay
}

/// What root on a spoke can do: everything goes into the tunnel, and is taken from it.
fn widen(spoke: &Node, prefixes: &[&str]) {
    let key = spoke.run(&["wg", "show", "wg0", "peers"]).ok().stdout;
    let all = "0.0.0.0/0,::/0";
    spoke.run(&["wg", "set", "wg0", "peer", key.trim(), "allowed-ips", all]).ok();
    for net in prefixes {
        spoke.ip(&format!("route replace {net} dev wg0"));
    }
    spoke.ip("route replace fd00:19::/64 dev wg0\nroute replace fd00:33::/64 dev wg0");
}

/// A way that packets take, and the ear at its end.
struct Path<'t> {
    from: &'t Node,
    at: &'t Node,
    ear: Ear,
    /// Tokens of what must not have come.
    attacks: Vec<(String, [u8; 8])>,
}

impl<'t> Path<'t> {
    fn new(from: &'t Node, at: &'t Node) -> Self {
        Self { from, at, ear: Ear::at(at), attacks: Vec::new() }
    }

    /// Sends packets that must not arrive; they carry a token.
    fn attack(&mut self, what: &str, packets: impl FnOnce(&[u8]) -> Vec<Vec<u8>>) {
        let token = token();
        for packet in packets(&token) {
            send(self.from, &packet);
        }
        self.attacks.push((what.to_owned(), token));
    }

    /// Sends packets of the same kind that must arrive; by then every attack would have.
    #[track_caller]
    fn control(&mut self, what: &str, packets: impl Fn(&[u8]) -> Vec<Vec<u8>>) {
        let token = token();
        let from = self.from;
        let again = || packets(&token).iter().for_each(|packet| send(from, packet));
        let (from, at) = (&self.from.name, &self.at.name);
        assert!(
            self.ear.waits_for(token, again),
            "{what}: what is allowed does not pass from {from} to {at}"
        );
        for (attack, token) in &self.attacks {
            assert!(!self.ear.has_heard(*token), "{attack}: it got through from {from} to {at}");
        }
    }
}

/// One packet.
fn one(packet: Vec<u8>) -> Vec<Vec<u8>> {
    vec![packet]
}

/// The kernel never tracks neighbour discovery, nor who listens to a group (RFC 4861, RFC 2710, RFC 3810), so nothing but its
/// addresses says whose it is, and an outsider writes what he likes there.
#[test]
fn what_is_never_tracked_passes_by_its_own_links_alone() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let relay = under_policy(&t);
    t.internet.ip("route add fd5e:1::/64 via fd00:39::45\nroute add fd00:19::/64 via fd00:39::45");
    let mut ear = Ear::at(&t.windows);
    let heard = token();
    // What is allowed, from where it is allowed, wakes the session.
    assert!(ear.waits_for(heard, || send(&t.docker, &echo(DOCKER6, WINDOWS6, &heard))));
    let sent = [128, 130, 131, 132, 133, 134, 135, 136, 137, 143].map(|kind| {
        let token = token();
        for _ in 0..3 {
            send(&t.internet, &icmp6(kind, DOCKER6, WINDOWS6, &token));
        }
        (kind, token)
    });
    let last = token();
    assert!(ear.waits_for(last, || send(&t.docker, &echo(DOCKER6, WINDOWS6, &last))));
    for (kind, token) in sent {
        assert!(!ear.has_heard(token), "type {kind} of an outsider with a spoke's address");
    }
    relay.ok(&["down"]);
}

#[test]
fn a_spoke_that_lies_gains_nothing() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let _relay = under_policy(&t);
    let allowed = |data: &[u8]| one(udp((WINDOWS, 4000), (CONTAINER, 7007), data));

    // To the containers, where windows may call two ports.
    let mut path = Path::new(&t.windows, &t.container);
    path.control("the session stands", allowed);
    // Sources of others: the other spoke, its site, the relay, the containers' own network, this network's outside.
    for src in
        [DOCKER, VM, "192.168.3.1", "172.19.0.1", "172.19.0.9", "192.168.39.45", "192.168.3.77", "8.8.8.8"]
    {
        path.attack(&format!("spoofed source {src}"), |d| one(udp((src, 4000), (CONTAINER, 7007), d)));
    }
    path.control("after spoofed sources", allowed);
    // Ports and protocols that no rule names.
    path.attack("another UDP port", |d| one(udp((WINDOWS, 7007), (CONTAINER, OTHER), d)));
    path.attack("another TCP port", |d| one(tcp((WINDOWS, 7007), (CONTAINER, OTHER), SYN, (1, 0), d)));
    path.attack("ICMP", |d| one(echo(WINDOWS, CONTAINER, d)));
    path.attack("another protocol", |d| one(ip(WINDOWS, CONTAINER, GRE, d)));
    path.control("TCP to its port", |d| one(tcp((WINDOWS, 4001), (CONTAINER, 7007), SYN, (1, 0), d)));
    // Middles and ends of connections that never began.
    for (what, flags) in [("SYN and ACK", SYN | ACK), ("ACK", ACK), ("RST", RST), ("no flag", 0)] {
        path.attack(what, |d| one(tcp((WINDOWS, 4002), (CONTAINER, OTHER), flags, (9, 9), d)));
    }
    // Fragments: a forbidden port in two, in pieces that split the TCP header, and a second piece that rewrites the first.
    path.attack("fragments", |d| fragments(&udp((WINDOWS, 4003), (CONTAINER, OTHER), &padded(d, 40)), 24));
    path.attack("tiny fragments", |d| {
        fragments(&tcp((WINDOWS, 4003), (CONTAINER, OTHER), SYN, (1, 0), &padded(d, 20)), 8)
    });
    path.attack("overlapping fragments", |d| overlapping(d, (7007, 16), (OTHER, 24)));
    path.attack("overlapping fragments, longer first", |d| overlapping(d, (OTHER, 24), (7007, 16)));
    path.attack("two first fragments", |d| overlapping(d, (OTHER, 16), (7007, 16)));
    path.attack("the rest without its first fragment", |d| {
        fragments(&udp((WINDOWS, 4004), (CONTAINER, OTHER), &padded(d, 40)), 24).split_off(1)
    });
    path.control("fragments to the port", |d| {
        fragments(&udp((WINDOWS, 4005), (CONTAINER, 7007), &padded(d, 40)), 24)
    });
    path.control("tiny fragments to the port", |d| {
        fragments(&tcp((WINDOWS, 4006), (CONTAINER, 7007), SYN, (1, 0), &padded(d, 20)), 8)
    });
    // The containers' IPv6, where only IPv4 is allowed.
    path.attack("IPv6 to the port", |d| one(udp((WINDOWS6, 4000), (CONTAINER6, 7007), d)));
    path.attack("IPv6 echo", |d| one(echo(WINDOWS6, CONTAINER6, d)));
    path.control("IPv4 after IPv6", allowed);

    // Errors and redirects about flows that there are not; of one that there is they pass, and change nothing.
    let about = |port| udp((CONTAINER, 7007), (WINDOWS, port), b"an answer that never was");
    for (what, kind, code) in [("unreachable", 3, 3), ("time exceeded", 11, 0), ("redirect", 5, 1)] {
        path.attack(&format!("ICMP {what} of no flow"), |d| {
            let about = [about(4999), d.to_vec()].concat();
            one(icmp_error(WINDOWS, CONTAINER, (kind, code), [0; 4], &about))
        });
    }
    path.control("ICMP unreachable of a flow", |d| {
        let about = [about(4000), d.to_vec()].concat();
        one(icmp_error(WINDOWS, CONTAINER, (3, 3), [0; 4], &about))
    });
    let before = route(&t.relay);
    let mut to_relay = Path::new(&t.windows, &t.relay);
    to_relay.control("a redirect reaches the relay itself", |d| {
        let about = [udp(("192.168.3.1", 7), (CONTAINER, 7), b"12345678"), d.to_vec()].concat();
        one(icmp_error(WINDOWS, "192.168.3.1", (5, 1), [192, 168, 3, 2], &about))
    });
    assert_eq!(route(&t.relay), before, "and changes no route of it");

    // Hairpin: to the other spoke, which may call and may not be called; to its site; over both families.
    let mut path = Path::new(&t.windows, &t.docker);
    for (what, packet) in [
        ("UDP", (|d: &[u8]| udp((WINDOWS, 4000), (DOCKER, 7007), d)) as fn(&[u8]) -> Vec<u8>),
        ("echo", |d| echo(WINDOWS, DOCKER, d)),
        ("IPv6 echo", |d| echo(WINDOWS6, DOCKER6, d)),
        ("IPv6 to the port", |d| udp((WINDOWS6, 4000), (DOCKER6, 7007), d)),
        ("its site", |d| udp((WINDOWS, 4000), (VM, 7007), d)),
        ("its site's link", |d| udp((WINDOWS, 4000), ("192.168.33.1", 7007), d)),
        ("another port of its site over IPv6", |d| udp((WINDOWS6, 4000), (VM6, OTHER), d)),
        // The relay's other networks, which are no site.
        ("a network of the relay's that is no site", |d| udp((WINDOWS, 4000), ("172.17.0.2", 7007), d)),
    ] {
        path.attack(what, |d| one(packet(d)));
    }
    for headless in [true, false] {
        path.attack("IPv6 fragments", |d| fragments6((WINDOWS6, 4007), (VM6, OTHER), headless, d));
    }
    path.control("IPv6 to its site's port", |d| one(udp((WINDOWS6, 4000), (VM6, 7007), d)));
    // Linux forgets a first fragment without ports, whatever the rules say.
    path.control("in fragments", |d| fragments6((WINDOWS6, 4008), (VM6, 7007), false, d));
    // There is a host: the relay reaches it.
    let mut there = Path::new(&t.relay, &t.docker);
    there.control("the relay's own packet", |d| one(udp(("172.17.0.1", 4000), ("172.17.0.2", 7007), d)));
    let mut out = Path::new(&t.windows, &t.internet);
    out.attack("the relay's way out", |d| one(udp((WINDOWS, 4000), ("192.168.39.1", 7007), d)));
    path.control("and the path still stands", |d| one(udp((WINDOWS6, 4000), (VM6, 7007), d)));
    assert!(!out.ear.has_heard(out.attacks[0].1), "it left by the relay's uplink");
    t.windows.ip("route del 192.168.39.1/32 dev wg0");
    out.control("which windows reaches without the tunnel", |d| {
        one(udp(("192.168.39.50", 4000), ("192.168.39.1", 7007), d))
    });

    // The other way docker may call, as itself alone.
    let mut back = Path::new(&t.docker, &t.windows);
    for src in [VM, CONTAINER, "192.168.3.1", "172.19.0.9"] {
        back.attack(&format!("docker as {src}"), |d| one(udp((src, 4000), (WINDOWS, 7007), d)));
    }
    back.control("docker calls windows", |d| one(echo(DOCKER, WINDOWS, d)));
    back.control("over IPv6, too", |d| one(echo(DOCKER6, WINDOWS6, d)));
    back.control("with any protocol", |d| one(ip(DOCKER, WINDOWS, GRE, d)));
}

#[test]
fn a_site_s_host_that_speaks_first_is_not_heard() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let _relay = under_policy(&t);
    // A container answers what nobody asked.
    let mut path = Path::new(&t.container, &t.windows);
    let answer = |d: &[u8]| one(udp((CONTAINER, 7007), (WINDOWS, 4100), d));
    path.attack("an answer without its question", answer);
    path.attack("UDP", |d| one(udp((CONTAINER, 5000), (WINDOWS, 7007), d)));
    path.attack("echo", |d| one(echo(CONTAINER, WINDOWS, d)));
    path.attack("IPv6 echo", |d| one(echo(CONTAINER6, WINDOWS6, d)));
    path.attack("SYN", |d| one(tcp((CONTAINER, 5000), (WINDOWS, 7007), SYN, (1, 0), d)));
    for (what, flags) in [("SYN and ACK", SYN | ACK), ("ACK", ACK), ("RST", RST)] {
        path.attack(&format!("{what} without a SYN"), |d| {
            one(tcp((CONTAINER, 7007), (WINDOWS, 4101), flags, (5, 2), d))
        });
    }
    // Sources that are not the container's: another site's host, a spoke.
    for src in [VM, DOCKER, "8.8.8.8"] {
        path.attack(&format!("as {src}"), |d| one(udp((src, 7007), (WINDOWS, 4100), d)));
    }
    // Once the question has passed the same answer does.
    let mut asked = Path::new(&t.windows, &t.container);
    asked.control("the question", |d| one(udp((WINDOWS, 4100), (CONTAINER, 7007), d)));
    path.control("the answer to it", answer);
    path.attack("an answer to another port", |d| one(udp((CONTAINER, 7007), (WINDOWS, 4102), d)));
    path.attack("an answer from another port", |d| one(udp((CONTAINER, OTHER), (WINDOWS, 4100), d)));
    // The container's own kernel must not answer the SYN with a RST, which would end the flow.
    t.container
        .run(&[
            "nft",
            "add table inet deaf; add chain inet deaf in { type filter hook input priority 0; }; \
                              add rule inet deaf in tcp dport 7007 drop",
        ])
        .ok();
    asked.control("a SYN", |d| one(tcp((WINDOWS, 4103), (CONTAINER, 7007), SYN, (100, 0), d)));
    path.control("the SYN and ACK to it", |d| {
        one(tcp((CONTAINER, 7007), (WINDOWS, 4103), SYN | ACK, (500, 109), d))
    });

    // A VM speaks first: its gateway is docker, which runs the exported rules.
    let mut vm = Path::new(&t.vm, &t.windows);
    vm.attack("a VM's UDP", |d| one(udp((VM, 4000), (WINDOWS, 7007), d)));
    vm.attack("a VM's echo over IPv6", |d| one(echo(VM6, WINDOWS6, d)));
    vm.attack("an answer from the VM's port", |d| one(udp((VM6, 7007), (WINDOWS6, 4000), d)));
    let mut to_relay = Path::new(&t.vm, &t.relay);
    to_relay.attack("a VM's other port", |d| one(udp((VM, 4000), ("192.168.3.1", OTHER), d)));
    to_relay.attack("another VM", |d| one(udp(("192.168.33.72", 4000), ("192.168.3.1", 7007), d)));
    to_relay.control("the VM calls the relay", |d| one(udp((VM, 4000), ("192.168.3.1", 7007), d)));
    let mut question = Path::new(&t.windows, &t.vm);
    question.control("windows asks the VM", |d| one(udp((WINDOWS6, 4000), (VM6, 7007), d)));
    vm.control("the VM's answer to it", |d| one(udp((VM6, 7007), (WINDOWS6, 4000), d)));
}

/// A token at the end of so many bytes; whoever cuts them must not cut it.
fn padded(token: &[u8], length: usize) -> Vec<u8> {
    [vec![0; length - token.len()], token.to_vec()].concat()
}

/// Two first pieces of one datagram, one with the allowed port and one with the other, and the rest. A piece within an
/// earlier one is forgotten; pieces that overlap otherwise end the whole (RFC 5722).
fn overlapping(token: &[u8], first: (u16, usize), second: (u16, usize)) -> Vec<Vec<u8>> {
    let id = u16::from_be_bytes([token[6], token[7]]);
    let of = |port| udp((WINDOWS, 4009), (CONTAINER, port), &padded(token, 24));
    let head = |(port, length): (u16, usize)| piece(&of(port), id, 0, true, &of(port)[20..20 + length]);
    let rest = first.1.max(second.1);
    vec![head(first), head(second), piece(&of(OTHER), id, rest, false, &of(OTHER)[20 + rest..])]
}

fn route(node: &Node) -> String {
    node.run(&["ip", "route", "get", CONTAINER]).ok().stdout
}
