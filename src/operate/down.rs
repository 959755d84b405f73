//! Down: takes away all that is ours, goes on past errors, and reports them all.

use std::collections::BTreeSet;
use std::path::Path;

use super::backend::{clear_unresponsive, in_use};
use super::half_made::clear_half_made;
use super::up::release;
use crate::apply::{Host, HostError, Scope};
use crate::host::agent_process::Runtime;
use crate::model::InterfaceName;
use crate::plan::{Backend, Change, Facts, HostState, Plan, diff, table_name};

/// What `down` did.
#[derive(Debug)]
pub struct Down {
    /// What was taken away; empty: there was nothing of ours.
    pub plan: Plan,
    /// What could not be taken away.
    pub errors: Vec<HostError>,
}

/// Takes a network away from this host, also one that waits for a confirmation. The caller holds the lock. Works without
/// the network's file.
///
/// # Errors
/// The host cannot be read.
pub fn down<H: Host>(
    machine: &mut H,
    dir: &Path,
    network: &InterfaceName,
    runtime: &Runtime,
) -> Result<Down, HostError> {
    runtime.end_trial()?;
    take_away(machine, dir, network, runtime)
}

/// Takes away what is here; a change on trial goes with it only where nothing failed, so that it can be tried again.
pub(super) fn take_away<H: Host>(
    machine: &mut H,
    dir: &Path,
    network: &InterfaceName,
    runtime: &Runtime,
) -> Result<Down, HostError> {
    let applied = runtime.read_applied(dir)?;
    let mut errors = Vec::new();
    let mut facts = machine.facts(&BTreeSet::new(), &BTreeSet::new())?;
    if clear_half_made(&facts, dir, network, runtime)? || clear_unresponsive(network, &facts, runtime)? {
        facts = machine.facts(&BTreeSet::new(), &BTreeSet::new())?;
    }
    let recorded = applied.as_ref().map(|a| a.backend);
    let backend = in_use(network, &facts).or(recorded).unwrap_or(Backend::Embedded);
    let plan = clear(machine, network, backend, applied.as_ref(), &facts, &mut errors)?;
    // An agent whose interface somebody deleted is still there.
    if let Err(error) = stop_agent(network, runtime) {
        errors.push(error);
    }
    if errors.is_empty() {
        runtime.remove()?;
    }
    Ok(Down { plan, errors })
}

/// Takes away what can be observed, through one data plane.
pub(super) fn clear<H: Host>(
    machine: &mut H,
    network: &InterfaceName,
    backend: Backend,
    applied: Option<&crate::host::runtime::Applied>,
    facts: &Facts,
    errors: &mut Vec<HostError>,
) -> Result<Plan, HostError> {
    let mut wanted = HostState::default();
    if let Some(applied) = applied {
        release(&mut wanted, &applied.displaced, facts);
        // The network's interface takes its own switches along.
        let own = format!("/conf/{network}/");
        wanted.sysctls.retain(|path, _| !path.contains(&own));
    }
    let scope = Scope {
        network: network.clone(),
        sysctls: wanted.sysctls.keys().cloned().collect(),
        applied: applied.map(|a| a.state.clone()),
    };
    let mut now = machine.observe(&scope)?;
    if applied.is_none() && facts.foreign.lookalikes.contains(&table_name(network)) {
        now.firewall = None;
    }
    let plan = diff(&now, &wanted);
    for change in &plan.changes {
        if let Err(error) = machine.carry_out(network, backend, std::slice::from_ref(change))
            && !is_gone(change)
        {
            errors.push(error);
        }
    }
    Ok(plan)
}

/// Says whether there is nothing left to change: a link that went away took its switches along.
fn is_gone(change: &Change) -> bool {
    matches!(change, Change::Sysctl { path, .. } if matches!(crate::host::sysctl::read(path), Ok(None)))
}

fn stop_agent(network: &InterfaceName, runtime: &Runtime) -> Result<(), HostError> {
    use crate::host::wireguard::WireGuard as _;
    crate::host::wireguard::embedded::Embedded::new(runtime.clone(), Vec::new()).delete(network)
}
