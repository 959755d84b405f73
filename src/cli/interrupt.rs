//! Ctrl-C as a flag, for commands that have something to put back before they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};

use super::fault::Fault;

fn these() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

/// Lets through what whoever started this process may have blocked, as a lab does; before any thread is made.
pub fn unblock_signals() -> Result<(), Fault> {
    let mut signals = these();
    // A process that looks after this one blocks the news of its end, for itself.
    signals.add(Signal::SIGCHLD);
    signals.thread_unblock().map_err(|e| Fault::failed(format!("cannot unblock signals: {e}"), ""))
}

/// Turns Ctrl-C and the like into a flag, so that what was made is removed in good order.
pub fn interruptions() -> Result<Arc<AtomicBool>, Fault> {
    let signals = these();
    let fault = |e: nix::Error| Fault::failed(format!("cannot mask signals: {e}"), "");
    // Threads made from here on inherit the mask, and so do programs that are started; see `unblock_signals`.
    signals.thread_block().map_err(fault)?;
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let _ = signals.wait();
            set.store(true, Ordering::SeqCst);
        })
        .map_err(Fault::from)?;
    Ok(flag)
}
