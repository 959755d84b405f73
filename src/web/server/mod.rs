//! HTTP: connections in, requests whole and within bounds, each answered by [`Web::answer`](crate::web::Web::answer) on a thread
//! that may wait. tokio lives here.
#![expect(clippy::disallowed_methods, reason = "sockets, files of TLS, and the clock")]

mod connect;
mod connection;
mod listen;
mod local_user;
mod notifier;
mod provider;
mod stream;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use listen::Bounds;
pub use notifier::Notify;
pub use provider::{Asking, client_secret};

use super::Web;
use super::procedure::Refused;

/// Where it is served, and how.
#[derive(Debug, Clone, Default)]
pub struct Listen {
    /// The addresses.
    pub at: Vec<SocketAddr>,
    /// Certificate chain and key, as PEM; `None`: plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// What one address, and all together, may have.
    pub bounds: Bounds,
    /// What is said of messages to others.
    pub notify: Notify,
}

/// Serves until the process ends. `web` is made once the addresses are listened at, of what they are.
///
/// # Errors
/// An address cannot be listened at, or the files of TLS cannot be read.
pub fn serve(
    listen: &Listen,
    web: impl FnOnce(&[SocketAddr]) -> Result<Web, Refused>,
) -> Result<(), Refused> {
    let tls = listen.tls.as_ref().map(|(chain, key)| tls::acceptor(chain, key)).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(listen.bounds.at_work)
        .thread_stack_size(1 << 20)
        .build()
        .map_err(|e| Refused::new(500, format!("cannot start: {e}"), ""))?;
    runtime.block_on(listen::listen(web, listen, tls))
}

/// Returns the time, in Unix seconds.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
