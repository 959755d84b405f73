//! Runs this host's own command when it takes a floating address and when it gives it up, on a thread of its own: whatever becomes of
//! it, the fence is no matter of it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::app;
use crate::daemon::agent::Looking;
use crate::floating::{HOOK_LIMIT, Hook, Moved};
use crate::host::HostError;
use crate::host::boot_clock::since_boot;
use crate::host::floating_hook;
use crate::store::folder::Folder;

/// Every clone means the same.
#[derive(Clone)]
pub(super) struct Mover {
    looking: Looking,
    inner: Arc<(Mutex<Inner>, Condvar)>,
}

#[derive(Default)]
struct Inner {
    hook: Hook,
    is_over: bool,
}

impl Mover {
    pub fn begin(looking: Looking) -> Self {
        let this = Self { looking, inner: Arc::default() };
        let own = this.clone();
        let work = move || {
            while let Some(moved) = own.next() {
                own.run(moved);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("move".into()).spawn(work) {
            tracing::warn!("no thread that runs the floating hook: {error}");
        }
        this
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what happened.
    pub fn is(&self, moved: Moved) {
        let Ok(at) = since_boot() else { return };
        self.lock().hook.is(moved, at);
        self.inner.1.notify_all();
    }

    pub fn is_unable(&self, at: Duration) -> bool {
        self.lock().hook.is_unable(at)
    }

    /// Ends it once what happened was told.
    pub fn end(&self) {
        self.lock().is_over = true;
        self.inner.1.notify_all();
    }

    /// Waits until it is to be run; `None`: never again.
    fn next(&self) -> Option<Moved> {
        let mut inner = self.lock();
        loop {
            let next = inner.hook.next();
            let left = match (next, since_boot()) {
                (Some((moved, due)), Ok(at)) if at >= due => return Some(moved),
                (Some((_, due)), Ok(at)) if !inner.is_over => Some(due.saturating_sub(at)),
                _ if inner.is_over => return None,
                _ => None,
            };
            let lock = &self.inner.1;
            inner = match left {
                Some(left) => lock.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0,
                None => lock.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn run(&self, moved: Moved) {
        let outcome = self.try_to(moved);
        let Ok(at) = since_boot() else { return };
        let mut inner = self.lock();
        if inner.hook.is_past(moved) {
            return;
        }
        inner.hook.ended(moved, outcome.is_ok(), at);
        drop(inner);
        match outcome {
            Ok(false) => self.looking.lease.hook_failed(None),
            Ok(true) => {
                tracing::info!("the floating hook has done its {moved}");
                self.looking.lease.hook_failed(None);
            }
            Err(error) => {
                tracing::warn!("{error}");
                self.looking.lease.hook_failed(Some(error.to_string()));
            }
        }
    }

    /// Returns whether there was something to run.
    fn try_to(&self, moved: Moved) -> Result<bool, HostError> {
        let folder = Folder::new(&self.looking.session.dir, &self.looking.name);
        let Some(path) = floating_hook::find(folder.path())? else { return Ok(false) };
        let Some(target) = self.looking.target() else { return Ok(false) };
        let Some(call) = app::hook_call(moved, target.this(), &folder) else { return Ok(false) };
        let is_past = || self.lock().hook.is_past(moved);
        floating_hook::run(&path, &call, HOOK_LIMIT, is_past).map(|()| true)
    }
}
