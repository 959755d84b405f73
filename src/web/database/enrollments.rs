//! Links by which a device enrols once: kept as digests, used up by one of those who try.

use rusqlite::{OptionalExtension as _, Row, params};
use zeroize::Zeroizing;

use super::Database;
use super::devices::reserve;
use crate::web::procedure::Refused;
use crate::web::secret::{hash, make};

/// What a link lets a device do: become this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrollment {
    /// The node that it becomes.
    pub node: String,
    /// What it runs on, by name.
    pub platform: String,
    /// Who made the link.
    pub maker: String,
    /// When the link ends, in Unix seconds.
    pub expires: u64,
    /// Whose device it becomes; `None`: nobody's.
    pub owner: Option<i64>,
}

/// A link that was used up.
#[derive(Debug, Clone)]
pub struct Spent {
    /// What it was for.
    pub link: Enrollment,
    /// The place that was taken for a device of its owner's.
    pub device: Option<i64>,
}

const COLUMNS: &str = "node, platform, maker, expires, owner";

fn read(row: &Row<'_>) -> rusqlite::Result<Enrollment> {
    Ok(Enrollment {
        node: row.get(0)?,
        platform: row.get(1)?,
        maker: row.get(2)?,
        expires: row.get(3)?,
        owner: row.get(4)?,
    })
}

impl Database {
    /// Makes a link's secret. One for the same node takes the place of the one before it.
    ///
    /// # Errors
    /// The file cannot be written. So below.
    pub fn add_enrollment(&self, asked: &Enrollment, now: u64) -> Result<Zeroizing<String>, Refused> {
        let secret = make()?;
        let mut connection = self.now();
        let change = connection.transaction()?;
        change.execute(
            "DELETE FROM enrollment WHERE expires <= ?1 OR node = ?2",
            params![now, asked.node.as_str()],
        )?;
        put(&change, &secret, asked)?;
        change.commit()?;
        Ok(secret)
    }

    /// Says what a link is for, and leaves it as it is: a preview spends nothing. `None`: there is none, or it has ended.
    pub fn enrollment(&self, secret: &str, now: u64) -> Result<Option<Enrollment>, Refused> {
        let text = format!("SELECT {COLUMNS} FROM enrollment WHERE hash = ?1 AND expires > ?2");
        Ok(self.now().query_row(&text, params![hash(secret), now], read).optional()?)
    }

    /// Uses a link up: of two at once exactly one gets it.
    pub fn use_enrollment(&self, secret: &str, now: u64) -> Result<Option<Spent>, Refused> {
        let mut connection = self.now();
        let change = connection.transaction()?;
        let text = format!("DELETE FROM enrollment WHERE hash = ?1 AND expires > ?2 RETURNING {COLUMNS}");
        let link = change.query_row(&text, params![hash(secret), now], read).optional()?;
        let Some(link) = link else { return Ok(None) };
        let device = link.owner.map(|owner| reserve(&change, owner, now)).transpose()?;
        change.commit()?;
        Ok(Some(Spent { link, device }))
    }

    /// Makes a link good again, where nothing came of using it; unless there is another for that node by now.
    pub fn put_enrollment_back(&self, secret: &str, spent: &Spent) -> Result<(), Refused> {
        let mut connection = self.now();
        let change = connection.transaction()?;
        change.execute("DELETE FROM device WHERE id = ?1", [spent.device])?;
        put(&change, secret, &spent.link)?;
        change.commit()?;
        Ok(())
    }

    /// Returns the links that are good, by node.
    pub fn enrollments(&self, now: u64) -> Result<Vec<Enrollment>, Refused> {
        let connection = self.now();
        let text = format!("SELECT {COLUMNS} FROM enrollment WHERE expires > ?1 ORDER BY node");
        let mut asked = connection.prepare(&text)?;
        let rows = asked.query_map([now], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Takes the link of a node back; says whether there was one.
    pub fn remove_enrollment(&self, node: &str) -> Result<bool, Refused> {
        Ok(self.now().execute("DELETE FROM enrollment WHERE node = ?1", [node])? > 0)
    }
}

/// Ends the links of whoever may not make any more. `maker`: as the audit calls who asks.
pub(super) fn forget_links(change: &rusqlite::Transaction<'_>, maker: &str) -> rusqlite::Result<()> {
    change.execute("DELETE FROM enrollment WHERE maker = ?1", [maker]).map(drop)
}

pub(super) fn put(
    connection: &rusqlite::Connection,
    secret: &str,
    asked: &Enrollment,
) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR IGNORE INTO enrollment (hash, node, platform, maker, expires, owner) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            hash(secret),
            asked.node.as_str(),
            asked.platform.as_str(),
            asked.maker.as_str(),
            asked.expires,
            asked.owner
        ],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_enrols_once_and_for_its_time() {
        let database = Database::in_memory().unwrap();
        let asked = Enrollment {
            node: "phone".into(),
            platform: "android".into(),
            maker: "anna".into(),
            expires: 2000,
            owner: None,
        };
        let secret = database.add_enrollment(&asked, 1000).unwrap();
        assert!(database.use_enrollment(&secret[1..], 1500).unwrap().is_none());
        assert!(database.use_enrollment(&secret, 2000).unwrap().is_none(), "it has ended");
        assert_eq!(database.enrollment(&secret, 1500).unwrap(), Some(asked.clone()));
        let wins = std::thread::scope(|scope| {
            let tries: Vec<_> =
                (0..8).map(|_| scope.spawn(|| database.use_enrollment(&secret, 1500).unwrap())).collect();
            tries.into_iter().filter_map(|one| one.join().unwrap()).count()
        });
        assert_eq!(wins, 1);
        let spent = Spent { link: asked.clone(), device: None };
        database.put_enrollment_back(&secret, &spent).unwrap();
        assert_eq!(database.enrollments(1500).unwrap(), std::slice::from_ref(&asked));
        let _second = database.add_enrollment(&asked, 1000).unwrap();
        assert!(database.enrollment(&secret, 1500).unwrap().is_none(), "another took its place");
        database.put_enrollment_back(&secret, &spent).unwrap();
        assert!(database.enrollment(&secret, 1500).unwrap().is_none(), "and stays there");
        assert!(database.remove_enrollment("phone").unwrap());
        assert!(!database.remove_enrollment("phone").unwrap());
    }
}
