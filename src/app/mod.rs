//! What the commands and the agent do to a host: up, down, status, and the agent's look around.
//!
//! One procedure each, so that `up`, the agent's repair and `down` cannot disagree. Files and the machine are
//! reached through host/ alone; deciding is the pure layers' work. The transaction is generic over [`crate::host::Host`], so that every
//! step is tested against a host in memory, failures included.

mod backend;
mod down;
#[cfg(test)]
mod fake;
mod glance;
mod half_made;
mod look;
mod memory;
mod reconcile;
pub mod revisions;
mod target;
mod transaction;
mod trial;
mod up;
mod wsl;

pub use backend::{BackendChoice, choose, end_outdated, host, host_ahead, host_for, host_to_look, standing};
pub use down::{Down, down};
pub use glance::glance;
pub use look::{Look, look, recorded_target};
pub use memory::Memory;
pub use reconcile::{Extent, Reconciled, Repair, reconcile};
pub use target::Target;
pub use transaction::{Failure, Outcome, apply, apply_plan};
pub use trial::{before, go_back};
pub use up::{Refusal, Up, obstacles, plan, up};
pub use wsl::wsl_advice;

/// Of the machine, what every shell needs as it is.
pub use crate::host::{confine::close_inherited, log_file::Log, random};
