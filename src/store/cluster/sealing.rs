//! Keys in a place that others read: what all relays need is encrypted once, and that key sealed to each of them; what one
//! relay needs is sealed to it alone. Sealed boxes are NaCl's (crypto_box), the encryption is XChaCha20-Poly1305.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::model::{KEY_LEN, PrivateKey, PublicKey};

const NONCE: usize = 24;

/// A key that encrypts one text, once.
#[derive(Clone, PartialEq, Eq, zeroize::ZeroizeOnDrop)]
pub struct ContentKey([u8; KEY_LEN]);

/// Why something cannot be opened; nothing of what is in it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was sealed to another key, or is not what was sealed")]
pub struct NotOpened;

impl ContentKey {
    /// Makes one.
    pub fn random() -> Self {
        let mut key = XChaCha20Poly1305::generate_key(&mut OsRng);
        let made = Self(key.into());
        zeroize::Zeroize::zeroize(key.as_mut_slice());
        made
    }

    /// Encrypts; `about` says what it is, and is not kept with it.
    pub fn encrypt(&self, plain: &[u8], about: &[u8]) -> Vec<u8> {
        let mut out = vec![0; NONCE];
        chacha20poly1305::aead::rand_core::RngCore::fill_bytes(&mut OsRng, &mut out);
        let cipher = XChaCha20Poly1305::new(&self.0.into());
        let sealed = cipher.encrypt(XNonce::from_slice(&out), Payload { msg: plain, aad: about });
        out.extend(sealed.expect("no text of ours is as long as the cipher's limit"));
        out
    }

    /// Decrypts what [`Self::encrypt`] made of a text that is about the same.
    ///
    /// # Errors
    /// It is something else.
    pub fn decrypt(&self, sealed: &[u8], about: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
        let (nonce, text) = sealed.split_at_checked(NONCE).ok_or(NotOpened)?;
        let cipher = XChaCha20Poly1305::new(&self.0.into());
        let plain = cipher.decrypt(XNonce::from_slice(nonce), Payload { msg: text, aad: about });
        plain.map(Zeroizing::new).map_err(|_| NotOpened)
    }

    /// Seals it to a relay.
    pub fn seal_to(&self, to: &PublicKey) -> Vec<u8> {
        seal(&self.0, to)
    }

    /// Opens what was sealed to one of these keys.
    ///
    /// # Errors
    /// To none of them.
    pub fn open<'k>(
        sealed: &[u8],
        keys: impl IntoIterator<Item = &'k PrivateKey>,
    ) -> Result<Self, NotOpened> {
        open(sealed, keys).and_then(|bytes| bytes.as_slice().try_into().map(Self).map_err(|_| NotOpened))
    }
}

/// Seals bytes to whoever has the private key of `to`.
pub fn seal(plain: &[u8], to: &PublicKey) -> Vec<u8> {
    let to = crypto_box::PublicKey::from(*to.as_bytes());
    to.seal(&mut OsRng, plain).expect("no text of ours is as long as the cipher's limit")
}

/// Opens what was sealed to one of these keys.
///
/// # Errors
/// To none of them.
pub fn open<'k>(
    sealed: &[u8],
    keys: impl IntoIterator<Item = &'k PrivateKey>,
) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
    let mut opened = keys.into_iter().filter_map(|key| {
        let key = crypto_box::SecretKey::from(*key.expose());
        key.unseal(sealed).ok()
    });
    opened.next().map(Zeroizing::new).ok_or(NotOpened)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> PrivateKey {
        PrivateKey::from_random([n; 32])
    }

    #[test]
    fn what_is_sealed_is_opened_by_its_key_alone() {
        let sealed = seal(b"a private key", &key(1).public_key());
        assert_eq!(open(&sealed, [&key(2), &key(1)]).unwrap().as_slice(), b"a private key");
        assert_eq!(open(&sealed, [&key(2)]), Err(NotOpened));
        assert!(!sealed.windows(7).any(|part| part == b"private"));
    }

    #[test]
    fn a_changed_byte_or_another_matter_opens_nothing() {
        let content = ContentKey::random();
        let sealed = content.encrypt(b"text", b"wg0");
        assert_eq!(content.decrypt(&sealed, b"wg0").unwrap().as_slice(), b"text");
        assert!(content.decrypt(&sealed, b"wg1").is_err());
        assert!(ContentKey::random().decrypt(&sealed, b"wg0").is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(content.decrypt(&changed, b"wg0").is_err(), "byte {at}");
        }
        for short in 0..sealed.len() {
            assert!(content.decrypt(&sealed[..short], b"wg0").is_err());
        }
    }
}
