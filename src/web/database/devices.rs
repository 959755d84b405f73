//! Whose a device is: by the public key of its node, so that a node of the same name that somebody else makes later is not his.

use rusqlite::{OptionalExtension as _, Transaction, TransactionBehavior, params};
use zeroize::Zeroizing;

use super::Database;
use super::enrollments::{Enrollment, forget_links, good, put};
use super::users::User;
use crate::web::procedure::Refused;
use crate::web::secret::make;

/// Seconds after which a device that the network does not have is not counted any more: before, it may be on its way.
pub(super) const ON_ITS_WAY: u64 = 600;
/// The most devices that somebody may have.
pub const MOST_DEVICES: u64 = 1000;

impl Database {
    /// Returns the public keys of a user's devices.
    ///
    /// # Errors
    /// The file cannot be read. So below.
    pub fn devices_of(&self, user: i64) -> Result<Vec<String>, Refused> {
        let connection = self.now();
        let text =
            "SELECT public_key FROM device WHERE user = ?1 AND public_key IS NOT NULL ORDER BY public_key";
        let mut query = connection.prepare(text)?;
        let keys = query.query_map([user], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(keys)
    }

    /// Says who has a device.
    pub fn owner_of(&self, public_key: &str) -> Result<Option<String>, Refused> {
        let text =
            "SELECT user.name FROM device JOIN user ON user.id = device.user WHERE device.public_key = ?1";
        Ok(self.now().query_row(text, [public_key], |row| row.get(0)).optional()?)
    }

    /// Says how many devices a user may have; the links that he made end.
    pub fn set_devices(&self, name: &str, most: u64) -> Result<(), Refused> {
        if most > MOST_DEVICES {
            return Err(Refused::new(400, format!("{MOST_DEVICES} devices at most"), ""));
        }
        let mut connection = self.now();
        let change = connection.transaction()?;
        change
            .execute("DELETE FROM enrollment WHERE owner = (SELECT id FROM user WHERE name = ?1)", [name])?;
        let changed = change.execute("UPDATE user SET devices = ?2 WHERE name = ?1", params![name, most])?;
        if changed == 0 {
            return Err(Refused::new(404, format!("there is no user {name}"), ""));
        }
        change.commit()?;
        Ok(())
    }

    /// Takes a place for a device that is about to be added. `there`: the keys that the network has.
    ///
    /// # Errors
    /// 409: he has as many as he may, links included.
    pub fn reserve_device(&self, user: i64, there: &[String], now: u64) -> Result<i64, Refused> {
        let mut connection = self.now();
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        within_limit(&change, user, there, now)?;
        let id = reserve(&change, user, now)?;
        change.commit()?;
        Ok(id)
    }

    /// Says which key the device has for which a place was taken: from now on it is that user's.
    ///
    /// # Errors
    /// 409: it is somebody else's.
    pub fn name_device(&self, device: i64, public_key: &str) -> Result<(), Refused> {
        let mut connection = self.now();
        let change = connection.transaction()?;
        // The same user's, of before: it is one device.
        change.execute(
            "DELETE FROM device WHERE public_key = ?2 AND id <> ?1 AND user = (SELECT user FROM device WHERE id = ?1)",
            params![device, public_key],
        )?;
        let named = change.execute(
            "UPDATE OR IGNORE device SET public_key = ?2 WHERE id = ?1",
            params![device, public_key],
        )?;
        if named == 0 {
            return Err(Refused::new(409, "a device with this key is somebody else's", "make another key"));
        }
        change.commit()?;
        Ok(())
    }

    /// Gives a place back.
    pub fn release_device(&self, device: i64) -> Result<(), Refused> {
        self.now().execute("DELETE FROM device WHERE id = ?1", [device])?;
        Ok(())
    }

    /// Gives a device to a user, whoever had it; `None`: it is nobody's.
    pub fn give_device(&self, public_key: &str, to: Option<&User>, now: u64) -> Result<(), Refused> {
        let mut connection = self.now();
        let change = connection.transaction()?;
        change.execute("DELETE FROM device WHERE public_key = ?1", [public_key])?;
        if let Some(user) = to {
            change.execute(
                "INSERT INTO device (user, public_key, made) VALUES (?1, ?2, ?3)",
                params![user.id, public_key, now],
            )?;
        }
        change.commit()?;
        Ok(())
    }

    /// A node has another key: whose it is stays.
    pub fn rekey_device(&self, before: &str, after: &str) -> Result<(), Refused> {
        self.now().execute(
            "UPDATE OR REPLACE device SET public_key = ?2 WHERE public_key = ?1",
            params![before, after],
        )?;
        Ok(())
    }

    /// Makes a link for a device of a user's own. One of his for the same node takes the place of the one before it.
    ///
    /// # Errors
    /// 409: he has as many devices as he may, or there is a link for that node that is not his.
    pub fn add_own_enrollment(
        &self,
        user: &User,
        asked: &Enrollment,
        there: &[String],
        now: u64,
    ) -> Result<Zeroizing<String>, Refused> {
        let secret = make()?;
        let mut connection = self.now();
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        change.execute(
            "DELETE FROM enrollment WHERE expires <= ?1 OR node = ?2 AND owner = ?3",
            params![now, asked.node.as_str(), user.id],
        )?;
        let is_taken: bool = change.query_row(
            "SELECT EXISTS (SELECT 1 FROM enrollment WHERE node = ?1)",
            [asked.node.as_str()],
            |row| row.get(0),
        )?;
        if is_taken {
            return Err(Refused::new(
                409,
                format!("there is a link for {} already", asked.node),
                "choose another name",
            ));
        }
        within_limit(&change, user.id, there, now)?;
        put(&change, &secret, asked)?;
        change.commit()?;
        Ok(secret)
    }

    /// Takes a user's own link back; says whether there was one.
    pub fn remove_own_enrollment(&self, user: i64, node: &str) -> Result<bool, Refused> {
        let removed = self
            .now()
            .execute("DELETE FROM enrollment WHERE node = ?1 AND owner = ?2", params![node, user])?;
        Ok(removed > 0)
    }
}

/// Takes a place for a device.
pub(super) fn reserve(change: &Transaction<'_>, user: i64, now: u64) -> rusqlite::Result<i64> {
    change.execute("INSERT INTO device (user, made) VALUES (?1, ?2)", params![user, now])?;
    Ok(change.last_insert_rowid())
}

/// Counts what a user has and what is on its way, with the links that are good: in the transaction that adds one.
fn within_limit(change: &Transaction<'_>, user: i64, there: &[String], now: u64) -> Result<(), Refused> {
    let old = now.saturating_sub(ON_ITS_WAY);
    let gone: Vec<i64> = {
        let mut query = change
            .prepare("SELECT id, public_key FROM device WHERE user = ?1 AND (made <= ?2 OR made > ?3)")?;
        let rows = query.query_map(params![user, old, now], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?))
        })?;
        let rows: Vec<(i64, Option<String>)> = rows.collect::<rusqlite::Result<_>>()?;
        let is_gone = |key: &Option<String>| key.as_ref().is_none_or(|key| !there.contains(key));
        rows.into_iter().filter(|(_, key)| is_gone(key)).map(|(id, _)| id).collect()
    };
    for id in gone {
        change.execute("DELETE FROM device WHERE id = ?1", [id])?;
    }
    // A link that is used has a place already.
    let count = format!(
        "SELECT (SELECT count(*) FROM device WHERE user = ?1) \
         + (SELECT count(*) FROM enrollment WHERE owner = ?1 AND {})",
        good(now)
    );
    let has: u64 = change.query_row(&count, [user], |row| row.get(0))?;
    let most: u64 = change.query_row("SELECT devices FROM user WHERE id = ?1", [user], |row| row.get(0))?;
    if has < most {
        return Ok(());
    }
    let why = match most {
        0 => "you may have no devices of your own".to_owned(),
        most => format!("you have {has} devices and links, and may have {most}"),
    };
    Err(Refused::new(409, why, "remove one, or ask an admin for more"))
}

/// Ends the links of whoever loses what they were made with.
pub(super) fn forget_own_links(change: &Transaction<'_>, name: &str) -> rusqlite::Result<()> {
    change
        .execute("DELETE FROM enrollment WHERE owner = (SELECT id FROM user WHERE name = ?1)", [name])
        .map(drop)?;
    forget_links(change, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::view::Role;

    fn owner(database: &Database, name: &str, most: u64) -> User {
        database.add_user(name, Role::Owner, None, 1).unwrap();
        database.set_devices(name, most).unwrap();
        database.user(name).unwrap().unwrap()
    }

    #[test]
    fn nobody_has_more_than_he_may_whatever_he_does_at_once() {
        let database = Database::in_memory().unwrap();
        let anna = owner(&database, "anna", 3);
        let got = std::thread::scope(|scope| {
            let tries: Vec<_> =
                (0..8).map(|_| scope.spawn(|| database.reserve_device(anna.id, &[], 1000).is_ok())).collect();
            tries.into_iter().filter(|_| true).map(|t| t.join().unwrap()).filter(|ok| *ok).count()
        });
        assert_eq!(got, 3);
        // Links count, and what never came is forgotten in the end.
        let link = Enrollment {
            node: "anna-phone".into(),
            platform: "ios".into(),
            maker: "anna".into(),
            expires: 9000,
            owner: Some(anna.id),
        };
        assert_eq!(database.add_own_enrollment(&anna, &link, &[], 1000).unwrap_err().status, 409);
        assert!(database.add_own_enrollment(&anna, &link, &[], 1000 + ON_ITS_WAY).is_ok());
        assert!(database.reserve_device(anna.id, &[], 1000 + ON_ITS_WAY).is_ok());
        let second = database.reserve_device(anna.id, &[], 1000 + ON_ITS_WAY).unwrap();
        assert_eq!(database.reserve_device(anna.id, &[], 1000 + ON_ITS_WAY).unwrap_err().status, 409);
        database.name_device(second, "key").unwrap();
        // What the network has counts for as long as it has it.
        let later = 1000 + 3 * ON_ITS_WAY;
        for there in [true, false] {
            let keys = if there { vec!["key".to_owned()] } else { Vec::new() };
            let free = (0..9).take_while(|_| database.reserve_device(anna.id, &keys, later).is_ok()).count();
            assert_eq!(free, 1, "{there}");
        }
    }

    #[test]
    fn a_key_is_one_persons() {
        let database = Database::in_memory().unwrap();
        let (anna, otto) = (owner(&database, "anna", 3), owner(&database, "otto", 3));
        let first = database.reserve_device(anna.id, &[], 1).unwrap();
        database.name_device(first, "key").unwrap();
        let other = database.reserve_device(otto.id, &[], 1).unwrap();
        assert_eq!(database.name_device(other, "key").unwrap_err().status, 409);
        assert_eq!(database.owner_of("key").unwrap().as_deref(), Some("anna"));
        let again = database.reserve_device(anna.id, &[], 1).unwrap();
        database.name_device(again, "key").unwrap();
        assert_eq!(database.devices_of(anna.id).unwrap(), ["key"]);
        database.rekey_device("key", "newer").unwrap();
        assert_eq!(database.devices_of(anna.id).unwrap(), ["newer"]);
        database.give_device("newer", Some(&otto), 2).unwrap();
        assert!(database.devices_of(anna.id).unwrap().is_empty());
        assert_eq!(database.devices_of(otto.id).unwrap(), ["newer"]);
        database.remove_user("otto").unwrap();
        assert_eq!(database.owner_of("newer").unwrap(), None);
    }
}
