//! Commit-confirm, `up --confirm` and `confirm`: a change on trial goes back by itself unless somebody keeps it.
//!
//! A process of its own waits, because the terminal from which the change was made may be what it cut off. It looks at
//! the file of the trial, not at its own memory: `confirm`, `up` and `down` end a trial by ending that file. Whoever finds
//! a trial that is over and that nobody ended does the waiter's work.

use std::path::Path;
use std::time::Duration;

use super::backend::{BackendChoice, host, host_for, standing};
use super::event::Event;
use super::fault::Fault;
use super::rollback::{before, roll_back};
use super::session::Session;
use super::this_host::{agent_command, name_of_what_is_up};
use crate::host::LinuxHost;
use crate::host::agent_process::Runtime;
use crate::host::boot_clock::{pause, since_boot};
use crate::host::boot_config;
use crate::host::commit_confirm::{Unconfirmed, WaiterLock};
use crate::host::confine::give_up_rights;
use crate::host::host_lock::HostLock;
use crate::host::rolled_back;
use crate::host::scope::{Part, leave_session};
use crate::model::{InterfaceName, NodeName, quoted};
use crate::plan::Plan;
use crate::status::RolledBack;
use crate::store::folder::Folder;

/// How long the waiter sleeps at a time. Looking again is how it learns of a confirmation, and of the time that a
/// sleeping host has lost.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long it leaves a host alone that could not go back.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// A change that was kept.
#[derive(Debug)]
pub struct Confirmed {
    /// The network.
    pub network: InterfaceName,
    /// The node that this host is.
    pub node: NodeName,
    /// Whether its interface is gone, so that only an `up` makes it again.
    pub interface_is_gone: bool,
}

/// Keeps the change that waits.
///
/// # Errors
/// None waits, or it went back already, or what comes back after a restart cannot be written.
pub fn confirm(session: &Session) -> Result<Confirmed, Fault> {
    let name = name_of_what_is_up(session)?;
    let folder = Folder::new(&session.dir, &name);
    let runtime = Runtime::here(&name)?;
    let on_host = runtime.lock_to_apply()?;
    if roll_back_if_expired(session, &name, &runtime, &on_host)? {
        return Err(Fault::failed(
            format!("too late: {name} went back to what it was before"),
            "`wgrelay up --confirm SECONDS` makes the change again",
        ));
    }
    let (Some(_), Some(applied)) = (runtime.unconfirmed(&session.dir)?, runtime.read_applied(&session.dir)?)
    else {
        if let Some(dir) = runtime.unconfirmed_from_other_dir(&session.dir)? {
            return Err(Fault::failed(
                format!("the change of {name} that waits was made with --dir {}", dir.display()),
                format!("`wgrelay --dir {} --network {name} confirm`", quoted(&dir.display().to_string())),
            ));
        }
        return Err(Fault::failed(
            format!("no change of {name} waits for a confirmation"),
            "it was kept already, or its time ran out and it went back: `wgrelay status` and `wgrelay plan` tell",
        ));
    };
    // Only what is kept comes back after a restart.
    if folder.exists() {
        boot_config::write(&applied.configuration, &folder)
            .map_err(|e| Fault::failed(format!("{e}; the change still waits"), e.hint()))?;
    }
    runtime.end_commit_confirm(&on_host)?;
    // It is kept, whatever the kernel says.
    let interface_is_gone = standing(&name).is_ok_and(|backend| backend.is_none());
    Ok(Confirmed { network: name, node: applied.configuration.node, interface_is_gone })
}

/// Waits until the trial is ended by somebody, or is over: then goes back. For a process of its own.
///
/// # Errors
/// The file of the trial cannot be read.
pub fn wait_for_confirmation(session: &Session) -> Result<(), Fault> {
    let name = &name_of_what_is_up(session)?;
    leave_session(Part::Waiter, name);
    give_up_rights(&session.dir);
    let runtime = Runtime::here(name)?;
    let Some(_alone) = WaiterLock::take(&runtime)? else { return Ok(()) };
    let mut told = String::new();
    while let Some(pending) = runtime.unconfirmed(&session.dir)? {
        let left = pending.left(since_boot()?);
        if !left.is_zero() {
            pause(left.min(LOOK_AGAIN));
            continue;
        }
        if let Err(fault) = roll_back_alone(&session.later(), name, &runtime) {
            if fault.sentence() != told {
                told = fault.sentence();
                session.tell(Event::Failed(fault));
            }
            pause(TRY_AGAIN);
        }
    }
    Ok(())
}

fn roll_back_alone(session: &Session, name: &InterfaceName, runtime: &Runtime) -> Result<(), Fault> {
    roll_back_if_expired(session, name, runtime, &runtime.lock_to_apply()?)?;
    Ok(())
}

/// Goes back where a trial is over and nobody ended it; says whether it did.
pub(super) fn roll_back_if_expired(
    session: &Session,
    name: &InterfaceName,
    runtime: &Runtime,
    on_host: &HostLock,
) -> Result<bool, Fault> {
    let Some(pending) = runtime.unconfirmed(&session.dir)? else { return Ok(false) };
    if !pending.left(since_boot()?).is_zero() {
        return Ok(false);
    }
    let command = agent_command(&session.dir, name)?;
    let mut host = match &pending.before {
        Some(before) => {
            let choice = BackendChoice::Only(before.configuration.backend);
            host_for(host(runtime, &command)?, runtime, &command, &session.dir, name, choice)?.0
        }
        None => host(runtime, &[])?,
    };
    roll_back(&mut host, &session.dir, name, runtime, pending.before.as_ref(), session.now, on_host)?;
    let folder = Folder::new(&session.dir, name);
    let note = RolledBack { made: pending.made, at: session.now };
    if folder.exists()
        && let Err(error) = rolled_back::write(&folder, &note)
    {
        // It is told here all the same; a read-only folder keeps no change from going back.
        tracing::debug!("{error}");
    }
    session.tell(Event::RolledBack { network: name.clone(), to_before: pending.before.is_some() });
    Ok(true)
}

/// Sees to a trial that nobody waits for, as `status` finds one: a waiter that was killed.
pub(super) fn look_after(session: &Session, name: &InterfaceName) -> Result<(), Fault> {
    let runtime = Runtime::here(name)?;
    let Some(pending) = runtime.unconfirmed(&session.dir)? else { return Ok(()) };
    if runtime.waiter().is_some() || !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    if pending.left(since_boot()?).is_zero() {
        return roll_back_alone(session, name, &runtime);
    }
    Ok(runtime.start_waiter(&waiter_command(&session.dir, name)?)?)
}

/// Returns what starts a waiter.
fn waiter_command(dir: &Path, name: &InterfaceName) -> Result<Vec<String>, Fault> {
    let mut command = agent_command(dir, name)?;
    command.pop();
    command.extend(["confirm".into(), "--wait".into()]);
    Ok(command)
}

/// A change about to be made on trial.
pub(super) struct CommitConfirm {
    runtime: Runtime,
    wait: Duration,
    this: Unconfirmed,
    /// The trial that stood when this one began.
    standing: Option<Unconfirmed>,
}

impl CommitConfirm {
    /// Writes what the change goes back to, and starts the process that waits: whatever happens to this one from here on,
    /// the change goes back. A trial that stands goes on with a new time: both go back to what was there before the first.
    pub fn begin(
        session: &Session,
        name: &InterfaceName,
        runtime: &Runtime,
        host: &mut LinuxHost,
        seconds: u32,
        on_host: &HostLock,
    ) -> Result<Self, Fault> {
        let wait = Duration::from_secs(seconds.into());
        let standing = runtime.unconfirmed(&session.dir)?;
        let before = match &standing {
            Some(standing) => standing.before.clone(),
            None => before(host, &session.dir, name, runtime)?,
        };
        let this = Unconfirmed {
            place: runtime.place(),
            dir: session.dir.clone(),
            made: Some(session.now),
            deadline_ms: 0,
            before,
        }
        .until(since_boot()?, wait);
        let pending = Self { runtime: runtime.clone(), wait, this, standing };
        runtime.write_unconfirmed(&pending.this)?;
        if runtime.waiter().is_none() {
            runtime.start_waiter(&waiter_command(&session.dir, name)?).inspect_err(|_| {
                let _ = pending.call_off(on_host);
            })?;
        }
        Ok(pending)
    }

    /// Puts back what stood: nothing was changed.
    pub fn call_off(&self, on_host: &HostLock) -> Result<(), Fault> {
        match &self.standing {
            Some(standing) => self.runtime.write_unconfirmed(standing)?,
            None => self.runtime.end_commit_confirm(on_host)?,
        }
        Ok(())
    }

    /// The change is made, and its time begins: returns it, in seconds. A host that needed no change has nothing to go
    /// back to.
    pub fn begin_waiting(&self, made: &Plan, on_host: &HostLock) -> Result<Option<u64>, Fault> {
        if made.is_empty() && self.standing.is_none() {
            self.call_off(on_host)?;
            return Ok(None);
        }
        if self.runtime.unconfirmed(&self.this.dir)?.is_none() {
            return Err(Fault::failed(
                "it took longer than the time for its confirmation, and went back to what it was before",
                "`wgrelay up --confirm` with more seconds",
            ));
        }
        self.runtime.write_unconfirmed(&self.this.clone().until(since_boot()?, self.wait))?;
        Ok(Some(self.wait.as_secs()))
    }
}
