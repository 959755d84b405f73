//! Our side of the comparison as a process of its own, so that its memory and processor time can be read.

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use wgrelay::dataplane::{Dataplane, Options};

/// Runs one device until SIGTERM or SIGINT.
pub(crate) fn serve(name: &str) {
    // Blocked before the device's thread starts, which inherits the mask.
    let ending = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    ending.thread_block().expect("signals can be blocked");
    let signals = SignalFd::new(&ending).expect("a descriptor is to be had");
    let options = Options { name: name.parse().expect("a short name"), mtu: 1420, uapi: true };
    let device = Dataplane::start(&options).expect("the device starts");
    let mut fds =
        [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(device.ended_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::NONE).expect("the wait is for a signal");
    device.stop();
}
