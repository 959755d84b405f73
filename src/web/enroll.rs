//! One-time enrolment: a link that an operator makes, and a device that uses it up with the public half of a key that it made
//! itself. Nobody here ever has the private half; the preshared key is made here, and leaves once, in the answer.

use serde_json::{Value, json};

use super::ask::{Ask, Reply};
use super::database::{Enrollment, Entry, Spent, Use};
use super::devices;
use super::pages::{self, Enrolled};
use super::procedure::{Procedure, Refused};
use super::view::{Frame, List, NetworkFile, Plan, Status};
use crate::app::Change;
use crate::model::{NodeName, Platform, PublicKey};

type Answer = Result<Reply, Refused>;

/// A link is good for a month at most.
pub const MOST_HOURS: u64 = 744;
/// And for a day, unless told otherwise.
pub(super) const HOURS: u64 = 24;
/// So often a device is added anew where somebody else was faster with a change.
const TRIES: u32 = 4;
/// Seconds until what was applied for a device goes back, where nothing is heard of it any more.
const CONFIRM: u32 = 60;

/// Makes a link for a node that is not there yet, and returns it as a path of this page.
fn add(ask: &Ask<'_>) -> Result<(Enrollment, String), Refused> {
    let (node, platform) = (node_name(ask.fields.required("name"))?, platform(ask)?);
    let hours = ask.fields.number("hours").unwrap_or(HOURS);
    if hours == 0 {
        return Err(Refused::new(400, "a link is good for an hour at least", ""));
    }
    let list: List = ask.call(&Procedure::List)?;
    if list.nodes.iter().any(|known| known.name == node) {
        return Err(Refused::new(409, format!("there is a node {node} already"), "choose another name"));
    }
    let asked =
        Enrollment { node, platform, maker: ask.caller.name(), expires: ask.now + hours * 3600, owner: None };
    let secret = ask.web.database.add_enrollment(&asked, ask.now)?;
    Ok((asked, ask.frame.url(&format!("/enroll?link={}", secret.as_str()))))
}

/// Reads the name of a node that is to come.
pub(super) fn node_name(typed: &str) -> Result<String, Refused> {
    let name: NodeName =
        typed.parse().map_err(|why| Refused::new(400, format!("this is no node's name: {why}"), ""))?;
    Ok(name.to_string())
}

/// Reads what a node is to run on.
pub(super) fn platform(ask: &Ask<'_>) -> Result<String, Refused> {
    let platform = ask.field("platform").unwrap_or("linux");
    if !Platform::ALL.iter().any(|(word, _)| *word == platform) {
        let words: Vec<&str> = Platform::ALL.iter().map(|(word, _)| *word).collect();
        return Err(Refused::new(400, "there is no such platform", words.join(", ")));
    }
    Ok(platform.into())
}

/// Reads a public key. What is none may be a private one: it is not repeated.
pub(super) fn public_key(typed: &str) -> Result<PublicKey, Refused> {
    let hint = "44 characters of base64, as `wg pubkey` prints";
    typed.parse().map_err(|_| Refused::new(400, "this is no public key", hint))
}

/// Shows the links that are good.
pub fn links(ask: &Ask<'_>) -> Answer {
    Ok(Reply::page(pages::links(&ask.frame, &ask.web.database.enrollments(ask.now)?, None)))
}

/// Makes a link and shows it once, or takes one back.
pub fn change(ask: &Ask<'_>) -> Answer {
    match ask.fields.required("do") {
        "add" => {
            let (made, path) = add(ask)?;
            let all = ask.web.database.enrollments(ask.now)?;
            Ok(Reply::page(pages::links(&ask.frame, &all, Some((&made.node, &path)))))
        }
        "remove" => {
            take_back(ask, ask.fields.required("name"))?;
            Ok(Reply::to("/links"))
        }
        _ => Err(Refused::new(400, "this is nothing that is done here", "")),
    }
}

/// The same for programs.
pub fn api_links(ask: &Ask<'_>) -> Answer {
    let all = ask.web.database.enrollments(ask.now)?;
    let told: Vec<Value> = all
        .iter()
        .map(|one| json!({"node": one.node, "platform": one.platform, "maker": one.maker, "expires": one.expires}))
        .collect();
    Ok(Reply::json(json!({"version": 1, "links": told})))
}

/// Makes one.
pub fn api_add(ask: &Ask<'_>) -> Answer {
    let (made, path) = add(ask)?;
    Ok(Reply::json(json!({"version": 1, "node": made.node, "expires": made.expires, "path": path})))
}

/// Takes one back.
pub fn api_remove(ask: &Ask<'_>) -> Answer {
    let node = ask.fields.required("node");
    take_back(ask, node)?;
    Ok(Reply::json(json!({"version": 1, "node": node})))
}

fn take_back(ask: &Ask<'_>, node: &str) -> Result<(), Refused> {
    if !ask.web.database.remove_enrollment(node)? {
        return Err(Refused::new(404, format!("there is no link for {node}"), "it was used, or has ended"));
    }
    Ok(())
}

/// Finds what a link is for; guesses are counted.
fn found(ask: &Ask<'_>) -> Result<Enrollment, Refused> {
    match ask.web.database.enrollment(ask.fields.required("link"), ask.now)? {
        Some(found) => Ok(found),
        None => {
            ask.web.throttle().wrong_secret(ask.peer, ask.now)?;
            Err(no_link())
        }
    }
}

fn no_link() -> Refused {
    Refused::new(404, "this link is not good, or not any more", "ask whoever sent it for another")
}

/// What is around the page of whoever has a good link: he is told where he was invited to.
fn invited(ask: &Ask<'_>) -> Frame {
    Frame { network: ask.web.network.clone(), ..ask.frame.clone() }
}

/// Shows what the link is for; looking at it spends nothing.
pub fn form(ask: &Ask<'_>) -> Answer {
    let found = found(ask)?;
    Ok(Reply::page(pages::enroll(&invited(ask), &found, ask.fields.required("link"))))
}

/// Enrols, and shows the file: its owner fills the private key in.
pub fn by_hand(ask: &Ask<'_>) -> Answer {
    let done = enroll(ask)?;
    let shown = Enrolled {
        node: &done.node,
        file: done.file["content"].as_str().unwrap_or_default(),
        is_applied: done.is_applied,
    };
    Ok(Reply::page(pages::enrolled(&invited(ask), &shown)))
}

/// Enrols a program, or the page's own script.
pub fn api_enroll(ask: &Ask<'_>) -> Answer {
    let done = enroll(ask)?;
    Ok(Reply::json(json!({
        "version": 1, "network": ask.web.network, "node": done.node, "content": done.file["content"],
        "applied": done.is_applied, "problems": done.file["problems"],
    })))
}

struct Done {
    node: String,
    file: Value,
    is_applied: bool,
}

/// Uses the link up, and adds the node. Where nothing comes of it, the link is good again.
fn enroll(ask: &Ask<'_>) -> Result<Done, Refused> {
    let (link, database) = (ask.fields.required("link"), &ask.web.database);
    found(ask)?;
    let key = public_key(ask.fields.required("public_key"))?;
    let spent = database.use_enrollment(link, ask.now)?.ok_or_else(no_link)?;
    let done = join(ask, &spent, &key);
    let status = match &done {
        Ok(_) => {
            database.finish_enrollment(link)?;
            200
        }
        Err(refused) => {
            database.put_enrollment_back(link, &spent)?;
            refused.status
        }
    };
    database.record(&Entry {
        at: ask.now,
        who: by(&spent),
        address: ask.address.to_string(),
        action: "enrol".into(),
        about: spent.link.node.clone(),
        status,
        ..Entry::default()
    })?;
    done
}

fn by(spent: &Spent) -> String {
    format!("a link of {}", spent.link.maker)
}

/// Adds a node.
///
/// # Errors
/// As below.
pub(super) fn add_node(
    ask: &Ask<'_>,
    by: &str,
    node: &str,
    platform: &str,
    public_key: Option<String>,
) -> Result<(bool, String), Refused> {
    let (name, platform) = (node.to_owned(), Some(platform.to_owned()));
    let add = Change::Add { name, platform, address: None, sites: Vec::new(), public_key };
    changed_quietly(ask, by, &add)
}

/// Makes a change that nobody looks at first, anew where somebody else was faster. Returns whether nothing else waited to be applied
/// before it, and the revision that came of it.
///
/// # Errors
/// It says no, or others are faster all the time.
pub(super) fn changed_quietly(ask: &Ask<'_>, by: &str, change: &Change) -> Result<(bool, String), Refused> {
    let mut tries = 0;
    loop {
        tries += 1;
        let file: NetworkFile = ask.call(&Procedure::NetworkFile)?;
        let is_quiet = is_quiet(ask);
        let (by, change, expects) = (by.to_owned(), change.clone(), Some(file.revision));
        match ask.web.agent.call(&Procedure::Change { by, change, dry_run: false, expects }) {
            Ok(done) => return Ok((is_quiet, done["revision"].as_str().unwrap_or_default().to_owned())),
            Err(refused) if refused.status == 412 && tries < TRIES => {}
            Err(refused) => return Err(refused),
        }
    }
}

/// Adds the node with this key, takes its file out, and has this host take it in where nothing else waits to be applied.
fn join(ask: &Ask<'_>, spent: &Spent, key: &PublicKey) -> Result<Done, Refused> {
    let (by, node, database) = (by(spent), spent.link.node.clone(), &ask.web.database);
    // A key that is known to be somebody's does not become this one's.
    let owner = database.owner_of(&key.to_string())?;
    if spent.device.is_some() && owner.is_some_and(|owner| owner != spent.link.maker) {
        return Err(Refused::new(409, "a device with this key is somebody else's", "make another key"));
    }
    if spent.device.is_some() {
        devices::is_new_key(ask, &key.to_string())?;
    }
    if spent.device.is_some() {
        // Its file counts as one that its owner takes himself.
        database.use_up(Use::OwnFile, &spent.link.maker, ask.now)?;
    }
    let (is_quiet, revision) = add_node(ask, &by, &node, &spent.link.platform, Some(key.to_string()))?;
    if let Some(device) = spent.device {
        database.name_device(device, &key.to_string())?;
    }
    let export = ask.web.agent.call(&Procedure::Export { by: by.clone(), node: node.clone() });
    let file = match export {
        Ok(file) => file,
        // Without its file it would be nobody's.
        Err(refused) => {
            changed_quietly(ask, &by, &Change::Remove { name: node.clone() })?;
            // These were two revisions more than the link stands for: once its owner has none left, it is over.
            if spent.device.is_some() && database.use_up(Use::Change, &spent.link.maker, ask.now).is_err() {
                database.remove_enrollment(&node)?;
            }
            return Err(refused);
        }
    };
    let is_applied = is_quiet && applied(ask, &by, &revision);
    Ok(Done { node, file, is_applied })
}

/// Says whether this host is as the network has it, and nothing waits for its confirmation: then only what is added here is applied.
fn is_quiet(ask: &Ask<'_>) -> bool {
    let is_waiting =
        ask.call::<Status>(&Procedure::Status).map_or(true, |status| status.rolls_back_in.is_some());
    !is_waiting && ask.call::<Plan>(&Procedure::Plan).is_ok_and(|plan| plan.changes.is_empty())
}

/// Applies the network, and keeps it where it still is the one that was applied; what is not kept goes back by itself.
pub(super) fn applied(ask: &Ask<'_>, by: &str, revision: &str) -> bool {
    let up = Procedure::Up { by: by.into(), confirm: CONFIRM };
    let is_same =
        || ask.call::<NetworkFile>(&Procedure::NetworkFile).is_ok_and(|file| file.revision == revision);
    is_same()
        && ask.web.agent.call(&up).is_ok()
        && is_same()
        && ask.web.agent.call(&Procedure::Confirm { by: by.into() }).is_ok()
}
