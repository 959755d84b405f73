//! The header that stands before each packet of a TUN opened with `IFF_VNET_HDR` (virtio specification, 5.1.6).
//!
//! It says where a checksum is missing and how a super-packet is to be cut. Fields are in the machine's byte order.

/// Length of the header.
pub(super) const VNET_HEADER: usize = 10;

/// The checksum at `checksum_start + checksum_offset` holds the pseudo-header's sum and is to be completed.
const NEEDS_CHECKSUM: u8 = 1;
/// Set beside a TCP type where the segments may carry congestion marks; cutting is the same.
const ECN_FLAG: u8 = 0x80;

/// What kind of super-packet follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gso {
    None,
    Tcp4,
    Tcp6,
    Udp,
}

/// A parsed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct VnetHeader {
    pub(super) needs_checksum: bool,
    pub(super) gso: Gso,
    /// Length of all headers, a hint only.
    pub(super) header_length: u16,
    /// Payload bytes of each segment.
    pub(super) segment: u16,
    /// Where the transport header starts.
    pub(super) checksum_start: u16,
    /// Where the checksum is, counted from there.
    pub(super) checksum_offset: u16,
}

impl VnetHeader {
    /// The header of a packet that is whole and correct.
    pub(super) const PLAIN: [u8; VNET_HEADER] = [0; VNET_HEADER];

    /// Reads a header; `None` where the kind of super-packet is not one that we asked for.
    pub(super) fn parse(bytes: &[u8; VNET_HEADER]) -> Option<Self> {
        let field = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let gso = match bytes[1] & !ECN_FLAG {
            0 => Gso::None,
            1 => Gso::Tcp4,
            4 => Gso::Tcp6,
            5 => Gso::Udp,
            _ => return None,
        };
        Some(Self {
            needs_checksum: bytes[0] & NEEDS_CHECKSUM != 0,
            gso,
            header_length: field(2),
            segment: field(4),
            checksum_start: field(6),
            checksum_offset: field(8),
        })
    }

    /// Writes the header.
    pub(super) fn to_bytes(self) -> [u8; VNET_HEADER] {
        let mut bytes = [0; VNET_HEADER];
        bytes[0] = if self.needs_checksum { NEEDS_CHECKSUM } else { 0 };
        bytes[1] = match self.gso {
            Gso::None => 0,
            Gso::Tcp4 => 1,
            Gso::Tcp6 => 4,
            Gso::Udp => 5,
        };
        for (at, value) in
            [(2, self.header_length), (4, self.segment), (6, self.checksum_start), (8, self.checksum_offset)]
        {
            bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        }
        bytes
    }
}
