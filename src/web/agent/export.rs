//! A spoke's file with its keys: the one procedure by which keys leave, within bounds that the other half cannot move.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::kept::Kept;
use crate::app::{Fault, Session, find_node};
use crate::export::qr::Code;
use crate::export::{Hooks, Keys, node_conf_of};
use crate::model::{Derivation, NodeName};

/// So many files leave in [`WITHIN`]: a person at work, not somebody who takes them all.
const FILES: usize = 30;
const WITHIN: Duration = Duration::from_secs(60);

/// How many files may leave yet.
#[derive(Debug, Default)]
pub struct Allowance(Mutex<VecDeque<Instant>>);

/// What bounds the keys that leave.
#[derive(Debug, Default)]
pub struct Bounds {
    /// How many.
    pub allowance: Allowance,
    /// Which ones do not.
    pub kept: Kept,
}

impl Allowance {
    fn take(&self) -> Result<(), Fault> {
        let now = Instant::now();
        let mut taken = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while taken.front().is_some_and(|at| now.duration_since(*at) > WITHIN) {
            taken.pop_front();
        }
        if taken.len() >= FILES {
            return Err(Fault::failed(
                format!("{FILES} files with keys were taken out within a minute; no more for now"),
                "wait a minute, or use `wgrelay export --all` on the relay itself",
            ));
        }
        taken.push_back(now);
        Ok(())
    }
}

/// Makes a spoke's file and its QR code.
///
/// # Errors
/// There is no such spoke, it is or was a relay or the node that this host is, or its keys are not here.
pub(super) fn export(session: &Session, node: &str, bounds: &Bounds) -> Result<Value, Fault> {
    let loaded = session.load_network()?;
    let name: NodeName = node.parse().map_err(|why| Fault::usage(format!("node {node:?}: {why}"), ""))?;
    let node = find_node(&loaded.network, &name)?;
    let is_this = session.this_node(&loaded).is_ok_and(|this| this.name == name);
    if node.is_relay() || is_this {
        return Err(Fault::failed(
            format!("the private key of {name} does not leave by this way: it is a relay's, or this host's"),
            format!("`wgrelay export {name}` on the relay itself"),
        ));
    }
    bounds.allowance.take()?;
    let secrets = session.load_secrets(&loaded)?;
    bounds.kept.may_leave(session, &name, secrets.private_keys.get(&name))?;
    let preshared = |relay: &NodeName, spoke: &NodeName| secrets.preshared_key(relay, spoke).cloned();
    let keys = Keys { private_key: secrets.private_keys.get(&name), preshared_key: &preshared };
    let derivation = Derivation::of(&loaded.network, session.now);
    // Hooks are for hosts, which have bundles; phones and laptops run none.
    let exported = node_conf_of(&loaded.network, &derivation, keys, node, &Hooks::default(), session.now)
        .map_err(|e| Fault::failed(&e, e.hint()))?;
    let code = exported.complete.then(|| Code::new(&exported.short_text()).ok()).flatten();
    let svg = code.map(|code| code.svg().to_string());
    Ok(json!({
        "version": 1, "node": name, "format": "conf", "content": exported.text().as_str(), "complete": exported.complete,
        "svg": svg, "problems": exported.problems,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_keys_leave_one_by_one() {
        let allowance = Allowance::default();
        for _ in 0..FILES {
            allowance.take().unwrap();
        }
        assert!(allowance.take().unwrap_err().message.contains("no more for now"));
    }
}
