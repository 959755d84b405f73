//! What an `up` left that was killed between making its interface and marking it.

use std::path::Path;

use crate::host::HostError;
use crate::host::agent_process::Runtime;
use crate::host::wireguard::embedded::Embedded;
use crate::host::wireguard::{KernelWireGuard, WireGuard};
use crate::model::InterfaceName;
use crate::plan::Facts;

/// Takes away an interface of ours that has no mark yet: it has no peers, so no session ends. Says whether it did.
///
/// It is ours where the record says that one was about to be made: the record is written first, and only where there
/// was no interface of that name.
///
/// # Errors
/// The record cannot be read, or the interface cannot be taken away.
pub fn clear_orphan(
    facts: &Facts,
    dir: &Path,
    network: &InterfaceName,
    runtime: &Runtime,
) -> Result<bool, HostError> {
    // The link first: a record of many peers takes longer to read.
    let Some(link) = facts.links.get(network.as_str()).filter(|l| l.alias.is_empty()) else {
        return Ok(false);
    };
    let Some(applied) = runtime.read_applied(dir)?.filter(|a| a.state.device.is_none()) else {
        return Ok(false);
    };
    tracing::debug!(backend = %applied.configuration.backend, "an interface without its mark is taken away");
    match link.kind.as_str() {
        "wireguard" => KernelWireGuard::open()?.delete(network)?,
        "tun" if runtime.agent_pid().is_some() => {
            Embedded::new(runtime.clone(), Vec::new()).delete(network)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}
