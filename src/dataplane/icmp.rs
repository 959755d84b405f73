//! ICMP errors for packets that no peer takes, so that programs fail at once instead of waiting.
//!
//! The kernel's driver answers host unreachable (IPv4) or address unreachable (IPv6); so do we, through the
//! interface. The answer's source is the address that was not reached, since the interface may have none itself.

use std::net::IpAddr;
use std::time::Duration;

use super::checksum;
use super::packet::{self, IPV4_HEADER, IPV6_HEADER, be16};

/// Answers per second after a burst, the defaults of `net.ipv4.icmp_msgs_per_sec` and `icmp_msgs_burst`.
const INTERVAL: Duration = Duration::from_millis(1);
const BURST: u32 = 50;
/// The most that an answer quotes: within 576 bytes (RFC 1812, section 4.3.2.3) and 1,280 (RFC 4443, section 2.4).
const QUOTE_V4: usize = 576 - IPV4_HEADER - 8;
const QUOTE_V6: usize = 1280 - IPV6_HEADER - 8;

/// Bounds the rate of answers.
#[derive(Default)]
pub(super) struct Limit {
    full: Duration,
}

impl Limit {
    /// Takes one from the bucket, if there is one.
    pub(super) fn allow(&mut self, now: Duration) -> bool {
        let next = self.full.max(now) + INTERVAL;
        let allowed = next <= now + INTERVAL * BURST;
        if allowed {
            self.full = next;
        }
        allowed
    }
}

/// Builds the answer to `packet`; `None` where none may be sent (RFC 1122, section 3.2.2; RFC 4443, section 2.4).
pub(super) fn unreachable(packet: &[u8]) -> Option<Vec<u8>> {
    let (from, to) = (packet::source(packet)?, packet::destination(packet)?);
    if from.is_unspecified() || from.is_multicast() || to.is_multicast() || to.is_unspecified() {
        return None;
    }
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let l4 = usize::from(packet[0] & 15) * 4;
            let first_fragment = be16(packet, 6) & 0x1fff == 0;
            // Of ICMP only echoes are answered, so that no error follows an error.
            let errs = packet[9] == 1 && !matches!(packet.get(l4), Some(0 | 8));
            if !first_fragment || errs || from.is_broadcast() || to.is_broadcast() || from.is_loopback() {
                return None;
            }
            let mut icmp = vec![3, 1, 0, 0, 0, 0, 0, 0];
            icmp.extend_from_slice(&packet[..packet.len().min(QUOTE_V4)]);
            let sum = checksum::finish(checksum::sum(&icmp));
            icmp[2..4].copy_from_slice(&sum);
            let mut answer = vec![0x45, 0xc0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0];
            answer.extend(to.octets());
            answer.extend(from.octets());
            let length = u16::try_from(IPV4_HEADER + icmp.len()).ok()?;
            answer[2..4].copy_from_slice(&length.to_be_bytes());
            packet::rewrite_ipv4_checksum(&mut answer);
            answer.extend(icmp);
            Some(answer)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            // Errors have types below 128.
            if packet[6] == 58 && packet.get(IPV6_HEADER).is_none_or(|kind| *kind < 128) {
                return None;
            }
            let mut icmp = vec![1, 3, 0, 0, 0, 0, 0, 0];
            icmp.extend_from_slice(&packet[..packet.len().min(QUOTE_V6)]);
            let mut answer = vec![0x60, 0, 0, 0, 0, 0, 58, 64];
            answer[4..6].copy_from_slice(&u16::try_from(icmp.len()).ok()?.to_be_bytes());
            answer.extend(to.octets());
            answer.extend(from.octets());
            let sum = checksum::pseudo_header(&answer, 58, icmp.len()) + checksum::sum(&icmp);
            icmp[2..4].copy_from_slice(&checksum::finish(sum));
            answer.extend(icmp);
            Some(answer)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::samples;
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn answers_are_well_formed() {
        for (from, to, header) in [("10.0.0.1", "10.0.0.2", IPV4_HEADER), ("fd00::1", "fd00::2", IPV6_HEADER)]
        {
            let packet = samples::udp(ip(from), ip(to), &[7; 1400]);
            let answer = unreachable(&packet).unwrap();
            assert_eq!(packet::source(&answer), Some(ip(to)));
            assert_eq!(packet::destination(&answer), Some(ip(from)));
            assert_eq!(packet::total_length(&answer), Some(answer.len()));
            assert!(answer.len() <= if header == IPV4_HEADER { 576 } else { 1280 });
            let pseudo = if header == IPV4_HEADER {
                assert_eq!(checksum::fold(checksum::sum(&answer[..header])), 0xffff);
                0
            } else {
                checksum::pseudo_header(&answer, 58, answer.len() - header)
            };
            assert_eq!(checksum::fold(pseudo + checksum::sum(&answer[header..])), 0xffff);
            assert!(unreachable(&answer).is_none(), "no error about an error");
        }
    }

    #[test]
    fn no_answer_to_many_or_to_fragments() {
        assert!(unreachable(&samples::udp(ip("10.0.0.1"), ip("224.0.0.1"), b"x")).is_none());
        assert!(unreachable(&samples::udp(ip("fd00::1"), ip("ff02::1"), b"x")).is_none());
        assert!(unreachable(&samples::udp(ip("0.0.0.0"), ip("10.0.0.1"), b"x")).is_none());
        let mut later = samples::udp(ip("10.0.0.1"), ip("10.0.0.2"), b"x");
        later[7] = 5;
        assert!(unreachable(&later).is_none());
        assert!(unreachable(&[0x45; 10]).is_none());
    }

    #[test]
    fn a_burst_then_a_rate() {
        let (mut limit, now) = (Limit::default(), Duration::from_secs(9));
        assert_eq!((0..200).filter(|_| limit.allow(now)).count(), 50);
        assert_eq!((0..200).filter(|_| limit.allow(now + Duration::from_millis(20))).count(), 20);
    }
}
