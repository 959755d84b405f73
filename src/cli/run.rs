//! `run`: the agent, in the foreground or on behalf of an `up`.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::args::{BackendChoice as Typed, Run};
use super::context::Context;
use super::elsewhere;
use super::exit::Exit;
use super::fault::Fault;
use super::host_side::{agent_command, refusal, require_root, runtime};
use super::interrupt::heed;
use super::service::to_run;
use super::status::read_with;
use crate::app::{self, Memory, Reconciled};
use crate::daemon::supervise::supervise;
use crate::daemon::{
    End, Glance, LocalDevice, Looked, Metrics, Reconcile, Serving, Tell, Told, listen_at, serve,
};
use crate::host::HostError;
use crate::host::LinuxHost;
use crate::host::agent_process::{AgentLock, Runtime};
use crate::host::confine::{detached, give_up_rights};
use crate::host::docker::Engine;
use crate::host::scope::{Part, leave_session};
use crate::host::systemd;
use crate::lab::hold::end_with_lab;
use crate::model::InterfaceName;
use crate::plan::Backend;
use crate::status::{Repairs, Status, metrics};
use crate::store::folder::Folder;

/// Runs the agent until it is told to end.
pub fn run(ctx: &Context, args: &Run) -> Result<Exit, Fault> {
    heed()?;
    require_root(ctx, "run")?;
    end_with_lab(&ctx.dir)?;
    match (args.attach, args.host) {
        (Some(mtu), _) => see_to_agents(ctx, mtu),
        (None, Some(mtu)) => attached(ctx, mtu),
        (None, None) if args.resume => resumed(ctx),
        (None, None) => foreground(ctx, args),
    }
}

fn network_name(ctx: &Context) -> Result<InterfaceName, Fault> {
    ctx.network_name()?.ok_or_else(|| Fault::usage("an agent of `up` needs --network", ""))
}

/// Starts the agent of an `up`, and another one when it dies.
fn see_to_agents(ctx: &Context, mtu: u16) -> Result<Exit, Fault> {
    let name = network_name(ctx)?;
    leave_session(Part::Agent, &name);
    give_up_rights(&ctx.dir);
    let words = agent_command(&ctx.dir, &name)?;
    let agent = |more: &[&str]| {
        let mut command = detached(&words[0]);
        command.args(&words[1..]).args(more);
        command
    };
    let mtu = mtu.to_string();
    // The command line, or the file, stays wrong until somebody corrects it.
    let is_final = |code| [Exit::Usage, Exit::Invalid].iter().any(|exit| *exit as i32 == code);
    let code = supervise(agent(&["--host", &mtu]), || agent(&["--resume"]), is_final)
        .map_err(|e| Fault::failed(format!("cannot start the agent of {name}: {e}"), ""))?;
    Ok(if code == 0 { Exit::Done } else { Exit::Failed })
}

/// Hosts the embedded device for an `up` that holds the lock and waits.
fn attached(ctx: &Context, mtu: u16) -> Result<Exit, Fault> {
    let name = network_name(ctx)?;
    let runtime = runtime(&name)?;
    let alive = AgentLock::take(&runtime)?;
    let device = LocalDevice::of(&runtime);
    device.start(&name, mtu)?;
    let end = serve(Looking::new(ctx, &name, &runtime, Some(device)).serving())?;
    finish(ctx, &name, &runtime, None, &end, alive)
}

/// Goes on where the agent before died: brings up what was applied, unless somebody took it down, or brought it up, meanwhile.
fn resumed(ctx: &Context) -> Result<Exit, Fault> {
    let name = network_name(ctx)?;
    let folder = Folder::new(&ctx.dir, &name);
    let runtime = runtime(&name)?;
    let (alive, device);
    {
        let on_host = runtime.lock_to_apply()?;
        let applied = runtime.read_applied(&ctx.dir)?.filter(|applied| !applied.network_text.is_empty());
        let Some(applied) = applied.filter(|applied| applied.backend == Backend::Embedded) else {
            return Ok(Exit::Done);
        };
        if runtime.agent_pid().is_some() {
            return Ok(Exit::Done);
        }
        alive = AgentLock::take(&runtime)?;
        let target = {
            let _read = folder.lock_to_apply()?;
            app::recorded_target(&ctx.dir, &folder, &applied)?
        };
        device = LocalDevice::of(&runtime);
        let mut host = machine(Some(&device))?;
        app::up(&mut host, &target, &runtime, Backend::Embedded, ctx.now, &on_host).map_err(refusal)?;
    }
    tracing::info!("{name} is up again");
    let end = serve(Looking::new(ctx, &name, &runtime, Some(device.clone())).serving())?;
    finish(ctx, &name, &runtime, Some(&device), &end, alive)
}

/// Brings the network up, holds it, and takes it down at the end.
fn foreground(ctx: &Context, args: &Run) -> Result<Exit, Fault> {
    let hangs_up = !ignores_hangup();
    give_up_rights(&ctx.dir);
    let folder = ctx.folder()?;
    let name = folder.name().clone();
    let runtime = runtime(&name)?;
    elsewhere::refuse(ctx, &name, &runtime)?;
    let listener = match args.metrics.map(|at| listener_at(ctx, at)).transpose() {
        // Nobody is there to choose another port, and packets matter more than counting them.
        Err(fault) if systemd::waits() => {
            ctx.out.error(&fault.message, &fault.hint);
            None
        }
        other => other?,
    };
    let alive = AgentLock::take(&runtime)?;
    let device;
    {
        let on_host = runtime.lock_to_apply()?;
        // Whoever had it may have brought up another folder's network.
        elsewhere::refuse(ctx, &name, &runtime)?;
        let (target, last) = {
            let _read = folder.lock_to_apply()?;
            to_run(ctx, &folder, &runtime)?
        };
        let choice = match (args.backend, last) {
            // A kernel that lost its WireGuard since must not keep the network down.
            (Typed::Auto, Some(Backend::Embedded)) => Typed::Embedded,
            (typed, _) => typed,
        };
        let (_, backend) =
            app::host_for(app::host(&runtime, &[])?, &runtime, &[], &ctx.dir, &name, choice.into())?;
        device = (backend == Backend::Embedded).then(|| LocalDevice::of(&runtime));
        let mut host = machine(device.as_ref())?;
        let done = app::up(&mut host, &target, &runtime, backend, ctx.now, &on_host).map_err(refusal)?;
        // A service manager's log has no keys to press.
        let end = if std::io::stdin().is_terminal() { "; Ctrl-C takes it down" } else { "" };
        ctx.out.say(&format!("{name} is up: node {}, {backend} backend{end}", target.node));
        for problem in &done.problems {
            ctx.out.problem(problem);
        }
        if folder.read_network().is_ok_and(|bytes| bytes != target.text.as_bytes()) {
            ctx.out.say("the file is newer than what was last up, and waits: `wgrelay up` applies it");
        }
    }
    systemd::notify_ready();
    let looking = Looking::new(ctx, &name, &runtime, device.clone());
    let metrics = listener.map(|listener| looking.metrics(listener));
    let end = serve(Serving { metrics, hangs_up, ..looking.serving() })?;
    finish(ctx, &name, &runtime, device.as_ref(), &end, alive)
}

/// Takes the network down after a signal; whoever asked over the socket does so himself.
fn finish(
    ctx: &Context,
    name: &InterfaceName,
    runtime: &Runtime,
    device: Option<&LocalDevice>,
    end: &End,
    alive: AgentLock,
) -> Result<Exit, Fault> {
    match end {
        End::Stopped => Ok(Exit::Done),
        End::Signal => {
            let on_host = runtime.lock_to_apply()?;
            let mut host = machine(device)?;
            let done = app::down(&mut host, &ctx.dir, name, runtime, &on_host)?;
            for error in &done.errors {
                ctx.out.error(&error.to_string(), &error.hint);
            }
            // The folder counts as a living agent's until the lock is given back.
            drop(alive);
            if done.errors.is_empty() {
                runtime.remove()?;
            }
            Ok(if done.errors.is_empty() { Exit::Done } else { Exit::Failed })
        }
        End::Device(why) => Err(Fault::failed(
            format!("the embedded data plane of {name} ended: {why}"),
            "`wgrelay up` starts it again",
        )),
    }
}

/// Says whether whoever started this process wants it to outlive its terminal, as nohup(1) does.
#[expect(clippy::disallowed_methods, reason = "a process reads what it was started with")]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Signal 1 is the lowest bit.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

fn machine(device: Option<&LocalDevice>) -> Result<LinuxHost, HostError> {
    let host = LinuxHost::open()?.with_docker(Engine::here());
    Ok(match device {
        Some(device) => host.with_embedded(Box::new(device.clone())),
        None => host,
    })
}

/// Takes the address of the metrics, before anything is changed.
fn listener_at(ctx: &Context, at: std::net::SocketAddr) -> Result<std::net::TcpListener, Fault> {
    let (listener, is_there) = listen_at(at).map_err(|e| {
        Fault::failed(format!("metrics cannot be served at {at}: {e}"), "choose another address or port")
    })?;
    if !is_there {
        ctx.out.say(&format!("{} is no address of this host now: metrics are served once it is", at.ip()));
    }
    Ok(listener)
}

/// What the agent looks at the host with, again and again: for its own repairs, for `status` and for metrics.
#[derive(Clone)]
struct Looking {
    ctx: Context,
    name: InterfaceName,
    runtime: Runtime,
    device: Option<LocalDevice>,
    memory: Memory,
    /// What the agent had to repair of late.
    repairs: Arc<Mutex<Repairs>>,
}

impl Looking {
    fn new(ctx: &Context, name: &InterfaceName, runtime: &Runtime, device: Option<LocalDevice>) -> Self {
        Self {
            ctx: ctx.clone(),
            name: name.clone(),
            runtime: runtime.clone(),
            device,
            memory: Memory::default(),
            repairs: Arc::default(),
        }
    }

    fn serving(self) -> Serving {
        Serving {
            network: self.name.clone(),
            runtime: self.runtime.clone(),
            device: self.device.clone(),
            reconcile: self.clone().reconcile(),
            glance: self.clone().glance(),
            status: self.tell(),
            metrics: None,
            hangs_up: false,
        }
    }

    fn status(&self) -> Result<Status, Fault> {
        let open = || machine(self.device.as_ref());
        let ctx = self.ctx.later();
        let mut status = read_with(&ctx, &self.name, &self.runtime, &self.memory, open)?;
        let mut repairs = self.repairs();
        status.repairs_in_a_minute = Some(repairs.in_a_minute(ctx.now));
        status.problems.extend(repairs.problem(&self.name, ctx.now));
        Ok(status)
    }

    fn repairs(&self) -> MutexGuard<'_, Repairs> {
        self.repairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(self) -> Tell {
        Arc::new(move |dir| {
            if *dir != self.ctx.dir {
                return Err("this agent serves another folder".into());
            }
            let status = self.status().map_err(|fault| fault.message)?;
            let json = serde_json::to_vec_pretty(&status).map_err(|e| e.to_string())?;
            Ok(Told { state: status.state, json })
        })
    }

    /// Each time somebody asks, the host is looked at as `status` looks at it.
    fn metrics(&self, listener: std::net::TcpListener) -> Metrics {
        let looking = self.clone();
        let render = move || looking.status().map(|status| metrics(&status)).map_err(|fault| fault.message);
        Metrics { listener, render: Arc::new(render) }
    }

    fn glance(self) -> Glance {
        Arc::new(move || {
            let now = self.ctx.later().now;
            app::glance(&self.ctx.dir, &self.name, &self.runtime, &self.memory, now)
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the agent's tick reads the clock")]
    fn reconcile(self) -> Reconcile {
        Arc::new(move |extent| {
            let look = || {
                let mut host = machine(self.device.as_ref())?;
                let now = SystemTime::now().into();
                let (dir, name) = (&self.ctx.dir, &self.name);
                app::reconcile(&mut host, dir, name, &self.runtime, &self.memory, now, extent)
            };
            let repair = match look() {
                Ok(Reconciled::Nothing) => return Looked::Right,
                Ok(Reconciled::Busy) => return Looked::Busy,
                Ok(Reconciled::Looked(repair)) => repair,
                Err(error) => return Looked::Failed { why: error.to_string(), restricted: false },
            };
            self.repairs().note(&repair.lines, self.ctx.later().now);
            for line in repair.lines {
                tracing::info!(kind = line.kind, target = line.target, "repaired");
            }
            match repair.failed {
                None => Looked::Right,
                Some(error) => Looked::Failed { why: error.to_string(), restricted: repair.restricted },
            }
        })
    }
}
