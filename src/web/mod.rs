//! The page and the API: a shell over app, in two processes. One has the rights to the network and never sees HTTP; the other
//! speaks HTTP and has no rights. What the second may ask of the first is [`procedure::Procedure`], and nothing else.
//!
//! What is served is in one table, [`routes::ROUTES`]: dispatch, who may, limits, and the description of the API are made of it.

mod account;
pub mod agent;
mod answer;
mod api;
mod ask;
mod by_provider;
mod by_tunnel;
mod caller;
pub mod client;
mod clock;
pub mod database;
mod devices;
pub mod edits;
mod enroll;
pub mod events;
mod fields;
pub mod guard;
mod notifications;
pub mod notify;
pub mod oidc;
pub mod openapi;
pub mod pages;
mod password;
mod people;
pub mod procedure;
pub mod proxy;
mod reader;
mod route;
pub mod routes;
mod secret;
pub mod server;
mod show;
mod sign_in;
mod throttle;
mod totp;
mod trust;
pub mod view;
mod watching;

use std::sync::Mutex;

use procedure::Refused;
use zeroize::Zeroizing;

pub use answer::{Asked, Outgoing, STRANGERS_BODY};
pub use ask::{Ask, Reply};
pub use by_tunnel::Viewers;
pub use database::Database;
pub use password::{hash as hash_password, is_right as is_password};
pub use watching::{Due, Watching};

/// The half that speaks HTTP.
pub struct Web {
    /// The other half.
    pub agent: Box<dyn procedure::Agent>,
    /// Who may what.
    pub database: Database,
    /// Where it is.
    pub place: guard::Place,
    /// The network's name.
    pub network: String,
    /// Who listens for what changes.
    pub events: events::Events,
    /// Who may look because he comes through the tunnel; none, unless it is said.
    pub viewers: Viewers,
    /// Whom people sign in by; `None`: nobody.
    pub oidc: Option<oidc::Provider>,
    /// Who guessed too often.
    throttle: Mutex<throttle::Throttle>,
}

impl Web {
    /// Puts it together.
    pub fn new(
        agent: Box<dyn procedure::Agent>,
        database: Database,
        place: guard::Place,
        network: String,
    ) -> Self {
        Self {
            agent,
            database,
            place,
            network,
            events: events::Events::default(),
            viewers: Viewers::default(),
            oidc: None,
            throttle: Mutex::default(),
        }
    }

    fn throttle(&self) -> std::sync::MutexGuard<'_, throttle::Throttle> {
        self.throttle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// One-time codes that were turned on: told this once.
pub struct OneTimeCodes {
    /// What an app takes: `otpauth://…`.
    pub address: Zeroizing<String>,
    /// Each gets in once, without the app.
    pub recovery: Vec<String>,
}

/// Turns one-time codes on for a user.
///
/// # Errors
/// There is no randomness, or the database cannot be written.
pub fn one_time_codes(
    database: &Database,
    network: &str,
    user: &database::User,
) -> Result<OneTimeCodes, Refused> {
    let shared = totp::make()?;
    let (recovery, hashes) = recovery_codes()?;
    database.set_totp(user.id, Some(&shared[..]), &hashes)?;
    Ok(OneTimeCodes { address: totp_address(network, &user.name, &shared[..]), recovery })
}

/// Makes codes for when an app is lost.
fn recovery_codes() -> Result<(Vec<String>, Vec<secret::Hash>), Refused> {
    /// So many.
    const CODES: usize = 8;
    let codes: Vec<String> =
        (0..CODES).map(|_| Ok(secret::make()?.to_string())).collect::<Result<_, Refused>>()?;
    let hashes = codes.iter().map(|code| secret::hash(code)).collect();
    Ok((codes, hashes))
}

/// Writes a secret as apps take it.
fn totp_address(network: &str, user: &str, shared: &[u8]) -> Zeroizing<String> {
    let secret = totp::base32(shared);
    Zeroizing::new(format!(
        "otpauth://totp/wgrelay%20{network}:{user}?secret={}&issuer=wgrelay",
        secret.as_str()
    ))
}
