//! Passwords: argon2id, at most two at a time, so that guessing costs no memory; and as long for nobody as for somebody.

use std::sync::Mutex;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Argon2, PasswordHash};

use super::procedure::Refused;

/// A password has as many characters at least. Length is what protects one.
pub const SHORTEST: usize = 12;
/// And as many bytes at most.
pub const LONGEST: usize = 256;

/// Each takes 19 MiB and a good part of a core.
static TURN: [Mutex<()>; 2] = [Mutex::new(()), Mutex::new(())];

fn in_turn<T>(work: impl FnOnce() -> T) -> T {
    let free = TURN.iter().find_map(|turn| turn.try_lock().ok());
    let _turn = free.unwrap_or_else(|| TURN[0].lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    work()
}

/// Hashes a password, to be kept.
///
/// # Errors
/// It is too short or too long.
pub fn hash(password: &str) -> Result<String, Refused> {
    if password.chars().count() < SHORTEST || password.len() > LONGEST {
        let message = format!("a password has {SHORTEST} characters or more, and {LONGEST} bytes at most");
        return Err(Refused::new(400, message, "a few words that nobody else puts together"));
    }
    in_turn(|| Argon2::default().hash_password(password.as_bytes()))
        .map(|hash| hash.to_string())
        .map_err(|e| Refused::new(500, format!("a password cannot be hashed: {e}"), ""))
}

/// Says whether a password is the one that was hashed. `None`: nobody has that name; it takes as long.
pub fn is_right(password: &str, hashed: Option<&str>) -> bool {
    /// Of no password that anybody knows.
    const NOBODY: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyBpdA$TQb0tqWp8rX7M0rbsXnKLu1mQ3hXk2kqJmJ7p4bXx0E";
    if password.len() > LONGEST {
        return false;
    }
    let Ok(parsed) = PasswordHash::new(hashed.unwrap_or(NOBODY)) else { return false };
    let right = in_turn(|| Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok());
    right && hashed.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_no_other_is() {
        let hashed = hash("correct horse battery").unwrap();
        assert!(hashed.starts_with("$argon2id$"), "{hashed}");
        assert!(is_right("correct horse battery", Some(&hashed)));
        assert!(!is_right("correct horse batterz", Some(&hashed)));
        assert!(!is_right("", Some(&hashed)));
        assert_eq!(hash("short").unwrap_err().status, 400);
        assert_eq!(hash(&"x".repeat(257)).unwrap_err().status, 400);
    }

    #[test]
    fn nobody_has_a_password() {
        assert!(!is_right("", None) && !is_right("anything at all", None));
    }
}
