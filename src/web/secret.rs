//! Secrets of the page's own: links, cookies, tokens. 256 bits from the system, kept as their digests alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::procedure::Refused;

/// Bytes of a secret.
const BYTES: usize = 32;

/// What a secret is kept as: nobody gets back from it to the secret.
pub type Hash = [u8; 32];

/// Makes a secret, as 43 letters that go into a URL and a cookie as they are.
///
/// # Errors
/// The system has no randomness.
pub fn make() -> Result<Zeroizing<String>, Refused> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    random(&mut bytes[..])?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(&bytes[..])))
}

/// Fills bytes from the system.
///
/// # Errors
/// The system has no randomness.
pub fn random(bytes: &mut [u8]) -> Result<(), Refused> {
    getrandom::fill(bytes).map_err(|e| {
        Refused::new(500, format!("the system gives no randomness: {e}"), "mount /dev, with /dev/urandom")
    })
}

/// Returns what a secret is kept as.
pub fn hash(secret: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    hash
}

/// Says whether two texts are the same, in a time that does not tell where they differ.
pub fn same(one: &str, other: &str) -> bool {
    // The digests differ everywhere where the texts differ anywhere.
    hash(one) == hash(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_and_differ() {
        let (one, other) = (make().unwrap(), make().unwrap());
        assert_eq!(one.len(), 43);
        assert_ne!(one, other);
        assert!(same(&one, &one) && !same(&one, &other));
    }
}
