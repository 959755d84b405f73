//! One-time codes by the clock (RFC 6238: SHA-1, 30 seconds, six digits), each good once.

use ring::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};
use zeroize::Zeroizing;

use super::procedure::Refused;
use super::secret;

/// Seconds of a step.
const STEP: u64 = 30;
/// Bytes of a shared secret.
const BYTES: usize = 20;

/// Makes a shared secret.
///
/// # Errors
/// There is no randomness.
pub fn make() -> Result<Zeroizing<[u8; BYTES]>, Refused> {
    let mut shared = Zeroizing::new([0; BYTES]);
    secret::random(&mut shared[..])?;
    Ok(shared)
}

/// The code of a step.
fn code(secret: &[u8], step: u64) -> u32 {
    let tag = sign(&Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret), &step.to_be_bytes());
    let bytes = tag.as_ref();
    // RFC 4226, 5.3: SHA-1's twenty bytes are always there.
    let offset = usize::from(bytes[19] & 15);
    let word = bytes[offset..offset + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    (word & 0x7fff_ffff) % 1_000_000
}

/// Returns the step that a code is of, at a time in Unix seconds: the present one, or one beside it, and later than the last
/// that was used. `None`: it is wrong, or was used.
pub fn step_of(secret: &[u8], typed: &str, now: u64, last: u64) -> Option<u64> {
    if typed.len() != 6 || !typed.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let typed: u32 = typed.parse().ok()?;
    let present = now / STEP;
    (present.saturating_sub(1)..=present + 1).find(|step| *step > last && code(secret, *step) == typed)
}

/// Returns the code of now, as an app shows it.
#[cfg(test)]
pub fn shown(secret: &[u8], now: u64) -> String {
    format!("{:06}", code(secret, now / STEP))
}

/// Writes a secret as apps read it: base32 without padding.
pub fn base32(secret: &[u8]) -> Zeroizing<String> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (mut bits, mut held, mut text) = (0_u32, 0_u32, Zeroizing::new(String::new()));
    for byte in secret {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(LETTERS[(held >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(LETTERS[(held << (5 - bits) & 31) as usize]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, the last six digits.
    #[test]
    fn codes_are_those_of_the_specification() {
        let secret = b"12345678901234567890";
        for (at, expected) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(shown(secret, at), expected);
        }
        assert_eq!(base32(b"12345678901234567890").as_str(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    }

    #[test]
    fn a_code_is_good_once_and_only_around_its_time() {
        let (secret, now) = (b"12345678901234567890", 1_000_000_u64);
        let typed = shown(secret, now);
        let step = step_of(secret, &typed, now, 0).unwrap();
        assert_eq!(step_of(secret, &typed, now, step), None, "a second time");
        assert_eq!(step_of(secret, &typed, now + 29, step), None);
        assert!(step_of(secret, &shown(secret, now + 30), now, step).is_some());
        assert_eq!(step_of(secret, &typed, now + 90, 0), None, "too late");
        for none in ["", "12345", "1234567", "12a456", " 287082", "+28708"] {
            assert_eq!(step_of(secret, none, 59, 0), None, "{none}");
        }
    }
}
