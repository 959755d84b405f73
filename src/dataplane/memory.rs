//! What a device knows of its peers that nobody configured, and that a device after it is better off with.

use std::net::SocketAddr;

use super::initiation::Stamp;

/// Where a peer was heard from last, and when its last handshake was begun, by its own clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Where it can be called.
    pub endpoint: Option<SocketAddr>,
    /// An initiation has to be later; all zero: none was seen.
    pub stamp: Stamp,
}

/// Bytes of a record.
pub(super) const RECORD: usize = 80;

/// Lays out a record: family, port, scope, address, key, stamp, and a sum over them.
pub(super) fn pack(key: &[u8; 32], about: &Remembered) -> [u8; RECORD] {
    let mut out = [0; RECORD];
    if let Some(endpoint) = about.endpoint {
        let (family, scope, address) = match endpoint {
            SocketAddr::V4(v4) => (4, 0, v4.ip().to_ipv6_mapped().octets()),
            SocketAddr::V6(v6) => (6, v6.scope_id(), v6.ip().octets()),
        };
        out[1] = family;
        out[2..4].copy_from_slice(&endpoint.port().to_le_bytes());
        out[4..8].copy_from_slice(&scope.to_le_bytes());
        out[8..24].copy_from_slice(&address);
    }
    out[0] = 1;
    out[24..56].copy_from_slice(key);
    out[56..68].copy_from_slice(&about.stamp);
    let sum = sum(&out[..72]).to_le_bytes();
    out[72..].copy_from_slice(&sum);
    out
}

/// Reads a record; `None`: it is empty, or was not written to its end.
pub(super) fn unpack(record: &[u8; RECORD]) -> Option<([u8; 32], Remembered)> {
    let number = |at: usize| u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
    if record[0] != 1 || record[72..] != sum(&record[..72]).to_le_bytes() {
        return None;
    }
    let port = u16::from_le_bytes([record[2], record[3]]);
    let address = std::net::Ipv6Addr::from(*record[8..24].first_chunk()?);
    let endpoint = match record[1] {
        4 => Some(SocketAddr::from((address.to_ipv4_mapped()?, port))),
        6 => Some(std::net::SocketAddrV6::new(address, port, 0, number(4)).into()),
        _ => None,
    };
    Some((*record[24..56].first_chunk()?, Remembered { endpoint, stamp: *record[56..68].first_chunk()? }))
}

/// FNV-1a: against records cut short, not against people, who cannot write there.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_scope_is_kept() {
        let endpoint = "[fe80::1%7]:51820".parse().unwrap();
        let about = Remembered { endpoint: Some(endpoint), stamp: [3; 12] };
        assert_eq!(unpack(&pack(&[9; 32], &about)), Some(([9; 32], about)));
        assert_eq!(unpack(&[0; RECORD]), None);
    }

    proptest! {
        #[test]
        fn records_round_trip_and_damage_is_seen(
            endpoint: Option<SocketAddr>, stamp: Stamp, key: [u8; 32], at in 0..RECORD, bit in 0..8u8
        ) {
            let endpoint = endpoint.map(|e| SocketAddr::new(e.ip(), e.port()));
            let about = Remembered { endpoint, stamp };
            let mut record = pack(&key, &about);
            prop_assert_eq!(unpack(&record), Some((key, about)));
            record[at] ^= 1 << bit;
            // Four bytes say nothing and belong to the sum all the same.
            prop_assert_eq!(unpack(&record), None);
        }
    }
}
