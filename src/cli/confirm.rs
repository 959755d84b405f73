//! `up --confirm` and `confirm`: a change on trial goes back by itself unless somebody keeps it.
//!
//! A process of its own waits, because the terminal from which the change was made may be what it cut off. It looks at
//! the file of the trial, not at its own memory: `confirm`, `up` and `down` end a trial by ending that file. Whoever finds
//! a trial that is over and that nobody ended does the waiter's work.

use std::path::Path;
use std::time::Duration;

use super::args::Confirm;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::host_side::{agent_command, refusal, require_root, runtime};
use super::interrupt::heed;
use super::output::Role;
use super::up::name_of_what_is_up;
use crate::app::{self, BackendChoice};
use crate::host::LinuxHost;
use crate::host::agent_process::Runtime;
use crate::host::boot_clock::since_boot;
use crate::host::confine::give_up_rights;
use crate::host::host_lock::HostLock;
use crate::host::last_up::LastUp;
use crate::host::scope::{Part, leave_session};
use crate::host::unconfirmed::{Unconfirmed, WaiterLock};
use crate::host::went_back;
use crate::lab::hold::end_with_lab;
use crate::model::{InterfaceName, quoted};
use crate::plan::Plan;
use crate::status::WentBack;
use crate::store::folder::Folder;

/// How long the waiter sleeps at a time. Looking again is how it learns of a confirmation, and of the time that a
/// sleeping host has lost.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long it leaves a host alone that could not go back.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Keeps the change that waits, or is the process that waits.
pub fn confirm(ctx: &Context, args: &Confirm) -> Result<Exit, Fault> {
    require_root(ctx, "confirm")?;
    let name = name_of_what_is_up(ctx)?;
    if args.wait {
        return wait(ctx, &name);
    }
    let folder = Folder::new(&ctx.dir, &name);
    let runtime = runtime(&name)?;
    let on_host = runtime.lock_to_apply()?;
    if make_right(ctx, &name, &runtime, &on_host)? {
        return Err(Fault::failed(
            format!("too late: {name} went back to what it was before"),
            "`wgrelay up --confirm SECONDS` makes the change again",
        ));
    }
    let (Some(_), Some(applied)) = (runtime.unconfirmed(&ctx.dir)?, runtime.read_applied(&ctx.dir)?) else {
        if let Some(dir) = runtime.unconfirmed_elsewhere(&ctx.dir)? {
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
    let last = LastUp { node: applied.node, backend: applied.backend, network_text: applied.network_text };
    if folder.exists() {
        last.write(&folder).map_err(|e| Fault::failed(format!("{e}; the change still waits"), e.hint()))?;
    }
    runtime.end_trial()?;
    if ctx.out.json {
        ctx.out.json(
            &serde_json::json!({ "version": 1, "network": name, "node": last.node, "confirmed": true }),
        )?;
    } else {
        ctx.out.prose(&format!("{name} is {} as it is now", ctx.out.paint(Role::Good, "kept")))?;
    }
    if app::standing(&name)?.is_none() {
        ctx.out.say("its interface is gone: `wgrelay up` makes it again");
    }
    Ok(Exit::Done)
}

/// Waits until the trial is ended by somebody, or is over: then goes back.
fn wait(ctx: &Context, name: &InterfaceName) -> Result<Exit, Fault> {
    heed()?;
    end_with_lab(&ctx.dir)?;
    leave_session(Part::Waiter, name);
    give_up_rights(&ctx.dir);
    let runtime = runtime(name)?;
    let Some(_alone) = WaiterLock::take(&runtime)? else { return Ok(Exit::Done) };
    let mut told = String::new();
    while let Some(trial) = runtime.unconfirmed(&ctx.dir)? {
        let left = trial.left(since_boot()?);
        if !left.is_zero() {
            pause(left.min(LOOK_AGAIN));
            continue;
        }
        if let Err(fault) = go_back_alone(&ctx.later(), name, &runtime) {
            if fault.message != told {
                fault.tell(&ctx.out);
                told.clone_from(&fault.message);
            }
            pause(TRY_AGAIN);
        }
    }
    Ok(Exit::Done)
}

#[expect(clippy::disallowed_methods, reason = "the waiter's work is to wait")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn go_back_alone(ctx: &Context, name: &InterfaceName, runtime: &Runtime) -> Result<(), Fault> {
    make_right(ctx, name, runtime, &runtime.lock_to_apply()?)?;
    Ok(())
}

/// Goes back where a trial is over and nobody ended it; says whether it did. The caller holds both locks.
pub fn make_right(
    ctx: &Context,
    name: &InterfaceName,
    runtime: &Runtime,
    on_host: &HostLock,
) -> Result<bool, Fault> {
    let Some(trial) = runtime.unconfirmed(&ctx.dir)? else { return Ok(false) };
    if !trial.left(since_boot()?).is_zero() {
        return Ok(false);
    }
    let command = agent_command(&ctx.dir, name)?;
    let mut host = match &trial.before {
        Some(before) => {
            let choice = BackendChoice::Only(before.backend);
            app::host_for(app::host(runtime, &command)?, runtime, &command, &ctx.dir, name, choice)?.0
        }
        None => app::host(runtime, &[])?,
    };
    app::go_back(&mut host, &ctx.dir, name, runtime, trial.before.as_ref(), ctx.now, on_host)
        .map_err(refusal)?;
    let folder = Folder::new(&ctx.dir, name);
    let note = WentBack { made: trial.made, at: ctx.now };
    if folder.exists()
        && let Err(error) = went_back::write(&folder, &note)
    {
        // It is told here all the same; a read-only folder keeps no change from going back.
        tracing::debug!("{error}");
    }
    let what = if trial.before.is_some() { "is as it was before that change" } else { "is down again" };
    ctx.out.say(&format!("{name} was not confirmed in time, and {what}"));
    Ok(true)
}

/// Sees to a trial that nobody waits for, as `status` finds one: a waiter that was killed.
pub fn look_after(ctx: &Context, name: &InterfaceName) -> Result<(), Fault> {
    let runtime = runtime(name)?;
    let Some(trial) = runtime.unconfirmed(&ctx.dir)? else { return Ok(()) };
    if runtime.waiter().is_some() || !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    if trial.left(since_boot()?).is_zero() {
        return go_back_alone(ctx, name, &runtime);
    }
    Ok(runtime.start_waiter(&waiter_command(&ctx.dir, name)?)?)
}

/// Returns what starts a waiter.
fn waiter_command(dir: &Path, name: &InterfaceName) -> Result<Vec<String>, Fault> {
    let mut command = agent_command(dir, name)?;
    command.pop();
    command.extend(["confirm".into(), "--wait".into()]);
    Ok(command)
}

/// A change about to be made on trial.
pub struct Trial {
    runtime: Runtime,
    wait: Duration,
    this: Unconfirmed,
    /// The trial that stood when this one began.
    standing: Option<Unconfirmed>,
}

impl Trial {
    /// Writes what the change goes back to, and starts the process that waits: whatever happens to this one from here on,
    /// the change goes back. A trial that stands goes on with a new time: both go back to what was there before the first.
    pub fn begin(
        ctx: &Context,
        name: &InterfaceName,
        runtime: &Runtime,
        host: &mut LinuxHost,
        seconds: u32,
    ) -> Result<Self, Fault> {
        let wait = Duration::from_secs(seconds.into());
        let standing = runtime.unconfirmed(&ctx.dir)?;
        let before = match &standing {
            Some(standing) => standing.before.clone(),
            None => app::before(host, &ctx.dir, name, runtime)?,
        };
        let this = Unconfirmed {
            place: runtime.place(),
            dir: ctx.dir.clone(),
            made: Some(ctx.now),
            deadline_ms: 0,
            before,
        }
        .until(since_boot()?, wait);
        let trial = Self { runtime: runtime.clone(), wait, this, standing };
        runtime.write_unconfirmed(&trial.this)?;
        if runtime.waiter().is_none() {
            runtime.start_waiter(&waiter_command(&ctx.dir, name)?).inspect_err(|_| {
                let _ = trial.call_off();
            })?;
        }
        Ok(trial)
    }

    /// Puts back what stood: nothing was changed.
    pub fn call_off(&self) -> Result<(), Fault> {
        match &self.standing {
            Some(standing) => self.runtime.write_unconfirmed(standing)?,
            None => self.runtime.end_trial()?,
        }
        Ok(())
    }

    /// The change is made, and its time begins: returns it, in seconds. A host that needed no change has nothing to go
    /// back to. The caller holds the lock.
    pub fn begin_waiting(&self, made: &Plan) -> Result<Option<u64>, Fault> {
        if made.is_empty() && self.standing.is_none() {
            self.call_off()?;
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
