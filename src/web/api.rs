//! The API: each procedure as it is, in the JSON that `--json` prints.

use serde_json::{Value, json};

use super::ask::{Ask, Reply};
use super::caller::Caller;
use super::database::Use;
use super::openapi;
use super::procedure::{Procedure, Refused};
use super::reader;
use crate::app::Change;

type Answer = Result<Reply, Refused>;

fn told(ask: &Ask<'_>, procedure: &Procedure) -> Answer {
    Ok(Reply::json(ask.web.agent.call(procedure)?))
}

/// This description.
pub fn description(_: &Ask<'_>) -> Answer {
    Ok(Reply::json(openapi::description()))
}

/// Who is online.
pub fn status(ask: &Ask<'_>) -> Answer {
    told(ask, &Procedure::Status)
}

/// The nodes.
pub fn nodes(ask: &Ask<'_>) -> Answer {
    told(ask, &Procedure::List)
}

/// A node.
pub fn node(ask: &Ask<'_>) -> Answer {
    told(ask, &Procedure::Show { node: name(ask) })
}

/// What passed between this host and a node.
pub fn traffic(ask: &Ask<'_>) -> Answer {
    told(ask, &Procedure::Traffic { node: name(ask) })
}

/// Who reaches whom.
pub fn check(ask: &Ask<'_>) -> Answer {
    told(ask, &Procedure::Check)
}

/// A packet there and back.
pub fn trace(ask: &Ask<'_>) -> Answer {
    let (from, to) = (ask.fields.required("from").to_owned(), ask.fields.required("to").to_owned());
    told(ask, &Procedure::Trace { from, to, port: ask.field("port").map(Into::into) })
}

/// What this host would change.
pub fn plan(ask: &Ask<'_>) -> Answer {
    told(ask, &Procedure::Plan)
}

/// What is wrong with this host.
pub fn doctor(ask: &Ask<'_>) -> Answer {
    told(ask, &Procedure::Doctor)
}

/// network.toml.
pub fn network(ask: &Ask<'_>) -> Answer {
    let file: Value = ask.web.agent.call(&Procedure::NetworkFile)?;
    let etag = file["revision"].as_str().map(Into::into);
    let file = if ask.caller.only_reads() { reader::read_json(file) } else { file };
    Ok(Reply { etag, ..Reply::json(file) })
}

/// The revisions.
pub fn changes(ask: &Ask<'_>) -> Answer {
    told(ask, &Procedure::History)
}

/// Reads the revision that a path names.
///
/// # Errors
/// 404: it is no number.
pub fn revision(ask: &Ask<'_>) -> Result<u64, Refused> {
    let text = ask.fields.required("revision");
    text.parse().map_err(|_| Refused::new(404, "a revision is a number", "`/changes` has them"))
}

/// What differs.
pub fn diff(ask: &Ask<'_>) -> Answer {
    let diff: Value =
        ask.web.agent.call(&Procedure::Diff { from: revision(ask)?, to: ask.fields.number("to") })?;
    Ok(Reply::json(if ask.caller.only_reads() { reader::read_json(diff) } else { diff }))
}

fn change(ask: &Ask<'_>, change: &Change) -> Answer {
    let (by, dry_run) = (ask.caller.name(), ask.fields.flag("dry_run"));
    let asked = Procedure::Change { by, change: change.clone(), dry_run, expects: ask.if_match.clone() };
    let mut changed: Value = ask.web.keeping_owner(change, dry_run, || ask.web.agent.call(&asked))?;
    // What this host would change is about every node.
    if matches!(ask.caller, Caller::Token(token) if token.node.is_some()) && !changed["plan"].is_null() {
        changed["plan"] = Value::Null;
    }
    let etag = changed["revision"].as_str().map(Into::into);
    Ok(Reply { etag, ..Reply::json(changed) })
}

fn name(ask: &Ask<'_>) -> String {
    ask.fields.required("node").to_owned()
}

/// Replaces network.toml. Who replaces all of it says what he read.
pub fn write(ask: &Ask<'_>) -> Answer {
    if ask.if_match.is_none() {
        return Err(Refused::new(
            428,
            "If-Match is missing",
            "send the ETag of the network.toml that you read",
        ));
    }
    change(ask, &Change::Text { text: ask.fields.required("text").to_owned() })
}

/// Adds a spoke.
pub fn add(ask: &Ask<'_>) -> Answer {
    let given = |name: &str| ask.field(name).map(Into::into);
    change(
        ask,
        &Change::Add {
            name: ask.fields.required("name").to_owned(),
            platform: given("platform"),
            address: given("address"),
            sites: ask.fields.lines("sites"),
            public_key: given("public_key"),
        },
    )
}

/// Removes a node.
pub fn remove(ask: &Ask<'_>) -> Answer {
    change(ask, &Change::Remove { name: name(ask) })
}

/// Lets a node take part.
pub fn enable(ask: &Ask<'_>) -> Answer {
    change(ask, &Change::Enable { name: name(ask) })
}

/// Keeps a node out.
pub fn disable(ask: &Ask<'_>) -> Answer {
    change(ask, &Change::Disable { name: name(ask) })
}

/// Gives a node another name.
pub fn rename(ask: &Ask<'_>) -> Answer {
    change(ask, &Change::Rename { name: name(ask), to: ask.fields.required("to").to_owned() })
}

/// Says when a node stops.
pub fn expire(ask: &Ask<'_>) -> Answer {
    change(ask, &Change::Expire { name: name(ask), at: ask.field("at").map(Into::into) })
}

/// Gives a node new keys.
pub fn rotate(ask: &Ask<'_>) -> Answer {
    change(ask, &Change::Rotate { name: name(ask), public_key: ask.field("public_key").map(Into::into) })
}

/// Makes the network what it was.
pub fn revert(ask: &Ask<'_>) -> Answer {
    change(ask, &Change::Revert { revision: revision(ask)? })
}

/// A spoke's file.
pub fn export(ask: &Ask<'_>) -> Answer {
    ask.web.database.use_up(Use::File, &ask.caller.name(), ask.now)?;
    told(ask, &Procedure::Export { by: ask.caller.name(), node: name(ask) })
}

/// Makes this host match.
pub fn up(ask: &Ask<'_>) -> Answer {
    let confirm = ask.fields.number("confirm").and_then(|n| n.try_into().ok()).unwrap_or_default();
    told(ask, &Procedure::Up { by: ask.caller.name(), confirm })
}

/// Keeps what was applied.
pub fn confirm(ask: &Ask<'_>) -> Answer {
    told(ask, &Procedure::Confirm { by: ask.caller.name() })
}

/// What was done.
pub fn audit(ask: &Ask<'_>) -> Answer {
    Ok(Reply::json(json!({"version": 1, "entries": ask.web.database.audit(1000)?})))
}
