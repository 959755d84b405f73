//! What `wg(8)` and others ask of a device through its socket, and the socket itself.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use wgrelay::dataplane::{ConfigureError, Dataplane, DeviceChange, EndReason, Options, StartError};
use wgrelay::model::{PresharedKey, PrivateKey};

use crate::rig::{Rig, change, connected, key, peer, run, succeeds};

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
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
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
