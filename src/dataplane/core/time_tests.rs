//! The times in handshakes: what the embedded data plane writes, and what it takes from others, whose initiations are made here by the
//! paper (section 5.4.2) and not by the library that the data plane has its own from.
#![expect(clippy::disallowed_methods, reason = "a test reads the clock that the library reads")]

use std::time::SystemTime;

use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput as _, KeyInit as _, Update as _};
use blake2::{Blake2s256, Blake2sMac, Digest};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};

use super::tests::{Side, at, settle, spoke_and_hub, to_hub};
use super::*;

/// What the kernel and wireguard-go add to a time of Unix.
const OTHERS: u64 = (1 << 62) + 10;
/// How far ahead of them the embedded data plane is, in seconds.
const AHEAD: u64 = 27;
/// The spoke's key in [`spoke_and_hub`], and the hub's.
const SPOKE: [u8; 32] = [1; 32];
const HUB: [u8; 32] = [2; 32];

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Blake2s256::new();
    parts.iter().for_each(|part| Digest::update(&mut hash, part));
    hash.finalize().into()
}

/// HMAC, as RFC 2104 has it.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let pad = |with: u8| std::array::from_fn::<u8, 64, _>(|n| key.get(n).copied().unwrap_or(0) ^ with);
    hash(&[&pad(0x5c), &hash(&[&pad(0x36), message])])
}

/// The next chaining key, and the key that goes with it.
fn kdf2(chaining_key: &[u8; 32], input: &[u8]) -> ([u8; 32], [u8; 32]) {
    let secret = hmac(chaining_key, input);
    let first = hmac(&secret, &[1]);
    (first, hmac(&secret, &[&first[..], &[2]].concat()))
}

fn seal(key: &[u8; 32], text: &[u8], about: &[u8; 32]) -> Vec<u8> {
    let cipher = ChaCha20Poly1305::new(key.into());
    cipher.encrypt(&Nonce::default(), Payload { msg: text, aad: about }).expect("a short text is sealed")
}

fn tai64n(seconds: u64) -> [u8; 12] {
    let mut out = [0; 12];
    out[..8].copy_from_slice(&seconds.to_be_bytes());
    out
}

/// An initiation of the spoke to the hub, as another program would send it at this time of Unix.
fn by_another_program(unix: u64) -> Vec<u8> {
    let [spoke, hub] = [SPOKE, HUB].map(x25519::StaticSecret::from);
    let [spoke_public, hub_public] = [&spoke, &hub].map(x25519::PublicKey::from);
    let ephemeral = x25519::StaticSecret::from(*hash(&[&unix.to_be_bytes()]).first_chunk().unwrap());
    let ephemeral_public = x25519::PublicKey::from(&ephemeral);

    let mut message = vec![1, 0, 0, 0, 7, 7, 7, 7];
    let construction = hash(&[b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]);
    let mut transcript =
        hash(&[&hash(&[&construction, b"WireGuard v1 zx2c4 Jason@zx2c4.com"]), hub_public.as_bytes()]);
    let (chaining_key, _) = kdf2(&construction, ephemeral_public.as_bytes());
    message.extend(ephemeral_public.as_bytes());
    transcript = hash(&[&transcript, ephemeral_public.as_bytes()]);
    let (chaining_key, key) = kdf2(&chaining_key, ephemeral.diffie_hellman(&hub_public).as_bytes());
    let sealed = seal(&key, spoke_public.as_bytes(), &transcript);
    message.extend(&sealed);
    transcript = hash(&[&transcript, &sealed]);
    let (_, key) = kdf2(&chaining_key, spoke.diffie_hellman(&hub_public).as_bytes());
    message.extend(seal(&key, &tai64n(OTHERS + unix), &transcript));

    let mac_key = hash(&[b"mac1----", hub_public.as_bytes()]);
    let mut mac: Blake2sMac<U16> = Blake2sMac::new_from_slice(&mac_key).expect("a key of 32 bytes");
    mac.update(&message);
    message.extend(mac.finalize_fixed());
    message.extend([0; 16]);
    message
}

fn unix() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// Says whether the hub answers.
fn answers(hub: &mut Side, initiation: &[u8]) -> bool {
    hub.receive(initiation, at("192.0.2.1:1000"));
    let refused = hub.core.report().dropped.refused;
    let answers: Vec<u8> = hub.take_datagrams().iter().map(|datagram| datagram[0]).collect();
    assert!(answers == [2] || (answers.is_empty() && refused > 0), "{answers:?}, {refused}");
    !answers.is_empty()
}

#[test]
fn times_in_our_handshakes_are_27_seconds_ahead_of_others() {
    let from = unix();
    let (mut spoke, mut hub) = spoke_and_hub();
    spoke.send(&to_hub());
    settle(&mut spoke, &mut hub);
    let to = unix();
    let kept = hub.core.memory_of(PeerId(0)).expect("the hub keeps it").1.stamp;
    let seconds = u64::from_be_bytes(*kept.first_chunk().unwrap());
    let said = seconds - OTHERS;
    assert!((from + AHEAD..=to + AHEAD).contains(&said), "{from} to {to}: {said}");
}

#[test]
fn who_changes_to_another_program_is_refused_until_27_seconds_after_his_last_handshake() {
    let (mut spoke, mut hub) = spoke_and_hub();
    let from = unix();
    spoke.send(&to_hub());
    settle(&mut spoke, &mut hub);
    let to = unix();
    for after in [0, 1, AHEAD - 1] {
        assert!(!answers(&mut hub, &by_another_program(from + after)), "{after} s");
    }
    assert!(answers(&mut hub, &by_another_program(to + AHEAD + 1)), "and then he is not");
    assert!(!answers(&mut hub, &by_another_program(to + AHEAD + 1)), "once");
}

#[test]
fn who_changes_to_the_embedded_data_plane_is_answered_at_once() {
    let (mut spoke, mut hub) = spoke_and_hub();
    assert!(answers(&mut hub, &by_another_program(unix())));
    spoke.send(&to_hub());
    assert_eq!(settle(&mut spoke, &mut hub)[..2], [1, 2]);
    assert_eq!(hub.take_packets(), [to_hub()]);
}
