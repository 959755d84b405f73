//! Two namespaces with a veth between them, and what the tests do in them.
//!
//! ```text
//!   namespace a                               namespace b
//!   dataplane 10.99.0.1, fd99::1              dataplane or another 10.99.0.2, fd99::2
//!   veth 10.77.0.1/24, fd77::1/64  ────────── veth 10.77.0.2/24, fd77::2/64
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use wgrelay::dataplane::{Dataplane, DeviceChange, Options, PeerChange, PeerReport};
use wgrelay::model::{PresharedKey, PrivateKey};

pub const PORT: u16 = 51820;

/// Runs a command to its end and returns what it printed.
pub fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("sh runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command}: {out}{err}");
    out.into_owned()
}

pub fn succeeds(command: &str) -> bool {
    let status =
        Command::new("sh").args(["-c", command]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|s| s.success())
}

/// Set inside the guest, whose kernel has WireGuard.
pub const GUEST: &str = "WGRELAY_GUEST";

/// Whether this process runs one test alone, so that what it counts is that test's. Where it does not, the test is run
/// in a process of its own, and has passed when this returns `false`.
pub fn alone(test: &str) -> bool {
    // nextest runs each test so.
    if std::env::var_os("NEXTEST").is_some() || std::env::var_os("WGRELAY_ALONE").is_some() {
        return true;
    }
    let this = std::env::current_exe().expect("a test knows its program");
    let status = Command::new(this).args(["--exact", test, "--nocapture"]).env("WGRELAY_ALONE", "1").status();
    assert!(status.expect("it starts").success(), "{test}: see above");
    false
}

/// The open descriptors of this process.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is there").count()
}

/// The resident memory of this process, in kB.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("it is told");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Both ends of a flow of datagrams and of a stream.
pub struct Talkers {
    pub server: UdpSocket,
    pub client: UdpSocket,
    pub sender: TcpStream,
    pub receiver: TcpStream,
}

/// Two namespaces with a veth between them, taken away at the end.
pub struct Rig {
    tag: String,
}

impl Rig {
    /// `None` where the machine does not have what it takes and nobody insists.
    pub fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let missing = if !nix::unistd::geteuid().is_root() {
            Some("root")
        } else if File::options().read(true).write(true).open("/dev/net/tun").is_err() {
            Some("/dev/net/tun")
        } else if !succeeds("ip -V") {
            Some("iproute2")
        } else {
            None
        };
        if let Some(missing) = missing {
            assert!(std::env::var_os("WGRELAY_REAL").is_none(), "asked for, but {missing} is missing");
            println!("not run: {missing} is missing");
            return None;
        }
        // Interface names share 15 characters, and /run/wireguard is shared by all namespaces.
        let tag = format!("dp{}x{}", std::process::id() % 100_000, COUNT.fetch_add(1, Ordering::Relaxed));
        let rig = Self { tag };
        let (a, b) = (rig.ns('a'), rig.ns('b'));
        run(&format!("ip netns add {a} && ip netns add {b}"));
        run(&format!("ip link add veth netns {a} type veth peer name veth netns {b}"));
        for (ns, host) in [(&a, 1), (&b, 2)] {
            run(&format!(
                "ip -n {ns} link set lo up && ip -n {ns} link set veth up &&
                 ip -n {ns} addr add 10.77.0.{host}/24 dev veth &&
                 ip -n {ns} addr add fd77::{host}/64 dev veth nodad"
            ));
        }
        Some(rig)
    }

    pub fn ns(&self, side: char) -> String {
        format!("{}{side}", self.tag)
    }

    /// The name of the tunnel's interface on one side.
    pub fn wg(&self, side: char) -> String {
        format!("{}w{side}", self.tag)
    }

    pub fn socket(&self, side: char) -> PathBuf {
        format!("/var/run/wireguard/{}.sock", self.wg(side)).into()
    }

    /// Runs a command in one side's namespace.
    pub fn run(&self, side: char, command: &str) -> String {
        run(&format!("ip netns exec {} {command}", self.ns(side)))
    }

    pub fn pings(&self, side: char, to: &str) -> bool {
        succeeds(&format!("ip netns exec {} ping -c1 -W2 {to}", self.ns(side)))
    }

    /// Does something in one side's namespace, in a thread of its own.
    pub fn inside<T: Send>(&self, side: char, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.ns(side))).expect("the namespace is there");
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter it");
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub fn start(&self, side: char) -> Dataplane {
        self.start_beside(side, side)
    }

    /// Starts a device in one side's namespace under another side's name.
    pub fn start_beside(&self, side: char, name: char) -> Dataplane {
        let options = Options { name: self.wg(name).parse().expect("a short name"), mtu: 1420, uapi: true };
        self.inside(side, || Dataplane::start(&options)).expect("it starts")
    }

    /// Configures the other implementation by `wg setconf`; with an endpoint it begins.
    pub fn set_conf(&self, side: char, preshared: Option<&PresharedKey>, endpoint: Option<&str>) {
        let host = if side == 'a' { 2 } else { 1 };
        let mut conf = format!(
            "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n[Peer]\nPublicKey = {}\n\
             AllowedIPs = 10.99.0.{host}/32, fd99::{host}/128\n",
            *key(side).expose_base64(),
            key(other(side)).public_key(),
        );
        if let Some(preshared) = preshared {
            conf += &format!("PresharedKey = {}\n", *preshared.expose_base64());
        }
        if let Some(endpoint) = endpoint {
            conf += &format!("Endpoint = {endpoint}\nPersistentKeepalive = 25\n");
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), conf).expect("it can be written");
        self.run(side, &format!("wg setconf {} {}", self.wg(side), file.path().display()));
    }

    /// Brings both sides up, the other one configured by `wg`, and waits for a handshake. Whoever begins does so as soon as it is
    /// told, so the other comes first; with our endpoint the other begins.
    pub fn meet(
        &self,
        device: &Dataplane,
        own: DeviceChange,
        preshared: Option<&PresharedKey>,
        ours: Option<&str>,
    ) {
        self.bring_up('a');
        self.bring_up('b');
        if ours.is_some() {
            device.configure(own.clone()).expect("a change");
        }
        self.set_conf('b', preshared, ours);
        if ours.is_none() {
            device.configure(own).expect("a change");
        }
        eventually("a handshake", || peer(device).last_handshake.is_some());
    }

    /// Sockets on both sides, through the tunnel: datagrams from `client` to the other side, a stream from b to a.
    pub fn talkers(&self, client: char) -> Talkers {
        let address = |side: char| if side == 'a' { "10.99.0.1" } else { "10.99.0.2" };
        let at = format!("{}:7008", address(other(client)));
        let server = self.inside(other(client), || UdpSocket::bind(&at)).expect("the port is free");
        let client = self.inside(client, || UdpSocket::bind((address(client), 0))).expect("a port is free");
        client.connect(&at).expect("it has an address");
        let listener = self.inside('a', || TcpListener::bind("10.99.0.1:7009")).expect("the port is free");
        let sender = self.inside('b', || TcpStream::connect("10.99.0.1:7009")).expect("they listen");
        let (receiver, _) = listener.accept().expect("they call");
        Talkers { server, client, sender, receiver }
    }

    /// Gives the interface its addresses and brings it up.
    pub fn bring_up(&self, side: char) {
        let (ns, wg, host) = (self.ns(side), self.wg(side), if side == 'a' { 1 } else { 2 });
        run(&format!(
            "ip -n {ns} addr add 10.99.0.{host}/24 dev {wg} && ip -n {ns} addr add fd99::{host}/64 dev {wg} nodad &&
             ip -n {ns} link set {wg} up"
        ));
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for side in ['a', 'b', 'c'] {
            succeeds(&format!("ip netns del {}", self.ns(side)));
        }
    }
}

pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(40), "not within 40 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("{what}: after {:?}", started.elapsed());
}

pub fn key(side: char) -> PrivateKey {
    PrivateKey::from_random([side as u8; 32])
}

pub fn other(side: char) -> char {
    if side == 'a' { 'b' } else { 'a' }
}

/// What makes one side talk to the other; `endpoint` where it is to begin.
pub fn change(side: char, endpoint: Option<&str>) -> DeviceChange {
    let host = if side == 'a' { 2 } else { 1 };
    let prefixes = [format!("10.99.0.{host}/32"), format!("fd99::{host}/128")];
    DeviceChange {
        private_key: Some(key(side)),
        listen_port: Some(PORT),
        peers: vec![PeerChange {
            endpoint: endpoint.map(|e| e.parse().expect("an address")),
            keepalive: endpoint.map(|_| 25),
            allowed_ips: prefixes.iter().map(|p| p.parse().expect("a prefix")).collect(),
            ..PeerChange::new(key(other(side)).public_key())
        }],
        ..Default::default()
    }
}

pub fn peer(device: &Dataplane) -> PeerReport {
    device.report().expect("it runs").peers.pop().expect("it has a peer")
}

/// Two devices that talk; `b` begins.
pub fn connected(rig: &Rig) -> (Dataplane, Dataplane) {
    let (a, b) = (rig.start('a'), rig.start('b'));
    a.configure(change('a', None)).expect("a change");
    b.configure(change('b', Some("10.77.0.1:51820"))).expect("a change");
    rig.bring_up('a');
    rig.bring_up('b');
    eventually("a handshake", || peer(&a).last_handshake.is_some());
    (a, b)
}

/// Sends `length` bytes over TCP from side b to `to` on side a, and compares them on arrival.
pub fn stream(rig: &Rig, to: &str, length: usize) {
    let to: SocketAddr = to.parse().expect("an address");
    let listener = rig.inside('a', || TcpListener::bind(to)).expect("the address is there");
    let byte = |i: usize| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[0];
    let sent: Vec<u8> = (0..length).map(byte).collect();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let mut received = Vec::with_capacity(length);
            let (mut connection, _) = listener.accept().expect("a connection");
            connection.read_to_end(&mut received).expect("it ends");
            received
        });
        let mut connection = rig.inside('b', || TcpStream::connect(to)).expect("it connects");
        connection.write_all(&sent).expect("it is taken");
        drop(connection);
        let received = receiver.join().expect("it receives");
        assert_eq!(received.len(), sent.len());
        assert!(received == sent, "what arrived is not what was sent");
    });
}
