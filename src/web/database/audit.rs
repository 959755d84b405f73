//! What was done, by whom, from where: everything that writes, every sign-in and every one that failed. Names, and never a secret.

use std::collections::BTreeSet;

use rusqlite::params;
use serde::Serialize;

use super::Database;
use crate::web::procedure::Refused;

/// Who is written down where nobody is known. No user can be called so.
pub const NOBODY: &str = "nobody that is known";
/// Who is written down for what is done at a terminal. No user can be called so.
pub const TERMINAL: &str = "the terminal";
/// How a sign-in is written down.
pub const SIGNED_IN: &str = "signed in";
/// How it is written down that a node looks without signing in.
pub const BY_TUNNEL: &str = "came through the tunnel";
/// And one that failed.
pub const LOGIN_FAILED: &str = "login failed";

/// How many are kept of what was done, of what was refused or only tried, of what strangers have written by asking, and of what people
/// do as often as they like: sign in and out, and change what is their own.
const KEPT: [u32; 4] = [100_000, 20_000, 20_000, 20_000];
/// The kind of what was done.
const DONE: u32 = 0;
/// What is one's own, as routes begin.
const OF_ONES_OWN: [&str; 4] = ["/logout", "/account", "/devices", "/api/v1/devices"];
/// So often the oldest go.
const EVERY: i64 = 64;

/// Something that was done, or tried.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Entry {
    /// When, in Unix seconds.
    pub at: u64,
    /// By whom: a user, `token NAME`, or [`NOBODY`].
    pub who: String,
    /// From where.
    pub address: String,
    /// The route: `POST /nodes/{node}/remove`.
    pub action: String,
    /// What of it: the node.
    pub about: String,
    /// How it ended, as HTTP says it.
    pub status: u16,
    /// Whether it was only worked out what it would do.
    #[serde(skip)]
    pub is_tried: bool,
}

impl Entry {
    fn is_of(&self, path: &str) -> bool {
        let of = self.action.split_once(' ').and_then(|(_, own)| own.strip_prefix(path));
        of.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns its place in [`KEPT`].
    fn kind(&self) -> usize {
        if self.who == NOBODY || self.action == LOGIN_FAILED || self.action == BY_TUNNEL {
            2
        } else if self.is_tried || self.status >= 400 {
            1
        } else if self.action == SIGNED_IN || OF_ONES_OWN.iter().any(|own| self.is_of(own)) {
            3
        } else {
            DONE as usize
        }
    }
}

impl Database {
    /// Writes one down.
    ///
    /// # Errors
    /// The file cannot be written. So below.
    pub fn record(&self, entry: &Entry) -> Result<(), Refused> {
        let connection = self.now();
        connection.execute(
            "INSERT INTO audit (at, who, address, action, about, status, kind) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![entry.at, entry.who, entry.address, entry.action, entry.about, entry.status, entry.kind()],
        )?;
        if connection.last_insert_rowid() % EVERY == 0 {
            for (kind, kept) in KEPT.iter().enumerate() {
                connection.execute(
                    "DELETE FROM audit WHERE kind = ?1 AND id <=
                     (SELECT id FROM audit WHERE kind = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                    params![kind, kept],
                )?;
            }
        }
        Ok(())
    }

    /// Says whether a user signed in from an address since then, in Unix seconds.
    pub fn signed_in_from(&self, name: &str, address: &str, since: u64) -> Result<bool, Refused> {
        let text = "SELECT EXISTS (SELECT 1 FROM audit WHERE who = ?1 AND address = ?2 AND action = ?3 AND at >= ?4)";
        Ok(self.now().query_row(text, params![name, address, SIGNED_IN, since], |row| row.get(0))?)
    }

    /// Lists what was done, the newest first: so many, of which half is for what was done and a sixth for each other kind, as far as there
    /// is as much. However often strangers try, what was done is seen.
    pub fn audit(&self, count: u32) -> Result<Vec<Entry>, Refused> {
        let connection = self.now();
        let mut shown = BTreeSet::new();
        let mut take = |text: &str, of: u32, most: u32| -> rusqlite::Result<()> {
            let mut query = connection.prepare(text)?;
            let numbers = query.query_map([of, most], |row| row.get::<_, i64>(0))?;
            for number in numbers {
                if shown.len() >= count as usize {
                    break;
                }
                shown.insert(number?);
            }
            Ok(())
        };
        for kind in 0..KEPT.len() as u32 {
            let share = if kind == DONE { count.div_ceil(2) } else { count / 6 };
            take("SELECT id FROM audit WHERE kind = ?1 ORDER BY id DESC LIMIT ?2", kind, share)?;
        }
        take("SELECT id FROM audit WHERE ?1 >= 0 ORDER BY id DESC LIMIT ?2", DONE, count)?;
        let numbers = serde_json::to_string(&shown).unwrap_or_default();
        let mut query = connection.prepare(
            "SELECT at, who, address, action, about, status FROM audit
             WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY id DESC",
        )?;
        let rows = query.query_map([numbers], |row| {
            Ok(Entry {
                at: row.get(0)?,
                who: row.get(1)?,
                address: row.get(2)?,
                action: row.get(3)?,
                about: row.get(4)?,
                status: row.get(5)?,
                is_tried: false,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_write_pushes_nobody_out() {
        let database = Database::in_memory().unwrap();
        let entry = |who: &str, action: &str, status| Entry {
            who: who.into(),
            action: action.into(),
            status,
            ..Entry::default()
        };
        database.record(&entry("mallory", "POST /apply", 303)).unwrap();
        database.record(&entry("mallory", "POST /apply", 403)).unwrap();
        {
            let connection = database.now();
            let text = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
                        INSERT INTO audit (at, who, address, action, about, status, kind)
                        SELECT 1, ?1, '', '', '', 403, ?2 FROM n";
            connection.execute(text, params![NOBODY, 2]).unwrap();
            connection.execute(text, params!["mallory", 1]).unwrap();
        }
        for _ in 0..EVERY {
            database.record(&entry(NOBODY, "POST /login", 403)).unwrap();
            database.record(&entry("anna", LOGIN_FAILED, 401)).unwrap();
        }
        let rows = |kind: u32| -> u32 {
            let text = "SELECT count(*) FROM audit WHERE kind = ?1";
            database.now().query_row(text, [kind], |row| row.get(0)).unwrap()
        };
        assert_eq!(rows(0), 1, "what was done stays");
        assert!(rows(1) <= KEPT[1] + 64 && rows(2) <= KEPT[2] + 128, "{} {}", rows(1), rows(2));
        let oldest = database.audit(100_000).unwrap().pop().unwrap();
        assert_eq!((oldest.who.as_str(), oldest.status), ("mallory", 303));
    }

    #[test]
    fn what_was_done_is_seen_however_often_others_try_and_people_come_and_go() {
        let database = Database::in_memory().unwrap();
        let write = |who: &str, action: &str, status, times| {
            for at in 0..times {
                let (who, action) = (who.to_owned(), action.to_owned());
                database.record(&Entry { at, who, action, status, ..Entry::default() }).unwrap();
            }
        };
        write("admin", "POST /people", 303, 8);
        write("admin", "POST /apply", 403, 2);
        for (who, action, status) in [
            (NOBODY, LOGIN_FAILED, 401),
            ("admin", LOGIN_FAILED, 401),
            ("owner", SIGNED_IN, 303),
            ("owner", "POST /logout", 303),
            ("owner", "POST /devices/{node}/remove", 303),
            ("owner", "DELETE /api/v1/devices/{node}", 200),
            ("owner", "POST /account", 303),
            ("owner", "POST /devices", 429),
            ("tunnel phone", BY_TUNNEL, 200),
        ] {
            write(who, action, status, 30);
            let seen = database.audit(12).unwrap();
            assert_eq!(seen.len(), 12, "{action}");
            let done = seen.iter().filter(|entry| entry.who == "admin" && entry.action == "POST /people");
            assert!(done.count() >= 6, "{action}: {seen:?}");
        }
        let last = database.audit(12).unwrap().remove(0);
        assert_eq!((last.who.as_str(), last.at), ("tunnel phone", 29), "the newest first");
        assert_eq!(database.audit(1).unwrap()[0].who, "admin");
        let kind = |action: &str| Entry { action: action.into(), status: 303, ..Entry::default() }.kind();
        assert_eq!((kind("POST /devicesx"), kind("POST /accounts"), kind("POST /devices")), (0, 0, 3));
    }
}
