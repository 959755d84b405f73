//! How much one may use up of what is everybody's: revisions, of which few are kept, and the files with keys that may leave in a minute.

use rusqlite::{TransactionBehavior, params};

use super::Database;
use crate::web::procedure::Refused;

/// What is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A change of the network by somebody who has devices of his own, and may change nothing else.
    Change,
    /// A file with keys, of any node that one may see.
    File,
    /// The file of a device of one's own.
    OwnFile,
}

impl Use {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::File => "file",
            Self::OwnFile => "own-file",
        }
    }

    /// So many in so many seconds: by one, and by all.
    const fn bounds(self) -> (u32, Option<u32>, u64) {
        match self {
            // Of 50 revisions that are kept, one person has a quarter in a day, and owners together half.
            Self::Change => (12, Some(24), 86_400),
            // Of the 30 that leave in a minute, nobody takes all, and owners together half.
            Self::File => (15, None, 60),
            Self::OwnFile => (5, Some(15), 60),
        }
    }

    fn refused(self, seconds: u64, is_own: bool) -> Refused {
        let (message, hint) = match self {
            Self::Change => (
                if is_own {
                    "you have changed your devices as often as you may in a day"
                } else {
                    "devices of all were changed as often as they may be in a day"
                },
                format!("again in {} minutes; an operator can do it now", seconds.div_ceil(60)),
            ),
            Self::File | Self::OwnFile => (
                "as many files with keys were taken out as may be in a minute",
                format!("again in {seconds} s"),
            ),
        };
        Refused::new(429, message, hint)
    }
}

impl Database {
    /// Uses one up, and returns its number, to give it back where nothing came of it.
    ///
    /// # Errors
    /// 429: there is none left for now; or the file cannot be written. So below.
    pub fn use_up(&self, what: Use, who: &str, now: u64) -> Result<i64, Refused> {
        let (of_one, of_all, seconds) = what.bounds();
        let mut connection = self.now();
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let since = now.saturating_sub(seconds);
        // What is of the future was written by a clock that was set back since, and would count for long.
        change.execute(
            "DELETE FROM used WHERE what = ?1 AND (at <= ?2 OR at > ?3)",
            params![what.as_str(), since, now],
        )?;
        let counted = |text: &str, of: &str| -> rusqlite::Result<(u32, Option<u64>)> {
            change.query_row(text, params![what.as_str(), of], |row| Ok((row.get(0)?, row.get(1)?)))
        };
        let (own, first) = counted("SELECT count(*), min(at) FROM used WHERE what = ?1 AND who = ?2", who)?;
        let (all, first_of_all) =
            counted("SELECT count(*), min(at) FROM used WHERE what = ?1 AND ?2 <> ''", who)?;
        let wait = |first: Option<u64>| (first.unwrap_or(now) + seconds).saturating_sub(now);
        if own >= of_one {
            return Err(what.refused(wait(first), true));
        }
        if of_all.is_some_and(|most| all >= most) {
            return Err(what.refused(wait(first_of_all), false));
        }
        change.execute(
            "INSERT INTO used (who, what, at) VALUES (?1, ?2, ?3)",
            params![who, what.as_str(), now],
        )?;
        let used = change.last_insert_rowid();
        change.commit()?;
        Ok(used)
    }

    /// Gives one back: nothing came of it.
    pub fn give_back(&self, used: i64) -> Result<(), Refused> {
        self.now().execute("DELETE FROM used WHERE id = ?1", [used])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_uses_up_what_is_everybodys() {
        let database = Database::in_memory().unwrap();
        let uses = |what: Use, who: &str, now: u64| {
            (0..100).filter(|_| database.use_up(what, who, now).is_ok()).count()
        };
        assert_eq!(uses(Use::Change, "anna", 1000), 12);
        assert_eq!(uses(Use::Change, "otto", 1000), 12, "another one has his own");
        assert_eq!(uses(Use::Change, "anna", 1000 + 86_399), 0);
        // However many they are, half of the revisions that are kept is left to those who run the network.
        let others: usize = (0..40).map(|n| uses(Use::Change, &format!("owner{n}"), 1000)).sum();
        assert_eq!(24 + others, crate::store::KEPT / 2 - 1);
        assert!(database.use_up(Use::Change, "mia", 1001).unwrap_err().message.contains("of all"));
        assert_eq!(uses(Use::Change, "anna", 1000 + 86_400), 12);
        let owners: usize =
            ["anna", "otto", "eve", "mia"].iter().map(|who| uses(Use::OwnFile, who, 1000)).sum();
        assert_eq!(owners, 15, "all owners together");
        assert_eq!(uses(Use::File, "operator", 1000), 15, "and whoever operates is not kept waiting by them");
        let refused = database.use_up(Use::OwnFile, "anna", 1030).unwrap_err();
        assert_eq!((refused.status, refused.hint.as_str()), (429, "again in 30 s"));
        // A clock that is set back keeps nobody out for longer.
        assert_eq!(uses(Use::Change, "anna", 500), 12);
        let database = Database::in_memory().unwrap();
        let used = database.use_up(Use::Change, "anna", 1).unwrap();
        database.give_back(used).unwrap();
        assert_eq!((0..100).filter(|_| database.use_up(Use::Change, "anna", 1).is_ok()).count(), 12);
    }
}
