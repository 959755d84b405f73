//! Packets made by hand, as no honest host sends them, and an ear that hears whatever arrives on a node's links.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto, socket,
};

use crate::rig::node::Node;

/// Protocol numbers (IANA).
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const GRE: u8 = 47;
const ICMP6: u8 = 58;
/// IPv6 extension headers.
const FRAGMENT6: u8 = 44;
const OPTIONS6: u8 = 60;
/// Flags of a TCP header.
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;
/// Longest wait for a packet that should arrive; the guest is slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns eight bytes that no other packet of this run has, to know one by.
pub fn token() -> [u8; 8] {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let mut token = *b"wgr.....";
    token[4..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    token
}

fn sum(bytes: &[u8], from: u32) -> u32 {
    let word = |w: &[u8]| u32::from(w[0]) << 8 | u32::from(w.get(1).copied().unwrap_or(0));
    bytes.chunks(2).map(word).fold(from, u32::wrapping_add)
}

fn folded(mut sum: u32) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).expect("it is folded")).to_be_bytes()
}

/// The checksum of a payload with its pseudo header (RFC 9293, RFC 8200).
fn checksum(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> [u8; 2] {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    let length = u32::try_from(payload.len()).expect("a packet is short");
    folded(sum(payload, sum(&octets(dst), sum(&octets(src), length + u32::from(protocol)))))
}

/// A whole IP packet, of the family of its addresses.
pub fn ip(src: &str, dst: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (parsed(src), parsed(dst)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => v4(src, dst, protocol, payload, (0x4242, 0)),
        (IpAddr::V6(src), IpAddr::V6(dst)) => v6(src, dst, protocol, payload),
        _ => panic!("{src} and {dst} are of one family"),
    }
}

fn v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8], (id, offset): (u16, u16)) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("a packet is short");
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(offset.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(src.octets());
    packet.extend(dst.octets());
    let header = folded(sum(&packet, 0));
    packet[10..12].copy_from_slice(&header);
    packet.extend(payload);
    packet
}

fn v6(src: Ipv6Addr, dst: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).expect("a packet is short").to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend(payload);
    packet
}

/// A UDP datagram with its IP header.
pub fn udp(src: (&str, u16), dst: (&str, u16), data: &[u8]) -> Vec<u8> {
    ip(src.0, dst.0, UDP, &datagram(src, dst, data))
}

fn datagram(src: (&str, u16), dst: (&str, u16), data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(src.1.to_be_bytes());
    out.extend(dst.1.to_be_bytes());
    out.extend(u16::try_from(8 + data.len()).expect("a datagram is short").to_be_bytes());
    out.extend([0, 0]);
    out.extend(data);
    let check = checksum(parsed(src.0), parsed(dst.0), UDP, &out);
    out[6..8].copy_from_slice(&check);
    out
}

/// A TCP segment with its IP header.
pub fn tcp(src: (&str, u16), dst: (&str, u16), flags: u8, (seq, ack): (u32, u32), data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(src.1.to_be_bytes());
    out.extend(dst.1.to_be_bytes());
    out.extend(seq.to_be_bytes());
    out.extend(ack.to_be_bytes());
    out.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    out.extend(data);
    let check = checksum(parsed(src.0), parsed(dst.0), TCP, &out);
    out[16..18].copy_from_slice(&check);
    ip(src.0, dst.0, TCP, &out)
}

/// An ICMP error (RFC 792) about a packet, of which it carries all; `rest` is its second word.
pub fn icmp_error(src: &str, dst: &str, (kind, code): (u8, u8), rest: [u8; 4], about: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, code, 0, 0];
    out.extend(rest);
    out.extend(about);
    let check = folded(sum(&out, 0));
    out[2..4].copy_from_slice(&check);
    ip(src, dst, ICMP, &out)
}

/// An echo request of the addresses' family with some data.
pub fn echo(src: &str, dst: &str, data: &[u8]) -> Vec<u8> {
    let is_v4 = parsed(src).is_ipv4();
    let mut out = vec![if is_v4 { 8 } else { 128 }, 0, 0, 0, 0, 7, 0, 1];
    out.extend(data);
    let check = if is_v4 { folded(sum(&out, 0)) } else { checksum(parsed(src), parsed(dst), ICMP6, &out) };
    out[2..4].copy_from_slice(&check);
    ip(src, dst, if is_v4 { ICMP } else { ICMP6 }, &out)
}

/// An ICMPv6 message of any type with some data.
pub fn icmp6(kind: u8, src: &str, dst: &str, data: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    out.extend(data);
    let check = checksum(parsed(src), parsed(dst), ICMP6, &out);
    out[2..4].copy_from_slice(&check);
    ip(src, dst, ICMP6, &out)
}

/// Cuts an IPv4 packet into fragments of so many bytes each, a multiple of eight.
pub fn fragments(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let id = u16::from_be_bytes([packet[packet.len() - 2], packet[packet.len() - 1]]);
    let payload = &packet[20..];
    let count = payload.len().div_ceil(size);
    payload
        .chunks(size)
        .enumerate()
        .map(|(i, part)| piece(packet, id, i * size, i + 1 < count, part))
        .collect()
}

/// One fragment of an IPv4 packet.
pub fn piece(packet: &[u8], id: u16, at: usize, more: bool, part: &[u8]) -> Vec<u8> {
    let octets = |from: usize| -> Ipv4Addr {
        <[u8; 4]>::try_from(&packet[from..from + 4]).expect("a header has addresses").into()
    };
    let offset = u16::try_from(at / 8).expect("an offset has 13 bits") | if more { 0x2000 } else { 0 };
    v4(octets(12), octets(16), packet[9], part, (id, offset))
}

/// A UDP datagram over IPv6, with options before it, in two fragments. The first ends behind the options, before the ports
/// (what RFC 7112 forbids), or eight bytes later, behind them.
pub fn fragments6(src: (&str, u16), dst: (&str, u16), headless: bool, data: &[u8]) -> Vec<Vec<u8>> {
    let (IpAddr::V6(from), IpAddr::V6(to)) = (parsed(src.0), parsed(dst.0)) else { panic!("IPv6 is meant") };
    // Options of eight bytes: PadN over the last six.
    let whole = [vec![UDP, 0, 1, 4, 0, 0, 0, 0], datagram(src, dst, data)].concat();
    let id = u32::from(u16::from_be_bytes([data[data.len() - 2], data[data.len() - 1]]));
    let first = if headless { 8 } else { 16 };
    let fragment = |at: usize, part: &[u8]| {
        let offset = u16::try_from(at).expect("an offset has 13 bits");
        let mut payload = vec![OPTIONS6, 0];
        payload.extend((offset | u16::from(at == 0)).to_be_bytes());
        payload.extend(id.to_be_bytes());
        payload.extend(part);
        v6(from, to, FRAGMENT6, &payload)
    };
    vec![fragment(0, &whole[..first]), fragment(first, &whole[first..])]
}

/// Sends a whole IP packet from a node as it is: its addresses may be anybody's.
pub fn send(from: &Node, packet: &[u8]) {
    let is_v4 = packet[0] >> 4 == 4;
    let to: IpAddr = if is_v4 {
        <[u8; 4]>::try_from(&packet[16..20]).expect("a header has a destination").into()
    } else {
        <[u8; 16]>::try_from(&packet[24..40]).expect("a header has a destination").into()
    };
    let family = if is_v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let sent = from.inside(|| {
        // With this protocol the header is the sender's, in both families (raw(7), ipv6(7)).
        let raw = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
        sendto(raw.as_raw_fd(), packet, &SockaddrStorage::from(SocketAddr::new(to, 0)), MsgFlags::empty())
    });
    sent.unwrap_or_else(|e| panic!("{}: a packet to {to}: {e}", from.name));
}

/// Hears every packet that comes in on any link of a node.
#[derive(Debug)]
pub struct Ear {
    socket: OwnedFd,
    heard: Vec<Vec<u8>>,
}

impl Ear {
    /// Starts to listen.
    pub fn at(node: &Node) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket =
            node.inside(|| socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll));
        Self { socket: socket.expect("root may listen"), heard: Vec::new() }
    }

    fn listen(&mut self, within: Duration) {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let within = u16::try_from(within.as_millis()).unwrap_or(u16::MAX);
        if !matches!(poll(&mut fds, PollTimeout::from(within)), Ok(1..)) {
            return;
        }
        let mut bytes = [0; 4096];
        while let Ok(length) = recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            self.heard.push(bytes[..length].to_vec());
        }
    }

    /// Says whether a packet with this token has come in by now.
    pub fn has_heard(&mut self, token: [u8; 8]) -> bool {
        self.listen(Duration::ZERO);
        self.heard.iter().any(|p| p.windows(token.len()).any(|w| w == token))
    }

    /// Waits for a packet with this token; sends it again by `again` from time to time, as a session may have to start first.
    #[must_use]
    pub fn waits_for(&mut self, token: [u8; 8], mut again: impl FnMut()) -> bool {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            again();
            let round = Instant::now();
            while round.elapsed() < Duration::from_millis(500) {
                self.listen(Duration::from_millis(50));
                if self.has_heard(token) {
                    return true;
                }
            }
        }
        false
    }
}

fn parsed(address: &str) -> IpAddr {
    address.parse().unwrap_or_else(|e| panic!("{address}: {e}"))
}
