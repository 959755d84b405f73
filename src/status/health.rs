//! What a handshake's age says about a peer.

use serde::{Deserialize, Serialize};

/// A session is renewed after 120 s of use and refused after 180 s (WireGuard whitepaper, section 6.1).
const ONLINE: u64 = 180;
/// REJECT_AFTER 180 + REKEY_TIMEOUT 5 + REKEY_ATTEMPT_TIME 90: by then a living peer has succeeded or given up.
const UNCERTAIN: u64 = 275;

/// The health of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// A handshake within 180 s.
    Online,
    /// Within 275 s: it may be renewing.
    Uncertain,
    /// Older, although its keepalive should have renewed it.
    Down,
    /// Older, and nothing was to keep it alive.
    Idle,
    /// No handshake yet.
    Never,
}

impl Health {
    /// Says whether a peer that is needed is not there.
    pub const fn is_away(self) -> bool {
        matches!(self, Self::Down | Self::Never)
    }
    /// Returns the word of the JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Uncertain => "uncertain",
            Self::Down => "down",
            Self::Idle => "idle",
            Self::Never => "never",
        }
    }
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Judges a handshake's age in seconds; `None`: there was none yet.
pub const fn health(age: Option<u64>, has_keepalive: bool) -> Health {
    match age {
        None => Health::Never,
        Some(0..=ONLINE) => Health::Online,
        Some(0..=UNCERTAIN) => Health::Uncertain,
        Some(_) if has_keepalive => Health::Down,
        Some(_) => Health::Idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits() {
        assert_eq!(health(Some(180), true), Health::Online);
        assert_eq!(health(Some(181), true), Health::Uncertain);
        assert_eq!(health(Some(275), false), Health::Uncertain);
        assert_eq!(health(Some(276), true), Health::Down);
        assert_eq!(health(Some(276), false), Health::Idle);
        assert_eq!(health(None, true), Health::Never);
    }
}
