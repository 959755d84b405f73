//! Who may what: users, sessions, tokens, and what each did.

use super::ask::{Ask, Reply};
use super::caller::Caller;
use super::database::{TokenScope, role_of};
use super::procedure::{Procedure, Refused};
use super::view::{AuditEntry, List, People, Role, Session, Shown, Token, User};
use super::{pages, password};
use crate::model::Timestamp;

type Answer = Result<Reply, Refused>;

fn people(ask: &Ask<'_>) -> Result<People, Refused> {
    let own = match ask.caller {
        Caller::User(_, session) => Some(session.id),
        _ => None,
    };
    let (users, tokens) = (ask.web.database.users()?, ask.web.database.tokens()?);
    // Who may what is told also where the network cannot be read.
    let list: Option<List> = ask.call(&Procedure::List).ok();
    let mut sessions = Vec::new();
    for user in &users {
        let rows = ask.web.database.sessions_of(user.id, ask.now)?;
        sessions.extend(rows.into_iter().map(|row| Session {
            id: row.id.to_string(),
            user: user.name.clone(),
            address: row.address,
            seen: row.seen,
            is_own: own == Some(row.id),
        }));
    }
    Ok(People {
        users: users
            .into_iter()
            .map(|user| {
                let keys = ask.web.database.devices_of(user.id)?;
                let own = list.iter().flat_map(|list| &list.nodes).filter(|n| keys.contains(&n.public_key));
                Ok(User {
                    has_second_factor: user.totp.is_some(),
                    by_provider: user.by_provider,
                    most_devices: user.devices,
                    devices: own.map(|node| node.name.clone()).collect(),
                    name: user.name,
                    role: user.role,
                })
            })
            .collect::<Result<_, Refused>>()?,
        sessions,
        tokens: tokens
            .into_iter()
            .map(|token| Token {
                id: token.name.clone(),
                scope: token.node.map_or_else(
                    || token.scope.as_str().to_owned(),
                    |node| format!("{} {node}", token.scope.as_str()),
                ),
                name: token.name,
                expires: Some(token.expires),
                seen: None,
            })
            .collect(),
    })
}

/// Shows them.
pub fn show(ask: &Ask<'_>) -> Answer {
    Ok(Reply::page(pages::people(&ask.frame, &people(ask)?, None)))
}

fn role(ask: &Ask<'_>) -> Result<Role, Refused> {
    let role = ask.field("role").and_then(role_of);
    role.ok_or_else(|| Refused::new(400, "a role is owner, viewer, operator or admin", ""))
}

/// Makes a node somebody's, or nobody's.
fn give(ask: &Ask<'_>) -> Result<(), Refused> {
    let shown: Shown =
        ask.call(&Procedure::Show { node: ask.field("node").unwrap_or_default().to_owned() })?;
    if shown.role != "spoke" {
        return Err(Refused::new(409, format!("{} is a relay: it is nobody's own", shown.name), ""));
    }
    let to = match ask.field("user") {
        None => None,
        Some(name) => {
            let no = || Refused::new(404, format!("there is no user {name}"), "");
            Some(ask.web.database.user(name)?.ok_or_else(no)?)
        }
    };
    ask.web.database.give_device(&shown.public_key, to.as_ref(), ask.now)
}

/// Adds, and takes away.
pub fn change(ask: &Ask<'_>) -> Answer {
    let database = &ask.web.database;
    let id = ask.field("id").unwrap_or_default();
    match ask.fields.required("do") {
        "add_user" => {
            let (role, name) = (role(ask)?, ask.field("user").unwrap_or_default());
            let hashed = password::hash(ask.field("password").unwrap_or_default())?;
            let most = ask.fields.number("devices").unwrap_or_else(|| role.usual_devices());
            database.add_user(name, role, Some(&hashed), ask.now)?;
            database.set_devices(name, most)?;
        }
        "set_user" => {
            let (role, name) = (role(ask)?, ask.field("user").unwrap_or_default());
            let known = database.user(name)?;
            let known = known.ok_or_else(|| Refused::new(404, format!("there is no user {name}"), ""))?;
            if known.role != role {
                database.set_role(name, role)?;
            }
            if let Some(most) = ask.fields.number("devices") {
                database.set_devices(name, most)?;
            }
        }
        "give_device" => give(ask)?,
        "remove_user" => database.remove_user(id)?,
        "revoke_session" => {
            let id: i64 = id.parse().map_err(|_| Refused::new(400, "a session is a number", ""))?;
            let mut is_there = false;
            for user in database.users()? {
                is_there |= database.close_session(user.id, id)?;
            }
            if !is_there {
                return Err(Refused::new(404, "there is no such session", "it has ended"));
            }
        }
        "add_token" => {
            let scope = ask.field("scope").and_then(TokenScope::of);
            let scope = scope.ok_or_else(|| Refused::new(400, "a scope is read, operate or keys", ""))?;
            let expires = match ask.field("expires") {
                None => ask.now + 90 * 86_400,
                Some(text) => {
                    let at = Timestamp::parse(text);
                    at.ok_or_else(|| Refused::new(400, "expires is no time", "such as 2027-01-31T00:00:00Z"))?
                        .0
                }
            };
            let name = ask.field("name").unwrap_or_default();
            let token = database.add_token(name, scope, ask.field("node"), expires, ask.now)?;
            return Ok(Reply::page(pages::people(&ask.frame, &people(ask)?, Some(&token))));
        }
        "revoke_token" => {
            if !database.remove_token(id)? {
                return Err(Refused::new(404, "there is no such token", "it has ended, or was taken back"));
            }
        }
        _ => return Err(Refused::new(400, "this is nothing that is done here", "")),
    }
    Ok(Reply::to("/people"))
}

/// Shows what was done.
pub fn audit(ask: &Ask<'_>) -> Answer {
    let entries: Vec<AuditEntry> = ask
        .web
        .database
        .audit(500)?
        .into_iter()
        .map(|entry| AuditEntry {
            at: entry.at,
            who: entry.who,
            address: entry.address,
            action: entry.action,
            what: entry.about,
            is_done: entry.status < 400,
        })
        .collect();
    Ok(Reply::page(pages::audit(&ask.frame, &entries)))
}
