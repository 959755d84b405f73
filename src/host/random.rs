//! Keys from the system's randomness: x25519-dalek asks `getrandom(2)`.

use x25519_dalek::StaticSecret;

use crate::host::HostError;
use crate::model::{PresharedKey, PrivateKey};

/// Says no where the system has no randomness, before a key is made: a program without libraries needs /dev/urandom.
///
/// # Errors
/// The system gives none; the cause is its own.
pub fn ready() -> Result<(), HostError> {
    getrandom::fill(&mut [0; 1]).map_err(|e| {
        HostError::new("make", "keys", format!("the system gives no randomness: {e}"))
            .hint("mount /dev, with /dev/urandom in it")
    })
}

/// Makes a private key.
///
/// # Panics
/// Where the system has no randomness, which [`ready`] tells first: going on with a guessable key would be worse.
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
