//! Two pieces of work side by side, where there is a thread to be had.

use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, scope};

/// Does `other` on a thread of its own, and `here` meanwhile; one after the other where the system gives no thread: the
/// agent's process carries packets, and must not end for that.
pub fn join<A: Send, B>(other: impl FnOnce() -> A + Send, here: impl FnOnce() -> B) -> (A, B) {
    // A thread that is not given would take the work along.
    let work = Mutex::new(Some(other));
    let take = || work.lock().unwrap_or_else(PoisonError::into_inner).take();
    scope(|threads| {
        let thread = Builder::new().spawn_scoped(threads, || take().map(|other| other()));
        let here = here();
        let other = match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => take().map(|other| other()),
        };
        (other.expect("the work is taken once, and here is where it comes back"), here)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_done_at_once() {
        let (one, other) = std::sync::mpsc::channel();
        // Each waits for the other, so neither can be first.
        let (back, answer) = std::sync::mpsc::channel();
        let seen = join(
            move || {
                one.send(1).unwrap();
                answer.recv().unwrap()
            },
            move || {
                let got = other.recv().unwrap();
                back.send(got + 1).unwrap();
                got
            },
        );
        assert_eq!(seen, (2, 1));
    }
}
