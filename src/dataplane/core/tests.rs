//! Devices wired back to back in memory: what goes out of one goes into the other, and the test is the network.

use std::time::Instant;

use ipnet::IpNet;
use proptest::prelude::*;

use super::super::packet::samples;
use super::*;
use crate::dataplane::{DeviceChange, PeerChange, PeerReport};
use crate::model::PresharedKey;

const MTU: u16 = 1420;

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_random([seed; 32])
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn at(text: &str) -> Remote {
    Remote { address: text.parse().unwrap(), local: None }
}

fn prefixes(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|p| p.parse().unwrap()).collect()
}

/// A device, its outbox, and the address that it has on the test's network.
pub(super) struct Side {
    pub(super) core: Core,
    pub(super) out: Outbox,
    pub(super) remote: Remote,
    pub(super) now: Moment,
    pub(super) public_key: PublicKey,
}

impl Side {
    pub(super) fn new(seed: u8, address: &str) -> Self {
        let mut core = Core::new(MTU);
        let mut out = Outbox::default();
        let now = Moment { boot: Duration::from_secs(1000), unix: Duration::from_secs(2_000_000_000) };
        core.apply(&DeviceChange { private_key: Some(key(seed)), ..Default::default() }, now, &mut out);
        Self { core, out, remote: at(address), now, public_key: key(seed).public_key() }
    }

    pub(super) fn change(&mut self, peer: PeerChange) {
        self.core.apply(&DeviceChange { peers: vec![peer], ..Default::default() }, self.now, &mut self.out);
    }

    pub(super) fn send(&mut self, packet: &[u8]) -> bool {
        let Some(peer) = self.core.route(packet) else { return false };
        self.core.send(peer, packet, &[], self.now, &mut self.out);
        true
    }

    pub(super) fn receive(&mut self, datagram: &[u8], from: Remote) {
        self.core.receive(datagram.into(), from, 0, self.now, &mut self.out);
    }

    pub(super) fn tick(&mut self) {
        self.core.tick(self.now, &mut self.out);
    }

    pub(super) fn take_datagrams(&mut self) -> Vec<Vec<u8>> {
        self.out.datagrams.drain(..).map(|d| d.message.to_vec()).collect()
    }

    pub(super) fn take_packets(&mut self) -> Vec<Vec<u8>> {
        self.out.packets.drain(..).map(|p| p.to_vec()).collect()
    }

    pub(super) fn peer(&self, of: &Side) -> PeerReport {
        self.core.report().peers.into_iter().find(|p| p.public_key == of.public_key).unwrap()
    }
}

/// Carries datagrams both ways until there are none, and returns the types that went.
pub(super) fn settle(a: &mut Side, b: &mut Side) -> Vec<u8> {
    let mut types = Vec::new();
    loop {
        let (from_a, from_b) = (a.take_datagrams(), b.take_datagrams());
        if from_a.is_empty() && from_b.is_empty() {
            return types;
        }
        for datagram in from_a {
            types.push(datagram[0]);
            b.receive(&datagram, a.remote);
        }
        for datagram in from_b {
            types.push(datagram[0]);
            a.receive(&datagram, b.remote);
        }
    }
}

/// A spoke that knows where the hub is, and a hub that does not know where the spoke is.
pub(super) fn spoke_and_hub() -> (Side, Side) {
    let (mut spoke, mut hub) = (Side::new(1, "192.0.2.1:1000"), Side::new(2, "192.0.2.2:51820"));
    spoke.change(PeerChange {
        endpoint: Some(hub.remote.address),
        allowed_ips: prefixes(&["10.0.0.0/24", "fd00::/64"]),
        ..PeerChange::new(hub.public_key)
    });
    hub.change(PeerChange {
        allowed_ips: prefixes(&["10.0.0.1/32", "fd00::1/128"]),
        ..PeerChange::new(spoke.public_key)
    });
    (spoke, hub)
}

pub(super) fn to_hub() -> Vec<u8> {
    samples::udp(ip("10.0.0.1"), ip("10.0.0.2"), b"to the hub")
}

pub(super) fn to_spoke() -> Vec<u8> {
    samples::udp(ip("fd00::2"), ip("fd00::1"), b"to the spoke")
}

pub(super) fn connected() -> (Side, Side) {
    let (mut spoke, mut hub) = spoke_and_hub();
    assert!(spoke.send(&to_hub()));
    settle(&mut spoke, &mut hub);
    assert_eq!(hub.take_packets(), [to_hub()]);
    (spoke, hub)
}

#[test]
fn a_packet_brings_the_handshake_and_follows_it() {
    let (mut spoke, mut hub) = spoke_and_hub();
    assert!(!hub.send(&to_spoke()), "the hub does not know where the spoke is");
    assert!(spoke.send(&to_hub()));
    assert_eq!(settle(&mut spoke, &mut hub), [1, 2, 4, 4], "initiation, response, keepalive, the packet");
    assert_eq!(hub.take_packets(), [to_hub()], "padding is taken off");
    assert!(hub.send(&to_spoke()), "now it does");
    assert_eq!(settle(&mut spoke, &mut hub), [4]);
    assert_eq!(spoke.take_packets(), [to_spoke()]);

    // 38 and 60 bytes of packets are padded to 48 and 64.
    let (s, h) = (spoke.peer(&hub), hub.peer(&spoke));
    assert_eq!((s.tx_bytes, s.rx_bytes), (148 + 32 + 48 + 32, 92 + 64 + 32));
    assert_eq!((h.rx_bytes, h.tx_bytes), (s.tx_bytes, s.rx_bytes));
    assert_eq!(h.endpoint, Some(spoke.remote.address));
    for report in [s, h] {
        assert_eq!(report.last_handshake.map(|t| t.seconds), Some(2_000_000_000));
    }
}

#[test]
fn the_answering_side_counts_a_handshake_when_it_is_used() {
    let (mut spoke, mut hub) = spoke_and_hub();
    spoke.send(&to_hub());
    let initiation = spoke.take_datagrams();
    hub.receive(&initiation[0], spoke.remote);
    assert_eq!(hub.peer(&spoke).last_handshake, None);
    settle(&mut hub, &mut spoke);
    assert!(hub.peer(&spoke).last_handshake.is_some());
}

#[test]
fn both_may_start_at_once_and_no_packet_is_lost() {
    let (mut spoke, mut hub) = spoke_and_hub();
    hub.change(PeerChange { endpoint: Some(spoke.remote.address), ..PeerChange::new(spoke.public_key) });
    assert!(spoke.send(&to_hub()));
    assert!(hub.send(&to_spoke()));
    settle(&mut spoke, &mut hub);
    assert_eq!(hub.take_packets(), [to_hub()]);
    assert_eq!(spoke.take_packets(), [to_spoke()]);
}

#[test]
fn a_keepalive_brings_the_handshake_at_once_and_then_keeps_its_interval() {
    let (mut spoke, mut hub) = spoke_and_hub();
    spoke.change(PeerChange { keepalive: Some(25), ..PeerChange::new(hub.public_key) });
    assert_eq!(settle(&mut spoke, &mut hub), [1, 2, 4]);
    spoke.now.boot += Duration::from_secs(24);
    spoke.tick();
    assert_eq!(spoke.take_datagrams().len(), 0);
    spoke.now.boot += Duration::from_secs(1);
    spoke.tick();
    spoke.tick();
    assert_eq!(spoke.take_datagrams().iter().map(Vec::len).collect::<Vec<_>>(), [32], "once, and empty");
    spoke.change(PeerChange { keepalive: Some(0), ..PeerChange::new(hub.public_key) });
    spoke.now.boot += Duration::from_secs(1000);
    spoke.tick();
    assert_eq!(spoke.take_datagrams().len(), 0);
}

#[test]
fn a_keepalive_survives_a_new_private_key() {
    let (mut spoke, mut hub) = spoke_and_hub();
    spoke.change(PeerChange { keepalive: Some(25), ..PeerChange::new(hub.public_key) });
    settle(&mut spoke, &mut hub);
    let change = DeviceChange { private_key: Some(key(3)), ..Default::default() };
    spoke.core.apply(&change, spoke.now, &mut spoke.out);
    spoke.core.apply(&change, spoke.now, &mut spoke.out);
    assert_eq!(spoke.take_datagrams().iter().map(|d| d[0]).collect::<Vec<_>>(), [1], "once for a new key");
}

#[test]
fn only_an_authenticated_datagram_moves_the_endpoint() {
    let (mut spoke, mut hub) = connected();
    let (elsewhere, stranger) = (at("[2001:db8::7]:7"), at("203.0.113.66:666"));
    spoke.send(&to_hub());
    let genuine = spoke.take_datagrams().remove(0);
    let mut forged = genuine.clone();
    *forged.last_mut().unwrap() ^= 1;
    hub.receive(&forged, stranger);
    assert_eq!(hub.peer(&spoke).endpoint, Some(spoke.remote.address));
    hub.receive(&genuine, elsewhere);
    assert_eq!(hub.peer(&spoke).endpoint, Some(elsewhere.address));
    hub.receive(&genuine, stranger);
    assert_eq!(hub.peer(&spoke).endpoint, Some(elsewhere.address), "a replay moves nothing");
    assert_eq!(hub.take_packets().len(), 1, "and is delivered once");
    assert_eq!(hub.core.report().dropped.refused, 2);
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    let (mut spoke, mut hub) = connected();
    spoke.send(&to_hub());
    let datagram = spoke.take_datagrams().remove(0);
    hub.receive(&datagram, Remote { local: Some(ip("198.51.100.1")), ..spoke.remote });
    hub.send(&to_spoke());
    assert_eq!(hub.out.datagrams[0].to.local, Some(ip("198.51.100.1")));
    let peer = hub.out.datagrams[0].peer.unwrap();
    hub.core.forget_local(peer);
    hub.send(&to_spoke());
    assert_eq!(hub.out.datagrams[1].to.local, None);
}

#[test]
fn a_source_that_is_not_the_senders_is_dropped() {
    let (mut spoke, mut hub) = connected();
    for packet in [
        samples::udp(ip("10.0.0.3"), ip("10.0.0.2"), b"x"),
        samples::udp(ip("fd00::3"), ip("fd00::2"), b"x"),
        [&[0x75; 20][..], &[0; 20]].concat(),
    ] {
        let peer = spoke.core.route(&to_hub()).unwrap();
        spoke.core.send(peer, &packet, &[], spoke.now, &mut spoke.out);
        settle(&mut spoke, &mut hub);
        assert_eq!(hub.take_packets().len(), 0);
    }
    assert_eq!(hub.core.report().dropped.bad_source, 3);
}

#[test]
fn a_peer_that_is_said_to_be_inside_itself_gets_no_datagram_twice() {
    let (mut spoke, mut hub) = connected();
    spoke.change(PeerChange {
        endpoint: Some("10.0.0.2:51820".parse().unwrap()),
        ..PeerChange::new(hub.public_key)
    });
    spoke.send(&to_hub());
    let own = spoke.take_datagrams().remove(0);
    let wrapped = |payload: &[u8]| {
        let mut packet = samples::udp(ip("10.0.0.1"), ip("10.0.0.2"), payload);
        packet[22..24].copy_from_slice(&51820u16.to_be_bytes());
        packet
    };
    assert!(!spoke.send(&wrapped(&own)));
    let mut foreign = own;
    foreign[4] ^= 1;
    assert!(spoke.send(&wrapped(&foreign)), "another device's, of a host behind this one");
    assert!(spoke.send(&wrapped(b"no message")));
    assert_eq!(spoke.core.report().dropped.unroutable, 1);
    let _ = &mut hub;
}

#[test]
fn a_change_in_place_keeps_the_session() {
    let (mut spoke, mut hub) = connected();
    hub.change(PeerChange {
        preshared_key: Some(Some(PresharedKey::from_bytes([9; 32]))),
        keepalive: Some(25),
        replace_allowed_ips: true,
        allowed_ips: prefixes(&["10.0.0.1/32", "fd00::1/128", "10.9.0.0/16"]),
        ..PeerChange::new(spoke.public_key)
    });
    hub.core.apply(
        &DeviceChange { private_key: Some(key(2)), fwmark: Some(7), ..Default::default() },
        hub.now,
        &mut hub.out,
    );
    hub.send(&to_spoke());
    spoke.send(&to_hub());
    let types = settle(&mut spoke, &mut hub);
    assert!(types.iter().all(|t| *t == 4), "no handshake: {types:?}");
    assert_eq!(hub.take_packets(), [to_hub()]);
    assert_eq!(spoke.take_packets(), [to_spoke()]);
    let report = hub.peer(&spoke);
    assert_eq!((report.keepalive, report.allowed_ips.len()), (25, 3));

    // The endpoint too, without a detour: the next packet goes there.
    hub.change(PeerChange { endpoint: Some(at("192.0.2.9:9").address), ..PeerChange::new(spoke.public_key) });
    assert!(hub.out.datagrams.iter().all(|d| d.message[0] == 4));
    hub.out.datagrams.clear();
    hub.send(&to_spoke());
    assert_eq!(hub.out.datagrams[0].to, at("192.0.2.9:9"));
}

#[test]
fn another_private_key_ends_sessions() {
    let (mut spoke, mut hub) = connected();
    let change = DeviceChange { private_key: Some(key(3)), ..Default::default() };
    hub.core.apply(&change, hub.now, &mut hub.out);
    hub.send(&to_spoke());
    assert_eq!(hub.take_datagrams()[0][0], 1, "a new handshake");
    spoke.send(&to_hub());
    settle(&mut spoke, &mut hub);
    assert_eq!(hub.take_packets().len(), 0);

    let none = DeviceChange { private_key: Some(PrivateKey::from_bytes([0; 32])), ..Default::default() };
    hub.core.apply(&none, hub.now, &mut hub.out);
    assert_eq!(hub.core.report().private_key, None);
    assert!(!hub.send(&to_spoke()));
}

#[test]
fn preshared_keys_must_be_the_same() {
    let psk = |n| Some(Some(PresharedKey::from_bytes([n; 32])));
    for (ours, theirs, works) in
        [(psk(1), psk(1), true), (psk(1), psk(2), false), (psk(1), Some(None), false)]
    {
        let (mut spoke, mut hub) = spoke_and_hub();
        spoke.change(PeerChange { preshared_key: ours, ..PeerChange::new(hub.public_key) });
        hub.change(PeerChange { preshared_key: theirs, ..PeerChange::new(spoke.public_key) });
        spoke.send(&to_hub());
        settle(&mut spoke, &mut hub);
        assert_eq!(!hub.take_packets().is_empty(), works);
        assert_eq!(spoke.peer(&hub).last_handshake.is_some(), works);
    }
}

#[test]
fn peers_come_go_and_move_prefixes() {
    let (mut spoke, mut hub) = connected();
    let other = key(5).public_key();
    hub.change(PeerChange { update_only: true, ..PeerChange::new(other) });
    assert_eq!(hub.core.report().peers.len(), 1, "update_only does not create");
    hub.change(PeerChange { allowed_ips: prefixes(&["10.0.0.1/32"]), ..PeerChange::new(other) });
    assert_eq!(hub.peer(&spoke).allowed_ips, prefixes(&["fd00::1/128"]), "the prefix moved");
    spoke.send(&to_hub());
    settle(&mut spoke, &mut hub);
    assert_eq!(hub.take_packets().len(), 0, "and with it the right to send from it");

    hub.change(PeerChange::new(hub.public_key));
    assert_eq!(hub.core.report().peers.len(), 2, "a device is not its own peer");
    hub.change(PeerChange { remove: true, ..PeerChange::new(spoke.public_key) });
    assert!(hub.core.by_index.is_empty(), "its sessions cannot be found any more");
    spoke.send(&to_hub());
    settle(&mut spoke, &mut hub);
    assert_eq!(hub.core.report().dropped.stray, 1);
    let change = DeviceChange { replace_peers: true, ..Default::default() };
    hub.core.apply(&change, hub.now, &mut hub.out);
    assert_eq!(hub.core.report().peers, []);
}

#[test]
fn a_call_that_waits_is_made_again_where_its_endpoint_is_said_again() {
    let (mut spoke, hub) = spoke_and_hub();
    assert!(spoke.send(&to_hub()));
    assert_eq!(spoke.take_datagrams().len(), 1, "it does not leave this host");
    let endpoint = Some(hub.remote.address);
    spoke.change(PeerChange { update_only: true, endpoint, ..PeerChange::new(hub.public_key) });
    assert_eq!(spoke.take_datagrams().iter().map(|d| d[0]).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_flood_is_answered_with_cookies_and_live_sessions_go_on() {
    let (mut spoke, mut hub) = connected();
    let mut late = Side::new(7, "198.51.100.7:7");
    late.change(PeerChange {
        endpoint: Some(hub.remote.address),
        keepalive: Some(25),
        ..PeerChange::new(hub.public_key)
    });
    hub.change(PeerChange::new(late.public_key));
    let initiation = late.take_datagrams().remove(0);

    // Made for the hub, but of a peer that it does not know.
    let mut stranger = Side::new(8, "203.0.113.8:8");
    stranger.change(PeerChange {
        endpoint: Some(hub.remote.address),
        keepalive: Some(25),
        ..PeerChange::new(hub.public_key)
    });
    let flood = stranger.take_datagrams().remove(0);
    hub.now.boot += Duration::from_secs(2);
    for _ in 0..super::super::guard::LOAD_THRESHOLD {
        hub.receive(&flood, stranger.remote);
    }
    assert_eq!(hub.out.datagrams.len(), 0);
    hub.receive(&flood, stranger.remote);
    assert_eq!(hub.take_datagrams()[0].len(), 64, "a cookie");

    hub.receive(&initiation, late.remote);
    assert_eq!(settle(&mut late, &mut hub), [3], "a known peer gets one too");
    // Its next initiation carries the cookie and is let in.
    late.change(PeerChange { endpoint: Some(at("192.0.2.2:1").address), ..PeerChange::new(hub.public_key) });
    assert_eq!(settle(&mut late, &mut hub), [1, 2, 4]);

    spoke.send(&to_hub());
    settle(&mut spoke, &mut hub);
    assert_eq!(hub.take_packets(), [to_hub()]);
    assert_eq!(hub.core.report().dropped.throttled, 2);

    hub.now.boot += Duration::from_secs(3);
    hub.tick();
    hub.receive(&flood, stranger.remote);
    assert_eq!(hub.take_datagrams().len(), 0, "the load is over");
}

#[test]
fn an_address_under_load_has_a_share() {
    let mut guard = Guard::new(&x25519::PublicKey::from([1; 32]));
    let now = Duration::from_secs(50);
    let share = |guard: &mut Guard, a: &str, now| (0..100).filter(|_| guard.within_share(ip(a), now)).count();
    assert_eq!(share(&mut guard, "192.0.2.1", now), 5);
    assert_eq!(share(&mut guard, "192.0.2.1", now + Duration::from_millis(100)), 2);
    assert_eq!(share(&mut guard, "2001:db8::1", now), 5);
    assert_eq!(share(&mut guard, "2001:db8::2", now), 0, "one /64, one share");
}

#[test]
fn rekey_happens_while_packets_flow() {
    let (mut spoke, mut hub) = connected();
    let tunn = spoke.core.peers[0].as_mut().unwrap().tunn.as_mut().unwrap();
    let soon = Duration::from_millis(30);
    tunn.dangerously_set_timer_params(gotatun::noise::TimerParams {
        rekey_after_time: soon..=soon,
        ..Default::default()
    });
    let mut handshakes = 0;
    for _ in 0..12 {
        spoke.tick();
        hub.tick();
        spoke.send(&to_hub());
        hub.send(&to_spoke());
        handshakes += settle(&mut spoke, &mut hub).iter().filter(|t| **t == 1).count();
        assert_eq!(hub.take_packets(), [to_hub()]);
        assert_eq!(spoke.take_packets(), [to_spoke()]);
        wait(Duration::from_millis(15));
    }
    assert!(handshakes >= 2, "{handshakes}");
}

#[test]
fn unanswered_handshakes_leave_nothing_behind() {
    let (mut spoke, hub) = spoke_and_hub();
    for port in 1..200 {
        let endpoint = Some((ip("192.0.2.2"), port).into());
        spoke.change(PeerChange { endpoint, keepalive: Some(25), ..PeerChange::new(hub.public_key) });
    }
    assert_eq!(spoke.take_datagrams().len(), 199, "one to every new address");
    assert!(spoke.core.by_index.len() <= 17, "{}", spoke.core.by_index.len());
}

#[test]
fn padding_ends_at_the_mtu() {
    let (mut spoke, mut hub) = connected();
    let inner = usize::from(MTU);
    // 28 bytes of IP and UDP; 32 of the message's header and tag.
    for (length, padded) in
        [(28, 32), (32, 32), (33, 48), (inner - 1, inner), (inner, inner), (inner + 1, inner + 1)]
    {
        let packet = samples::udp(ip("10.0.0.1"), ip("10.0.0.2"), &vec![7; length - 28]);
        spoke.send(&packet);
        assert_eq!(spoke.out.datagrams[0].message.len(), padded + 32, "of {length} bytes");
        settle(&mut spoke, &mut hub);
        assert_eq!(hub.take_packets(), [packet]);
    }
}

#[test]
fn congestion_marks_cross_the_tunnel() {
    let (mut spoke, mut hub) = connected();
    let mut capable = to_hub();
    capable[1] |= 2;
    packet::rewrite_ipv4_checksum(&mut capable);
    spoke.send(&capable);
    let datagram = spoke.out.datagrams.pop().unwrap();
    assert_eq!(datagram.ecn, 2);
    hub.core.receive(datagram.message[..].into(), spoke.remote, 3, hub.now, &mut hub.out);
    assert_eq!(hub.take_packets()[0][1], 3);
}

#[test]
fn a_change_among_five_thousand_peers_is_quick() {
    let mut hub = Side::new(1, "192.0.2.1:1");
    let change = |i: u32| PeerChange {
        allowed_ips: vec![IpNet::new(IpAddr::V4((0x0a00_0000 + i).into()), 32).unwrap()],
        replace_allowed_ips: true,
        ..PeerChange::new(PublicKey::from_bytes(std::array::from_fn(|n| i.to_le_bytes()[n % 4])))
    };
    let all = DeviceChange { peers: (0..5000).map(change).collect(), ..Default::default() };
    hub.core.apply(&all, hub.now, &mut hub.out);
    let started = timer();
    for i in 0..1000 {
        hub.change(change(i * 5));
    }
    let each = started.elapsed() / 1000;
    println!("a change of one peer among 5,000: {each:?}");
    assert!(each < Duration::from_micros(500), "{each:?}: does it scan?");
}

#[test]
fn every_one_of_many_peers_gets_its_turn() {
    let mut hub = Side::new(1, "192.0.2.1:1");
    let change = |i: u16| PeerChange {
        endpoint: Some((ip("192.0.2.2"), i + 1).into()),
        keepalive: Some(25),
        ..PeerChange::new(PublicKey::from_bytes(std::array::from_fn(|n| i.to_le_bytes()[n % 2])))
    };
    let all = DeviceChange { peers: (1..=1100).map(change).collect(), ..Default::default() };
    hub.core.apply(&all, hub.now, &mut hub.out);
    let expire = |peer: &mut Peer| peer.traversed = Duration::ZERO;
    hub.core.peers.iter_mut().flatten().for_each(expire);
    hub.tick();
    assert!(
        hub.core.peers.iter().flatten().all(|p| p.traversed == hub.now.boot),
        "all at once after a sleep, of which the first turn looks like one"
    );
    hub.core.peers.iter_mut().flatten().for_each(expire);
    let (mut waited, mut turns) = (Duration::ZERO, 0);
    while waited < TICK - Duration::from_millis(1) {
        waited += hub.core.tick(hub.now, &mut hub.out);
        turns += 1;
    }
    assert_eq!(turns, 3);
    assert!(hub.core.peers.iter().flatten().all(|p| p.traversed == hub.now.boot));
}

#[expect(clippy::disallowed_methods, reason = "the noise protocol's timers run on the real clock")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn timer() -> Instant {
    Instant::now()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_datagram_or_packet_does_harm(
        datagrams in prop::collection::vec((0..6u8, prop::collection::vec(any::<u8>(), 0..200)), 0..20),
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 0..20),
    ) {
        let (mut spoke, mut hub) = connected();
        for (kind, mut bytes) in datagrams {
            // Most look like messages, some of a session that exists.
            if kind < 5 && bytes.len() >= 8 {
                let index = *hub.core.by_index.keys().next().unwrap();
                bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
                bytes[4..8].copy_from_slice(&index.to_le_bytes());
                bytes.resize(match kind { 1 => 148, 2 => 92, 3 => 64, _ => bytes.len() }, 0);
            }
            hub.receive(&bytes, at("203.0.113.1:1"));
        }
        for packet in packets {
            hub.send(&packet);
            // A peer may put anything into its tunnel.
            let peer = spoke.core.route(&to_hub()).unwrap();
            spoke.core.send(peer, &packet, &[], spoke.now, &mut spoke.out);
        }
        for (at_byte, mask) in flips {
            let mut packet = to_hub();
            let i = at_byte.index(packet.len());
            packet[i] ^= mask;
            let peer = spoke.core.route(&to_hub()).unwrap();
            spoke.core.send(peer, &packet, &[], spoke.now, &mut spoke.out);
        }
        settle(&mut spoke, &mut hub);
        for packet in hub.take_packets() {
            prop_assert_eq!(packet::total_length(&packet), Some(packet.len()));
            let source = packet::source(&packet).unwrap();
            prop_assert!([ip("10.0.0.1"), ip("fd00::1")].contains(&source), "{}", source);
        }
        spoke.take_packets();
        prop_assert!(spoke.send(&to_hub()));
        settle(&mut spoke, &mut hub);
        prop_assert_eq!(hub.take_packets(), [to_hub()], "the session lives");
    }
}
