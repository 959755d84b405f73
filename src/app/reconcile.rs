//! The agent's work: hold the host to the network last applied. A newer file waits for `up`.
//!
//! What restricts comes first, past every error: the table, peers and routes that are to go. It is never undone, and no error
//! of anything else keeps it from being done. The rest is one transaction, as `up`'s is.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;
use std::path::Path;

use super::floating::stands_by;
use super::target::Target;
use super::target_cache::TargetCache;
use super::up::{Comparison, Refusal, apply_comparison, compare, save_sysctls};
use crate::host::agent_process::Runtime;
use crate::host::host_lock::HostLock;
use crate::host::runtime::Applied;
use crate::host::{Host, HostError};
use crate::model::{EndpointHost, InterfaceName, Timestamp};
use crate::plan::{Backend, Change, HostState, Line, Plan, diff};
use crate::store::folder::Folder;

/// How much of a difference is repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// What restricts or protects alone: the rest failed just now.
    Restrictions,
}

/// What a look came to.
#[derive(Debug)]
pub enum Reconciled {
    /// Nothing was applied.
    Nothing,
    /// Another command is at work on this network.
    Busy,
    /// The host was looked at.
    Looked(Repair),
}

/// What was repaired, and what could not be.
#[derive(Debug, Default)]
pub struct Repair {
    /// What was repaired.
    pub lines: Vec<Line>,
    /// Whether all that restricts is in place.
    pub restricted: bool,
    /// What could not be; `None`: the host is as it should be, as far as was looked.
    pub failed: Option<HostError>,
}

/// Compares and repairs.
///
/// # Errors
/// The host, or the record, could not be read.
pub fn reconcile<H: Host>(
    host: &mut H,
    dir: &Path,
    network: &InterfaceName,
    runtime: &Runtime,
    cache: &TargetCache,
    now: Timestamp,
    extent: Extent,
) -> Result<Reconciled, HostError> {
    let folder = Folder::new(dir, network);
    if !runtime.applied_path().exists() {
        return Ok(Reconciled::Nothing);
    }
    let Some(on_host) = runtime.try_lock_to_apply()? else { return Ok(Reconciled::Busy) };
    // Held while the files are read: nobody who edits them waits for the host.
    let reading = folder.try_lock_to_apply();
    let recorded = match cache.recorded(dir, &folder, runtime) {
        // An `up` that was cut short is the next one's to make right.
        Err(_) if runtime.read_applied(dir)?.is_some_and(|a| a.configuration.network_text.is_empty()) => {
            return Ok(Reconciled::Nothing);
        }
        other => other?,
    };
    let Some((applied, mut target)) = recorded else { return Ok(Reconciled::Nothing) };
    // An agent that was started before its folder was moved knows it by another name; the record's stays.
    target.dir.clone_from(&applied.dir);
    let backend = applied.configuration.backend;
    let unlocked = match reading {
        Ok(Some(reading)) => {
            drop(reading);
            return hold(host, &target, runtime, backend, now, extent, &on_host).map(Reconciled::Looked);
        }
        Ok(None) => None,
        Err(error) => Some(error),
    };
    let locked = |why: &dyn std::fmt::Display| HostError::new("lock", network.to_string(), why);
    // Files that cannot be locked may be halfway, and tell nothing of keys. What restricts is in the record, and waits for nobody.
    target.keys_may_be_newer = true;
    let mut repair = hold(host, &target, runtime, backend, now, Extent::Restrictions, &on_host)?;
    match unlocked {
        None if repair.lines.is_empty() && repair.restricted => return Ok(Reconciled::Busy),
        None => _ = repair.failed.get_or_insert_with(|| locked(&"another command is at work in its folder")),
        Some(error) if repair.restricted => repair.failed = Some(locked(&error)),
        Some(error) => _ = repair.failed.get_or_insert_with(|| locked(&error)),
    }
    Ok(Reconciled::Looked(repair))
}

/// Returns the names of endpoints at which nobody has answered for longer than a session lives.
fn silent_names<H: Host>(host: &mut H, target: &Target, c: &Comparison, now: Timestamp) -> BTreeSet<String> {
    /// Seconds: one handshake later a session would be new (`REJECT_AFTER_TIME`).
    const SILENCE: u64 = 180;
    if target.names().is_empty() {
        return BTreeSet::new();
    }
    // Of a data plane that does not answer nothing is known.
    let Ok(Some(report)) = host.report(&c.scope) else { return BTreeSet::new() };
    let is_silent = |peer: &&crate::dataplane::PeerReport| {
        peer.last_handshake.is_none_or(|at| now.since(Timestamp(at.seconds)) > SILENCE)
    };
    let silent: BTreeSet<_> = report.peers.iter().filter(is_silent).map(|p| p.public_key).collect();
    let of_peers = target.network.nodes.values().filter(|n| silent.contains(&n.public_key));
    of_peers
        .filter_map(|n| match &target.this().calls(n)?.host {
            EndpointHost::Name(name) => Some(name.clone()),
            EndpointHost::Ip(_) => None,
        })
        .collect()
}

/// Makes the host as it was applied: what restricts in any case, and the rest where no error forbids it.
///
/// # Errors
/// The host could not be read.
pub(super) fn hold<H: Host>(
    host: &mut H,
    target: &Target,
    runtime: &Runtime,
    backend: Backend,
    now: Timestamp,
    extent: Extent,
    on_host: &HostLock,
) -> Result<Repair, HostError> {
    let mut c = compare(host, target, runtime, backend, now)?;
    let silent = silent_names(host, target, &c, now);
    if !silent.is_empty() && host.take_next_address(&silent) {
        c = compare(host, target, runtime, backend, now)?;
    }
    let mut repair = Repair { restricted: true, ..Repair::default() };
    let (first, _) = diff(&c.before, &c.wanted).restrictions_first();
    if !first.is_empty() {
        let (done, failed) = restrict(host, &c, &first, target, runtime, backend);
        (repair.lines, repair.restricted, repair.failed) = (done, failed.is_none(), failed);
        c.applied = runtime.read_applied(&target.dir)?;
        c.scope.applied = c.applied.as_ref().map(|a| a.state.clone());
        c.before = host.observe(&c.scope)?;
    }
    let errors: Vec<&str> = c.problems.iter().filter(|p| p.is_error()).map(|p| p.message.as_str()).collect();
    let is_forbidden = !errors.is_empty();
    // What stands by has nothing here: what is left of carrying a relay goes, whatever keeps this host from carrying it.
    let leaves = stands_by(target, &c.wanted);
    if is_forbidden && (!leaves || c.applied.as_ref().is_some_and(|applied| applied.carries)) {
        let error = HostError::new("repair", target.network.name.to_string(), errors.join("; "));
        repair.failed.get_or_insert(error);
    }
    if extent == Extent::Whole && (!is_forbidden || leaves) {
        match apply_comparison(host, c, target, runtime, backend, on_host) {
            Ok(done) => repair.lines.extend(done.plan.lines()),
            Err(refusal) => _ = repair.failed.get_or_insert(because(refusal, &target.network.name)),
        }
    }
    Ok(repair)
}

/// Carries out what restricts, each by itself where several fail together. Returns what was done, and the first error.
fn restrict<H: Host>(
    host: &mut H,
    c: &Comparison,
    plan: &Plan,
    target: &Target,
    runtime: &Runtime,
    backend: Backend,
) -> (Vec<Line>, Option<HostError>) {
    let network = &target.network.name;
    let mut state = c.applied.as_ref().map(|a| a.state.clone()).unwrap_or_default();
    let mut saved_sysctls = c.saved_sysctls();
    let mut first = None;
    let mut changes: Vec<&Change> = plan.changes.iter().collect();
    // Switches are the only ones whose old values nobody else knows: they wait for a record that can be written.
    let write = |state: &HostState, saved_sysctls: &BTreeMap<String, String>| {
        let Some(applied) = &c.applied else { return Ok(()) };
        let record =
            Applied { state: state.to_record(), saved_sysctls: saved_sysctls.clone(), ..applied.clone() };
        if *applied == record { Ok(()) } else { runtime.write_applied(record) }
    };
    if let Err(error) =
        save_sysctls(plan, host, &mut saved_sysctls).and_then(|()| write(&state, &saved_sysctls))
    {
        changes.retain(|change| !matches!(change, Change::Sysctl { .. }));
        first.get_or_insert(error);
    }
    let mut lines = Vec::new();
    let mut try_out = |changes: &[&Change]| {
        let owned: Vec<Change> = changes.iter().copied().cloned().collect();
        host.apply(network, backend, &owned)?;
        for change in changes {
            change.apply_to(&mut state);
            lines.push(change.line());
        }
        Ok::<_, HostError>(())
    };
    for group in changes.chunk_by(|a, b| discriminant(*a) == discriminant(*b)) {
        let Err(error) = try_out(group) else { continue };
        if group.len() == 1 {
            first.get_or_insert(error);
            continue;
        }
        for change in group {
            if let Err(error) = try_out(&[change]) {
                first.get_or_insert(error);
            }
        }
    }
    if let Err(error) = write(&state, &saved_sysctls) {
        first.get_or_insert(error);
    }
    (lines, first)
}

/// Says why the rest was not repaired.
fn because(refusal: Refusal, network: &InterfaceName) -> HostError {
    match refusal {
        Refusal::Host(error) => error,
        Refusal::Failure(error) => HostError::new("repair", network.to_string(), error),
        Refusal::Problems(problems, _) => {
            let text = problems.iter().filter(|p| p.is_error()).map(|p| p.message.as_str());
            HostError::new("repair", network.to_string(), text.collect::<Vec<_>>().join("; "))
        }
    }
}
