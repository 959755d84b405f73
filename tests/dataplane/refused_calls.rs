//! System calls that fail under a working device, as strace(1) makes them fail: the network's and the interface's buffers
//! full, no route, refused by a firewall, errors that only the kernel can think of. Packets are lost, the session is not.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wgrelay::dataplane::{Dataplane, EndReason};

use crate::faults::ticks;
use crate::rig::{Rig, alone, connected, descriptors, eventually, peer, succeeds};

/// What lets the calls of one thread fail until dropped.
struct Refusal(Child);

impl Refusal {
    /// `which` in strace's words: `sendmmsg:error=ENOBUFS:when=1+2` is every second one, beginning with the first.
    fn start(thread: &str, which: &str) -> Self {
        let task = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .map(|task| task.unwrap().path())
            .find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == thread))
            .expect("the device has its thread");
        let child = Command::new("strace")
            .args(["-qq", "-o", "/dev/null", "-p", task.file_name().unwrap().to_str().unwrap()])
            .args(["-e", &format!("trace={}", which.split(':').next().unwrap())])
            .args(["-e", &format!("inject={which}")])
            .stdin(Stdio::null())
            .spawn()
            .expect("strace starts");
        let attached = Self(child);
        eventually(which, || {
            let status = std::fs::read_to_string(task.join("status")).unwrap();
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        });
        attached
    }
}

impl Drop for Refusal {
    fn drop(&mut self) {
        // Told so, it lets go of the thread.
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGINT);
        let _ = self.0.wait();
    }
}

/// Two devices that talk, where there is an strace.
fn refusable(test: &str) -> Option<(Rig, Dataplane, Dataplane)> {
    if !alone(test) {
        return None;
    }
    let rig = Rig::new()?;
    if !succeeds("command -v strace") {
        assert!(std::env::var_os("WGRELAY_REAL").is_none(), "asked for, but strace is missing");
        println!("not run: strace is missing");
        return None;
    }
    let (a, b) = connected(&rig);
    assert!(rig.pings('b', "10.99.0.1"));
    Some((rig, a, b))
}

/// How many of 20 pings are answered.
fn answered(rig: &Rig) -> u32 {
    let told = rig.run('b', "ping -q -c20 -i0.02 -W1 10.99.0.1 || :");
    told.split(" received").next().and_then(|t| t.rsplit(' ').next()?.parse().ok()).expect("ping counts")
}

#[test]
fn refused_calls_lose_packets_and_nothing_else() {
    let Some((rig, _a, b)) = refusable("refused_calls::refused_calls_lose_packets_and_nothing_else") else {
        return;
    };
    let (thread, before, handshake) = (rig.wg('b'), descriptors(), peer(&b).last_handshake);
    // The call, the error, whether what was refused is lost.
    for (call, error, lost) in [
        ("sendmmsg", "ENOBUFS", true),
        ("sendmmsg", "ENOMEM", true),
        ("sendmmsg", "EPERM", true),
        ("sendmmsg", "ECONNREFUSED", true),
        ("sendmmsg", "EAGAIN", false),
        ("sendmmsg", "ENETUNREACH", false),
        ("recvmmsg", "ECONNREFUSED", false),
        ("recvmmsg", "ENOMEM", false),
        ("recvmmsg", "EINTR", false),
        ("writev", "ENOBUFS", true),
        ("writev", "EIO", true),
        ("writev", "EINVAL", true),
        ("read", "EIO", false),
        ("read", "EINTR", false),
    ] {
        let every_second = format!("{call}:error={error}:when=1+2");
        let refusal = Refusal::start(&thread, &every_second);
        let used = ticks(&thread);
        let came = answered(&rig);
        assert!(if lost { (1..20).contains(&came) } else { came == 20 }, "{every_second}: {came} of 20");
        let used = ticks(&thread) - used;
        drop(refusal);
        println!("{every_second}: {came} of 20 answered, {used} ticks");
        assert!(used < 50, "{every_second}: it spins");
        assert_eq!(answered(&rig), 20, "after {every_second}");
    }
    // For as long as nothing can be sent or received at all.
    for call in
        ["sendmmsg:error=ENOBUFS", "sendmmsg:error=EAGAIN", "recvmmsg:error=ENOMEM", "writev:error=ENOBUFS"]
    {
        let refusal = Refusal::start(&thread, call);
        let used = ticks(&thread);
        assert_eq!(answered(&rig), 0, "{call}");
        let used = ticks(&thread) - used;
        drop(refusal);
        println!("{call}: {used} ticks");
        assert!(used < 20, "{call}: {used} ticks in two seconds: it spins");
        assert_eq!(answered(&rig), 20, "after {call}");
    }
    assert_eq!(peer(&b).last_handshake, handshake, "the session is the same");
    assert_eq!(descriptors(), before);
}

#[test]
fn an_interface_that_cannot_be_read_ends_the_device_with_the_reason() {
    let Some((rig, a, b)) =
        refusable("refused_calls::an_interface_that_cannot_be_read_ends_the_device_with_the_reason")
    else {
        return;
    };
    let gone = Refusal::start(&rig.wg('a'), "read:error=EBADFD:when=1");
    let failing = Refusal::start(&rig.wg('b'), "read:error=EIO");
    succeeds(&format!("ip netns exec {} ping -q -c9 -i0.02 -W1 10.99.0.2", rig.ns('a')));
    succeeds(&format!("ip netns exec {} ping -q -c9 -i0.02 -W1 10.99.0.1", rig.ns('b')));
    eventually("both have ended", || a.end_reason().is_some() && b.end_reason().is_some());
    assert_eq!(a.end_reason(), Some(EndReason::InterfaceGone));
    let Some(EndReason::Failed(reason)) = b.end_reason() else { panic!("{:?}", b.end_reason()) };
    assert!(reason.contains("os error 5"), "{reason}");
    drop((gone, failing));
    std::thread::sleep(Duration::from_millis(10));
    assert!(!succeeds(&format!("ip -n {} link show {}", rig.ns('b'), rig.wg('b'))), "it left no interface");
}
