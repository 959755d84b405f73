//! Which data plane to use, and the host that speaks to it.

use std::collections::BTreeSet;

use crate::apply::{Host, HostError};
use crate::host::LinuxHost;
use crate::host::runtime::Runtime;
use crate::host::wireguard::embedded::Embedded;
use crate::host::wireguard::kernel::{self, Kernel};
use crate::host::wsl;
use crate::plan::{Backend, Facts, WslMode, ifalias};
use crate::model::InterfaceName;

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

/// Decides. What is in use stays in use, because changing over drops every session.
pub fn choose(choice: BackendChoice, in_use: Option<Backend>) -> Backend {
    match (choice, in_use) {
        (BackendChoice::Only(backend), _) => backend,
        (BackendChoice::Auto, Some(backend)) => backend,
        (BackendChoice::Auto, None) if wsl::mode().is_some_and(WslMode::kernel_hears_nothing) => Backend::Embedded,
        (BackendChoice::Auto, None) if kernel::probe() => Backend::Kernel,
        (BackendChoice::Auto, None) => Backend::Embedded,
    }
}

/// Makes the host that speaks to a data plane from outside the agent.
pub fn host(backend: Backend, runtime: &Runtime, agent_command: &[String]) -> Result<LinuxHost, HostError> {
    match backend {
        Backend::Kernel => LinuxHost::new(Box::new(Kernel::default()), backend),
        Backend::Embedded => LinuxHost::new(Box::new(Embedded::new(runtime.clone(), agent_command.to_vec())), backend),
    }
}

/// Decides for a data plane, and makes the host that speaks to it.
///
/// # Errors
/// The host cannot be read, or the other data plane is in use.
pub fn host_for(
    runtime: &Runtime,
    agent_command: &[String],
    network: &InterfaceName,
    choice: BackendChoice,
) -> Result<(LinuxHost, Backend), HostError> {
    // The links are the same through either.
    let facts = host(Backend::Kernel, runtime, &[])?.facts(&BTreeSet::new(), &BTreeSet::new())?;
    let in_use = in_use(network, &facts);
    let backend = choose(choice, in_use);
    if let Some(other) = in_use.filter(|b| *b != backend) {
        return Err(HostError::new(
            "change the backend of",
            network.to_string(),
            format!("it is up with the {other} backend, and changing over drops every session"),
        )
        .hint(format!("`wgrelay down`, then `wgrelay up --backend {backend}`")));
    }
    Ok((host(backend, runtime, agent_command)?, backend))
}
