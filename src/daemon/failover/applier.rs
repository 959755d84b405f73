//! The thread that has the device follow: what moves is moved in one step, then the whole host is held to it. Beside it answers go on.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::app;
use crate::daemon::agent::Looking;
use crate::host::HostError;
use crate::model::{Attachments, GivenOver};

/// What could not be done is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Where spokes are, which sites are given over, and whether this relay drains.
type Wanted = (Attachments, GivenOver, bool);

/// Takes what is wanted last; what it has not begun with is forgotten.
#[derive(Clone)]
pub(super) struct Applier {
    wanted: Arc<(Mutex<Option<Wanted>>, Condvar)>,
}

impl Applier {
    pub fn begin(looking: Looking) -> Self {
        let this = Self { wanted: Arc::default() };
        let own = this.clone();
        let work = move || {
            loop {
                let wanted = own.next();
                if let Err(error) = follow(&looking, &wanted) {
                    tracing::warn!("spokes are not where they went yet: {error}");
                    own.put_back(wanted);
                    std::thread::sleep(AGAIN);
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("attach".into()).spawn(work) {
            tracing::warn!("no thread that follows spokes to other relays: {error}");
        }
        this
    }

    pub fn submit(&self, attached: Attachments, given_over: GivenOver, drains: bool) {
        let (wanted, news) = &*self.wanted;
        *wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some((attached, given_over, drains));
        news.notify_one();
    }

    fn put_back(&self, old: Wanted) {
        let mut wanted = self.wanted.0.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.get_or_insert(old);
    }

    fn next(&self) -> Wanted {
        let (wanted, news) = &*self.wanted;
        let mut wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(wanted) = wanted.take() {
                return wanted;
            }
            wanted = news.wait(wanted).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn follow(looking: &Looking, (attached, given_over, drains): &Wanted) -> Result<(), HostError> {
    let session = looking.session.later();
    if let Some(target) = looking.target() {
        let mut network = crate::model::Network::clone(&target.network);
        network.attach(attached);
        let this = &network.nodes[&target.node];
        if let Some(report) = looking.report() {
            let change = app::transfer(&network, this, attached, &report, session.now);
            if !change.peers.is_empty() {
                looking.configure(&change)?;
            }
        }
    }
    let (name, runtime) = (&looking.name, &looking.runtime);
    let open = || looking.machine();
    let done = app::attach(&session, name, runtime, open, attached, given_over, *drains)?;
    match done.and_then(|repair| repair.failed) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
