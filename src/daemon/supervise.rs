//! The process that starts the agent of an `up` again when it dies: a few lines, because it must not die itself.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

/// The pause before the agent is started again; it doubles with each time, up to the second. Without an agent nobody puts
/// back what somebody takes away, so it stays short: a start costs less than a second of a processor.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// An agent that lived so long starts with the shortest pause again.
const LIVED: Duration = Duration::from_secs(60);
/// How long `up` waits for a new agent: one that fails before has told it why, and is not started again.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// How often the agent is looked at without news of it: the kernel throws a SIGCHLD away where another thread does not block it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Starts an agent with `first`, and one with `again` whenever it dies, until one ends of itself; returns the exit code of that one.
/// `is_final` says of which codes of a later one nothing better is to be expected.
///
/// # Errors
/// No signals are to be had, or the first one cannot be started.
pub fn supervise(
    mut first: Command,
    mut again: impl FnMut() -> Command,
    is_final: impl Fn(i32) -> bool,
) -> io::Result<u8> {
    let signals: SigSet =
        [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect();
    signals.thread_block()?;
    let news = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mut child = first.spawn()?;
    let mut began = Instant::now();
    let mut pause = PAUSE.0;
    let mut is_first = true;
    loop {
        let (status, told_to_end) = wait(&mut child, &news)?;
        let code = status.code();
        let lived = began.elapsed();
        let ends = match code {
            Some(0) => true,
            Some(_) if is_first && lived < STARTS_WITHIN => true,
            Some(code) => is_final(code),
            None => false,
        };
        if ends || told_to_end {
            return Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
        if lived >= LIVED {
            pause = PAUSE.0;
        }
        tracing::warn!(
            code,
            signal = status.signal(),
            "the agent died after {:.1} s and is started again",
            lived.as_secs_f32()
        );
        if is_told_to_end_within(pause, &news) {
            return Ok(1);
        }
        pause = (pause * 2).min(PAUSE.1);
        is_first = false;
        began = Instant::now();
        child = loop {
            match again().spawn() {
                Ok(child) => break child,
                // No memory, or no process to be had: it passes.
                Err(error) => tracing::warn!("the agent cannot be started: {error}"),
            }
            if is_told_to_end_within(PAUSE.1, &news) {
                return Ok(1);
            }
        };
    }
}

/// Waits for a child's end, and passes on to it what asks for the end of this process; says whether something did.
fn wait(child: &mut Child, news: &SignalFd) -> io::Result<(ExitStatus, bool)> {
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, told));
        }
        if let Some(signal) = next(news, LOOK_AGAIN) {
            told = true;
            if let Ok(pid) = i32::try_from(child.id()) {
                let _ = kill(Pid::from_raw(pid), signal);
            }
        }
    }
}

fn is_told_to_end_within(time: Duration, news: &SignalFd) -> bool {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        if next(news, left).is_some() {
            return true;
        }
    }
}

/// Waits for a signal, and returns it where it asks for the end. A terminal that closes is none of this process's business.
fn next(news: &SignalFd, within: Duration) -> Option<Signal> {
    let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut [PollFd::new(news.as_fd(), PollFlags::POLLIN)], timeout);
    let signal = news.read_signal().ok()??;
    let signal = Signal::try_from(i32::try_from(signal.ssi_signo).ok()?).ok()?;
    matches!(signal, Signal::SIGTERM | Signal::SIGINT).then_some(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// What `supervise` returns, and how often it started one again.
    fn runs(first: &str, again: &[&str]) -> (u8, usize) {
        let mut started = 0;
        let next = || {
            started += 1;
            shell(again[started - 1])
        };
        let code = supervise(shell(first), next, |code| code == 3).unwrap();
        (code, started)
    }

    #[test]
    fn one_that_dies_is_started_again_and_one_that_ends_is_not() {
        assert_eq!(runs("exit 0", &[]), (0, 0));
        // `up` waits for it, and tells why.
        assert_eq!(runs("exit 1", &[]), (1, 0));
        assert_eq!(runs("kill -9 $$", &["exit 0"]), (0, 1));
        assert_eq!(runs("kill -6 $$", &["kill -9 $$", "exit 1", "exit 0"]), (0, 3));
        // A wrong file stays wrong.
        assert_eq!(runs("kill -9 $$", &["exit 3"]), (3, 1));
    }
}
