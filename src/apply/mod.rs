//! From a wanted state to a host that has it: look, change, look again, and go back where it is not so.
//!
//! Generic over [`Host`], so that every step is tested against a host in memory, failures included.

#[cfg(test)]
mod fake;
mod host;
mod transaction;

pub use host::{Host, HostError, Scope};
pub use transaction::{Failure, Outcome, apply, apply_plan};
