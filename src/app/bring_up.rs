//! The procedure of `up`: install the bundle, refuse what must be refused, choose the data plane, begin the trial, apply,
//! and leave it to the agent.

use std::path::{Path, PathBuf};

use super::backend::{BackendChoice, end_outdated, host, host_ahead, host_for};
use super::cluster;
use super::commit_confirm::{CommitConfirm, roll_back_if_expired};
use super::event::{Event, Work};
use super::fault::Fault;
use super::other_dir;
use super::preflight::promises;
use super::refused::hold_as_applied;
use super::service;
use super::session::{Loaded, Session};
use super::target::Target;
use super::this_host::{agent_command, read_with_machine, target};
use super::up::{Refusal, Up, plan, refused, up};
use crate::config::Bundle;
use crate::host::agent_process::Runtime;
use crate::host::boot_config;
use crate::host::configuration::Configuration;
use crate::host::host_lock::HostLock;
use crate::host::systemd::Systemd;
use crate::host::wireguard::embedded::{Embedded, is_outdated};
use crate::host::{Host as _, LinuxHost, rolled_back};
use crate::model::{InterfaceName, NodeName};
use crate::plan::{Backend, Plan, ifalias};
use crate::store::InstalledBundle;
use crate::store::cluster::Place;
use crate::store::files;
use crate::store::folder::Folder;

/// How a network is to be brought up.
#[derive(Debug, Clone)]
pub struct BringUp {
    /// A bundle to install first.
    pub bundle: Option<PathBuf>,
    /// The data plane.
    pub backend: BackendChoice,
    /// Whether promises may be broken.
    pub force: bool,
    /// How many seconds it waits for a confirmation; `None`: it needs none.
    pub confirm: Option<u32>,
}

/// A network that was brought up.
#[derive(Debug)]
pub struct BroughtUp {
    /// The network.
    pub network: InterfaceName,
    /// The node that this host is.
    pub node: NodeName,
    /// What was done.
    pub done: Up,
    /// How many seconds it waits for a confirmation now; `None`: it waits for none.
    pub rolls_back_in: Option<u64>,
}

impl BroughtUp {
    /// Returns the program's JSON.
    pub fn json(&self) -> serde_json::Value {
        let Self { network, node, done, rolls_back_in } = self;
        serde_json::json!({
            "version": 1, "network": network, "node": node, "backend": done.backend,
            "state": if done.problems.is_empty() { "up" } else { "degraded" },
            "changes": done.plan.lines(), "problems": done.problems, "goes_back_in": rolls_back_in,
        })
    }
}

/// Makes this host match the network.
///
/// # Errors
/// It was refused, or failed; what had been changed was undone, as far as the fault does not say otherwise.
pub fn bring_up(session: &Session, asked: &BringUp) -> Result<BroughtUp, Fault> {
    let folder = match &asked.bundle {
        Some(file) => install_bundle(session, file)?,
        None => {
            let folder = session.folder()?;
            cluster::before_up(session, &folder)?;
            folder
        }
    };
    let name = folder.name().clone();
    let runtime = Runtime::here(&name)?;
    other_dir::refuse(session, &name, &runtime)?;
    let on_host = lock_host(session, &name, &runtime)?;
    roll_back_if_expired(session, &name, &runtime, &on_host)?;
    let ready = match Ready::of(session, asked, folder.clone(), runtime.clone(), &on_host) {
        Ok(ready) => ready,
        Err(NotReady::Refused(refusal)) => {
            let before = boot_config::kept(&folder);
            return Err(put_back_refused(session, &folder, before.as_deref(), None, refusal, &on_host));
        }
        Err(NotReady::Fault(fault)) => {
            return Err(hold_as_applied(session, &folder, &runtime, fault, &on_host));
        }
    };
    let work = session.begin(Work::BringingUp { network: name, nodes: ready.loaded.network.nodes.len() });
    let brought_up = ready.apply(session, asked.confirm, on_host)?;
    drop(work);
    Ok(brought_up)
}

/// All that is known before the first change.
struct Ready {
    runtime: Runtime,
    loaded: Loaded,
    target: Target,
    host: LinuxHost,
    backend: Backend,
    /// The systemd that is to run the network's agent.
    systemd: Option<Systemd>,
}

/// Why it is not known what to do.
enum NotReady {
    /// This host cannot take the network; what restricts is done.
    Refused(Refusal),
    /// It is not known what is wanted, or may not be.
    Fault(Fault),
}

impl<E: Into<Fault>> From<E> for NotReady {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

impl Ready {
    fn of(
        session: &Session,
        asked: &BringUp,
        folder: Folder,
        runtime: Runtime,
        on_host: &HostLock,
    ) -> Result<Self, NotReady> {
        let name = folder.name().clone();
        let command = agent_command(&session.dir, &name)?;
        let ((loaded, target), host) = read_with_machine(&runtime, &command, &name, || {
            // Nobody writes while it is read; from then on they may, and what they write is the next `up`'s.
            let _read = session.lock_to_apply(&folder)?;
            let loaded = session.load_from(folder)?;
            loaded.warnings.iter().for_each(|warning| session.warn(warning));
            promises(session, &loaded, asked.force)?;
            let target = target(session, &loaded)?;
            Ok((loaded, target))
        })?;
        let (mut host, backend) = host_for(host, &runtime, &command, &session.dir, &name, asked.backend)?;
        if backend == Backend::Embedded && is_outdated(&runtime) {
            // Not where the network could not come up again.
            plan(&mut host, &target, &runtime, backend, session.now).map_err(|refusal| {
                NotReady::Refused(refused(&mut host, refusal, &target, &runtime, session.now, on_host))
            })?;
            if end_outdated(&name, &runtime)? {
                session.tell(Event::AgentReplaced);
                host = host_ahead(&runtime, &command, &name)?;
            }
        }
        let systemd = service::waiting(&runtime, &name);
        Ok(Self { runtime, loaded, target, host, backend, systemd })
    }

    fn apply(
        mut self,
        session: &Session,
        confirm: Option<u32>,
        on_host: HostLock,
    ) -> Result<BroughtUp, Fault> {
        let name = self.loaded.network.name.clone();
        let pending = confirm
            .map(|seconds| {
                CommitConfirm::begin(session, &name, &self.runtime, &mut self.host, seconds, &on_host)
            })
            .transpose()?;
        let before = boot_config::kept(&self.loaded.folder);
        let applied = match self.systemd.take() {
            Some(systemd) if self.backend == Backend::Embedded => {
                self.by_unit(session, &systemd, pending.as_ref(), before.as_deref(), on_host)
            }
            systemd => self.by_this_process(session, systemd, pending.as_ref(), before.as_deref(), on_host),
        };
        let (done, rolls_back_in) = applied?;
        // Whether it stays or goes back, it is the last change now.
        rolled_back::forget(&self.loaded.folder);
        Ok(BroughtUp { network: name, node: self.target.node.clone(), done, rolls_back_in })
    }

    /// Lets the unit's agent bring the network up: it is the one that carries the packets.
    fn by_unit(
        &mut self,
        session: &Session,
        systemd: &Systemd,
        pending: Option<&CommitConfirm>,
        before: Option<&[u8]>,
        on_host: HostLock,
    ) -> Result<(Up, Option<u64>), Fault> {
        let folder = self.loaded.folder.clone();
        let put_back =
            |fault, on_host: &HostLock| put_back(session, &folder, before, pending, fault, on_host);
        let (target, runtime, now) = (&self.target, &self.runtime, session.now);
        let (plan, problems) =
            plan(&mut self.host, target, runtime, self.backend, now).map_err(|refusal| {
                let refusal = refused(&mut self.host, refusal, target, runtime, now, &on_host);
                put_back_refused(session, &folder, before, pending, refusal, &on_host)
            })?;
        remember(&self.configuration(), &folder).map_err(|fault| put_back(fault, &on_host))?;
        drop(on_host);
        let started = systemd.start(folder.name());
        let on_host = lock_host(session, folder.name(), &self.runtime)?;
        started.map_err(|error| put_back(error.into(), &on_host))?;
        if pending.is_some() {
            // A restart brings back what was kept.
            boot_config::put_back(before, &folder)?;
        }
        let rolls_back_in = conclude(session, &self.runtime, pending, &plan, &on_host)?;
        Ok((Up { plan, backend: self.backend, problems }, rolls_back_in))
    }

    fn by_this_process(
        &mut self,
        session: &Session,
        systemd: Option<Systemd>,
        pending: Option<&CommitConfirm>,
        before: Option<&[u8]>,
        on_host: HostLock,
    ) -> Result<(Up, Option<u64>), Fault> {
        let folder = &self.loaded.folder;
        if pending.is_none() {
            remember(&self.configuration(), folder)?;
        }
        let done = up(&mut self.host, &self.target, &self.runtime, self.backend, session.now, &on_host)
            .map_err(|refusal| put_back_refused(session, folder, before, pending, refusal, &on_host))?;
        let rolls_back_in = conclude(session, &self.runtime, pending, &done.plan, &on_host)?;
        drop(on_host);
        if let Some(systemd) = systemd {
            systemd.start(folder.name())?;
        } else if self.target.this().floating.is_some() && self.runtime.agent_pid().is_none() {
            // Whether this host carries anything is its agent's to find out.
            let command = agent_command(&session.dir, folder.name())?;
            Embedded::new(self.runtime.clone(), command).start_standing_by()?;
        }
        Ok((done, rolls_back_in))
    }

    fn configuration(&self) -> Configuration {
        let Target { node, text, .. } = &self.target;
        Configuration { node: node.clone(), backend: self.backend, network_text: text.to_string() }
    }
}

/// Puts back what a restart of the host brings up, and the trial that stood, because nothing was changed.
fn put_back(
    session: &Session,
    folder: &Folder,
    before: Option<&[u8]>,
    pending: Option<&CommitConfirm>,
    fault: Fault,
    on_host: &HostLock,
) -> Fault {
    if let Err(error) = boot_config::put_back(before, folder) {
        let hint = error.hint();
        session.tell(Event::Failed(Fault::failed(error, hint)));
    }
    if let Some(Err(fault)) = pending.map(|pending| pending.call_off(on_host)) {
        session.tell(Event::Failed(fault));
    }
    fault
}

/// The same, but for what this host is held to from here on, which a restart of it brings up, too.
fn put_back_refused(
    session: &Session,
    folder: &Folder,
    before: Option<&[u8]>,
    pending: Option<&CommitConfirm>,
    refusal: Refusal,
    on_host: &HostLock,
) -> Fault {
    let held = match &refusal {
        Refusal::Problems(_, restricted) => restricted.held.clone(),
        _ => None,
    };
    let fault = put_back(session, folder, before, pending, refusal.into(), on_host);
    if let (Some(held), Some(_)) = (held, before)
        && let Err(error) = boot_config::write(&held, folder)
    {
        let hint = error.hint();
        session.tell(Event::Failed(Fault::failed(error, hint)));
    }
    fault
}

/// Takes the right to change the network on this host. Whoever had it may have brought up another folder's network.
pub(super) fn lock_host(
    session: &Session,
    name: &InterfaceName,
    runtime: &Runtime,
) -> Result<HostLock, Fault> {
    let work = session.begin(Work::WaitingForHost(name.clone()));
    let lock = runtime.lock_to_apply()?;
    drop(work);
    other_dir::refuse(session, name, runtime)?;
    Ok(lock)
}

/// Lets a trial's time begin, and returns its seconds; an `up` without a condition keeps what it did and what waited.
fn conclude(
    session: &Session,
    runtime: &Runtime,
    pending: Option<&CommitConfirm>,
    plan: &Plan,
    on_host: &HostLock,
) -> Result<Option<u64>, Fault> {
    if let Some(pending) = pending {
        return pending.begin_waiting(plan, on_host);
    }
    if runtime.unconfirmed(&session.dir)?.is_some() {
        session.tell(Event::Kept);
    }
    runtime.end_commit_confirm(on_host)?;
    Ok(None)
}

/// Writes for a restart of the host what is to be applied, before it is: a disk that is full or read-only is told while
/// nothing is changed, and where the power fails in between, the restart does what was asked for.
fn remember(configuration: &Configuration, folder: &Folder) -> Result<(), Fault> {
    boot_config::write(configuration, folder).map_err(|e| Fault::failed(&e, e.hint()).unchanged())
}

/// Installs a bundle: the network as this node needs it, and its secrets.
pub(super) fn install_bundle(session: &Session, file: &Path) -> Result<Folder, Fault> {
    let bytes = files::read_secret(file)?;
    let parsed = Bundle::parse(bytes.as_bytes(), &file.display().to_string());
    let Some(bundle) = parsed.value else { return Err(Fault::invalid(parsed.problems)) };
    if let Some(asked) = session.network_as_typed()
        && asked != bundle.network.name.as_str()
    {
        return Err(Fault::usage(
            format!("the bundle holds the network {}, and --network says {asked}", bundle.network.name),
            "leave --network out",
        ));
    }
    let folder = Folder::new(&session.dir, &bundle.network.name);
    if folder.exists() && folder.installed_node()?.is_none() {
        return Err(Fault::failed(
            format!("{} holds a network that did not come in a bundle", folder.path().display()),
            "it is kept: use another --dir, or remove that folder first",
        ));
    }
    other_dir::refuse(session, &bundle.network.name, &Runtime::here(&bundle.network.name)?)?;
    refuse_foreign(&bundle.network.name)?;
    let secrets = bundle.secrets.render();
    let mark = InstalledBundle { this: bundle.this.clone(), made_from: bundle.made_from.clone() };
    let note = session.note(format!("installed the bundle of {}", bundle.this));
    folder.install(&bundle.network_text, &secrets, &mark, note)?;
    if let Some(keys) = &bundle.member_keys
        && !Place::of(folder.path()).take_keys(&keys.0)?
    {
        return Err(Fault::failed(
            format!("the member_keys of {} are none", file.display()),
            format!("export {} again, on a host that carries it", bundle.this),
        ));
    }
    Ok(folder)
}

/// Refuses before anything is installed where an interface of the network's name is somebody else's.
fn refuse_foreign(name: &InterfaceName) -> Result<(), Fault> {
    let runtime = Runtime::here(name)?;
    let mut host = host(&runtime, &[])?;
    let facts = host.facts(&Default::default(), &Default::default())?;
    match facts.links.get(name.as_str()) {
        Some(link) if link.alias != ifalias(name) && runtime.agent_pid().is_none() => Err(Fault::failed(
            format!(
                "the bundle's network is {name}, and this host has an interface {name} that wgrelay did not make"
            ),
            "nothing was installed: release that interface, or give the network another name where the bundle is made",
        )),
        _ => Ok(()),
    }
}
