//! Sessions of people who signed in: idle for an hour and they end, and twelve hours after they began whatever happens.

use rusqlite::{OptionalExtension as _, params};

use super::Database;
use super::users::{COLUMNS, User, user};
use crate::web::clock::is_within;
use crate::web::procedure::Refused;
use crate::web::secret::{hash, make};

/// Seconds without a request.
pub const IDLE: u64 = 3600;
/// Seconds in all.
pub const WHOLE: u64 = 12 * 3600;
/// So far may its beginning lie in the future: a clock that was set right, and not one that was set back.
const AHEAD: u64 = 60;
/// Of one user, so many; the oldest ends.
const EACH: u32 = 20;

/// A session that was begun: what goes into the cookie.
pub struct Opened {
    /// The cookie.
    pub cookie: zeroize::Zeroizing<String>,
    /// What forms send back.
    pub csrf: String,
}

/// A session, for its list and for a request.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// Its number.
    pub id: i64,
    /// What forms send back.
    pub csrf: String,
    /// When it began, in Unix seconds.
    pub made: u64,
    /// When it was last used.
    pub seen: u64,
    /// When its password was last typed.
    pub proved: u64,
    /// From where.
    pub address: String,
}

impl Database {
    /// Begins a session, with a cookie that nobody had before.
    ///
    /// # Errors
    /// The file cannot be written. So below.
    pub fn open_session(&self, user: i64, address: &str, now: u64) -> Result<Opened, Refused> {
        let mut connection = self.now();
        let change = connection.transaction()?;
        let opened = open(&change, user, address, now)?;
        change.commit()?;
        Ok(opened)
    }

    /// Begins a session of a user who proved to be that one; `None`: he has another password by now, and proved nothing.
    pub fn open_session_of(&self, user: &User, address: &str, now: u64) -> Result<Option<Opened>, Refused> {
        // A password that is set from here on ends this session with the others; one that was set before is seen.
        let opened = self.open_session(user.id, address, now)?;
        let connection = self.now();
        let text = "SELECT EXISTS (SELECT 1 FROM user WHERE id = ?1 AND password IS ?2 AND totp IS ?3)";
        let is_as_it_was: bool =
            connection.query_row(text, params![user.id, user.password, user.totp], |row| row.get(0))?;
        if !is_as_it_was {
            connection.execute("DELETE FROM session WHERE hash = ?1", [hash(&opened.cookie)])?;
            return Ok(None);
        }
        Ok(Some(opened))
    }

    /// Finds the session of a cookie, and notes that it is in use.
    pub fn session(&self, cookie: &str, now: u64) -> Result<Option<(User, SessionRow)>, Refused> {
        let found = self.look_at_session(cookie, now)?;
        if let Some((_, session)) = &found
            && !is_within(session.seen, 60, now)
        {
            let text = "UPDATE session SET seen = ?2 WHERE id = ?1";
            self.now().execute(text, params![session.id, now])?;
        }
        Ok(found)
    }

    /// Finds it, and leaves it as it is: what a page does by itself is no use of it.
    pub fn look_at_session(&self, cookie: &str, now: u64) -> Result<Option<(User, SessionRow)>, Refused> {
        let hashed = hash(cookie);
        let connection = self.now();
        let text = format!(
            "SELECT {COLUMNS}, session.id, session.csrf, session.made, session.seen, session.proved, session.address
             FROM session JOIN user ON user.id = session.user
             WHERE session.hash = ?1 AND session.seen + ?2 > ?4 AND session.made + ?3 > ?4 AND session.made <= ?4 + ?5"
        );
        let found = connection
            .query_row(&text, params![hashed, IDLE, WHOLE, now, AHEAD], |row| {
                let session = SessionRow {
                    id: row.get(8)?,
                    csrf: row.get(9)?,
                    made: row.get(10)?,
                    seen: row.get(11)?,
                    proved: row.get(12)?,
                    address: row.get(13)?,
                };
                Ok((user(row)?, session))
            })
            .optional()?;
        Ok(found)
    }

    /// Lists a user's sessions, the newest first.
    pub fn sessions_of(&self, user: i64, now: u64) -> Result<Vec<SessionRow>, Refused> {
        let connection = self.now();
        let mut query = connection.prepare(
            "SELECT id, csrf, made, seen, proved, address FROM session
             WHERE user = ?1 AND seen + ?2 > ?4 AND made + ?3 > ?4 AND made <= ?4 + ?5 ORDER BY id DESC",
        )?;
        let rows = query.query_map(params![user, IDLE, WHOLE, now, AHEAD], |row| {
            Ok(SessionRow {
                id: row.get(0)?,
                csrf: row.get(1)?,
                made: row.get(2)?,
                seen: row.get(3)?,
                proved: row.get(4)?,
                address: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Notes that a session's password was typed again.
    pub fn prove_session(&self, id: i64, now: u64) -> Result<(), Refused> {
        self.now().execute("UPDATE session SET proved = ?2 WHERE id = ?1", params![id, now])?;
        Ok(())
    }

    /// Ends a session of a user's own; `false`: it is none of his.
    pub fn close_session(&self, user: i64, id: i64) -> Result<bool, Refused> {
        Ok(self.now().execute("DELETE FROM session WHERE id = ?1 AND user = ?2", [id, user])? == 1)
    }

    /// Keeps cookies of a digest in the file alone: for tests.
    #[cfg(test)]
    fn holds(&self, hashed: &crate::web::secret::Hash) -> bool {
        let count =
            self.now().query_row("SELECT count(*) FROM session WHERE hash = ?1", [hashed], |r| r.get(0));
        count == Ok(1_i64)
    }
}

/// Begins a session, in what else is changed.
pub(super) fn open(
    change: &rusqlite::Transaction<'_>,
    user: i64,
    address: &str,
    now: u64,
) -> Result<Opened, Refused> {
    let (cookie, csrf) = (make()?, make()?);
    change
        .execute("DELETE FROM session WHERE seen + ?1 <= ?3 OR made + ?2 <= ?3", params![IDLE, WHOLE, now])?;
    change.execute(
        "DELETE FROM session WHERE user = ?1 AND id NOT IN (SELECT id FROM session WHERE user = ?1 ORDER BY id DESC LIMIT ?2)",
        params![user, EACH - 1],
    )?;
    change.execute(
        "INSERT INTO session (hash, user, csrf, made, seen, proved, address) VALUES (?1, ?2, ?3, ?4, ?4, ?4, ?5)",
        params![hash(&cookie), user, csrf.as_str(), now, address],
    )?;
    Ok(Opened { cookie, csrf: csrf.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::view::Role;

    fn begun() -> (Database, i64, Opened) {
        let database = Database::in_memory().unwrap();
        database.add_user("alice", Role::Viewer, None, 1).unwrap();
        let id = database.user("alice").unwrap().unwrap().id;
        let opened = database.open_session(id, "::1", 1000).unwrap();
        (database, id, opened)
    }

    #[test]
    fn a_session_ends_when_it_is_idle_and_when_it_is_old() {
        let (database, _, opened) = begun();
        assert!(database.holds(&hash(&opened.cookie)));
        assert!(database.session("", 1000).unwrap().is_none());
        assert!(database.session(&opened.cookie, 1000 + IDLE - 1).unwrap().is_some());
        assert!(database.session(&opened.cookie, 1000 + 2 * IDLE).unwrap().is_none());
        let mut now = 1000;
        let (database, _, opened) = begun();
        while now < 1000 + WHOLE - IDLE / 2 {
            assert!(database.session(&opened.cookie, now).unwrap().is_some(), "{now}");
            now += IDLE / 2;
        }
        assert!(database.session(&opened.cookie, 1000 + WHOLE).unwrap().is_none());
    }

    #[test]
    fn a_session_is_ended_by_its_own_user_and_by_a_new_password() {
        let (database, alice, opened) = begun();
        let row = database.session(&opened.cookie, 1001).unwrap().unwrap().1;
        assert!(!database.close_session(alice + 1, row.id).unwrap());
        assert!(database.session(&opened.cookie, 1001).unwrap().is_some());
        database.set_password("alice", "x").unwrap();
        assert!(database.session(&opened.cookie, 1001).unwrap().is_none());
        // Who proved the old one gets none with it.
        let before = database.user("alice").unwrap().unwrap();
        database.set_password("alice", "y").unwrap();
        assert!(database.open_session_of(&before, "::1", 1002).unwrap().is_none());
        assert_eq!(database.sessions_of(alice, 1002).unwrap().len(), 0);
        let now = database.user("alice").unwrap().unwrap();
        assert!(database.open_session_of(&now, "::1", 1002).unwrap().is_some());
        database.set_totp(alice, Some(b"secret"), &[]).unwrap();
        assert_eq!(database.sessions_of(alice, 1002).unwrap().len(), 0, "who has them shows a code first");
        for _ in 0..30 {
            database.open_session(alice, "::1", 1002).unwrap();
        }
        assert_eq!(database.sessions_of(alice, 1003).unwrap().len(), 20);
    }

    #[test]
    fn a_clock_that_is_set_back_lets_no_session_live_longer() {
        let (database, alice, opened) = begun();
        let right = 1000 - AHEAD;
        assert!(database.session(&opened.cookie, right).unwrap().is_some(), "it was only set right");
        assert!(database.session(&opened.cookie, right - 1).unwrap().is_none());
        assert_eq!(database.sessions_of(alice, right - 1).unwrap().len(), 0);
        // Nor does it last for longer unused than it may: being used counts from then on.
        let opened = database.open_session(alice, "::1", 1000).unwrap();
        assert!(database.session(&opened.cookie, 3000).unwrap().is_some());
        assert!(database.session(&opened.cookie, 2000).unwrap().is_some());
        assert!(database.session(&opened.cookie, 2000 + IDLE).unwrap().is_none());
    }
}
