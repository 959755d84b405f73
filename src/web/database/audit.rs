//! What was done, by whom, from where: everything that writes, and every sign-in that failed. Names, and never a secret.

use rusqlite::params;
use serde::Serialize;

use super::Database;
use crate::web::procedure::Refused;

/// So many are kept.
const KEPT: i64 = 100_000;

/// Something that was done, or tried.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// When, in Unix seconds.
    pub at: u64,
    /// By whom: a user, `token NAME`, or what was typed.
    pub who: String,
    /// From where.
    pub address: String,
    /// The route: `POST /nodes/{node}/remove`.
    pub action: String,
    /// What of it: the node.
    pub about: String,
    /// How it ended, as HTTP says it.
    pub status: u16,
}

impl Database {
    /// Writes one down.
    ///
    /// # Errors
    /// The file cannot be written. So below.
    pub fn record(&self, entry: &Entry) -> Result<(), Refused> {
        let connection = self.now();
        connection.execute(
            "INSERT INTO audit (at, who, address, action, about, status) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![entry.at, entry.who, entry.address, entry.action, entry.about, entry.status],
        )?;
        connection.execute("DELETE FROM audit WHERE id <= last_insert_rowid() - ?1", [KEPT])?;
        Ok(())
    }

    /// Lists what was done, the newest first.
    pub fn audit(&self, count: u32) -> Result<Vec<Entry>, Refused> {
        let connection = self.now();
        let mut query = connection
            .prepare("SELECT at, who, address, action, about, status FROM audit ORDER BY id DESC LIMIT ?1")?;
        let rows = query.query_map([count], |row| {
            Ok(Entry {
                at: row.get(0)?,
                who: row.get(1)?,
                address: row.get(2)?,
                action: row.get(3)?,
                about: row.get(4)?,
                status: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
