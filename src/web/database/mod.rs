//! Users, sessions, tokens, links and what was done: one file of SQLite, which the HTTP half alone opens. There is no key of the
//! network in it, and no secret of its own but as a digest; what one-time codes are made of is an exception, and cannot be, and so is
//! what messages to others are signed and sent with.
#![expect(clippy::disallowed_methods, reason = "one file")]

mod allowance;
mod audit;
mod devices;
mod enrollments;
mod identities;
mod links;
mod own;
mod sessions;
mod targets;
mod tokens;
mod users;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _};

pub use allowance::Use;
pub use audit::{BY_TUNNEL, Entry, LOGIN_FAILED, NOBODY, SIGNED_IN, TERMINAL};
pub use devices::MOST_DEVICES;
pub use enrollments::{Enrollment, Spent};
pub use identities::Identity;
pub use links::{FIRST, Purpose};
pub use own::Own;
pub use sessions::{Opened, SessionRow};
pub use targets::{FailedLogins, TargetRow};
pub use tokens::{TokenRow, TokenScope};
pub use users::{User, is_name, role_of};

use super::procedure::Refused;
use crate::store::owned::open_own;
use crate::store::traffic::replace_database;

/// What each version adds; the file's `user_version` says how many it has.
const MIGRATIONS: [&str; 11] = [
    include_str!("1.sql"),
    include_str!("2.sql"),
    include_str!("3.sql"),
    include_str!("4.sql"),
    include_str!("5.sql"),
    include_str!("6.sql"),
    include_str!("7.sql"),
    include_str!("8.sql"),
    include_str!("9.sql"),
    include_str!("10.sql"),
    include_str!("11.sql"),
];

/// The file.
pub struct Database {
    connection: Mutex<Connection>,
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::new(
            500,
            format!("the page's database: {error}"),
            "is its disk full, or its file somebody else's?",
        )
    }
}

impl Database {
    /// Opens the file, makes it where there is none, and brings it to this version.
    ///
    /// # Errors
    /// It cannot be written, is none, a link or somebody else's, or is of a newer version.
    pub fn open(path: &Path) -> Result<Self, Refused> {
        let wrong = |e: &dyn std::fmt::Display| {
            Refused::new(500, format!("cannot write {}: {e}", path.display()), "")
        };
        let mut options = std::fs::OpenOptions::new();
        let file = open_own(path, options.read(true).write(true).create(true).truncate(false));
        let file = file.map_err(|e| wrong(&e))?;
        // What SQLite puts beside it has its mode, too.
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(|e| wrong(&e))?;
        Self::prepared(Connection::open(path)?)
    }

    /// Makes one in memory, for tests.
    ///
    /// # Errors
    /// There is no memory.
    pub fn in_memory() -> Result<Self, Refused> {
        Self::prepared(Connection::open_in_memory()?)
    }

    /// Returns the whole file as it is at this moment, whoever writes it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn copy(&self) -> Result<Vec<u8>, Refused> {
        Ok(self.now().serialize(rusqlite::MAIN_DB)?.to_vec())
    }

    /// Puts such a copy in a file's place: all of it or nothing. Sessions and links that were good then are not good again.
    ///
    /// # Errors
    /// It cannot be written, or is no such copy.
    pub fn restore(path: &Path, bytes: &[u8]) -> Result<(), Refused> {
        let mut refused = None;
        let replaced = replace_database(path, bytes, |new| {
            let opened = Self::prepared(Connection::open(new)?);
            let database = opened.map_err(|error| {
                refused = Some(error);
                rusqlite::Error::InvalidQuery
            })?;
            let connection = database.connection.into_inner().unwrap_or_else(PoisonError::into_inner);
            connection.execute_batch("DELETE FROM session; DELETE FROM link; DELETE FROM enrollment;")?;
            connection.close().map_err(|(_, error)| error)
        });
        replaced.map_err(|error| refused.unwrap_or_else(|| Refused::new(500, error.to_string(), "")))
    }

    fn prepared(mut connection: Connection) -> Result<Self, Refused> {
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        let _: Option<String> =
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).optional()?;
        connection.execute_batch(
            "PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF;",
        )?;
        let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let version: usize = change.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version > MIGRATIONS.len() {
            return Err(Refused::new(
                500,
                "the page's database is of a newer wgrelay",
                "use that one, or another file",
            ));
        }
        for step in &MIGRATIONS[version..] {
            change.execute_batch(step)?;
        }
        change.pragma_update(None, "user_version", MIGRATIONS.len())?;
        change.commit()?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    fn now(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_all_but_what_lets_somebody_in() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("web.db"), dir.path().join("other.db"));
        let database = Database::open(&path).unwrap();
        database.add_user("alice", super::super::view::Role::Admin, None, 1).unwrap();
        database.add_token("ci", TokenScope::Read, None, 100, 1).unwrap();
        let user = database.user("alice").unwrap().unwrap();
        let opened = database.open_session_of(&user, "192.0.2.1", 1).unwrap().unwrap();
        let link = database.add_link(Purpose::Password, FIRST, 100, 1).unwrap();
        let copy = database.copy().unwrap();
        let there = Database::open(&other).unwrap();
        there.add_user("mallory", super::super::view::Role::Admin, None, 1).unwrap();
        Database::restore(&other, &copy).unwrap();
        let restored = Database::open(&other).unwrap();
        let names: Vec<String> = restored.users().unwrap().into_iter().map(|user| user.name).collect();
        assert_eq!(
            (names.as_slice(), restored.tokens().unwrap().len()),
            (["alice".to_owned()].as_slice(), 1)
        );
        assert!(database.session(&opened.cookie, 2).unwrap().is_some());
        assert!(restored.session(&opened.cookie, 2).unwrap().is_none());
        assert!(restored.link(Purpose::Password, link.as_str(), 2).unwrap().is_none());
        assert!(Database::restore(&other, b"no database at all").is_err());
        assert_eq!(Database::open(&other).unwrap().users().unwrap().len(), 1);
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&other).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_file_is_for_nobody_else_and_opens_again() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.db");
        Database::open(&path).unwrap().add_user("alice", super::super::view::Role::Admin, None, 1).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(Database::open(&path).unwrap().users().unwrap().len(), 1);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let link = dir.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Database::open(&link).is_err(), "a link that somebody put there");
        Database::open(&path).unwrap().now().pragma_update(None, "user_version", 99).unwrap();
        assert!(Database::open(&path).err().unwrap().message.contains("newer"));
    }
}
