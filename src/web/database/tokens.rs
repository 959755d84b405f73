//! Tokens for programs: named, scoped, of one node or all, and with an end.

use rusqlite::{OptionalExtension as _, Row, params};
use zeroize::Zeroizing;

use super::Database;
use super::enrollments::forget_links;
use super::users::is_name;
use crate::web::procedure::Refused;
use crate::web::secret::{hash, make};

/// What a token is recognised by, in logs of others and by those who look for leaks.
const PREFIX: &str = "wgrelay_";
/// The longest that one lives, in seconds.
pub const LONGEST: u64 = 366 * 86_400;

/// What a token may; each may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenScope {
    /// Look.
    Read,
    /// Change the network.
    Operate,
    /// Take keys out.
    Keys,
}

impl TokenScope {
    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Keys => "keys",
        }
    }

    /// Reads it by its name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Read, Self::Operate, Self::Keys].into_iter().find(|scope| scope.as_str() == name)
    }
}

/// A token, without its secret.
#[derive(Debug, Clone)]
pub struct TokenRow {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What it may.
    pub scope: TokenScope,
    /// The one node that it is for; `None`: all.
    pub node: Option<String>,
    /// When it ends, in Unix seconds.
    pub expires: u64,
}

fn token(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    let scope: String = row.get(2)?;
    Ok(TokenRow {
        id: row.get(0)?,
        name: row.get(1)?,
        scope: TokenScope::of(&scope).unwrap_or(TokenScope::Read),
        node: row.get(3)?,
        expires: row.get(4)?,
    })
}

impl Database {
    /// Makes a token, and returns it: it is told this once.
    ///
    /// # Errors
    /// The name is taken or none, or the file cannot be written. So below.
    pub fn add_token(
        &self,
        name: &str,
        scope: TokenScope,
        node: Option<&str>,
        expires: u64,
        now: u64,
    ) -> Result<Zeroizing<String>, Refused> {
        if !is_name(name) {
            return Err(Refused::new(400, "a token's name has 1 to 64 letters, digits, or . _ @ -", ""));
        }
        if expires <= now || expires > now + LONGEST {
            return Err(Refused::new(400, "a token ends, within a year", ""));
        }
        let secret = Zeroizing::new(format!("{PREFIX}{}", make()?.as_str()));
        let added = self.now().execute(
            "INSERT OR IGNORE INTO token (hash, name, scope, node, made, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![hash(&secret), name, scope.as_str(), node, now, expires],
        )?;
        if added == 0 {
            return Err(Refused::new(409, format!("there is a token {name} already"), ""));
        }
        Ok(secret)
    }

    /// Finds a token by its secret; `None`: there is none, or it has ended.
    pub fn token(&self, secret: &str, now: u64) -> Result<Option<TokenRow>, Refused> {
        let text = "SELECT id, name, scope, node, expires FROM token WHERE hash = ?1 AND expires > ?2";
        Ok(self.now().query_row(text, params![hash(secret), now], token).optional()?)
    }

    /// Lists the tokens, by name.
    pub fn tokens(&self) -> Result<Vec<TokenRow>, Refused> {
        let connection = self.now();
        let mut query =
            connection.prepare("SELECT id, name, scope, node, expires FROM token ORDER BY name")?;
        let rows = query.query_map([], token)?.collect::<Result<_, _>>()?;
        Ok(rows)
    }

    /// Takes a token back; `false`: there is none.
    pub fn remove_token(&self, name: &str) -> Result<bool, Refused> {
        let mut connection = self.now();
        let change = connection.transaction()?;
        forget_links(&change, &format!("token {name}"))?;
        let removed = change.execute("DELETE FROM token WHERE name = ?1", [name])?;
        change.commit()?;
        Ok(removed == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_and_is_kept_as_a_digest() {
        let database = Database::in_memory().unwrap();
        let secret = database.add_token("ci", TokenScope::Read, Some("phone"), 2000, 1000).unwrap();
        assert_eq!(database.token(&secret, 1999).unwrap().unwrap().node.as_deref(), Some("phone"));
        assert!(database.token(&secret, 2000).unwrap().is_none());
        assert!(database.token(&secret[..secret.len() - 1], 1999).unwrap().is_none());
        assert_eq!(database.add_token("ci", TokenScope::Read, None, 2000, 1000).unwrap_err().status, 409);
        assert_eq!(
            database.add_token("x", TokenScope::Read, None, 1000 + LONGEST + 1, 1000).unwrap_err().status,
            400
        );
        let kept: Vec<u8> = database.now().query_row("SELECT hash FROM token", [], |r| r.get(0)).unwrap();
        assert_eq!(kept, hash(&secret));
        assert!(database.remove_token("ci").unwrap() && !database.remove_token("ci").unwrap());
    }
}
