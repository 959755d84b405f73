//! Connections: so many of one address, so many in all. Past that the oldest ends by which nobody signed in came, and who signed in is not
//! pushed out by strangers.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::Listen;
use super::connection::{Ends, serve};
use super::notifier;
use crate::web::Web;
use crate::web::procedure::Refused;

/// What one address, and all together, may have.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections in all.
    pub connections: usize,
    /// Of one address; this host's own, where a proxy may be, and those of proxies that are believed have all.
    pub of_one: usize,
    /// Requests that are worked on at once.
    pub at_work: usize,
    /// So long may a request's head take to come.
    pub head: Duration,
    /// And its body.
    pub body: Duration,
    /// And a connection be open.
    pub connection: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 256,
            of_one: 64,
            at_work: 8,
            head: Duration::from_secs(10),
            body: Duration::from_secs(20),
            connection: Duration::from_secs(600),
        }
    }
}

/// A connection that is open.
struct Connection {
    number: u64,
    address: IpAddr,
    /// Whether somebody who signed in is at its other end.
    is_of_user: Arc<AtomicBool>,
    task: AbortHandle,
}

/// The connections that are open, the oldest first.
#[derive(Default)]
struct Open {
    connections: Mutex<VecDeque<Connection>>,
    count: AtomicU64,
}

/// Takes a connection out of those that are open, however it ends.
struct Counted(Arc<Open>, u64);

impl Open {
    fn connections(&self) -> MutexGuard<'_, VecDeque<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a place for a connection of an address; `false`: there is none. `is_shared`: many are behind it, so that it may have all. Where all are taken, the oldest goes by which nobody signed in
    /// came, of the address that has most of those: whoever takes all places pushes out himself.
    fn make_room(&self, address: IpAddr, bounds: &Bounds, is_shared: bool) -> bool {
        let mut open = self.connections();
        let most = if is_shared { bounds.connections } else { bounds.of_one };
        let own = open.iter().filter(|one| one.address == address).count();
        if own < most && open.len() < bounds.connections {
            return true;
        }
        let is_spare = |one: &Connection| !one.is_of_user.load(Ordering::Relaxed);
        let mut spare: HashMap<IpAddr, usize> = HashMap::new();
        for one in open.iter().filter(|one| is_spare(one)) {
            *spare.entry(one.address).or_default() += 1;
        }
        let from = if own >= most {
            Some(address)
        } else {
            spare.iter().max_by_key(|(_, n)| **n).map(|(of, _)| *of)
        };
        let at = open.iter().position(|one| is_spare(one) && Some(one.address) == from);
        let Some(gone) = at.and_then(|at| open.remove(at)) else { return false };
        gone.task.abort();
        true
    }

    fn number(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections().retain(|one| one.number != self.1);
    }
}

pub(super) async fn listen(
    web: impl FnOnce(&[SocketAddr]) -> Result<Web, Refused>,
    listen: &Listen,
    tls: Option<TlsAcceptor>,
) -> Result<(), Refused> {
    let mut listeners = Vec::new();
    for at in &listen.at {
        let bound = TcpListener::bind(at).await;
        listeners.push(bound.map_err(|e| {
            Refused::new(
                500,
                format!("cannot listen at {at}: {e}"),
                "`--listen ADDRESS:PORT` says another place",
            )
        })?);
    }
    let addresses: Vec<SocketAddr> = listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
    let web = Arc::new(web(&addresses)?);
    notifier::start(Arc::clone(&web), &listen.notify)?;
    let open = Arc::new(Open::default());
    let tasks: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            tokio::spawn(accept(listener, Arc::clone(&web), listen.bounds, tls.clone(), Arc::clone(&open)))
        })
        .collect();
    for task in tasks {
        let _ = task.await;
    }
    Ok(())
}

async fn accept(
    listener: TcpListener,
    web: Arc<Web>,
    bounds: Bounds,
    tls: Option<TlsAcceptor>,
    open: Arc<Open>,
) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Out of descriptors, or a caller that went away.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let address = peer.ip().to_canonical();
        let Ok(own) = stream.local_addr() else { continue };
        let is_shared = address.is_loopback() || web.place.proxies.has(address);
        if !open.make_room(address, &bounds, is_shared) {
            continue;
        }
        let (number, is_of_user) = (open.number(), Arc::default());
        let (web, tls, counted) = (Arc::clone(&web), tls.clone(), Counted(Arc::clone(&open), number));
        let ends = Ends { peer, own, is_of_user: Arc::clone(&is_of_user) };
        // This is the one thread of all of them: it does not run before it is among those that are open.
        let task = tokio::spawn(async move {
            let _counted = counted;
            let _ = stream.set_nodelay(true);
            // Whatever it does or leaves undone, it ends.
            let _ = tokio::time::timeout(bounds.connection, one(stream, ends, web, bounds, tls)).await;
        });
        open.connections().push_back(Connection { number, address, is_of_user, task: task.abort_handle() });
    }
}

async fn one(stream: TcpStream, ends: Ends, web: Arc<Web>, bounds: Bounds, tls: Option<TlsAcceptor>) {
    match tls {
        None => serve(stream, ends, web, bounds).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(bounds.head, tls.accept(stream)).await {
                serve(stream, ends, web, bounds).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_takes_all_places_pushes_out_himself() {
        let bounds = Bounds { connections: 4, of_one: 3, ..Bounds::default() };
        let open = Open::default();
        let [anna, mallory, other] = [1, 2, 3].map(|n| IpAddr::from([10, 0, 0, n]));
        let enter = |address: IpAddr, is_user: bool| {
            let is_in = open.make_room(address, &bounds, false);
            if is_in {
                let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
                let is_of_user = Arc::new(AtomicBool::new(is_user));
                open.connections().push_back(Connection { number: open.number(), address, is_of_user, task });
            }
            is_in
        };
        let of = |address: IpAddr| open.connections().iter().filter(|one| one.address == address).count();
        assert!(enter(anna, true));
        for _ in 0..10 {
            assert!(enter(mallory, false));
        }
        assert_eq!((of(anna), of(mallory)), (1, 3), "so many of one address");
        assert!(enter(other, false) && enter(anna, false));
        assert_eq!((of(anna), of(mallory), of(other)), (2, 1, 1));
        assert_eq!(open.connections().len(), bounds.connections, "so many in all");
        // Who signed in stays, whatever others do; where all of them have, nobody else gets in.
        for _ in 0..10 {
            enter(mallory, false);
        }
        assert!(
            open.connections()
                .iter()
                .any(|one| one.address == anna && one.is_of_user.load(Ordering::Relaxed))
        );
        open.connections().iter().for_each(|one| one.is_of_user.store(true, Ordering::Relaxed));
        assert!(!enter(other, false) && open.connections().len() == bounds.connections);
        let number = open.connections()[0].number;
        drop(Counted(Arc::new(Open::default()), number));
        assert_eq!(open.connections().len(), bounds.connections, "of others, none goes");
    }
}
