//! An agent that died is there again, and its relay speaks with every spoke at once: each is called where it was last heard from.
//!
//! The spokes here answer and never begin, so that whatever comes is the relay's doing. `WGRELAY_SPOKES=5000`: `scripts/soak restart`.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::noise::{Tunn, TunnResult};
use gotatun::packet::{Packet, WgKind};
use gotatun::x25519::{PublicKey, StaticSecret};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use wgrelay::model::PrivateKey;

use crate::rig::drive::Wgrelay;
use crate::rig::need::{NAMESPACES, met};
use crate::rig::node::Node;

/// On an idle machine: 5 within 1 s, 5,000 within 10 s. A busy one takes its time.
const BOUND: Duration = Duration::from_secs(100);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
const RELAY: &str = "127.0.0.1:51820";

/// A spoke without an interface.
struct Spoke {
    socket: UdpSocket,
    tunn: Tunn,
    /// When it called the relay last.
    sent: Option<Instant>,
    /// Whether the relay has answered its own call.
    answered: bool,
    /// Calls of the relay that it has answered.
    called: usize,
}

impl Spoke {
    fn new(number: u32, relay: &PrivateKey) -> Self {
        let own = StaticSecret::from(*secret(number).expose());
        let relay = PublicKey::from(*relay.public_key().as_bytes());
        let limiter = Arc::new(RateLimiter::new(&PublicKey::from(&own), u64::MAX));
        let tunn = Tunn::new(own, relay, None, None, IndexTable::from_os_rng(), limiter);
        // An address each: of one address no relay takes that many calls.
        let address = Ipv4Addr::from(0x7f01_0000 + number + 1);
        let socket = UdpSocket::bind((address, 0)).expect("a port is free");
        socket.set_nonblocking(true).expect("a socket can");
        Self { socket, tunn, sent: None, answered: false, called: 0 }
    }

    fn send(&self, message: impl Into<WgKind>) {
        let bytes = Packet::from(message.into());
        self.socket.send_to(&bytes, RELAY).expect("loopback takes it");
    }

    /// Takes all that has come.
    fn hear(&mut self) {
        let mut datagram = [0; 2048];
        while let Ok((length, _)) = self.socket.recv_from(&mut datagram) {
            let Ok(message) = Packet::copy_from(&datagram[..length]).try_into_wg() else { continue };
            let is_call = matches!(message, WgKind::HandshakeInit(_));
            if let TunnResult::WriteToNetwork(answer) = self.tunn.handle_incoming_packet(message) {
                self.called += usize::from(is_call);
                self.answered |= matches!(answer, WgKind::Data(_));
                self.send(answer);
            }
        }
    }
}

fn secret(number: u32) -> PrivateKey {
    let mut bytes = [7; 32];
    bytes[8..12].copy_from_slice(&number.to_le_bytes());
    PrivateKey::from_random(bytes)
}

fn address(number: u32) -> String {
    format!("10.77.{}.{}", number / 250, number % 250 + 2)
}

/// Lets the spokes answer until enough of them were called.
fn until_called(spokes: &mut [Spoke], times: usize) -> Duration {
    let began = Instant::now();
    while spokes.iter().any(|s| s.called < times) {
        let left = || spokes.iter().filter(|s| s.called < times).count();
        assert!(began.elapsed() < BOUND, "{} of {} were not called", left(), spokes.len());
        hear(spokes);
    }
    began.elapsed()
}

fn hear(spokes: &mut [Spoke]) {
    let mut descriptors: Vec<PollFd<'_>> =
        spokes.iter().map(|s| PollFd::new(s.socket.as_fd(), PollFlags::POLLIN)).collect();
    poll(&mut descriptors, PollTimeout::from(20u8)).expect("it can be waited for");
    let ready: Vec<usize> = (0..spokes.len()).filter(|i| descriptors[*i].any().unwrap_or(false)).collect();
    for i in ready {
        spokes[i].hear();
    }
}

#[test]
fn every_spoke_is_called_again_after_the_agent_died() {
    if !met(&NAMESPACES) {
        return;
    }
    let count: u32 = std::env::var("WGRELAY_SPOKES").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("it can be asked");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("it may be raised to its limit");
    let node = Node::new("relay");
    let relay = Wgrelay::on(&node).with_backend("embedded");
    let key = secret(u32::MAX);
    let mut network = format!(
        "[network]\nname = \"wg0\"\nsubnet = \"10.77.0.0/16\"\npreshared_keys = false\n\n[node.hub]\nrole = \"relay\"\naddress = \"10.77.0.1\"\n\
         endpoint = \"{RELAY}\"\npublic_key = \"{}\"\n",
        key.public_key()
    );
    for number in 0..count {
        let (address, public) = (address(number), secret(number).public_key());
        let _infallible = write!(
            network,
            "\n[node.spoke{number}]\naddress = \"{address}\"\npublic_key = \"{public}\"\nkeepalive = 0\n"
        );
    }
    node.write(relay.network_file(), &network);
    let secrets = format!("[private_keys]\nhub = \"{}\"\n", &*key.expose_base64());
    node.write(format!("{}/wg0/secrets.toml", relay.dir), &secrets);
    node.run(&["chmod", "700", &relay.dir, &format!("{}/wg0", relay.dir)]).ok();
    relay.up().ok();
    let mut spokes: Vec<Spoke> = node.inside(|| (0..count).map(|number| Spoke::new(number, &key)).collect());

    // Each speaks until it is answered: a relay that is called by thousands asks them for cookies first.
    let began = Instant::now();
    while let Some(left) = spokes.iter().filter(|s| !s.answered).count().checked_sub(1) {
        assert!(began.elapsed() < BOUND, "{} have no session", left + 1);
        // A new call makes the answer to the one before worth nothing.
        let is_due = |s: &&mut Spoke| !s.answered && s.sent.is_none_or(|at| at.elapsed() > PATIENCE);
        for spoke in spokes.iter_mut().filter(is_due).take(100) {
            spoke.sent = Some(Instant::now());
            let call = spoke.tunn.format_handshake_initiation(true).expect("it is forced");
            spoke.send(call);
        }
        // A moment for the answers of these.
        for _ in 0..3 {
            hear(&mut spokes);
        }
    }
    // What was learned is written within a moment.
    let settled = Instant::now();
    while settled.elapsed() < Duration::from_secs(3) {
        hear(&mut spokes);
    }
    let agent = node.read("/run/wgrelay/wg0/pid").trim().to_owned();
    for spoke in &mut spokes {
        spoke.called = 0;
    }
    node.run(&["kill", "-9", &agent]).ok();
    let took = until_called(&mut spokes, 1);
    println!("{count} spokes are spoken with again {took:?} after the agent was killed");
    assert_ne!(node.read("/run/wgrelay/wg0/pid").trim(), agent, "another one");
}
