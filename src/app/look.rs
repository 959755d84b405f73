//! A look at what was applied: telemetry, drift, and what is pending.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::backend::in_use;
use super::memory::Memory;
use crate::config::{Secrets, reread_network};
use crate::dataplane::DeviceReport;
use crate::host::LinuxHost;
use crate::host::agent_process::Runtime;
use crate::host::join::join;
use crate::host::runtime::Applied;
use crate::host::{Host, HostError, Scope};
use crate::model::{InterfaceName, Network, NodeName, Problem, Timestamp};
use crate::plan::{Backend, Line, bridge, diff, wanted};
use crate::store::folder::Folder;

use super::target::Target;

/// What was seen.
#[derive(Debug)]
pub struct Look {
    /// The network as last applied.
    pub network: Arc<Network>,
    /// The node that this host is.
    pub node: NodeName,
    /// The data plane of the interface; `None`: there is no interface.
    pub backend: Option<Backend>,
    /// The interface's telemetry.
    pub report: Option<DeviceReport>,
    /// What would have to change for the host to be as applied.
    pub drift: Vec<Line>,
    /// What is missing or pending.
    pub problems: Vec<Problem>,
    /// What was recorded.
    pub applied: Arc<Applied>,
}

/// Looks at a network that was applied; `None`: nothing was, since the last start of this host. `open` opens the machine.
///
/// # Errors
/// The host, or the record, cannot be read.
pub fn look(
    dir: &Path,
    name: &InterfaceName,
    runtime: &Runtime,
    now: Timestamp,
    memory: &Memory,
    open: impl FnOnce() -> Result<LinuxHost, HostError> + Send,
) -> Result<Option<Look>, HostError> {
    let mut problems = Vec::new();
    let folder = Folder::new(dir, name);
    // The network is read again while the kernel, nft and the agent are asked.
    let machine = || {
        let mut machine = open()?;
        machine.look_ahead(name)?;
        Ok::<_, HostError>(machine)
    };
    let (seen, recorded) = join(machine, || memory.recorded(dir, &folder, runtime));
    let Some((applied, target)) = recorded? else { return Ok(None) };
    let mut machine = seen?;
    let mut facts = machine.facts(&target.names(), &BTreeSet::new())?;
    facts.displaced.clone_from(&applied.displaced);
    let backend = in_use(name, &facts);
    let wanted = wanted(&target.network, target.this(), &target.keys, applied.backend, &facts, now);
    let mut state = wanted.state;
    // A name that does not resolve just now, or resolves to another address, is no drift.
    if let (Some(device), Some(recorded)) = (&mut state.device, &applied.state.device) {
        for (key, peer) in &mut device.peers {
            peer.endpoint = recorded.peers.get(key).and_then(|p| p.endpoint);
        }
    }
    problems.extend(wanted.problems.into_iter().filter(|p| p.code != "foreign-interface"));
    let scope = Scope {
        network: name.clone(),
        sysctls: state.sysctls.keys().cloned().collect(),
        links: bridge::names(&state.links, &applied.displaced_links),
        applied: Some(applied.state.clone()),
    };
    let observed = machine.observe(&scope)?;
    target.keep_keys(&mut state, &observed);
    bridge::settle(&mut state.links, &applied.displaced_links, &observed.links);
    bridge::keep_others(&mut state.links, &observed.links, &applied.state.links);
    let report = if backend.is_some() { machine.report(&scope)? } else { None };
    let drift = diff(&observed, &state).lines();
    if target.keys_may_be_newer {
        problems.push(Problem::warning(
            "pending",
            folder.network_path().display().to_string(),
            "the file is newer than what was applied",
            "`wgrelay plan` says what would change; `wgrelay up` applies it",
        ));
    }
    Ok(Some(Look { network: target.network, node: target.node, backend, report, drift, problems, applied }))
}

/// Reads the network last applied, with the secrets of today.
///
/// # Errors
/// The record or the secrets cannot be read, or an `up` was cut short.
pub fn recorded_target(dir: &Path, folder: &Folder, applied: &Applied) -> Result<Target, HostError> {
    let fault = |cause: String| HostError::new("read", "the record of what was applied", cause);
    // Each takes its time where peers are many.
    let (network, secrets) = join(
        || reread_network(&applied.network_text),
        || {
            let secrets = folder.read_secrets().map_err(|e| fault(e.to_string()));
            secrets.map(|s| Secrets::parse(s.as_bytes(), "secrets.toml").value.unwrap_or_default())
        },
    );
    let network = network.ok_or_else(|| {
        fault("an `up` was cut short before it was done".into())
            .hint("run `wgrelay up` again, or `wgrelay down`")
    })?;
    let text = applied.network_text.as_str();
    let target = Target::new(dir.to_path_buf(), network, text, &applied.node, &secrets?)
        .ok_or_else(|| fault(format!("it has no node {}", applied.node)))?;
    Ok(target.pending_in(folder, applied))
}
