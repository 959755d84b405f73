//! Puts consecutive packets of a flow together into super-packets, the reverse of [`super::split`].
//!
//! One write to the interface then carries up to 64 KiB, and the kernel's stack runs once instead of 45 times.
//! Only packets that the kernel can cut back into exactly what came are joined; order within a flow is kept.

use std::io::IoSlice;

use gotatun::packet::Packet;

use super::checksum;
use super::packet::{IPV4_HEADER, IPV6_HEADER, be16, be32, rewrite_ipv4_checksum, version};
use super::vnet::{Gso, VnetHeader};

const TCP_PSH: u8 = 0x08;
const TCP_ACK: u8 = 0x10;
/// Packets in one super-packet, the least of the kernel's own limits (UDP_MAX_SEGMENTS before Linux 6.9).
const MAX_MEMBERS: usize = 64;
/// Bytes of one super-packet, headers included.
const MAX_BYTES: usize = 65535;
/// How many groups back a packet looks for its own. Beyond so many flows in a batch, joining does not pay.
const LOOK_BACK: usize = 16;

/// Packets that go out as one.
struct Group {
    first: usize,
    shape: Option<Shape>,
    /// Payload bytes of each member but the last.
    segment: usize,
    bytes: usize,
    next_sequence: u32,
    closed: bool,
    rest: Vec<usize>,
}

/// The layout of a TCP or UDP packet.
#[derive(Clone, Copy)]
struct Shape {
    tcp: bool,
    l4: usize,
    headers: usize,
}

/// Joins batches of packets; keeps its lists from batch to batch.
#[derive(Default)]
pub(super) struct Coalescer {
    groups: Vec<Group>,
    spare: Vec<Vec<usize>>,
}

impl Coalescer {
    /// Calls `write` with a vnet header and the parts of a packet behind it, for every packet of the batch.
    ///
    /// UDP is joined only where `udp` says that the interface takes it.
    pub(super) fn write(&mut self, packets: &mut [Packet], udp: bool, mut write: impl FnMut(&[IoSlice<'_>])) {
        for i in 0..packets.len() {
            self.place(packets, i, udp);
        }
        for mut group in self.groups.drain(..) {
            let header = match group.shape.filter(|_| !group.rest.is_empty()) {
                Some(shape) => group.seal(shape, packets[group.first].buf_mut()),
                None => VnetHeader::PLAIN,
            };
            let mut parts = [IoSlice::new(&[]); MAX_MEMBERS + 1];
            parts[0] = IoSlice::new(&header);
            parts[1] = IoSlice::new(&packets[group.first]);
            let skip = group.shape.map_or(0, |s| s.headers);
            for (part, member) in parts[2..].iter_mut().zip(&group.rest) {
                *part = IoSlice::new(&packets[*member][skip..]);
            }
            write(&parts[..group.rest.len() + 2]);
            group.rest.clear();
            self.spare.push(group.rest);
        }
    }

    fn place(&mut self, packets: &mut [Packet], i: usize, udp: bool) {
        let packet = &packets[i][..];
        let shape = Shape::of(packet).filter(|s| s.tcp || udp);
        let joinable = shape.is_some_and(|s| s.is_joinable(packet));
        if let Some(shape) = shape
            && let Some(group) = self
                .groups
                .iter_mut()
                .rev()
                .take(LOOK_BACK)
                .find(|g| g.shape.is_some_and(|s| s.same_flow(shape, &packets[g.first], packet)))
        {
            let payload = packet.len() - shape.headers;
            let fits = joinable && group.takes(shape, &packets[group.first], packet, payload);
            if fits {
                let pushed = shape.tcp && packet[shape.l4 + 13] & TCP_PSH != 0;
                group.rest.push(i);
                group.bytes += payload;
                group.next_sequence = group.next_sequence.wrapping_add(payload as u32);
                group.closed = pushed || payload < group.segment || group.rest.len() + 1 == MAX_MEMBERS;
                if pushed {
                    packets[group.first].buf_mut()[shape.l4 + 13] |= TCP_PSH;
                }
                return;
            }
            // Whatever comes later in this flow must not overtake this packet.
            group.closed = true;
        }
        let segment = shape.map_or(0, |s| packet.len().saturating_sub(s.headers));
        let sequence = shape.filter(|s| s.tcp).map_or(0, |s| be32(packet, s.l4 + 4));
        let pushed = shape.is_some_and(|s| s.tcp && packet[s.l4 + 13] & TCP_PSH != 0);
        self.groups.push(Group {
            first: i,
            shape,
            segment,
            bytes: packet.len(),
            next_sequence: sequence.wrapping_add(segment as u32),
            closed: !joinable || pushed,
            rest: self.spare.pop().unwrap_or_default(),
        });
    }
}

impl Group {
    /// Whether a joinable packet of the same flow continues this group.
    fn takes(&self, shape: Shape, first: &[u8], packet: &[u8], payload: usize) -> bool {
        !self.closed
            && payload <= self.segment
            && self.bytes + payload <= MAX_BYTES
            && (!shape.tcp || be32(packet, shape.l4 + 4) == self.next_sequence)
            && shape.same_headers(first, packet)
    }

    /// Makes the first packet's headers those of the whole, and describes it to the kernel.
    fn seal(&self, shape: Shape, first: &mut [u8]) -> [u8; super::vnet::VNET_HEADER] {
        let length = self.bytes - shape.l4;
        let v4 = first[0] >> 4 == 4;
        // Both fit 16 bits: `bytes` is bounded by MAX_BYTES.
        if v4 {
            first[2..4].copy_from_slice(&(self.bytes as u16).to_be_bytes());
            rewrite_ipv4_checksum(first);
        } else {
            first[4..6].copy_from_slice(&((self.bytes - IPV6_HEADER) as u16).to_be_bytes());
        }
        let (protocol, offset) = if shape.tcp { (6, 16) } else { (17, 6) };
        if !shape.tcp {
            first[shape.l4 + 4..shape.l4 + 6].copy_from_slice(&(length as u16).to_be_bytes());
        }
        let sum = checksum::fold(checksum::pseudo_header(first, protocol, length));
        let at = shape.l4 + usize::from(offset);
        first[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
        VnetHeader {
            needs_checksum: true,
            gso: match (shape.tcp, v4) {
                (true, true) => Gso::Tcp4,
                (true, false) => Gso::Tcp6,
                (false, _) => Gso::Udp,
            },
            header_length: shape.headers as u16,
            segment: self.segment as u16,
            checksum_start: shape.l4 as u16,
            checksum_offset: offset,
        }
        .to_bytes()
    }
}

impl Shape {
    /// Finds the transport header of an unfragmented TCP or UDP packet without IP options.
    fn of(packet: &[u8]) -> Option<Self> {
        let (l4, protocol, length) = match version(packet)? {
            4 if packet[0] == 0x45 && be16(packet, 6) & 0x3fff == 0 => {
                (IPV4_HEADER, packet[9], usize::from(be16(packet, 2)))
            }
            6 => (IPV6_HEADER, packet[6], IPV6_HEADER + usize::from(be16(packet, 4))),
            _ => return None,
        };
        let (tcp, fixed) = match protocol {
            6 => (true, 20),
            17 => (false, 8),
            _ => return None,
        };
        if length != packet.len() || length < l4 + fixed {
            return None;
        }
        let headers = if tcp { l4 + usize::from(packet[l4 + 12] >> 4) * 4 } else { l4 + fixed };
        (headers >= l4 + fixed && headers <= length).then_some(Self { tcp, l4, headers })
    }

    fn same_flow(self, other: Self, a: &[u8], b: &[u8]) -> bool {
        let addresses = if self.l4 == IPV4_HEADER { 12 } else { 8 };
        // Addresses and ports stand beside one another.
        self.tcp == other.tcp && self.l4 == other.l4 && a[addresses..self.l4 + 4] == b[addresses..self.l4 + 4]
    }

    /// Whether the packet carries payload, nothing that ends or interrupts a flow, and a correct checksum. The
    /// last matters: the kernel believes the checksum of a super-packet.
    fn is_joinable(self, packet: &[u8]) -> bool {
        let length = packet.len() - self.l4;
        if packet.len() == self.headers {
            return false;
        }
        let protocol = if self.tcp {
            if packet[self.l4 + 13] & !TCP_PSH != TCP_ACK {
                return false;
            }
            6
        } else {
            if usize::from(be16(packet, self.l4 + 4)) != length || packet[self.l4 + 6..self.l4 + 8] == [0, 0]
            {
                return false;
            }
            17
        };
        checksum::fold(checksum::pseudo_header(packet, protocol, length) + checksum::sum(&packet[self.l4..]))
            == 0xffff
    }

    /// Whether two packets of one flow differ only in what cutting restores.
    fn same_headers(self, a: &[u8], b: &[u8]) -> bool {
        let l4 = self.l4;
        let ip = if l4 == IPV4_HEADER {
            a[..2] == b[..2] && a[6..10] == b[6..10]
        } else {
            a[..4] == b[..4] && a[6..8] == b[6..8]
        };
        // Acknowledgement, data offset, window, options; flags are known to be ACK, perhaps with PSH.
        let tcp = || {
            a[l4 + 8..l4 + 13] == b[l4 + 8..l4 + 13]
                && a[l4 + 14..l4 + 16] == b[l4 + 14..l4 + 16]
                && a[l4 + 20..self.headers] == b[l4 + 20..self.headers]
        };
        ip && (!self.tcp || tcp())
    }
}

#[cfg(test)]
#[path = "offload_tests.rs"]
mod tests;
