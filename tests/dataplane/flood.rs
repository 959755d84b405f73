//! A flood of handshakes with a valid first MAC and many sources: cookies bound it, and live sessions go on.

use std::io::IoSlice;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gotatun::noise::Tunn;
use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::packet::{Packet, WgKind};
use gotatun::x25519::{PublicKey, StaticSecret};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use wgrelay::dataplane::{DeviceChange, PeerChange};

use crate::other::Other;
use crate::path::{PATH_PORT, Path, Weather};
use crate::rig::{GUEST, PORT, Rig, change, connected, eventually, key, peer, resident};

/// Initiations a second: more than a device answers with handshakes, less than it answers with cookies, lest the socket
/// fill with seconds of work. In the emulated guest our device takes hundreds, and gotatun as .ci/run builds it not many more.
fn rate(side: char, from: From) -> f64 {
    match (side, from) {
        ('b', From::ThePath) => 1000.0,
        ('a', _) if std::env::var_os(GUEST).is_some() => 250.0,
        _ => 8000.0,
    }
}

/// Where a flood comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// All over 127.0.0.0/8.
    Everywhere,
    /// The address of the path, which so has to prove itself.
    ThePath,
}

/// Initiations of nobody whom the device knows, until dropped.
struct Flood {
    ends: Arc<AtomicBool>,
    cookies: Arc<AtomicU64>,
    thread: Option<JoinHandle<u64>>,
}

impl Flood {
    /// Floods the device of one side, which is known by this key.
    fn start(rig: &Rig, side: char, from: From) -> Self {
        let socket = rig.inside(side, || UdpSocket::bind("0.0.0.0:0")).expect("a port is free");
        socket.set_nonblocking(true).expect("a socket can");
        let public = PublicKey::from(*key(side).public_key().as_bytes());
        let stranger = StaticSecret::from([0x55; 32]);
        let limiter = Arc::new(RateLimiter::new(&PublicKey::from(&stranger), 0));
        let mut tunn = Tunn::new(stranger, public, None, None, IndexTable::from_os_rng(), limiter);
        let initiations: Vec<Vec<u8>> = (0..32)
            .map(|_| tunn.format_handshake_initiation(true).expect("it is forced"))
            .map(|message| Packet::from(WgKind::from(message)).to_vec())
            .collect();
        let (ends, cookies) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, counted) = (Arc::clone(&ends), Arc::clone(&cookies));
        let thread = std::thread::spawn(move || {
            let (began, mut sent, mut answer) = (Instant::now(), 0u64, [0; 256]);
            let to = SockaddrIn::from(SocketAddrV4::new([127, 0, 0, 1].into(), PORT));
            while !told.load(Ordering::Relaxed) {
                while sent as f64 > began.elapsed().as_secs_f64() * rate(side, from) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let bytes = sent.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
                let source = match from {
                    From::Everywhere => [127, bytes[0] | 1, bytes[1], bytes[2] | 1],
                    From::ThePath => [127, 0, 0, 1],
                };
                let source = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(source) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let message = [IoSlice::new(&initiations[sent as usize % initiations.len()])];
                let control = [ControlMessage::Ipv4PacketInfo(&source)];
                let _ = sendmsg(socket.as_raw_fd(), &message, &control, MsgFlags::empty(), Some(&to));
                sent += 1;
                while let Ok(length) = socket.recv(&mut answer) {
                    counted.fetch_add(u64::from(length == 64 && answer[0] == 3), Ordering::Relaxed);
                }
            }
            sent
        });
        let flood = Self { ends, cookies, thread: Some(thread) };
        eventually("cookies", || flood.cookies.load(Ordering::Relaxed) > 0);
        flood
    }

    /// Ends it: how many were sent, and how many cookies came back.
    fn stop(mut self) -> (u64, u64) {
        self.ends.store(true, Ordering::Relaxed);
        let sent = self.thread.take().map_or(0, |t| t.join().expect("it does not panic"));
        (sent, self.cookies.load(Ordering::Relaxed))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A third device beside that of side b, on another port, that knows side a.
fn latecomer(rig: &Rig, endpoint: &str) -> (wgrelay::dataplane::Dataplane, wgrelay::model::PublicKey) {
    let device = rig.start_beside('b', 'c');
    let change = DeviceChange {
        private_key: Some(key('c')),
        peers: vec![PeerChange {
            endpoint: Some(endpoint.parse().unwrap()),
            keepalive: Some(25),
            ..PeerChange::new(key('a').public_key())
        }],
        ..Default::default()
    };
    device.configure(change).expect("a change");
    (device, key('c').public_key())
}

#[test]
fn live_sessions_go_on_and_newcomers_prove_their_address() {
    let Some(rig) = Rig::new() else { return };
    let (a, _b) = connected(&rig);
    let before = resident();
    let flood = Flood::start(&rig, 'a', From::Everywhere);
    let path = Path::start(&rig, 'a', Weather::default(), 1);
    a.configure(DeviceChange { peers: vec![PeerChange::new(key('c').public_key())], ..Default::default() })
        .expect("a change");
    let (late, late_key) = latecomer(&rig, &format!("10.77.0.1:{PATH_PORT}"));
    let pings = rig.run('b', "ping -q -i0.01 -c300 -W2 10.99.0.1 || true");
    eventually("the newcomer's handshake", || peer(&late).last_handshake.is_some());
    let complete = || {
        let report = a.report().unwrap();
        report.peers.iter().any(|p| p.public_key == late_key && p.last_handshake.is_some())
    };
    eventually("the newcomer's first message, which completes it at the other end", complete);
    let (sent, cookies) = flood.stop();
    let report = a.report().unwrap();
    println!("{sent} initiations, {cookies} cookies, {:?}; {pings}", report.dropped);
    let [there, back] = path.tally();
    assert!(back.types[3] >= 1 && there.proved >= 1, "a cookie came and was used: {there:?} {back:?}");
    assert!(report.dropped.throttled > 500, "most were answered with a cookie, not a handshake");
    let received: u32 =
        pings.split(" received").next().and_then(|t| t.rsplit(' ').next()?.parse().ok()).unwrap();
    assert!(received > 270, "live sessions went on: {pings}");
    assert!(resident() < before + 32_768, "memory is bounded");
}

/// The other implementation is flooded, and we begin; then the other way round.
fn cookies_with(other: Other) {
    for flooded in ['a', 'b'] {
        let Some(rig) = Rig::new() else { return };
        let Some(_other) = other.start(&rig, 'b') else { return };
        let device = rig.start('a');
        let (begins, path) = (
            crate::rig::other(flooded),
            format!("10.77.0.{}:{PATH_PORT}", if flooded == 'a' { 1 } else { 2 }),
        );
        device.configure(change('a', None)).expect("a change");
        rig.set_conf('b', None, None);
        rig.bring_up('a');
        rig.bring_up('b');
        // gotatun counts by address: it asks nobody for a cookie whom it does not hear too often.
        let from = if other == Other::Gotatun { From::ThePath } else { From::Everywhere };
        let flood = Flood::start(&rig, flooded, from);
        let watched = Path::start(&rig, flooded, Weather::default(), 1);
        if begins == 'a' {
            device.configure(change('a', Some(&path))).expect("a change");
        } else {
            let peer = key('a').public_key();
            rig.run(
                'b',
                &format!("wg set {} peer {peer} endpoint {path} persistent-keepalive 25", rig.wg('b')),
            );
        }
        let shown = std::cell::Cell::new(0);
        eventually("a handshake under load", || {
            shown.set(shown.get() + 1);
            if shown.get() % 300 == 0 {
                println!("so far: {:?} {:?}", watched.tally(), device.report().unwrap().dropped);
            }
            peer(&device).last_handshake.is_some()
        });
        let (sent, cookies) = flood.stop();
        let [there, back] = watched.tally();
        println!("{flooded} flooded by {sent}, {cookies} cookies: {there:?} {back:?}");
        assert!(back.types[3] >= 1, "the flooded side asked for a proof");
        assert!(there.proved >= 1, "and was given one");
        assert!(rig.pings('a', "10.99.0.2"));
    }
}

#[test]
fn cookies_are_understood_by_and_from_wireguard_go() {
    cookies_with(Other::WireguardGo);
}

#[test]
fn cookies_are_understood_by_and_from_gotatun() {
    cookies_with(Other::Gotatun);
}

#[test]
fn kernel_understands_cookies_and_is_understood() {
    cookies_with(Other::Kernel);
}
