//! The clock of this boot: it runs on while the host sleeps, and nobody sets it.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::host::HostError;

/// Returns the time since this host started, as CLOCK_BOOTTIME has it.
///
/// # Errors
/// The kernel has no such clock (before 2.6.39).
pub fn since_boot() -> Result<Duration, HostError> {
    let time =
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_err(|e| HostError::new("read", "CLOCK_BOOTTIME", e))?;
    Ok(time.into())
}

/// Sleeps.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
