//! What an `up` left that was killed between making its interface and marking it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::apply::{Host, HostError};
use crate::host::agent_process::Runtime;
use crate::host::wireguard::embedded::Embedded;
use crate::host::wireguard::{KernelWireGuard, WireGuard};
use crate::model::InterfaceName;

/// Takes away an interface of ours that has no mark yet: it has no peers, so no session ends.
///
/// It is ours where the record says that one was about to be made: the record is written first, and only where there
/// was no interface of that name.
///
/// # Errors
/// The host cannot be read, or the interface cannot be taken away.
pub fn clear_half_made<H: Host>(
    host: &mut H,
    dir: &Path,
    network: &InterfaceName,
    runtime: &Runtime,
) -> Result<(), HostError> {
    let Some(applied) = runtime.read_applied(dir)?.filter(|a| a.state.device.is_none()) else {
        return Ok(());
    };
    let facts = host.facts(&BTreeSet::new(), &BTreeSet::new())?;
    let Some(link) = facts.links.get(network.as_str()).filter(|l| l.alias.is_empty()) else { return Ok(()) };
    tracing::debug!(backend = %applied.backend, "an interface without its mark is taken away");
    match link.kind.as_str() {
        "wireguard" => KernelWireGuard::open()?.delete(network),
        "tun" if runtime.agent_pid().is_some() => Embedded::new(runtime.clone(), Vec::new()).delete(network),
        _ => Ok(()),
    }
}
