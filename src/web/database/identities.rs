//! Who signs in by a provider. He is known by issuer and subject; his name is what he is called here, and makes him nobody else.

use rusqlite::{OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::Database;
use super::enrollments::forget_links;
use super::sessions::{Opened, open};
use super::users::is_name;
use crate::web::procedure::Refused;
use crate::web::secret::hash;
use crate::web::view::Role;

/// So many names are tried for somebody new.
const NAMES: u32 = 1000;

/// Whoever proved at a provider who he is.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The provider.
    pub issuer: &'a str,
    /// Who, there.
    pub subject: &'a str,
    /// How he is called there; `None`: it is not said.
    pub name: Option<&'a str>,
    /// When he proved it, in Unix seconds; 0: that is not known.
    pub proved: u64,
}

impl Database {
    /// Signs somebody in who may this now; who was never here becomes a user. Returns how he is called here.
    ///
    /// # Errors
    /// The file cannot be written. So below.
    pub fn sign_in_by(
        &self,
        who: Identity<'_>,
        role: Role,
        address: &str,
        now: u64,
    ) -> Result<(String, Opened), Refused> {
        let mut connection = self.now();
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (id, name) = match find(&change, who)? {
            Some((id, name)) => {
                if role < Role::Operator {
                    forget_links(&change, &name)?;
                }
                // Where he was none before, an owner gets what owners have.
                let text = "UPDATE user SET role = ?2, devices = CASE WHEN role <> ?2 THEN max(devices, ?3) ELSE devices END WHERE id = ?1";
                change.execute(text, params![id, role.as_str(), role.usual_devices()])?;
                (id, name)
            }
            None => add(&change, who, role, now)?,
        };
        let opened = open(&change, id, address, now)?;
        change.execute(
            "UPDATE session SET proved = ?2 WHERE hash = ?1",
            params![hash(&opened.cookie), who.proved.min(now)],
        )?;
        change.commit()?;
        Ok((name, opened))
    }

    /// Ends what somebody has here who may nothing any more, but for his devices; returns how he is called here, where he was known.
    pub fn turn_away(&self, issuer: &str, subject: &str) -> Result<Option<String>, Refused> {
        let mut connection = self.now();
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Some((id, name)) = find(&change, Identity { issuer, subject, name: None, proved: 0 })? else {
            return Ok(None);
        };
        forget_links(&change, &name)?;
        change.execute("DELETE FROM session WHERE user = ?1", [id])?;
        change.execute("UPDATE user SET role = 'owner' WHERE id = ?1", [id])?;
        change.commit()?;
        Ok(Some(name))
    }
}

fn find(change: &Transaction<'_>, who: Identity<'_>) -> rusqlite::Result<Option<(i64, String)>> {
    let text = "SELECT user.id, user.name FROM identity JOIN user ON user.id = identity.user WHERE issuer = ?1 AND subject = ?2";
    change.query_row(text, [who.issuer, who.subject], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// Adds somebody under a name that is nobody's: whoever has the name that he has there is somebody else.
fn add(change: &Transaction<'_>, who: Identity<'_>, role: Role, now: u64) -> Result<(i64, String), Refused> {
    let digest = hash(&format!("{}\n{}", who.issuer, who.subject));
    let by_subject =
        format!("sso-{}", digest[..5].iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    // Room for a number behind it.
    let wanted = who.name.filter(|name| is_name(name) && name.len() <= 58).unwrap_or(&by_subject);
    for n in 1..=NAMES {
        let name = if n == 1 { wanted.to_owned() } else { format!("{wanted}-{n}") };
        let added = change.execute(
            // Nobody reads `Anna` as somebody else than `anna`.
            "INSERT INTO user (name, role, made, devices) SELECT ?1, ?2, ?3, ?4
             WHERE NOT EXISTS (SELECT 1 FROM user WHERE name = ?1 COLLATE NOCASE)",
            params![name, role.as_str(), now, role.usual_devices()],
        )?;
        if added == 1 {
            let id = change.last_insert_rowid();
            change.execute(
                "INSERT INTO identity (user, issuer, subject) VALUES (?1, ?2, ?3)",
                params![id, who.issuer, who.subject],
            )?;
            return Ok((id, name));
        }
    }
    Err(Refused::new(409, "there are too many users of one name", "ask an admin to remove some"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://id.example";

    fn who<'a>(subject: &'a str, name: &'a str) -> Identity<'a> {
        Identity { issuer: ISSUER, subject, name: Some(name), proved: 0 }
    }

    #[test]
    fn somebody_is_who_he_is_by_issuer_and_subject_and_takes_no_name_of_others() {
        let database = Database::in_memory().unwrap();
        database.add_user("anna", Role::Admin, Some("hash"), 1).unwrap();
        let name = |who: Identity<'_>| database.sign_in_by(who, Role::Viewer, "::1", 1000).unwrap().0;
        assert_eq!(name(who("1", "anna")), "anna-2", "the local one is somebody else");
        assert_eq!(name(who("1", "otto")), "anna-2", "he is the same, whatever he is called by now");
        assert_eq!(name(who("2", "anna")), "anna-3");
        assert_eq!(name(Identity { issuer: "https://other.example", ..who("1", "anna") }), "anna-4");
        assert_eq!(name(who("3", "ANNA")), "ANNA-5", "nobody reads that as somebody else");
        let local = database.user("anna").unwrap().unwrap();
        assert_eq!(
            (local.role, local.by_provider, database.sessions_of(local.id, 1000).unwrap().len()),
            (Role::Admin, false, 0)
        );
        for odd in ["", "a b", "the terminal", "<b>", "token ci", "x\ny", &"x".repeat(64)] {
            let subject = format!("odd {odd}");
            let given = name(who(&subject, odd));
            assert!(given.starts_with("sso-") && is_name(&given), "{given}");
        }
        // Who was removed is somebody new.
        database.remove_user("anna-2").unwrap();
        assert_eq!(name(who("1", "otto")), "otto");
    }

    #[test]
    fn each_sign_in_says_what_he_may_and_whoever_may_nothing_is_out() {
        let database = Database::in_memory().unwrap();
        database.add_user("root", Role::Admin, Some("hash"), 1).unwrap();
        let signed_in = |role| database.sign_in_by(who("1", "anna"), role, "::1", 1000).unwrap().1;
        let user = || database.user("anna").unwrap().unwrap();
        signed_in(Role::Admin);
        assert_eq!((user().role, user().by_provider, user().devices), (Role::Admin, true, 0));
        assert_eq!(
            database.remove_user("root").unwrap_err().status,
            409,
            "the way in without the provider stays"
        );
        let opened = signed_in(Role::Owner);
        assert_eq!((user().role, user().devices), (Role::Owner, 5));
        database.set_devices("anna", 2).unwrap();
        signed_in(Role::Owner);
        assert_eq!(user().devices, 2, "as an admin left it");
        let (_, session) = database.session(&opened.cookie, 1000).unwrap().unwrap();
        assert_eq!(session.proved, 0, "when he typed his password there is not known");
        assert_eq!(database.set_password("anna", "hash").unwrap_err().status, 409);
        assert_eq!(database.turn_away(ISSUER, "1").unwrap().as_deref(), Some("anna"));
        assert!(database.session(&opened.cookie, 1000).unwrap().is_none());
        assert_eq!(database.turn_away(ISSUER, "2").unwrap(), None);
        // Only whoever signs in by it alone is made less though he is the last of all.
        let only = Database::in_memory().unwrap();
        only.sign_in_by(who("1", "anna"), Role::Admin, "::1", 1).unwrap();
        only.sign_in_by(who("1", "anna"), Role::Viewer, "::1", 1).unwrap();
        assert_eq!(only.user("anna").unwrap().unwrap().role, Role::Viewer);
    }
}
