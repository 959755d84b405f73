//! The one loop of a device: interface, network, commands and clock, all in one thread.
//!
//! It goes round while there are packets and sleeps in poll otherwise. What other threads and `wg(8)` ask for is
//! looked at between two rounds, so that neither can hold packets up.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::time::{ClockId, clock_gettime};

use super::handle::{ConfigureError, EndReason};
use super::ledger::Ledger;
use super::tun::{FRAME, Tun};
use super::uapi_socket::{UapiServer, process_of};
use super::udp::Udp;
use crate::dataplane::coalesce::Coalescer;
use crate::dataplane::core::{Core, Moment, Outbox};
use crate::dataplane::split::split;
use crate::dataplane::vnet::{VNET_HEADER, VnetHeader};
use crate::dataplane::{DeviceChange, DeviceReport, icmp, uapi};

/// How often the interface's MTU is read, and how often refused offloads are tried again.
const MTU_TICK: Duration = Duration::from_secs(1);
const OFFLOAD_TICK: Duration = Duration::from_secs(60);
/// What is read from the interface in one round: a few super-packets, or many small packets, which then leave in
/// batches as well.
const BYTES_PER_ROUND: usize = 256 << 10;
const FRAMES_PER_ROUND: usize = 64;
/// Rounds with packets after which commands are polled for all the same.
const ROUNDS_PER_POLL: u32 = 16;
/// Failing reads in a row after which the interface is given up.
const MAX_FAILURES: u32 = 100;
/// Failing receives in a row after which there is a pause: poll tells of what waits, and nothing takes it.
const FAILURES_PER_PAUSE: u32 = 16;
/// How long the loop rests where the system has no memory for what it asks.
const PAUSE: Duration = Duration::from_millis(10);

/// What other threads ask of the loop.
pub(super) enum Command {
    Configure(Box<DeviceChange>, SyncSender<Result<(), ConfigureError>>),
    Report(SyncSender<DeviceReport>),
    Stop,
}

/// A device at work.
pub(super) struct EventLoop {
    tun: Tun,
    udp: Option<Udp>,
    uapi: Option<UapiServer>,
    commands: Receiver<Command>,
    wake: Arc<EventFd>,
    /// Called after each change that came by the UAPI socket.
    touched: Box<dyn Fn(Option<String>) + Send>,
    core: Core,
    /// Where what it learns of its peers is kept.
    ledger: Option<Ledger>,
    out: Outbox,
    coalescer: Coalescer,
    icmp_limit: icmp::Limit,
    frame: Vec<u8>,
    udp_segmentation: bool,
    now: Moment,
    next_tick: Duration,
    next_mtu: Duration,
    next_offload: Duration,
    failures: u32,
    receive_failures: u32,
}

impl EventLoop {
    pub(super) fn new(
        tun: Tun,
        mtu: u16,
        uapi: Option<UapiServer>,
        commands: Receiver<Command>,
        wake: Arc<EventFd>,
        touched: Box<dyn Fn(Option<String>) + Send>,
        mut ledger: Option<Ledger>,
    ) -> Self {
        let mut core = Core::new(mtu);
        if let Some(ledger) = &mut ledger {
            core.remember(ledger.take_known());
        }
        Self {
            udp_segmentation: tun.udp_segmentation,
            tun,
            udp: None,
            uapi,
            commands,
            wake,
            touched,
            core,
            ledger,
            out: Outbox::default(),
            coalescer: Coalescer::default(),
            icmp_limit: icmp::Limit::default(),
            frame: vec![0; FRAME],
            now: Moment::default(),
            next_tick: Duration::ZERO,
            next_mtu: Duration::ZERO,
            next_offload: Duration::ZERO,
            failures: 0,
            receive_failures: 0,
        }
    }

    /// Serves the device until its end. Interface and sockets are gone when it returns.
    pub(super) fn run(mut self) -> EndReason {
        let Err(reason) = self.rounds();
        reason
    }

    fn rounds(&mut self) -> Result<Infallible, EndReason> {
        let mut rounds = 0u32;
        loop {
            self.now = moment();
            self.tick();
            let mut busy = self.read_interface()?;
            self.flush()?;
            busy |= self.read_network();
            self.flush()?;
            self.handle_commands()?;
            self.record();
            rounds = rounds.wrapping_add(1);
            if !busy || rounds.is_multiple_of(ROUNDS_PER_POLL) {
                self.sleep(!busy)?;
            }
        }
    }

    fn tick(&mut self) {
        let now = self.now.boot;
        if now >= self.next_tick {
            self.next_tick = now + self.core.tick(self.now, &mut self.out);
        }
        if now >= self.next_mtu {
            self.next_mtu = now + MTU_TICK;
            if let Some(mtu) = self.tun.mtu() {
                self.core.set_mtu(mtu);
            }
        }
        if now >= self.next_offload {
            self.next_offload = now + OFFLOAD_TICK;
            if let Some(udp) = &mut self.udp {
                udp.forget_refusals();
            }
        }
    }

    /// Takes packets from the interface, and tells whether there were any.
    fn read_interface(&mut self) -> Result<bool, EndReason> {
        let mut bytes = 0;
        for i in 0..FRAMES_PER_ROUND {
            if bytes >= BYTES_PER_ROUND {
                break;
            }
            match self.tun.read(&mut self.frame) {
                Ok(length) => {
                    bytes += length;
                    self.failures = 0;
                    self.take_frame(length);
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    return Ok(i > 0);
                }
                Err(e) => {
                    self.interface_failed(&e)?;
                    return Ok(i > 0);
                }
            }
        }
        Ok(true)
    }

    fn take_frame(&mut self, length: usize) {
        let Self { core, out, frame, now, .. } = self;
        let frame = &mut frame[..length];
        let Some(packet) = frame.get(VNET_HEADER..) else { return };
        match core.route(packet) {
            Some(peer) => {
                let cut = split(frame, |headers, payload| core.send(peer, headers, payload, *now, out));
                if cut.is_err() {
                    tracing::debug!(length, "the interface handed out a frame that contradicts itself");
                }
            }
            None if self.icmp_limit.allow(now.boot) => {
                if let Some(answer) = icmp::unreachable(packet) {
                    let parts = [io::IoSlice::new(&VnetHeader::PLAIN), io::IoSlice::new(&answer)];
                    let _ = self.tun.write(&parts);
                }
            }
            None => {}
        }
    }

    /// Decides over an error of the interface: its end, or a moment's trouble.
    fn interface_failed(&mut self, error: &io::Error) -> Result<(), EndReason> {
        // Deleted, detached, or its namespace gone (drivers/net/tun.c).
        if matches!(error.raw_os_error(), Some(libc::EBADFD | libc::EFAULT | libc::ENODEV | libc::ENXIO)) {
            return Err(EndReason::InterfaceGone);
        }
        self.failures += 1;
        if self.failures > MAX_FAILURES {
            return Err(EndReason::Failed(format!("the interface cannot be read: {error}")));
        }
        Ok(())
    }

    /// Takes datagrams from the network, and tells whether there were any.
    fn read_network(&mut self) -> bool {
        let Self { udp: Some(udp), core, out, now, receive_failures, .. } = self else { return false };
        match udp.receive(|datagram, from, ecn| core.receive(datagram, from, ecn, *now, out)) {
            Ok(any) => {
                *receive_failures = 0;
                any
            }
            Err(error) => {
                // Out of memory, or an error from the network that concerns one datagram.
                tracing::debug!(%error, "receiving failed");
                udp.clear_error();
                *receive_failures += 1;
                if *receive_failures >= FAILURES_PER_PAUSE {
                    *receive_failures = 0;
                    std::thread::sleep(PAUSE);
                }
                false
            }
        }
    }

    /// Hands out what the core has produced.
    fn flush(&mut self) -> Result<(), EndReason> {
        let Self { udp, core, out, tun, coalescer, udp_segmentation, .. } = self;
        if !out.datagrams.is_empty() {
            if let Some(udp) = udp {
                udp.send(&out.datagrams, |peer| core.forget_local(peer));
            }
            out.datagrams.clear();
        }
        if out.packets.is_empty() {
            return Ok(());
        }
        let mut gone = false;
        let join_udp = *udp_segmentation;
        coalescer.write(&mut out.packets, join_udp, |parts| {
            if let Err(error) = tun.write(parts) {
                match error.raw_os_error() {
                    Some(libc::EBADFD | libc::ENODEV) => gone = true,
                    // A kernel that announces UDP super-packets and refuses them.
                    Some(libc::EINVAL) if *udp_segmentation && parts.len() > 2 => *udp_segmentation = false,
                    // EIO: the interface is down. Anything else: one packet lost.
                    _ => tracing::trace!(%error, "the interface did not take a packet"),
                }
            }
        });
        out.packets.clear();
        if gone { Err(EndReason::InterfaceGone) } else { Ok(()) }
    }

    /// Keeps what was learned of peers in this round.
    fn record(&mut self) {
        let Self { out, core, ledger, .. } = self;
        if out.learned.is_empty() && out.forgotten.is_empty() {
            return;
        }
        out.learned.sort_unstable();
        out.learned.dedup();
        let Some(ledger) = ledger else {
            out.learned.clear();
            out.forgotten.clear();
            return;
        };
        out.forgotten.drain(..).for_each(|key| ledger.forget(&key));
        for (key, about) in out.learned.drain(..).filter_map(|id| core.memory_of(id)) {
            ledger.write(&key, &about);
        }
    }

    /// Does what other threads have asked for.
    fn handle_commands(&mut self) -> Result<(), EndReason> {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Configure(change, reply)) => {
                    let outcome = self.configure(&change);
                    let _ = reply.try_send(outcome);
                }
                Ok(Command::Report(reply)) => {
                    let _ = reply.try_send(self.report());
                }
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return Err(EndReason::Stopped),
                Err(TryRecvError::Empty) => return Ok(()),
            }
        }
    }

    fn configure(&mut self, change: &DeviceChange) -> Result<(), ConfigureError> {
        let port = match (change.listen_port, &self.udp) {
            (Some(port), Some(udp)) if udp.port() == port => None,
            (Some(port), _) => Some(port),
            // The first key brings the socket up, as the first `ip link set up` does for the kernel's.
            (None, None) if change.private_key.is_some() => Some(0),
            (None, _) => None,
        };
        let refused = |error: io::Error, port: u16| match error.raw_os_error() {
            Some(libc::EADDRINUSE) => ConfigureError::PortInUse(port),
            Some(libc::EPERM | libc::EACCES) => ConfigureError::NotPermitted,
            _ => ConfigureError::Socket(error),
        };
        if let Some(port) = port {
            let mark = change.fwmark.unwrap_or_else(|| self.core.fwmark());
            self.udp = Some(Udp::bind(port, mark).map_err(|e| refused(e, port))?);
        } else if let (Some(mark), Some(udp)) = (change.fwmark, &self.udp)
            && mark != self.core.fwmark()
        {
            udp.set_fwmark(mark).map_err(|e| refused(e, udp.port()))?;
        }
        if port.is_some() || change.fwmark.is_some_and(|mark| mark != self.core.fwmark()) {
            self.core.forget_locals();
        }
        self.core.apply(change, self.now, &mut self.out);
        Ok(())
    }

    fn report(&self) -> DeviceReport {
        let mut report = self.core.report();
        if let Some(udp) = &self.udp {
            report.listen_port = udp.port();
            for peer in &mut report.peers {
                peer.send_error = peer.endpoint.and_then(|to| udp.error_towards(to));
            }
        }
        report
    }

    /// Looks at what is ready, after waiting for it if `idle`, and serves `wg(8)`.
    fn sleep(&mut self, idle: bool) -> Result<(), EndReason> {
        let unanswered = self.uapi.as_ref().is_some_and(UapiServer::has_more);
        let timeout = if idle && self.out.datagrams.is_empty() && !unanswered {
            // Rounded up: waking a little early would mean another round for nothing.
            self.next_tick.saturating_sub(self.now.boot) + Duration::from_millis(1)
        } else {
            Duration::ZERO
        };
        let mut fds = Vec::with_capacity(8);
        fds.push(PollFd::new(self.tun.as_fd(), PollFlags::POLLIN));
        fds.push(PollFd::new(self.wake.as_fd(), PollFlags::POLLIN));
        if let Some(udp) = &self.udp {
            fds.push(PollFd::new(udp.as_fd(), PollFlags::POLLIN));
        }
        let sockets = fds.len();
        if let Some(uapi) = &self.uapi {
            uapi.poll_fds(self.now.boot, &mut fds);
        }
        match poll(&mut fds, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            // Only for lack of memory: try again, slowly.
            Err(_) => std::thread::sleep(PAUSE),
        }
        let ready = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
        let tun_events = ready(&fds[0]);
        let woken = ready(&fds[1]).contains(PollFlags::POLLIN);
        let udp_error = self.udp.is_some() && ready(&fds[2]).contains(PollFlags::POLLERR);
        let asked = unanswered || fds[sockets..].iter().any(|fd| !ready(fd).is_empty());
        drop(fds);
        if tun_events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL) {
            return Err(EndReason::InterfaceGone);
        }
        if woken {
            let _ = self.wake.read();
        }
        if udp_error && let Some(udp) = &self.udp {
            udp.clear_error();
        }
        if asked {
            self.serve_uapi();
        }
        Ok(())
    }

    fn serve_uapi(&mut self) {
        // Taken out for the while, as answering needs all the rest.
        let Some(mut server) = self.uapi.take() else { return };
        server.serve(self.now.boot, |request, client| match request {
            uapi::Request::Get => uapi::render_get(&self.report()),
            uapi::Request::Set(change) => {
                let outcome = self.configure(&change).map_err(|error| match error {
                    ConfigureError::PortInUse(_) => uapi::Errno::PortInUse,
                    ConfigureError::NotPermitted => uapi::Errno::NotPermitted,
                    ConfigureError::Socket(_) | ConfigureError::Ended(_) => uapi::Errno::Io,
                });
                if outcome.is_ok() {
                    (self.touched)(process_of(client));
                }
                uapi::render_outcome(outcome).into()
            }
        });
        self.uapi = Some(server);
    }
}

fn moment() -> Moment {
    // Neither clock can fail on Linux (clock_gettime(2)).
    let read = |id| clock_gettime(id).map(Duration::from).unwrap_or_default();
    Moment { boot: read(ClockId::CLOCK_BOOTTIME), unix: read(ClockId::CLOCK_REALTIME) }
}
