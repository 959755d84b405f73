//! The Internet checksum (RFC 1071), in the byte order of memory, so that no byte is swapped on the way.

use super::packet::{IPV4_HEADER, IPV6_HEADER};

/// Adds up `bytes` as 16-bit words in the machine's byte order; an odd last byte is padded with zero.
///
/// Partial sums may be added where the first part has an even length.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    // Eight independent 32-bit lanes in 64-bit sums: no carry is lost below 2^32 words, and the loop vectorises.
    let mut lanes = [0u64; 8];
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let mut total: u64 = lanes.iter().sum();
    let (words, last) = rest.as_chunks::<2>();
    for word in words {
        total += u64::from(u16::from_ne_bytes(*word));
    }
    if let [byte] = last {
        total += u64::from(u16::from_ne_bytes([*byte, 0]));
    }
    total
}

/// Folds a sum to 16 bits, in the machine's byte order.
pub(super) const fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Returns the checksum field's bytes for a sum over everything else.
pub(super) const fn finish(sum: u64) -> [u8; 2] {
    (!fold(sum)).to_ne_bytes()
}

/// Adds up the pseudo-header of a transport segment of `length` bytes (RFC 9293, section 3.1; RFC 8200, section 8.1).
///
/// The caller has checked that the packet's fixed header is there.
pub(super) fn pseudo_header(packet: &[u8], protocol: u8, length: usize) -> u64 {
    let addresses = if packet[0] >> 4 == 4 { &packet[12..IPV4_HEADER] } else { &packet[8..IPV6_HEADER] };
    let length = u32::try_from(length).expect("a segment is at most 64 KiB").to_be_bytes();
    sum(addresses) + sum(&length) + sum(&[0, protocol])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut plain = 0u32;
            for pair in bytes.chunks(2) {
                plain += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
                plain = (plain & 0xffff) + (plain >> 16);
            }
            prop_assert_eq!(fold(sum(&bytes)).to_ne_bytes(), u16::try_from(plain).unwrap().to_be_bytes());
        }
    }

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])).to_ne_bytes(), [0xdd, 0xf2]);
    }
}
