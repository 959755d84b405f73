//! Down: takes away all that is ours, goes on past errors, and reports them all.

use std::collections::BTreeSet;
use std::path::Path;

use super::backend::{clear_unresponsive, in_use};
use super::floating::released;
use super::orphan::clear_orphan;
use super::up::release;
use crate::host::agent_process::Runtime;
use crate::host::host_lock::HostLock;
use crate::host::{Host, HostError, Scope};
use crate::model::InterfaceName;
use crate::plan::{Backend, Change, Facts, HostState, Plan, bridge, diff, table_name};

/// What `down` did.
#[derive(Debug)]
pub struct Down {
    /// What was taken away; empty: there was nothing of ours.
    pub plan: Plan,
    /// What could not be taken away.
    pub errors: Vec<HostError>,
    /// What this host's own command for a floating address made of it: it is taken away here all the same.
    pub hook: Option<HostError>,
}

/// Takes a network away from this host, also one that waits for a confirmation. Works without the network's file.
///
/// # Errors
/// The host cannot be read.
pub fn down<H: Host>(
    machine: &mut H,
    dir: &Path,
    network: &InterfaceName,
    runtime: &Runtime,
    on_host: &HostLock,
) -> Result<Down, HostError> {
    runtime.end_commit_confirm(on_host)?;
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
    if clear_orphan(&facts, dir, network, runtime)? || clear_unresponsive(network, &facts, runtime)? {
        facts = machine.facts(&BTreeSet::new(), &BTreeSet::new())?;
    }
    let recorded = applied.as_ref().map(|a| a.configuration.backend);
    let backend = in_use(network, &facts).or(recorded).unwrap_or(Backend::Embedded);
    let plan = clear(machine, network, backend, applied.as_ref(), &facts, &mut errors)?;
    // An agent whose interface somebody deleted is still there.
    if let Err(error) = stop_agent(network, runtime) {
        errors.push(error);
    }
    if errors.is_empty() {
        runtime.remove()?;
    }
    let hook = applied.and_then(|applied| released(dir, network, &applied).err());
    Ok(Down { plan, errors, hook })
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
        release(&mut wanted, &applied.saved_sysctls, facts);
        // The network's interface takes its own switches along.
        let own = format!("/conf/{network}/");
        wanted.sysctls.retain(|path, _| !path.contains(&own));
    }
    let scope = Scope {
        network: network.clone(),
        sysctls: wanted.sysctls.keys().cloned().collect(),
        links: applied.iter().flat_map(|a| a.saved_links.keys()).cloned().collect(),
        resolver: None,
        applied: applied.map(|a| a.state.clone()),
    };
    let mut now = machine.observe(&scope)?;
    if applied.is_none() && facts.foreign.lookalikes.contains(&table_name(network)) {
        now.firewall = None;
    }
    if applied.is_none() {
        // A record does not outlive this boot, and what a resolver wrote does.
        now.name_servers = machine.name_servers_left_behind();
    }
    if let Some(applied) = applied {
        bridge::settle(&mut wanted.links, &applied.saved_links, &now.links);
        bridge::keep_others(&mut wanted.links, &now.links, &applied.state.links);
    }
    let plan = diff(&now, &wanted);
    let is_route = |change: &Change| matches!(change, Change::RemoveRoute { .. });
    // Thousands of routes go together; what one of them hinders is tried one by one.
    for group in plan.changes.chunk_by(|a, b| is_route(a) && is_route(b)) {
        if group.len() > 1 && machine.apply(network, backend, group).is_ok() {
            continue;
        }
        for change in group {
            if let Err(error) = machine.apply(network, backend, std::slice::from_ref(change))
                && !is_gone(change)
            {
                errors.push(error);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::DeviceReport;
    use crate::plan::{MAIN_TABLE, Route};

    /// Takes routes, but for one that it refuses; counts how often it is called.
    #[derive(Default)]
    struct Routes {
        state: HostState,
        refuses: Option<Route>,
        calls: usize,
    }

    impl Host for Routes {
        fn facts(&mut self, _: &BTreeSet<String>, _: &BTreeSet<String>) -> Result<Facts, HostError> {
            Ok(Facts::default())
        }
        fn observe(&mut self, _: &Scope) -> Result<HostState, HostError> {
            Ok(self.state.clone())
        }
        fn report(&mut self, _: &Scope) -> Result<Option<DeviceReport>, HostError> {
            Ok(None)
        }
        fn apply(&mut self, _: &InterfaceName, _: Backend, changes: &[Change]) -> Result<(), HostError> {
            self.calls += 1;
            for change in changes {
                match (change, &self.refuses) {
                    (Change::RemoveRoute { route }, Some(refused)) if route == refused => {
                        return Err(HostError::new("remove route", refused.dst.to_string(), "told to fail"));
                    }
                    _ => change.apply_to(&mut self.state),
                }
            }
            Ok(())
        }
    }

    fn down(host: &mut Routes) -> Vec<HostError> {
        let mut errors = Vec::new();
        let network = "wg0".parse().unwrap();
        clear(host, &network, Backend::Embedded, None, &Facts::default(), &mut errors).unwrap();
        errors
    }

    #[test]
    fn routes_go_together_and_one_that_stays_keeps_no_other() {
        let route = |n: u8| Route { dst: format!("10.0.{n}.0/24").parse().unwrap(), table: MAIN_TABLE };
        let state = HostState { routes: (0..200).map(route).collect(), ..HostState::default() };
        let mut host = Routes { state: state.clone(), ..Routes::default() };
        assert!(down(&mut host).is_empty());
        assert!(host.state.routes.is_empty());
        assert_eq!(host.calls, 1, "200 routes");
        let mut host = Routes { state, refuses: Some(route(7)), calls: 0 };
        let errors = down(&mut host);
        assert_eq!(host.state.routes, [route(7)].into());
        assert!(errors.len() == 1 && errors[0].to_string().contains("10.0.7.0/24"), "{errors:?}");
    }
}
