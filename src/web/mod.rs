//! The page and the API: a shell over app, in two processes. One has the rights to the network and never sees HTTP; the other
//! speaks HTTP and has no rights. What the second may ask of the first is [`procedure::Procedure`], and nothing else.
//!
//! What is served is in one table, [`routes::ROUTES`]: dispatch, who may, limits, and the description of the API are made of it.

pub mod agent;
mod answer;
mod api;
mod ask;
mod caller;
pub mod client;
pub mod database;
mod devices;
pub mod edits;
mod enroll;
mod fields;
pub mod guard;
pub mod openapi;
pub mod pages;
mod password;
mod people;
pub mod procedure;
mod reader;
mod route;
pub mod routes;
mod secret;
pub mod server;
mod show;
mod sign_in;
mod throttle;
mod totp;
pub mod view;

use std::sync::Mutex;

pub use answer::{Asked, Outgoing, STRANGERS_BODY};
pub use ask::{Ask, Reply};
pub use database::Database;
pub use password::{hash as hash_password, is_right as is_password};

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
        Self { agent, database, place, network, throttle: Mutex::default() }
    }

    fn throttle(&self) -> std::sync::MutexGuard<'_, throttle::Throttle> {
        self.throttle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// One-time codes that were turned on: told this once.
pub struct OneTimeCodes {
    /// What an app makes them of, in base32.
    pub secret: zeroize::Zeroizing<String>,
    /// Each gets in once, without the app.
    pub recovery: Vec<String>,
}

/// Turns one-time codes on for a user.
///
/// # Errors
/// There is no randomness, or the database cannot be written.
pub fn one_time_codes(database: &Database, user: i64) -> Result<OneTimeCodes, procedure::Refused> {
    /// Recovery codes.
    const CODES: usize = 8;
    let mut shared = zeroize::Zeroizing::new([0; totp::BYTES]);
    secret::random(&mut shared[..])?;
    let recovery: Vec<String> =
        (0..CODES).map(|_| Ok(secret::make()?.to_string())).collect::<Result<_, procedure::Refused>>()?;
    let hashes: Vec<secret::Hash> = recovery.iter().map(|code| secret::hash(code)).collect();
    database.set_totp(user, Some(&shared[..]), &hashes)?;
    Ok(OneTimeCodes { secret: zeroize::Zeroizing::new(totp::base32(&shared[..])), recovery })
}
