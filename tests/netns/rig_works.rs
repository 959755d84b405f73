//! The rig without wgrelay: a network made by hand with `wg-quick` passes its probes, and a broken one does not.

use crate::rig::drive::{wg_quick_down, wg_quick_up};
use crate::rig::probe::{Flow, no_ping, no_tcp, ping, tcp, udp};
use crate::rig::snapshot::Snapshot;
use crate::rig::topology::{BRIDGE, Families, RELAY, Topology};

/// A key pair as `wg(8)` makes it.
struct Pair {
    private: String,
    public: String,
}

fn pairs<const N: usize>(node: &crate::rig::node::Node) -> [Pair; N] {
    std::array::from_fn(|_| {
        let both = node.run(&["bash", "-c", "k=$(wg genkey); echo $k; wg pubkey <<<$k"]).ok().stdout;
        let mut lines = both.lines().map(str::to_owned);
        Pair { private: lines.next().expect("genkey prints"), public: lines.next().expect("pubkey prints") }
    })
}

/// What the relay or the gateway must do besides WireGuard: forward, and masquerade towards its site.
fn gateway(site: &str, subnet: &str) -> String {
    format!(
        "PostUp = sysctl -q -w net.ipv4.conf.%i.forwarding=1 net.ipv4.conf.{site}.forwarding=1; \
         nft 'table inet by-hand {{ chain post {{ type nat hook postrouting priority 100; \
         ip saddr {subnet} oifname \"{site}\" masquerade; }}; }}'\n\
         PostDown = nft delete table inet by-hand; sysctl -q -w net.ipv4.conf.{site}.forwarding=0\n"
    )
}

/// Brings the three nodes up; returns what they were before.
fn by_hand(t: &Topology) -> [Snapshot; 3] {
    let nodes = [&t.relay, &t.windows, &t.docker];
    for node in nodes {
        node.run(&["mkdir", "/run/wireguard"]).ok(); // wireguard-go makes it, and leaves it
    }
    let before = nodes.map(Snapshot::of);
    let [relay, windows, docker] = pairs(&t.windows);
    wg_quick_up(
        &t.relay,
        "wg0",
        &format!(
            "[Interface]\nAddress = 192.168.3.1/24\nPrivateKey = {}\nListenPort = 51820\n{}\
             [Peer]\nPublicKey = {}\nAllowedIPs = 192.168.3.2/32\n\
             [Peer]\nPublicKey = {}\nAllowedIPs = 192.168.3.3/32, 192.168.33.0/24\n",
            relay.private,
            gateway(BRIDGE, "192.168.3.0/24"),
            windows.public,
            docker.public
        ),
    )
    .ok();
    let spoke = |own: &Pair, address: &str, more: &str, allowed: &str| {
        format!(
            "[Interface]\nAddress = {address}/24\nPrivateKey = {}\n{more}\
             [Peer]\nPublicKey = {}\nAllowedIPs = {allowed}\nEndpoint = {RELAY}:51820\nPersistentKeepalive = 25\n",
            own.private, relay.public
        )
    };
    let everything = "192.168.3.0/24, 172.19.0.0/16, 192.168.33.0/24";
    wg_quick_up(&t.windows, "wg0", &spoke(&windows, "192.168.3.2", "", everything)).ok();
    let more = gateway("br-ext", "192.168.3.0/24");
    wg_quick_up(&t.docker, "wg0", &spoke(&docker, "192.168.3.3", &more, "192.168.3.0/24")).ok();
    before
}

#[test]
fn a_network_made_by_hand_passes_and_leaves_nothing() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let before = by_hand(&t);
    for place in ["192.168.3.1", "192.168.3.3", "172.19.0.5", "172.19.0.9", "192.168.33.71"] {
        assert!(ping(&t.windows, place), "windows pings {place}");
    }
    // Each site sees its gateway's address there; the tunnel itself is not translated.
    let seen = |from, to, address| tcp(from, to, address).expect(address).to_string();
    assert_eq!(seen(&t.windows, &t.container, "172.19.0.5"), "172.19.0.1");
    assert_eq!(seen(&t.windows, &t.vm, "192.168.33.71"), "192.168.33.1");
    assert_eq!(seen(&t.windows, &t.docker, "192.168.3.3"), "192.168.3.2");
    assert_eq!(seen(&t.docker, &t.windows, "192.168.3.2"), "192.168.3.3");
    assert_eq!(
        udp(&t.windows, &t.docker, "192.168.3.3", 4000).expect("fragments pass").to_string(),
        "192.168.3.2"
    );
    let flow = Flow::start(&t.windows, &t.relay, "192.168.3.1");
    std::thread::sleep(std::time::Duration::from_millis(500));
    let tally = flow.stop();
    assert!(tally.sent >= 30 && tally.lost() == 0, "{tally:?}");

    for node in [&t.docker, &t.windows, &t.relay] {
        let during = Snapshot::of(node);
        assert!(during.section("addresses of IPv4").iter().any(|a| a.contains("192.168.3.")), "{during:?}");
        wg_quick_down(node, "wg0").ok();
        node.run(&["rm", "/etc/wireguard/wg0.conf"]).ok();
        // WireGuard in the kernel switches this off for the whole namespace, and nobody puts it back.
        node.set_sysctl("ipv4/conf/all/send_redirects", "1");
    }
    for (node, before) in [&t.relay, &t.windows, &t.docker].iter().zip(before) {
        before.assert_same(&Snapshot::of(node), &format!("on {} after wg-quick down", node.name));
    }
}

#[test]
fn probes_tell_a_network_that_does_not_work() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    by_hand(&t);
    assert!(ping(&t.windows, "172.19.0.5"), "it works at first");
    // The relay forwards no more, and the tunnel's other ends stay.
    t.relay.set_sysctl("ipv4/conf/wg0/forwarding", "0");
    assert!(no_ping(&t.windows, "172.19.0.5") && no_tcp(&t.windows, &t.container, "172.19.0.5"));
    assert!(no_ping(&t.windows, "192.168.3.3"));
    assert!(ping(&t.windows, "192.168.3.1"));
    let flow = Flow::start(&t.windows, &t.docker, "192.168.3.3");
    std::thread::sleep(std::time::Duration::from_millis(500));
    let tally = flow.stop();
    assert!(tally.received == 0 && tally.lost() >= 30, "{tally:?}");
    // Without masquerade, the VM's answer has no way home, though the compute node forwards.
    t.relay.set_sysctl("ipv4/conf/wg0/forwarding", "1");
    assert!(ping(&t.windows, "192.168.33.71"));
    t.docker.run(&["nft", "delete", "table", "inet", "by-hand"]).ok();
    assert!(no_ping(&t.windows, "192.168.33.71"));
}

#[test]
fn snapshots_disturb_nothing_and_see_everything() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let before = Snapshot::of(&t.relay);
    before.assert_same(&Snapshot::of(&t.relay), "after a snapshot");
    for (change, section) in [
        ("ip addr add 10.1.1.1/24 dev eth0", "addresses of IPv4"),
        ("ip route add 10.2.0.0/16 via 192.168.39.1 table 77", "routes of IPv4"),
        ("ip -6 route add fd00:77::/64 via fd00:39::1", "routes of IPv6"),
        ("ip rule add from 10.1.1.1 table 77", "rules of IPv4"),
        ("ip link set eth0 alias somebody", "links"),
        ("ip neigh add proxy 10.1.1.2 dev eth0", "proxied neighbours of IPv4"),
        ("nft add table ip somebody", "nft"),
        ("iptables-nft -A FORWARD -j ACCEPT", "iptables-nft"),
        ("sysctl -q -w net.ipv4.conf.eth0.forwarding=1", "sysctls"),
        ("echo x >/run/somebody", "files"),
        ("setsid -f sleep 60 >/dev/null 2>&1", "processes"),
    ] {
        let before = Snapshot::of(&t.relay);
        t.relay.run(&["bash", "-c", change]).ok();
        let diff = before.diff(&Snapshot::of(&t.relay));
        assert!(diff.contains(&format!("{section}:\n")), "`{change}` shows under {section}: {diff}");
    }
}
