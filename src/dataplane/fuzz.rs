//! Bytes from outside, for fuzzers: each function takes what somebody may send, and must neither panic nor hang.
//!
//! Built for tests and for `fuzz/` alone. The test below drives them by a seeded generator for some seconds; the
//! targets in `fuzz/` by coverage, for as long as one likes (docs/soak.md).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use gotatun::packet::Packet;

use super::coalesce::Coalescer;
use super::core::{Core, Moment, Outbox, Remote};
use super::split::split;
use super::vnet::{VNET_HEADER, VnetHeader};
use super::{DeviceChange, PeerChange, checksum, icmp, io, packet, uapi};
use crate::model::PrivateKey;

const MTU: u16 = 1420;
const NOW: Moment = Moment { boot: Duration::from_secs(1000), unix: Duration::from_secs(2_000_000_000) };

/// A fuzzer's bytes, read as decisions. Past their end there are zeroes.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// A device with one peer, and where it is.
struct Side {
    core: Core,
    out: Outbox,
    remote: Remote,
}

impl Side {
    fn new(own: u8, other: u8, endpoint: Option<u8>, prefixes: [&str; 2]) -> Self {
        let key = |seed| PrivateKey::from_random([seed; 32]);
        let (mut core, mut out) = (Core::new(MTU), Outbox::default());
        let change = DeviceChange {
            private_key: Some(key(own)),
            peers: vec![PeerChange {
                endpoint: endpoint.map(|e| remote(e).address),
                allowed_ips: prefixes.map(|p| p.parse().expect("a prefix")).to_vec(),
                ..PeerChange::new(key(other).public_key())
            }],
            ..Default::default()
        };
        core.apply(&change, NOW, &mut out);
        Self { core, out, remote: remote(own) }
    }

    fn send(&mut self, packet: &[u8]) {
        if let Some(peer) = self.core.route(packet) {
            self.core.send(peer, packet, &[], NOW, &mut self.out);
        }
    }

    fn messages(&mut self) -> Vec<Vec<u8>> {
        self.out.datagrams.drain(..).map(|d| d.message.to_vec()).collect()
    }
}

fn remote(i: u8) -> Remote {
    Remote { address: ([192, 0, 2, i], 51820).into(), local: None }
}

/// Carries messages both ways until there are none.
fn settle(a: &mut Side, b: &mut Side) {
    loop {
        let (from_a, from_b) = (a.messages(), b.messages());
        if from_a.is_empty() && from_b.is_empty() {
            return;
        }
        from_a.iter().for_each(|m| b.core.receive(m[..].into(), a.remote, 0, NOW, &mut b.out));
        from_b.iter().for_each(|m| a.core.receive(m[..].into(), b.remote, 0, NOW, &mut a.out));
    }
}

/// Datagrams to a device that has a live session: noise, and genuine messages kept back, repeated and damaged.
pub fn datagrams(bytes: &[u8]) {
    let mut script = Script(bytes);
    let mut spoke = Side::new(1, 2, Some(2), ["10.0.0.0/24", "fd00::/64"]);
    let mut hub = Side::new(2, 1, None, ["10.0.0.1/32", "fd00::1/128"]);
    let genuine = udp_packet(&[10, 0, 0, 1], &[10, 0, 0, 2], b"genuine");
    spoke.send(&genuine);
    settle(&mut spoke, &mut hub);
    let mut kept: VecDeque<Vec<u8>> = VecDeque::new();
    let mut handshakes = 0;
    while !script.0.is_empty() {
        let what = script.byte();
        match what & 3 {
            0 => {
                let length = script.number() % 2000;
                let mut noise = script.bytes(length).to_vec();
                if what & 4 != 0 && noise.len() >= 4 {
                    noise[..4].copy_from_slice(&[what >> 6 | 1, 0, 0, 0]);
                }
                kept.push_back(noise);
            }
            1 => {
                let length = script.number() % 1500;
                spoke.send(script.bytes(length));
                spoke.send(&genuine);
            }
            // Few, so that neither the limit of handshakes nor the number of sessions is reached.
            2 if handshakes < 3 => {
                handshakes += 1;
                let change = PeerChange {
                    endpoint: Some(([192, 0, 2, 2], 51820 + handshakes).into()),
                    keepalive: Some(handshakes),
                    ..PeerChange::new(PrivateKey::from_random([2; 32]).public_key())
                };
                let change = DeviceChange { peers: vec![change], ..Default::default() };
                spoke.core.apply(&change, NOW, &mut spoke.out);
            }
            _ => {
                let (core, out) = if what & 4 != 0 {
                    (&mut spoke.core, &mut spoke.out)
                } else {
                    (&mut hub.core, &mut hub.out)
                };
                core.tick(NOW, out);
            }
        }
        kept.extend(spoke.messages());
        kept.extend(hub.messages());
        if kept.is_empty() {
            continue;
        }
        let mut message = kept[script.number() % kept.len()].clone();
        for _ in 0..(what >> 3) & 3 {
            if !message.is_empty() {
                let at = script.number() % message.len();
                message[at] ^= script.byte();
            }
        }
        if what & 0x80 != 0 {
            message.truncate(script.number());
        }
        let to = if what & 0x40 != 0 { &mut spoke } else { &mut hub };
        to.core.receive(message[..].into(), remote(script.byte()), what & 3, NOW, &mut to.out);
        for side in [&mut hub, &mut spoke] {
            for packet in side.out.packets.drain(..) {
                assert_eq!(packet::total_length(&packet), Some(packet.len()), "only whole packets come out");
            }
        }
    }
    spoke.out.packets.clear();
    settle(&mut spoke, &mut hub);
    hub.out.packets.clear();
    spoke.core.apply(&endpoint_of_hub(), NOW, &mut spoke.out);
    spoke.send(&genuine);
    settle(&mut spoke, &mut hub);
    assert!(hub.out.packets.iter().any(|p| p[..] == genuine[..]), "the session lives on");
}

fn endpoint_of_hub() -> DeviceChange {
    let hub = PrivateKey::from_random([2; 32]).public_key();
    let peer = PeerChange { endpoint: Some(remote(2).address), ..PeerChange::new(hub) };
    DeviceChange { peers: vec![peer], ..Default::default() }
}

/// A frame as the interface might hand it out, however wrong.
pub fn frames(bytes: &[u8]) {
    let mut produced = 0;
    let _ = split(&mut bytes.to_vec(), |headers, payload| produced += headers.len().min(1) + payload.len());
    assert!(produced <= bytes.len().max(1) * 2, "cutting yields no more than there was");
    let Some(inner) = bytes.get(VNET_HEADER..) else { return };
    if let Some(answer) = icmp::unreachable(inner) {
        assert_eq!(packet::total_length(&answer), Some(answer.len()));
    }
    let mut core = Core::new(MTU);
    assert!(core.route(inner).is_none());
    let mut marked = inner.to_vec();
    packet::merge_ecn(&mut marked, 3);
    assert_eq!(packet::destination(&marked), packet::destination(inner));
}

/// Packets as a peer might send them in a row: joined and cut again, every one of them has to be there.
pub fn batches(bytes: &[u8]) {
    let mut script = Script(bytes);
    let mut packets: Vec<Vec<u8>> = Vec::new();
    let mut sequence = [0u32; 4];
    while !script.0.is_empty() && packets.len() < 200 {
        let (kind, size) = (script.byte(), usize::from(script.byte()));
        // Of one size mostly, so that there is something to join; a few are large.
        let payload = &vec![kind; if size < 200 { 64 } else { (size - 200) * 25 }][..];
        let flow = usize::from(kind & 3);
        let mut built = match kind >> 2 & 3 {
            0 => udp_packet(&[10, 0, 0, kind & 1], &[10, 0, 0, 9], payload),
            1 => payload.to_vec(),
            _ => tcp_packet(flow as u8, sequence[flow], script.byte(), payload),
        };
        sequence[flow] = sequence[flow].wrapping_add(payload.len() as u32);
        if kind & 0x40 != 0 && !built.is_empty() {
            let at = script.number() % built.len();
            built[at] ^= script.byte();
        }
        // The core hands out nothing that is not a packet of its own length.
        if packet::total_length(&built) == Some(built.len()) {
            packets.push(built);
        }
    }
    let mut batch: Vec<Packet> = packets.iter().map(|p| Packet::copy_from(&p[..])).collect();
    let mut again = Vec::new();
    Coalescer::default().write(&mut batch, true, |parts| {
        let mut frame: Vec<u8> = parts.iter().flat_map(|p| p.iter().copied()).collect();
        assert!(frame.len() <= VNET_HEADER + 65535);
        assert!(frame.first_chunk().and_then(VnetHeader::parse).is_some());
        split(&mut frame, |headers, payload| again.push([headers, payload].concat())).expect("our own frame");
    });
    // An identification is counted on when a super-packet is cut, and the header's checksum with it.
    let plain = |list: &[Vec<u8>]| {
        let mut list: Vec<Vec<u8>> = list.to_vec();
        for p in list.iter_mut().filter(|p| p[0] >> 4 == 4) {
            p[4..6].fill(0);
            p[10..12].fill(0);
        }
        list.sort();
        list
    };
    assert!(plain(&again) == plain(&packets), "what went in comes out");
}

/// What a client of the UAPI socket sends, in pieces.
pub fn uapi(bytes: &[u8]) {
    let (mut core, mut out) = (Core::new(MTU), Outbox::default());
    let mut received: Vec<u8> = Vec::new();
    for piece in bytes.chunks(97) {
        let scanned = received.len();
        received.extend_from_slice(piece);
        let mut scanned = scanned;
        while let Some((length, request)) = uapi::next_request(&received, scanned) {
            assert!(length > 0 && length <= received.len());
            received.drain(..length);
            scanned = 0;
            match request {
                Ok(uapi::Request::Set(change)) => core.apply(&change, NOW, &mut out),
                Ok(uapi::Request::Get) => {}
                Err(uapi::Errno::Protocol) => return,
                Err(errno) => assert!(uapi::render_outcome(Err(errno)).starts_with("errno=-")),
            }
            out.datagrams.clear();
            come_back(&core);
        }
    }
}

/// What `get` prints of a device makes another device the same.
fn come_back(core: &Core) {
    let report = core.report();
    let text = uapi::render_get(&report);
    let settings: String = text
        .lines()
        .filter(|l| !["errno", "last_", "tx_", "rx_"].iter().any(|p| l.starts_with(p)) && !l.is_empty())
        .map(|l| format!("{l}\n"))
        .collect();
    let request = format!("set=1\n{settings}\n");
    let Some((length, Ok(uapi::Request::Set(change)))) = uapi::next_request(request.as_bytes(), 0) else {
        panic!("it does not read what it writes: {settings}");
    };
    assert_eq!(length, request.len());
    let mut other = Core::new(MTU);
    other.apply(&change, NOW, &mut Outbox::default());
    let mut again = other.report();
    let strip = |peers: &mut Vec<super::PeerReport>| {
        for peer in peers {
            (peer.tx_bytes, peer.rx_bytes) = (0, 0);
        }
    };
    let mut report = report;
    strip(&mut report.peers);
    strip(&mut again.peers);
    assert!(again == report, "{again:?} is not {report:?}");
}

/// A sender's address and control data as a kernel might write them.
pub fn control(bytes: &[u8]) {
    io::read_ancillary(bytes);
}

fn udp_packet(from: &[u8; 4], to: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut l4 = vec![0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0];
    l4.extend_from_slice(payload);
    let length = (l4.len() as u16).to_be_bytes();
    l4[4..6].copy_from_slice(&length);
    with_checksum((*from).into(), (*to).into(), 17, 6, l4)
}

fn tcp_packet(flow: u8, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut l4 = vec![0, flow, 0x01, 0xbb];
    l4.extend(sequence.to_be_bytes());
    // Acknowledgements mostly, so that there is something to join.
    let flags = if flags & 0xc0 == 0 { flags } else { 0x10 | flags & 8 };
    l4.extend([0, 0, 0, 77, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    l4.extend_from_slice(payload);
    let v6 = flow & 1 == 1;
    let ip = |i: u16| -> IpAddr {
        if v6 { [0xfd00, 0, 0, 0, 0, 0, 0, i].into() } else { [10, 0, 0, i as u8].into() }
    };
    with_checksum(ip(1), ip(2), 6, 16, l4)
}

/// Puts an IP header before a segment and fills in both checksums; the transport's is at `sum_at`.
fn with_checksum(from: IpAddr, to: IpAddr, protocol: u8, sum_at: usize, l4: Vec<u8>) -> Vec<u8> {
    let length = l4.len() as u16;
    let mut packet = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut h = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0];
            h.extend(from.octets());
            h.extend(to.octets());
            h[2..4].copy_from_slice(&(length + 20).to_be_bytes());
            packet::rewrite_ipv4_checksum(&mut h);
            h
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut h = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
            h[4..6].copy_from_slice(&length.to_be_bytes());
            h.extend(from.octets());
            h.extend(to.octets());
            h
        }
        _ => unreachable!("one family"),
    };
    let header = packet.len();
    packet.extend(l4);
    let sum =
        checksum::pseudo_header(&packet, protocol, packet.len() - header) + checksum::sum(&packet[header..]);
    packet[header + sum_at..header + sum_at + 2].copy_from_slice(&checksum::finish(sum));
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed sequence of numbers (SplitMix64), so that a find is found again.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) as usize >> 1
        }

        fn below(&mut self, end: usize) -> usize {
            self.next() % end
        }
    }

    /// Makes a variant of a sample: pieces overwritten, repeated, left out, put in.
    fn vary(sample: &[u8], numbers: &mut Numbers) -> Vec<u8> {
        const ODD: [u8; 8] = [0, 1, 4, 0x7f, 0x80, 0xff, b'=', b'\n'];
        let mut bytes = sample.to_vec();
        for _ in 0..numbers.below(6) {
            let at = numbers.below(bytes.len() + 1);
            let end = (at + numbers.below(40)).min(bytes.len());
            match numbers.below(5) {
                0 => bytes[at..end].iter_mut().for_each(|b| *b = ODD[numbers.below(ODD.len())]),
                1 => bytes[at..end].iter_mut().for_each(|b| *b ^= 1 << numbers.below(8)),
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let noise: Vec<u8> = (0..numbers.below(60)).map(|_| numbers.next() as u8).collect();
                    bytes.splice(at..at, noise);
                }
            }
        }
        bytes
    }

    /// Runs a target over variants of samples and over noise; a panic names the input.
    fn drive(target: fn(&[u8]), samples: &[Vec<u8>], runs: usize) {
        let mut numbers = Numbers(0x5eed);
        for i in 0..runs {
            let input = if samples.is_empty() || i % 4 == 0 {
                (0..numbers.below(700)).map(|_| numbers.next() as u8).collect()
            } else {
                vary(&samples[numbers.below(samples.len())], &mut numbers)
            };
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                panic!("run {i} failed on {input:?}");
            }
        }
    }

    #[test]
    fn no_datagram_does_harm() {
        drive(datagrams, &[], 400);
    }

    #[test]
    fn no_frame_does_harm() {
        let frame = |gso: u8, start: u16, offset: u16, packet: Vec<u8>| {
            let mut frame = vec![1, gso, 0, 0, 100, 0];
            frame.extend(start.to_ne_bytes());
            frame.extend(offset.to_ne_bytes());
            frame.extend(packet);
            frame
        };
        let samples = [
            frame(1, 20, 16, tcp_packet(0, 7, 0xff, &[9; 700])),
            frame(4, 40, 16, tcp_packet(1, 7, 0xff, &[9; 700])),
            frame(5, 20, 6, udp_packet(&[10, 0, 0, 1], &[10, 0, 0, 2], &[9; 700])),
            frame(0, 0, 0, udp_packet(&[10, 0, 0, 1], &[10, 0, 0, 2], b"plain")),
            // Short ones, whose headers are soon longer than they are.
            frame(1, 20, 16, tcp_packet(0, 7, 0xff, b"s")),
            frame(4, 40, 16, tcp_packet(1, 7, 0xff, b"s")),
            frame(5, 20, 6, udp_packet(&[10, 0, 0, 1], &[10, 0, 0, 2], b"s")),
        ];
        samples.iter().for_each(|s| frames(s));
        drive(frames, &samples, 100_000);
    }

    #[test]
    fn no_batch_does_harm() {
        drive(batches, &[], 3_000);
    }

    #[test]
    fn no_request_does_harm() {
        let key = |i: u8| format!("{i:02x}").repeat(32);
        let sample = format!(
            "get=1\n\nset=1\nprivate_key={}\nlisten_port=51820\nfwmark=7\nreplace_peers=true\npublic_key={}\n\
             preshared_key={}\nendpoint=[fe80::1%2]:9\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\n\
             allowed_ip=10.0.0.0/8\nallowed_ip=fd00::/8\nallowed_ip=-10.1.0.0/16\npublic_key={}\nremove=true\n\n\
             set=1\npublic_key={}\nupdate_only=true\nallowed_ip=0.0.0.0/0\nprotocol_version=1\n\n",
            key(8),
            key(9),
            key(10),
            key(11),
            key(9)
        );
        uapi(sample.as_bytes());
        drive(uapi, &[sample.into_bytes()], 3_000);
    }

    #[test]
    fn no_control_data_does_harm() {
        drive(control, &[], 100_000);
    }
}
