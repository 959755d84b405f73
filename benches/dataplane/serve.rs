//! Our side of the comparison as a process of its own, so that its memory, processor time and allocations can be read.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use wgrelay::dataplane::{Dataplane, DeviceChange, Options, PeerChange};
use wgrelay::model::PrivateKey;

use crate::counting::allocations;
use crate::table;

/// Where a device's process writes its count on SIGUSR1.
pub(crate) fn count_file(interface: &str) -> String {
    format!("/run/wireguard/{interface}.allocations")
}

/// Runs one device until SIGTERM or SIGINT.
pub(crate) fn serve(name: &str) {
    // Blocked before the device's thread starts, which inherits the mask.
    let wanted = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1]);
    wanted.thread_block().expect("signals can be blocked");
    let signals = SignalFd::new(&wanted).expect("a descriptor is to be had");
    let options = Options { name: name.parse().expect("a short name"), mtu: 1420, uapi: true };
    let device = Dataplane::start(&options).expect("the device starts");
    loop {
        let mut fds = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(device.ended_fd(), PollFlags::POLLIN),
        ];
        poll(&mut fds, PollTimeout::NONE).expect("the wait is for a signal");
        let usr1 = Signal::SIGUSR1 as u32;
        if !matches!(signals.read_signal(), Ok(Some(info)) if info.ssi_signo == usr1) {
            break;
        }
        std::fs::write(count_file(name), allocations().to_string()).expect("the folder is there");
    }
    device.stop();
}

/// Times changes of one peer's AllowedIPs on a device of 5,000 peers, from the call to its return: the wait for the
/// device's thread included.
pub(crate) fn time_changes() {
    const PEERS: u32 = 5000;
    const CHANGES: u32 = 2000;
    let options = Options { name: "wgbchange".parse().expect("a short name"), mtu: 1420, uapi: false };
    let device = Dataplane::start(&options).expect("the device starts");
    let key = |i: u32| {
        let mut bytes = [5; 32];
        bytes[8..12].copy_from_slice(&i.to_le_bytes());
        PrivateKey::from_random(bytes).public_key()
    };
    let peer = |i: u32, third: u32| {
        let own = std::net::Ipv4Addr::from(0x0a00_0000 + i);
        let prefixes = [format!("{own}/32"), format!("10.{}.{}.0/24", 100 + third, i % 256)];
        PeerChange {
            replace_allowed_ips: true,
            allowed_ips: prefixes.iter().map(|p| p.parse().expect("a prefix")).collect(),
            ..PeerChange::new(key(i))
        }
    };
    let all = (0..PEERS).map(|i| peer(i, i / 256)).collect();
    let private_key = Some(PrivateKey::from_random([9; 32]));
    device
        .configure(DeviceChange { private_key, peers: all, ..Default::default() })
        .expect("the port is free");
    let times: Vec<f64> = (0..CHANGES)
        .map(|i| {
            let change = DeviceChange { peers: vec![peer(i, 50 + i % 2)], ..Default::default() };
            let started = Instant::now();
            device.configure(change).expect("it runs");
            started.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    let report = device.report().expect("it runs");
    assert_eq!(report.peers.len(), PEERS as usize);
    assert!(report.peers.iter().all(|p| (1..=2).contains(&p.allowed_ips.len())));
    println!(
        "| AllowedIPs of one of 5,000 peers replaced, µs | {:.0} ({:.0} for 99 of 100) | | | |",
        table::percentile(&times, 50),
        table::percentile(&times, 99)
    );
    std::thread::sleep(Duration::from_millis(1));
    device.stop();
}
