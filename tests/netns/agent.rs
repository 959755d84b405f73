//! The agent of an `up` as a process: what it keeps of its caller, what ends it, and who is there when it has ended.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::foreign_clients::clients_up;
use crate::rig::drive::Wgrelay;
use crate::rig::node::{LONG, Node, PLACE};
use crate::rig::probe::{Flow, ping, ping_within};
use crate::rig::topology::{Families, Topology};

const PID: &str = "/run/wgrelay/wg0/pid";
const LOG: &str = "/run/wgrelay/wg0/agent.log";

/// The relay, up with the embedded data plane; `None`: this machine cannot, or another data plane is tested.
fn up(t: &Topology) -> Option<Wgrelay<'_>> {
    let relay = Wgrelay::relay_of(t, Families::V4);
    (relay.backend == "embedded").then(|| {
        relay.up().ok();
        relay
    })
}

/// The agent, as its node numbers it.
fn agent(node: &Node) -> Option<u32> {
    std::fs::read_to_string(node.outside(PID)).ok()?.trim().parse().ok()
}

#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

fn is_up(relay: &Wgrelay<'_>) -> bool {
    let status = relay.status();
    status["state"] != "down" && status["drift"].as_array().is_some_and(Vec::is_empty)
}

/// One ping, which is not waited for.
fn answers(from: &Node, to: &str) -> bool {
    from.run(&["ping", "-n", "-c", "1", "-W", "0.1", to]).code == Some(0)
}

fn kill_in(node: &Node, signal: &str, pid: u32) {
    node.run(&["kill", signal, &pid.to_string()]).ok();
}

#[test]
fn it_keeps_nothing_of_its_caller() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    if relay.backend != "embedded" {
        return;
    }
    // A program of the caller's for each that is called, a lock that he holds, and a word that is his.
    let program = env!("CARGO_BIN_EXE_wgrelay");
    let line = format!(
        "mkdir {PLACE}/evil; for name in nft iptables ip6tables iptables-legacy-save iptables-nft-save systemctl wslinfo; do
            printf '#!/bin/sh\ntouch {PLACE}/called\n' > {PLACE}/evil/$name; chmod +x {PLACE}/evil/$name; done
        exec 9>{PLACE}/lock; flock 9; export PATH={PLACE}/evil:$PATH TOKEN=hunter2 LD_PRELOAD_X=1
        {program} --dir {} up --backend embedded && {program} --dir {} add phone --platform android --up",
        relay.dir, relay.dir
    );
    t.relay.run(&["bash", "-c", &line]).ok();
    t.relay.ip("addr del 192.168.3.1/24 dev wg0");
    until("the agent repairs", || is_up(&relay));
    assert!(!t.relay.outside(format!("{PLACE}/called")).exists(), "a program of the caller's was called");

    let processes: Vec<u32> = t
        .relay
        .processes()
        .into_iter()
        .filter(|(_, line)| line.contains(" run --"))
        .map(|(pid, _)| pid)
        .collect();
    assert_eq!(processes.len(), 2, "the agent, and who looks after it: {:?}", t.relay.processes());
    for pid in processes {
        let read = |file: &str| t.relay.run(&["cat", &format!("/proc/{pid}/{file}")]).ok().stdout;
        let environment = read("environ");
        assert!(!environment.contains("hunter2") && !environment.contains("evil"), "{environment:?}");
        let open = t.relay.run(&["ls", "-l", &format!("/proc/{pid}/fd")]).ok().stdout;
        assert!(!open.contains(&format!("{PLACE}/lock")), "{open}");
        let status = read("status");
        let mask = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)).expect("the kernel tells it");
            u64::from_str_radix(line.trim(), 16).expect("a mask")
        };
        // CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW.
        let needed = 1 << 10 | 1 << 12 | 1 << 13;
        for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapInh:", "CapAmb:"] {
            assert_eq!(mask(set) & !needed, 0, "{set} of process {pid}");
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
    t.relay.run(&["flock", "-n", &format!("{PLACE}/lock"), "true"]).ok();
}

#[test]
fn one_that_dies_is_started_again_and_calls_its_peers() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let Some(relay) = up(&t) else { return };
    clients_up(&t, &relay);
    assert!(ping(&t.windows, "192.168.3.1") && ping(&t.relay, "192.168.3.2"));
    for signal in ["-KILL", "-ABRT"] {
        let before = agent(&t.relay).expect("it runs");
        // The client only listens: nothing but a call tells it of the new device.
        kill_in(&t.relay, signal, before);
        let restarted = until("another agent", || agent(&t.relay).is_some_and(|pid| pid != before));
        let took = until("the relay reaches a client that only listens", || answers(&t.relay, "192.168.3.2"));
        println!("after {signal}: an agent after {restarted:?}, its client reached {took:?} later");
        assert!(restarted + took < Duration::from_secs(10), "{restarted:?} and {took:?}");
        until("as it was", || is_up(&relay));
        assert!(relay.up().ok().stdout.contains("nothing to change"));
    }
    // Taken down, it stays so, also where the agent was killed just before.
    kill_in(&t.relay, "-KILL", agent(&t.relay).expect("it runs"));
    relay.ok(&["down"]);
    std::thread::sleep(Duration::from_secs(2));
    let left: Vec<_> = t.relay.processes().into_iter().filter(|(_, line)| line.contains("wgrelay")).collect();
    assert!(left.is_empty(), "{left:?}");
    t.relay.run(&["ip", "link", "show", "wg0"]).exits(1);
    assert!(!t.relay.outside("/run/wgrelay").exists());
}

#[test]
fn an_agent_that_hangs_is_ended_with_who_looks_after_it() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let Some(relay) = up(&t) else { return };
    kill_in(&t.relay, "-STOP", agent(&t.relay).expect("it runs"));
    relay.ok(&["down"]);
    std::thread::sleep(Duration::from_secs(1));
    let left: Vec<_> = t.relay.processes().into_iter().filter(|(_, line)| line.contains("wgrelay")).collect();
    assert!(left.is_empty(), "{left:?}");
    t.relay.run(&["ip", "link", "show", "wg0"]).exits(1);
}

#[test]
fn an_upgrade_hands_over() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let Some(relay) = up(&t) else { return };
    clients_up(&t, &relay);
    assert!(ping(&t.windows, "192.168.3.1"));
    let before = agent(&t.relay).expect("it runs");
    assert!(relay.up().ok().stdout.contains("nothing to change"));
    assert_eq!(agent(&t.relay), Some(before), "the same program leaves it alone");
    // Another file of the same program is another version as far as anybody can tell.
    let next = format!("{PLACE}/next");
    std::fs::copy(env!("CARGO_BIN_EXE_wgrelay"), t.relay.outside(&next)).expect("the program is copied");
    let flow = Flow::start(&t.windows, &t.relay, "192.168.3.1");
    let output = t.relay.run(&[&next, "--dir", &relay.dir, "up", "--backend", "embedded"]).ok();
    assert!(output.stderr.contains("takes over"), "{output}");
    assert_ne!(agent(&t.relay), Some(before));
    until("the client goes on", || answers(&t.windows, "192.168.3.1"));
    println!("an `up` of another version: {:?}, {:?}", output.took, flow.stop());
    // A file that cannot be applied ends no agent.
    let now = agent(&t.relay);
    relay.edit(|text| text + "\n[[node.nobody\n");
    relay.up().exits(3);
    assert_eq!(agent(&t.relay), now);
}

#[test]
fn a_deleted_interface_comes_back_and_the_agent_stays() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let Some(relay) = up(&t) else { return };
    clients_up(&t, &relay);
    assert!(ping(&t.windows, "192.168.3.1"));
    let before = agent(&t.relay);
    for _ in 0..3 {
        t.relay.ip("link del wg0");
        let took = until("it is repaired", || is_up(&relay));
        println!("a deleted interface is back after {took:?}");
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(agent(&t.relay), before, "the same agent");
        assert!(ping_within(Duration::from_secs(10), &t.relay, "192.168.3.2"), "and it has called its peers");
    }
}

#[test]
fn its_log_never_ends_it() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    if relay.backend != "embedded" {
        return;
    }
    t.relay.run(&["mkdir", "/run/wgrelay"]).ok();
    t.relay.run(&["mount", "-t", "tmpfs", "-o", "size=512k,mode=755", "run", "/run/wgrelay"]).ok();
    relay.up().ok();
    let before = agent(&t.relay);
    t.relay.run(&["sh", "-c", "cat /dev/zero > /run/wgrelay/full 2>/dev/null; :"]).ok();
    // Each look fails, because nothing can be recorded, and says so, to a file that has no room.
    for _ in 0..5 {
        t.relay
            .run(&["sh", "-c", "ip addr del 192.168.3.1/24 dev wg0 2>/dev/null; ip link set wg0 mtu 1400"])
            .ok();
        std::thread::sleep(Duration::from_millis(700));
    }
    let said = t.relay.read(LOG);
    assert!(relay.call(&["status", "--json"]).stdout.contains("drift"), "it answers");
    assert_eq!(agent(&t.relay), before, "{said}");
    t.relay.run(&["rm", "/run/wgrelay/full"]).ok();
    until("it goes on", || is_up(&relay));
    t.relay.ip("addr del 192.168.3.1/24 dev wg0");
    until("and so does its log", || t.relay.read(LOG).len() > said.len());
    assert_eq!(agent(&t.relay), before);
}

#[test]
fn a_terminal_that_closes_takes_a_foreground_network_down() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let program = env!("CARGO_BIN_EXE_wgrelay");
    for (before, ends) in [("", true), ("nohup", false)] {
        let line = format!("exec {before} {program} --dir {} run --backend {}", relay.dir, relay.backend);
        let mut run = Command::new("bash");
        run.args(["-c", &line]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut run = t.relay.spawn(&mut run);
        let pid = Pid::from_raw(i32::try_from(run.id()).expect("a number"));
        until("it is up", || t.relay.outside("/run/wgrelay/wg0/control").exists() && is_up(&relay));
        kill(pid, Signal::SIGHUP).expect("it runs");
        if !ends {
            std::thread::sleep(Duration::from_secs(1));
            assert!(run.try_wait().expect("it can be waited for").is_none() && is_up(&relay));
            kill(pid, Signal::SIGTERM).expect("it runs");
        }
        let status = run.wait().expect("it can be waited for");
        assert_eq!(status.code(), Some(0), "it ended in good order");
        t.relay.run(&["ip", "link", "show", "wg0"]).exits(1);
        assert!(!t.relay.outside("/run/wgrelay").exists());
    }
}

#[test]
fn a_firewall_that_hangs_keeps_nobody_from_editing() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let Some(relay) = up(&t) else { return };
    t.relay.write(format!("{PLACE}/hangs"), "#!/bin/sh\nexec sleep 600\n");
    let script = format!("chmod +x {PLACE}/hangs; mount --bind {PLACE}/hangs $(readlink -f /usr/sbin/nft)");
    t.relay.run(&["sh", "-c", &script]).ok();
    t.relay.ip("addr del 192.168.3.1/24 dev wg0");
    let mut up = relay.command(&["up", "--backend", "embedded"]);
    let mut up = t.relay.spawn(up.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    std::thread::sleep(Duration::from_millis(300));
    for n in 0..3 {
        let added = relay.call(&["add", &format!("phone{n}"), "--platform", "android"]).ok();
        println!("an edit beside a firewall that hangs: {:?}", added.took);
        assert!(added.took < Duration::from_secs(5), "{added}");
    }
    let status = relay.call(&["status", "--json"]);
    println!("status with a firewall that hangs: {:?}", status.took);
    assert!(status.took < Duration::from_secs(60), "{status}");
    let ended = up.wait().expect("it can be waited for");
    assert_ne!(ended.code(), Some(0), "it says so");
    t.relay.run(&["sh", "-c", "umount $(readlink -f /usr/sbin/nft)"]).ok();
    relay.up().ok();
    until("all is well again", || is_up(&relay));
}

/// A number of /proc/PID/FILE of the agent's, after this word.
fn counted(node: &Node, agent: u32, file: &str, word: &str) -> u64 {
    let text = node.run(&["cat", &format!("/proc/{agent}/{file}")]).ok().stdout;
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or_else(|| panic!("{word} in {text}"))
}

/// What all children of the agent had to do: a look at the host asks nft, and none looks without.
fn of_children(node: &Node, agent: u32) -> String {
    let stat = node.run(&["cat", &format!("/proc/{agent}/stat")]).ok().stdout;
    // proc(5): of the fields behind the name in parentheses, the ninth.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().nth(8).unwrap_or_default().to_owned()
}

#[test]
fn only_routes_that_matter_make_it_look_and_only_files_that_changed_are_read() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let Some(relay) = up(&t) else { return };
    let agent = agent(&t.relay).expect("an agent runs");
    let pause = || std::thread::sleep(Duration::from_millis(1500));
    // Once in half a minute it looks of its own accord.
    let rests = |what: &str, during: &dyn Fn(usize)| {
        let calm = (0..4).any(|round| {
            pause();
            let before = of_children(&t.relay, agent);
            during(round);
            pause();
            of_children(&t.relay, agent) == before
        });
        assert!(calm, "{what}");
    };
    rests("nothing happens", &|_| {});
    rests("routes that lead elsewhere", &|round| {
        for n in 0..20 {
            let route = format!("10.200.{}.0/24", round * 20 + n);
            t.relay.run(&["ip", "route", "add", &route, "dev", "lo"]).ok();
        }
    });
    let before = of_children(&t.relay, agent);
    t.relay.run(&["ip", "route", "add", "192.168.33.128/25", "dev", "lo"]).ok();
    until("a part of a site leads elsewhere", || of_children(&t.relay, agent) != before);

    // A newer file waits, and is long: it is read once and not each second.
    let file = format!("{}/wg0/network.toml", relay.dir);
    let longer = t.relay.read(&file) + &format!("\n# {}\n", "x".repeat(1_000_000));
    t.relay.write(&file, &longer);
    until("the newer file is told", || relay.status()["problems"].to_string().contains("pending"));
    let calm = (0..4).any(|_| {
        pause();
        let before = counted(&t.relay, agent, "io", "rchar:");
        pause();
        counted(&t.relay, agent, "io", "rchar:") - before < 1_000_000
    });
    assert!(calm, "a file that nobody changed is read over and over");
}
