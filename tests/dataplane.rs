//! The embedded device with real packets: namespaces, a veth between them, `wg(8)`, and wireguard-go as the other side.
//!
//! ```text
//!   namespace a                               namespace b
//!   dataplane 10.99.0.1, fd99::1              dataplane or wireguard-go 10.99.0.2, fd99::2
//!   veth 10.77.0.1/24, fd77::1/64  ────────── veth 10.77.0.2/24, fd77::2/64
//! ```
//!
//! Needs root, /dev/net/tun and iproute2. Where these are missing each test says so and passes, unless WGRELAY_REAL=1
//! asks for it: then it fails.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "tests on the machine")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use wgrelay::dataplane::{
    ConfigureError, Dataplane, DeviceChange, EndReason, Options, PeerChange, PeerReport, StartError,
};
use wgrelay::model::{PresharedKey, PrivateKey};

const PORT: u16 = 51820;

/// Runs a command to its end and returns what it printed.
fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("sh runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command}: {out}{err}");
    out.into_owned()
}

fn succeeds(command: &str) -> bool {
    let status =
        Command::new("sh").args(["-c", command]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|s| s.success())
}

/// Two namespaces with a veth between them, taken away at the end.
struct Rig {
    tag: String,
}

impl Rig {
    /// `None` where the machine does not have what it takes and nobody insists.
    fn new() -> Option<Self> {
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

    fn ns(&self, side: char) -> String {
        format!("{}{side}", self.tag)
    }

    /// The name of the tunnel's interface on one side.
    fn wg(&self, side: char) -> String {
        format!("{}w{side}", self.tag)
    }

    fn socket(&self, side: char) -> PathBuf {
        format!("/var/run/wireguard/{}.sock", self.wg(side)).into()
    }

    /// Runs a command in one side's namespace.
    fn run(&self, side: char, command: &str) -> String {
        run(&format!("ip netns exec {} {command}", self.ns(side)))
    }

    fn pings(&self, side: char, to: &str) -> bool {
        succeeds(&format!("ip netns exec {} ping -c1 -W2 {to}", self.ns(side)))
    }

    /// Does something in one side's namespace, in a thread of its own.
    fn inside<T: Send>(&self, side: char, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.ns(side))).expect("the namespace is there");
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter it");
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn start(&self, side: char) -> Dataplane {
        let options = Options { name: self.wg(side).parse().expect("a short name"), mtu: 1420, uapi: true };
        self.inside(side, || Dataplane::start(&options)).expect("it starts")
    }

    /// Starts wireguard-go, `None` where it is not installed.
    fn start_wireguard_go(&self, side: char) -> Option<Guest> {
        if !succeeds("command -v wireguard-go && command -v wg") {
            assert!(
                std::env::var_os("WGRELAY_REAL").is_none(),
                "asked for, but wireguard-go or wg is missing"
            );
            println!("not run: wireguard-go or wg is missing");
            return None;
        }
        let child = Command::new("ip")
            .args(["netns", "exec", &self.ns(side), "wireguard-go", "-f", &self.wg(side)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ip runs");
        let guest = Guest(child, self.socket(side));
        eventually("wireguard-go is there", || self.socket(side).exists());
        Some(guest)
    }

    /// Gives the interface its addresses and brings it up.
    fn bring_up(&self, side: char) {
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

/// A process that ends with its owner, and the socket file that it would leave.
struct Guest(Child, PathBuf);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_file(&self.1);
    }
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10), "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn key(side: char) -> PrivateKey {
    PrivateKey::from_random([side as u8; 32])
}

fn other(side: char) -> char {
    if side == 'a' { 'b' } else { 'a' }
}

/// What makes one side talk to the other; `endpoint` where it is to begin.
fn change(side: char, endpoint: Option<&str>) -> DeviceChange {
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

fn peer(device: &Dataplane) -> PeerReport {
    device.report().expect("it runs").peers.pop().expect("it has a peer")
}

/// Two devices that talk; `b` begins.
fn connected(rig: &Rig) -> (Dataplane, Dataplane) {
    let (a, b) = (rig.start('a'), rig.start('b'));
    a.configure(change('a', None)).expect("a change");
    b.configure(change('b', Some("10.77.0.1:51820"))).expect("a change");
    rig.bring_up('a');
    rig.bring_up('b');
    eventually("a handshake", || peer(&a).last_handshake.is_some());
    (a, b)
}

/// Sends `length` bytes over TCP from side b to `to` on side a, and compares them on arrival.
fn stream(rig: &Rig, to: &str, length: usize) {
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

#[test]
fn two_devices_talk_and_leave_nothing() {
    let Some(rig) = Rig::new() else { return };
    let started = Instant::now();
    let (a, b) = connected(&rig);
    println!("start to handshake: {:?}", started.elapsed());
    for to in ["10.99.0.1", "fd99::1"] {
        assert!(rig.pings('b', to), "{to}");
    }
    stream(&rig, "10.99.0.1:5000", 48 << 20);
    stream(&rig, "[fd99::1]:5000", 16 << 20);
    let (ours, theirs) = (peer(&a), peer(&b));
    assert!(ours.rx_bytes > 64 << 20, "{ours:?}");
    assert_eq!(ours.endpoint, Some("10.77.0.2:51820".parse().unwrap()));
    assert_eq!(theirs.endpoint, Some("10.77.0.1:51820".parse().unwrap()));

    // Everything at once, on live peers: no packet is lost.
    let pings = rig.inside('b', || {
        Command::new("ping")
            .args(["-q", "-i0.01", "-c100", "-W1", "10.99.0.1"])
            .stdout(Stdio::piped())
            .spawn()
    });
    for i in 0..50u8 {
        for (device, side) in [(&a, 'a'), (&b, 'b')] {
            let mut change = change(side, None);
            change.peers[0].preshared_key = Some(Some(PresharedKey::from_bytes([i; 32])));
            change.peers[0].keepalive = Some(u16::from(i));
            change.peers[0].replace_allowed_ips = true;
            device.configure(change).expect("a change");
        }
    }
    let mut text = String::new();
    let mut pings = pings.expect("ping runs");
    pings.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    pings.wait().unwrap();
    assert!(text.contains(" 100 received"), "{text}");
    assert_eq!(peer(&a).last_handshake, ours.last_handshake, "the session is the same");

    for (device, side) in [(a, 'a'), (b, 'b')] {
        assert_eq!(device.stop(), EndReason::Stopped);
        assert!(!rig.socket(side).exists());
        assert!(!succeeds(&format!("ip -n {} link show {}", rig.ns(side), rig.wg(side))));
        // At once, with the same name and port.
        let again = rig.start(side);
        again.configure(change(side, None)).expect("the port is free again");
    }
}

#[test]
fn datagrams_of_every_size_arrive_as_they_were_sent() {
    let Some(rig) = Rig::new() else { return };
    let (_a, _b) = connected(&rig);
    // The largest packet that fits, in one piece; a larger one, in fragments.
    assert!(rig.pings('b', "-s 1392 -M do 10.99.0.1"));
    assert!(rig.pings('b', "-s 1372 -M do fd99::1"));
    assert!(rig.pings('b', "-s 9000 10.99.0.1"));
    for (to, from) in [("10.99.0.1:5001", "10.99.0.2:0"), ("[fd99::1]:5001", "[fd99::2]:0")] {
        let receiver = rig.inside('a', || UdpSocket::bind(to)).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let sender = rig.inside('b', || UdpSocket::bind(from)).unwrap();
        sender.connect(to).unwrap();
        let datagram = |size: usize, i: usize| vec![(i + size) as u8; size];
        let mut buffer = [0; 65536];
        // Bursts, so that packets are joined on the way, but no more than a socket's buffer holds.
        for size in [1, 100, 1000, 1372, 1391, 1392, 1393, 5000] {
            let count = if size > 2000 { 8 } else { 40 };
            (0..count).for_each(|i| assert_eq!(sender.send(&datagram(size, i)).unwrap(), size));
            for i in 0..count {
                let length = receiver.recv(&mut buffer).unwrap();
                assert!(buffer[..length] == datagram(size, i), "datagram {i} of {size} bytes");
            }
        }
    }
}

#[test]
fn it_talks_with_wireguard_go() {
    for own_begins in [true, false] {
        let Some(rig) = Rig::new() else { return };
        let Some(_guest) = rig.start_wireguard_go('b') else { return };
        let device = rig.start('a');
        let psk = PresharedKey::from_bytes([7; 32]);
        let mut ours = change('a', own_begins.then_some("[fd77::2]:51820"));
        ours.peers[0].preshared_key = Some(Some(psk.clone()));
        device.configure(ours).expect("a change");
        let conf = format!(
            "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n[Peer]\nPublicKey = {}\nPresharedKey = {}\n\
             AllowedIPs = 10.99.0.1/32, fd99::1/128\n{}",
            *key('b').expose_base64(),
            key('a').public_key(),
            *psk.expose_base64(),
            if own_begins { "" } else { "Endpoint = 10.77.0.1:51820\nPersistentKeepalive = 25\n" }
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), conf).unwrap();
        run(&format!("wg setconf {} {}", rig.wg('b'), file.path().display()));
        rig.bring_up('a');
        rig.bring_up('b');
        eventually("a handshake", || peer(&device).last_handshake.is_some());
        assert!(rig.pings('a', "10.99.0.2") && rig.pings('b', "fd99::1"));
        stream(&rig, "10.99.0.1:5000", 8 << 20);
    }
}

#[test]
fn the_endpoint_roams_between_addresses_and_families() {
    let Some(rig) = Rig::new() else { return };
    let (a, b) = connected(&rig);
    run(&format!("ip -n {} addr del 10.77.0.2/24 dev veth", rig.ns('b')));
    run(&format!("ip -n {} addr add 10.77.0.22/24 dev veth", rig.ns('b')));
    eventually("a ping from the new address", || rig.pings('b', "10.99.0.1"));
    assert_eq!(peer(&a).endpoint.unwrap().to_string(), "10.77.0.22:51820");
    let mut over_v6 = change('b', Some("[fd77::1]:51820"));
    over_v6.listen_port = Some(4433);
    b.configure(over_v6).expect("a change");
    assert!(rig.pings('b', "10.99.0.1"));
    assert_eq!(peer(&a).endpoint.unwrap().to_string(), "[fd77::2]:4433");
    // The answering side uses the address that it was asked at.
    run(&format!("ip -n {} addr add 10.77.0.11/24 dev veth", rig.ns('a')));
    b.configure(change('b', Some("10.77.0.11:51820"))).expect("a change");
    assert!(rig.pings('b', "10.99.0.1"));
    assert_eq!(peer(&b).endpoint.unwrap().to_string(), "10.77.0.11:51820");
    // And another one when that is gone.
    run(&format!("ip -n {} addr del 10.77.0.11/24 dev veth", rig.ns('a')));
    assert!(rig.pings('a', "10.99.0.2"));
}

#[test]
fn wg_reads_and_changes_it() {
    let Some(rig) = Rig::new() else { return };
    let (a, _b) = connected(&rig);
    if !succeeds("command -v wg") {
        assert!(std::env::var_os("WGRELAY_REAL").is_none(), "asked for, but wg is missing");
        println!("not run: wg is missing");
        return;
    }
    let (wg, psk) = (rig.wg('a'), tempfile::NamedTempFile::new().unwrap());
    let (known, handshake) = (key('b').public_key(), peer(&a).last_handshake);
    let dump = run(&format!("wg show {wg} dump"));
    let fields: Vec<Vec<&str>> = dump.lines().map(|l| l.split('\t').collect()).collect();
    assert_eq!(fields[0][1..], [&key('a').public_key().to_string(), "51820", "off"]);
    assert_eq!(
        fields[1][..4],
        [&known.to_string()[..], "(none)", "10.77.0.2:51820", "10.99.0.2/32,fd99::2/128"]
    );

    std::fs::write(psk.path(), &*PresharedKey::from_bytes([3; 32]).expose_base64()).unwrap();
    let more = PrivateKey::from_random([9; 32]).public_key();
    run(&format!(
        "wg set {wg} fwmark 0x2a peer {known} preshared-key {} persistent-keepalive 7 allowed-ips 10.99.0.2,10.5.0.0/16 \
         peer {more} endpoint [fd77::2]:9 allowed-ips fd99::2/128",
        psk.path().display()
    ));
    let report = a.report().unwrap();
    assert_eq!((report.fwmark, report.peers.len()), (42, 2));
    let changed = report.peers.iter().find(|p| p.public_key == known).unwrap();
    assert_eq!((changed.keepalive, changed.allowed_ips.len()), (7, 2));
    assert!(changed.preshared_key.is_some());
    assert_eq!(changed.last_handshake, handshake, "the session is the same");
    assert!(rig.pings('b', "10.99.0.1"));

    // What showconf prints, syncconf takes, and nothing changes.
    let conf = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(conf.path(), run(&format!("wg showconf {wg}"))).unwrap();
    let before = a.report().unwrap();
    run(&format!("wg syncconf {wg} {}", conf.path().display()));
    let strip = |mut report: wgrelay::dataplane::DeviceReport| {
        for peer in &mut report.peers {
            (peer.rx_bytes, peer.tx_bytes) = (0, 0);
        }
        report.dropped = Default::default();
        report
    };
    assert_eq!(strip(a.report().unwrap()), strip(before));

    run(&format!("wg set {wg} peer {more} remove"));
    std::fs::write(psk.path(), format!("[Peer]\nPublicKey = {more}\nAllowedIPs = 10.6.0.0/16\n")).unwrap();
    run(&format!("wg addconf {wg} {}", psk.path().display()));
    assert_eq!(a.report().unwrap().peers.len(), 2);
    run(&format!(
        "wg syncconf {wg} /dev/stdin <<X\n[Interface]\nListenPort = 51821\nPrivateKey = {}\nX",
        *key('a').expose_base64()
    ));
    let report = a.report().unwrap();
    assert_eq!((report.peers.len(), report.listen_port, report.fwmark), (0, 51821, 0));

    // A refused port leaves all as it was.
    let taken = rig.inside('a', || UdpSocket::bind("0.0.0.0:700")).unwrap();
    assert!(!succeeds(&format!("wg set {wg} listen-port 700 fwmark 9")));
    let refused = a.configure(DeviceChange { listen_port: Some(700), fwmark: Some(9), ..Default::default() });
    assert!(matches!(refused, Err(ConfigureError::PortInUse(700))), "{refused:?}");
    assert_eq!(a.report().unwrap(), report);
    drop(taken);
}

#[test]
fn hostile_clients_do_no_harm() {
    let Some(rig) = Rig::new() else { return };
    let (a, _b) = connected(&rig);
    let connect = || UnixStream::connect(rig.socket('a')).unwrap();
    // Silent ones, more than are kept, and one that never takes its answers.
    let silent: Vec<UnixStream> = (0..40).map(|_| connect()).collect();
    let mut greedy = connect();
    greedy.set_nonblocking(true).unwrap();
    while greedy.write(b"get=1\n\n".repeat(500).as_slice()).is_ok() {}
    for (request, errno) in [
        ("set=1\nfoo=bar\n\n", "-22"),
        ("bogus\n\n", "-71"),
        ("set=1\npublic_key=12\n\n", "-22"),
        ("set=1\n\n", "0"),
    ] {
        let mut client = connect();
        client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, format!("errno={errno}\n\n"), "{request:?}");
    }
    assert!(rig.pings('b', "10.99.0.1"));
    a.report().unwrap();
    drop((silent, greedy));
}

#[test]
fn names_that_are_taken_and_interfaces_that_vanish() {
    let Some(rig) = Rig::new() else { return };
    let options = Options { name: rig.wg('a').parse().unwrap(), mtu: 1420, uapi: true };
    // A socket that nobody serves is taken over.
    std::fs::create_dir_all("/var/run/wireguard").unwrap();
    drop(UnixListener::bind(rig.socket('a')).unwrap());
    let device = rig.start('a');
    assert_eq!(nix::sys::stat::stat(&rig.socket('a')).unwrap().st_mode & 0o777, 0o600);
    assert_eq!(rig.run('a', &format!("cat /sys/class/net/{}/mtu", rig.wg('a'))).trim(), "1420");

    // One that somebody serves is not, nor is an interface.
    assert!(matches!(rig.inside('b', || Dataplane::start(&options)), Err(StartError::Uapi(_))));
    let without = Options { uapi: false, ..options.clone() };
    assert!(matches!(rig.inside('a', || Dataplane::start(&without)), Err(StartError::Exists(_))));
    run(&format!("ip -n {} link add {} type veth peer name other", rig.ns('b'), rig.wg('b')));
    let taken = Options { name: rig.wg('b').parse().unwrap(), mtu: 1420, uapi: true };
    assert!(matches!(rig.inside('b', || Dataplane::start(&taken)), Err(StartError::Exists(_))));
    assert!(!rig.socket('b').exists(), "nothing is left of a failed start");

    device.configure(change('a', None)).unwrap();
    run(&format!("ip -n {} link del {}", rig.ns('a'), rig.wg('a')));
    let started = Instant::now();
    assert_eq!(device.wait_ended(), EndReason::InterfaceGone);
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(device.report().is_err());
    assert!(!rig.socket('a').exists());
}

#[test]
fn the_network_may_go_and_come_back() {
    let Some(rig) = Rig::new() else { return };
    let (_a, _b) = connected(&rig);
    run(&format!("ip -n {} link set veth down", rig.ns('b')));
    assert!(!rig.pings('b', "10.99.0.1"));
    run(&format!("ip -n {} link set veth up", rig.ns('b')));
    eventually("a ping", || rig.pings('b', "10.99.0.1"));
    // The interface itself goes down and up.
    run(&format!("ip -n {0} link set {1} down && ip -n {0} link set {1} up", rig.ns('a'), rig.wg('a')));
    eventually("a ping", || rig.pings('b', "10.99.0.1"));
    // A packet that no peer takes fails at once.
    let started = Instant::now();
    assert!(!rig.pings('a', "10.99.0.77"));
    assert!(started.elapsed() < Duration::from_millis(500), "an ICMP error should have come");
    // A path with a small MTU is slow, not dead; so is one without segmentation.
    run(&format!(
        "ip -n {0} link set veth mtu 1280 && ip -n {1} link set veth mtu 1280",
        rig.ns('a'),
        rig.ns('b')
    ));
    stream(&rig, "10.99.0.1:5000", 1 << 20);
}

#[test]
fn hosts_without_ipv6_talk_over_ipv4() {
    let Some(rig) = Rig::new() else { return };
    for side in ['a', 'b'] {
        rig.run(side, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
    }
    let (a, b) = (rig.start('a'), rig.start('b'));
    a.configure(change('a', None)).expect("a change");
    b.configure(change('b', Some("10.77.0.1:51820"))).expect("a change");
    for (side, host) in [('a', 1), ('b', 2)] {
        let (ns, wg) = (rig.ns(side), rig.wg(side));
        run(&format!("ip -n {ns} addr add 10.99.0.{host}/24 dev {wg} && ip -n {ns} link set {wg} up"));
    }
    assert!(rig.pings('b', "10.99.0.1"));
    // An address that cannot be reached from here is an error of the packet, not of the device.
    a.configure(change('a', Some("[2001:db8::1]:1"))).expect("a change");
    rig.pings('a', "10.99.0.2");
    assert!(rig.pings('b', "10.99.0.1"), "and the peer's next packet puts it right");
}

#[test]
fn a_relay_carries_packets_between_its_peers() {
    let Some(rig) = Rig::new() else { return };
    // Two spokes in one namespace, the hub in the other.
    let hub = rig.start('a');
    let mut spokes = Vec::new();
    let mut change =
        DeviceChange { private_key: Some(key('a')), listen_port: Some(PORT), ..Default::default() };
    rig.run('a', "sysctl -qw net.ipv4.ip_forward=1");
    run(&format!("ip netns add {}", rig.ns('c')));
    run(&format!("ip link add toa netns {} type veth peer name toc netns {}", rig.ns('c'), rig.ns('a')));
    run(&format!("ip -n {0} addr add 10.78.0.1/24 dev toc && ip -n {0} link set toc up", rig.ns('a')));
    run(&format!("ip -n {0} addr add 10.78.0.2/24 dev toa && ip -n {0} link set toa up", rig.ns('c')));
    for (side, host, endpoint) in [('b', 2, "10.77.0.1:51820"), ('c', 3, "10.78.0.1:51820")] {
        change.peers.push(PeerChange {
            allowed_ips: vec![format!("10.99.0.{host}/32").parse().unwrap()],
            ..PeerChange::new(key(side).public_key())
        });
        let device = rig.start(side);
        let peer = PeerChange {
            endpoint: Some(endpoint.parse().unwrap()),
            keepalive: Some(25),
            allowed_ips: vec!["10.99.0.0/24".parse().unwrap()],
            ..PeerChange::new(key('a').public_key())
        };
        let spoke = DeviceChange { private_key: Some(key(side)), peers: vec![peer], ..Default::default() };
        spokes.push((device, spoke, side, host));
    }
    hub.configure(change).unwrap();
    let up = |side, host| {
        let (ns, wg) = (rig.ns(side), rig.wg(side));
        run(&format!("ip -n {ns} addr add 10.99.0.{host}/24 dev {wg} && ip -n {ns} link set {wg} up"));
    };
    up('a', 1);
    for (device, change, side, host) in &spokes {
        device.configure(change.clone()).unwrap();
        up(*side, *host);
    }
    eventually("both handshakes", || hub.report().unwrap().peers.iter().all(|p| p.last_handshake.is_some()));
    assert!(rig.pings('b', "10.99.0.3") && rig.pings('c', "10.99.0.2"));
    let to: SocketAddr = "10.99.0.3:5000".parse().unwrap();
    let listener = rig.inside('c', || TcpListener::bind(to)).unwrap();
    let data: Vec<u8> = (0..8_000_000u32).map(|i| (i / 251) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| rig.inside('b', || TcpStream::connect(to)).unwrap().write_all(&data).unwrap());
        let mut received = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
        assert!(received == data);
    });
}
