//! Asks hosts of a site by the link that leads to it, whatever routes say: whether any of them answers at all. A port that is closed
//! is an answer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, connect, getsockopt, recv,
    send, setsockopt, socket, sockopt,
};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The host.
    pub address: IpAddr,
    /// A port of TCP; `None`: an echo.
    pub port: Option<u16>,
}

/// What every echo of ours has in it.
const TOKEN: &[u8] = b"wgrelay site";

/// Returns the link on which this host has an address of a subnet, other than the tunnel's.
pub fn link_in(subnet: &IpNet, tunnel: &str) -> Option<String> {
    let all = nix::ifaddrs::getifaddrs().ok()?;
    let address = |of: Option<SockaddrStorage>| -> Option<IpAddr> {
        let of = of?;
        let v4 = of.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| of.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    };
    let mut found = all.filter(|one| address(one.address).is_some_and(|ip| subnet.contains(&ip)));
    found.find(|one| one.interface_name != tunnel).map(|one| one.interface_name)
}

/// Asks all of them at once, `tries` times. Returns whether any answered, each time within `patience`.
pub fn any_answers(link: &str, probes: &[Probe], tries: u32, patience: Duration) -> bool {
    (0..tries).any(|_| {
        let end = Instant::now() + patience;
        let asked: Vec<Asked> = probes.iter().filter_map(|probe| Asked::begin(link, probe).ok()).collect();
        let is_answered = wait(&asked, end);
        if !is_answered {
            // Nobody is asked more often because a socket could not be had, or an answer was an error.
            std::thread::sleep(end.saturating_duration_since(Instant::now()));
        }
        is_answered
    })
}

struct Asked {
    socket: OwnedFd,
    is_echo: bool,
    v6: bool,
}

impl Asked {
    fn begin(link: &str, probe: &Probe) -> io::Result<Self> {
        let v6 = probe.address.is_ipv6();
        let family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let to = SockaddrStorage::from(SocketAddr::new(probe.address, probe.port.unwrap_or(0)));
        let is_echo = probe.port.is_none();
        let socket = if is_echo {
            let icmp = if v6 { SockProtocol::IcmpV6 } else { SockProtocol::Icmp };
            // Where net.ipv4.ping_group_range lets nobody, raw sockets are what is left.
            socket(family, SockType::Datagram, flags, icmp)
                .or_else(|_| socket(family, SockType::Raw, flags, icmp))?
        } else {
            socket(family, SockType::Stream, flags, SockProtocol::Tcp)?
        };
        setsockopt(&socket, sockopt::BindToDevice, &link.into())?;
        match connect(socket.as_raw_fd(), &to) {
            // A port may be closed before the call is over.
            Ok(()) | Err(Errno::EINPROGRESS | Errno::ECONNREFUSED) => {}
            Err(error) => return Err(error.into()),
        }
        if is_echo {
            // Type, code, and a checksum that the kernel makes where it is not the one for IPv4; number and sequence are of no matter.
            let mut echo = [&[if v6 { 128 } else { 8 }, 0, 0, 0, 0, 0, 0, 1][..], TOKEN].concat();
            if !v6 {
                let sum = checksum(&echo);
                echo[2..4].copy_from_slice(&sum.to_be_bytes());
            }
            send(socket.as_raw_fd(), &echo, MsgFlags::empty())?;
        }
        Ok(Self { socket, is_echo, v6 })
    }

    /// Says whether what is ready is an answer; `None`: not yet.
    fn is_answered(&self) -> Option<bool> {
        if !self.is_echo {
            let error = getsockopt(&self.socket, sockopt::SocketError).ok()?;
            return Some(error == 0 || error == libc::ECONNREFUSED);
        }
        let mut buffer = [0; 1500];
        match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => {
                let said = &buffer[..length];
                let reply = if self.v6 { 129 } else { 0 };
                // A raw socket of IPv4 has the header in front.
                let header = if !self.v6 && said.first().is_some_and(|first| first >> 4 == 4) {
                    usize::from(said[0] & 15) * 4
                } else {
                    0
                };
                (said.get(header) == Some(&reply) && said.ends_with(TOKEN)).then_some(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => None,
            // Unreachable, says a host that is not the one.
            Err(_) => Some(false),
        }
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

/// Waits until one is answered, or the time is over.
fn wait(asked: &[Asked], end: Instant) -> bool {
    let mut open: Vec<&Asked> = asked.iter().collect();
    while !open.is_empty() && Instant::now() < end {
        let wanted = |one: &&Asked| if one.is_echo { PollFlags::POLLIN } else { PollFlags::POLLOUT };
        let mut fds: Vec<PollFd<'_>> =
            open.iter().map(|one| PollFd::new(one.socket.as_fd(), wanted(one))).collect();
        let left = end.saturating_duration_since(Instant::now());
        if poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)).is_err() {
            continue;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let mut left = Vec::new();
        for (one, is_ready) in open.into_iter().zip(ready) {
            match is_ready.then(|| one.is_answered()).flatten() {
                Some(true) => return true,
                Some(false) => {}
                None => left.push(one),
            }
        }
        open = left;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(300);

    fn asks(address: &str, port: Option<u16>) -> bool {
        any_answers("lo", &[Probe { address: address.parse().unwrap(), port }], 1, PATIENCE)
    }

    #[test]
    fn an_open_port_and_a_closed_one_answer_and_nobody_does_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap().port();
        assert!(asks("127.0.0.1", Some(open)));
        drop(listener);
        assert!(asks("127.0.0.1", Some(open)), "closed is answered too");
        // Behind no link of that name, and nothing to ask.
        assert!(!any_answers(
            "no-such-link",
            &[Probe { address: [127, 0, 0, 1].into(), port: Some(open) }],
            1,
            PATIENCE
        ));
        assert!(!any_answers("lo", &[], 2, Duration::from_millis(10)));
        // Not by this link.
        assert!(!asks("198.51.100.77", Some(open)));
    }

    #[test]
    fn an_echo_comes_back() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        assert!(asks("127.0.0.1", None));
        assert!(!asks("198.51.100.77", None));
    }

    #[test]
    fn a_link_is_found_by_the_address_that_it_has() {
        assert_eq!(link_in(&"127.0.0.0/8".parse().unwrap(), "wg0"), Some("lo".into()));
        assert_eq!(link_in(&"127.0.0.0/8".parse().unwrap(), "lo"), None);
        assert_eq!(link_in(&"198.51.100.0/24".parse().unwrap(), "wg0"), None);
    }
}
