//! A change on trial: what to remember before it, and how to go back to that.

use std::collections::BTreeSet;
use std::path::Path;

use super::down::take_away;
use super::look::recorded_target;
use super::reconcile::{Extent, hold};
use super::target::Target;
use super::up::{Refusal, up};
use crate::config::parse_network;
use crate::host::agent_process::Runtime;
use crate::host::commit_confirm::Before;
use crate::host::host_lock::HostLock;
use crate::host::{Host, HostError, Scope};
use crate::model::{InterfaceName, Timestamp};
use crate::plan::Keys;
use crate::store::folder::Folder;

/// Says what a change is to go back to: the network last applied, with the keys that the interface has; those in the
/// secrets may be newer. `None`: nothing of this network is here.
///
/// # Errors
/// The host, or the record, cannot be read.
pub fn before<H: Host>(
    host: &mut H,
    dir: &Path,
    network: &InterfaceName,
    runtime: &Runtime,
) -> Result<Option<Before>, HostError> {
    // An `up` that was cut short before it was done is nothing to go back to.
    let Some(applied) = runtime.read_applied(dir)?.filter(|a| !a.configuration.network_text.is_empty())
    else {
        return Ok(None);
    };
    let target = recorded_target(dir, &Folder::new(dir, network), &applied)?;
    let scope = Scope {
        network: network.clone(),
        sysctls: BTreeSet::new(),
        links: BTreeSet::new(),
        resolver: None,
        applied: Some(applied.state.clone()),
    };
    let device = host.observe(&scope)?.device;
    let mut keys = Keys::clone(&target.keys);
    if let Some(device) = device {
        keys.private_key = device.private_key.or(keys.private_key);
        for node in target.network.nodes.values() {
            // One that somebody took off comes back, where the secrets have it.
            if let Some(key) = device.peers.get(&node.public_key).and_then(|peer| peer.preshared_key.clone())
            {
                keys.preshared_keys.insert(node.name.clone(), key);
            }
        }
    }
    Ok(Some(Before {
        configuration: applied.configuration,
        private_key: keys.private_key,
        preshared_keys: keys.preshared_keys,
    }))
}

/// Goes back: to the network that was applied, else to nothing.
///
/// # Errors
/// See [`Refusal`]; what is there then is as it was, and going back can be tried again.
pub fn roll_back<H: Host>(
    host: &mut H,
    dir: &Path,
    network: &InterfaceName,
    runtime: &Runtime,
    before: Option<&Before>,
    now: Timestamp,
    on_host: &HostLock,
) -> Result<(), Refusal> {
    let Some(before) = before else {
        let mut errors = take_away(host, dir, network, runtime)?.errors;
        return if errors.is_empty() { Ok(()) } else { Err(errors.swap_remove(0).into()) };
    };
    let fault = |cause: &str| HostError::new("read", "what the change goes back to", cause);
    let parsed =
        parse_network(before.configuration.network_text.as_bytes(), "the network applied before").value;
    let network = parsed.ok_or_else(|| fault("it is no network that this version accepts"))?;
    if !network.nodes.contains_key(&before.configuration.node) {
        return Err(fault("it has no such node").into());
    }
    let keys =
        Keys { private_key: before.private_key.clone(), preshared_keys: before.preshared_keys.clone() };
    let target = Target {
        dir: dir.to_path_buf(),
        network: network.into(),
        text: before.configuration.network_text.as_str().into(),
        node: before.configuration.node.clone(),
        keys: keys.into(),
        keys_may_be_newer: false,
        unread: None,
    };
    let outcome = up(host, &target, runtime, before.configuration.backend, now, on_host);
    if let Err(Refusal::Problems(..)) = &outcome {
        // What it takes away is taken away all the same.
        let _ =
            hold(host, &target, runtime, before.configuration.backend, now, Extent::Restrictions, on_host)?;
    }
    outcome?;
    runtime.end_commit_confirm(on_host)?;
    Ok(())
}
