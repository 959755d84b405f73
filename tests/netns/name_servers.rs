//! `dns` of a node, given to the resolver that this host really has: who is asked what, with packets, repaired, and taken
//! back to the byte.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::refused::gone_for_good;
use crate::rig::drive::Wgrelay;
use crate::rig::node::Node;
use crate::rig::topology::{Families, Topology};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netns/resolver");
/// The LAN's name server and the tunnel's, and what each says that every name is.
const LAN: (&str, Ipv4Addr) = ("192.168.39.1", Ipv4Addr::new(192, 0, 2, 1));
const TUNNEL: (&str, Ipv4Addr) = ("192.168.3.1", Ipv4Addr::new(10, 9, 9, 9));
/// How long a thing may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Answers every question for an IPv4 address with one, and every other with none.
fn answer_all(node: &Node, (address, told): (&str, Ipv4Addr), until: &AtomicBool) {
    let socket = node.inside(|| UdpSocket::bind((address, 53)).expect("the address is there"));
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket can wait");
    let mut question = [0; 512];
    while !until.load(Ordering::Relaxed) {
        let Ok((size, from)) = socket.recv_from(&mut question) else { continue };
        // RFC 1035, 4.1: a head of 12 bytes, a name that a zero ends, type and class; options after them are left out.
        let Some(end) = question[12..size].iter().position(|byte| *byte == 0).map(|at| 12 + at + 5) else {
            continue;
        };
        let is_address = question[end - 4..end - 2] == [0, 1];
        let mut answer = question[..end].to_vec();
        answer[2..12].copy_from_slice(&[0x85, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
        if is_address {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(told.octets());
        }
        let _whoever_left_asks_again = socket.send_to(&answer, from);
    }
}

/// Returns what a name is, as a program on the host learns it.
fn ask(host: &Node, name: &str) -> Option<Ipv4Addr> {
    let told = host.run(&["getent", "ahostsv4", name]).stdout;
    told.split_whitespace().next()?.parse().ok()
}

#[track_caller]
fn assert_told(host: &Node, name: &str, (_, address): (&str, Ipv4Addr), when: &str) {
    let began = Instant::now();
    while ask(host, name) != Some(address) {
        let state = host.run(&["sh", "-c", "cat /etc/resolv.conf; resolvectl status 2>&1"]).stdout;
        assert!(
            began.elapsed() < PATIENCE,
            "{when}: {name} is {:?}, not {address}\n{state}",
            ask(host, name)
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Lays the packages' programs over the host's.
fn lay(host: &Node, package: &str) {
    let fetched = Command::new(SCRIPT).args(["prepare", package]).status();
    assert!(fetched.is_ok_and(|status| status.success()), "{package} could not be fetched");
    host.run(&[SCRIPT, "lay", package]).ok();
}

/// The bus and systemd-resolved, which end with the test.
struct Resolved(Vec<Child>);

impl Drop for Resolved {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _gone_already = child.kill();
            let _ = child.wait();
        }
    }
}

fn resolved(host: &Node) -> Resolved {
    lay(host, "systemd-resolved");
    let script = "mkdir -p /run/dbus /run/systemd/resolve && \
                  { grep -q ^systemd-resolve: /etc/passwd || echo systemd-resolve:x:991:991::/:/usr/sbin/nologin >> /etc/passwd; } && \
                  { grep -q ^systemd-resolve: /etc/group || echo systemd-resolve:x:991: >> /etc/group; } && \
                  chown systemd-resolve:systemd-resolve /run/systemd/resolve && \
                  rm -f /etc/resolv.conf && ln -s /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf";
    host.run(&["sh", "-ec", script]).ok();
    let spawn = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        host.spawn(&mut command)
    };
    let mut this = Resolved(vec![spawn(&["dbus-daemon", "--system", "--nofork", "--nopidfile"])]);
    let socket = host.outside("/run/dbus/system_bus_socket");
    let began = Instant::now();
    while !socket.exists() {
        assert!(began.elapsed() < PATIENCE, "the bus did not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
    this.0.push(spawn(&["/usr/lib/systemd/systemd-resolved"]));
    // As whoever manages the LAN's link tells it.
    while host.run(&["resolvectl", "dns", "eth0", LAN.0]).code != Some(0) {
        assert!(began.elapsed() < PATIENCE, "systemd-resolved did not come up");
        std::thread::sleep(Duration::from_millis(100));
    }
    this
}

/// What a resolver has, and says of it.
fn state(host: &Node) -> String {
    let script = "cat /etc/resolv.conf; ls -l /etc/resolv.conf | cut -c 1-10; resolvectl dns 2>/dev/null; resolvectl domain 2>/dev/null; \
                  find /run/resolvconf -type f 2>/dev/null | grep -v lock | sort | while read -r f; do echo \"$f\"; cat \"$f\"; done";
    host.run(&["sh", "-c", script]).stdout
}

/// A relay, and windows as a spoke that runs wgrelay, with these settings of its own.
fn network<'a>(t: &'a Topology, settings: &str) -> (Wgrelay<'a>, Wgrelay<'a>) {
    let (relay, spoke) = Wgrelay::relay_and_spoke(t, Families::V4, settings);
    relay.up().ok();
    (relay, spoke)
}

/// Runs a test beside both name servers.
fn beside_servers(t: &Topology, test: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| answer_all(&t.internet, LAN, &over));
        scope.spawn(|| answer_all(&t.relay, TUNNEL, &over));
        // A failed assertion ends the servers, too.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Up, asked, disturbed and repaired, down: `other` is who is asked for a name outside the domain.
fn all_of(settings: &str, other: (&str, Ipv4Addr), disturb: &str, prepare: impl FnOnce(&Node)) {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let host = &t.windows;
    prepare(host);
    let (relay, spoke) = network(&t, settings);
    beside_servers(&t, || {
        assert_told(host, "a.corp.example", LAN, "before");
        let before = state(host);
        let told = spoke.up_with(&relay, "windows").ok();
        assert!(!told.stderr.contains("dns-not-set"), "{told}");
        assert_told(host, "a.corp.example", TUNNEL, "up");
        assert_told(host, "b.example", other, "up");
        let status = spoke.status();
        assert_eq!(status["drift"].as_array().map(Vec::len), Some(0), "{status}");
        spoke.call(&["plan", "--check"]).ok();
        host.run(&["sh", "-ec", disturb]).ok();
        assert_told(host, "a.corp.example", TUNNEL, "repaired");
        spoke.ok(&["down"]);
        assert_eq!(before, state(host), "after down");
        assert_told(host, "a.corp.example", LAN, "after down");
    });
}

const SPLIT: &str = "dns = [\"192.168.3.1\", \"corp.example\"]\n";
const FULL: &str = "dns = [\"192.168.3.1\"]\nroutes = \"full\"\n";

#[test]
fn systemd_resolved_asks_the_tunnel_for_its_domains() {
    let mut kept = None;
    all_of(SPLIT, LAN, "resolvectl revert wg0", |host| kept = Some(resolved(host)));
}

#[test]
fn systemd_resolved_asks_a_full_tunnel_for_everything() {
    let mut kept = None;
    all_of(FULL, TUNNEL, "resolvectl dns wg0 ''", |host| kept = Some(resolved(host)));
}

/// A file that nobody keeps is taken over by openresolv, and comes back.
fn unkept(host: &Node) {
    lay(host, "openresolv");
    host.run(&[
        "sh",
        "-ec",
        "rm -f /etc/resolv.conf; printf 'nameserver 192.168.39.1\\n' > /etc/resolv.conf",
    ])
    .ok();
}

#[test]
fn openresolv_asks_a_full_tunnel_alone() {
    all_of(FULL, TUNNEL, "resolvconf -d wg0", unkept);
}

/// A network namespace beside its file system, as `ip netns exec` makes one: the resolver is not its own to set.
#[test]
fn another_hosts_resolver_is_left_alone() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    unkept(&t.windows);
    let (relay, spoke) = network(&t, FULL);
    spoke.up_with(&relay, "windows").ok();
    spoke.ok(&["down"]);
    let planned = |before: &[&str]| {
        let program = spoke.command(&["plan"]);
        let words: Vec<String> = std::iter::once(program.get_program())
            .chain(program.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let words: Vec<&str> = before.iter().copied().chain(words.iter().map(String::as_str)).collect();
        t.windows.run(&words).ok()
    };
    let here = planned(&[]);
    assert!(here.stdout.contains("openresolv"), "{here}");
    let beside = planned(&["unshare", "--net", "--"]);
    assert!(
        !beside.stdout.contains("openresolv") && beside.stderr.contains("are not set on this host"),
        "{beside}"
    );
}

#[test]
fn openresolv_asks_the_tunnel_alone_where_others_have_told_it() {
    all_of(SPLIT, TUNNEL, "resolvconf -d wg0", |host| {
        lay(host, "openresolv");
        host.run(&["sh", "-ec", "rm -f /etc/resolv.conf; echo nameserver 192.168.39.1 | resolvconf -a eth0"])
            .ok();
    });
}

#[test]
fn debians_resolvconf_asks_the_tunnel_first() {
    all_of(SPLIT, TUNNEL, "resolvconf -d tun.wg0", |host| {
        lay(host, "resolvconf");
        let script = "mkdir -p /run/resolvconf/interface; resolvconf --enable-updates; rm -f /etc/resolv.conf; \
                      ln -s /run/resolvconf/resolv.conf /etc/resolv.conf; echo nameserver 192.168.39.1 | resolvconf -a eth0";
        host.run(&["sh", "-ec", script]).ok();
    });
}

#[test]
fn a_file_that_another_program_signs_is_left_to_it() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    unkept(&t.windows);
    let sign = "printf '# Generated by NetworkManager\\nnameserver 192.168.39.1\\n' > /etc/resolv.conf";
    t.windows.run(&["sh", "-ec", sign]).ok();
    let before = state(&t.windows);
    let (relay, spoke) = network(&t, FULL);
    let told = spoke.up_with(&relay, "windows").ok();
    assert!(told.stderr.contains("are not set on this host"), "{told}");
    assert_eq!(before, state(&t.windows), "up");
}

/// The power fails: openresolv and the record are gone with /run, and the file that was written stays.
#[test]
fn what_openresolv_wrote_before_a_restart_of_the_host_is_taken_back() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let host = &t.windows;
    unkept(host);
    let before = host.run(&["cat", "/etc/resolv.conf"]).ok().stdout;
    let (relay, spoke) = network(&t, FULL);
    let fail = || {
        spoke.up_with(&relay, "windows").ok();
        assert!(host.run(&["cat", "/etc/resolv.conf"]).ok().stdout.contains("nameserver 192.168.3.1"));
        gone_for_good(host);
        let line = "ip link del wg0 2>/dev/null; rm -rf /run/wgrelay/wg0 /run/resolvconf; \
                    for f in -4 -6; do ip $f rule flush protocol 87; done";
        host.run(&["bash", "-c", line]);
    };
    fail();
    spoke.ok(&["down"]);
    assert_eq!(before, host.run(&["cat", "/etc/resolv.conf"]).ok().stdout, "down");
    // What is up again has them as before, and takes them back as before.
    fail();
    spoke.up_with(&relay, "windows").ok();
    assert_eq!(spoke.status()["drift"].as_array().map(Vec::len), Some(0));
    spoke.ok(&["down"]);
    assert_eq!(before, host.run(&["cat", "/etc/resolv.conf"]).ok().stdout, "up and down");
    // Of a file that somebody else has told openresolv of, nothing is left behind.
    host.run(&["sh", "-ec", "echo nameserver 192.168.39.1 | resolvconf -a eth0"]).ok();
    let told = state(host);
    spoke.ok(&["down"]);
    assert_eq!(told, state(host), "another's");
}

/// In a unit /etc may be read-only, and openresolv says nothing of it.
#[test]
fn servers_that_cannot_be_written_are_not_said_to_be_set() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    unkept(&t.windows);
    t.windows.run(&["mount", "-o", "remount,bind,ro", "/etc"]).ok();
    let (relay, spoke) = network(&t, FULL);
    let told = spoke.up_with(&relay, "windows").ok();
    assert!(told.stderr.contains("dns-not-set"), "{told}");
    assert!(!spoke.call(&["plan"]).stdout.contains("openresolv"));
    spoke.ok(&["down"]);
}
