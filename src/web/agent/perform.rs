//! Each procedure of the page, by the procedure of app that does it.

use serde::Serialize;
use serde_json::{Value, json};

use super::export::{Bounds, export};
use crate::app::{
    self, Answer, BackendChoice, BringUp, Fault, FaultKind, Saving, Session, TypedFlow, revision_of,
    revisions,
};
use crate::model::NodeName;
use crate::web::database::is_name;
use crate::web::procedure::{Procedure, Refused};

/// The least and the most seconds that a change waits for its confirmation.
const CONFIRM: std::ops::RangeInclusive<u32> = 10..=600;

/// Performs a procedure, and returns what `--json` prints of it.
///
/// # Errors
/// It says no.
pub fn perform(session: &Session, procedure: &Procedure, bounds: &Bounds) -> Result<Value, Fault> {
    match procedure {
        Procedure::Status => match app::status(session, true)? {
            Answer::Told { json, .. } => Ok(serde_json::from_slice(&json).map_err(unprintable)?),
            Answer::Seen { status, .. } => value(&status),
        },
        Procedure::List => value(&app::list(&session.load_network()?.network, session.now)),
        Procedure::Show { node } => {
            value(&app::show_node(&session.load_network()?.network, &node_name(node)?, session.now)?)
        }
        Procedure::Traffic { node } => value(&app::traffic(session, &node_name(node)?)?),
        Procedure::Check => value(&app::check(session)?),
        Procedure::Trace { from, to, port } => {
            let flow = TypedFlow { from: from.clone(), to: to.clone(), port: port.clone(), live: false };
            value(&app::trace(session, &flow)?)
        }
        Procedure::Plan => Ok(app::compare_with_host(&session.settled(), BackendChoice::Auto)?.json()),
        Procedure::History => value(&revisions::history(&session.folder()?)?),
        Procedure::Diff { from, to } => value(&revisions::compare(&session.folder()?, *from, *to)?),
        Procedure::KnownKey { public_key } => {
            Ok(json!({"version": 1, "known": bounds.kept.is_known(&session.folder()?, public_key)?}))
        }
        Procedure::NetworkFile => {
            let bytes = session.folder()?.read_network()?;
            let text = String::from_utf8_lossy(&bytes);
            Ok(json!({"version": 1, "text": text, "revision": revision_of(&bytes)}))
        }
        Procedure::Doctor => value(&app::diagnose(session)?),
        Procedure::Change { by, change, dry_run, expects } => {
            bounds.kept.look(session);
            let saving = Saving { dry_run: *dry_run, expects: expects.as_deref() };
            value(&app::change(&named(session, by)?, change, saving)?)
        }
        Procedure::Export { node, .. } => export(session, node, bounds),
        Procedure::Up { by, confirm } if CONFIRM.contains(confirm) => {
            let asked =
                BringUp { bundle: None, backend: BackendChoice::Auto, force: false, confirm: Some(*confirm) };
            Ok(app::bring_up(&named(session, by)?.settled(), &asked)?.json())
        }
        Procedure::Up { .. } => {
            Err(Fault::usage("a change waits 10 to 600 seconds for its confirmation", ""))
        }
        Procedure::Confirm { by } => {
            let done = app::confirm(&named(session, by)?.settled())?;
            Ok(json!({"version": 1, "network": done.network, "node": done.node}))
        }
    }
}

/// Has the history say who it was: root's process did it, and not root. What is no name does not get there.
fn named(session: &Session, by: &str) -> Result<Session, Fault> {
    let maker = by.strip_prefix("a link of ").unwrap_or(by);
    if is_name(maker.strip_prefix("token ").unwrap_or(maker)) {
        return Ok(session.on_behalf_of(format!("wgrelay web, {by}")));
    }
    Err(Fault::usage("who asks has no name of a user or a token", ""))
}

fn node_name(node: &str) -> Result<NodeName, Fault> {
    node.parse().map_err(|why| Fault::usage(format!("node {node:?}: {why}"), ""))
}

fn value(data: &impl Serialize) -> Result<Value, Fault> {
    serde_json::to_value(data).map_err(unprintable)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unprintable(error: serde_json::Error) -> Fault {
    Fault::failed(format!("this cannot be told as JSON: {error}"), "")
}

/// Says no as HTTP does.
pub(super) fn refused(fault: Fault) -> Refused {
    let status = match fault.kind {
        FaultKind::Usage => 400,
        FaultKind::Failed | FaultKind::No => 409,
        FaultKind::Conflict => 412,
        FaultKind::Invalid => 422,
        FaultKind::Undone => 500,
    };
    Refused { status, message: fault.sentence(), hint: fault.hint, problems: fault.problems }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::app::{Asked, Nobody};
    use crate::model::Timestamp;

    #[test]
    fn what_is_no_name_gets_into_no_history() {
        let asked = Asked {
            dir: "/nonexistent".into(),
            dir_is_named: true,
            network: None,
            node: None,
            command: None,
            clock: || Timestamp(0),
        };
        let session = Session::new(asked, Arc::new(Nobody));
        for by in ["anna", "token ci", "a link of anna", "a link of token ci"] {
            assert!(named(&session, by).is_ok(), "{by}");
        }
        for by in ["", "token ", "a\nb", "\u{1b}[2J", "anna, by hand", &"x".repeat(65)] {
            assert!(named(&session, by).is_err(), "{by:?}");
        }
    }
}
