//! Makes the host as it is to be: with the relay's interface, key and address behind an open fence, or without any of it. The fence is
//! opened and closed at once; the rest takes its time on a thread of its own.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Endpoints;
use super::mover::Mover;
use crate::app;
use crate::daemon::agent::Looking;
use crate::dataplane::{DeviceChange, PeerChange};
use crate::floating::Moved;
use crate::host::announce::announce;
use crate::host::boot_clock::since_boot;
use crate::host::{HostError, fence};
use crate::plan::Carried;

/// What could not be done is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// After how long of failing a host counts as one that cannot carry the relay, and how long it does so afterwards.
const UNABLE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// A neighbour that missed the first word hears another one.
const ANNOUNCED: [Duration; 3] = [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(1)];

/// Every clone means the same.
#[derive(Clone)]
pub(super) struct Carrier {
    looking: Looking,
    mover: Mover,
    inner: Arc<(Mutex<Inner>, Condvar)>,
}

#[derive(Default)]
struct Inner {
    /// Until when this host carries the relay; `None`: it does not.
    until: Option<Duration>,
    /// What stands on this host; `None`: nothing, or not yet.
    carried: Option<Carried>,
    /// How the host was made last; `None`: not known.
    is_made: Option<bool>,
    is_over: bool,
    /// Whether somebody has said by now whether it carries the relay. Before that the host stays as it is.
    is_told: bool,
    /// From when on, and when last, it could not be made to carry the relay.
    failed: Option<(Duration, Duration)>,
    /// Where the holder before heard peers, and what its clock was at last.
    endpoints: Endpoints,
    clock: u64,
}

impl Carrier {
    pub fn begin(looking: Looking) -> Self {
        let this = Self { mover: Mover::begin(looking.clone()), looking, inner: Arc::default() };
        let own = this.clone();
        let work = move || {
            while let Some(carries) = own.wanted() {
                let made = own.make(carries);
                own.note(carries, made.is_ok());
                if let Err(error) = made {
                    tracing::warn!("this host is not as it is to be: {error}");
                    std::thread::sleep(AGAIN);
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("carry".into()).spawn(work) {
            tracing::warn!("no thread that carries the relay: {error}");
        }
        this
    }

    /// This host carries the relay until then, by CLOCK_BOOTTIME.
    pub fn hold(&self, until: Duration) {
        let mut inner = self.lock();
        (inner.until, inner.is_told) = (Some(until), true);
        self.open(&mut inner);
        self.mover.is(Moved::Take);
        self.inner.1.notify_all();
    }

    /// It does not, from now on.
    pub fn lose(&self) {
        let mut inner = self.lock();
        inner.is_told = true;
        if inner.until.take().is_some()
            && let Some(carried) = &inner.carried
        {
            // One that cannot be closed ends by itself.
            if let Err(error) = fence::shut(&self.looking.name, carried) {
                tracing::warn!("{error}");
            }
        }
        // Whatever else is to be done for the address: nobody is answered here any more.
        self.mover.is(Moved::Release);
        self.inner.1.notify_all();
    }

    /// What the one before has written: where it heard peers, and what its clock was.
    pub fn last_known(&self, endpoints: Endpoints, clock: u64) {
        let mut inner = self.lock();
        (inner.endpoints, inner.clock) = (endpoints, clock);
    }

    /// Says whether this host cannot carry the relay, though it was to: for some time, and not long ago.
    pub fn is_unable(&self, at: Duration) -> bool {
        let failed = self.lock().failed;
        self.mover.is_unable(at)
            || failed.is_some_and(|(first, last)| {
                last.saturating_sub(first) >= UNABLE.0 && at.saturating_sub(last) < UNABLE.1
            })
    }

    fn note(&self, carries: bool, is_made: bool) {
        let (Ok(at), true) = (since_boot(), carries) else { return };
        let mut inner = self.lock();
        let first = inner.failed.map_or(at, |(first, _)| first);
        inner.failed = (!is_made).then_some((first, at));
    }

    /// Ends it, with the host as it stands.
    pub fn end(&self) {
        self.lose();
        self.mover.end();
        self.lock().is_over = true;
        self.inner.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the fence for as long as this host carries the relay, and closes it where that was over before it was done: who was
    /// stopped in between knows nothing of it.
    fn open(&self, inner: &mut Inner) {
        let (Some(carried), Some(until), Ok(at)) = (&inner.carried, inner.until, since_boot()) else {
            return;
        };
        let left = until.saturating_sub(at);
        let opened = if left.is_zero() { Ok(()) } else { fence::open(&self.looking.name, carried, left) };
        if let Err(error) = opened {
            tracing::warn!("{error}");
            // Somebody took the fence away: it is made anew, closed, with the rest.
            (inner.carried, inner.is_made) = (None, None);
            return;
        }
        if since_boot().map_or(true, |at| at >= until) {
            let _ends_by_itself = fence::shut(&self.looking.name, carried);
        }
    }

    /// Waits until the host is to be made otherwise; `None`: never again.
    fn wanted(&self) -> Option<bool> {
        let mut inner = self.lock();
        loop {
            if inner.is_over && inner.is_made == Some(false) {
                return None;
            }
            let carries = inner.until.is_some();
            if inner.is_told && inner.is_made != Some(carries) {
                return Some(carries);
            }
            inner = self.inner.1.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn make(&self, carries: bool) -> Result<(), HostError> {
        let Looking { session, name, runtime, .. } = &self.looking;
        let carried = app::carry(&session.later(), name, runtime, || self.looking.machine(), carries)?;
        let mut inner = self.lock();
        inner.is_made = Some(carries);
        inner.carried = carried.filter(|_| carries);
        self.open(&mut inner);
        let is_open = inner.until.is_some();
        let carried = inner.carried.clone().filter(|_| is_open);
        drop(inner);
        if let Some(carried) = carried {
            tracing::info!("this host carries {}", carried.address);
            self.announce(carried.clone());
            self.call(carried);
        } else if !carries {
            tracing::info!("another host may carry the relay");
        }
        Ok(())
    }

    /// Begins a session with everybody whom the one before heard, where he heard them: the way back through their NAT is open there. None
    /// of them takes a handshake that looks older than the last one, so a clock that is behind waits until it is not.
    fn call(&self, carried: Carried) {
        let this = self.clone();
        let work = move || {
            let (endpoints, clock) = {
                let inner = this.lock();
                (inner.endpoints.clone(), inner.clock)
            };
            while super::clock() <= clock {
                if this.lock().carried.as_ref() != Some(&carried) {
                    return;
                }
                std::thread::sleep(AGAIN);
            }
            let Some(target) = this.looking.target() else { return };
            let now = this.looking.session.later().now;
            let known = target.network.spokes().filter(|spoke| spoke.is_active(now));
            let known: Vec<_> = known
                .filter_map(|spoke| Some((spoke, *endpoints.get(&spoke.public_key.to_string())?)))
                .collect();
            let peers = known.iter().map(|(spoke, endpoint)| PeerChange {
                update_only: true,
                endpoint: Some(*endpoint),
                ..PeerChange::new(spoke.public_key)
            });
            let change = DeviceChange { peers: peers.collect(), ..DeviceChange::default() };
            if let Err(error) = this.looking.configure(&change) {
                tracing::warn!("clients are not called: {error}");
                return;
            }
            // What is sent into a tunnel without a session begins one. Nobody listens at the port for discarding.
            let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else { return };
            for (spoke, _) in &known {
                let _whoever_cannot_be_reached_calls = socket.send_to(&[], (spoke.address, 9));
            }
            tracing::info!("called {} clients", known.len());
        };
        let _without_a_thread_clients_call = std::thread::Builder::new().spawn(work);
    }

    fn announce(&self, carried: Carried) {
        let this = self.clone();
        let work = move || {
            for pause in ANNOUNCED {
                std::thread::sleep(pause);
                // Not by one who has lost it meanwhile.
                let inner = this.lock();
                let is_here = inner.carried.as_ref() == Some(&carried);
                let until = inner.until.filter(|_| is_here);
                if until.is_none_or(|until| since_boot().map_or(true, |at| at >= until)) {
                    return;
                }
                if let Err(error) = announce(&carried) {
                    tracing::warn!("{error}");
                }
            }
        };
        let _without_a_thread_neighbours_find_out = std::thread::Builder::new().spawn(work);
    }
}
