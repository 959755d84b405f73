//! Cuts the super-packets that the kernel hands out into packets as they go on the wire.
//!
//! The kernel leaves segmentation and checksums of local traffic to us, which is what makes one read carry 64 KiB.

use super::checksum;
use super::packet::{IPV4_HEADER, IPV6_HEADER, be16, be32, rewrite_ipv4_checksum, version};
use super::vnet::{Gso, VNET_HEADER, VnetHeader};

const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;
/// IP and TCP headers with all options: 60 + 60 bytes; IPv6 extension headers do not come with segmentation.
const MAX_HEADERS: usize = 120;

/// Tells that a frame from the interface contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadFrame;

/// Calls `emit(headers, payload)` for each packet of `frame`, a vnet header and a packet behind it.
///
/// A packet that is no super-packet comes whole in `headers`. The frame's bytes are scratch afterwards.
pub(super) fn split(frame: &mut [u8], mut emit: impl FnMut(&[u8], &[u8])) -> Result<(), BadFrame> {
    let (header, packet) = frame.split_first_chunk_mut::<VNET_HEADER>().ok_or(BadFrame)?;
    let vnet = VnetHeader::parse(header).ok_or(BadFrame)?;
    let start = usize::from(vnet.checksum_start);
    if vnet.gso == Gso::None {
        if vnet.needs_checksum {
            complete_checksum(packet, start, usize::from(vnet.checksum_offset))?;
        }
        emit(packet, &[]);
        return Ok(());
    }
    let cut = Cut::new(packet, vnet)?;
    let (original, payload) = packet.split_at(cut.headers);
    let mut headers = [0u8; MAX_HEADERS];
    let headers = &mut headers[..cut.headers];
    let count = payload.len().div_ceil(cut.segment);
    for (i, part) in payload.chunks(cut.segment).enumerate() {
        headers.copy_from_slice(original);
        cut.rewrite(headers, part, i, i + 1 == count);
        emit(headers, part);
    }
    Ok(())
}

fn complete_checksum(packet: &mut [u8], start: usize, offset: usize) -> Result<(), BadFrame> {
    let at = start + offset;
    if at + 2 > packet.len() {
        return Err(BadFrame);
    }
    let mut sum = checksum::finish(checksum::sum(&packet[start..]));
    // UDP writes a computed 0 as 0xffff, since 0 means "none" (RFC 768); for TCP both are the same number.
    if sum == [0, 0] {
        sum = [0xff, 0xff];
    }
    packet[at..at + 2].copy_from_slice(&sum);
    Ok(())
}

/// How one super-packet is cut.
struct Cut {
    v4: bool,
    tcp: bool,
    /// Where the transport header starts.
    l4: usize,
    /// Length of all headers.
    headers: usize,
    segment: usize,
}

impl Cut {
    fn new(packet: &[u8], vnet: VnetHeader) -> Result<Self, BadFrame> {
        let l4 = usize::from(vnet.checksum_start);
        let v4 = version(packet).ok_or(BadFrame)? == 4;
        let (ip_header, protocol) =
            if v4 { (usize::from(packet[0] & 15) * 4, packet[9]) } else { (IPV6_HEADER, packet[6]) };
        let tcp = match vnet.gso {
            Gso::Tcp4 if v4 => true,
            Gso::Tcp6 if !v4 => true,
            Gso::Udp => false,
            _ => return Err(BadFrame),
        };
        let fixed = if tcp { 20 } else { 8 };
        if ip_header != l4
            || l4 < IPV4_HEADER
            || protocol != if tcp { 6 } else { 17 }
            || vnet.segment == 0
            || packet.len() < l4 + fixed
        {
            return Err(BadFrame);
        }
        let headers = if tcp { l4 + usize::from(packet[l4 + 12] >> 4) * 4 } else { l4 + fixed };
        if headers < l4 + fixed || headers > packet.len() || headers > MAX_HEADERS {
            return Err(BadFrame);
        }
        Ok(Self { v4, tcp, l4, headers, segment: usize::from(vnet.segment) })
    }

    /// Makes `headers`, a copy of the super-packet's, those of segment `i`.
    fn rewrite(&self, headers: &mut [u8], part: &[u8], i: usize, last: bool) {
        let l4 = self.l4;
        let length = self.headers - l4 + part.len();
        // Lengths cannot exceed 16 bits: a frame is shorter than that, and so is its part. Sequence arithmetic wraps.
        if self.v4 {
            headers[2..4].copy_from_slice(&((l4 + length) as u16).to_be_bytes());
            let id = be16(headers, 4).wrapping_add(i as u16);
            headers[4..6].copy_from_slice(&id.to_be_bytes());
            rewrite_ipv4_checksum(headers);
        } else {
            headers[4..6].copy_from_slice(&((l4 - IPV6_HEADER + length) as u16).to_be_bytes());
        }
        let (protocol, sum_at) = if self.tcp {
            let sequence = be32(headers, l4 + 4).wrapping_add((i * self.segment) as u32);
            headers[l4 + 4..l4 + 8].copy_from_slice(&sequence.to_be_bytes());
            if !last {
                headers[l4 + 13] &= !(TCP_FIN | TCP_PSH);
            }
            if i != 0 {
                headers[l4 + 13] &= !TCP_CWR;
            }
            (6, l4 + 16)
        } else {
            headers[l4 + 4..l4 + 6].copy_from_slice(&(length as u16).to_be_bytes());
            (17, l4 + 6)
        };
        headers[sum_at..sum_at + 2].fill(0);
        // A transport header's length is even, so its sum and the payload's can be added.
        let sum = checksum::pseudo_header(headers, protocol, length)
            + checksum::sum(&headers[l4..])
            + checksum::sum(part);
        let mut sum = checksum::finish(sum);
        if !self.tcp && sum == [0, 0] {
            sum = [0xff, 0xff];
        }
        headers[sum_at..sum_at + 2].copy_from_slice(&sum);
    }
}
