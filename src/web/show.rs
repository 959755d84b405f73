//! The pages: each asks for the data of procedures, and hands it to its page. A change is shown first, and done by the button below.

use std::collections::BTreeMap;

use super::api::revision;
use super::ask::{Ask, Reply};
use super::edits;
use super::pages;
use super::procedure::{Procedure, Refused};
use super::reader;
use super::view::{self, Check, List, NetworkFile, Shown, Status, Trace};
use crate::app::{Change, NodeTraffic};
use crate::config::{parse_network, places_of};
use crate::model::{Network, Timestamp};

type Answer = Result<Reply, Refused>;

/// A host that cannot be looked at is no reason to say nothing of the file.
fn status_of(ask: &Ask<'_>) -> Option<Status> {
    ask.call(&Procedure::Status).ok()
}

/// Who is online.
pub fn overview(ask: &Ask<'_>) -> Answer {
    let (list, check): (List, Check) = (ask.call(&Procedure::List)?, ask.call(&Procedure::Check)?);
    let status = status_of(ask);
    let mut frame = ask.frame.clone();
    frame.notices.extend(status.as_ref().and_then(|s| s.rolls_back_in).map(view::Notice::GoesBack));
    Ok(Reply::page(pages::overview(&frame, status.as_ref(), &list, &check)))
}

/// The part of the overview that changes, for the script that asks again.
pub fn live(ask: &Ask<'_>) -> Answer {
    let (list, check): (List, Check) = (ask.call(&Procedure::List)?, ask.call(&Procedure::Check)?);
    Ok(Reply::page(pages::live(&ask.frame, status_of(ask).as_ref(), &list, &check)))
}

/// The nodes.
pub fn nodes(ask: &Ask<'_>) -> Answer {
    let query = pages::NodesQuery::read(|name| ask.field(name));
    Ok(Reply::page(pages::nodes(&ask.frame, &ask.call(&Procedure::List)?, status_of(ask).as_ref(), &query)))
}

/// The form of a new node.
pub fn add_form(ask: &Ask<'_>) -> Answer {
    Ok(Reply::page(pages::add_form(&ask.frame, &|_| "", None)))
}

/// A node.
pub fn node(ask: &Ask<'_>) -> Answer {
    let name = ask.fields.required("node").to_owned();
    let shown: Shown = ask.call(&Procedure::Show { node: name.clone() })?;
    // A page without its history is a page all the same.
    let traffic: Option<NodeTraffic> = ask.call(&Procedure::Traffic { node: name }).ok();
    let (status, check) = (status_of(ask), ask.call(&Procedure::Check)?);
    let history = pages::node_history(&ask.frame, traffic.as_ref(), Timestamp(ask.now));
    Ok(Reply::page(pages::node(&ask.frame, &shown, status.as_ref(), &check, &history)))
}

/// The part of it that changes.
pub fn node_live(ask: &Ask<'_>) -> Answer {
    let shown: Shown = ask.call(&Procedure::Show { node: ask.fields.required("node").to_owned() })?;
    Ok(Reply::page(pages::node_live(&ask.frame, &shown.name, status_of(ask).as_ref())))
}

/// The form of a node's keys in the file.
pub fn edit_form(ask: &Ask<'_>) -> Answer {
    let shown: Shown = ask.call(&Procedure::Show { node: ask.fields.required("node").to_owned() })?;
    Ok(Reply::page(pages::edit_form(&ask.frame, &shown, &|_| "", None)))
}

/// Who reaches whom.
pub fn matrix(ask: &Ask<'_>) -> Answer {
    let only_blocked = ask.field("show") == Some("blocked");
    Ok(Reply::page(pages::matrix(&ask.frame, &ask.call(&Procedure::Check)?, only_blocked)))
}

fn read(file: &NetworkFile) -> Result<Network, Refused> {
    parse_network(file.text.as_bytes(), "network.toml")
        .value
        .ok_or_else(|| Refused::new(422, "network.toml has faults", "`/file` shows them, each at its place"))
}

/// A packet there and back, with what would let it through.
pub fn trace(ask: &Ask<'_>) -> Answer {
    let (from, to) = (ask.field("from").unwrap_or_default(), ask.field("to").unwrap_or_default());
    let port = ask.field("port");
    let asked = (from, to, port.unwrap_or_default());
    if from.is_empty() || to.is_empty() {
        return Ok(Reply::page(pages::trace(&ask.frame, asked, None, &[])));
    }
    let procedure = Procedure::Trace { from: from.into(), to: to.into(), port: port.map(Into::into) };
    let found: Trace = ask.call(&procedure)?;
    let mends = match found.verdict.as_str() {
        "reaches" => Vec::new(),
        _ => {
            let file: NetworkFile = ask.call(&Procedure::NetworkFile)?;
            edits::mends(&file.text, asked, Timestamp(ask.now))
        }
    };
    Ok(Reply::page(pages::trace(&ask.frame, asked, Some(&found), &mends)))
}

/// The rules.
pub fn rules(ask: &Ask<'_>) -> Answer {
    let file: NetworkFile = ask.call(&Procedure::NetworkFile)?;
    let (network, places) = (read(&file)?, places_of(file.text.as_bytes(), ""));
    let check: Check = ask.call(&Procedure::Check)?;
    // What a problem says names the places that it is about, which a promise may name as a group or as all; where it is says which.
    let of = |index: usize| {
        let at = places.get(&format!("expect[{index}]"))?;
        let mut broken = check.problems.iter().filter(|problem| problem.code == "expectation-broken");
        broken.find(|problem| problem.place.ends_with(at)).map(|problem| (index, problem.message.clone()))
    };
    let broken: BTreeMap<usize, String> = (0..network.expect.len()).filter_map(of).collect();
    Ok(Reply::page(pages::rules(&ask.frame, &network, &broken)))
}

/// What this host would change.
pub fn plan(ask: &Ask<'_>) -> Answer {
    Ok(Reply::page(pages::plan(&ask.frame, &ask.call(&Procedure::Plan)?)))
}

/// The revisions.
pub fn changes(ask: &Ask<'_>) -> Answer {
    Ok(Reply::page(pages::changes(&ask.frame, &ask.call(&Procedure::History)?)))
}

/// What differs between a revision and now.
pub fn diff(ask: &Ask<'_>) -> Answer {
    let procedure = Procedure::Diff { from: revision(ask)?, to: None };
    let diff = ask.call(&procedure)?;
    let diff = if ask.caller.only_reads() { reader::read_diff(diff) } else { diff };
    Ok(Reply::page(pages::diff(&ask.frame, &diff)))
}

/// The network's file.
pub fn file(ask: &Ask<'_>) -> Answer {
    let mut file: NetworkFile = ask.call(&Procedure::NetworkFile)?;
    if ask.caller.only_reads() {
        file.text = reader::read(&file.text);
    }
    Ok(Reply::page(pages::file(&ask.frame, &file, &[])))
}

/// What is wrong with this host.
pub fn doctor(ask: &Ask<'_>) -> Answer {
    Ok(Reply::page(pages::doctor(&ask.frame, &ask.call(&Procedure::Doctor)?)))
}

/// A file of the program's own.
pub fn asset(ask: &Ask<'_>) -> Answer {
    let name = ask.fields.required("name");
    let found = pages::assets::ASSETS.iter().find(|asset| asset.name == name);
    let asset = found.ok_or_else(|| Refused::new(404, "there is no such file", ""))?;
    Ok(Reply::file(asset.content_type, asset.content))
}

/// Reads what a form asks for.
fn wanted(ask: &Ask<'_>) -> Result<Change, Refused> {
    let given = |name: &str| ask.field(name).map(Into::into);
    let name = ask.field("name").unwrap_or_default().to_owned();
    Ok(match ask.fields.required("do") {
        "add" => Change::Add {
            name,
            platform: given("platform"),
            address: given("address"),
            sites: ask
                .field("site")
                .map(|s| s.split([',', ' ']).filter(|s| !s.is_empty()).map(Into::into).collect())
                .unwrap_or_default(),
            public_key: given("public_key"),
        },
        "remove" => Change::Remove { name },
        "rename" => Change::Rename { name, to: ask.field("to").unwrap_or_default().into() },
        "enable" => Change::Enable { name },
        "disable" => Change::Disable { name },
        "rotate" => Change::Rotate { name, public_key: given("public_key") },
        "write" => Change::Text { text: ask.fields.required("text").replace("\r\n", "\n") },
        "revert" => {
            let number = ask.field("to").and_then(|text| text.parse().ok());
            Change::Revert {
                revision: number.ok_or_else(|| Refused::new(400, "a revision is a number", ""))?,
            }
        }
        _ => {
            let file: NetworkFile = ask.call(&Procedure::NetworkFile)?;
            let field = |name: &str| ask.field(name).map(str::trim).unwrap_or_default();
            let text =
                edits::edited(&file.text, &field).map_err(|no| Refused::new(400, no.message, no.hint))?;
            Change::Text { text }
        }
    })
}

fn changed(ask: &Ask<'_>, dry_run: bool) -> Result<view::Changed, Refused> {
    let (by, change) = (ask.caller.name(), wanted(ask)?);
    let expects = ask.field("revision").map(Into::into);
    let asked = Procedure::Change { by, change: change.clone(), dry_run, expects };
    ask.web.keeping_owner(&change, dry_run, || ask.call(&asked))
}

/// Shows what a change would do. What is wrong with it is shown where it was typed.
pub fn review(ask: &Ask<'_>) -> Answer {
    let changed = match changed(ask, true) {
        Err(refused) if ask.fields.required("do") == "write" && !refused.problems.is_empty() => {
            let file = NetworkFile {
                text: ask.fields.required("text").into(),
                revision: ask.field("revision").unwrap_or_default().into(),
            };
            let problems: Vec<view::Problem> = refused.problems.iter().map(Into::into).collect();
            return Ok(Reply::page(pages::file(&ask.frame, &file, &problems)).status(422));
        }
        Err(refused) if ask.fields.required("do") == "add" => {
            let typed = |name: &str| ask.field(name).unwrap_or_default();
            let wrong = Some((refused.message.as_str(), refused.hint.as_str()));
            return Ok(Reply::page(pages::add_form(&ask.frame, &typed, wrong)).status(refused.status));
        }
        other => other?,
    };
    Ok(Reply::page(pages::review(&ask.frame, &changed, &ask.fields.pairs())))
}

/// Saves a change that was looked at, and applies it where that was asked for: it goes back unless it is confirmed.
pub fn apply(ask: &Ask<'_>) -> Answer {
    if ask.fields.required("do") != "up" {
        if ask.field("revision").is_none() {
            return Err(Refused::new(400, "a change is looked at before it is saved", ""));
        }
        changed(ask, false)?;
    }
    if ask.field("up") != Some("yes") {
        return Ok(Reply::to("/plan"));
    }
    let confirm = ask.fields.number("confirm").and_then(|n| u32::try_from(n).ok()).unwrap_or(60);
    ask.web.agent.call(&Procedure::Up { by: ask.caller.name(), confirm })?;
    Ok(Reply::to("/"))
}

/// Keeps what was applied.
pub fn confirm(ask: &Ask<'_>) -> Answer {
    ask.web.agent.call(&Procedure::Confirm { by: ask.caller.name() })?;
    Ok(Reply::to("/"))
}
