//! What a host may lack or take away: descriptors, socket buffers, routes, the port. The device goes on, and does not spin.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use wgrelay::dataplane::{ConfigureError, DeviceChange};

use crate::rig::{Rig, alone, connected, eventually, run};

/// Processor time that threads of this name have used, in the kernel's ticks of 10 ms.
pub fn ticks(thread: &str) -> u64 {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok())
        .filter(|stat| stat.contains(&format!("({thread})")))
        .map(|stat| {
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        })
        .sum()
}

#[test]
fn without_descriptors_it_goes_on_and_does_not_spin() {
    if !alone("faults::without_descriptors_it_goes_on_and_does_not_spin") {
        return;
    }
    let Some(rig) = Rig::new() else { return };
    let (a, _b) = connected(&rig);
    // All that the test itself needs, before nothing is to be had any more.
    let receiver = rig.inside('a', || UdpSocket::bind("10.99.0.1:7000")).unwrap();
    let sender = rig.inside('b', || UdpSocket::bind("10.99.0.2:0")).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let thread = rig.wg('a');
    let before = ticks(&thread);
    let at = UnixAddr::new(&rig.socket('a')).unwrap();
    let mut clients: Vec<UnixStream> = (0..8)
        .map(|_| socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap().into())
        .collect();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
    for client in &clients {
        connect(client.as_raw_fd(), &at).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    for i in 0..40u8 {
        sender.send_to(&[i], "10.99.0.1:7000").unwrap();
        let mut bytes = [0; 8];
        assert_eq!(receiver.recv(&mut bytes).unwrap(), 1, "packets go on");
        std::thread::sleep(Duration::from_millis(50));
    }
    let refused = a.configure(DeviceChange { listen_port: Some(51999), ..Default::default() });
    assert!(matches!(refused, Err(ConfigureError::Socket(_))), "{refused:?}");
    assert_eq!(a.report().unwrap().listen_port, crate::rig::PORT, "it has the old port still");
    // The thread's folder cannot be opened until there are descriptors again.
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    let used = ticks(&thread) - before;
    assert!(used < 60, "{used} ticks in two seconds of next to nothing: it spins");
    for client in &mut clients {
        client.write_all(b"get=1\n\n").unwrap();
        let mut bytes = vec![0; 4096];
        let mut answer = String::new();
        while !answer.ends_with("errno=0\n\n") {
            let length = client.read(&mut bytes).unwrap();
            assert!(length > 0, "it was let in, if late: {answer}");
            answer += std::str::from_utf8(&bytes[..length]).unwrap();
        }
    }
    assert!(rig.pings('b', "10.99.0.1"));
}

#[test]
fn routes_links_and_buffers_may_be_missing_for_a_while() {
    let Some(rig) = Rig::new() else { return };
    let (_a, _b) = connected(&rig);
    let thread = rig.wg('b');
    let [ours, theirs] = ['a', 'b'].map(|side| rig.ns(side));
    // No route, no address, no link: packets are lost, and the next ones find their way.
    for (goes, comes) in [
        (
            format!("ip -n {theirs} route add unreachable 10.77.0.1"),
            format!("ip -n {theirs} route del unreachable 10.77.0.1"),
        ),
        (
            format!("ip -n {theirs} route add prohibit 10.77.0.1"),
            format!("ip -n {theirs} route del prohibit 10.77.0.1"),
        ),
        (
            format!("ip -n {theirs} route add blackhole 10.77.0.1"),
            format!("ip -n {theirs} route del blackhole 10.77.0.1"),
        ),
        (
            format!("ip -n {theirs} addr del 10.77.0.2/24 dev veth"),
            format!("ip -n {theirs} addr add 10.77.0.2/24 dev veth"),
        ),
        (
            format!("ip -n {ours} link del veth"),
            format!(
                "ip link add veth netns {ours} type veth peer name veth netns {theirs}
                 ip -n {ours} addr add 10.77.0.1/24 dev veth; ip -n {theirs} addr add 10.77.0.2/24 dev veth
                 ip -n {ours} link set veth up; ip -n {theirs} link set veth up"
            ),
        ),
    ] {
        run(&goes);
        let before = ticks(&thread);
        let lost = rig.run('b', "ping -q -c20 -i0.01 -W1 10.99.0.1 || :");
        assert!(lost.contains(" 0 received"), "{goes}: {lost}");
        assert!(ticks(&thread) - before < 50, "{goes}: it spins");
        run(&comes);
        eventually(&comes, || rig.pings('b', "10.99.0.1"));
    }
    // A queue that is always full: what does not fit is dropped, the rest goes.
    rig.run('b', "tc qdisc add dev veth root pfifo limit 1");
    let told = rig.run('b', "ping -q -s 20000 -c20 -i0.01 -W1 10.99.0.1 || :");
    rig.run('b', "tc qdisc del dev veth root");
    println!("{told}");
    assert!(rig.pings('b', "-s 20000 10.99.0.1"));
}
