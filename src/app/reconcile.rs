//! The agent's work: hold the host to the network last applied. A newer file waits for `up`.

use std::path::Path;

use super::memory::Memory;
use super::up::{Refusal, up};
use crate::host::agent_process::Runtime;
use crate::host::{Host, HostError};
use crate::model::{InterfaceName, Timestamp};
use crate::plan::Line;
use crate::store::folder::Folder;

/// Compares and repairs; returns what was repaired. `None`: nothing was applied, or another command is at work.
///
/// # Errors
/// The repair failed, or the host could not be read.
pub fn reconcile<H: Host>(
    host: &mut H,
    dir: &Path,
    network: &InterfaceName,
    runtime: &Runtime,
    memory: &Memory,
    now: Timestamp,
) -> Result<Option<Vec<Line>>, HostError> {
    let folder = Folder::new(dir, network);
    let lock = folder.try_lock_to_apply().map_err(|e| HostError::new("lock", network.to_string(), e))?;
    let Some(_lock) = lock else { return Ok(None) };
    let recorded = match memory.recorded(dir, &folder, runtime) {
        // An `up` that was cut short is the next one's to make right.
        Err(_) if runtime.read_applied(dir)?.is_some_and(|a| a.network_text.is_empty()) => return Ok(None),
        other => other?,
    };
    let Some((applied, target)) = recorded else { return Ok(None) };
    match up(host, &target, runtime, applied.backend, now) {
        Ok(done) => Ok(Some(done.plan.lines())),
        Err(Refusal::Host(error)) => Err(error),
        Err(Refusal::Failure(error)) => Err(HostError::new("repair", network.to_string(), error)),
        Err(Refusal::Problems(problems)) => {
            let text =
                problems.iter().filter(|p| p.is_error()).map(|p| p.message.clone()).collect::<Vec<_>>();
            Err(HostError::new("repair", network.to_string(), text.join("; ")))
        }
    }
}
