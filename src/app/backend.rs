//! Which data plane to use, and the host that speaks to it.

use std::path::Path;

use super::orphan::clear_orphan;
use crate::host::HostError;
use crate::host::LinuxHost;
use crate::host::agent_process::Runtime;
use crate::host::docker::Engine;
use crate::host::wireguard::WireGuard as _;
use crate::host::wireguard::embedded::{Embedded, is_outdated, is_responsive};
use crate::host::wireguard::kernel_probe;
use crate::model::InterfaceName;
use crate::plan::{Backend, Facts, WslMode, ifalias};

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendChoice {
    /// The one in use, else the kernel's where it can be made and hears packets, else the embedded one.
    Auto,
    /// This one.
    Only(Backend),
}

/// Returns the data plane of our interface on this host, if there is one.
pub fn in_use(network: &InterfaceName, facts: &Facts) -> Option<Backend> {
    let link = facts.links.get(network.as_str()).filter(|l| l.alias == ifalias(network))?;
    Some(if link.kind == "wireguard" { Backend::Kernel } else { Backend::Embedded })
}

/// Returns the data plane of a network's interface that stands without a record of what was applied.
///
/// # Errors
/// The kernel does not list its links.
pub fn standing(network: &InterfaceName) -> Result<Option<Backend>, HostError> {
    Ok(in_use(network, &LinuxHost::open()?.surroundings()?))
}

/// Decides. What is in use stays in use, because changing over drops every session.
pub fn choose(choice: BackendChoice, in_use: Option<Backend>, facts: &Facts) -> Backend {
    match (choice, in_use) {
        (BackendChoice::Only(backend), _) => backend,
        (BackendChoice::Auto, Some(backend)) => backend,
        (BackendChoice::Auto, None) if facts.wsl.is_some_and(WslMode::kernel_hears_nothing) => {
            Backend::Embedded
        }
        (BackendChoice::Auto, None) if kernel_probe() => Backend::Kernel,
        (BackendChoice::Auto, None) => Backend::Embedded,
    }
}

/// Opens this machine, with both data planes: the embedded one through its agent.
///
/// # Errors
/// The kernel gives no netlink socket.
pub fn host(runtime: &Runtime, agent_command: &[String]) -> Result<LinuxHost, HostError> {
    let embedded = Embedded::new(runtime.clone(), agent_command.to_vec());
    Ok(LinuxHost::open()?.with_embedded(Box::new(embedded)).with_docker(Engine::here()))
}

/// The same, with all read that does not depend on what the network's file says.
///
/// # Errors
/// The kernel gives no netlink socket, or does not list its links or routes.
pub fn host_ahead(
    runtime: &Runtime,
    agent_command: &[String],
    network: &InterfaceName,
) -> Result<LinuxHost, HostError> {
    let mut host = host(runtime, agent_command)?;
    host.look_ahead(network)?;
    Ok(host)
}

/// Ends an agent that has our interface and does not answer: it carries packets for nobody who could change it.
///
/// # Errors
/// It cannot be ended.
pub(super) fn clear_unresponsive(
    network: &InterfaceName,
    facts: &Facts,
    runtime: &Runtime,
) -> Result<bool, HostError> {
    if in_use(network, facts) != Some(Backend::Embedded) || is_responsive(runtime) {
        return Ok(false);
    }
    Embedded::new(runtime.clone(), Vec::new()).delete(network)?;
    Ok(true)
}

/// Ends the agent of another program file, as an upgrade leaves one; the next `up` of this host starts another, which calls its peers.
/// Says whether there was one.
///
/// # Errors
/// It cannot be ended.
pub fn end_outdated(network: &InterfaceName, runtime: &Runtime) -> Result<bool, HostError> {
    if !is_outdated(runtime) {
        return Ok(false);
    }
    Embedded::new(runtime.clone(), Vec::new()).delete(network)?;
    Ok(true)
}

/// The same for a look that changes nothing: an agent that does not answer is left as it is.
///
/// # Errors
/// The host cannot be read, the agent does not answer, or the other data plane is in use.
pub fn host_to_look(
    mut host: LinuxHost,
    runtime: &Runtime,
    network: &InterfaceName,
    choice: BackendChoice,
) -> Result<(LinuxHost, Backend), HostError> {
    let facts = host.surroundings()?;
    if in_use(network, &facts) == Some(Backend::Embedded) && !is_responsive(runtime) {
        return Err(HostError::new(
            "ask the agent of",
            network.to_string(),
            "it does not answer, and is left alone",
        )
        .hint("`wgrelay status` tells more; `wgrelay up` ends it, with its sessions, and starts another"));
    }
    decided(host, network, choice, &facts)
}

/// Decides for a data plane, and makes ready the host that speaks to it.
///
/// # Errors
/// The host cannot be read, or the other data plane is in use.
pub fn host_for(
    mut host: LinuxHost,
    runtime: &Runtime,
    agent_command: &[String],
    dir: &Path,
    network: &InterfaceName,
    choice: BackendChoice,
) -> Result<(LinuxHost, Backend), HostError> {
    let mut facts = host.surroundings()?;
    if clear_orphan(&facts, dir, network, runtime)? || clear_unresponsive(network, &facts, runtime)? {
        host = self::host(runtime, agent_command)?;
        facts = host.surroundings()?;
    }
    decided(host, network, choice, &facts)
}

fn decided(
    host: LinuxHost,
    network: &InterfaceName,
    choice: BackendChoice,
    facts: &Facts,
) -> Result<(LinuxHost, Backend), HostError> {
    let in_use = in_use(network, facts);
    let backend = choose(choice, in_use, facts);
    if let Some(other) = in_use.filter(|b| *b != backend) {
        return Err(HostError::new(
            "change the backend of",
            network.to_string(),
            format!("it is up with the {other} backend, and changing over drops every session"),
        )
        .hint(format!("`wgrelay down`, then `wgrelay up --backend {backend}`")));
    }
    Ok((host, backend))
}
