//! A device's report as bytes. As JSON, thousands of peers take both sides longer than all else that a look at the host does.
//!
//! Numbers are little-endian; what may be missing has a byte before it, 0 or 1; a list has its length before it, of four
//! bytes; an address has a byte before it, 4 or 6.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::dataplane::{DeviceReport, Dropped, HandshakeTime, PeerReport};
use crate::model::{PresharedKey, PrivateKey, PublicKey};

/// What the first byte says: which fields follow, and in which order.
const LAYOUT: u8 = 2;
/// At least as long as a report without its peers, and as a peer without its AllowedIPs, in bytes.
const LONGEST: usize = 160;
/// As long as a prefix of IPv6.
const LONGEST_PREFIX: usize = 18;

/// Writes a report; the bytes hold its keys.
pub fn pack(report: &DeviceReport) -> Zeroizing<Vec<u8>> {
    let prefixes: usize = report.peers.iter().map(|p| p.allowed_ips.len()).sum();
    // Made once, so that no outgrown copy with keys in it stays behind.
    let room = LONGEST * (report.peers.len() + 1) + LONGEST_PREFIX * prefixes;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let out = &mut *bytes;
    out.push(LAYOUT);
    optional(out, report.private_key.as_ref(), |out, key| out.extend(key.expose()));
    optional(out, report.public_key, |out, key| out.extend(key.as_bytes()));
    out.extend(report.listen_port.to_le_bytes());
    out.extend(report.fwmark.to_le_bytes());
    let Dropped { stray, refused, throttled, bad_source, unroutable } = report.dropped;
    for count in [stray, refused, throttled, bad_source, unroutable] {
        out.extend(count.to_le_bytes());
    }
    out.extend(length(report.peers.len()));
    for peer in &report.peers {
        out.extend(peer.public_key.as_bytes());
        optional(out, peer.preshared_key.as_ref(), |out, key| out.extend(key.expose()));
        optional(out, peer.endpoint, |out, endpoint| {
            address(out, endpoint.ip());
            out.extend(endpoint.port().to_le_bytes());
        });
        out.extend(peer.keepalive.to_le_bytes());
        optional(out, peer.last_handshake, |out, time| {
            out.extend(time.seconds.to_le_bytes());
            out.extend(time.nanos.to_le_bytes());
        });
        out.extend(peer.rx_bytes.to_le_bytes());
        out.extend(peer.tx_bytes.to_le_bytes());
        optional(out, peer.send_error, |out, errno| out.extend(errno.to_le_bytes()));
        out.extend(length(peer.allowed_ips.len()));
        for prefix in &peer.allowed_ips {
            address(out, prefix.addr());
            out.push(prefix.prefix_len());
        }
    }
    bytes
}

/// Reads a report; `None`: that is none, or one of another version.
pub fn unpack(bytes: &[u8]) -> Option<DeviceReport> {
    let mut rest = Rest(bytes);
    if rest.number::<1>()? != [LAYOUT] {
        return None;
    }
    let report = DeviceReport {
        private_key: rest.optional(|r| r.number().map(PrivateKey::from_bytes))?,
        public_key: rest.optional(|r| r.number().map(PublicKey::from_bytes))?,
        listen_port: rest.number().map(u16::from_le_bytes)?,
        fwmark: rest.number().map(u32::from_le_bytes)?,
        dropped: Dropped {
            stray: rest.number().map(u64::from_le_bytes)?,
            refused: rest.number().map(u64::from_le_bytes)?,
            throttled: rest.number().map(u64::from_le_bytes)?,
            bad_source: rest.number().map(u64::from_le_bytes)?,
            unroutable: rest.number().map(u64::from_le_bytes)?,
        },
        peers: rest.list(Rest::peer)?,
    };
    rest.0.is_empty().then_some(report)
}

fn optional<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        write(out, value);
    }
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend(ip.octets());
        }
    }
}

/// A list of more than 4 billion things does not fit in memory.
fn length(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes()
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*number)
    }

    #[expect(clippy::option_option, reason = "not readable, or said to be missing")]
    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.number()? {
            [0] => Some(None),
            [1] => read(self).map(Some),
            _ => None,
        }
    }

    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.number().map(u32::from_le_bytes)?;
        (0..count).map(|_| read(self)).collect()
    }

    fn address(&mut self) -> Option<IpAddr> {
        match self.number()? {
            [4] => self.number::<4>().map(IpAddr::from),
            [6] => self.number::<16>().map(IpAddr::from),
            _ => None,
        }
    }

    fn endpoint(&mut self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.address()?, self.number().map(u16::from_le_bytes)?))
    }

    fn prefix(&mut self) -> Option<IpNet> {
        let (address, [length]) = (self.address()?, self.number()?);
        IpNet::new(address, length).ok()
    }

    fn time(&mut self) -> Option<HandshakeTime> {
        Some(HandshakeTime {
            seconds: self.number().map(u64::from_le_bytes)?,
            nanos: self.number().map(u32::from_le_bytes)?,
        })
    }

    fn peer(&mut self) -> Option<PeerReport> {
        Some(PeerReport {
            public_key: self.number().map(PublicKey::from_bytes)?,
            preshared_key: self.optional(|r| r.number().map(PresharedKey::from_bytes))?,
            endpoint: self.optional(Self::endpoint)?,
            keepalive: self.number().map(u16::from_le_bytes)?,
            last_handshake: self.optional(Self::time)?,
            rx_bytes: self.number().map(u64::from_le_bytes)?,
            tx_bytes: self.number().map(u64::from_le_bytes)?,
            send_error: self.optional(|r| r.number().map(i32::from_le_bytes))?,
            allowed_ips: self.list(Self::prefix)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses() -> impl Strategy<Value = IpAddr> {
        prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
    }

    fn prefixes() -> impl Strategy<Value = IpNet> {
        (addresses(), 0..=32_u8).prop_map(|(address, length)| IpNet::new(address, length).unwrap())
    }

    fn peers() -> impl Strategy<Value = PeerReport> {
        let times =
            (any::<u64>(), any::<u32>()).prop_map(|(seconds, nanos)| HandshakeTime { seconds, nanos });
        (
            any::<[u8; 32]>(),
            prop::option::of(any::<[u8; 32]>()),
            prop::option::of((addresses(), any::<u16>())),
            any::<u16>(),
            prop::option::of(times),
            any::<(u64, u64)>(),
            prop::collection::vec(prefixes(), 0..4),
            prop::option::of(any::<i32>()),
        )
            .prop_map(
                |(key, preshared, endpoint, keepalive, last_handshake, bytes, allowed_ips, send_error)| {
                    PeerReport {
                        public_key: PublicKey::from_bytes(key),
                        preshared_key: preshared.map(PresharedKey::from_bytes),
                        endpoint: endpoint.map(SocketAddr::from),
                        keepalive,
                        last_handshake,
                        rx_bytes: bytes.0,
                        tx_bytes: bytes.1,
                        send_error,
                        allowed_ips,
                    }
                },
            )
    }

    fn reports() -> impl Strategy<Value = DeviceReport> {
        (
            prop::option::of(any::<[u8; 32]>()),
            prop::option::of(any::<[u8; 32]>()),
            any::<(u16, u32)>(),
            prop::collection::vec(peers(), 0..4),
            any::<[u64; 5]>(),
        )
            .prop_map(|(private, public, (listen_port, fwmark), peers, dropped)| {
                let [stray, refused, throttled, bad_source, unroutable] = dropped;
                DeviceReport {
                    private_key: private.map(PrivateKey::from_bytes),
                    public_key: public.map(PublicKey::from_bytes),
                    listen_port,
                    fwmark,
                    peers,
                    dropped: Dropped { stray, refused, throttled, bad_source, unroutable },
                }
            })
    }

    proptest! {
        #[test]
        fn a_report_is_read_as_it_was_written(report in reports()) {
            let bytes = pack(&report);
            prop_assert_eq!(unpack(&bytes), Some(report.clone()));
            // Never outgrown, so that nothing was copied on the way.
            let prefixes: usize = report.peers.iter().map(|p| p.allowed_ips.len()).sum();
            prop_assert!(bytes.len() <= LONGEST * (report.peers.len() + 1) + LONGEST_PREFIX * prefixes);
        }

        #[test]
        fn part_of_a_report_is_none_and_nothing_panics(report in reports(), cut in any::<prop::sample::Index>(), other in any::<Vec<u8>>()) {
            let bytes = pack(&report);
            prop_assert_eq!(unpack(&bytes[..cut.index(bytes.len())]), None);
            let _ = unpack(&other);
            prop_assert_eq!(unpack(&[bytes.as_slice(), &[0]].concat()), None);
        }
    }

    #[test]
    fn a_length_beyond_the_bytes_takes_no_memory() {
        let mut bytes = pack(&DeviceReport::default()).to_vec();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(unpack(&bytes), None);
    }
}
