//! Who may sign in.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::Database;
use super::devices::forget_own_links;
use super::enrollments::forget_links;
use crate::web::procedure::Refused;
use crate::web::secret::Hash;
use crate::web::view::Role;

/// A user.
#[derive(Debug, Clone)]
pub struct User {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What it may.
    pub role: Role,
    /// Its password's hash; `None`: it has none, and cannot sign in.
    pub password: Option<String>,
    /// What its one-time codes are made of; `None`: it has none.
    pub totp: Option<Vec<u8>>,
    /// The last step whose code it used.
    pub totp_step: u64,
    /// How many devices of its own it may have.
    pub devices: u64,
    /// Whether it signs in by a provider, and has no password here.
    pub by_provider: bool,
}

pub(super) const COLUMNS: &str = "user.id, user.name, user.role, user.password, user.totp, user.totp_step, \
                                  user.devices, EXISTS (SELECT 1 FROM identity WHERE identity.user = user.id)";

pub(super) fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    let role: String = row.get(2)?;
    Ok(User {
        id: row.get(0)?,
        name: row.get(1)?,
        // What is unknown may least.
        role: role_of(&role).unwrap_or(Role::Owner),
        password: row.get(3)?,
        totp: row.get(4)?,
        totp_step: row.get(5)?,
        devices: row.get(6)?,
        by_provider: row.get(7)?,
    })
}

/// Reads a role by its name.
pub fn role_of(name: &str) -> Option<Role> {
    [Role::Owner, Role::Viewer, Role::Operator, Role::Admin].into_iter().find(|role| role.as_str() == name)
}

impl Role {
    /// Returns how many devices of his own somebody has by it, unless told otherwise.
    pub const fn usual_devices(self) -> u64 {
        match self {
            Self::Owner => 5,
            Self::Viewer | Self::Operator | Self::Admin => 0,
        }
    }
    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Says whether a text may be a user's name: of 1 to 64 letters, digits, and `._@-`.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'@' | b'-'))
}

impl Database {
    /// Lists the users, by name.
    ///
    /// # Errors
    /// The file cannot be read. So below.
    pub fn users(&self) -> Result<Vec<User>, Refused> {
        let connection = self.now();
        let mut query = connection.prepare(&format!("SELECT {COLUMNS} FROM user ORDER BY name"))?;
        let users = query.query_map([], user)?.collect::<Result<_, _>>()?;
        Ok(users)
    }

    /// Finds a user by name.
    pub fn user(&self, name: &str) -> Result<Option<User>, Refused> {
        let text = format!("SELECT {COLUMNS} FROM user WHERE name = ?1");
        Ok(self.now().query_row(&text, [name], user).optional()?)
    }

    /// Adds a user.
    pub fn add_user(&self, name: &str, role: Role, password: Option<&str>, now: u64) -> Result<(), Refused> {
        if !is_name(name) {
            return Err(Refused::new(400, "a user's name has 1 to 64 letters, digits, or . _ @ -", ""));
        }
        let added = self.now().execute(
            "INSERT OR IGNORE INTO user (name, role, password, made) VALUES (?1, ?2, ?3, ?4)",
            params![name, role.as_str(), password, now],
        )?;
        if added == 0 {
            return Err(Refused::new(409, format!("there is a user {name} already"), ""));
        }
        Ok(())
    }

    /// Gives a user a role. The last admin stays one.
    pub fn set_role(&self, name: &str, role: Role) -> Result<(), Refused> {
        self.but_the_last_admin(name, role == Role::Admin, |change| {
            if role < Role::Operator {
                forget_links(change, name)?;
            }
            change.execute("UPDATE user SET role = ?2 WHERE name = ?1", params![name, role.as_str()])
        })
    }

    /// Removes a user, with its sessions. The last admin stays.
    pub fn remove_user(&self, name: &str) -> Result<(), Refused> {
        self.but_the_last_admin(name, false, |change| {
            forget_own_links(change, name)?;
            change.execute("DELETE FROM user WHERE name = ?1", [name])
        })
    }

    /// Counts and changes in one, so that two at once do not leave nobody.
    fn but_the_last_admin(
        &self,
        name: &str,
        stays_admin: bool,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<usize>,
    ) -> Result<(), Refused> {
        let mut connection = self.now();
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        // Whoever signs in by a provider is no way in where that is gone.
        let others: i64 = transaction.query_row(
            "SELECT count(*) FROM user WHERE role = 'admin' AND name <> ?1 AND id NOT IN (SELECT user FROM identity)",
            [name],
            |row| row.get(0),
        )?;
        let is_admin: Option<bool> = transaction
            .query_row(
                "SELECT role = 'admin' AND id NOT IN (SELECT user FROM identity) FROM user WHERE name = ?1",
                [name],
                |row| row.get(0),
            )
            .optional()?;
        match is_admin {
            None => return Err(Refused::new(404, format!("there is no user {name}"), "")),
            Some(true) if others == 0 && !stays_admin => {
                return Err(Refused::new(
                    409,
                    format!("{name} is the last admin"),
                    "make somebody else one first",
                ));
            }
            Some(_) => {}
        }
        change(&transaction)?;
        transaction.commit()?;
        Ok(())
    }

    /// Gives a user a password, by its hash; all its sessions end.
    pub fn set_password(&self, name: &str, hashed: &str) -> Result<(), Refused> {
        let mut connection = self.now();
        let change = connection.transaction()?;
        let text =
            "SELECT EXISTS (SELECT 1 FROM identity JOIN user ON user.id = identity.user WHERE name = ?1)";
        if change.query_row(text, [name], |row| row.get(0))? {
            // There would be a second way in, which nobody there takes away.
            let hint = "his password is with the provider; another user may have one here";
            return Err(Refused::new(409, format!("{name} signs in by a provider"), hint));
        }
        change.execute("UPDATE user SET password = ?2 WHERE name = ?1", [name, hashed])?;
        change.execute("DELETE FROM session WHERE user = (SELECT id FROM user WHERE name = ?1)", [name])?;
        change.commit()?;
        Ok(())
    }

    /// Turns one-time codes on, with codes for when the device is lost, and ends all sessions, which showed none; `None`: off.
    pub fn set_totp(&self, user: i64, secret: Option<&[u8]>, recovery: &[Hash]) -> Result<(), Refused> {
        let mut connection = self.now();
        let change = connection.transaction()?;
        put_totp(&change, user, secret, recovery)?;
        change.commit()?;
        Ok(())
    }

    /// Uses up a step of one-time codes; `false`: it, or a later one, was used.
    pub fn use_totp(&self, user: i64, step: u64) -> Result<bool, Refused> {
        let used = self.now().execute(
            "UPDATE user SET totp_step = ?2 WHERE id = ?1 AND totp_step < ?2",
            params![user, step],
        )?;
        Ok(used == 1)
    }

    /// Uses up a recovery code; `false`: there is none such.
    pub fn use_recovery(&self, user: i64, hash: &Hash) -> Result<bool, Refused> {
        let used =
            self.now().execute("DELETE FROM recovery WHERE user = ?1 AND hash = ?2", params![user, hash])?;
        Ok(used == 1)
    }
}

/// Turns one-time codes on or off, in what else is changed. What an app was shown before is worth nothing then.
pub(super) fn put_totp(
    change: &Transaction<'_>,
    user: i64,
    secret: Option<&[u8]>,
    recovery: &[Hash],
) -> rusqlite::Result<()> {
    change.execute("UPDATE user SET totp = ?2, totp_step = 0 WHERE id = ?1", params![user, secret])?;
    let sessions = match secret {
        Some(_) => "DELETE FROM session WHERE user = ?1",
        None => "UPDATE session SET pending_totp = NULL WHERE user = ?1",
    };
    change.execute(sessions, [user])?;
    put_recovery(change, user, recovery)
}

/// Gives a user other recovery codes, in what else is changed.
pub(super) fn put_recovery(change: &Transaction<'_>, user: i64, recovery: &[Hash]) -> rusqlite::Result<()> {
    change.execute("DELETE FROM recovery WHERE user = ?1", [user])?;
    for hash in recovery {
        change.execute("INSERT INTO recovery (user, hash) VALUES (?1, ?2)", params![user, hash])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_admin_stays() {
        let database = Database::in_memory().unwrap();
        database.add_user("alice", Role::Admin, None, 1).unwrap();
        database.add_user("bob", Role::Viewer, None, 1).unwrap();
        assert_eq!(database.set_role("alice", Role::Viewer).unwrap_err().status, 409);
        assert_eq!(database.remove_user("alice").unwrap_err().status, 409);
        database.set_role("bob", Role::Admin).unwrap();
        database.remove_user("alice").unwrap();
        assert_eq!(database.remove_user("bob").unwrap_err().status, 409);
        assert_eq!(database.remove_user("carol").unwrap_err().status, 404);
    }

    #[test]
    fn steps_and_recovery_codes_are_used_up() {
        let database = Database::in_memory().unwrap();
        database.add_user("alice", Role::Admin, None, 1).unwrap();
        let id = database.user("alice").unwrap().unwrap().id;
        database.set_totp(id, Some(b"secret"), &[[1; 32], [2; 32]]).unwrap();
        assert!(database.use_totp(id, 7).unwrap());
        assert!(!database.use_totp(id, 7).unwrap() && !database.use_totp(id, 6).unwrap());
        assert!(database.use_recovery(id, &[1; 32]).unwrap());
        assert!(!database.use_recovery(id, &[1; 32]).unwrap());
        assert!(!database.use_recovery(id + 1, &[2; 32]).unwrap());
    }

    #[test]
    fn names_hold_nothing_that_is_read_as_something_else() {
        for bad in ["", "a b", "a\nb", "<b>", "a'--", "ä", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(is_name("alice.b@example.org"));
    }
}
