//! What `up` refuses before it changes anything; `status` of a network that is down says it too.

use super::backend::{BackendChoice, host, host_to_look};
use super::event::Event;
use super::fault::{Fault, FaultKind};
use super::other_dir;
use super::session::{Loaded, Session};
use super::target::Target;
use super::this_host::target;
use super::up::{Refusal, preflight_errors};
use crate::config::Secrets;
use crate::host::agent_process::Runtime;
use crate::model::{InterfaceName, Network, Problem, Timestamp};
use crate::reach;
use crate::store::folder::Folder;

/// Tells what keeps a network down that is down; empty: nothing that is known before it is tried.
pub(super) fn keeps_down(session: &Session, name: &InterfaceName) -> Vec<Problem> {
    match would_come_up(session, name) {
        Ok(()) => Vec::new(),
        Err(fault) if fault.problems.iter().any(Problem::is_error) => {
            fault.problems.into_iter().filter(Problem::is_error).collect()
        }
        Err(fault) => {
            vec![Problem::error("cannot-come-up", format!("network {name}"), fault.sentence(), fault.hint)]
        }
    }
}

/// Asks in the order in which `up` asks.
fn would_come_up(session: &Session, name: &InterfaceName) -> Result<(), Fault> {
    let runtime = Runtime::here(name)?;
    other_dir::refuse(session, name, &runtime)?;
    let loaded = session.load_from(Folder::new(&session.dir, name))?;
    promises(session, &loaded, false)?;
    let target = if nix::unistd::geteuid().is_root() {
        target(session, &loaded)?
    } else {
        // Somebody who may not read the secrets, and need not: nothing here depends on them.
        let node = session.this_node(&loaded)?.name.clone();
        let (network, text) = (loaded.network.clone(), loaded.text.clone());
        Target::new(session.dir.clone(), network, text, &node, &Secrets::default())
            .ok_or_else(|| Fault::failed(format!("there is no node {node}"), ""))?
    };
    let (mut host, backend) = host_to_look(host(&runtime, &[])?, &runtime, name, BackendChoice::Auto)?;
    match preflight_errors(&mut host, &target, &runtime, backend, session.now)? {
        none if none.is_empty() => Ok(()),
        problems => Err(Refusal::Problems(problems, Box::default()).into()),
    }
}

/// Returns what of the promises does not hold; nothing where there are none.
pub(super) fn broken_promises(network: &Network, now: Timestamp) -> Vec<Problem> {
    if network.expect.is_empty() {
        return Vec::new();
    }
    reach::check(network, now).problems.into_iter().filter(Problem::is_error).collect()
}

/// Judges the promises before anything is applied.
pub(super) fn promises(session: &Session, loaded: &Loaded, force: bool) -> Result<(), Fault> {
    if loaded.network.expect.is_empty() {
        return Ok(());
    }
    let broken = loaded.located(broken_promises(&loaded.network, session.now));
    if broken.is_empty() {
        return Ok(());
    }
    if force {
        session.tell(Event::PromisesBroken(broken));
        return Ok(());
    }
    let message = "an [[expect]] of the network would be broken";
    Err(Fault {
        kind: FaultKind::No,
        problems: broken,
        ..Fault::failed(message, "correct the network, or `wgrelay up --force`").unchanged()
    })
}
