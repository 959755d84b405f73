//! The procedures of `service`: the network starts at boot. And what `up` and the agent have to do with it.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::backend::BackendChoice;
use super::fault::Fault;
use super::look::recorded_target;
use super::other_dir;
use super::session::Session;
use super::target::Target;
use super::this_host::target;
use super::wsl::wsl_advice;
use crate::export::unit::Unit;
use crate::host::agent_process::Runtime;
use crate::host::boot_config;
use crate::host::examine::{is_wsl, uses_iptables_legacy};
use crate::host::name_servers;
use crate::host::systemd::{Absent, Systemd, unit_name};
use crate::model::{InterfaceName, NodeName, Problem};
use crate::plan::{Backend, Change, Plan};
use crate::store::folder::Folder;

/// Lower ports are for root, or for who has a right for it.
const FIRST_HIGH_PORT: u16 = 1024;

/// A unit that was installed.
#[derive(Debug)]
pub struct Installed {
    /// The network.
    pub network: InterfaceName,
    /// The node that this host is.
    pub node: NodeName,
    /// The unit's name.
    pub unit: String,
    /// The file that was written; `None`: a package's serves.
    pub file: Option<PathBuf>,
    /// Whether systemd runs the agent now.
    pub is_running: bool,
    /// What the running agent has to do with it.
    pub agent: AgentNow,
    /// What else is to be known.
    pub problems: Vec<Problem>,
}

/// What the agent of now has to do with a unit that was installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentNow {
    /// The network is down.
    Down,
    /// It is the unit's.
    OfThisUnit,
    /// It is the unit's as it was before.
    OfThisUnitBefore,
    /// It is somebody else's; systemd has the next one.
    Other,
}

/// Installs the unit of a network.
///
/// # Errors
/// There is no systemd to install it in, or the network could not be brought up.
pub fn install_service(
    session: &Session,
    backend: BackendChoice,
    metrics: Option<SocketAddr>,
) -> Result<Installed, Fault> {
    let loaded = session.load_network()?;
    // What could not be brought up now will not come up unattended.
    let target = target(session, &loaded)?;
    // Where nothing can be brought up, no systemd would help.
    let problems = wsl_advice(&loaded.network, target.this())?;
    let systemd = systemd()?;
    let name = loaded.network.name.clone();
    let runtime = Runtime::here(&name)?;
    other_dir::refuse(session, &name, &runtime)?;
    let asks = target.network.asks_others(target.this(), session.now).then_some(crate::failover::PORT);
    let listens_on = [target.this().listen_port(), metrics.map(|at| at.port()), asks];
    let low_port = listens_on.into_iter().flatten().any(|port| port < FIRST_HIGH_PORT);
    let unit = Unit {
        metrics,
        low_port,
        legacy: uses_iptables_legacy(),
        announces: target.this().floating.is_some(),
        name_servers: !target.this().dns.is_empty() && name_servers::are_kept_in_etc(),
        ..unit(session, &name, backend)?
    };
    if let Some(path) = unit.unfit() {
        return Err(Fault::failed(
            format!(
                "{path:?} cannot be written into a unit: it is not UTF-8, or has a line break or the like in it"
            ),
            "use a folder with a plain name",
        ));
    }
    let installed = systemd.install(&name, &unit)?;
    let is_up = runtime.read_applied(&session.dir)?.is_some();
    // An agent that carries packets stays as it is: handing over would drop every session.
    let starts = is_up && runtime.agent_pid().is_none();
    if starts {
        systemd.start(&name)?;
    }
    let is_running = systemd.is_active(&name);
    let agent = match (is_up, is_running) {
        (false, _) => AgentNow::Down,
        (true, false) => AgentNow::Other,
        (true, true) if installed.is_another && !starts => AgentNow::OfThisUnitBefore,
        (true, true) => AgentNow::OfThisUnit,
    };
    Ok(Installed {
        unit: unit_name(&name),
        network: name,
        node: target.node.clone(),
        file: installed.file,
        is_running,
        agent,
        problems,
    })
}

/// A unit that was removed.
#[derive(Debug)]
pub struct Removed {
    /// The network.
    pub network: InterfaceName,
    /// The unit's name.
    pub unit: String,
    /// Whether there was one.
    pub was_there: bool,
    /// Whether the network is up, and stays so.
    pub is_up: bool,
}

/// Removes the unit of a network, also where the network's folder is gone.
///
/// # Errors
/// There is no systemd here, or the unit cannot be removed.
pub fn remove_service(session: &Session) -> Result<Removed, Fault> {
    let systemd = Systemd::here().map_err(|absent| {
        let hint = match absent {
            Absent::NotBooted => "whatever starts `wgrelay run` here is to be told not to",
            Absent::Elsewhere => "run it on the host itself",
        };
        Fault::failed(format!("there is no unit here to remove: {absent}"), hint)
    })?;
    let name = match session.network_name()? {
        Some(name) => name,
        None => session.folder()?.name().clone(),
    };
    let was_there = systemd.remove(&name)?;
    let is_up = Runtime::here(&name)?.read_applied(&session.dir)?.is_some();
    Ok(Removed { unit: unit_name(&name), network: name, was_there, is_up })
}

fn systemd() -> Result<Systemd, Fault> {
    Systemd::here().map_err(|absent| {
        let hint = match absent {
            Absent::NotBooted => {
                "let whatever starts services here run `wgrelay run`; on WSL, `[boot] systemd=true` in /etc/wsl.conf"
            }
            Absent::Elsewhere => "run it on the host itself; in a container, start `wgrelay run` with it",
        };
        Fault::failed(format!("no unit can be installed: {absent}"), hint)
    })
}

/// Returns the unit for a network as this session has it.
fn unit(session: &Session, name: &InterfaceName, backend: BackendChoice) -> Result<Unit, Fault> {
    let fault = |e: std::io::Error| Fault::failed(format!("cannot tell where this is: {e}"), "");
    let program = std::env::current_exe().map_err(fault)?;
    Ok(Unit {
        program,
        dir: std::path::absolute(&session.dir).map_err(fault)?,
        network: Some(name.to_string()),
        node: session.node_as_typed().map(ToString::to_string),
        backend: match backend {
            BackendChoice::Auto => None,
            BackendChoice::Only(backend) => Some(backend.to_string()),
        },
        metrics: None,
        legacy: false,
        announces: false,
        low_port: false,
        name_servers: false,
        wsl: is_wsl(),
    })
}

/// Returns the systemd that is to run a network's agent: where its unit is enabled and nobody runs one.
pub(super) fn waiting(runtime: &Runtime, name: &InterfaceName) -> Option<Systemd> {
    let systemd = Systemd::here().ok()?;
    (runtime.agent_pid().is_none() && systemd.is_enabled(name) && !systemd.is_active(name)).then_some(systemd)
}

/// Reads what `run` is to bring up: what was last up, where its keys are still the ones of today; else the file.
/// So a file that is being edited when the power fails keeps nobody out. A change on trial goes on while it waits.
pub(crate) fn to_run(
    session: &Session,
    folder: &Folder,
    runtime: &Runtime,
) -> Result<(Target, Option<Backend>), Fault> {
    if let (Some(_), Some(applied)) =
        (runtime.unconfirmed(&session.dir)?, runtime.read_applied(&session.dir)?)
        && let Ok(target) = recorded_target(&session.dir, folder, &applied)
    {
        return Ok((target, Some(applied.configuration.backend)));
    }
    let kept = boot_config::read(folder).and_then(|last| {
        let (network, secrets) = session.load_as_it_was(folder, &last.network_text)?;
        let node = session.node_as_typed().unwrap_or(&last.node);
        let target = Target::new(session.dir.clone(), network, last.network_text.as_str(), node, &secrets)?;
        target.keys.private_key.is_some().then_some((target, last.backend))
    });
    match kept {
        Some((target, backend)) => Ok((target, Some(backend))),
        None => Ok((target(session, &session.load_from(folder.clone())?)?, None)),
    }
}

/// Says whether a network came up just now that a restart of this host would leave down.
pub fn restart_leaves_down(name: &InterfaceName, plan: &Plan) -> bool {
    let is_new = plan.changes.iter().any(|c| matches!(c, Change::CreateDevice { .. }));
    is_new && Systemd::here().is_ok_and(|systemd| !systemd.is_enabled(name))
}
