//! Devices that talk: packets of every size, roaming, a network that goes and comes back, relaying.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wgrelay::dataplane::{DeviceChange, EndReason, PeerChange};
use wgrelay::model::PresharedKey;

use crate::rig::{PORT, Rig, change, connected, eventually, key, peer, run, stream, succeeds};

#[test]
fn two_devices_talk_and_leave_nothing() {
    let Some(rig) = Rig::new() else { return };
    let started = Instant::now();
    let (a, b) = connected(&rig);
    println!("start to handshake: {:?}", started.elapsed());
    for to in ["10.99.0.1", "fd99::1"] {
        assert!(rig.pings('b', to), "{to}");
    }
    stream(&rig, "10.99.0.1:5000", 48 << 20);
    stream(&rig, "[fd99::1]:5000", 16 << 20);
    let (ours, theirs) = (peer(&a), peer(&b));
    assert!(ours.rx_bytes > 64 << 20, "{ours:?}");
    assert_eq!(ours.endpoint, Some("10.77.0.2:51820".parse().unwrap()));
    assert_eq!(theirs.endpoint, Some("10.77.0.1:51820".parse().unwrap()));

    // Everything at once, on live peers: no packet is lost.
    let pings = rig.inside('b', || {
        Command::new("ping")
            .args(["-q", "-i0.01", "-c100", "-W1", "10.99.0.1"])
            .stdout(Stdio::piped())
            .spawn()
    });
    for i in 0..50u8 {
        for (device, side) in [(&a, 'a'), (&b, 'b')] {
            let mut change = change(side, None);
            change.peers[0].preshared_key = Some(Some(PresharedKey::from_bytes([i; 32])));
            change.peers[0].keepalive = Some(u16::from(i));
            change.peers[0].replace_allowed_ips = true;
            device.configure(change).expect("a change");
        }
    }
    let mut text = String::new();
    let mut pings = pings.expect("ping runs");
    pings.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    pings.wait().unwrap();
    assert!(text.contains(" 100 received"), "{text}");
    assert_eq!(peer(&a).last_handshake, ours.last_handshake, "the session is the same");

    for (device, side) in [(a, 'a'), (b, 'b')] {
        assert_eq!(device.stop(), EndReason::Stopped);
        assert!(!rig.socket(side).exists());
        assert!(!succeeds(&format!("ip -n {} link show {}", rig.ns(side), rig.wg(side))));
        // At once, with the same name and port.
        let again = rig.start(side);
        again.configure(change(side, None)).expect("the port is free again");
    }
}

#[test]
fn datagrams_of_every_size_arrive_as_they_were_sent() {
    let Some(rig) = Rig::new() else { return };
    let (_a, _b) = connected(&rig);
    // The largest packet that fits, in one piece; a larger one, in fragments.
    assert!(rig.pings('b', "-s 1392 -M do 10.99.0.1"));
    assert!(rig.pings('b', "-s 1372 -M do fd99::1"));
    assert!(rig.pings('b', "-s 9000 10.99.0.1"));
    for (to, from) in [("10.99.0.1:5001", "10.99.0.2:0"), ("[fd99::1]:5001", "[fd99::2]:0")] {
        let receiver = rig.inside('a', || UdpSocket::bind(to)).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let sender = rig.inside('b', || UdpSocket::bind(from)).unwrap();
        sender.connect(to).unwrap();
        let datagram = |size: usize, i: usize| vec![(i + size) as u8; size];
        let mut buffer = [0; 65536];
        // Bursts, so that packets are joined on the way, but no more than a socket's buffer holds.
        for size in [1, 100, 1000, 1372, 1391, 1392, 1393, 5000] {
            let count = if size > 2000 { 8 } else { 40 };
            (0..count).for_each(|i| assert_eq!(sender.send(&datagram(size, i)).unwrap(), size));
            for i in 0..count {
                let length = receiver.recv(&mut buffer).unwrap();
                assert!(buffer[..length] == datagram(size, i), "datagram {i} of {size} bytes");
            }
        }
    }
}

#[test]
fn the_endpoint_roams_between_addresses_and_families() {
    let Some(rig) = Rig::new() else { return };
    let (a, b) = connected(&rig);
    run(&format!("ip -n {} addr del 10.77.0.2/24 dev veth", rig.ns('b')));
    run(&format!("ip -n {} addr add 10.77.0.22/24 dev veth", rig.ns('b')));
    eventually("a ping from the new address", || rig.pings('b', "10.99.0.1"));
    assert_eq!(peer(&a).endpoint.unwrap().to_string(), "10.77.0.22:51820");
    let mut over_v6 = change('b', Some("[fd77::1]:51820"));
    over_v6.listen_port = Some(4433);
    b.configure(over_v6).expect("a change");
    assert!(rig.pings('b', "10.99.0.1"));
    assert_eq!(peer(&a).endpoint.unwrap().to_string(), "[fd77::2]:4433");
    // The answering side uses the address that it was asked at.
    run(&format!("ip -n {} addr add 10.77.0.11/24 dev veth", rig.ns('a')));
    b.configure(change('b', Some("10.77.0.11:51820"))).expect("a change");
    assert!(rig.pings('b', "10.99.0.1"));
    assert_eq!(peer(&b).endpoint.unwrap().to_string(), "10.77.0.11:51820");
    // And another one when that is gone.
    run(&format!("ip -n {} addr del 10.77.0.11/24 dev veth", rig.ns('a')));
    assert!(rig.pings('a', "10.99.0.2"));
}

#[test]
fn the_network_may_go_and_come_back() {
    let Some(rig) = Rig::new() else { return };
    let (_a, _b) = connected(&rig);
    run(&format!("ip -n {} link set veth down", rig.ns('b')));
    assert!(!rig.pings('b', "10.99.0.1"));
    run(&format!("ip -n {} link set veth up", rig.ns('b')));
    eventually("a ping", || rig.pings('b', "10.99.0.1"));
    // The interface itself goes down and up.
    run(&format!("ip -n {0} link set {1} down && ip -n {0} link set {1} up", rig.ns('a'), rig.wg('a')));
    eventually("a ping", || rig.pings('b', "10.99.0.1"));
    // A packet that no peer takes is answered with an ICMP error.
    let ping = format!("ip netns exec {} ping -c1 -W5 10.99.0.77", rig.ns('a'));
    assert!(succeeds(&format!("{ping} | grep -q 'Destination Host Unreachable'")));
    // A path with a small MTU is slow, not dead; so is one without segmentation.
    run(&format!(
        "ip -n {0} link set veth mtu 1280 && ip -n {1} link set veth mtu 1280",
        rig.ns('a'),
        rig.ns('b')
    ));
    stream(&rig, "10.99.0.1:5000", 1 << 20);
}

#[test]
fn hosts_without_ipv6_talk_over_ipv4() {
    let Some(rig) = Rig::new() else { return };
    for side in ['a', 'b'] {
        rig.run(side, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
    }
    let (a, b) = (rig.start('a'), rig.start('b'));
    a.configure(change('a', None)).expect("a change");
    b.configure(change('b', Some("10.77.0.1:51820"))).expect("a change");
    for (side, host) in [('a', 1), ('b', 2)] {
        let (ns, wg) = (rig.ns(side), rig.wg(side));
        run(&format!("ip -n {ns} addr add 10.99.0.{host}/24 dev {wg} && ip -n {ns} link set {wg} up"));
    }
    assert!(rig.pings('b', "10.99.0.1"));
    // An address that cannot be reached from here is an error of the packet, not of the device.
    a.configure(change('a', Some("[2001:db8::1]:1"))).expect("a change");
    rig.pings('a', "10.99.0.2");
    assert!(rig.pings('b', "10.99.0.1"), "and the peer's next packet puts it right");
}

#[test]
fn a_relay_carries_packets_between_its_peers() {
    let Some(rig) = Rig::new() else { return };
    // Two spokes in one namespace, the hub in the other.
    let hub = rig.start('a');
    let mut spokes = Vec::new();
    let mut change =
        DeviceChange { private_key: Some(key('a')), listen_port: Some(PORT), ..Default::default() };
    rig.run('a', "sysctl -qw net.ipv4.ip_forward=1");
    run(&format!("ip netns add {}", rig.ns('c')));
    run(&format!("ip link add toa netns {} type veth peer name toc netns {}", rig.ns('c'), rig.ns('a')));
    run(&format!("ip -n {0} addr add 10.78.0.1/24 dev toc && ip -n {0} link set toc up", rig.ns('a')));
    run(&format!("ip -n {0} addr add 10.78.0.2/24 dev toa && ip -n {0} link set toa up", rig.ns('c')));
    for (side, host, endpoint) in [('b', 2, "10.77.0.1:51820"), ('c', 3, "10.78.0.1:51820")] {
        change.peers.push(PeerChange {
            allowed_ips: vec![format!("10.99.0.{host}/32").parse().unwrap()],
            ..PeerChange::new(key(side).public_key())
        });
        let device = rig.start(side);
        let peer = PeerChange {
            endpoint: Some(endpoint.parse().unwrap()),
            keepalive: Some(25),
            allowed_ips: vec!["10.99.0.0/24".parse().unwrap()],
            ..PeerChange::new(key('a').public_key())
        };
        let spoke = DeviceChange { private_key: Some(key(side)), peers: vec![peer], ..Default::default() };
        spokes.push((device, spoke, side, host));
    }
    hub.configure(change).unwrap();
    let up = |side, host| {
        let (ns, wg) = (rig.ns(side), rig.wg(side));
        run(&format!("ip -n {ns} addr add 10.99.0.{host}/24 dev {wg} && ip -n {ns} link set {wg} up"));
    };
    up('a', 1);
    for (device, change, side, host) in &spokes {
        device.configure(change.clone()).unwrap();
        up(*side, *host);
    }
    eventually("both handshakes", || hub.report().unwrap().peers.iter().all(|p| p.last_handshake.is_some()));
    assert!(rig.pings('b', "10.99.0.3") && rig.pings('c', "10.99.0.2"));
    let to: SocketAddr = "10.99.0.3:5000".parse().unwrap();
    let listener = rig.inside('c', || TcpListener::bind(to)).unwrap();
    let data: Vec<u8> = (0..8_000_000u32).map(|i| (i / 251) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| rig.inside('b', || TcpStream::connect(to)).unwrap().write_all(&data).unwrap());
        let mut received = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
        assert!(received == data);
    });
}
