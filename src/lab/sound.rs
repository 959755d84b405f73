//! Sends every question's packets, all of a stage side by side, and says which were answered.
//!
//! A question that is expected to fail is asked until those that should succeed have their answers, and twice more: by then
//! every session stands that it could have used, and an answer takes no longer than theirs did.

#![expect(clippy::disallowed_methods, reason = "packets, threads and the clock are what this is about")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, recv, send, socket,
};

use super::build::{Handles, Interrupted};
use super::compare::Question;
use super::probe::{echo_request, icmp_socket, is_echo_reply};
use super::schedule::Act;
use crate::model::{PortSpec, Verdict};

/// Between two attempts of one question.
const ROUND: Duration = Duration::from_millis(250);
/// When a call is repeated by a new one, sooner than the kernel would repeat a SYN that was lost.
const RECALL: Duration = Duration::from_millis(750);
/// How many calls of one question are open side by side. The oldest is given up three seconds after it was made.
const CALLS: usize = 4;
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
        wanted.entry(q.target_space).or_default().insert(q.listens);
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
            // A connection is one where its third packet came, and something is heard on it.
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.write(b"w");
            }
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
    /// The newest call is the last.
    Calling(Vec<TcpStream>),
    Waiting(UdpSocket),
    Pinging(OwnedFd),
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
        let start = Instant::now();
        let is_over = || start.elapsed() > self.patience || (self.interrupted)();
        let is_settled = || self.expected.load(Ordering::Relaxed) == 0;
        let mut round = 0;
        while !is_settled() && !is_over() && attempts.iter().any(|a| !matches!(a.state, State::Answered)) {
            self.round(&mut attempts, round, ROUND, &is_settled);
            round = round.wrapping_add(1);
        }
        for _ in 0..LAST_ROUNDS {
            for attempt in attempts.iter_mut().filter(|a| !matches!(a.state, State::Answered)) {
                attempt.state = State::Idle;
            }
            let slowest = Duration::from_millis(self.slowest.load(Ordering::Relaxed));
            self.round(&mut attempts, round, (2 * slowest).clamp(ROUND, LONGEST), &|| false);
            round = round.wrapping_add(1);
        }
        let verdict = |a: &Attempt<'_>| match a.state {
            State::Answered => Verdict::Reaches,
            _ => Verdict::Blocked,
        };
        Ok(attempts.iter().map(|a| (a.index, verdict(a))).collect())
    }

    /// Sends once what is unanswered, and takes answers for a while.
    fn round(&self, attempts: &mut [Attempt<'_>], round: u16, length: Duration, enough: &dyn Fn() -> bool) {
        for attempt in attempts.iter_mut() {
            attempt.send(round);
        }
        let until = Instant::now() + length;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if enough() || attempts.iter().all(|a| matches!(a.state, State::Answered)) {
                break;
            }
            receive(attempts, left, self);
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
    fn send(&mut self, round: u16) {
        let target = self.question.target;
        match (std::mem::replace(&mut self.state, State::Idle), self.question.port) {
            (State::Answered, _) => self.state = State::Answered,
            (state, PortSpec::Icmp) => {
                self.sent = Instant::now();
                let socket = if let State::Pinging(s) = state { Some(s) } else { icmp_socket(target).ok() };
                let Some(socket) = socket else { return };
                let request = echo_request(target, self.identifier(), round);
                let _ = send(socket.as_raw_fd(), &request, MsgFlags::MSG_DONTWAIT);
                self.state = State::Pinging(socket);
            }
            (State::Calling(calls), _) if self.sent.elapsed() < RECALL => self.state = State::Calling(calls),
            (state, PortSpec::Tcp(range)) => {
                self.sent = Instant::now();
                let mut calls = if let State::Calling(calls) = state { calls } else { Vec::new() };
                calls.extend(call(SocketAddr::new(target, range.first)));
                // On a busy machine an answer may well take longer than the next call.
                let oldest = calls.len().saturating_sub(CALLS);
                calls.drain(..oldest);
                self.state = if calls.is_empty() { State::Idle } else { State::Calling(calls) };
            }
            (state, PortSpec::Udp(range)) => {
                self.sent = Instant::now();
                let socket = match state {
                    State::Waiting(s) => Some(s),
                    _ => datagrams(SocketAddr::new(target, range.first)).ok(),
                };
                let Some(socket) = socket else { return };
                let _ = socket.send(b"wgrelay");
                self.state = State::Waiting(socket);
            }
        }
    }

    fn fds(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        match &self.state {
            State::Calling(calls) => calls.iter().map(|s| (s.as_fd(), PollFlags::POLLIN)).collect(),
            State::Waiting(socket) => vec![(socket.as_fd(), PollFlags::POLLIN)],
            State::Pinging(socket) => vec![(socket.as_fd(), PollFlags::POLLIN)],
            State::Idle | State::Answered => Vec::new(),
        }
    }

    /// Takes what came. A call that was refused is over; another is made in a later round.
    fn take(&mut self, asked: &Asked<'_>) {
        let identifier = self.identifier();
        let is_answered = match &mut self.state {
            State::Calling(calls) => {
                calls.retain(|stream| matches!(stream.take_error(), Ok(None)));
                calls.iter().any(|stream| matches!(stream.peek(&mut [0]), Ok(1)))
            }
            State::Waiting(socket) => socket.recv(&mut [0u8; 16]).is_ok(),
            State::Pinging(socket) => {
                let (mut packet, mut found) = ([0u8; 256], false);
                // Everybody's pings to the same address come to each of their sockets.
                while let Ok(length) = recv(socket.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
                    found |= is_echo_reply(&packet[..length], self.question.target, identifier);
                }
                found
            }
            State::Idle | State::Answered => false,
        };
        if is_answered {
            asked.answered(self);
        } else if matches!(&self.state, State::Calling(calls) if calls.is_empty()) {
            self.state = State::Idle;
        }
    }
}

fn receive(attempts: &mut [Attempt<'_>], left: Duration, asked: &Asked<'_>) {
    let waiting: Vec<usize> = {
        let of: Vec<(usize, (BorrowedFd<'_>, PollFlags))> = attempts
            .iter()
            .enumerate()
            .flat_map(|(i, a)| a.fds().into_iter().map(move |fd| (i, fd)))
            .collect();
        let mut fds: Vec<PollFd<'_>> = of.iter().map(|(_, (fd, flags))| PollFd::new(*fd, *flags)).collect();
        let left = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
        if !matches!(poll(&mut fds, PollTimeout::from(left)), Ok(1..)) {
            return;
        }
        of.iter().zip(&fds).filter(|(_, fd)| fd.any().unwrap_or(false)).map(|((i, _), _)| *i).collect()
    };
    for i in waiting {
        attempts[i].take(asked);
    }
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
