//! Who is told when something happens: shown, added, tried and removed. What signs messages is shown once, and no secret again.

use serde_json::{Value, json};

use super::ask::{Ask, Reply};
use super::database::TargetRow;
use super::notify::{Given, Kind, Target, Topic};
use super::pages;
use super::procedure::Refused;

type Answer = Result<Reply, Refused>;

/// Shows them.
pub fn show(ask: &Ask<'_>) -> Answer {
    shown(ask, None)
}

fn shown(ask: &Ask<'_>, made: Option<(&str, &str)>) -> Answer {
    Ok(Reply::page(pages::notifications(&ask.frame, &ask.web.database.targets()?, made)))
}

fn add(ask: &Ask<'_>, events: Option<&str>) -> Result<Target, Refused> {
    let target = Target::read(&Given {
        name: ask.field("name").unwrap_or_default(),
        kind: ask.field("kind").unwrap_or_default(),
        url: ask.field("url").unwrap_or_default(),
        events,
        secret: ask.field("secret"),
        account: ask.field("account"),
        sender: ask.field("sender"),
        recipient: ask.field("recipient"),
    })?;
    ask.web.database.add_target(&target, ask.now)?;
    Ok(target)
}

fn remove(ask: &Ask<'_>) -> Result<(), Refused> {
    let name = ask.field("name").unwrap_or_default();
    if ask.web.database.remove_target(name)? { Ok(()) } else { Err(nobody(name)) }
}

fn test(ask: &Ask<'_>) -> Result<(), Refused> {
    let name = ask.field("name").unwrap_or_default();
    if ask.web.database.want_test(name)? { Ok(()) } else { Err(nobody(name)) }
}

fn nobody(name: &str) -> Refused {
    Refused::new(404, format!("nobody called {name} is told"), "")
}

/// Adds one, removes one, or sends one a test.
pub fn change(ask: &Ask<'_>) -> Answer {
    match ask.fields.required("do") {
        "add" => {
            let chosen: Vec<&str> =
                Topic::ALL.iter().map(|topic| topic.as_str()).filter(|name| ask.fields.flag(name)).collect();
            let target = add(ask, Some(&chosen.join(",")))?;
            match (target.kind, &target.secret) {
                (Kind::Webhook, Some(secret)) => shown(ask, Some((&target.name, secret))),
                _ => Ok(Reply::to("/notifications")),
            }
        }
        "remove" => {
            remove(ask)?;
            Ok(Reply::to("/notifications"))
        }
        "test" => {
            test(ask)?;
            Ok(Reply::to("/notifications"))
        }
        _ => Err(Refused::new(400, "this is nothing that is done here", "")),
    }
}

fn told(row: &TargetRow) -> Value {
    let TargetRow { target, tried, failure } = row;
    let events: Vec<&str> = target.topics.iter().map(|topic| topic.as_str()).collect();
    let recipient = Some(&target.recipient).filter(|to| !to.is_empty());
    json!({
        "name": target.name, "kind": target.kind.as_str(), "to": target.url.to_string(), "recipient": recipient,
        "events": events, "tried": tried, "failure": failure,
    })
}

/// The same for programs of somebody who signed in.
pub fn api_list(ask: &Ask<'_>) -> Answer {
    let targets: Vec<Value> = ask.web.database.targets()?.iter().map(told).collect();
    Ok(Reply::json(json!({"version": 1, "notifications": targets})))
}

/// Adds one.
pub fn api_add(ask: &Ask<'_>) -> Answer {
    let events = ask.fields.lines("events");
    let events = Some(events.join(",")).filter(|events| !events.is_empty());
    let target = add(ask, events.as_deref())?;
    let secret = target.secret.as_ref().filter(|_| target.kind == Kind::Webhook);
    let secret = secret.map(|secret| secret.as_str());
    Ok(Reply::json(json!({"version": 1, "name": target.name, "secret": secret})))
}

/// Removes one.
pub fn api_remove(ask: &Ask<'_>) -> Answer {
    remove(ask)?;
    Ok(Reply::json(json!({"version": 1, "name": ask.field("name")})))
}

/// Sends one a test, within seconds; how it ended is in the list.
pub fn api_test(ask: &Ask<'_>) -> Answer {
    test(ask)?;
    Ok(Reply::json(json!({"version": 1, "name": ask.field("name")})))
}
