//! When what is guarded was open by somebody's doing: what was sent then may arrive, and nothing else.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What keeps a datagram from arriving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guard {
    /// This node is no router for what is no business of its network.
    Beside(usize),
    /// Nothing of others enters this node's tunnel.
    Tunnel(usize),
    /// What this node sends by its full tunnel leaves by nothing else.
    Full(usize),
    /// `[[allow]]`, on whichever node it is judged.
    Policy,
}

/// What was sent so long before somebody opened may have been on its way.
const UNDER_WAY: Duration = Duration::from_secs(3);

/// From when to when, since the start; no end: it is open.
type Window = (Duration, Option<Duration>);

/// All times at which something was open.
pub struct Windows {
    began: Instant,
    windows: Mutex<BTreeMap<Guard, Vec<Window>>>,
}

impl Windows {
    /// Nothing has been open.
    pub const fn new(began: Instant) -> Self {
        Self { began, windows: Mutex::new(BTreeMap::new()) }
    }

    /// The time since the start.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// From now on.
    pub fn open(&self, guard: Guard) {
        let now = self.now();
        let mut windows = self.windows.lock().unwrap();
        let of = windows.entry(guard).or_default();
        if of.last().is_none_or(|(_, to)| to.is_some()) {
            of.push((now.saturating_sub(UNDER_WAY), None));
        }
    }

    /// Until now.
    pub fn close(&self, guard: Guard) {
        let now = self.now();
        if let Some((_, to)) = self.windows.lock().unwrap().get_mut(&guard).and_then(|of| of.last_mut()) {
            to.get_or_insert(now);
        }
    }

    /// Whether something was open when that was sent.
    pub fn was_open(&self, guard: Guard, sent: Duration) -> bool {
        let windows = self.windows.lock().unwrap();
        let mut of = windows.get(&guard).into_iter().flatten();
        of.any(|(from, to)| *from <= sent && to.is_none_or(|to| sent <= to))
    }
}
