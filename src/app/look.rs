//! A look at what was applied: telemetry, drift, and what is pending.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::backend::in_use;
use super::floating::wanted_here;
use super::target_cache::TargetCache;
use crate::config::{Secrets, reread_network};
use crate::dataplane::DeviceReport;
use crate::host::LinuxHost;
use crate::host::agent_process::Runtime;
use crate::host::join::join;
use crate::host::runtime::Applied;
use crate::host::{Host, HostError, Scope};
use crate::model::{InterfaceName, Network, NodeName, Problem, Timestamp};
use crate::plan::{Backend, Line, bridge, diff};
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
    cache: &TargetCache,
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
    let (seen, recorded) = join(machine, || cache.recorded(dir, &folder, runtime));
    let Some((applied, target)) = recorded? else { return Ok(None) };
    let mut machine = seen?;
    let mut facts = machine.facts(&target.names(), &BTreeSet::new())?;
    facts.saved_sysctls.clone_from(&applied.saved_sysctls);
    let backend = in_use(name, &facts);
    let wanted = wanted_here(&target, Some(&applied), applied.configuration.backend, &facts, now);
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
        links: bridge::names(&state.links, &applied.saved_links),
        resolver: state.name_servers.as_ref().map(|n| n.resolver),
        applied: Some(applied.state.clone()),
    };
    let observed = machine.observe(&scope)?;
    let missing = target.missing(now);
    target.keep_keys(&mut state, &observed, &missing);
    problems.extend(missing.problems);
    bridge::settle(&mut state.links, &applied.saved_links, &observed.links);
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

/// Reads the network last applied, with the secrets of today. Secrets that cannot be read are told in the target: what of the
/// network asks for none is held all the same.
///
/// # Errors
/// The record cannot be read, or an `up` was cut short.
pub fn recorded_target(dir: &Path, folder: &Folder, applied: &Applied) -> Result<Target, HostError> {
    let fault = |cause: String| HostError::new("read", "the record of what was applied", cause);
    // Each takes its time where peers are many.
    let (network, secrets) = join(|| reread_network(&applied.configuration.network_text), || secrets(folder));
    let network = network.ok_or_else(|| {
        fault("an `up` was cut short before it was done".into())
            .hint("run `wgrelay up` again, or `wgrelay down`")
    })?;
    let text = applied.configuration.network_text.as_str();
    let (secrets, unread) = match secrets {
        Ok(secrets) => (secrets, None),
        Err(why) => (Secrets::default(), Some(why.into())),
    };
    let target = Target::new(dir.to_path_buf(), network, text, &applied.configuration.node, &secrets)
        .ok_or_else(|| fault(format!("it has no node {}", applied.configuration.node)))?;
    let target = target.with_attached(Some(applied)).into_owned();
    Ok(Target { unread, ..target }.pending_in(folder, applied))
}

/// Reads the secrets, or says why not, and nothing of what is in them.
fn secrets(folder: &Folder) -> Result<Secrets, Problem> {
    let path = folder.secrets_path().display().to_string();
    let unread = |place: String, why: String, hint: String| {
        let message = format!("{why}: the keys that the interface has stay as they are");
        Problem::error("secrets-unread", place, message, hint)
    };
    let text = folder.read_secrets().map_err(|e| unread(path.clone(), e.to_string(), e.hint()))?;
    let parsed = Secrets::parse(text.as_bytes(), &path);
    parsed.value.ok_or_else(|| {
        let first = parsed.problems.iter().find(|p| p.is_error());
        let (place, code) = first.map_or((path, "unknown"), |p| (p.place.clone(), p.code.as_str()));
        let hint = "`wgrelay plan` tells all that is wrong in it".into();
        unread(place, format!("the secrets cannot be read ({code})"), hint)
    })
}
