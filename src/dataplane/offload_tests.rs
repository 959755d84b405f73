//! Cutting and joining are each other's inverse, and neither trusts what it is given.

use std::net::IpAddr;

use proptest::prelude::*;

use super::super::packet::samples;
use super::super::split::split;
use super::super::vnet::VNET_HEADER;
use super::*;

fn addresses(v6: bool) -> (IpAddr, IpAddr) {
    if v6 {
        ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())
    } else {
        ([10, 0, 0, 1].into(), [10, 0, 0, 2].into())
    }
}

/// Builds a TCP packet with a valid checksum.
fn tcp(v6: bool, port: u16, sequence: u32, flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let (from, to) = addresses(v6);
    let mut l4 = Vec::new();
    l4.extend(port.to_be_bytes());
    l4.extend(443u16.to_be_bytes());
    l4.extend(sequence.to_be_bytes());
    l4.extend(77u32.to_be_bytes());
    l4.extend([((20 + options.len()) as u8 / 4) << 4, flags, 1, 0, 0, 0, 0, 0]);
    l4.extend(options);
    l4.extend(payload);
    let mut packet = samples::ip(from, to, 6, l4);
    let at = if v6 { IPV6_HEADER } else { IPV4_HEADER };
    let sum = checksum::pseudo_header(&packet, 6, packet.len() - at) + checksum::sum(&packet[at..]);
    packet[at + 16..at + 18].copy_from_slice(&checksum::finish(sum));
    packet
}

/// Joins packets and returns the frames as they would be written.
fn join(packets: &[Vec<u8>], udp: bool) -> Vec<Vec<u8>> {
    let mut packets: Vec<Packet> = packets.iter().map(|p| Packet::copy_from(&p[..])).collect();
    let mut frames = Vec::new();
    Coalescer::default().write(&mut packets, udp, |parts| {
        frames.push(parts.iter().flat_map(|p| p.iter().copied()).collect());
    });
    frames
}

/// Cuts frames again.
fn cut(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for frame in frames {
        split(&mut frame.clone(), |headers, payload| packets.push([headers, payload].concat())).unwrap();
    }
    packets
}

/// IPv4 identifications are counted on when cutting, which no receiver minds; the rest has to be the same.
fn without_id(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut packets = packets.to_vec();
    for p in &mut packets {
        if p[0] >> 4 == 4 {
            assert_eq!(checksum::fold(checksum::sum(&p[..20])), 0xffff, "header checksum");
            p[4..6].fill(0);
            p[10..12].fill(0);
        }
    }
    packets
}

#[test]
fn a_stream_becomes_one_frame() {
    for v6 in [false, true] {
        let data: Vec<u8> = (0..9000u32).map(|i| i as u8).collect();
        let packets: Vec<Vec<u8>> = data
            .chunks(1360)
            .enumerate()
            .map(|(i, c)| tcp(v6, 1, (u32::MAX - 2000).wrapping_add(1360 * i as u32), TCP_ACK, &[1; 12], c))
            .collect();
        let frames = join(&packets, false);
        assert_eq!(frames.len(), 1);
        let vnet = VnetHeader::parse(frames[0].first_chunk().unwrap()).unwrap();
        assert_eq!((vnet.segment, vnet.needs_checksum), (1360, true));
        assert_eq!(vnet.gso, if v6 { Gso::Tcp6 } else { Gso::Tcp4 });
        assert_eq!(without_id(&cut(&frames)), without_id(&packets));
    }
}

#[test]
fn what_must_stay_apart_does() {
    let ack = |port, seq, len: usize| tcp(false, port, seq, TCP_ACK, &[], &vec![5; len]);
    let mut bad_sum = ack(1, 100, 100);
    *bad_sum.last_mut().unwrap() ^= 1;
    let mut fragment = ack(1, 100, 100);
    fragment[6] = 0x20;
    rewrite_ipv4_checksum(&mut fragment);
    for (what, second) in [
        ("another flow", ack(2, 100, 100)),
        ("a gap", ack(1, 101, 100)),
        ("a longer one", ack(1, 100, 101)),
        ("a pure acknowledgement", ack(1, 100, 0)),
        ("FIN", tcp(false, 1, 100, TCP_ACK | 1, &[], &[5; 100])),
        ("URG", tcp(false, 1, 100, TCP_ACK | 0x20, &[], &[5; 100])),
        ("other options", tcp(false, 1, 100, TCP_ACK, &[1; 4], &[5; 96])),
        ("a wrong checksum", bad_sum),
        ("a fragment", fragment),
    ] {
        let packets = [ack(1, 0, 100), second];
        let frames = join(&packets, true);
        assert_eq!(frames.len(), 2, "{what}");
        for (frame, packet) in frames.iter().zip(&packets) {
            assert_eq!(frame[..VNET_HEADER], VnetHeader::PLAIN, "{what}");
            assert_eq!(&frame[VNET_HEADER..], &packet[..], "{what}");
        }
    }
}

#[test]
fn order_within_a_flow_is_kept() {
    let data = |seq| tcp(false, 1, seq, TCP_ACK, &[], &[5; 100]);
    let fin = tcp(false, 1, 100, TCP_ACK | 1, &[], &[]);
    let frames = join(&[data(0), fin, data(100), data(200)], false);
    assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [150, 50, 250]);
    // PSH ends a super-packet and is carried by it.
    let pushed = tcp(false, 1, 100, TCP_ACK | TCP_PSH, &[], &[5; 100]);
    let frames = join(&[data(0), pushed.clone(), data(200)], false);
    assert_eq!(frames.len(), 2);
    assert_eq!(without_id(&cut(&frames)), without_id(&[data(0), pushed, data(200)]));
}

#[test]
fn a_full_frame_is_followed_by_another() {
    let packets: Vec<_> = (0..100).map(|i| tcp(false, 1, i * 1400, TCP_ACK, &[], &[7; 1400])).collect();
    let frames = join(&packets, false);
    assert!(frames.iter().all(|f| f.len() <= VNET_HEADER + MAX_BYTES));
    assert_eq!(without_id(&cut(&frames)), without_id(&packets));
    assert_eq!(frames.len(), 3, "46 segments fit into 65,535 bytes");
}

fn traffic() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let packet =
        (any::<bool>(), any::<bool>(), 0..2u16, 0..3u8, prop_oneof![Just(64usize), 0..80usize], 0..12u8);
    prop::collection::vec(packet, 1..80).prop_map(|list| {
        let mut sequence = [0u32; 4];
        list.into_iter()
            .map(|(v6, is_tcp, port, flag, length, oddity)| {
                let payload: Vec<u8> = (0..length).map(|i| i as u8 ^ oddity).collect();
                if !is_tcp {
                    let (from, to) = addresses(v6);
                    return samples::udp(from, to, &payload);
                }
                let at = &mut sequence[usize::from(v6) * 2 + usize::from(port)];
                let flags = TCP_ACK
                    | if flag == 0 && oddity == 0 { 1 } else { 0 }
                    | if oddity == 1 { TCP_PSH } else { 0 };
                let packet = tcp(v6, port, *at, flags, &[1; 12], &payload);
                *at = at.wrapping_add(if oddity == 2 { 9 } else { length as u32 });
                packet
            })
            .collect()
    })
}

fn flow(packet: &[u8]) -> Vec<u8> {
    let (at, l4, protocol) =
        if packet[0] >> 4 == 4 { (12, IPV4_HEADER, packet[9]) } else { (8, IPV6_HEADER, packet[6]) };
    [&[protocol], &packet[at..l4 + 4]].concat()
}

proptest! {
    #[test]
    fn joining_and_cutting_restores_every_flow(packets in traffic(), udp: bool) {
        let again = cut(&join(&packets, udp));
        prop_assert_eq!(again.len(), packets.len());
        let (before, after) = (without_id(&packets), without_id(&again));
        for packet in &before {
            let of = |list: &[Vec<u8>]| list.iter().filter(|p| flow(p) == flow(packet)).cloned().collect::<Vec<_>>();
            prop_assert_eq!(of(&before), of(&after));
        }
    }

    #[test]
    fn no_frame_does_harm(
        mut head in prop::collection::vec(0..6u8, VNET_HEADER),
        lies in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        noise in prop::collection::vec(any::<u8>(), 0..200),
        v6: bool,
    ) {
        head[6..8].copy_from_slice(&(if v6 { 40u16 } else { 20 }).to_ne_bytes());
        let whole = tcp(v6, 1, 5, TCP_ACK, &[1; 8], &noise);
        let mut frame = [&head[..], &whole].concat();
        for (at, value) in lies {
            let i = at.index(frame.len().min(80));
            frame[i] = value;
        }
        let _ = split(&mut frame.clone(), |_, _| {});
        let _ = split(&mut [&head[..], &noise].concat(), |_, _| {});
        let _ = split(&mut noise.clone(), |_, _| {});
        join(&[frame[VNET_HEADER..].to_vec(), noise, whole], true);
    }
}
