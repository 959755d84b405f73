//! What the failover thread and the rest of the agent tell each other: how it is, for `status`, and what is asked of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::sites::OwnSites;
use crate::model::{NodeName, Problem};
use crate::status::{ActiveRelay, GivenSite, Status};

/// Every clone means the same.
#[derive(Clone, Default)]
pub(in crate::daemon) struct Told {
    /// How sites of this relay are that others have as well.
    pub(super) sites: OwnSites,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    active: Option<ActiveRelay>,
    /// Whether this relay drains.
    drains: bool,
    /// The spokes here that can leave.
    here: Vec<NodeName>,
    /// Those that were here when this relay last turned; `None`: its thread has not seen that yet.
    to_leave: Option<Vec<NodeName>>,
    /// Which other relays drain, as they say.
    others: BTreeMap<NodeName, bool>,
    /// Which other relays are to drain, or to carry again, until they say that they do.
    orders: BTreeMap<NodeName, bool>,
    cannot: String,
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn drains(&self) -> bool {
        self.lock().drains
    }

    pub fn set_drains(&self, drains: bool) {
        let mut inner = self.lock();
        (inner.drains, inner.to_leave) = (drains, None);
    }

    /// Returns the spokes that were here when this relay was last told to drain; `None`: it has not begun.
    pub fn to_leave(&self) -> Option<Vec<NodeName>> {
        self.lock().to_leave.clone()
    }

    /// Why nobody can ask nobody here; `None`: all is well.
    pub fn why_not(&self) -> Option<String> {
        Some(self.lock().cannot.clone()).filter(|why| !why.is_empty())
    }

    /// Asks another relay to drain, or to carry again.
    pub fn order(&self, relay: NodeName, drains: bool) {
        self.lock().orders.insert(relay, drains);
    }

    /// Says whether a relay does what it was asked.
    pub fn is_obeyed(&self, relay: &NodeName, drains: bool) -> bool {
        self.lock().others.get(relay) == Some(&drains)
    }

    /// Gives an order up.
    pub fn give_up(&self, relay: &NodeName) {
        self.lock().orders.remove(relay);
    }

    pub(super) fn orders(&self) -> BTreeMap<NodeName, bool> {
        self.lock().orders.clone()
    }

    pub(super) fn other_drains(&self, relay: &NodeName, drains: bool) {
        let mut inner = self.lock();
        inner.others.insert(relay.clone(), drains);
        if inner.orders.get(relay) == Some(&drains) {
            inner.orders.remove(relay);
        }
    }

    pub(super) fn set_active(&self, active: ActiveRelay) {
        self.lock().active = Some(active);
    }

    pub(super) fn set_here(&self, here: Vec<NodeName>) {
        let mut inner = self.lock();
        inner.to_leave.get_or_insert_with(|| here.clone());
        inner.here = here;
    }

    pub(super) fn cannot(&self, why: &str) {
        let mut inner = self.lock();
        why.clone_into(&mut inner.cannot);
    }

    /// Adds to a status what this thread knows.
    pub fn complete(&self, status: &mut Status) {
        let inner = self.lock();
        if let (Some(relay), Some(active)) = (&mut status.relay, &inner.active)
            && relay.name == active.name
        {
            *relay = active.clone();
            status.problems.retain(|problem| problem.code != "failed-over");
            status.problems.extend(relay.problem());
        }
        if !inner.cannot.is_empty() {
            status.problems.push(Problem::warning(
                "no-failover",
                format!("network {}", status.network),
                format!("relays and spokes cannot ask each other whether they are well: {}", inner.cannot),
                "packets pass as before; nobody goes over to another relay by himself until that is right",
            ));
        }
        for given in &mut status.given_over {
            if Some(&given.node) != status.node.as_ref() {
                continue;
            }
            if let Some((since, asked)) = self.sites.silent(&given.subnet) {
                (given.since, given.asked) = (Some(since), Some(asked));
            }
        }
        status.problems.extend(status.given_over.iter().map(GivenSite::problem));
        if inner.drains {
            status.to_leave.clone_from(&inner.here);
        }
    }
}
