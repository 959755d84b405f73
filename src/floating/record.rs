//! What hosts of a floating relay write to the store for each other.

use serde::{Deserialize, Serialize};

use crate::model::NodeName;

/// Who carries a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Which host.
    pub host: NodeName,
    /// Which start of which machine: two that are called alike are two.
    pub instance: String,
    /// Grows with each host that takes it.
    pub term: u64,
    /// Since when it carries the relay, in Unix seconds by its own clock.
    pub since: u64,
    /// Its clock when this was written, in milliseconds since 1970: handshakes of later ones must not look older.
    pub clock: u64,
    /// Whether it has given it up: the next one need not wait.
    pub released: bool,
}

/// That a host stands by, or carries; written again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Its clock when this was written, in milliseconds since 1970.
    pub clock: u64,
}

impl Lease {
    /// Reads one; `None`: it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}
