//! Sends every question's packets, all of them side by side, and says which were answered.
//!
//! A question that is expected to fail is asked until those that should succeed have their answers, and a while longer:
//! by then every session stands that it could have used.

#![expect(clippy::disallowed_methods, reason = "packets, threads and the clock are what this is about")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, recvfrom, sendto, socket,
};

use super::build::{Interrupted, Lab};
use super::compare::{Moment, Question};
use super::probe::{echo_request, icmp_socket, is_echo_reply};
use crate::model::{PortSpec, Verdict};

/// How long what should succeed is tried: a first handshake that is lost is repeated after five seconds.
const PATIENCE: Duration = Duration::from_secs(8);
/// How much longer than everything that succeeds the rest is tried.
const AFTERWARDS: Duration = Duration::from_millis(700);
/// Between two attempts of one question.
const ROUND: Duration = Duration::from_millis(250);

/// Asks the questions; the answers are in their order, `None` where one must not be asked.
///
/// # Errors
/// A socket cannot be made.
pub fn sound(
    lab: &Lab,
    questions: &[Question],
    interrupted: Interrupted<'_>,
) -> io::Result<Vec<Option<Verdict>>> {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // A socket for each question; where that is refused, making one will say so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let servers = servers(lab, questions)?;
    let stop = AtomicBool::new(false);
    let mut seen = vec![None; questions.len()];
    thread::scope(|scope| {
        for server in &servers {
            scope.spawn(|| serve(server, &stop));
        }
        let outcome = [Moment::Fresh, Moment::Any].into_iter().try_for_each(|moment| {
            let asked: Vec<usize> = (0..questions.len()).filter(|i| questions[*i].moment == moment).collect();
            for (i, verdict) in ask_all(lab, questions, &asked, interrupted)? {
                seen[i] = Some(verdict);
            }
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        outcome
    })
    .map(|()| seen)
}

/// What a space answers with.
struct Server {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

fn servers(lab: &Lab, questions: &[Question]) -> io::Result<Vec<Server>> {
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
    wanted.iter().map(|(space, list)| lab.spaces[*space].inside(|| bind(list))).collect()
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
}

enum State {
    Idle,
    Calling(TcpStream, Instant),
    Waiting(UdpSocket),
    Answered,
}

fn ask_all(
    lab: &Lab,
    questions: &[Question],
    asked: &[usize],
    interrupted: Interrupted<'_>,
) -> io::Result<Vec<(usize, Verdict)>> {
    let mut by_space: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for i in asked {
        by_space.entry(questions[*i].space).or_default().push(*i);
    }
    let expected = asked.iter().filter(|i| questions[**i].predicted == Verdict::Reaches).count();
    let expected = AtomicUsize::new(expected);
    thread::scope(|scope| {
        let workers: Vec<_> = by_space
            .iter()
            .map(|(space, list)| {
                let expected = &expected;
                scope.spawn(move || {
                    lab.spaces[*space].inside(|| ask_from(questions, list, expected, interrupted))
                })
            })
            .collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().unwrap_or_else(|_| Err(io::Error::other("a probe panicked")))?);
        }
        Ok(all)
    })
}

fn ask_from(
    questions: &[Question],
    list: &[usize],
    expected: &AtomicUsize,
    interrupted: Interrupted<'_>,
) -> io::Result<Vec<(usize, Verdict)>> {
    let mut attempts: Vec<Attempt<'_>> =
        list.iter().map(|i| Attempt { index: *i, question: &questions[*i], state: State::Idle }).collect();
    let icmp: Vec<OwnedFd> = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        .into_iter()
        .map(|family| icmp_socket(family).map_err(io::Error::from))
        .collect::<io::Result<_>>()?;
    let start = Instant::now();
    let mut settled: Option<Instant> = None;
    for round in 0u16.. {
        for attempt in &mut attempts {
            attempt.send(&icmp, round);
        }
        let until = Instant::now() + ROUND;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            receive(&mut attempts, &icmp, left, expected);
        }
        if expected.load(Ordering::Relaxed) == 0 {
            settled.get_or_insert_with(Instant::now);
        }
        if settled.is_some_and(|t| t.elapsed() >= AFTERWARDS) || start.elapsed() > PATIENCE || interrupted() {
            break;
        }
    }
    let verdict = |a: &Attempt<'_>| match a.state {
        State::Answered => Verdict::Reaches,
        _ => Verdict::Blocked,
    };
    Ok(attempts.iter().map(|a| (a.index, verdict(a))).collect())
}

impl Attempt<'_> {
    fn identifier(&self) -> u16 {
        u16::try_from(self.index % 0x1_0000).unwrap_or_default()
    }

    fn answered(&mut self, expected: &AtomicUsize) {
        if !matches!(self.state, State::Answered) && self.question.predicted == Verdict::Reaches {
            expected.fetch_sub(1, Ordering::Relaxed);
        }
        self.state = State::Answered;
    }

    /// Sends once more. What fails here (no route yet, a refusal that came back) may work the next time.
    fn send(&mut self, icmp: &[OwnedFd], round: u16) {
        let target = self.question.target;
        match (&self.state, self.question.port) {
            (State::Answered, _) => {}
            (_, PortSpec::Icmp) => {
                let to = SockaddrStorage::from(SocketAddr::new(target, 0));
                let request = echo_request(target, self.identifier(), round);
                let by = &icmp[usize::from(target.is_ipv6())];
                let _ = sendto(by.as_raw_fd(), &request, &to, MsgFlags::MSG_DONTWAIT);
            }
            // A SYN that was lost is repeated by a new call, sooner than the kernel would.
            (State::Calling(_, since), PortSpec::Tcp(_)) if since.elapsed() < 3 * ROUND => {}
            (_, PortSpec::Tcp(range)) => {
                let called = call(SocketAddr::new(target, range.first));
                self.state = called.map_or(State::Idle, |s| State::Calling(s, Instant::now()));
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
            State::Calling(stream, _) => Some((stream.as_fd(), PollFlags::POLLOUT)),
            State::Waiting(socket) => Some((socket.as_fd(), PollFlags::POLLIN)),
            State::Idle | State::Answered => None,
        }
    }

    /// Takes what came. A call that was refused is over; it is made again in a later round.
    fn take(&mut self, expected: &AtomicUsize) {
        match &self.state {
            State::Calling(stream, _) => match (stream.take_error(), stream.peer_addr()) {
                (Ok(None), Ok(_)) => self.answered(expected),
                (Ok(None), Err(_)) => {}
                _ => self.state = State::Idle,
            },
            State::Waiting(socket) => {
                let mut packet = [0u8; 16];
                if socket.recv(&mut packet).is_ok() {
                    self.answered(expected);
                }
            }
            State::Idle | State::Answered => {}
        }
    }
}

fn receive(attempts: &mut [Attempt<'_>], icmp: &[OwnedFd], left: Duration, expected: &AtomicUsize) {
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
        attempts[*i].take(expected);
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
                attempt.answered(expected);
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
