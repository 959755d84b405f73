//! Keys as `wg(8)` writes them: 32 bytes, 44 characters of base64.
//!
//! Private and preshared keys never print themselves and are wiped when dropped.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Length of every WireGuard key in bytes.
pub const KEY_LEN: usize = 32;

/// Tells why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 44 characters of base64.
    #[error("a key is 44 characters of base64, ending in \"=\"; this has {0}")]
    Length(usize),
    /// 44 characters, but not the base64 of 32 bytes.
    #[error("not base64: a character or the ending is wrong")]
    Encoding,
}

/// Decodes a key's text into a buffer, which is the caller's to wipe; the key is its first [`KEY_LEN`] bytes.
fn decode_into(text: &str, buffer: &mut [u8; 48]) -> Result<(), KeyError> {
    if text.len() != TEXT_LEN {
        return Err(KeyError::Length(text.chars().count()));
    }
    match BASE64_STANDARD.decode_slice(text, buffer) {
        Ok(KEY_LEN) => Ok(()),
        _ => Err(KeyError::Encoding),
    }
}

fn decode(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    let mut buffer = Zeroizing::new([0; 48]);
    decode_into(text, &mut buffer)?;
    let mut key = Zeroizing::new([0; KEY_LEN]);
    key.copy_from_slice(&buffer[..KEY_LEN]);
    Ok(key)
}

/// Reads a key's text where it stands: a copy of a secret would have to be wiped.
struct Base64;

impl serde::de::Visitor<'_> for Base64 {
    type Value = Zeroizing<[u8; KEY_LEN]>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key: 44 characters of base64")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        decode(text).map_err(E::custom)
    }
}

/// A peer's public key: its identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// Wraps the raw bytes.
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }
    /// Returns the raw bytes.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        // Public: nothing to wipe, of thousands of them.
        let mut buffer = [0; 48];
        decode_into(text, &mut buffer)?;
        let (key, _) = buffer.split_first_chunk().expect("48 bytes hold a key");
        Ok(Self(*key))
    }
}

/// The Ed25519 key that a relay's revisions are held against; written as every other key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct SigningKey(PublicKey);

impl SigningKey {
    /// Wraps the raw bytes.
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(PublicKey::from_bytes(bytes))
    }
    /// Returns the raw bytes.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        self.0.as_bytes()
    }
}

impl FromStr for SigningKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Length of a key's text.
const TEXT_LEN: usize = 44;

/// Writes a key's text into a buffer, which is the caller's to wipe.
fn encode<'b>(key: &[u8; KEY_LEN], buffer: &'b mut [u8; TEXT_LEN]) -> &'b str {
    let length = BASE64_STANDARD.encode_slice(key, buffer).expect("32 bytes are 44 characters");
    std::str::from_utf8(&buffer[..length]).expect("base64 is ASCII")
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(encode(&self.0, &mut [0; TEXT_LEN]))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(encode(&self.0, &mut [0; TEXT_LEN]))
    }
}

impl<'de> serde::Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(PublicText)
    }
}

/// Reads a public key's text where it stands.
struct PublicText;

impl serde::de::Visitor<'_> for PublicText {
    type Value = PublicKey;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Base64.expecting(f)
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; KEY_LEN]);

        impl $name {
            /// Wraps the raw bytes.
            pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
                Self(bytes)
            }
            /// Returns the raw bytes; the caller keeps them out of logs and argument lists.
            pub const fn expose(&self) -> &[u8; KEY_LEN] {
                &self.0
            }
            /// Returns the base64 text, wiped when dropped; only `export`, `genkey` and the secrets file print it.
            pub fn expose_base64(&self) -> Zeroizing<String> {
                Zeroizing::new(BASE64_STANDARD.encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = KeyError;
            fn from_str(text: &str) -> Result<Self, KeyError> {
                decode(text).map(|k| Self(*k))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(encode(&self.0, &mut Zeroizing::new([0; TEXT_LEN])))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_str(Base64).map(|key| Self(*key))
            }
        }
    };
}

secret! {
    /// A node's private key.
    PrivateKey
}
secret! {
    /// A key that two peers share on top of their key pairs.
    PresharedKey
}

impl PresharedKey {
    /// A pair without one: WireGuard takes a preshared key of zeros for none.
    pub const NONE: Self = Self([0; KEY_LEN]);

    /// Says whether it is one at all; zeros are none.
    pub fn is_some(&self) -> bool {
        self.0 != [0; KEY_LEN]
    }
}

impl PrivateKey {
    /// Makes a private key of 32 random bytes, clamped as X25519 wants it (RFC 7748, section 5).
    pub fn from_random(mut bytes: [u8; KEY_LEN]) -> Self {
        bytes[0] &= 248;
        bytes[31] = (bytes[31] & 127) | 64;
        let key = Self(bytes);
        bytes.zeroize();
        key
    }
    /// Computes the public key that belongs to this private key.
    pub fn public_key(&self) -> PublicKey {
        let secret = x25519_dalek::StaticSecret::from(self.0);
        PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_as_wg_makes_it() {
        // From `wg genkey | tee /dev/stderr | wg pubkey`: nobody's key.
        let private: PrivateKey = "cIYtrvG9H+AG22zodA/62F81zC2E9KP0LvetMVQgaFU=".parse().unwrap();
        assert_eq!(private.public_key().to_string(), "E5GHUQgNlUgNJuADdrXSkljxlEjdb3OQ53npCyOYnlY=");
    }

    #[test]
    fn secrets_do_not_print() {
        let key = PrivateKey::from_random([7; 32]);
        assert_eq!(format!("{key:?}"), "PrivateKey(…)");
        assert_eq!(format!("{:?}", PresharedKey::from_bytes([7; 32])), "PresharedKey(…)");
    }

    #[test]
    fn faults_are_told_apart() {
        assert_eq!("abc".parse::<PublicKey>(), Err(KeyError::Length(3)));
        assert_eq!("!".repeat(44).parse::<PublicKey>(), Err(KeyError::Encoding));
        // 44 characters, but 33 bytes.
        assert_eq!("A".repeat(44).parse::<PublicKey>(), Err(KeyError::Encoding));
        // The last character carries bits that no byte has: wg(8) refuses it too.
        assert!("cIYtrvG9H+AG22zodA/62F81zC2E9KP0LvetMVQgaFV=".parse::<PublicKey>().is_err());
    }
}
