//! What a look at the network says that may become an event.

use std::collections::BTreeMap;

use super::event::{Observed, Presence};
use crate::status::{Health, Status};
use crate::web::view::Check;

/// So much that is wrong is told one by one; of more, that there is more.
const MOST: usize = 100;

/// Reads what was seen; `None`: that was not to be had.
pub fn observed(status: Option<&Status>, check: Option<&Check>) -> Observed {
    let presence = |health: Health| match health {
        Health::Online => Presence::Online,
        Health::Down => Presence::Offline,
        Health::Never => Presence::Gone,
        Health::Uncertain | Health::Idle => Presence::Quiet,
    };
    let nodes = |status: &Status| {
        let known = status.peers.iter().filter_map(|peer| Some((peer.name.as_ref()?, peer.health)));
        known.map(|(name, health)| (name.to_string(), presence(health))).collect()
    };
    let drift = |status: &Status| {
        let lines = status.drift.iter().map(|drift| {
            let line = &drift.line;
            let value = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".into());
            let about = format!("{} {}", line.kind, line.target);
            let message =
                format!("{about}: there is {}, and was to be {}", value(&line.from), value(&line.to));
            (about, message)
        });
        bounded(lines)
    };
    let promises = |check: &Check| {
        let broken = check.problems.iter().filter(|problem| problem.code == "expectation-broken");
        bounded(broken.map(|problem| (problem.place.clone(), problem.message.clone())))
    };
    Observed { nodes: status.map(nodes), drift: status.map(drift), promises: check.map(promises) }
}

fn bounded(all: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let mut kept: BTreeMap<String, String> = BTreeMap::new();
    for (about, message) in all {
        if kept.len() < MOST {
            kept.insert(about, message);
        } else {
            kept.insert("more".into(), format!("and more than {MOST} of these"));
            break;
        }
    }
    kept
}
