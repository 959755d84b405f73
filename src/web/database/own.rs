//! What people change of how they get in. Each looks, in the transaction that changes it, whether what they proved is still so: of a
//! new password, and of whoever ended the session meanwhile, the other one hears.

use rusqlite::{OptionalExtension as _, Transaction, TransactionBehavior, params};
use zeroize::Zeroizing;

use super::Database;
use super::sessions::{Opened, SessionRow, open};
use super::users::{User, put_recovery, put_totp};
use crate::web::procedure::Refused;
use crate::web::secret::Hash;

/// Who changes it: as he was when he proved who he is, by which session, from where, and when in Unix seconds.
#[derive(Clone, Copy)]
pub struct Own<'a> {
    /// The user.
    pub user: &'a User,
    /// The session.
    pub session: &'a SessionRow,
    /// From where.
    pub address: &'a str,
    /// When.
    pub now: u64,
}

impl Database {
    /// Gives him another password, by its hash. All his sessions end, and one begins.
    ///
    /// # Errors
    /// 409: his password, his codes or his session are others by now; or the file cannot be written. So below.
    pub fn set_own_password(&self, own: Own<'_>, hashed: &str) -> Result<Opened, Refused> {
        self.as_proved(own, |change| {
            change.execute("UPDATE user SET password = ?2 WHERE id = ?1", params![own.user.id, hashed])?;
            change.execute("DELETE FROM session WHERE user = ?1", [own.user.id])?;
            open(change, own.user.id, own.address, own.now)
        })
    }

    /// Turns one-time codes on by one of them, that of a step, with codes for when the app is lost. All his sessions end, and one begins.
    pub fn turn_codes_on(
        &self,
        own: Own<'_>,
        secret: &[u8],
        step: u64,
        recovery: &[Hash],
    ) -> Result<Opened, Refused> {
        self.as_proved(own, |change| {
            put_totp(change, own.user.id, Some(secret), recovery)?;
            change.execute("UPDATE user SET totp_step = ?2 WHERE id = ?1", params![own.user.id, step])?;
            open(change, own.user.id, own.address, own.now)
        })
    }

    /// Turns them off.
    pub fn turn_codes_off(&self, own: Own<'_>) -> Result<(), Refused> {
        self.as_proved(own, |change| Ok(put_totp(change, own.user.id, None, &[])?))
    }

    /// Gives him other recovery codes.
    pub fn set_recovery(&self, own: Own<'_>, recovery: &[Hash]) -> Result<(), Refused> {
        self.as_proved(own, |change| Ok(put_recovery(change, own.user.id, recovery)?))
    }

    /// Keeps what an app was shown, until it proves that it has it to the session that showed it.
    pub fn set_pending_totp(&self, own: Own<'_>, secret: &[u8], until: u64) -> Result<(), Refused> {
        self.as_proved(own, |change| {
            let text = "UPDATE session SET pending_totp = ?2, pending_until = ?3 WHERE id = ?1";
            change.execute(text, params![own.session.id, secret, until])?;
            Ok(())
        })
    }

    /// Returns what an app was shown in this session; `None`: nothing, or too long ago.
    pub fn pending_totp(&self, own: Own<'_>) -> Result<Option<Zeroizing<Vec<u8>>>, Refused> {
        let text = "SELECT pending_totp FROM session WHERE id = ?1 AND csrf = ?2 AND pending_until > ?3";
        let of = params![own.session.id, own.session.csrf, own.now];
        let found: Option<Option<Vec<u8>>> = self.now().query_row(text, of, |row| row.get(0)).optional()?;
        Ok(found.flatten().map(Zeroizing::new))
    }

    fn as_proved<T>(
        &self,
        own: Own<'_>,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let mut connection = self.now();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Numbers of sessions come again, what their forms send does not.
        let text = "SELECT EXISTS (SELECT 1 FROM user JOIN session ON session.user = user.id
             WHERE user.id = ?1 AND user.password IS ?2 AND user.totp IS ?3 AND session.id = ?4 AND session.csrf = ?5)";
        let (user, session) = (own.user, own.session);
        let of = params![user.id, user.password, user.totp, session.id, session.csrf];
        let is_as_it_was: bool = transaction.query_row(text, of, |row| row.get(0))?;
        if !is_as_it_was {
            let message = "your password, your codes or this session are others by now";
            return Err(Refused::new(409, message, "nothing was changed: sign in again"));
        }
        let done = change(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::view::Role;

    type Meanwhile = fn(&Database, &User, &SessionRow);

    /// While a new password is hashed, somebody else sets one, turns codes on, ends this session or removes the user.
    #[test]
    fn nothing_is_changed_by_whoever_proved_what_is_not_so_any_more() {
        let meanwhile: [(&str, Meanwhile); 5] = [
            ("another password", |d, user, _| d.set_password(&user.name, "other").unwrap()),
            ("codes", |d, user, _| d.set_totp(user.id, Some(b"other"), &[[7; 32]]).unwrap()),
            ("the session ended", |d, user, row| assert!(d.close_session(user.id, row.id).unwrap())),
            ("and another has its number", |d, user, row| {
                assert!(d.close_session(user.id, row.id).unwrap());
                let other = d.open_session(user.id, "::2", 2).unwrap();
                assert_eq!(d.session(&other.cookie, 2).unwrap().unwrap().1.id, row.id);
            }),
            ("removed", |d, user, _| d.remove_user(&user.name).unwrap()),
        ];
        type Change = fn(&Database, Own<'_>) -> Result<(), Refused>;
        let changes: [(&str, Change); 5] = [
            ("password", |d, own| d.set_own_password(own, "new").map(drop)),
            ("on", |d, own| d.turn_codes_on(own, b"new", 5, &[[1; 32]]).map(drop)),
            ("off", |d, own| d.turn_codes_off(own)),
            ("recovery", |d, own| d.set_recovery(own, &[[1; 32]])),
            ("pending", |d, own| d.set_pending_totp(own, b"new", 100)),
        ];
        for (what, change) in changes {
            for (why, meanwhile) in meanwhile {
                let database = Database::in_memory().unwrap();
                database.add_user("root", Role::Admin, None, 1).unwrap();
                database.add_user("anna", Role::Viewer, Some("old"), 1).unwrap();
                let anna = database.user("anna").unwrap().unwrap();
                let opened = database.open_session(anna.id, "::1", 1).unwrap();
                let (user, row) = database.session(&opened.cookie, 2).unwrap().unwrap();
                let own = Own { user: &user, session: &row, address: "::1", now: 2 };
                meanwhile(&database, &user, &row);
                let sessions = database.sessions_of(anna.id, 2).unwrap().len();
                let before = format!("{:?}", database.user("anna").unwrap());
                assert_eq!(change(&database, own).unwrap_err().status, 409, "{what}, {why}");
                assert_eq!(format!("{:?}", database.user("anna").unwrap()), before, "{what}, {why}");
                assert_eq!(database.sessions_of(anna.id, 2).unwrap().len(), sessions, "{what}, {why}");
                assert!(!database.use_recovery(anna.id, &[1; 32]).unwrap(), "{what}, {why}");
            }
        }
    }
}
