//! Who asks, and what that one may.

use super::by_tunnel::who;
use super::clock::is_within;
use super::database::{NOBODY, SessionRow, TokenRow, TokenScope, User};
use super::procedure::Refused;
use super::routes::{Concerns, Route, Scope};
use super::view::Role;

/// Seconds for which a password that was typed counts where keys leave.
pub const PROVED: u64 = 300;

/// Who asks.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Nobody that is known.
    Nobody,
    /// A person who signed in.
    User(User, SessionRow),
    /// A program.
    Token(TokenRow),
    /// A node that comes through the tunnel, and did not sign in.
    Node(String),
}

impl Caller {
    /// Returns the name for the audit and the history.
    pub fn name(&self) -> String {
        match self {
            Self::Nobody => NOBODY.into(),
            Self::User(user, _) => user.name.clone(),
            Self::Token(token) => format!("token {}", token.name),
            Self::Node(node) => who(node),
        }
    }

    /// Refuses what this one may not. `node`: the node that the path names; `is_own`: whether that is a device of his own.
    ///
    /// # Errors
    /// 401: who is it? 403: it is known, and may not.
    pub fn may(
        &self,
        route: &Route,
        node: Option<&str>,
        is_own: impl Fn() -> bool,
        now: u64,
    ) -> Result<(), Refused> {
        let denied = |what: &str| Err(Refused::new(403, format!("this is for {what}"), "ask an admin"));
        match (route.scope, self) {
            (Scope::Public, _) => Ok(()),
            (Scope::Read, Self::Node(_)) if !route.changes() => Ok(()),
            (_, Self::Nobody | Self::Node(_)) => {
                Err(Refused::new(401, "sign in first", "at /login, or with a token"))
            }
            (Scope::Own | Scope::Device | Scope::DeviceKeys | Scope::Admin, Self::Token(_)) => {
                denied("people, not for tokens")
            }
            (Scope::Own, Self::User(..)) => Ok(()),
            // Of a node that there is not, the same is said as of somebody else's.
            (Scope::Device | Scope::DeviceKeys, Self::User(..)) if !is_own() => denied("whose device it is"),
            (Scope::Device, Self::User(..)) => Ok(()),
            (Scope::Read, Self::User(user, _)) if user.role >= Role::Viewer => Ok(()),
            (Scope::Operate, Self::User(user, _)) if user.role >= Role::Operator => Ok(()),
            (Scope::Keys | Scope::DeviceKeys, Self::User(user, session))
                if user.role >= Role::Operator || route.scope == Scope::DeviceKeys =>
            {
                if is_within(session.proved, PROVED, now) {
                    Ok(())
                } else {
                    Err(Refused::new(401, "keys leave here: type your password again", ""))
                }
            }
            (Scope::Admin, Self::User(user, _)) if user.role == Role::Admin => Ok(()),
            (Scope::Read, Self::User(..)) => denied("whoever may look at the network"),
            (Scope::Operate | Scope::Keys, Self::User(..)) => denied("operators"),
            (Scope::Admin | Scope::DeviceKeys, Self::User(..)) => denied("admins"),
            (scope, Self::Token(token)) => {
                let needed = match scope {
                    Scope::Operate => TokenScope::Operate,
                    Scope::Keys => TokenScope::Keys,
                    _ => TokenScope::Read,
                };
                if token.scope < needed {
                    return denied(&format!("tokens of scope {}", needed.as_str()));
                }
                match (&token.node, route.concerns) {
                    (None, _) => Ok(()),
                    (Some(own), Concerns::Node) if node == Some(own) => Ok(()),
                    (Some(_), _) => denied("tokens of all nodes, or of that one"),
                }
            }
        }
    }
}
