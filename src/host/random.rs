//! Keys from the system's randomness: x25519-dalek asks `getrandom(2)`.

use x25519_dalek::StaticSecret;

use crate::model::{PresharedKey, PrivateKey};

/// Makes a private key.
///
/// # Panics
/// Where the system has no randomness at all: going on with a guessable key would be worse.
pub fn private_key() -> PrivateKey {
    PrivateKey::from_random(StaticSecret::random().to_bytes())
}

/// Makes a preshared key.
///
/// # Panics
/// As [`private_key`].
pub fn preshared_key() -> PresharedKey {
    PresharedKey::from_bytes(StaticSecret::random().to_bytes())
}
