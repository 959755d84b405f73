//! What is known of who carries a floating relay, for `status`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::floating::Lease;
use crate::model::{NodeName, Problem, Timestamp};
use crate::status::Status;

/// Every clone means the same.
#[derive(Clone, Default)]
pub(in crate::daemon) struct Known {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    host: Option<NodeName>,
    lease: Option<Lease>,
    ready: Vec<NodeName>,
    hook_failed: Option<String>,
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn told(&self, host: &NodeName, lease: Option<&Lease>) {
        let mut inner = self.lock();
        (inner.host, inner.lease) = (Some(host.clone()), lease.cloned());
    }

    pub(super) fn ready(&self, hosts: Vec<NodeName>) {
        self.lock().ready = hosts;
    }

    /// Notes why this host's own command for the address failed; `None`: it did not.
    pub(super) fn hook_failed(&self, why: Option<String>) {
        self.lock().hook_failed = why;
    }

    pub(super) fn forget(&self) {
        *self.lock() = Inner::default();
    }

    /// Adds to a status what this agent knows.
    pub fn complete(&self, status: &mut Status) {
        let Some(floating) = &mut status.floating else { return };
        let inner = self.lock();
        let holder = inner.lease.as_ref().map(|lease| lease.host.clone());
        floating.ready.clone_from(&inner.ready);
        floating.ready.retain(|host| Some(host) != holder.as_ref());
        floating.holder = holder;
        floating.since = inner.lease.as_ref().map(|lease| Timestamp(lease.since));
        floating.term = inner.lease.as_ref().map(|lease| lease.term);
        status.problems.extend(inner.hook_failed.as_ref().map(|why| {
            Problem::warning(
                "hook-failed",
                format!("network {}", status.network),
                format!("{} may not lead here, or still lead here: {why}", floating.address.addr()),
                "it is run again by itself; docs/cluster.md tells what it is told, and with which rights it runs",
            )
        }));
        if floating.holder.is_none() {
            status.problems.push(Problem::warning(
                "no-holder",
                format!("network {}", status.network),
                format!("nobody is known to carry {}", floating.address.addr()),
                "`wgrelay cluster status` asks the store; where it has no majority, nobody may carry the relay",
            ));
        }
    }
}
