//! Ctrl-C as a flag, for commands that have something to put back before they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};

use super::fault::Fault;

/// Turns Ctrl-C and the like into a flag, so that what was made is removed in good order.
pub fn interruptions() -> Result<Arc<AtomicBool>, Fault> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    let fault = |e: nix::Error| Fault::failed(format!("cannot mask signals: {e}"), "");
    // Threads made from here on inherit the mask; programs that are started do not (std resets it).
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
