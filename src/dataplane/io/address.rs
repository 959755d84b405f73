//! Socket addresses and control messages as the kernel lays them out, written and read as bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::super::core::Remote;
use super::sys::{CONTROL, Control, NAME};

/// What a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv6, and IPv4 as mapped addresses.
    Dual,
    /// IPv4 alone, where the host has no IPv6.
    V4,
}

/// Encodes an address for a socket of this family; `None` where the socket cannot reach it. The length is in bytes.
pub(super) fn encode(address: SocketAddr, family: Family) -> Option<([u8; NAME], usize)> {
    let mut name = [0u8; NAME];
    name[2..4].copy_from_slice(&address.port().to_be_bytes());
    let kind = match (address, family) {
        (SocketAddr::V4(a), Family::V4) => {
            name[4..8].copy_from_slice(&a.ip().octets());
            libc::AF_INET
        }
        (SocketAddr::V6(_), Family::V4) => return None,
        (SocketAddr::V4(a), Family::Dual) => {
            name[8..24].copy_from_slice(&a.ip().to_ipv6_mapped().octets());
            libc::AF_INET6
        }
        (SocketAddr::V6(a), Family::Dual) => {
            name[8..24].copy_from_slice(&a.ip().octets());
            name[24..28].copy_from_slice(&a.scope_id().to_ne_bytes());
            libc::AF_INET6
        }
    };
    name[..2].copy_from_slice(&(kind as libc::sa_family_t).to_ne_bytes());
    Some((name, if kind == libc::AF_INET { 16 } else { NAME }))
}

/// Decodes a sender's address.
pub(super) fn decode(name: &[u8; NAME]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes([name[2], name[3]]);
    match i32::from(u16::from_ne_bytes([name[0], name[1]])) {
        libc::AF_INET => Some((Ipv4Addr::new(name[4], name[5], name[6], name[7]), port).into()),
        libc::AF_INET6 => {
            let octets: [u8; 16] = name[8..24].try_into().ok()?;
            let ip = Ipv6Addr::from(octets);
            let scope = u32::from_ne_bytes(name[24..28].try_into().ok()?);
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => (v4, port).into(),
                // Only link-local addresses need their interface to be told apart.
                None if ip.is_unicast_link_local() => SocketAddrV6::new(ip, port, 0, scope).into(),
                None => SocketAddrV6::new(ip, port, 0, 0).into(),
            })
        }
        _ => None,
    }
}

/// `UDP_SEGMENT` and `UDP_GRO` of linux/udp.h, as options and as control messages.
pub(super) const UDP_SEGMENT: i32 = 103;
pub(super) const UDP_GRO: i32 = 104;

/// A control message's head: its length as the kernel's `size_t`, level, type.
const WORD: usize = size_of::<usize>();
const HEAD: usize = WORD + 8;

/// Control messages under construction.
pub(super) struct ControlWriter {
    pub(super) control: Control,
    pub(super) length: usize,
}

impl ControlWriter {
    pub(super) const fn new() -> Self {
        Self { control: Control([0; CONTROL]), length: 0 }
    }

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let total = HEAD + data.len();
        let at = &mut self.control.0[self.length..self.length + total];
        at[..WORD].copy_from_slice(&total.to_ne_bytes());
        at[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        at[WORD + 4..HEAD].copy_from_slice(&kind.to_ne_bytes());
        at[HEAD..].copy_from_slice(data);
        self.length += total.next_multiple_of(WORD);
    }

    /// Asks for the datagram to be cut into segments of this many bytes.
    pub(super) fn segment(&mut self, bytes: u16) {
        self.push(libc::SOL_UDP, UDP_SEGMENT, &bytes.to_ne_bytes());
    }

    /// Sets the ECN bits of the outer header.
    pub(super) fn ecn(&mut self, ecn: u8, to: SocketAddr) {
        let value = i32::from(ecn).to_ne_bytes();
        match to {
            SocketAddr::V4(_) => self.push(libc::IPPROTO_IP, libc::IP_TOS, &value),
            SocketAddr::V6(_) => self.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &value),
        }
    }

    /// Sets the source address; the route, and so the interface, stays the kernel's choice.
    pub(super) fn source(&mut self, source: IpAddr, family: Family) {
        match (source, family) {
            (IpAddr::V4(a), Family::V4) => {
                // struct in_pktinfo: interface, source, destination.
                let mut info = [0u8; 12];
                info[4..8].copy_from_slice(&a.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            (IpAddr::V6(_), Family::V4) => {}
            (source, Family::Dual) => {
                // struct in6_pktinfo: source, interface.
                let mut info = [0u8; 20];
                let octets = match source {
                    IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
                    IpAddr::V6(a) => a.octets(),
                };
                info[..16].copy_from_slice(&octets);
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }
}

/// What came beside a datagram.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ancillary {
    /// The address that it was sent to.
    pub(super) local: Option<IpAddr>,
    /// The ECN bits of its outer header.
    pub(super) ecn: u8,
    /// Bytes of each datagram, where several came as one.
    pub(super) segment: Option<usize>,
}

impl Ancillary {
    /// Reads control data; what is unknown or cut short is left out.
    pub(super) fn parse(mut control: &[u8]) -> Self {
        let mut found = Self::default();
        while let Some((head, rest)) = control.split_first_chunk::<HEAD>() {
            let number = |at: usize| i32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let mut total = [0u8; WORD];
            total.copy_from_slice(&head[..WORD]);
            let total = usize::from_ne_bytes(total);
            let Some(data) = total.checked_sub(HEAD).and_then(|n| rest.get(..n)) else { break };
            found.take(number(WORD), number(WORD + 4), data);
            control = control.get(total.next_multiple_of(WORD)..).unwrap_or_default();
        }
        found
    }

    fn take(&mut self, level: i32, kind: i32, data: &[u8]) {
        let int = || data.first_chunk().map(|b| i32::from_ne_bytes(*b));
        match (level, kind) {
            (libc::SOL_UDP, UDP_GRO) => {
                self.segment = int().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
            }
            // A byte for IPv4, a number for IPv6.
            (libc::IPPROTO_IP, libc::IP_TOS) => self.ecn = data.first().map_or(0, |b| b & 3),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => self.ecn = int().map_or(0, |n| n as u8 & 3),
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // The third field is the address in the header; the second is what the kernel would answer from.
                let octets: Option<[u8; 4]> = data.get(8..12).and_then(|b| b.try_into().ok());
                self.local = octets.map(|o| Ipv4Addr::from(o).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let octets: Option<[u8; 16]> = data.get(..16).and_then(|b| b.try_into().ok());
                self.local = octets.map(|o| Ipv6Addr::from(o).to_canonical());
            }
            _ => {}
        }
        // An answer cannot leave from a group's address.
        self.local = self.local.filter(|a| !a.is_multicast() && *a != IpAddr::V4(Ipv4Addr::BROADCAST));
    }

    /// The sender as the core knows it.
    pub(super) const fn remote(&self, address: SocketAddr) -> Remote {
        Remote { address, local: self.local }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive() {
        for text in ["10.1.2.3:51820", "[2001:db8::1]:1", "[fe80::1%7]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            let (name, _) = encode(address, Family::Dual).unwrap();
            assert_eq!(decode(&name), Some(address));
        }
        let v4 = "10.1.2.3:51820".parse().unwrap();
        let (name, length) = encode(v4, Family::V4).unwrap();
        assert_eq!((decode(&name), length), (Some(v4), 16));
        assert_eq!(encode("[::1]:1".parse().unwrap(), Family::V4), None);
        assert_eq!(decode(&[0; NAME]), None);
    }

    #[test]
    fn control_data_survives_and_nonsense_ends() {
        for (source, to) in [("10.0.0.1", "10.0.0.2:1"), ("fd00::1", "[fd00::2]:1")] {
            let mut writer = ControlWriter::new();
            writer.source(source.parse().unwrap(), Family::Dual);
            writer.ecn(1, to.parse().unwrap());
            writer.segment(1452);
            let read = Ancillary::parse(&writer.control.0[..writer.length]);
            assert_eq!((read.local, read.ecn), (Some(source.parse().unwrap()), 1));
            for end in 0..writer.length {
                Ancillary::parse(&writer.control.0[..end]);
            }
        }
        assert_eq!(Ancillary::parse(&[0xff; 64]), Ancillary::default());
        assert_eq!(Ancillary::parse(&[0; 64]), Ancillary::default());
    }
}
