//! Who may what, as pages show it: users, their devices, sessions, tokens, and what each did.

use serde::Serialize;

use super::Role;

/// A device of somebody's own, as that one sees it.
#[derive(Debug, Clone, Serialize)]
pub struct Device {
    /// The node.
    pub name: String,
    /// What it runs on.
    pub platform: String,
    /// Its tunnel address.
    pub address: String,
    /// The same of IPv6.
    pub address6: Option<String>,
    /// Whether the file has it switched on.
    pub enabled: bool,
    /// Whether it takes part now: enabled and not expired.
    pub active: bool,
    /// When it stops to, as RFC 3339.
    pub expires: Option<String>,
    /// Its public key.
    pub public_key: String,
    /// How its session with this host is; `None`: it has none, or that is not known. So below.
    pub health: Option<crate::status::Health>,
    /// Seconds since its last handshake.
    pub handshake_age: Option<u64>,
    /// Bytes received from it.
    pub rx_bytes: Option<u64>,
    /// Bytes sent to it.
    pub tx_bytes: Option<u64>,
}

/// A link of somebody's own that no device used yet.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The node that it makes.
    pub node: String,
    /// What that is to run on.
    pub platform: String,
    /// When it ends, in Unix seconds.
    pub expires: u64,
}

/// Users, sessions and tokens.
#[derive(Debug, Clone, Default)]
pub struct People {
    /// By name.
    pub users: Vec<User>,
    /// The newest first.
    pub sessions: Vec<Session>,
    /// By name.
    pub tokens: Vec<Token>,
}

/// A user.
#[derive(Debug, Clone)]
pub struct User {
    /// Who.
    pub name: String,
    /// What that person may do.
    pub role: Role,
    /// Whether that person signs in by a provider.
    pub by_provider: bool,
    /// Whether a one-time code is asked for.
    pub has_second_factor: bool,
    /// How many devices of his own that person may have.
    pub most_devices: u64,
    /// The nodes that are.
    pub devices: Vec<String>,
}

/// A session of the page.
#[derive(Debug, Clone)]
pub struct Session {
    /// What it is revoked by; not its cookie.
    pub id: String,
    /// Whose.
    pub user: String,
    /// From where.
    pub address: String,
    /// When it was last used, in Unix seconds.
    pub seen: u64,
    /// Whether it is the one that asks.
    pub is_own: bool,
}

/// A token of the API.
#[derive(Debug, Clone)]
pub struct Token {
    /// What it is revoked by; not the token.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub scope: String,
    /// Until when, in Unix seconds; `None`: until it is revoked.
    pub expires: Option<u64>,
    /// When it was last used; `None`: never.
    pub seen: Option<u64>,
}

/// Something that somebody did, or was not let do.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// When, in Unix seconds.
    pub at: u64,
    /// The account, or the token by its name.
    pub who: String,
    /// From where.
    pub address: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub what: String,
    /// Whether it was done; else it was refused.
    pub is_done: bool,
}
