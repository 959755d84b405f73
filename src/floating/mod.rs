//! Which of a relay's hosts carries it: one lease in the shared store, a state machine on each host, and a fence that ends by
//! itself. Pure: moments are durations of the host's own clock since it started, and what the store says is an argument.

mod holder;
mod hook;
mod record;
#[cfg(test)]
mod simulation;

pub use holder::{Answer, Holder, Next, Seen};
pub use hook::{Hook, HookCall, LIMIT as HOOK_LIMIT, Moved};
pub use record::{Lease, Presence};

use std::time::Duration;

/// After so long without news of the holder another host takes over.
pub const LEASE: Duration = Duration::from_millis(3_000);
/// So much earlier the holder counts its own as over: for clocks that do not run alike, a sixth.
pub const MARGIN: Duration = Duration::from_millis(500);
/// How often it is renewed.
pub const RENEW: Duration = Duration::from_millis(750);
/// How soon what failed is tried again.
pub const AGAIN: Duration = Duration::from_millis(100);
