//! What an `up` that is refused does all the same: whatever restricts. A fault of the host forbids what the network adds, and never
//! what it takes away.

use super::backend::{BackendChoice, host, host_to_look};
use super::fault::{Fault, Left};
use super::look::recorded_target;
use super::reconcile::{Extent, hold};
use super::session::Session;
use super::target::Target;
use crate::config::{render_network, reread_network};
use crate::host::agent_process::Runtime;
use crate::host::configuration::Configuration;
use crate::host::host_lock::HostLock;
use crate::host::runtime::Applied;
use crate::host::{Host, HostError};
use crate::model::{Network, Problem, Timestamp};
use crate::plan::Line;
use crate::store::folder::Folder;

/// What was done though the network was refused.
#[derive(Debug, Default)]
pub struct Restricted {
    /// The changes, none of which adds anything.
    pub lines: Vec<Line>,
    /// What the host is held to now, where that is less than before.
    pub(super) held: Option<Configuration>,
    /// Why not all of it could be done.
    pub failed: Option<HostError>,
}

impl Restricted {
    /// Says whether nothing was changed.
    pub(super) const fn is_nothing(&self) -> bool {
        self.lines.is_empty() && self.held.is_none() && self.failed.is_none()
    }

    /// Tells it as a problem among others; `None`: nothing was done.
    pub(super) fn told(&self) -> Option<Problem> {
        if self.is_nothing() {
            return None;
        }
        let line = |line: &Line| {
            let to = if line.to.is_some() { "put right" } else { "gone" };
            format!("{} {} {to}", line.kind, line.target)
        };
        let mut message = match self.lines.iter().map(line).collect::<Vec<_>>() {
            none if none.is_empty() => "what the network takes away stays away from here on".to_string(),
            lines => format!("what restricts was done all the same: {}", lines.join(", ")),
        };
        if let Some(error) = &self.failed {
            message += &format!("; not all of it: {error}");
        }
        let hint = "`wgrelay plan` says what the rest would be once the errors are mended";
        Some(Problem::warning("restricted-only", "this host", message, hint))
    }
}

/// Takes away what a network that cannot be brought up here takes away from the one that is up, and puts back what protects that.
/// While a change is on trial only the latter.
///
/// # Errors
/// The host cannot be read, or the record not written.
pub(super) fn restrict_to<H: Host>(
    host: &mut H,
    target: &Target,
    runtime: &Runtime,
    now: Timestamp,
    on_host: &HostLock,
) -> Result<Restricted, HostError> {
    let Some(applied) = applied_here(target, runtime)? else { return Ok(Restricted::default()) };
    let Some(old) = reread_network(&applied.configuration.network_text) else {
        return Ok(Restricted::default());
    };
    let narrowed = old.narrowed_to(&target.network, &target.node);
    let is_less = narrowed != Network { expect: Vec::new(), ..old.clone() };
    let (network, held) = if is_less && runtime.unconfirmed(&target.dir)?.is_none() {
        let text =
            render_network(&narrowed, Some("What of the network stays up until the newer one can be."));
        (narrowed, Some(Configuration { network_text: text, ..applied.configuration.clone() }))
    } else {
        (old, None)
    };
    let configuration = held.clone().unwrap_or_else(|| applied.configuration.clone());
    let narrowed = Target {
        network: network.into(),
        text: configuration.network_text.as_str().into(),
        // They are those of the newer network.
        keys_may_be_newer: true,
        ..target.clone()
    };
    if held.is_some() {
        // First, so that no agent puts back what goes.
        runtime.write_applied(Applied { configuration, ..applied.clone() })?;
    }
    let backend = applied.configuration.backend;
    let repair = hold(host, &narrowed, runtime, backend, now, Extent::Restrictions, on_host)?;
    // What else is wrong is told by whoever was refused.
    Ok(Restricted { lines: repair.lines, held, failed: repair.failed.filter(|_| !repair.restricted) })
}

/// The record, where it is of this network on this node.
fn applied_here(target: &Target, runtime: &Runtime) -> Result<Option<Applied>, HostError> {
    let applied = runtime.read_applied(&target.dir)?;
    Ok(applied.filter(|a| !a.configuration.network_text.is_empty() && a.configuration.node == target.node))
}

/// Puts back what restricts of the network that is up, where nothing is known of a newer one that would count. What cannot be done
/// is the agent's to tell: the fault that is told is another.
pub(super) fn hold_as_applied(
    session: &Session,
    folder: &Folder,
    runtime: &Runtime,
    fault: Fault,
    on_host: &HostLock,
) -> Fault {
    let done = || {
        let Some(applied) = runtime.read_applied(&session.dir)? else { return Ok(Restricted::default()) };
        let backend = applied.configuration.backend;
        let target = recorded_target(&session.dir, folder, &applied)?;
        let choice = BackendChoice::Only(backend);
        let (mut host, _) = host_to_look(host(runtime, &[])?, runtime, folder.name(), choice)?;
        let repair = hold(&mut host, &target, runtime, backend, session.now, Extent::Restrictions, on_host)?;
        Ok::<_, HostError>(Restricted { lines: repair.lines, ..Restricted::default() })
    };
    match done() {
        Ok(restricted) => with_told(fault, &restricted),
        Err(error) => {
            tracing::debug!("what restricts was not looked at: {error}");
            fault
        }
    }
}

/// Adds what was done to a fault.
pub(super) fn with_told(mut fault: Fault, restricted: &Restricted) -> Fault {
    if let Some(told) = restricted.told() {
        // One that says nothing of it may have changed something, or have nothing to say.
        if fault.left == Left::Unchanged {
            fault.left = Left::Restricted;
        }
        fault.problems.push(told);
    }
    fault
}
