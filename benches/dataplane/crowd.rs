//! Many peers of one hub, played by one thread: a `Tunn` and a socket for each.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::noise::{Tunn, TunnResult};
use gotatun::packet::{Packet, WgKind};
use gotatun::x25519;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use wgrelay::model::PrivateKey;

use crate::lab::{Lab, PORT, key};
use crate::traffic::Outcome;

/// Bytes of UDP payload in each packet.
const PAYLOAD: usize = 1200;
/// Packets that a peer sends in a row.
const BURST: usize = 4;
/// Between two handshakes: below the rate at which either program asks for cookies.
const HANDSHAKE_PAUSE: Duration = Duration::from_micros(2500);

struct Member {
    tunn: Tunn,
    socket: UdpSocket,
    packet: Vec<u8>,
}

/// Peers that have a session each.
pub(crate) struct Crowd {
    members: Vec<Member>,
    /// A socket of the hub that takes the packets and is never read.
    _sink: UdpSocket,
}

fn secret(i: usize) -> PrivateKey {
    let mut bytes = [77; 32];
    // Not at its ends, of which a key has bits cut off.
    bytes[8..12].copy_from_slice(&(i as u32).to_le_bytes());
    PrivateKey::from_random(bytes)
}

fn address(i: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a64_0000 + i as u32)
}

/// Adds `count` peers to the hub.
pub(crate) fn configure(lab: &Lab, count: usize) {
    let peers: String = (0..count)
        .map(|i| format!("[Peer]\nPublicKey={}\nAllowedIPs={}/32\n", secret(i).public_key(), address(i)))
        .collect();
    lab.wg(0, "addconf", &peers);
}

impl Crowd {
    /// Has `count` peers shake hands with the hub of a lab, over the hub's loopback.
    pub(crate) fn join(lab: &Lab, count: usize) -> Self {
        configure(lab, count);
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
        setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit");
        let hub = x25519::PublicKey::from(*key(0).public_key().as_bytes());
        let indices = IndexTable::from_os_rng();
        let members = lab.inside(0, || (0..count).map(|i| Member::join(i, hub, indices.clone())).collect());
        let sink = lab.inside(0, || UdpSocket::bind("10.99.0.1:9")).expect("the address is there");
        let interface = &lab.nodes[0].interface;
        lab.run(0, &format!("ip route replace 10.100.0.0/16 dev {interface}"));
        Self { members, _sink: sink }
    }

    /// Has every peer send for some seconds, as fast as one thread can.
    pub(crate) fn send(&mut self, lab: &Lab, seconds: u64) -> Outcome {
        let (before, started) = (received(lab), Instant::now());
        let mut sent = 0u64;
        let mut buffer = BytesMut::new();
        'all: loop {
            for member in &mut self.members {
                for _ in 0..BURST {
                    sent += u64::from(member.send(&mut buffer));
                }
                if started.elapsed() >= Duration::from_secs(seconds) && sent as usize >= BURST {
                    break 'all;
                }
            }
        }
        let elapsed = started.elapsed().as_secs_f64();
        // What is under way has to be in before the count.
        std::thread::sleep(Duration::from_millis(200));
        let arrived = received(lab) - before;
        assert!(arrived > 0 && arrived <= sent, "{arrived} of {sent} packets arrived");
        let gigabits = (arrived * PAYLOAD as u64 * 8) as f64 / elapsed / 1e9;
        Outcome { gigabits, lost: 1.0 - arrived as f64 / sent as f64 }
    }
}

/// Packets that have come out of the tunnel: those that the sink, which is full, refused.
fn received(lab: &Lab) -> u64 {
    let sockets = lab.run(0, "cat /proc/net/udp");
    let sink = sockets.lines().find(|line| line.contains(":0009 ")).expect("the sink is open");
    sink.split_whitespace().last().expect("the last column counts").parse().expect("a number")
}

impl Member {
    fn join(i: usize, hub: x25519::PublicKey, indices: IndexTable) -> Self {
        std::thread::sleep(HANDSHAKE_PAUSE);
        let secret = x25519::StaticSecret::from(*secret(i).expose());
        let limiter = Arc::new(RateLimiter::new(&x25519::PublicKey::from(&secret), u64::MAX));
        let tunn = Tunn::new(secret, hub, None, None, indices, limiter);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        socket.connect(("127.0.0.1", PORT)).expect("the address is local");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("an option");
        let mut member = Self { tunn, socket, packet: packet(address(i)) };
        while !member.shake_hands() {}
        member
    }

    /// Tries one handshake; a cookie asked for means another.
    fn shake_hands(&mut self) -> bool {
        let start = self.tunn.format_handshake_initiation(true).expect("it is forced");
        self.socket.send(&Packet::from(WgKind::from(start))).expect("loopback takes it");
        let mut answer = [0; 2048];
        let Ok(length) = self.socket.recv(&mut answer) else { return false };
        let message = Packet::copy_from(&answer[..length]).try_into_wg().expect("it speaks WireGuard");
        match self.tunn.handle_incoming_packet(message) {
            TunnResult::WriteToNetwork(confirmation) => {
                self.socket.send(&Packet::from(confirmation)).expect("loopback takes it");
                true
            }
            _ => false,
        }
    }

    /// Sends one packet, and tells whether the socket took it.
    fn send(&mut self, buffer: &mut BytesMut) -> bool {
        buffer.extend_from_slice(&self.packet);
        let sealed = self.tunn.encapsulate_with_session(Packet::from_bytes(buffer.split()));
        self.socket.send(&Packet::from(sealed.expect("there is a session"))).is_ok()
    }
}

/// A UDP packet for the sink, padded as the protocol wants.
fn packet(from: Ipv4Addr) -> Vec<u8> {
    let length = (28 + PAYLOAD) as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet.extend(from.octets());
    packet.extend([10, 99, 0, 1]);
    let sum: u32 = packet.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([0x30, 0, 0, 9]);
    packet.extend((length - 20).to_be_bytes());
    // No checksum, which IPv4 allows.
    packet.extend([0, 0]);
    packet.resize(usize::from(length).next_multiple_of(16), 0);
    packet
}
