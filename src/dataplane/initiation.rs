//! What an initiation says to whom it is for: who sends it, and when (the WireGuard paper, section 5.4.2).
//!
//! `gotatun` reads both and gives out the first alone; the second has to outlive the process (`memory`).

use blake2::{Blake2s256, Digest as _};
use chacha20poly1305::aead::{AeadInPlace as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use gotatun::x25519;
use zeroize::Zeroizing;

use crate::model::PublicKey;

/// Bytes of an initiation.
pub(super) const LENGTH: usize = 148;
/// A time as TAI64N: later ones are greater, byte by byte.
pub(super) type Stamp = [u8; 12];

type Hash = [u8; 32];

/// An initiation whose sender is known.
pub(super) struct Initiation {
    /// Who claims to send it.
    pub(super) sender: PublicKey,
    chaining_key: Zeroizing<Hash>,
    hash: Hash,
    time: [u8; 28],
}

impl Initiation {
    /// Reads who sends an initiation to the device of this key; `None`: it is for another one, or damaged.
    pub(super) fn open(
        message: &[u8; LENGTH],
        secret: &x25519::StaticSecret,
        public: &x25519::PublicKey,
    ) -> Option<Self> {
        let ephemeral: &[u8; 32] = message[8..40].first_chunk()?;
        let mut chaining_key = hash(&[b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]);
        let start = hash(&[&chaining_key, b"WireGuard v1 zx2c4 Jason@zx2c4.com"]);
        let before_static = hash(&[&hash(&[&start, public.as_bytes()]), ephemeral]);
        chaining_key = mac(&mac(&chaining_key, &[ephemeral]), &[&[1]]);
        let shared = secret.diffie_hellman(&x25519::PublicKey::from(*ephemeral));
        let (chaining_key, key) = derive(&chaining_key, shared.as_bytes());
        let sealed = &message[40..88];
        let sender = PublicKey::from_bytes(unseal(&key, sealed, &before_static)?);
        let time = *message[88..116].first_chunk()?;
        Some(Self { sender, chaining_key, hash: hash(&[&before_static, sealed]), time })
    }

    /// Reads when it was sent, with the secret that both sides' static keys make; `None`: the sender does not have his.
    pub(super) fn time(&self, shared: &[u8; 32]) -> Option<Stamp> {
        let (_, key) = derive(&self.chaining_key, shared);
        unseal(&key, &self.time, &self.hash)
    }
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut hash = Blake2s256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// HMAC (RFC 2104) over BLAKE2s, whose block is 64 bytes.
fn mac(key: &Hash, parts: &[&[u8]]) -> Hash {
    let pad = |with: u8| {
        let mut block = Zeroizing::new([with; 64]);
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = pad(0x36);
    let parts: Vec<&[u8]> = std::iter::once(&inner[..]).chain(parts.iter().copied()).collect();
    hash(&[&pad(0x5c)[..], &hash(&parts)])
}

/// KDF2: the next chaining key, and a key.
fn derive(chaining_key: &Hash, input: &[u8]) -> (Zeroizing<Hash>, Zeroizing<Hash>) {
    let secret = Zeroizing::new(mac(chaining_key, &[input]));
    let first = Zeroizing::new(mac(&secret, &[&[1]]));
    let second = Zeroizing::new(mac(&secret, &[&first[..], &[2]]));
    (first, second)
}

/// Decrypts `N` bytes that are followed by their tag.
fn unseal<const N: usize>(key: &Hash, sealed: &[u8], about: &Hash) -> Option<[u8; N]> {
    let (text, tag) = sealed.split_at_checked(N)?;
    let mut plain: [u8; N] = text.try_into().ok()?;
    let cipher = ChaCha20Poly1305::new(key.into());
    let tag: &[u8; 16] = tag.try_into().ok()?;
    cipher.decrypt_in_place_detached(&Nonce::default(), about, &mut plain, Tag::from_slice(tag)).ok()?;
    Some(plain)
}
