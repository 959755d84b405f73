//! Links by which a device enrols once: kept as digests, used up by one of those who try.

use rusqlite::{OptionalExtension as _, Row, params};
use zeroize::Zeroizing;

use super::Database;
use super::devices::{ON_ITS_WAY, reserve};
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

/// A link that somebody uses.
#[derive(Debug, Clone)]
pub struct Spent {
    /// What it was for.
    pub link: Enrollment,
    /// The place that was taken for a device of its owner's.
    pub device: Option<i64>,
    /// Since when, in Unix seconds.
    pub used_at: u64,
}

const COLUMNS: &str = "node, platform, maker, expires, owner";
/// Seconds after which a link that somebody began to use is good again: whoever used it ended before anything came of it. Its place
/// for a device goes back by then, too.
const IN_USE: u64 = ON_ITS_WAY;

/// What is true of a link that is good at `now`, for a query: it has not ended, and nobody uses it.
pub(super) fn good(now: u64) -> String {
    format!(
        "expires > {now} AND (used_at IS NULL OR used_at <= {} OR used_at > {now})",
        now.saturating_sub(IN_USE)
    )
}

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
        let text = format!("SELECT {COLUMNS} FROM enrollment WHERE hash = ?1 AND {}", good(now));
        Ok(self.now().query_row(&text, params![hash(secret)], read).optional()?)
    }

    /// Begins to use a link: of two at once exactly one gets it. It is there until something came of it.
    pub fn use_enrollment(&self, secret: &str, now: u64) -> Result<Option<Spent>, Refused> {
        let mut connection = self.now();
        let change = connection.transaction()?;
        let text = format!(
            "UPDATE enrollment SET used_at = ?2 WHERE hash = ?1 AND {} RETURNING {COLUMNS}",
            good(now)
        );
        let link = change.query_row(&text, params![hash(secret), now], read).optional()?;
        let Some(link) = link else { return Ok(None) };
        let device = link.owner.map(|owner| reserve(&change, owner, now)).transpose()?;
        change.commit()?;
        Ok(Some(Spent { link, device, used_at: now }))
    }

    /// Uses a link up: a node came of it.
    pub fn finish_enrollment(&self, secret: &str) -> Result<(), Refused> {
        self.now().execute("DELETE FROM enrollment WHERE hash = ?1", [hash(secret)])?;
        Ok(())
    }

    /// Makes a link good again, where nothing came of using it; what was taken back meanwhile, or has another in its place, stays so.
    pub fn put_enrollment_back(&self, secret: &str, spent: &Spent) -> Result<(), Refused> {
        let mut connection = self.now();
        let change = connection.transaction()?;
        change.execute("DELETE FROM device WHERE id = ?1", [spent.device])?;
        change.execute(
            "UPDATE enrollment SET used_at = NULL WHERE hash = ?1 AND used_at = ?2",
            params![hash(secret), spent.used_at],
        )?;
        change.commit()?;
        Ok(())
    }

    /// Returns the links that are good, by node.
    pub fn enrollments(&self, now: u64) -> Result<Vec<Enrollment>, Refused> {
        let connection = self.now();
        let text = format!("SELECT {COLUMNS} FROM enrollment WHERE {} ORDER BY node", good(now));
        let mut asked = connection.prepare(&text)?;
        let rows = asked.query_map([], read)?;
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
    use crate::web::database::TokenScope;
    use crate::web::view::Role;

    fn link(node: &str, maker: &str, owner: Option<i64>) -> Enrollment {
        let (node, platform, maker) = (node.into(), "android".into(), maker.into());
        Enrollment { node, platform, maker, expires: 9000, owner }
    }

    #[test]
    fn a_link_enrols_once_and_for_its_time() {
        let database = Database::in_memory().unwrap();
        let asked = Enrollment { expires: 2000, ..link("phone", "anna", None) };
        let secret = database.add_enrollment(&asked, 1000).unwrap();
        assert!(database.use_enrollment(&secret[1..], 1500).unwrap().is_none());
        assert!(database.use_enrollment(&secret, 2000).unwrap().is_none(), "it has ended");
        assert_eq!(database.enrollment(&secret, 1500).unwrap(), Some(asked.clone()));
        let won: Vec<Spent> = std::thread::scope(|scope| {
            let tries: Vec<_> =
                (0..8).map(|_| scope.spawn(|| database.use_enrollment(&secret, 1500).unwrap())).collect();
            tries.into_iter().filter_map(|one| one.join().unwrap()).collect()
        });
        let [spent] = &won[..] else { panic!("{won:?}") };
        assert!(database.enrollment(&secret, 1500).unwrap().is_none(), "while it is used it is not good");
        assert!(database.enrollments(1500).unwrap().is_empty());
        database.put_enrollment_back(&secret, spent).unwrap();
        assert_eq!(database.enrollments(1500).unwrap(), std::slice::from_ref(&asked));
        let again = database.use_enrollment(&secret, 1501).unwrap().unwrap();
        let _second = database.add_enrollment(&asked, 1502).unwrap();
        database.put_enrollment_back(&secret, &again).unwrap();
        assert!(database.enrollment(&secret, 1503).unwrap().is_none(), "another took its place");
        assert!(database.remove_enrollment("phone").unwrap());
        assert!(!database.remove_enrollment("phone").unwrap());
        let secret = database.add_enrollment(&asked, 1000).unwrap();
        database.use_enrollment(&secret, 1500).unwrap().unwrap();
        database.finish_enrollment(&secret).unwrap();
        assert!(!database.remove_enrollment("phone").unwrap(), "it was used up");
    }

    type TakeBack = fn(&Database);

    /// Whoever loses a link while it is used has lost it, also where nothing came of that.
    #[test]
    fn a_link_that_is_taken_back_while_it_is_used_is_not_good_again() {
        let database = Database::in_memory().unwrap();
        for (name, role) in [("root", Role::Admin), ("anna", Role::Owner), ("otto", Role::Operator)] {
            database.add_user(name, role, None, 1).unwrap();
        }
        let take_back: [(&str, TakeBack); 6] = [
            ("the number of its owner is another", |d| d.set_devices("anna", 1).unwrap()),
            ("its owner takes it back", |d| {
                let anna = d.user("anna").unwrap().unwrap().id;
                assert!(d.remove_own_enrollment(anna, "phone").unwrap());
            }),
            ("an operator does", |d| assert!(d.remove_enrollment("phone").unwrap())),
            ("its token is taken back", |d| assert!(d.remove_token("ci").unwrap())),
            ("its maker may no more", |d| d.set_role("otto", Role::Viewer).unwrap()),
            ("its owner is removed", |d| d.remove_user("anna").unwrap()),
        ];
        for (n, (why, take_back)) in take_back.iter().enumerate() {
            let anna = database.user("anna").unwrap().unwrap().id;
            let (maker, owner) = match n {
                3 => ("token ci", None),
                4 => ("otto", None),
                _ => ("anna", Some(anna)),
            };
            if n == 3 {
                database.add_token("ci", TokenScope::Operate, None, 9000, 1).unwrap();
            }
            let secret = database.add_enrollment(&link("phone", maker, owner), 1000).unwrap();
            let spent = database.use_enrollment(&secret, 1000).unwrap().unwrap();
            take_back(&database);
            database.put_enrollment_back(&secret, &spent).unwrap();
            assert!(database.use_enrollment(&secret, 1001).unwrap().is_none(), "{why}");
        }
    }

    #[test]
    fn a_link_whose_use_was_cut_short_is_good_again_by_itself() {
        let database = Database::in_memory().unwrap();
        let secret = database.add_enrollment(&link("phone", "anna", None), 1000).unwrap();
        let first = database.use_enrollment(&secret, 1000).unwrap().unwrap();
        assert!(database.use_enrollment(&secret, 1000 + IN_USE - 1).unwrap().is_none());
        assert!(database.use_enrollment(&secret, 1000 + IN_USE).unwrap().is_some());
        // Who used it first does not give back what somebody else uses now.
        database.put_enrollment_back(&secret, &first).unwrap();
        assert!(database.use_enrollment(&secret, 1001 + IN_USE).unwrap().is_none());
    }
}
