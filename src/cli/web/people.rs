//! `web user` and `web token`: who may what, from the terminal.

use clap::Subcommand;
use zeroize::Zeroizing;

use super::WebAction;
use crate::cli::context::Context;
use crate::cli::fault::Fault;
use crate::cli::output::Role;
use crate::web::database::{Database, MOST_DEVICES, TokenScope, User, role_of};
use crate::web::hash_password;
use crate::web::view::Role as UserRole;

/// Below `web user`
#[derive(Debug, Subcommand)]
pub enum UserAction {
    /// List them
    List,
    /// Add one; the password comes from stdin
    Add {
        /// The name
        name: String,
        /// What that one may: owner (of devices of his own), viewer, operator, admin
        #[arg(long, default_value = "viewer")]
        role: String,
        /// How many devices of his own he may have; 5 for an owner, else none
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=MOST_DEVICES))]
        devices: Option<u64>,
    },
    /// Give one another role, or another number of devices
    Set {
        /// The name
        name: String,
        /// What that one may: owner, viewer, operator, admin
        #[arg(long, required_unless_present = "devices")]
        role: Option<String>,
        /// How many devices of his own he may have
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=MOST_DEVICES))]
        devices: Option<u64>,
    },
    /// Give one a new password, from stdin; all its sessions end
    Password {
        /// The name
        name: String,
    },
    /// Turn one-time codes on: prints the secret for an app, and codes for when that is lost
    Totp {
        /// The name
        name: String,
        /// Turn them off
        #[arg(long)]
        off: bool,
    },
    /// Remove one, with its sessions
    Remove {
        /// The name
        name: String,
    },
}

/// Below `web token`
#[derive(Debug, Subcommand)]
pub enum TokenAction {
    /// List them
    List,
    /// Make one, and print it: this once
    Add {
        /// The name, for the audit
        name: String,
        /// What it may: read, operate, keys
        #[arg(long, default_value = "read")]
        scope: String,
        /// The one node that it is for
        #[arg(long, value_name = "NODE")]
        of: Option<String>,
        /// How many days it is good for, 366 at most
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=366))]
        days: u16,
    },
    /// Take one back
    Remove {
        /// The name
        name: String,
    },
}

/// What the audit has of it; `None`: it changed nothing.
pub(super) fn noted(action: &WebAction) -> Option<(&'static str, String)> {
    use TokenAction as Token;
    use UserAction as User;
    Some(match action {
        WebAction::Copy | WebAction::Put => return None,
        WebAction::Init => ("web init", String::new()),
        WebAction::User { action } => match action {
            User::List => return None,
            User::Add { name, role, .. } => ("web user add", format!("{name} {role}")),
            User::Set { name, role, devices } => {
                let devices = devices.map(|n| format!(" {n} devices")).unwrap_or_default();
                let role = role.as_ref().map(|role| format!(" {role}")).unwrap_or_default();
                ("web user set", format!("{name}{role}{devices}"))
            }
            User::Password { name } => ("web user password", name.clone()),
            User::Totp { name, off: false } => ("web user totp", name.clone()),
            User::Totp { name, off: true } => ("web user totp --off", name.clone()),
            User::Remove { name } => ("web user remove", name.clone()),
        },
        WebAction::Notify { action } => return super::notify::noted(action),
        WebAction::Token { action } => match action {
            Token::List => return None,
            Token::Add { name, scope, of, .. } => (
                "web token add",
                format!("{name} {scope} {}", of.as_deref().unwrap_or_default()).trim_end().into(),
            ),
            Token::Remove { name } => ("web token remove", name.clone()),
        },
    })
}

pub(super) fn user(
    ctx: &Context,
    database: &Database,
    action: &UserAction,
    network: &str,
) -> Result<(), Fault> {
    match action {
        UserAction::List => {
            let users = database.users()?;
            if users.is_empty() {
                ctx.out
                    .say("there is no user yet: `wgrelay web init` prints a link that makes the first admin");
            }
            for user in users {
                let codes = if user.totp.is_some() { ", one-time codes" } else { "" };
                let devices = match user.devices {
                    0 => String::new(),
                    most => format!(", {most} devices at most"),
                };
                let by = if user.by_provider { ", by the provider" } else { "" };
                ctx.out.prose(&format!(
                    "{}: {}{devices}{codes}{by}",
                    ctx.out.paint(Role::Name, &user.name),
                    user.role.as_str()
                ))?;
            }
        }
        UserAction::Add { name, role, devices } => {
            let role = role_as_typed(role)?;
            database.add_user(name, role, Some(&hash_password(&password()?)?), ctx.now.0)?;
            database.set_devices(name, devices.unwrap_or_else(|| role.usual_devices()))?;
        }
        UserAction::Set { name, role, devices } => {
            known(database, name)?;
            if let Some(role) = role {
                database.set_role(name, role_as_typed(role)?)?;
            }
            if let Some(devices) = devices {
                database.set_devices(name, *devices)?;
            }
        }
        UserAction::Password { name } => {
            known(database, name)?;
            database.set_password(name, &hash_password(&password()?)?)?;
        }
        UserAction::Totp { name, off: true } => {
            database.set_totp(known(database, name)?.id, None, &[])?;
        }
        UserAction::Totp { name, off: false } => {
            let made = crate::web::one_time_codes(database, network, &known(database, name)?)?;
            ctx.out.prose(&format!(
                "{}\nwhen the app is lost, each good once:\n  {}",
                made.address.as_str(),
                made.recovery.join("\n  ")
            ))?;
        }
        UserAction::Remove { name } => database.remove_user(name)?,
    }
    Ok(())
}

fn role_as_typed(role: &str) -> Result<UserRole, Fault> {
    role_of(role)
        .ok_or_else(|| Fault::usage(format!("there is no role {role:?}"), "owner, viewer, operator or admin"))
}

fn known(database: &Database, name: &str) -> Result<User, Fault> {
    let user = database
        .user(name)?
        .ok_or_else(|| Fault::usage(format!("there is no user {name}"), "`wgrelay web user list`"))?;
    Ok(user)
}

/// Reads a password: a line of stdin.
pub(super) fn password() -> Result<Zeroizing<String>, Fault> {
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().read_line(&mut line)?;
    Ok(Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}

pub(super) fn token(ctx: &Context, database: &Database, action: &TokenAction) -> Result<(), Fault> {
    match action {
        TokenAction::List => {
            let tokens = database.tokens()?;
            if tokens.is_empty() {
                ctx.out.say("there is no token: `wgrelay web token add NAME` makes one");
            }
            for token in tokens {
                let of = token.node.map_or_else(String::new, |node| format!(" of {node}"));
                let until = crate::model::Timestamp(token.expires);
                let name = ctx.out.paint(Role::Name, &token.name);
                ctx.out.prose(&format!("{name}: {}{of}, until {until}", token.scope.as_str()))?;
            }
        }
        TokenAction::Add { name, scope, of, days } => {
            let scope = TokenScope::of(scope).ok_or_else(|| {
                Fault::usage(format!("there is no scope {scope:?}"), "read, operate or keys")
            })?;
            let expires = ctx.now.0 + u64::from(*days) * 86_400;
            let secret = database.add_token(name, scope, of.as_deref(), expires, ctx.now.0)?;
            ctx.out.prose(&secret)?;
        }
        TokenAction::Remove { name } => {
            if !database.remove_token(name)? {
                return Err(Fault::usage(format!("there is no token {name}"), "`wgrelay web token list`"));
            }
        }
    }
    Ok(())
}
