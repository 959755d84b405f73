//! A device that goes on where the one before it was: what it knows, whom it calls, and what is not left of a peer.
#![expect(clippy::disallowed_methods, reason = "a test reads its own memory")]

use std::os::unix::fs::FileExt as _;

use gotatun::noise::Tunn;

use super::tests::{Side, at, settle, spoke_and_hub, to_hub, to_spoke};
use super::*;
use crate::dataplane::{DeviceChange, PeerChange};
use crate::model::PresharedKey;

/// The hub's key in [`spoke_and_hub`].
const HUB: u8 = 2;

/// Another device of the hub's key, which knows what that one knew; `allowed` are its peers.
fn after(hub: &Side, remembers: bool, peers: Vec<PeerChange>) -> Side {
    let mut next = Side::new(HUB, "192.0.2.2:51820");
    if remembers {
        let ids = (0..hub.core.peers.len()).map(|id| PeerId(u32::try_from(id).unwrap()));
        next.core.remember(ids.filter_map(|id| hub.core.memory_of(id)).collect());
    }
    let change = DeviceChange { peers, ..Default::default() };
    next.core.apply(&change, next.now, &mut next.out);
    next
}

fn its_peer(spoke: &Side) -> PeerChange {
    let allowed_ips = vec!["10.0.0.1/32".parse().unwrap(), "fd00::1/128".parse().unwrap()];
    PeerChange { allowed_ips, ..PeerChange::new(spoke.public_key) }
}

#[test]
fn a_recorded_handshake_is_worth_nothing_to_the_next_device_either() {
    let (mut spoke, mut hub) = spoke_and_hub();
    spoke.send(&to_hub());
    let recorded = spoke.take_datagrams().remove(0);
    hub.receive(&recorded, spoke.remote);
    settle(&mut hub, &mut spoke);
    assert!(hub.out.learned.contains(&PeerId(0)), "it is told what to keep");
    let elsewhere = at("203.0.113.66:6666");

    let mut forgetful = after(&hub, false, vec![its_peer(&spoke)]);
    forgetful.receive(&recorded, elsewhere);
    assert_eq!(forgetful.peer(&spoke).endpoint, Some(elsewhere.address), "what the memory is for");

    let mut next = after(&hub, true, vec![its_peer(&spoke)]);
    next.out.datagrams.clear();
    next.receive(&recorded, elsewhere);
    assert!(next.out.datagrams.is_empty(), "no answer");
    assert_eq!(next.peer(&spoke).endpoint, Some(spoke.remote.address));
    assert_eq!(next.core.report().dropped.refused, 1);
    // The spoke's own next one is later.
    spoke.change(PeerChange {
        endpoint: Some(at("192.0.2.2:51821").address),
        ..PeerChange::new(hub.public_key)
    });
    let (id, change) = (PeerId(0), spoke.now);
    spoke.core.peer_mut(id).unwrap().restart_handshake(change.boot, &mut spoke.out);
    assert!(settle(&mut spoke, &mut next).starts_with(&[1, 2]));
}

#[test]
fn who_only_listens_is_called() {
    let (mut spoke, mut hub) = spoke_and_hub();
    spoke.send(&to_hub());
    settle(&mut spoke, &mut hub);
    spoke.take_packets();
    let mut next = after(&hub, true, vec![its_peer(&spoke)]);
    assert_eq!(settle(&mut next, &mut spoke), [1, 2, 4]);
    assert!(next.send(&to_spoke()));
    settle(&mut next, &mut spoke);
    assert_eq!(spoke.take_packets(), [to_spoke()]);

    // One that was taken away is forgotten.
    let gone = PeerChange { remove: true, ..PeerChange::new(spoke.public_key) };
    next.change(gone);
    assert_eq!(next.out.forgotten.last(), Some(&spoke.public_key));
}

/// Thousands are called within seconds (5,000 within 10: a few hundred here, because `Tunn` goes by the real clock, and calls again after
/// 5 s, which a busy machine takes for a thousand), none of them twice, and few at a time, with or without a keepalive.
#[test]
fn thousands_are_called_at_a_pace() {
    const COUNT: u16 = 300;
    let key = |n: u16| {
        let mut bytes = [9; 32];
        bytes[..2].copy_from_slice(&n.to_le_bytes());
        PublicKey::from_bytes(bytes)
    };
    let mut hub = Side::new(HUB, "192.0.2.2:51820");
    let known = |n| Remembered { endpoint: Some(([198, 51, 100, 1], n + 1).into()), stamp: [0; 12] };
    hub.core.remember((0..COUNT).map(|n| (key(n), known(n))).collect());
    let peers = |n| PeerChange { keepalive: Some(25 * (n % 2)), ..PeerChange::new(key(n)) };
    let change = DeviceChange { peers: (0..COUNT).map(peers).collect(), ..Default::default() };
    hub.core.apply(&change, hub.now, &mut hub.out);
    let at_once = hub.take_datagrams().len();
    assert_eq!(at_once, CALLS_AT_ONCE as usize, "five spokes are called at once");
    let began = hub.now.boot;
    let mut called = at_once;
    while called < COUNT.into() {
        let next = hub.core.tick(hub.now, &mut hub.out);
        let now = hub.take_datagrams().len();
        assert!(now <= CALLS_AT_ONCE as usize, "{now} at a time");
        called += now;
        hub.now.boot += next;
        assert!(hub.now.boot - began < Duration::from_secs(2), "{called} called");
    }
    println!("{COUNT} peers are called within {:?}", hub.now.boot - began);
    hub.now.boot += Duration::from_millis(20);
    hub.tick();
    assert_eq!((called, hub.take_datagrams().len()), (COUNT.into(), 0));
}

#[test]
fn answers_that_were_asked_for_are_no_load() {
    const COUNT: u8 = 200;
    let mut hub = Side::new(HUB, "192.0.2.2:51820");
    let mut spokes: Vec<Side> =
        (0..COUNT).map(|n| Side::new(n + 3, &format!("198.51.100.{n}:51820"))).collect();
    let hub_key = hub.public_key;
    spokes.iter_mut().for_each(|spoke| spoke.change(PeerChange::new(hub_key)));
    let peers = |spoke: &Side| PeerChange {
        endpoint: Some(spoke.remote.address),
        keepalive: Some(25),
        ..PeerChange::new(spoke.public_key)
    };
    let change = DeviceChange { peers: spokes.iter().map(peers).collect(), ..Default::default() };
    hub.core.apply(&change, hub.now, &mut hub.out);
    let answers: Vec<(Vec<u8>, Remote)> = hub
        .take_datagrams()
        .iter()
        .zip(&mut spokes)
        .map(|(call, spoke)| {
            spoke.receive(call, at("192.0.2.2:51820"));
            (spoke.take_datagrams().remove(0), spoke.remote)
        })
        .collect();
    // All in rounds that are full of them, for a second and more.
    for round in answers.chunks(16) {
        hub.now.boot += Duration::from_millis(100);
        round.iter().for_each(|(answer, from)| hub.receive(answer, *from));
    }
    assert_eq!(hub.core.report().dropped.throttled, 0);
    assert_eq!(
        hub.core.report().peers.iter().filter(|p| p.last_handshake.is_some()).count(),
        usize::from(COUNT)
    );
    // The same again is load, as anybody's: whoever sees an answer can send it as often as he likes.
    for _ in 0..40 {
        hub.now.boot += Duration::from_millis(100);
        (0..16).for_each(|_| hub.receive(&answers[0].0, answers[0].1));
    }
    assert!(hub.core.report().dropped.throttled > 0);
}

#[test]
fn junk_without_the_public_key_is_no_load() {
    let (mut spoke, mut hub) = spoke_and_hub();
    for length in [148, 92] {
        let mut junk = vec![0xA5; length];
        junk[..4].copy_from_slice(&[if length == 148 { 1 } else { 2 }, 0, 0, 0]);
        // Eighty a second, bunched; and then far more than the threshold.
        for round in 0..40 {
            hub.now.boot += Duration::from_millis(100);
            (0..if round < 30 { 8 } else { 600 }).for_each(|_| hub.receive(&junk, at("203.0.113.8:8")));
        }
    }
    spoke.send(&to_hub());
    assert_eq!(settle(&mut spoke, &mut hub), [1, 2, 4, 4], "no cookie");
    assert_eq!(hub.core.report().dropped.throttled, 0);
}

#[test]
fn the_preshared_key_of_a_peer_that_goes_is_wiped_where_gotatun_has_it() {
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    // Never whole in this test's own memory but where it is put.
    let has_key = |at: usize| {
        let mut bytes = vec![0; size_of::<Tunn>()];
        memory.read_exact_at(&mut bytes, at as u64).unwrap();
        bytes.windows(32).any(|w| w.iter().enumerate().all(|(i, b)| usize::from(*b) == 0x40 + i))
    };
    let psk = || PresharedKey::from_bytes(std::array::from_fn(|i| 0x40 + u8::try_from(i).unwrap()));
    for ending in 0..3 {
        let (mut spoke, hub) = spoke_and_hub();
        spoke.change(PeerChange { preshared_key: Some(Some(psk())), ..PeerChange::new(hub.public_key) });
        spoke.send(&to_hub());
        let tunn = spoke.core.peer(PeerId(0)).unwrap().tunn.as_deref().unwrap();
        let at = std::ptr::from_ref(tunn) as usize;
        assert!(has_key(at), "where it is while it is needed");
        match ending {
            0 => spoke.change(PeerChange { remove: true, ..PeerChange::new(hub.public_key) }),
            1 => spoke.change(PeerChange {
                preshared_key: Some(Some(PresharedKey::from_bytes([1; 32]))),
                ..PeerChange::new(hub.public_key)
            }),
            _ => drop(spoke),
        }
        assert!(!has_key(at), "ending {ending}");
    }
}
