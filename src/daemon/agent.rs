//! The procedures of `run`: the agent in the foreground, and the two processes of an `up`'s agent.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::failover::{self, Told};
use super::floating;
use super::follow::Follower;
use super::supervise::supervise;
use super::traffic;
use super::{
    End, Glance, LocalDevice, Looked, Metrics, Reconcile, Serving, StatusProvider, StatusReply, listen_at,
    serve,
};
use crate::app::{self, BackendChoice, Event, Fault, Reconciled, Session, TargetCache};
use crate::dataplane::{DeviceChange, DeviceReport};
use crate::host::agent_process::{AgentLock, Runtime};
use crate::host::confine::{detached, give_up_rights};
use crate::host::docker::Engine;
use crate::host::netlink_monitor::{Concern, LastAuthor};
use crate::host::scope::{Part, leave_session};
use crate::host::systemd;
use crate::host::wireguard::{KernelWireGuard, WireGuard};
use crate::host::{HostError, LinuxHost};
use crate::model::{Attachments, GivenOver, InterfaceName, Network};
use crate::plan::{Backend, Line, RouteInterest};
use crate::status::{Repairs, Status, metrics};
use crate::store::folder::Folder;

fn network_name(session: &Session) -> Result<InterfaceName, Fault> {
    session.network_name()?.ok_or_else(|| Fault::usage("an agent of `up` needs --network", ""))
}

/// Starts the agent of an `up`, and another one when it dies; `is_final` says with which codes it is left dead. Returns whether
/// all ended well.
///
/// # Errors
/// It cannot be started.
pub fn supervised(session: &Session, mtu: u16, is_final: impl Fn(i32) -> bool) -> Result<bool, Fault> {
    let name = network_name(session)?;
    leave_session(Part::Agent, &name);
    give_up_rights(&session.dir);
    let words = app::agent_command(&session.dir, &name)?;
    let agent = |more: &[&str]| {
        let mut command = detached(&words[0]);
        command.args(&words[1..]).args(more);
        command
    };
    let mtu_text = mtu.to_string();
    // Without an interface to make, it brings up what is on record.
    let first = if mtu == 0 { agent(&["--resume"]) } else { agent(&["--host", &mtu_text]) };
    let code = supervise(first, || agent(&["--resume"]), is_final)
        .map_err(|e| Fault::failed(format!("cannot start the agent of {name}: {e}"), ""))?;
    Ok(code == 0)
}

/// Hosts the embedded device for an `up` that holds the lock and waits. Returns whether all ended well.
///
/// # Errors
/// The device cannot be made, or ended by itself.
pub fn attached(session: &Session, mtu: u16) -> Result<bool, Fault> {
    let name = network_name(session)?;
    let runtime = Runtime::here(&name)?;
    let alive = AgentLock::take(&runtime)?;
    let device = LocalDevice::of(&runtime);
    device.start(&name, mtu)?;
    ends_with_its_up(session, &runtime, &device);
    let end = serve(Looking::new(session, &name, &runtime, Some(device)).serving())?;
    finish(session, &name, &runtime, None, &end, alive)
}

/// Ends the device of an `up` that was killed, where `down` took the network away before this agent was there to be found. What is
/// on record is for the next command.
fn ends_with_its_up(session: &Session, runtime: &Runtime, device: &LocalDevice) {
    let (dir, runtime, device) = (session.dir.clone(), runtime.clone(), device.clone());
    let look = move || {
        // It waits until that `up` is over, however it ends.
        loop {
            match runtime.lock_to_apply() {
                Ok(_on_host) => {
                    if matches!(runtime.read_applied(&dir), Ok(None)) {
                        tracing::warn!("nothing is applied here any more: the agent ends");
                        device.stop();
                        let _of_this_agent_alone = runtime.remove();
                        // With the lock: whoever comes next finds nothing that is about to go.
                        std::process::exit(0);
                    }
                    return;
                }
                Err(_) => std::thread::sleep(std::time::Duration::from_secs(1)),
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("orphan".into()).spawn(look) {
        tracing::warn!("nobody looks whether the `up` of this agent lives: {error}");
    }
}

/// Goes on where the agent before died: brings up what was applied, unless somebody took it down, or brought it up, meanwhile.
/// Returns whether all ended well.
///
/// # Errors
/// It cannot be brought up, or the device ended by itself.
pub fn resumed(session: &Session) -> Result<bool, Fault> {
    let name = network_name(session)?;
    let folder = Folder::new(&session.dir, &name);
    let runtime = Runtime::here(&name)?;
    let (alive, device);
    {
        let on_host = runtime.lock_to_apply()?;
        let applied = runtime
            .read_applied(&session.dir)?
            .filter(|applied| !applied.configuration.network_text.is_empty());
        let Some(applied) = applied else { return Ok(true) };
        let is_embedded = applied.configuration.backend == Backend::Embedded;
        if runtime.agent_pid().is_some() {
            return Ok(true);
        }
        alive = AgentLock::take(&runtime)?;
        let target = {
            let _read = folder.lock_to_apply()?;
            app::recorded_target(&session.dir, &folder, &applied)?
        };
        if !is_embedded && target.this().floating.is_none() {
            return Ok(true);
        }
        device = is_embedded.then(|| LocalDevice::of(&runtime));
        let mut host = machine(device.as_ref())?;
        app::up(&mut host, &target, &runtime, applied.configuration.backend, session.now, &on_host)?;
    }
    tracing::info!("{name} is up again");
    let end = serve(Looking::new(session, &name, &runtime, device.clone()).serving())?;
    finish(session, &name, &runtime, device.as_ref(), &end, alive)
}

/// Brings the network up, holds it, and takes it down at the end. Returns whether all ended well.
///
/// # Errors
/// It cannot be brought up, or the device ended by itself.
pub fn foreground(
    session: &Session,
    choice: BackendChoice,
    metrics_at: Option<SocketAddr>,
) -> Result<bool, Fault> {
    let hangs_up = !ignores_hangup();
    give_up_rights(&session.dir);
    let folder = session.folder()?;
    let name = folder.name().clone();
    let runtime = Runtime::here(&name)?;
    app::refuse_other_dir(session, &name, &runtime)?;
    let listener = match metrics_at.map(|at| listener_at(session, at)).transpose() {
        // Nobody is there to choose another port, and packets matter more than counting them.
        Err(fault) if systemd::waits() => {
            session.tell(Event::Failed(fault));
            None
        }
        other => other?,
    };
    let alive = AgentLock::take(&runtime)?;
    let device;
    {
        let on_host = runtime.lock_to_apply()?;
        // Whoever had it may have brought up another folder's network.
        app::refuse_other_dir(session, &name, &runtime)?;
        let (target, last) = {
            let _read = folder.lock_to_apply()?;
            app::to_run(session, &folder, &runtime)?
        };
        let choice = match (choice, last) {
            // A kernel that lost its WireGuard since must not keep the network down.
            (BackendChoice::Auto, Some(Backend::Embedded)) => BackendChoice::Only(Backend::Embedded),
            (choice, _) => choice,
        };
        let (_, backend) =
            app::host_for(app::host(&runtime, &[])?, &runtime, &[], &session.dir, &name, choice)?;
        device = (backend == Backend::Embedded).then(|| LocalDevice::of(&runtime));
        let mut host = machine(device.as_ref())?;
        let done = app::up(&mut host, &target, &runtime, backend, session.now, &on_host)?;
        session.tell(Event::Up { network: name.clone(), node: target.node.clone(), backend });
        done.problems.iter().for_each(|problem| session.warn(problem));
        if folder.read_network().is_ok_and(|bytes| bytes != target.text.as_bytes()) {
            session.tell(Event::NewerFile);
        }
    }
    systemd::notify_ready();
    let looking = Looking::new(session, &name, &runtime, device.clone());
    let metrics = listener.map(|listener| looking.metrics(listener));
    let end = serve(Serving { metrics, hangs_up, ..looking.serving() })?;
    finish(session, &name, &runtime, device.as_ref(), &end, alive)
}

/// Takes the network down after a signal; whoever asked over the socket does so himself.
fn finish(
    session: &Session,
    name: &InterfaceName,
    runtime: &Runtime,
    device: Option<&LocalDevice>,
    end: &End,
    alive: AgentLock,
) -> Result<bool, Fault> {
    match end {
        End::Stopped => Ok(true),
        End::Signal => {
            let on_host = runtime.lock_to_apply()?;
            let mut host = machine(device)?;
            let done = app::down(&mut host, &session.dir, name, runtime, &on_host)?;
            // The folder counts as a living agent's until the lock is given back.
            drop(alive);
            if done.errors.is_empty() {
                runtime.remove()?;
            }
            let is_down = done.errors.is_empty();
            done.errors
                .into_iter()
                .chain(done.hook)
                .for_each(|error| session.tell(Event::Failed(error.into())));
            Ok(is_down)
        }
        End::Device(why) => Err(Fault::failed(
            format!("the embedded data plane of {name} ended: {why}"),
            "`wgrelay up` starts it again",
        )),
    }
}

/// Says whether whoever started this process wants it to outlive its terminal, as nohup(1) does.
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
fn listener_at(session: &Session, at: SocketAddr) -> Result<TcpListener, Fault> {
    let (listener, is_there) = listen_at(at).map_err(|e| {
        Fault::failed(format!("metrics cannot be served at {at}: {e}"), "choose another address or port")
    })?;
    if !is_there {
        session.tell(Event::AddressMissing(at.ip()));
    }
    Ok(listener)
}

/// What the agent looks at the host with, again and again: for its own repairs, for `status` and for metrics.
#[derive(Clone)]
pub(super) struct Looking {
    pub(super) session: Session,
    pub(super) name: InterfaceName,
    pub(super) runtime: Runtime,
    pub(super) device: Option<LocalDevice>,
    pub(super) cache: TargetCache,
    /// What the agent had to repair of late.
    repairs: Arc<Mutex<Repairs>>,
    /// Who changed our table last.
    author: LastAuthor,
    /// Which relay carries, and what is asked about that.
    pub(super) told: Told,
    /// Who carries a relay that several hosts can carry.
    pub(super) lease: floating::Known,
}

impl Looking {
    fn new(session: &Session, name: &InterfaceName, runtime: &Runtime, device: Option<LocalDevice>) -> Self {
        Self {
            session: session.clone(),
            name: name.clone(),
            runtime: runtime.clone(),
            device,
            cache: TargetCache::default(),
            repairs: Arc::default(),
            author: LastAuthor::default(),
            told: Told::default(),
            lease: floating::Known::default(),
        }
    }

    /// Reads the network that is applied.
    pub(super) fn target(&self) -> Option<app::Target> {
        let folder = Folder::new(&self.session.dir, &self.name);
        Some(self.cache.recorded(&self.session.dir, &folder, &self.runtime).ok()??.1)
    }

    /// Reads where spokes are, as it is on record.
    pub(super) fn attached(&self) -> Attachments {
        let folder = Folder::new(&self.session.dir, &self.name);
        let recorded = self.cache.recorded(&self.session.dir, &folder, &self.runtime);
        recorded.ok().flatten().map(|(applied, _)| applied.attached.clone()).unwrap_or_default()
    }

    /// Reads which sites are given over, as it is on record.
    pub(super) fn given_over(&self) -> GivenOver {
        let folder = Folder::new(&self.session.dir, &self.name);
        let recorded = self.cache.recorded(&self.session.dir, &folder, &self.runtime);
        recorded.ok().flatten().map(|(applied, _)| applied.given_over.clone()).unwrap_or_default()
    }

    /// Opens the machine.
    pub(super) fn machine(&self) -> Result<LinuxHost, HostError> {
        machine(self.device.as_ref())
    }

    /// Reads the device; `None`: it is gone, or does not tell.
    pub(super) fn report(&self) -> Option<DeviceReport> {
        match &self.device {
            Some(device) => device.report().ok(),
            None => KernelWireGuard::open().and_then(|mut kernel| kernel.report(&self.name)).ok().flatten(),
        }
    }

    /// Changes the device.
    pub(super) fn configure(&self, change: &DeviceChange) -> Result<(), HostError> {
        match &self.device {
            Some(device) => WireGuard::configure(&mut device.clone(), &self.name, change),
            None => KernelWireGuard::open().and_then(|mut kernel| kernel.configure(&self.name, change)),
        }
    }

    fn serving(self) -> Serving {
        traffic::keep(self.clone());
        let recorded = self.runtime.read_applied(&self.session.dir).ok().flatten();
        self.told.set_drains(recorded.is_some_and(|applied| applied.drains));
        failover::keep(self.clone());
        floating::keep(self.clone());
        Serving {
            network: self.name.clone(),
            runtime: self.runtime.clone(),
            device: self.device.clone(),
            reconcile: self.clone().reconcile(),
            concern: self.clone().concern(),
            author: self.author.clone(),
            glance: self.clone().glance(),
            follow: self.clone().follow(),
            drain: failover::drain(self.clone()),
            status: self.tell(),
            metrics: None,
            hangs_up: false,
        }
    }

    pub(super) fn status(&self) -> Result<Status, Fault> {
        let open = || machine(self.device.as_ref());
        let session = self.session.later();
        let mut status = app::read_status(&session, &self.name, &self.runtime, &self.cache, open)?;
        let mut repairs = self.repairs();
        status.repairs_in_a_minute = Some(repairs.in_a_minute(session.now));
        status.repaired_after = repairs.others(session.now);
        status.problems.extend(repairs.problem(&self.name, session.now));
        self.told.complete(&mut status);
        self.lease.complete(&mut status);
        Ok(status)
    }

    fn repairs(&self) -> MutexGuard<'_, Repairs> {
        self.repairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(self) -> StatusProvider {
        Arc::new(move |dir| {
            if *dir != self.session.dir {
                return Err("this agent serves another folder".into());
            }
            let status = self.status().map_err(|fault| fault.sentence())?;
            let json = serde_json::to_vec_pretty(&status).map_err(|e| e.to_string())?;
            Ok(StatusReply { state: status.state, json })
        })
    }

    /// Each time somebody asks, the host is looked at as `status` looks at it.
    fn metrics(&self, listener: TcpListener) -> Metrics {
        let looking = self.clone();
        let render =
            move || looking.status().map(|status| metrics(&status)).map_err(|fault| fault.sentence());
        Metrics { listener, render: Arc::new(render) }
    }

    /// Asked for each route that somebody sets: what matters is worked out once for each network.
    fn concern(self) -> Concern {
        let known: Mutex<Option<(Arc<Network>, RouteInterest)>> = Mutex::default();
        Arc::new(move |route| {
            let folder = Folder::new(&self.session.dir, &self.name);
            let recorded = self.cache.recorded(&self.session.dir, &folder, &self.runtime);
            let Ok(Some((applied, target))) = recorded else { return true };
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let known = match known.take() {
                Some(kept) if Arc::ptr_eq(&kept.0, &target.network) => known.insert(kept),
                _ => {
                    let peers = applied.state.device.iter().flat_map(|d| d.peers.values());
                    let called = peers.filter_map(|p| p.endpoint).map(|endpoint| endpoint.ip());
                    let interest = RouteInterest::of(&target.network, target.this(), called);
                    known.insert((Arc::clone(&target.network), interest))
                }
            };
            known.1.concerns(route)
        })
    }

    fn follow(self) -> Box<dyn FnOnce() + Send> {
        let device = self.device;
        let follower = Follower::new(self.session, self.name, self.runtime, move || machine(device.as_ref()));
        Box::new(move || follower.run())
    }

    fn glance(self) -> Glance {
        Arc::new(move || {
            let now = self.session.later().now;
            app::glance(&self.session.dir, &self.name, &self.runtime, &self.cache, now)
        })
    }

    fn reconcile(self) -> Reconcile {
        Arc::new(move |extent| {
            // What is repaired now is what they did; our own changes come after.
            let table = self.author.take();
            let device = self.device.as_ref().and_then(LocalDevice::take_author);
            let look = || {
                let mut host = machine(self.device.as_ref())?;
                let now = self.session.later().now;
                let (dir, name) = (&self.session.dir, &self.name);
                app::reconcile(&mut host, dir, name, &self.runtime, &self.cache, now, extent)
            };
            let repair = match look() {
                Ok(Reconciled::Nothing) => return (Looked::Right, false),
                Ok(Reconciled::Busy) => return (Looked::Busy, false),
                Ok(Reconciled::Looked(repair)) => repair,
                Err(error) => {
                    return (Looked::Failed { why: error.to_string(), restricted: false }, false);
                }
            };
            let by = |line: &Line| match line.kind.as_str() {
                "nft-table" | "nft-set" => table.clone(),
                "peer" => device.clone(),
                "interface" if line.target == "settings" => device.clone(),
                _ => None,
            };
            let (first, repaired) = (repair.lines.first().and_then(&by), !repair.lines.is_empty());
            self.repairs().note(&repair.lines, first, self.session.later().now);
            for line in repair.lines {
                let by = by(&line).unwrap_or_else(|| "unknown".into());
                tracing::info!(kind = line.kind, target = line.target, changed_by = by, "repaired");
            }
            let looked = match repair.failed {
                None => Looked::Right,
                Some(error) => Looked::Failed { why: error.to_string(), restricted: repair.restricted },
            };
            (looked, repaired)
        })
    }
}
