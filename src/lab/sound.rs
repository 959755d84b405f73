//! Sends every question's packets, all of a stage side by side, and says which were answered.
//!
//! A question that is expected to fail is asked until those that should succeed have their answers, and twice more: by then
//! every session stands that it could have used, and an answer takes no longer than theirs did.

#![expect(clippy::disallowed_methods, reason = "packets, threads and the clock are what this is about")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, recvfrom, sendto, socket,
};

use super::build::{Handles, Interrupted};
use super::compare::Question;
use super::probe::{echo_request, icmp_socket, is_echo_reply};
use super::schedule::Act;
use crate::model::{PortSpec, Verdict};

/// Between two attempts of one question.
const ROUND: Duration = Duration::from_millis(250);
/// How often the rest is asked again when everything that succeeds has succeeded, each time anew.
const LAST_ROUNDS: u32 = 2;
/// The longest of these rounds.
const LONGEST: Duration = Duration::from_secs(3);

/// Asks the questions of an act, stage by stage; returns the answers by the question's index.
///
/// # Errors
/// A socket cannot be made.
pub fn sound(
    spaces: &[Handles],
    questions: &[Question],
    act: &Act,
    patience: Duration,
    interrupted: Interrupted<'_>,
) -> io::Result<Vec<(usize, Verdict)>> {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // A socket for each question; where that is refused, making one will say so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let servers = servers(spaces, questions)?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for server in &servers {
            scope.spawn(|| serve(server, &stop));
        }
        let asked = Asked {
            questions,
            patience,
            interrupted,
            expected: AtomicUsize::new(0),
            slowest: AtomicU64::new(0),
        };
        let seen: io::Result<Vec<_>> = act.iter().map(|stage| asked.stage(spaces, stage)).collect();
        stop.store(true, Ordering::Relaxed);
        Ok(seen?.into_iter().flatten().collect())
    })
}

/// What a space answers with.
struct Server {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

fn servers(spaces: &[Handles], questions: &[Question]) -> io::Result<Vec<Server>> {
    let mut wanted: BTreeMap<usize, BTreeSet<(IpAddr, PortSpec)>> = BTreeMap::new();
    for q in questions {
        wanted.entry(q.target_space).or_default().insert((q.target, q.port));
    }
    let bind = |list: &BTreeSet<(IpAddr, PortSpec)>| {
        let mut server = Server { tcp: Vec::new(), udp: Vec::new() };
        let tcp: BTreeSet<u16> = list
            .iter()
            .filter_map(|(_, p)| if let PortSpec::Tcp(r) = p { Some(r.first) } else { None })
            .collect();
        for port in tcp {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?;
            listener.set_nonblocking(true)?;
            server.tcp.push(listener);
        }
        // Each address has a socket of its own, or an answer could leave with another one's.
        for (address, port) in list {
            let PortSpec::Udp(range) = port else { continue };
            // A node that is not up lacks its address; that it does not answer is then what is to be seen.
            if let Ok(udp) = UdpSocket::bind((*address, range.first)) {
                udp.set_nonblocking(true)?;
                server.udp.push(udp);
            }
        }
        Ok(server)
    };
    wanted.iter().map(|(space, list)| spaces[*space].inside(|| bind(list))).collect()
}

fn serve(server: &Server, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let tcp = server.tcp.iter().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN));
        let udp = server.udp.iter().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN));
        let mut fds: Vec<PollFd<'_>> = tcp.chain(udp).collect();
        if !matches!(poll(&mut fds, PollTimeout::from(50u8)), Ok(1..)) {
            continue;
        }
        for listener in &server.tcp {
            while listener.accept().is_ok() {}
        }
        for socket in &server.udp {
            let mut packet = [0u8; 16];
            while let Ok((length, caller)) = socket.recv_from(&mut packet) {
                let _ = socket.send_to(&packet[..length], caller);
            }
        }
    }
}

/// One question on its way.
struct Attempt<'q> {
    index: usize,
    question: &'q Question,
    state: State,
    /// When the last packet was sent.
    sent: Instant,
}

enum State {
    Idle,
    Calling(TcpStream),
    Waiting(UdpSocket),
    Answered,
}

/// What those who ask share.
struct Asked<'a> {
    questions: &'a [Question],
    patience: Duration,
    interrupted: Interrupted<'a>,
    /// How many that should succeed have no answer yet.
    expected: AtomicUsize,
    /// How long the slowest answer took, in milliseconds.
    slowest: AtomicU64,
}

impl Asked<'_> {
    fn stage(&self, spaces: &[Handles], stage: &[usize]) -> io::Result<Vec<(usize, Verdict)>> {
        let mut by_space: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for i in stage {
            by_space.entry(self.questions[*i].space).or_default().push(*i);
        }
        let expected = stage.iter().filter(|i| self.questions[**i].predicted == Verdict::Reaches).count();
        self.expected.store(expected, Ordering::Relaxed);
        thread::scope(|scope| {
            let workers: Vec<_> = by_space
                .iter()
                .map(|(space, list)| scope.spawn(move || spaces[*space].inside(|| self.one_space(list))))
                .collect();
            let mut all = Vec::new();
            for worker in workers {
                all.extend(worker.join().unwrap_or_else(|_| Err(io::Error::other("a probe panicked")))?);
            }
            Ok(all)
        })
    }

    /// Asks what one space asks.
    fn one_space(&self, list: &[usize]) -> io::Result<Vec<(usize, Verdict)>> {
        let mut attempts: Vec<Attempt<'_>> = list
            .iter()
            .map(|i| Attempt {
                index: *i,
                question: &self.questions[*i],
                state: State::Idle,
                sent: Instant::now(),
            })
            .collect();
        let icmp: Vec<OwnedFd> = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
            .into_iter()
            .map(|family| icmp_socket(family).map_err(io::Error::from))
            .collect::<io::Result<_>>()?;
        let start = Instant::now();
        let is_over = || start.elapsed() > self.patience || (self.interrupted)();
        let is_settled = || self.expected.load(Ordering::Relaxed) == 0;
        let mut round = 0;
        while !is_settled() && !is_over() && attempts.iter().any(|a| !matches!(a.state, State::Answered)) {
            self.round(&mut attempts, &icmp, round, ROUND, &is_settled);
            round = round.wrapping_add(1);
        }
        for _ in 0..LAST_ROUNDS {
            for attempt in attempts.iter_mut().filter(|a| !matches!(a.state, State::Answered)) {
                attempt.state = State::Idle;
            }
            let slowest = Duration::from_millis(self.slowest.load(Ordering::Relaxed));
            self.round(&mut attempts, &icmp, round, (2 * slowest).clamp(ROUND, LONGEST), &|| false);
            round = round.wrapping_add(1);
        }
        let verdict = |a: &Attempt<'_>| match a.state {
            State::Answered => Verdict::Reaches,
            _ => Verdict::Blocked,
        };
        Ok(attempts.iter().map(|a| (a.index, verdict(a))).collect())
    }

    /// Sends once what is unanswered, and takes answers for a while.
    fn round(
        &self,
        attempts: &mut [Attempt<'_>],
        icmp: &[OwnedFd],
        round: u16,
        length: Duration,
        enough: &dyn Fn() -> bool,
    ) {
        for attempt in attempts.iter_mut() {
            attempt.send(icmp, round);
        }
        let until = Instant::now() + length;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if enough() || attempts.iter().all(|a| matches!(a.state, State::Answered)) {
                break;
            }
            receive(attempts, icmp, left, self);
        }
    }

    fn answered(&self, attempt: &mut Attempt<'_>) {
        if matches!(attempt.state, State::Answered) {
            return;
        }
        attempt.state = State::Answered;
        if attempt.question.predicted == Verdict::Reaches {
            let took = u64::try_from(attempt.sent.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.slowest.fetch_max(took, Ordering::Relaxed);
            self.expected.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Attempt<'_> {
    /// Another one in each run: connection tracking remembers the last run's pings, and what was done to them.
    fn identifier(&self) -> u16 {
        let run = u64::from(std::process::id()).wrapping_mul(7919);
        u16::try_from((self.index as u64).wrapping_add(run) % 0x1_0000).unwrap_or_default()
    }

    /// Sends once more. What fails here (no route yet, a refusal that came back) may work the next time.
    fn send(&mut self, icmp: &[OwnedFd], round: u16) {
        let target = self.question.target;
        // A SYN that was lost is repeated by a new call, sooner than the kernel would.
        let is_calling = matches!(self.state, State::Calling(_)) && self.sent.elapsed() < 3 * ROUND;
        if !is_calling && !matches!(self.state, State::Answered) {
            self.sent = Instant::now();
        }
        match (&self.state, self.question.port) {
            (State::Answered, _) => {}
            (_, PortSpec::Icmp) => {
                let to = SockaddrStorage::from(SocketAddr::new(target, 0));
                let request = echo_request(target, self.identifier(), round);
                let by = &icmp[usize::from(target.is_ipv6())];
                let _ = sendto(by.as_raw_fd(), &request, &to, MsgFlags::MSG_DONTWAIT);
            }
            (State::Calling(_), _) if is_calling => {}
            (_, PortSpec::Tcp(range)) => {
                let called = call(SocketAddr::new(target, range.first));
                self.state = called.map_or(State::Idle, State::Calling);
            }
            (State::Waiting(socket), PortSpec::Udp(_)) => {
                let _ = socket.send(b"wgrelay");
            }
            (_, PortSpec::Udp(range)) => {
                if let Ok(socket) = datagrams(SocketAddr::new(target, range.first)) {
                    let _ = socket.send(b"wgrelay");
                    self.state = State::Waiting(socket);
                }
            }
        }
    }

    fn fd(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.state {
            State::Calling(stream) => Some((stream.as_fd(), PollFlags::POLLOUT)),
            State::Waiting(socket) => Some((socket.as_fd(), PollFlags::POLLIN)),
            State::Idle | State::Answered => None,
        }
    }

    /// Takes what came. A call that was refused is over; it is made again in a later round.
    fn take(&mut self, asked: &Asked<'_>) {
        match &self.state {
            State::Calling(stream) => match (stream.take_error(), stream.peer_addr()) {
                (Ok(None), Ok(_)) => asked.answered(self),
                (Ok(None), Err(_)) => {}
                _ => self.state = State::Idle,
            },
            State::Waiting(socket) => {
                let mut packet = [0u8; 16];
                if socket.recv(&mut packet).is_ok() {
                    asked.answered(self);
                }
            }
            State::Idle | State::Answered => {}
        }
    }
}

fn receive(attempts: &mut [Attempt<'_>], icmp: &[OwnedFd], left: Duration, asked: &Asked<'_>) {
    let waiting: Vec<usize> = (0..attempts.len()).filter(|i| attempts[*i].fd().is_some()).collect();
    let ready: Vec<bool> = {
        let own = icmp.iter().map(|s| (s.as_fd(), PollFlags::POLLIN));
        let theirs = waiting.iter().filter_map(|i| attempts[*i].fd());
        let mut fds: Vec<PollFd<'_>> = own.chain(theirs).map(|(fd, flags)| PollFd::new(fd, flags)).collect();
        let left = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
        if !matches!(poll(&mut fds, PollTimeout::from(left)), Ok(1..)) {
            return;
        }
        fds.iter().map(|fd| fd.any().unwrap_or(false)).collect()
    };
    let (own, theirs) = ready.split_at(icmp.len());
    for (i, _) in waiting.iter().zip(theirs).filter(|(_, ready)| **ready) {
        attempts[*i].take(asked);
    }
    for (socket, _) in icmp.iter().zip(own).filter(|(_, ready)| **ready) {
        let mut packet = [0u8; 256];
        while let Some((length, from)) = echo(socket, &mut packet) {
            let answer = &packet[..length];
            let of = |a: &&mut Attempt<'_>| {
                a.question.port == PortSpec::Icmp
                    && a.question.target == from
                    && is_echo_reply(answer, from, a.identifier())
            };
            if let Some(attempt) = attempts.iter_mut().find(of) {
                asked.answered(attempt);
            }
        }
    }
}

/// Takes one packet off a raw socket, with its source.
fn echo(socket: &OwnedFd, packet: &mut [u8]) -> Option<(usize, IpAddr)> {
    use nix::sys::socket::SockaddrLike as _;
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    if !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..)) {
        return None;
    }
    let (length, from) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), packet).ok()?;
    let from = from?;
    let ip = match from.family()? {
        AddressFamily::Inet => IpAddr::V4(from.as_sockaddr_in()?.ip()),
        AddressFamily::Inet6 => IpAddr::V6(from.as_sockaddr_in6()?.ip()),
        _ => return None,
    };
    Some((length, ip))
}

fn family(to: SocketAddr) -> AddressFamily {
    if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn call(to: SocketAddr) -> nix::Result<TcpStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family(to), SockType::Stream, flags, None)?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(error) => Err(error),
    }
}

fn datagrams(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(to)?;
    Ok(socket)
}
