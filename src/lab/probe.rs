//! Asks with real packets: a ping and a TCP connection for each pair, many at a time.
//!
//! Everybody who is asked for tells on TCP from which address he sees the call, so that a translation shows.

#![expect(clippy::disallowed_methods, reason = "packets, threads and the clock are what this is about")]

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, connect, recv, send, socket,
};

use super::build::{Interrupted, Lab};

/// Where everybody listens, on TCP: the discard service's neighbour that nobody has.
pub const PORT: u16 = 9009;
/// How long a pair is tried. A first handshake and its repetition have to fit.
const PATIENCE: Duration = Duration::from_millis(3000);
/// How long one packet is waited for.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);
/// How many pairs are asked at once.
const AT_ONCE: usize = 48;

/// What came of a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// How long the answer to a ping took; `None`: none came.
    pub ping: Option<Duration>,
    /// Whether a TCP connection stood and carried an answer.
    pub tcp: bool,
    /// From which address the far end saw the call.
    pub seen_as: Option<IpAddr>,
}

impl Observed {
    /// Says whether both got through.
    pub const fn reaches(&self) -> bool {
        self.ping.is_some() && self.tcp
    }
}

/// Asks every pair of the lab; the answers are in the order of its pairs.
///
/// # Errors
/// A socket cannot be made.
pub fn probe(lab: &Lab, interrupted: Interrupted<'_>) -> io::Result<Vec<Observed>> {
    let stop = AtomicBool::new(false);
    // A node with two homes is two places and listens once.
    let spaces: BTreeSet<usize> = lab.topology.places.iter().map(|p| p.space).collect();
    let listeners: Vec<TcpListener> = spaces
        .iter()
        .map(|space| {
            lab.spaces[*space].inside(|| {
                TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))
                    .or_else(|_| TcpListener::bind(("0.0.0.0", PORT)))
            })
        })
        .collect::<io::Result<_>>()?;
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (stop, next) = (&stop, &next);
        for listener in &listeners {
            scope.spawn(move || answer(listener, stop));
        }
        let workers: Vec<_> = (0..AT_ONCE.min(lab.topology.pairs.len()))
            .map(|_| {
                scope.spawn(move || {
                    let mut seen = Vec::new();
                    loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        let Some(pair) = lab.topology.pairs.get(i).filter(|_| !interrupted()) else { break };
                        let topology = &lab.topology;
                        let (from, to) = (&topology.places[pair.from], &topology.places[pair.to]);
                        let (target, from) = (topology.called(from, to), from.space);
                        seen.push((i, lab.spaces[from].inside(|| Ok(ask(target, i)))));
                    }
                    seen
                })
            })
            .collect();
        let mut answers = Vec::new();
        for worker in workers {
            answers.extend(worker.join().unwrap_or_default());
        }
        stop.store(true, Ordering::Relaxed);
        answers.sort_by_key(|(i, _)| *i);
        answers.into_iter().map(|(_, answer)| answer).collect()
    })
}

fn ask(target: IpAddr, number: usize) -> Observed {
    let ping = ping(target, number);
    let (tcp, seen_as) = match call(target) {
        Ok(seen_as) => (true, seen_as),
        Err(_) => (false, None),
    };
    Observed { ping, tcp, seen_as }
}

/// Tells every caller his address until told to stop.
fn answer(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut fds, PollTimeout::from(50u8)), Ok(1..)) {
            continue;
        }
        if let Ok((mut stream, caller)) = listener.accept() {
            let _ = stream.write_all(caller.ip().to_canonical().to_string().as_bytes());
        }
    }
}

/// Connects, and returns the address under which the other side sees this one.
fn call(target: IpAddr) -> io::Result<Option<IpAddr>> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(target, PORT), PATIENCE / 2)?;
    stream.set_read_timeout(Some(PATIENCE / 2))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.parse().ok())
}

/// Pings until an answer comes or patience ends; returns how long that answer took.
fn ping(target: IpAddr, number: usize) -> Option<Duration> {
    let mut socket = None;
    let identifier = u16::try_from(number % 0x1_0000).unwrap_or_default();
    let start = Instant::now();
    for sequence in 0u16.. {
        if start.elapsed() > PATIENCE {
            break;
        }
        let sent = Instant::now();
        let by = socket.take().or_else(|| icmp_socket(target).ok());
        let request = echo_request(target, identifier, sequence);
        // No route, or a refusal that came back: it may be there a moment later.
        let Some(by) = by.filter(|s| send(s.as_raw_fd(), &request, MsgFlags::empty()).is_ok()) else {
            thread::sleep(ANSWER_WITHIN);
            continue;
        };
        let by = socket.insert(by);
        while let Some(left) = ANSWER_WITHIN.checked_sub(sent.elapsed()) {
            let mut fds = [PollFd::new(by.as_fd(), PollFlags::POLLIN)];
            let left = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
            if !matches!(poll(&mut fds, PollTimeout::from(left)), Ok(1..)) {
                break;
            }
            let mut packet = [0u8; 256];
            let length = recv(by.as_raw_fd(), &mut packet, MsgFlags::empty()).unwrap_or(0);
            if is_echo_reply(&packet[..length], target, identifier) {
                return Some(sent.elapsed());
            }
        }
    }
    None
}

/// A socket for pings to one address. Connected, it hears that address alone, and only what comes to the address that it
/// sends from: an answer that went astray to another of this host's addresses is none, as it is none for TCP and UDP.
///
/// # Errors
/// No route leads there.
pub(super) fn icmp_socket(target: IpAddr) -> nix::Result<OwnedFd> {
    let (family, protocol) = match target {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(target, 0)))?;
    Ok(socket)
}

/// An echo request (RFC 792, RFC 4443); the kernel fills in ICMPv6's checksum.
pub(super) fn echo_request(target: IpAddr, identifier: u16, sequence: u16) -> [u8; 16] {
    let mut packet = [0u8; 16];
    packet[0] = if target.is_ipv4() { 8 } else { 128 };
    packet[4..6].copy_from_slice(&identifier.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let sum: u32 = packet.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let checksum = !u16::try_from(folded).unwrap_or(0);
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// Says whether a packet is the answer to ours. A raw IPv4 socket also gets the IP header.
pub(super) fn is_echo_reply(packet: &[u8], target: IpAddr, identifier: u16) -> bool {
    let (icmp, kind) = match target {
        IpAddr::V4(_) => {
            let header = packet.first().map_or(0, |b| usize::from(b & 0x0f) * 4);
            (packet.get(header..), 0)
        }
        IpAddr::V6(_) => (Some(packet), 129),
    };
    icmp.is_some_and(|p| p.len() >= 8 && p[0] == kind && p[4..6] == identifier.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_request_sums_to_zero() {
        for (identifier, sequence) in [(0, 0), (7, 1), (0xffff, 0xffff)] {
            let packet = echo_request("192.0.2.1".parse().unwrap(), identifier, sequence);
            let sum: u32 = packet.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            assert_eq!((folded & 0xffff) + (folded >> 16), 0xffff);
        }
    }

    #[test]
    fn only_our_own_answer_counts() {
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let mut packet = vec![0u8; 28];
        packet[0] = 0x45;
        packet[24..26].copy_from_slice(&7u16.to_be_bytes());
        assert!(is_echo_reply(&packet, v4, 7));
        assert!(!is_echo_reply(&packet, v4, 8));
        // One's own request comes back on a raw socket of the loopback.
        packet[20] = 8;
        assert!(!is_echo_reply(&packet, v4, 7));
        assert!(!is_echo_reply(&packet[..20], v4, 7));
        assert!(!is_echo_reply(&[], v4, 7));
    }
}
