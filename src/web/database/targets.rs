//! Who is told when something happens: added and removed by admins, and read by what sends. Once added, no secret of one is shown.

use rusqlite::{Row, params};

use super::Database;
use super::audit::LOGIN_FAILED;
use crate::web::notify::{Kind, MOST_TARGETS, Target, Url, target_topics};
use crate::web::procedure::Refused;

/// How one is, for those who look after it.
#[derive(Debug, Clone)]
pub struct TargetRow {
    /// What it is.
    pub target: Target,
    /// When a message was last sent, in Unix seconds; `None`: none was yet.
    pub tried: Option<u64>,
    /// Why that one did not arrive; `None`: it did.
    pub failure: Option<String>,
}

/// Somebody who was not let in, some times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedLogins {
    /// The account, or that it is none.
    pub who: String,
    /// From where.
    pub address: String,
    /// How often.
    pub count: u64,
}

const COLUMNS: &str = "name, kind, url, events, secret, account, sender, recipient, tried, failure";

fn row(row: &Row<'_>) -> rusqlite::Result<Option<TargetRow>> {
    let (kind, url, events): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
    // What somebody wrote there by hand and makes no sense is nobody to send to.
    let (Some(kind), Ok(url), Ok(topics)) = (Kind::of(&kind), Url::read(&url), target_topics(Some(&events)))
    else {
        return Ok(None);
    };
    let target = Target {
        name: row.get(0)?,
        kind,
        url,
        topics,
        secret: row.get::<_, Option<String>>(4)?.map(Into::into),
        account: row.get(5)?,
        sender: row.get(6)?,
        recipient: row.get(7)?,
    };
    Ok(Some(TargetRow { target, tried: row.get(8)?, failure: row.get(9)? }))
}

impl Database {
    /// Adds one.
    ///
    /// # Errors
    /// 409: there is one of that name, or as many as may be; or the file cannot be written. So below.
    pub fn add_target(&self, target: &Target, now: u64) -> Result<(), Refused> {
        let mut connection = self.now();
        let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let count: usize = change.query_row("SELECT count(*) FROM target", [], |row| row.get(0))?;
        if count >= MOST_TARGETS {
            return Err(Refused::new(409, format!("{MOST_TARGETS} are told at most"), "remove one first"));
        }
        let added = change.execute(
            "INSERT OR IGNORE INTO target (name, kind, url, events, secret, account, sender, recipient, made)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                target.name,
                target.kind.as_str(),
                target.url.whole(),
                target.events(),
                target.secret.as_ref().map(|secret| secret.as_str()),
                target.account,
                target.sender,
                target.recipient,
                now
            ],
        )?;
        if added == 0 {
            return Err(Refused::new(
                409,
                format!("there is {} already", target.name),
                "choose another name",
            ));
        }
        change.commit()?;
        Ok(())
    }

    /// Lists them, by name.
    pub fn targets(&self) -> Result<Vec<TargetRow>, Refused> {
        let connection = self.now();
        let mut query = connection.prepare(&format!("SELECT {COLUMNS} FROM target ORDER BY name"))?;
        let rows = query.query_map([], row)?.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        Ok(rows)
    }

    /// Removes one; `false`: there is none.
    pub fn remove_target(&self, name: &str) -> Result<bool, Refused> {
        Ok(self.now().execute("DELETE FROM target WHERE name = ?1", [name])? == 1)
    }

    /// Asks for a message that shows whether it arrives; `false`: there is no such target.
    pub fn want_test(&self, name: &str) -> Result<bool, Refused> {
        Ok(self.now().execute("UPDATE target SET test_wanted = 1 WHERE name = ?1", [name])? == 1)
    }

    /// Returns the names of those of which one was asked for, once.
    pub fn wanted_tests(&self) -> Result<Vec<String>, Refused> {
        let connection = self.now();
        let mut query =
            connection.prepare("UPDATE target SET test_wanted = 0 WHERE test_wanted = 1 RETURNING name")?;
        let names = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(names)
    }

    /// Notes how a message ended.
    pub fn note_sent(&self, name: &str, failure: Option<&str>, now: u64) -> Result<(), Refused> {
        let text = "UPDATE target SET tried = ?2, failure = ?3 WHERE name = ?1";
        self.now().execute(text, params![name, now, failure])?;
        Ok(())
    }

    /// Returns the number of the newest entry of the audit.
    pub fn newest_entry(&self) -> Result<i64, Refused> {
        Ok(self.now().query_row("SELECT coalesce(max(id), 0) FROM audit", [], |row| row.get(0))?)
    }

    /// Returns who was not let in after an entry and up to another, those who tried most first.
    pub fn failed_logins(&self, after: i64, until: i64) -> Result<Vec<FailedLogins>, Refused> {
        let connection = self.now();
        let mut query = connection.prepare(
            "SELECT who, address, count(*) FROM audit WHERE id > ?1 AND id <= ?2 AND action = ?3
             GROUP BY who, address ORDER BY 3 DESC LIMIT 50",
        )?;
        let rows = query.query_map(params![after, until, LOGIN_FAILED], |row| {
            Ok(FailedLogins { who: row.get(0)?, address: row.get(1)?, count: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::database::{Entry, NOBODY};
    use crate::web::notify::Given;

    fn hook(name: &str) -> Target {
        Target::read(&Given { name, kind: "webhook", url: "https://hooks.example/x", ..Given::default() })
            .unwrap()
    }

    #[test]
    fn targets_are_kept_whole_and_so_many() {
        let database = Database::in_memory().unwrap();
        for n in 0..MOST_TARGETS {
            database.add_target(&hook(&format!("t{n:02}")), 1).unwrap();
        }
        assert_eq!(database.add_target(&hook("more"), 1).unwrap_err().status, 409);
        assert!(database.remove_target("t07").unwrap() && !database.remove_target("t07").unwrap());
        assert_eq!(database.add_target(&hook("t00"), 1).unwrap_err().status, 409);
        let own = hook("own");
        database.add_target(&own, 1).unwrap();
        database.note_sent("own", Some("it answers 500"), 7).unwrap();
        let found = database.targets().unwrap();
        let found = found.iter().find(|row| row.target.name == "own").unwrap();
        assert_eq!(
            (&found.target, found.tried, found.failure.as_deref()),
            (&own, Some(7), Some("it answers 500"))
        );
        assert!(!database.want_test("nobody").unwrap() && database.want_test("own").unwrap());
        assert_eq!(
            (database.wanted_tests().unwrap(), database.wanted_tests().unwrap()),
            (vec!["own".to_owned()], vec![])
        );
    }

    #[test]
    fn who_was_not_let_in_is_told_with_how_often() {
        let database = Database::in_memory().unwrap();
        let fails = |who: &str, address: &str, action: &str| {
            let entry = Entry {
                who: who.into(),
                address: address.into(),
                action: action.into(),
                status: 401,
                ..Entry::default()
            };
            database.record(&entry).unwrap();
        };
        fails("anna", "192.0.2.1", LOGIN_FAILED);
        let before = database.newest_entry().unwrap();
        for _ in 0..3 {
            fails(NOBODY, "192.0.2.7", LOGIN_FAILED);
        }
        fails("anna", "192.0.2.1", LOGIN_FAILED);
        fails("anna", "192.0.2.1", "POST /people");
        let told = database.failed_logins(before, database.newest_entry().unwrap()).unwrap();
        let told: Vec<_> = told.iter().map(|one| (one.who.as_str(), one.count)).collect();
        assert_eq!(told, [(NOBODY, 3), ("anna", 1)]);
    }
}
