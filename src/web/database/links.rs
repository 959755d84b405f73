//! Links that are good once: to set a password.

use rusqlite::{OptionalExtension as _, params};
use zeroize::Zeroizing;

use super::Database;
use crate::web::procedure::Refused;
use crate::web::secret::{hash, make};

/// Whom the first link is about: it makes an admin, of the name that he takes. No user can be called so.
pub const FIRST: &str = "first admin";

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A user sets a password.
    Password,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
        }
    }
}

impl Database {
    /// Makes a link's secret. One for the same purpose and the same person or node takes the place of the one before it.
    ///
    /// # Errors
    /// The file cannot be written. So below.
    pub fn add_link(
        &self,
        purpose: Purpose,
        about: &str,
        expires: u64,
        now: u64,
    ) -> Result<Zeroizing<String>, Refused> {
        let secret = make()?;
        let mut connection = self.now();
        let change = connection.transaction()?;
        change.execute(
            "DELETE FROM link WHERE expires <= ?1 OR purpose = ?2 AND about = ?3",
            params![now, purpose.as_str(), about],
        )?;
        change.execute(
            "INSERT INTO link (hash, purpose, about, expires) VALUES (?1, ?2, ?3, ?4)",
            params![hash(&secret), purpose.as_str(), about, expires],
        )?;
        change.commit()?;
        Ok(secret)
    }

    /// Says whom a link is about, and leaves it as it is: a preview spends nothing. `None`: there is none, or it has ended.
    pub fn link(&self, purpose: Purpose, secret: &str, now: u64) -> Result<Option<String>, Refused> {
        let text = "SELECT about FROM link WHERE hash = ?1 AND purpose = ?2 AND expires > ?3";
        let found =
            self.now().query_row(text, params![hash(secret), purpose.as_str(), now], |row| row.get(0));
        Ok(found.optional()?)
    }

    /// Uses a link up: of two at once exactly one gets it.
    pub fn use_link(&self, purpose: Purpose, secret: &str, now: u64) -> Result<Option<String>, Refused> {
        let text = "DELETE FROM link WHERE hash = ?1 AND purpose = ?2 AND expires > ?3 RETURNING about";
        let found =
            self.now().query_row(text, params![hash(secret), purpose.as_str(), now], |row| row.get(0));
        Ok(found.optional()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_good_once_and_for_its_time() {
        let database = Database::in_memory().unwrap();
        let secret = database.add_link(Purpose::Password, "alice", 2000, 1000).unwrap();
        assert!(database.use_link(Purpose::Password, &secret[1..], 1500).unwrap().is_none());
        assert!(database.use_link(Purpose::Password, &secret, 2000).unwrap().is_none());
        assert_eq!(database.link(Purpose::Password, &secret, 1500).unwrap().as_deref(), Some("alice"));
        let wins = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| database.use_link(Purpose::Password, &secret, 1500).unwrap()))
                .collect();
            tries.into_iter().filter_map(|one| one.join().unwrap()).count()
        });
        assert_eq!(wins, 1);
        let first = database.add_link(Purpose::Password, "alice", 2000, 1000).unwrap();
        let _second = database.add_link(Purpose::Password, "alice", 2000, 1000).unwrap();
        assert!(database.use_link(Purpose::Password, &first, 1500).unwrap().is_none());
    }
}
