//! Asks hosts of a site by the link that leads to it, whatever routes say: whether any of them answers at all. A port that is closed
//! is an answer.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, connect, getsockopt, recv,
    send, setsockopt, socket, sockopt,
};

use super::docker::Engine;
use crate::firewall::foreign::{Facts, Link};

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

/// A site: the link to ask by, and whom.
pub type Question = (String, Vec<Probe>);

/// So many sites are asked at a time: a process may have 1,024 files, and each host that is asked is one.
const AT_A_TIME: usize = 64;

/// Returns what is known of this host's links: their names, addresses, and which is a bridge; with Docker's networks where they are
/// asked for.
pub fn links(tunnel: &str, with_docker: bool) -> Facts {
    let mut links: BTreeMap<String, Link> = BTreeMap::new();
    for one in nix::ifaddrs::getifaddrs().into_iter().flatten().filter(|one| one.interface_name != tunnel) {
        let link = links.entry(one.interface_name).or_insert_with_key(|name| Link {
            kind: if is_bridge(name) { "bridge".into() } else { String::new() },
            ..Link::default()
        });
        link.addresses.extend(subnet(one.address, one.netmask));
    }
    let docker = with_docker.then(Engine::here).flatten().and_then(|engine| engine.networks());
    Facts { links, docker, ..Facts::default() }
}

fn is_bridge(link: &str) -> bool {
    Path::new("/sys/class/net").join(link).join("bridge").exists()
}

fn subnet(address: Option<SockaddrStorage>, mask: Option<SockaddrStorage>) -> Option<IpNet> {
    let ip = |of: SockaddrStorage| -> Option<IpAddr> {
        let v4 = of.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| of.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    };
    IpNet::with_netmask(ip(address?)?, ip(mask?)?).ok()
}

/// Says for each site whether any of its hosts answers, each asked up to `tries` times and waited for within `patience`. All are asked
/// at once: one that is silent keeps nobody waiting.
pub fn answering(sites: &[Question], tries: u32, patience: Duration) -> Vec<bool> {
    sites.chunks(AT_A_TIME).flat_map(|some| at_once(some, tries, patience)).collect()
}

fn at_once(sites: &[Question], tries: u32, patience: Duration) -> Vec<bool> {
    let mut answered = vec![false; sites.len()];
    for _ in 0..tries {
        let end = Instant::now() + patience;
        let silent = sites.iter().enumerate().filter(|(site, _)| !answered[*site]);
        let asked = silent.flat_map(|(site, (link, probes))| {
            probes.iter().filter_map(move |probe| Some((site, Asked::begin(link, probe).ok()?)))
        });
        wait(&asked.collect::<Vec<_>>(), end, &mut answered);
        if answered.iter().all(|answered| *answered) {
            break;
        }
        // Nobody is asked more often because a socket could not be had, or an answer was an error.
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
    }
    answered
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

/// Waits until each site has an answer, or none can come any more, or the time is over.
fn wait(asked: &[(usize, Asked)], end: Instant, answered: &mut [bool]) {
    let mut open: Vec<&(usize, Asked)> = asked.iter().collect();
    while !open.is_empty() && Instant::now() < end {
        let wanted = |one: &Asked| if one.is_echo { PollFlags::POLLIN } else { PollFlags::POLLOUT };
        let mut fds: Vec<PollFd<'_>> =
            open.iter().map(|(_, one)| PollFd::new(one.socket.as_fd(), wanted(one))).collect();
        let left = end.saturating_duration_since(Instant::now());
        if poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)).is_err() {
            continue;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let mut left = Vec::new();
        for (one, is_ready) in open.into_iter().zip(ready) {
            match is_ready.then(|| one.1.is_answered()).flatten() {
                Some(true) => answered[one.0] = true,
                Some(false) => {}
                None => left.push(one),
            }
        }
        left.retain(|(site, _)| !answered[*site]);
        open = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(300);

    fn question(link: &str, address: &str, port: Option<u16>) -> Question {
        (link.into(), vec![Probe { address: address.parse().unwrap(), port }])
    }

    fn asks(address: &str, port: Option<u16>) -> bool {
        answering(&[question("lo", address, port)], 1, PATIENCE) == [true]
    }

    #[test]
    fn an_open_port_and_a_closed_one_answer_and_nobody_does_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap().port();
        assert!(asks("127.0.0.1", Some(open)));
        drop(listener);
        assert!(asks("127.0.0.1", Some(open)), "closed is answered too");
        // Behind no link of that name, and nothing to ask.
        assert_eq!(answering(&[question("no-such-link", "127.0.0.1", Some(open))], 1, PATIENCE), [false]);
        assert_eq!(answering(&[("lo".into(), vec![])], 2, Duration::from_millis(10)), [false]);
        assert!(answering(&[], 2, PATIENCE).is_empty());
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
    fn many_that_are_silent_keep_nobody_waiting() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap().port();
        let mut sites: Vec<Question> = (0..40).map(|_| question("lo", "198.51.100.77", Some(open))).collect();
        sites.push(question("lo", "127.0.0.1", Some(open)));
        let began = Instant::now();
        let answered = answering(&sites, 3, PATIENCE);
        assert_eq!(answered.iter().filter(|answered| **answered).count(), 1);
        assert!(answered[40]);
        // Three times 300 ms, and no more for forty than for one; ten times that would be one after the other.
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    }

    #[test]
    fn links_have_their_addresses_and_the_tunnel_is_none() {
        let facts = links("wg0", false);
        assert!(facts.links["lo"].addresses.contains(&"127.0.0.1/8".parse().unwrap()));
        assert!(!links("lo", false).links.contains_key("lo"));
    }
}
