//! The UDP socket: many datagrams a call, several to a message where the kernel can cut and join them.
//!
//! One socket serves both families. What the kernel lacks is done without: joined receiving and congestion marks
//! are options that may fail; segmentation on sending is probed once, and given up for a destination that refuses.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bytes::BytesMut;

use super::super::core::{Datagram, Remote};
use super::super::peer::PeerId;
use super::address::{self, Ancillary, ControlWriter, Family};
use super::sys::{self, Incoming, Outgoing, RECEIVE_BATCH, RECEIVE_CALLS};

/// Bytes of socket buffer asked for in each direction.
const BUFFER: i32 = 7 << 20;
/// Datagrams in one message, the kernel's limit before Linux 6.9.
const MAX_SEGMENTS: usize = 64;
/// Bytes in one message, below what an IPv4 datagram holds.
const MAX_MESSAGE: usize = 65000;
/// How many destinations' errors are kept.
const MOST_ERRORS: usize = 1024;
/// How long to wait for room in a full socket before a datagram is dropped.
const FULL_WAIT: Duration = Duration::from_millis(5);

/// A bound socket.
pub(super) struct Udp {
    socket: OwnedFd,
    family: Family,
    port: u16,
    /// Whether the kernel cuts messages into datagrams.
    segmentation: bool,
    /// Destinations whose route refused that; forgotten now and then.
    unsegmented: HashSet<IpAddr>,
    /// What the kernel last refused, by destination, until it takes a datagram there.
    errors: BTreeMap<SocketAddr, i32>,
    incoming: Incoming,
    messages: Vec<Outgoing>,
    /// The datagrams that each of `messages` holds: the first, and how many.
    runs: Vec<(usize, usize)>,
}

impl Udp {
    /// Binds `port` of every local address, any free one for 0, and has datagrams carry `fwmark`.
    pub(super) fn bind(port: u16, fwmark: u32) -> io::Result<Self> {
        let dual = sys::udp_socket(libc::AF_INET6).and_then(|socket| {
            sys::set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
            Self::bind_to(socket, Family::Dual, (Ipv6Addr::UNSPECIFIED, port).into(), fwmark)
        });
        match dual {
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
                tracing::info!("this host has no IPv6: the tunnel runs over IPv4 alone");
                let socket = sys::udp_socket(libc::AF_INET)?;
                Self::bind_to(socket, Family::V4, (Ipv4Addr::UNSPECIFIED, port).into(), fwmark)
            }
            other => other,
        }
    }

    fn bind_to(socket: OwnedFd, family: Family, address: SocketAddr, fwmark: u32) -> io::Result<Self> {
        let fd = socket.as_fd();
        for (force, plain) in
            [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
        {
            // Without CAP_NET_ADMIN in the first user namespace the sysctl's limit holds.
            if sys::set_option(fd, libc::SOL_SOCKET, force, BUFFER).is_err() {
                let _ = sys::set_option(fd, libc::SOL_SOCKET, plain, BUFFER);
            }
        }
        if fwmark != 0 {
            sys::set_option(fd, libc::SOL_SOCKET, libc::SO_MARK, fwmark.cast_signed())?;
        }
        // Options that make things better and may be missing. The tunnel's packets may be fragmented, as the
        // kernel's: a path with a small MTU is slow, not dead.
        let wanted = [
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
            (libc::IPPROTO_IP, libc::IP_RECVTOS, 1),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
            (libc::SOL_UDP, address::UDP_GRO, 1),
        ];
        for (level, option, value) in wanted {
            if level == libc::IPPROTO_IPV6 && family == Family::V4 {
                continue;
            }
            if let Err(error) = sys::set_option(fd, level, option, value) {
                tracing::debug!(level, option, %error, "a socket option is not to be had");
            }
        }
        if family == Family::V4 {
            let _ = sys::set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1);
        }
        // A kernel without it would ignore the control message and send one big datagram.
        let segmentation = sys::option(fd, libc::SOL_UDP, address::UDP_SEGMENT).is_ok();
        if !segmentation {
            tracing::info!("the kernel offers no UDP segmentation");
        }
        let (name, length) = address::encode(address, family).expect("the address is of the family");
        sys::bind(fd, &name[..length])?;
        let port = address::decode(&sys::bound_address(fd)?).map_or(0, |a| a.port());
        Ok(Self {
            family,
            port,
            segmentation,
            unsegmented: HashSet::new(),
            errors: BTreeMap::new(),
            incoming: Incoming::new(),
            messages: Vec::new(),
            runs: Vec::new(),
            socket,
        })
    }

    /// The bound port.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Has datagrams carry this mark; 0 is none. EPERM without CAP_NET_ADMIN.
    pub(super) fn set_fwmark(&self, mark: u32) -> io::Result<()> {
        sys::set_option(self.socket.as_fd(), libc::SOL_SOCKET, libc::SO_MARK, mark.cast_signed())
    }

    /// Tries segmentation again where it was refused: routes change.
    pub(super) fn forget_refusals(&mut self) {
        self.unsegmented.clear();
    }

    /// Returns what the kernel answered when it last refused a datagram to this destination; `None`: it took the last one.
    pub(super) fn error_towards(&self, to: SocketAddr) -> Option<i32> {
        self.errors.get(&to).copied()
    }

    /// Takes what has arrived, up to some hundred datagrams, and calls `deliver` for each. Returns whether there was
    /// any.
    pub(super) fn receive(&mut self, mut deliver: impl FnMut(BytesMut, Remote, u8)) -> io::Result<bool> {
        let mut any = false;
        for call in 0..RECEIVE_CALLS {
            let count = self.receive_batch(call, &mut deliver)?;
            any |= count > 0;
            // A full batch promises more, and what is handed on together is joined better.
            if count < RECEIVE_BATCH {
                break;
            }
        }
        Ok(any)
    }

    fn receive_batch(
        &mut self,
        call: usize,
        deliver: &mut impl FnMut(BytesMut, Remote, u8),
    ) -> io::Result<usize> {
        let count = match self.incoming.receive(self.socket.as_fd(), call) {
            Ok(count) => count,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(0);
            }
            Err(e) => return Err(e),
        };
        for i in 0..count {
            let (buffer, name, control) = self.incoming.message(i);
            let Some(from) = address::decode(name) else { continue };
            let ancillary = Ancillary::parse(control);
            let segment = ancillary.segment.unwrap_or(usize::MAX);
            while !buffer.is_empty() {
                let datagram = buffer.split_to(segment.min(buffer.len()));
                deliver(datagram, ancillary.remote(from), ancillary.ecn);
            }
        }
        Ok(count)
    }

    /// Sends datagrams in order, those that follow one another to one place as one message, and calls `lost_source`
    /// for a peer whose datagrams can no longer leave from the address that it used.
    pub(super) fn send(&mut self, datagrams: &[Datagram], mut lost_source: impl FnMut(PeerId)) {
        self.group(datagrams);
        let mut slices: Vec<IoSlice<'_>> = datagrams.iter().map(|d| IoSlice::new(&d.message)).collect();
        let mut done = 0;
        while done < self.messages.len() {
            match sys::send_batch(self.socket.as_fd(), &mut self.messages[done..], &mut slices) {
                Ok(sent) => {
                    if !self.errors.is_empty() {
                        for (first, _) in &self.runs[done..done + sent] {
                            self.errors.remove(&datagrams[*first].to.address);
                        }
                    }
                    done += sent;
                }
                Err(error) => {
                    self.retry(done, &error, datagrams, &mut slices, &mut lost_source);
                    done += 1;
                }
            }
        }
    }

    /// Fills `messages` and `runs`.
    fn group(&mut self, datagrams: &[Datagram]) {
        self.messages.clear();
        self.runs.clear();
        let mut first = 0;
        while let Some(head) = datagrams.get(first) {
            let size = head.message.len();
            let limit = if self.segmentation && !self.unsegmented.contains(&head.to.address.ip()) {
                MAX_SEGMENTS
            } else {
                1
            };
            let (mut count, mut bytes) = (1, size);
            // All of one size, but the last may be shorter.
            while let Some(next) = datagrams.get(first + count)
                && count < limit
                && next.to == head.to
                && next.ecn == head.ecn
                && next.message.len() <= size
                && bytes + next.message.len() <= MAX_MESSAGE
            {
                count += 1;
                bytes += next.message.len();
                if next.message.len() < size {
                    break;
                }
            }
            self.push_message(head, first, count, head.to.local);
            first += count;
        }
    }

    fn push_message(&mut self, head: &Datagram, first: usize, count: usize, source: Option<IpAddr>) {
        // A datagram of the other family has nowhere to go; it is dropped as one without route would be.
        let Some((name, name_length)) = address::encode(head.to.address, self.family) else { return };
        let mut control = ControlWriter::new();
        if let Some(source) = source {
            control.source(source, self.family);
        }
        if head.ecn != 0 {
            control.ecn(head.ecn, head.to.address);
        }
        if count > 1 {
            control.segment(u16::try_from(head.message.len()).expect("two fit into one message"));
        }
        self.messages.push(Outgoing {
            name,
            name_length,
            control: control.control,
            control_length: control.length,
            first,
            count,
        });
        self.runs.push((first, count));
    }

    /// Deals with the message at `at`, which the kernel refused: waits, sends its parts one by one, or drops it.
    fn retry(
        &mut self,
        at: usize,
        error: &io::Error,
        datagrams: &[Datagram],
        slices: &mut [IoSlice<'_>],
        lost_source: &mut impl FnMut(PeerId),
    ) {
        let (first, count) = self.runs[at];
        let run = &datagrams[first..first + count];
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => {
                self.wait_for_room();
                let _ = sys::send_batch(self.socket.as_fd(), &mut self.messages[at..=at], slices);
                return;
            }
            Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EADDRNOTAVAIL | libc::ENETUNREACH) => {}
            // No buffers, no route, refused by a firewall: gone, as on any network.
            _ => {
                self.dropped(run[0].to.address, error);
                return;
            }
        }
        let had_source = run[0].to.local.is_some();
        if count == 1 && !had_source {
            self.dropped(run[0].to.address, error);
            return;
        }
        let before = self.messages.len();
        let mut worked = false;
        for (offset, datagram) in run.iter().enumerate() {
            self.push_message(datagram, first + offset, 1, None);
        }
        for extra in before..self.messages.len() {
            worked |= sys::send_batch(self.socket.as_fd(), &mut self.messages[extra..=extra], slices).is_ok();
        }
        self.messages.truncate(before);
        self.runs.truncate(before);
        if worked {
            self.errors.remove(&run[0].to.address);
        } else {
            self.dropped(run[0].to.address, error);
        }
        if worked && count > 1 {
            tracing::debug!(%error, to = %run[0].to.address, "no UDP segmentation towards this destination");
            self.unsegmented.insert(run[0].to.address.ip());
        }
        if worked
            && had_source
            && let Some(peer) = run[0].peer
        {
            lost_source(peer);
        }
    }

    fn dropped(&mut self, to: SocketAddr, error: &io::Error) {
        tracing::trace!(%error, %to, "dropped");
        // A full queue is no error of the way.
        let errno = error.raw_os_error().filter(|errno| *errno != libc::ENOBUFS);
        if let Some(errno) = errno
            && (self.errors.len() < MOST_ERRORS || self.errors.contains_key(&to))
        {
            self.errors.insert(to, errno);
        }
    }

    fn wait_for_room(&self) {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
        let _ = poll(&mut fds, PollTimeout::try_from(FULL_WAIT).unwrap_or(PollTimeout::ZERO));
    }

    /// Takes the error that poll reports, so that it does not report it again.
    pub(super) fn clear_error(&self) {
        let _ = sys::option(self.socket.as_fd(), libc::SOL_SOCKET, libc::SO_ERROR);
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use gotatun::packet::Packet;

    use super::*;

    fn datagram(length: usize, to: SocketAddr, local: Option<IpAddr>, ecn: u8) -> Datagram {
        let message = Packet::copy_from(&vec![length as u8; length][..]);
        Datagram { peer: Some(PeerId(7)), to: Remote { address: to, local }, ecn, message }
    }

    fn bind(family: Family) -> Udp {
        let (af, any): (_, IpAddr) = match family {
            Family::V4 => (libc::AF_INET, Ipv4Addr::UNSPECIFIED.into()),
            Family::Dual => (libc::AF_INET6, Ipv6Addr::UNSPECIFIED.into()),
        };
        Udp::bind_to(sys::udp_socket(af).unwrap(), family, (any, 0).into(), 0).unwrap()
    }

    /// Receives `count` datagrams.
    fn receive(udp: &mut Udp, count: usize) -> Vec<(Vec<u8>, Remote, u8)> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut found = Vec::new();
        while found.len() < count {
            let ready =
                poll(&mut [PollFd::new(udp.as_fd(), PollFlags::POLLIN)], PollTimeout::from(2000u16)).unwrap();
            assert!(ready > 0, "{} of {count} came", found.len());
            udp.receive(|bytes, from, ecn| found.push((bytes.to_vec(), from, ecn))).unwrap();
        }
        found
    }

    #[test]
    fn batches_arrive_whole_and_in_order() {
        for family in [Family::V4, Family::Dual] {
            for segmentation in [true, false] {
                let (mut from, mut to) = (bind(family), bind(family));
                from.segmentation &= segmentation;
                let there: SocketAddr = (Ipv4Addr::LOCALHOST, to.port()).into();
                // Runs of one size, a short end, a longer one, another mark: each ends a message.
                let lengths = [1400, 1400, 1400, 60, 1400, 1452, 1452, 32, 32, 32];
                let batch: Vec<Datagram> = (0..3)
                    .flat_map(|ecn| lengths.iter().map(move |l| datagram(*l, there, None, ecn)))
                    .collect();
                from.send(&batch, |_| panic!("no source was given"));
                let received = receive(&mut to, batch.len());
                for (sent, (bytes, remote, ecn)) in batch.iter().zip(&received) {
                    assert_eq!((&bytes[..], *ecn), (&sent.message[..], sent.ecn));
                    assert_eq!(remote.address, (Ipv4Addr::LOCALHOST, from.port()).into());
                    assert_eq!(remote.local, Some(Ipv4Addr::LOCALHOST.into()));
                }
            }
        }
    }

    #[test]
    fn the_source_is_kept_while_it_is_there() {
        for family in [Family::V4, Family::Dual] {
            let (mut from, mut to) = (bind(family), bind(family));
            let there: SocketAddr = (Ipv4Addr::new(127, 0, 0, 2), to.port()).into();
            let (own, gone) = (Some([127, 0, 0, 3].into()), Some([192, 0, 2, 99].into()));
            from.send(&[datagram(100, there, own, 0)], |_| panic!("the source is fine"));
            let received = receive(&mut to, 1);
            assert_eq!(received[0].1.address.ip(), own.unwrap());
            let mut lost = Vec::new();
            from.send(&[datagram(100, there, gone, 0), datagram(100, there, gone, 0)], |peer| {
                lost.push(peer);
            });
            assert_eq!(lost, [PeerId(7)]);
            assert_eq!(receive(&mut to, 2).len(), 2, "they went from another");
        }
    }

    #[test]
    fn a_port_is_taken_once() {
        let Ok(first) = Udp::bind(0, 0) else { panic!("some port is free") };
        let Err(error) = Udp::bind(first.port(), 0) else { panic!("the port is taken") };
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
    }

    #[test]
    fn a_place_without_route_loses_only_its_own() {
        let (mut from, mut to) = (bind(Family::V4), bind(Family::V4));
        let there: SocketAddr = (Ipv4Addr::LOCALHOST, to.port()).into();
        let (v6, broadcast) = ("[2001:db8::1]:9".parse().unwrap(), "255.255.255.255:9".parse().unwrap());
        let batch = [v6, there, broadcast, there].map(|to| datagram(50, to, None, 0));
        from.send(&batch, |_| {});
        assert_eq!(receive(&mut to, 2).len(), 2);
    }
}
