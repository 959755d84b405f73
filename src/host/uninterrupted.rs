//! What is to be finished once it has begun: Ctrl-C, and a terminal that goes away, do not end it half way.

use std::io;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// From now on SIGINT, SIGTERM and SIGHUP do not end this process; programs that it starts have them as usual. For a command
/// that ends soon by itself.
///
/// # Errors
/// The system has no handlers to give.
pub fn until_the_end() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let _guard = runtime.enter();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        // What was once asked for stays asked for, whoever listens.
        drop(signal(kind)?);
    }
    Ok(())
}
