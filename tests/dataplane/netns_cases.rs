//! The cases that the kernel tests its own WireGuard by (tools/testing/selftests/wireguard/netns.sh), made anew for a
//! device in userspace. As there, the interfaces are made in a namespace in the middle, where their sockets stay, and
//! moved to `a` and `b`.
//!
//! What such a device cannot meet, and why:
//! - The interface's own counters of encrypted bytes: a TUN counts packets as they are inside. `wg show transfer` counts.
//! - Padding to the MTU of a route: the packet's route is not told to a TUN. The interface's MTU bounds it.
//! - A source address that follows a better route while the old address stays: it is kept until it fails.
//! - `ping -I wg0` and marks set in mangle OUTPUT: decided before the packet reaches the device, whatever it is.
//! - Circular references of namespaces, objects destroyed as told by the kernel's log: the kernel's own matter.

use std::net::UdpSocket;
use std::time::Duration;

use wgrelay::dataplane::Dataplane;
use wgrelay::model::{PresharedKey, PrivateKey};

use crate::rig::{Rig, eventually, key, peer, run, stream, succeeds};

/// The devices of `a` and `b` with their sockets in `c`, on ports 1 and 2; neither knows where the other is.
struct Middle {
    rig: Rig,
    devices: [Dataplane; 2],
    files: tempfile::TempDir,
}

impl Middle {
    fn new() -> Option<Self> {
        let rig = Rig::new()?;
        if !succeeds("command -v wg && command -v iptables") {
            assert!(std::env::var_os("WGRELAY_REAL").is_none(), "asked for, but wg or iptables is missing");
            println!("not run: wg or iptables is missing");
            return None;
        }
        run(&format!("ip netns add {0} && ip -n {0} link set lo up", rig.ns('c')));
        let devices = ['a', 'b'].map(|side| {
            let device = rig.start_beside('c', side);
            run(&format!("ip -n {} link set {} netns {}", rig.ns('c'), rig.wg(side), rig.ns(side)));
            device
        });
        let this = Self { rig, devices, files: tempfile::tempdir().unwrap() };
        for (side, port, host) in [('a', 1, 2), ('b', 2, 1)] {
            this.wg(side, &format!(
                "private-key {} listen-port {port} peer {} preshared-key {} allowed-ips 10.99.0.{host}/32,fd99::{host}/128",
                this.file(key(side).expose_base64().as_str()),
                key(if side == 'a' { 'b' } else { 'a' }).public_key(),
                this.file(PresharedKey::from_bytes([5; 32]).expose_base64().as_str()),
            ));
            this.rig.bring_up(side);
        }
        Some(this)
    }

    fn file(&self, text: &str) -> String {
        let count = std::fs::read_dir(self.files.path()).unwrap().count();
        let path = self.files.path().join(count.to_string());
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn wg(&self, side: char, words: &str) {
        run(&format!("wg set {} {words}", self.rig.wg(side)));
    }

    /// Tells each side where the other is, in the middle.
    fn meet(&self, a: &str, b: &str) {
        self.wg('a', &format!("peer {} endpoint {b}", key('b').public_key()));
        self.wg('b', &format!("peer {} endpoint {a}", key('a').public_key()));
    }

    fn mtu(&self, mtu: u32) {
        for side in ['a', 'b'] {
            run(&format!("ip -n {} link set {} mtu {mtu}", self.rig.ns(side), self.rig.wg(side)));
        }
        // The device looks every second.
        std::thread::sleep(Duration::from_millis(1100));
    }

    fn endpoint(&self, side: usize) -> String {
        peer(&self.devices[side]).endpoint.expect("it has one").to_string()
    }
}

/// Pings, TCP and UDP, both families, both directions, one and many.
fn traffic(rig: &Rig) {
    for (side, to) in [('b', "10.99.0.1"), ('a', "10.99.0.2"), ('b', "fd99::1"), ('a', "fd99::2")] {
        eventually("ten pings, ten answers", || {
            succeeds(&format!(
                "ip netns exec {} ping -q -c10 -i0.002 -W2 {to} | grep -q ' 10 received'",
                rig.ns(side)
            ))
        });
    }
    stream(rig, "10.99.0.1:5000", 2 << 20);
    stream(rig, "[fd99::1]:5000", 2 << 20);
    for (to, from) in [("10.99.0.1:5001", "10.99.0.2:0"), ("[fd99::1]:5001", "[fd99::2]:0")] {
        let receiver = rig.inside('a', || UdpSocket::bind(to)).unwrap();
        let sender = rig.inside('b', || UdpSocket::bind(from)).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        for i in 0..100u8 {
            sender.send_to(&[i; 1200], to).unwrap();
            let mut bytes = [0; 2000];
            assert_eq!(receiver.recv(&mut bytes).unwrap(), 1200);
            assert_eq!(bytes[..1200], [i; 1200]);
        }
    }
    for many in [4, 50] {
        std::thread::scope(|scope| {
            for i in 0..many {
                scope.spawn(move || stream(rig, &format!("10.99.0.1:{}", 5200 + i), 100_000));
            }
        });
    }
}

#[test]
fn counters_and_traffic_of_both_families_and_of_big_packets() {
    let Some(m) = Middle::new() else { return };
    m.meet("127.0.0.1:1", "127.0.0.1:2");
    let told = m.rig.run('b', "ping -q -c10 -i0.002 -W2 10.99.0.1");
    assert!(told.contains(" 10 received"), "{told}");
    let (a, b) = (peer(&m.devices[0]), peer(&m.devices[1]));
    // Handshake 148 and 92, ten packets of 84 as 128, perhaps a keepalive of 32.
    assert!([1428, 1460].contains(&b.tx_bytes) && b.rx_bytes == 1372, "{b:?}");
    assert!((a.rx_bytes, a.tx_bytes) == (b.tx_bytes, b.rx_bytes) && a.last_handshake.is_some(), "{a:?}");
    for (a, b) in [("127.0.0.1:1", "127.0.0.1:2"), ("[::1]:1", "[::1]:2")] {
        m.meet(a, b);
        for (mtu, largest) in [(1420, 1392), (34816 - 1500 + 1420, 34000)] {
            m.mtu(mtu);
            assert!(m.rig.pings('b', &format!("-s {largest} -M do 10.99.0.1")));
            traffic(&m.rig);
        }
    }
}

#[test]
fn roaming_the_filter_of_sources_and_new_keys() {
    let Some(m) = Middle::new() else { return };
    let (rig, b_key) = (&m.rig, key('b').public_key());
    m.meet("127.0.0.1:1", "127.0.0.1:2");
    assert!(rig.pings('a', "10.99.0.2"));
    run(&format!(
        "ip -n {0} addr del 127.0.0.1/8 dev lo; ip -n {0} addr add 127.212.121.99/8 dev lo",
        rig.ns('c')
    ));
    m.wg('a', "listen-port 9999");
    m.wg('a', &format!("peer {b_key} endpoint 127.0.0.1:2"));
    assert!(rig.pings('a', "fd99::2"));
    assert_eq!(m.endpoint(1), "127.212.121.99:9999");
    m.wg('a', "listen-port 9998");
    m.wg('a', &format!("peer {b_key} endpoint [::1]:2"));
    assert!(rig.pings('a', "10.99.0.2"));
    assert_eq!(m.endpoint(1), "[::1]:9998");

    // A prefix within another peer's is that peer's alone, also on the way in; the sender roams all the same.
    m.wg('a', &format!("peer {b_key} allowed-ips 10.99.0.0/24"));
    let receiver = rig.inside('a', || UdpSocket::bind("10.99.0.1:1111")).unwrap();
    let sender = rig.inside('b', || UdpSocket::bind("10.99.0.2:0")).unwrap();
    let mut bytes = [0; 16];
    receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    sender.send_to(b"X", "10.99.0.1:1111").unwrap();
    assert_eq!(receiver.recv(&mut bytes).unwrap(), 1);
    let third = PrivateKey::from_random([9; 32]);
    m.wg('a', &format!("peer {} allowed-ips 10.99.0.2/32", third.public_key()));
    m.wg('b', "listen-port 9997");
    let bad = || m.devices[0].report().unwrap().dropped.bad_source;
    let before = bad();
    sender.send_to(b"X", "10.99.0.1:1111").unwrap();
    eventually("the packet is dropped", || bad() > before);
    receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(receiver.recv(&mut bytes).is_err());
    m.wg('a', &format!("peer {} remove", third.public_key()));
    let moved = m.devices[0].report().unwrap().peers[0].endpoint.unwrap();
    assert_eq!(moved.to_string(), "[::1]:9997");

    // Another private key, and at once another session.
    m.wg('a', &format!("peer {b_key} allowed-ips 10.99.0.2/32 endpoint [::1]:9997"));
    assert!(rig.pings('a', "10.99.0.2"));
    m.wg('a', &format!("private-key {}", m.file(third.expose_base64().as_str())));
    let psk = m.file(PresharedKey::from_bytes([5; 32]).expose_base64().as_str());
    m.wg(
        'b',
        &format!(
            "peer {} preshared-key {psk} allowed-ips 10.99.0.1/32 peer {} remove",
            third.public_key(),
            key('a').public_key()
        ),
    );
    assert!(rig.pings('a', "10.99.0.2"));
}

#[test]
fn tunnels_in_tunnels_and_loops() {
    let Some(m) = Middle::new() else { return };
    let rig = &m.rig;
    m.meet("127.0.0.1:1", "127.0.0.1:2");
    // A second pair of devices whose sockets are in a and b, and whose datagrams so go through the first.
    let inner: Vec<Dataplane> = [('a', 'x', 2), ('b', 'y', 1)]
        .into_iter()
        .map(|(side, name, other)| {
            let device = rig.start_beside(side, name);
            m.wg(name, &format!(
                "listen-port 5 private-key {} peer {} endpoint [fd99::{other}]:5 allowed-ips 10.98.0.{other}/32,fd98::{other}/128",
                m.file(key(name).expose_base64().as_str()),
                key(if name == 'x' { 'y' } else { 'x' }).public_key(),
            ));
            let host = 3 - other;
            run(&format!(
                "ip -n {0} addr add 10.98.0.{host}/24 dev {1} && ip -n {0} addr add fd98::{host}/64 dev {1} nodad &&
                 ip -n {0} link set {1} mtu 1340 up",
                rig.ns(side), rig.wg(name)
            ));
            device
        })
        .collect();
    assert!(rig.pings('a', "10.98.0.2") && rig.pings('b', "fd98::1"));
    assert!(rig.pings('a', "-s 1312 -M do 10.98.0.2") && rig.pings('a', "-s 20000 10.98.0.2"));

    // Through another peer of the same device: each packet goes through it twice.
    let third = rig.start_beside('b', 'z');
    m.wg(
        'z',
        &format!(
            "listen-port 6 private-key {} peer {} allowed-ips 10.97.0.1/32",
            m.file(key('z').expose_base64().as_str()),
            key('x').public_key()
        ),
    );
    m.wg('x', &format!("peer {} endpoint 10.98.0.2:6 allowed-ips 10.97.0.2/32", key('z').public_key()));
    run(&format!("ip -n {} addr add 10.97.0.1/24 dev {}", rig.ns('a'), rig.wg('x')));
    run(&format!(
        "ip -n {0} addr add 10.97.0.2/24 dev {1} && ip -n {0} link set {1} up",
        rig.ns('b'),
        rig.wg('z')
    ));
    assert!(rig.pings('a', "10.97.0.2"), "onion routing");

    // A peer that is said to be inside itself: nothing gets there, and nothing goes round and round.
    m.wg('x', &format!("peer {} endpoint 10.97.0.2:6", key('z').public_key()));
    let sent = || inner[0].report().unwrap().peers.iter().map(|p| p.tx_bytes).sum::<u64>();
    let before = sent();
    assert!(!succeeds(&format!("ip netns exec {} ping -c10 -i0.002 -W1 10.97.0.2", rig.ns('a'))));
    std::thread::sleep(Duration::from_millis(500));
    let grown = sent() - before;
    println!("{grown} bytes into the loop");
    assert!(grown < 70_000, "{grown} bytes went round");
    assert!(rig.pings('a', "10.98.0.2"), "the other peer does not suffer");
    drop(third);
}

#[test]
fn behind_nat_with_a_default_route_and_unreachable() {
    let Some(m) = Middle::new() else { return };
    let (rig, b_key) = (&m.rig, key('b').public_key());
    drop(m.devices);
    // Devices whose sockets are where they are: a behind a NAT in c, b beyond it.
    let [a, b, c] = ['a', 'b', 'c'].map(|side| rig.ns(side));
    run(&format!(
        "ip -n {a} link del veth; ip link add vethrc netns {c} type veth peer name vethc netns {a}
         ip link add vethrs netns {c} type veth peer name veths netns {b}
         ip -n {c} addr add 192.168.1.1/24 dev vethrc && ip -n {c} addr add 10.0.0.1/24 dev vethrs
         ip -n {a} addr add 192.168.1.100/24 dev vethc && ip -n {b} addr add 10.0.0.100/24 dev veths
         ip -n {c} link set vethrc up; ip -n {c} link set vethrs up; ip -n {a} link set vethc up; ip -n {b} link set veths up
         ip -n {a} route add default via 192.168.1.1"
    ));
    rig.run('c', "sysctl -qw net.ipv4.ip_forward=1 net.netfilter.nf_conntrack_udp_timeout=2 net.netfilter.nf_conntrack_udp_timeout_stream=2");
    rig.run('c', "iptables -t nat -A POSTROUTING -s 192.168.1.0/24 -d 10.0.0.0/24 -j SNAT --to 10.0.0.1");
    let (device, far) = (rig.start('a'), rig.start('b'));
    device.configure(crate::rig::change('a', None)).unwrap();
    far.configure(crate::rig::change('b', None)).unwrap();
    rig.bring_up('a');
    rig.bring_up('b');
    let wg = |side, words: &str| run(&format!("wg set {} {words}", rig.wg(side)));
    wg('a', &format!("peer {b_key} endpoint 10.0.0.100:51820 persistent-keepalive 1"));
    assert!(rig.pings('a', "10.99.0.2") && rig.pings('b', "10.99.0.1"));
    assert!(peer(&far).endpoint.unwrap().to_string().starts_with("10.0.0.1:"));
    std::thread::sleep(Duration::from_secs(3));
    assert!(rig.pings('b', "10.99.0.1"), "keepalives hold the NAT open");
    wg('a', &format!("peer {b_key} persistent-keepalive 0"));

    // All through the tunnel but the tunnel itself, as wg-quick does it.
    run(&format!("ip -n {b} addr add 192.168.99.7/32 dev {}", rig.wg('b')));
    run(&format!("ip -n {b} addr add abab::1111/128 dev {} nodad", rig.wg('b')));
    wg('a', &format!("fwmark 51820 peer {b_key} allowed-ips 0.0.0.0/0,::/0"));
    for family in [4, 6] {
        run(&format!(
            "ip -n {a} -{family} route add default dev {0} table 51820
             ip -n {a} -{family} rule add not fwmark 51820 table 51820
             ip -n {a} -{family} rule add table main suppress_prefixlength 0",
            rig.wg('a')
        ));
    }
    rig.run('a', "sysctl -qw net.ipv4.conf.vethc.rp_filter=0 net.ipv4.conf.all.rp_filter=0");
    for to in ["192.168.99.7", "abab::1111"] {
        let told = rig.run('a', &format!("ping -q -c100 -i0.002 -W2 {to}"));
        assert!(told.contains(" 100 received"), "{told}");
    }

    // Behind b's own NAT: what no peer takes any more is answered, and finds its way back.
    rig.run('b', "iptables -t nat -A POSTROUTING -s 10.0.0.0/24 -d 10.99.0.0/24 -j SNAT --to 10.99.0.2");
    rig.run('b', "sysctl -qw net.ipv4.ip_forward=1");
    run(&format!("ip -n {c} route add 10.99.0.1 via 10.0.0.100"));
    assert!(rig.pings('c', "10.99.0.1"));
    wg('b', &format!("peer {} remove", key('a').public_key()));
    let told = run(&format!("ip netns exec {c} ping -c1 -W2 10.99.0.1 || :"));
    assert!(told.contains("Destination Host Unreachable"), "{told}");
}

#[test]
fn sources_follow_addresses_that_come_and_go() {
    let Some(rig) = Rig::new() else { return };
    let (_a, b) = crate::rig::connected(&rig);
    let [ours, theirs] = ['a', 'b'].map(|side| rig.ns(side));
    let moves = |ns: &str, from: &str, to: &str| {
        run(&format!(
            "ip -n {ns} addr del {from} dev veth; ip -n {ns} addr add {to} dev veth $(echo {to} | grep -q : && echo nodad)"
        ));
    };
    moves(&theirs, "10.77.0.2/24", "10.77.0.20/24");
    eventually("a ping from another address", || rig.pings('b', "10.99.0.1"));
    let meet = |at: &str| {
        run(&format!("wg set {} peer {} endpoint {at}", rig.wg('b'), key('a').public_key()));
        assert!(rig.pings('b', "10.99.0.1"), "{at}");
        assert_eq!(peer(&b).endpoint.unwrap().to_string(), at, "answered from where it was asked");
    };
    meet("[fd77::1]:51820");
    moves(&theirs, "fd77::2/64", "fd77::20/64");
    eventually("a ping over IPv6", || rig.pings('b', "10.99.0.1"));
    // Several addresses of the other side: each answers for itself, also one that is elsewhere.
    for address in ["10.77.0.12/24", "fd77::12/64"] {
        run(&format!("ip -n {ours} addr add {address} dev veth $(echo {address} | grep -q : && echo nodad)"));
    }
    run(&format!(
        "ip -n {ours} link add dummy0 type veth peer name dummy1 && ip -n {ours} addr add 10.50.0.1/24 dev dummy0"
    ));
    run(&format!(
        "ip -n {ours} link set dummy0 up && ip -n {ours} link set dummy1 up && ip -n {theirs} route add 10.50.0.0/24 dev veth"
    ));
    for at in
        ["10.77.0.1:51820", "[fd77::1]:51820", "10.77.0.12:51820", "[fd77::12]:51820", "10.50.0.1:51820"]
    {
        meet(at);
    }
    // Another route is better from now on: the source stays, the packets arrive.
    run(&format!("ip link add veth3 netns {ours} type veth peer name veth4 netns {theirs}"));
    run(&format!("ip -n {theirs} addr add 10.77.0.30/24 dev veth4; ip -n {theirs} link set veth4 up"));
    run(&format!("ip -n {ours} addr add 10.77.0.33/24 dev veth3; ip -n {ours} link set veth3 up"));
    for side in ['a', 'b'] {
        rig.run(side, "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.veth.rp_filter=0");
    }
    meet("10.77.0.1:51820");
    run(&format!("ip -n {theirs} route add 10.77.0.1/32 dev veth4"));
    assert!(rig.pings('b', "10.99.0.1"));
}

#[test]
fn many_prefixes_and_odd_settings() {
    let Some(m) = Middle::new() else { return };
    let (rig, a_key) = (&m.rig, key('a').public_key());
    let name = rig.wg('a');
    let show = |what: &str| run(&format!("wg show {name} {what}"));
    let mut conf = format!(
        "[Interface]\nPrivateKey={}\n[Peer]\nPublicKey={}\n",
        *key('a').expose_base64(),
        key('b').public_key()
    );
    for a in 1..=255 {
        for b in 0..=255 {
            conf += &format!("AllowedIPs={a}.{b}.0.0/16,{a}::{b}/128\n");
        }
    }
    run(&format!("wg setconf {name} {}", m.file(&conf)));
    assert_eq!(show("allowed-ips").split_whitespace().count(), 255 * 256 * 2 + 1);
    let mut conf = format!("[Interface]\nPrivateKey={}\n", *key('a').expose_base64());
    for i in 1..=40u8 {
        conf += &format!("[Peer]\nPublicKey={}\n", PrivateKey::from_random([i; 32]).public_key());
        (1..=52).for_each(|b| conf += &format!("AllowedIPs={i}.{b}.0.0/16\n"));
    }
    run(&format!("wg setconf {name} {}", m.file(&conf)));
    let listed = show("allowed-ips");
    assert_eq!(listed.lines().count(), 40);
    assert!(listed.lines().all(|line| line.split_whitespace().count() == 53));
    assert!(!succeeds(&format!("wg show {}none", rig.wg('a'))));

    // Keys: zeroes are none; the device's own is no peer; the form is the one that is used.
    let psk = m.file(PresharedKey::from_bytes([3; 32]).expose_base64().as_str());
    let b_key = key('b').public_key();
    run(&format!(
        "wg setconf {name} {}",
        m.file(&format!("[Interface]\nPrivateKey={}\n", *key('a').expose_base64()))
    ));
    m.wg('a', &format!("peer {b_key} preshared-key {psk}"));
    assert_eq!(show("private-key").trim(), *key('a').expose_base64());
    assert!(
        show("preshared-keys").trim().ends_with(PresharedKey::from_bytes([3; 32]).expose_base64().as_str())
    );
    m.wg('a', &format!("private-key /dev/null peer {b_key} preshared-key /dev/null"));
    assert_eq!(
        (show("private-key").trim(), show("preshared-keys").trim()),
        ("(none)", &*format!("{b_key}\t(none)"))
    );
    m.wg('a', &format!("private-key {}", m.file(key('b').expose_base64().as_str())));
    assert_eq!((show("public-key").trim(), show("peers").trim()), (&*b_key.to_string(), ""));
    m.wg('a', &format!("peer {b_key}"));
    assert_eq!(show("peers").trim(), "");
    let odd = format!("/{}", &key('a').expose_base64()[1..]);
    m.wg('a', &format!("private-key {}", m.file(&odd)));
    assert_eq!(show("private-key").trim(), format!("+{}", &odd[1..]), "clamped");
    m.wg('a', &format!("private-key {}", m.file(key('a').expose_base64().as_str())));
    for prefixes in [
        "0.0.0.0/0,10.0.0.0/8,100.0.0.0/10,172.16.0.0/12,192.168.0.0/16",
        "0.0.0.0/0",
        "::/0,1700::/111,5000::/4,e000::/37,9000::/75",
        "::/0",
    ] {
        m.wg('a', &format!("peer {b_key} allowed-ips {prefixes}"));
        assert_eq!(show("allowed-ips").split_whitespace().count(), prefixes.split(',').count() + 1);
    }
    assert_eq!(show("public-key").trim(), a_key.to_string());
    m.wg('a', &format!("peer {b_key} remove"));

    // Points of low order are nobody's key: they may be peers, and are never spoken to.
    let listener = rig.inside('c', || UdpSocket::bind("127.0.0.1:1111")).unwrap();
    listener.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let points = [
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=",
        "X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc=",
        "7P///////////////////////////////////////38=",
        "7f///////////////////////////////////////38=",
        "7v///////////////////////////////////////38=",
    ];
    for point in points {
        m.wg(
            'a',
            &format!("peer {point} persistent-keepalive 1 endpoint 127.0.0.1:1111 allowed-ips 10.96.0.0/24"),
        );
    }
    assert_eq!(show("peers").lines().count(), points.len());
    run(&format!("ip -n {} route add 10.96.0.0/24 dev {name}", rig.ns('a')));
    assert!(!rig.pings('a', "10.96.0.1"));
    assert!(listener.recv(&mut [0; 256]).is_err(), "a handshake with a point of low order");
}
