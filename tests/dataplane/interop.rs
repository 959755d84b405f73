//! Other implementations as the other side: wireguard-go and gotatun here, the kernel's in a guest (`in_guest`).

use std::time::Duration;

use wgrelay::dataplane::{DeviceChange, PeerChange};
use wgrelay::model::PresharedKey;

use crate::other::{Other, remove};
use crate::rig::{PORT, Rig, change, eventually, key, peer, run, stream};

/// What the other side's `wg show` says about one thing, of its one peer.
fn told(rig: &Rig, what: &str) -> String {
    let line = rig.run('b', &format!("wg show {} {what}", rig.wg('b')));
    line.split_once('\t').expect("it has a peer").1.trim().to_owned()
}

/// Handshakes from either side, over either family, with and without a preshared key.
fn handshakes(other: Other) {
    for (own_begins, v6, preshared) in
        [(true, true, true), (false, false, true), (true, false, false), (false, true, false)]
    {
        let Some(rig) = Rig::new() else { return };
        let Some(_running) = other.start(&rig, 'b') else { return };
        let device = rig.start('a');
        let preshared = preshared.then(|| PresharedKey::from_bytes([7; 32]));
        let [ours, theirs] =
            if v6 { ["[fd77::1]:51820", "[fd77::2]:51820"] } else { ["10.77.0.1:51820", "10.77.0.2:51820"] };
        let mut own = change('a', own_begins.then_some(theirs));
        own.peers[0].preshared_key = Some(preshared.clone());
        rig.meet(&device, own, preshared.as_ref(), (!own_begins).then_some(ours));
        assert!(rig.pings('a', "10.99.0.2") && rig.pings('b', "fd99::1"), "IPv4 and IPv6 inside");
        assert_eq!(peer(&device).endpoint, Some(theirs.parse().unwrap()));
        assert_eq!(told(&rig, "endpoints"), ours);
        assert_ne!(told(&rig, "latest-handshakes"), "0");
        // The guest's processor is emulated.
        let length = if other == Other::Kernel { 500_000 } else { 4 << 20 };
        stream(&rig, "10.99.0.1:5000", length);
        stream(&rig, "[fd99::1]:5000", length);
        assert_eq!(device.report().unwrap().dropped.refused, 0);
    }
}

/// One session through everything: roaming of both, sizes, fragments, keepalives, a new preshared key, a restart.
fn one_session(other: Other) {
    let Some(rig) = Rig::new() else { return };
    let Some(running) = other.start(&rig, 'b') else { return };
    let device = rig.start('a');
    rig.bring_up('a');
    rig.bring_up('b');
    rig.set_conf('b', None, None);
    device.configure(change('a', Some("10.77.0.2:51820"))).expect("a change");
    eventually("a ping", || rig.pings('a', "10.99.0.2"));
    let handshake = peer(&device).last_handshake;

    // The largest packet in one piece, one byte more in two, and refused where that is not allowed.
    for (side, v4, v6) in [('a', "10.99.0.2", "fd99::2"), ('b', "10.99.0.1", "fd99::1")] {
        for size in [1391, 1392] {
            assert!(rig.pings(side, &format!("-s {size} -M do {v4}")), "{size} bytes from {side}");
        }
        assert!(rig.pings(side, &format!("-s 1372 -M do {v6}")));
        assert!(!rig.pings(side, &format!("-s 1393 -M do {v4}")));
        assert!(rig.pings(side, &format!("-s 1393 -M dont {v4}")));
        assert!(rig.pings(side, &format!("-s 1373 {v6}")) && rig.pings(side, &format!("-s 20000 {v4}")));
    }
    // A path that cuts the tunnel's datagrams themselves.
    let outer = |mtu: u32| {
        for side in ['a', 'b'] {
            run(&format!("ip -n {} link set veth mtu {mtu}", rig.ns(side)));
        }
    };
    outer(1280);
    assert!(rig.pings('a', "-s 1392 -M do 10.99.0.2") && rig.pings('b', "-s 1372 -M do fd99::1"));
    stream(&rig, "10.99.0.1:5000", 1 << 20);
    outer(1500);

    // They move, and we move: each is answered where it is now.
    let moves = |side, from: &str, to: &str| {
        let ns = rig.ns(side);
        run(&format!("ip -n {ns} addr del {from}/24 dev veth && ip -n {ns} addr add {to}/24 dev veth"));
    };
    moves('b', "10.77.0.2", "10.77.0.22");
    if other == Other::WireguardGo {
        // wireguard-go would go on sending from the old address until a handshake of 15 s later.
        rig.run(
            'b',
            &format!("wg set {} peer {} endpoint 10.77.0.1:51820", rig.wg('b'), key('a').public_key()),
        );
    }
    eventually("a ping from their new address", || rig.pings('b', "10.99.0.1"));
    assert_eq!(peer(&device).endpoint.unwrap().to_string(), "10.77.0.22:51820");
    moves('a', "10.77.0.1", "10.77.0.11");
    eventually("a ping from our new address", || rig.pings('a', "10.99.0.2"));
    assert_eq!(told(&rig, "endpoints"), "10.77.0.11:51820");
    // Over to the other family and to another port, and back. gotatun stays on its port: it closes its old sockets some time
    // after it has tried to bind the new ones, and then has none.
    let port = if other == Other::Gotatun { PORT } else { 4433 };
    rig.run(
        'b',
        &format!(
            "wg set {} listen-port {port} peer {} endpoint [fd77::1]:51820",
            rig.wg('b'),
            key('a').public_key()
        ),
    );
    eventually("a ping over IPv6", || rig.pings('b', "10.99.0.1"));
    assert_eq!(peer(&device).endpoint.unwrap().to_string(), format!("[fd77::2]:{port}"));
    device
        .configure(DeviceChange {
            listen_port: Some(4434),
            peers: vec![PeerChange {
                endpoint: Some(format!("10.77.0.22:{port}").parse().unwrap()),
                ..PeerChange::new(key('b').public_key())
            }],
            ..Default::default()
        })
        .expect("a change");
    eventually("a ping over IPv4", || rig.pings('a', "fd99::2"));
    assert_eq!(told(&rig, "endpoints"), "10.77.0.11:4434");

    // Keepalives alone, of either side.
    let keepalive = |seconds| DeviceChange {
        peers: vec![PeerChange { keepalive: Some(seconds), ..PeerChange::new(key('b').public_key()) }],
        ..Default::default()
    };
    // gotatun counts what is inside alone.
    let counts = other != Other::Gotatun;
    let received = || told(&rig, "transfer").split('\t').next().unwrap().parse::<u64>().unwrap();
    device.configure(keepalive(0)).expect("a change");
    let before = if counts { received() } else { peer(&device).tx_bytes };
    device.configure(keepalive(1)).expect("a change");
    if counts {
        eventually("our keepalives", || received() >= before + 64);
    } else {
        eventually("our keepalives", || peer(&device).tx_bytes >= before + 64);
    }
    device.configure(keepalive(0)).expect("a change");
    let before = peer(&device).rx_bytes;
    rig.run('b', &format!("wg set {} peer {} persistent-keepalive 1", rig.wg('b'), key('a').public_key()));
    // A peer that `wg set` names begins anew in gotatun, with an initiation of 148 bytes.
    let anew = if other == Other::Gotatun { 148 } else { 0 };
    eventually("their keepalives", || peer(&device).rx_bytes >= before + anew + 64);
    assert_eq!(peer(&device).last_handshake == handshake, anew == 0, "all in one session");

    // We start anew, with a preshared key; then they do. Each side's next packet finds the other.
    let psk = PresharedKey::from_bytes([9; 32]);
    drop(device);
    let device = rig.start('a');
    let mut own = change('a', Some(&format!("10.77.0.22:{port}")));
    own.peers[0].preshared_key = Some(Some(psk.clone()));
    rig.set_conf('b', Some(&psk), None);
    rig.run('b', &format!("wg set {} listen-port {port}", rig.wg('b')));
    device.configure(own).expect("a change");
    rig.bring_up('a');
    eventually("a ping after our restart", || rig.pings('a', "10.99.0.2"));
    drop(running);
    remove(&rig, 'b');
    let Some(_running) = other.start(&rig, 'b') else { return };
    rig.set_conf('b', Some(&psk), Some("10.77.0.11:51820"));
    rig.bring_up('b');
    eventually("a ping after their restart", || rig.pings('b', "10.99.0.1"));
    eventually("and one from us", || rig.pings('a', "10.99.0.2"));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(device.report().unwrap().dropped.bad_source, 0);
}

#[test]
fn handshakes_with_wireguard_go() {
    handshakes(Other::WireguardGo);
}

#[test]
fn one_session_with_wireguard_go() {
    one_session(Other::WireguardGo);
}

#[test]
fn handshakes_with_gotatun() {
    handshakes(Other::Gotatun);
}

#[test]
fn one_session_with_gotatun() {
    one_session(Other::Gotatun);
}

#[test]
fn kernel_handshakes() {
    handshakes(Other::Kernel);
}

#[test]
fn kernel_one_session() {
    one_session(Other::Kernel);
}
