//! Connections: so many of one address, so many in all. Past that the oldest ends by which nobody signed in came, and who signed in is not
//! pushed out by strangers, nor by somebody else who did and has more than his part.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
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
    /// Of one user, so many that are not ended for others.
    pub of_user: usize,
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
            of_user: 24,
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
    /// Who signed in at its other end.
    user: Arc<OnceLock<String>>,
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
        let kept = kept(&open, bounds);
        let is_spare = |one: &Connection| !kept.contains(&one.number);
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

/// The connections that end for nobody else: of each who signed in his newest, as many as one may keep.
fn kept(open: &VecDeque<Connection>, bounds: &Bounds) -> HashSet<u64> {
    let mut of_user: HashMap<&str, usize> = HashMap::new();
    let mut kept = HashSet::new();
    for (user, one) in open.iter().rev().filter_map(|one| Some((one.user.get()?, one))) {
        let count = of_user.entry(user).or_default();
        *count += 1;
        if *count <= bounds.of_user {
            kept.insert(one.number);
        }
    }
    kept
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
        let (number, user) = (open.number(), Arc::default());
        let (web, tls, counted) = (Arc::clone(&web), tls.clone(), Counted(Arc::clone(&open), number));
        let ends = Ends { peer, own, user: Arc::clone(&user) };
        // This is the one thread of all of them: it does not run before it is among those that are open.
        let task = tokio::spawn(async move {
            let _counted = counted;
            let _ = stream.set_nodelay(true);
            // Whatever it does or leaves undone, it ends.
            let _ = tokio::time::timeout(bounds.connection, one(stream, ends, web, bounds, tls)).await;
        });
        open.connections().push_back(Connection { number, address, user, task: task.abort_handle() });
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

    /// Somebody comes: who signed in, by his name.
    fn enter(open: &Open, bounds: &Bounds, address: IpAddr, user: Option<&str>) -> bool {
        let is_in = open.make_room(address, bounds, false);
        if is_in {
            let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
            let user = Arc::new(user.map_or_else(OnceLock::new, |user| OnceLock::from(user.to_owned())));
            open.connections().push_back(Connection { number: open.number(), address, user, task });
        }
        is_in
    }

    fn of(open: &Open, address: IpAddr) -> usize {
        open.connections().iter().filter(|one| one.address == address).count()
    }

    #[tokio::test]
    async fn whoever_takes_all_places_pushes_out_himself() {
        let bounds = Bounds { connections: 4, of_one: 3, ..Bounds::default() };
        let open = Open::default();
        let [anna, mallory, other] = [1, 2, 3].map(|n| IpAddr::from([10, 0, 0, n]));
        let enter = |address: IpAddr, user: Option<&str>| enter(&open, &bounds, address, user);
        let of = |address: IpAddr| of(&open, address);
        assert!(enter(anna, Some("anna")));
        for _ in 0..10 {
            assert!(enter(mallory, None));
        }
        assert_eq!((of(anna), of(mallory)), (1, 3), "so many of one address");
        assert!(enter(other, None) && enter(anna, None));
        assert_eq!((of(anna), of(mallory), of(other)), (2, 1, 1));
        assert_eq!(open.connections().len(), bounds.connections, "so many in all");
        // Who signed in stays, whatever others do; where all of them have, nobody else gets in.
        for _ in 0..10 {
            enter(mallory, None);
        }
        assert!(open.connections().iter().any(|one| one.address == anna && one.user.get().is_some()));
        open.connections().iter().for_each(|one| drop(one.user.set("otto".into())));
        assert!(!enter(other, None) && open.connections().len() == bounds.connections);
        let number = open.connections()[0].number;
        drop(Counted(Arc::new(Open::default()), number));
        assert_eq!(open.connections().len(), bounds.connections, "of others, none goes");
    }

    #[tokio::test]
    async fn nobody_who_signed_in_takes_all_places_from_wherever_he_comes() {
        let bounds = Bounds { connections: 8, of_one: 4, of_user: 3, ..Bounds::default() };
        let open = Open::default();
        let at = |n: u8| IpAddr::from([10, 0, 0, n]);
        assert!(enter(&open, &bounds, at(1), Some("anna")));
        for n in 10..50 {
            enter(&open, &bounds, at(n), Some("mallory"));
        }
        assert_eq!(open.connections().len(), bounds.connections);
        for n in 2..6 {
            assert!(enter(&open, &bounds, at(n), None), "others come in");
        }
        assert_eq!(of(&open, at(1)), 1, "anna stays");
        let is_his = |one: &&Connection| one.user.get().is_some_and(|user| user == "mallory");
        assert!(open.connections().iter().filter(is_his).count() >= bounds.of_user, "and he keeps his part");
    }
}
