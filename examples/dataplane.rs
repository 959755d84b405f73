//! Runs one embedded WireGuard device, to be configured with `wg(8)`: `dataplane NAME [MTU]`, ended by SIGTERM or ^C.

#![expect(clippy::print_stderr, clippy::disallowed_methods, reason = "a program for hands-on trials")]

use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use wgrelay::dataplane::{Dataplane, EndReason, Options};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(Ok(name)), Ok(mtu)) =
        (args.next().map(|a| a.parse()), args.next().map_or(Ok(1420), |a| a.parse()))
    else {
        eprintln!("usage: dataplane NAME [MTU]");
        return ExitCode::from(2);
    };
    match run(&Options { name, mtu, uapi: true }) {
        Ok(EndReason::Stopped) => ExitCode::SUCCESS,
        Ok(reason) => {
            eprintln!("dataplane: {reason}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("dataplane: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<EndReason, Box<dyn std::error::Error>> {
    // Blocked before the device's thread starts, which inherits the mask.
    let ending = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    ending.thread_block()?;
    let signals = SignalFd::new(&ending)?;
    let device = Dataplane::start(options)?;
    let mut fds =
        [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(device.ended_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::NONE)?;
    Ok(device.stop())
}
