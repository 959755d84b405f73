//! Connections: so many of one address, so many in all. What is over that is closed at once, before anything of it is read.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::Listen;
use super::connection::serve;
use crate::web::Web;
use crate::web::procedure::Refused;

/// What one address, and all together, may have.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections in all.
    pub connections: usize,
    /// Of one address; this host's own, where a proxy may be, has all.
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

/// How many connections each address has.
#[derive(Debug, Default)]
struct Open(Mutex<HashMap<IpAddr, usize>>);

/// A connection that counts; it stops to when dropped.
struct Counted(Arc<Open>, IpAddr);

impl Open {
    fn enter(self: &Arc<Self>, address: IpAddr, bounds: &Bounds) -> Option<Counted> {
        let mut open = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let all: usize = open.values().sum();
        let most = if address.is_loopback() { bounds.connections } else { bounds.of_one };
        if all >= bounds.connections || open.get(&address).is_some_and(|own| *own >= most) {
            return None;
        }
        *open.entry(address).or_default() += 1;
        Some(Counted(Arc::clone(self), address))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.0.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.1);
            }
        }
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
        let Some(counted) = open.enter(address, &bounds) else { continue };
        let (web, tls) = (Arc::clone(&web), tls.clone());
        tokio::spawn(async move {
            let _counted = counted;
            let _ = stream.set_nodelay(true);
            // Whatever it does or leaves undone, it ends.
            let _ = tokio::time::timeout(bounds.connection, one(stream, address, web, bounds, tls)).await;
        });
    }
}

async fn one(stream: TcpStream, address: IpAddr, web: Arc<Web>, bounds: Bounds, tls: Option<TlsAcceptor>) {
    match tls {
        None => serve(stream, address, web, bounds).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(bounds.head, tls.accept(stream)).await {
                serve(stream, address, web, bounds).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_have_bounds() {
        let bounds = Bounds { connections: 3, of_one: 2, ..Bounds::default() };
        let (open, one, other) =
            (Arc::new(Open::default()), IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = open.enter(one, &bounds).unwrap();
        let _second = open.enter(one, &bounds).unwrap();
        assert!(open.enter(one, &bounds).is_none());
        let _third = open.enter(other, &bounds).unwrap();
        assert!(open.enter(other, &bounds).is_none(), "that is all");
        drop(first);
        assert!(open.enter(one, &bounds).is_some());
    }
}
