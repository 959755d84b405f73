//! Users, sessions, tokens, links and what was done: one file of SQLite, which the HTTP half alone opens. There is no key of the
//! network in it, and no secret of its own but as a digest; what one-time codes are made of is the exception, and cannot be.
#![expect(clippy::disallowed_methods, reason = "one file")]

mod audit;
mod enrollments;
mod links;
mod sessions;
mod tokens;
mod users;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use rusqlite::{Connection, OptionalExtension as _};

pub use audit::{Entry, LOGIN_FAILED, NOBODY, SIGNED_IN, TERMINAL};
pub use enrollments::Enrollment;
pub use links::{FIRST, Purpose};
pub use sessions::{Opened, SessionRow};
pub use tokens::{TokenRow, TokenScope};
pub use users::{User, is_name, role_of};

use super::procedure::Refused;
use crate::store::owned::open_own;

/// What each version adds; the file's `user_version` says how many it has.
const MIGRATIONS: [&str; 3] = [include_str!("1.sql"), include_str!("2.sql"), include_str!("3.sql")];

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
        self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
