//! The few fields of IP headers that a tunnel looks at, read and written in place.
//!
//! Every function takes bytes from outside and answers `None` where they are too short or contradict themselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::checksum;

/// Length of an IPv6 header, and of the shortest IPv4 header.
pub(super) const IPV6_HEADER: usize = 40;
pub(super) const IPV4_HEADER: usize = 20;

/// Congestion was experienced: both ECN bits (RFC 3168, section 5).
const ECN_CE: u8 = 3;
const ECN_MASK: u8 = 3;
/// ECN-capable transport, ECT(0).
const ECN_ECT0: u8 = 2;

/// Reads a big-endian number of two bytes. The caller has checked the length.
pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Reads a big-endian number of four bytes. The caller has checked the length.
pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Returns the IP version, where the whole fixed header of that version is there.
pub(super) fn version(packet: &[u8]) -> Option<u8> {
    match packet.first()? >> 4 {
        4 if packet.len() >= IPV4_HEADER => Some(4),
        6 if packet.len() >= IPV6_HEADER => Some(6),
        _ => None,
    }
}

/// Returns the source address.
pub(super) fn source(packet: &[u8]) -> Option<IpAddr> {
    address(packet, 12, 8)
}

/// Returns the destination address.
pub(super) fn destination(packet: &[u8]) -> Option<IpAddr> {
    address(packet, 16, 24)
}

fn address(packet: &[u8], v4_at: usize, v6_at: usize) -> Option<IpAddr> {
    match version(packet)? {
        4 => Some(Ipv4Addr::from(be32(packet, v4_at)).into()),
        _ => {
            let octets: [u8; 16] = packet[v6_at..v6_at + 16].try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        }
    }
}

/// Returns where a UDP packet goes and what it carries; `None` for another packet, and for a later fragment.
pub(super) fn udp(packet: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (protocol, header) = match version(packet)? {
        4 if be16(packet, 6) & 0x1fff == 0 => (packet[9], usize::from(packet[0] & 15) * 4),
        6 => (packet[6], IPV6_HEADER),
        _ => return None,
    };
    let l4 = packet.get(header..).filter(|l4| protocol == 17 && l4.len() >= 8)?;
    Some(((destination(packet)?, be16(l4, 2)).into(), &l4[8..]))
}

/// Returns the length that the packet claims, where that is not beyond its bytes (the rest is padding).
pub(super) fn total_length(packet: &[u8]) -> Option<usize> {
    let length = match version(packet)? {
        4 => usize::from(be16(packet, 2)),
        _ => IPV6_HEADER + usize::from(be16(packet, 4)),
    };
    let shortest = if packet[0] >> 4 == 4 { IPV4_HEADER } else { IPV6_HEADER };
    (shortest..=packet.len()).contains(&length).then_some(length)
}

/// Returns the ECN bits that the outer header of this packet has (RFC 6040, normal mode; CE is not copied outwards).
pub(super) fn outer_ecn(packet: &[u8]) -> u8 {
    match ecn(packet) {
        ECN_CE => ECN_ECT0,
        other => other,
    }
}

fn ecn(packet: &[u8]) -> u8 {
    match version(packet) {
        Some(4) => packet[1] & ECN_MASK,
        Some(_) => (packet[1] >> 4) & ECN_MASK,
        None => 0,
    }
}

/// Carries a mark of congestion from the outer header into the packet. Returns `false` where the packet has to be
/// dropped instead, as its sender does not understand such marks (RFC 6040, section 4.2).
pub(super) fn merge_ecn(packet: &mut [u8], outer: u8) -> bool {
    if outer & ECN_MASK != ECN_CE {
        return true;
    }
    if ecn(packet) == 0 {
        return false;
    }
    match version(packet) {
        Some(4) => {
            packet[1] |= ECN_CE;
            rewrite_ipv4_checksum(packet);
        }
        Some(_) => packet[1] |= ECN_CE << 4,
        None => {}
    }
    true
}

/// Computes the checksum of an IPv4 header anew. The caller has checked that a fixed header is there.
pub(super) fn rewrite_ipv4_checksum(packet: &mut [u8]) {
    let header = (usize::from(packet[0] & 15) * 4).clamp(IPV4_HEADER, packet.len());
    packet[10..12].fill(0);
    let sum = checksum::finish(checksum::sum(&packet[..header]));
    packet[10..12].copy_from_slice(&sum);
}

#[cfg(test)]
pub(super) mod samples {
    //! Packets for tests.

    use super::*;

    /// Builds a UDP packet with valid checksums.
    pub(crate) fn udp(from: IpAddr, to: IpAddr, payload: &[u8]) -> Vec<u8> {
        let mut l4 = vec![0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0];
        l4.extend_from_slice(payload);
        let length = u16::try_from(l4.len()).unwrap();
        l4[4..6].copy_from_slice(&length.to_be_bytes());
        let mut packet = ip(from, to, 17, l4);
        let header = if from.is_ipv4() { IPV4_HEADER } else { IPV6_HEADER };
        let sum =
            checksum::pseudo_header(&packet, 17, packet.len() - header) + checksum::sum(&packet[header..]);
        packet[header + 6..header + 8].copy_from_slice(&checksum::finish(sum));
        packet
    }

    /// Puts an IP header before a payload.
    pub(crate) fn ip(from: IpAddr, to: IpAddr, protocol: u8, l4: Vec<u8>) -> Vec<u8> {
        let mut packet = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut h = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0];
                h.extend(from.octets());
                h.extend(to.octets());
                let length = u16::try_from(20 + l4.len()).unwrap();
                h[2..4].copy_from_slice(&length.to_be_bytes());
                rewrite_ipv4_checksum(&mut h);
                h
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut h = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
                h[4..6].copy_from_slice(&u16::try_from(l4.len()).unwrap().to_be_bytes());
                h.extend(from.octets());
                h.extend(to.octets());
                h
            }
            _ => panic!("one family"),
        };
        packet.extend(l4);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_lie_are_refused() {
        let mut p = samples::udp("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap(), b"hello");
        assert_eq!(total_length(&p), Some(p.len()));
        p.extend([0; 11]);
        assert_eq!(total_length(&p), Some(p.len() - 11), "padding is not part of it");
        p[2..4].copy_from_slice(&u16::MAX.to_be_bytes());
        assert_eq!(total_length(&p), None);
        p[2..4].copy_from_slice(&7u16.to_be_bytes());
        assert_eq!(total_length(&p), None);
        assert_eq!(version(&p[..19]), None);
        assert_eq!(source(&[]), None);
    }

    #[test]
    fn congestion_is_carried_inwards_or_drops() {
        for (from, to, shift) in [("10.0.0.1", "10.0.0.2", 0), ("fd00::1", "fd00::2", 4)] {
            let mut p = samples::udp(from.parse().unwrap(), to.parse().unwrap(), b"x");
            assert!(merge_ecn(&mut p, 1), "only CE matters");
            assert!(!merge_ecn(&mut p, ECN_CE), "not ECN-capable");
            p[1] |= ECN_ECT0 << shift;
            assert_eq!(outer_ecn(&p), ECN_ECT0);
            assert!(merge_ecn(&mut p, ECN_CE));
            assert_eq!(ecn(&p), ECN_CE);
            assert_eq!(outer_ecn(&p), ECN_ECT0, "CE is not copied outwards");
            if shift == 0 {
                assert_eq!(checksum::finish(checksum::sum(&p[..20])), [0, 0]);
            }
        }
    }
}
