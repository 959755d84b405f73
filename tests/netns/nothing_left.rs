//! `down` takes away all that wgrelay made and nothing else; an `up` that fails, or dies half-way, leaves nothing.

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::foreign_clients::clients_up;
use crate::rig::drive::{Wgrelay, wg_quick_down, wg_quick_up};
use crate::rig::node::{LONG, Node, Output, PLACE, finish};
use crate::rig::probe::{ping, ping_within};
use crate::rig::snapshot::Snapshot;
use crate::rig::topology::{Families, Topology};

/// What other programs have on a host, for an `up` and a `down` to leave alone.
const FOREIGN: &str = "set -e
    nft 'table inet filter { chain forward { type filter hook forward priority 0; policy accept;
        ip saddr 10.9.9.9 drop; }; }; table ip docker { set s { type ipv4_addr; elements = { 10.1.1.1 }; }; }'
    iptables -N SOMEBODY; iptables -A FORWARD -j SOMEBODY; iptables -A SOMEBODY -s 10.9.9.8 -j DROP
    iptables -t nat -A POSTROUTING -s 10.9.0.0/16 ! -o docker0 -j MASQUERADE
    ip rule add from 10.9.9.9 table 77 priority 100
    ip route add 10.9.0.0/16 via 192.168.39.1 table 77
    ip route add 10.8.0.0/16 via 192.168.39.1
    ip link add other0 type bridge; ip link set other0 alias 'somebody:else' up; ip addr add 10.7.0.1/24 dev other0
    sysctl -q -w net.ipv4.conf.other0.forwarding=1 net.ipv4.conf.eth0.rp_filter=1
    mkdir -p /run/wireguard; touch /run/wireguard/wg7.sock; echo '# mine' >/etc/wireguard/wg7.conf";

/// Fails unless the command said no in words that contain all of these.
#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    assert!(matches!(output.code, Some(1 | 5)), "a refusal is expected: {output}");
    for word in words {
        assert!(output.stderr.contains(word), "{word:?} is not in it: {output}");
    }
}

#[test]
fn down_puts_back_what_was_there() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let relay = Wgrelay::relay_of(&t, Families::Both);
    t.relay.run(&["bash", "-c", FOREIGN]).ok();
    let before = Snapshot::of(&t.relay);
    relay.up().ok();
    clients_up(&t, &relay);
    assert!(ping(&t.windows, "172.19.0.5"));
    let during = before.diff(&Snapshot::of(&t.relay));
    for section in [
        "addresses of IPv4",
        "addresses of IPv6",
        "links",
        "nft",
        "routes of IPv4",
        "routes of IPv6",
        "sysctls",
        "files",
    ] {
        assert!(during.contains(&format!("{section}:\n")), "{section} is not in\n{during}");
    }
    relay.ok(&["down"]);
    before.assert_same(&Snapshot::of(&t.relay), "after down");
    relay.ok(&["down"]);
    before.assert_same(&Snapshot::of(&t.relay), "after a second down");
    assert_eq!(relay.call(&["status", "--json"]).code, Some(4));

    // And again, where the whole host forwards already: that is its own business.
    t.relay.set_sysctl("ipv4/ip_forward", "1");
    let before = Snapshot::of(&t.relay);
    relay.up().ok();
    relay.ok(&["down"]);
    before.assert_same(&Snapshot::of(&t.relay), "after down on a host that forwards");
}

#[test]
fn an_up_that_fails_is_undone() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let before = Snapshot::of(&t.relay);
    let unchanged = |when: &str| before.assert_same(&Snapshot::of(&t.relay), when);

    let taken = t.relay.inside(|| UdpSocket::bind("0.0.0.0:51820").expect("the port is free"));
    refused(&relay.up(), &["51820"]);
    refused(&relay.call(&["plan"]), &["51820", "ss -ulpn"]);
    assert!(relay.call(&["doctor"]).exits(4).stdout.contains("51820"), "doctor says nothing of the port");
    unchanged("after an up with its port taken");
    drop(taken);

    // Every program of the system but one.
    let hide = format!(
        "mkdir {PLACE}/sbin && mount --bind /usr/sbin {PLACE}/sbin && mount -t tmpfs tmpfs /usr/sbin && \
         ln -s {PLACE}/sbin/* /usr/sbin/ && rm /usr/sbin/nft"
    );
    t.relay.run(&["bash", "-c", &hide]).ok();
    let without_nft = relay.up();
    t.relay
        .run(&["bash", "-c", &format!("umount /usr/sbin {PLACE}/sbin && rm -r {PLACE}/sbin /run/mount")])
        .ok();
    refused(&without_nft, &["nft"]);
    unchanged("after an up without nft");

    relay.up().ok();
    relay.ok(&["down"]);
    unchanged("after the up that worked, and its down");
}

#[test]
fn a_full_disk_stops_an_up_before_it_changes_anything() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    t.relay.run(&["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", PLACE]).ok();
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let fill = format!("dd if=/dev/zero of={PLACE}/filler bs=1k 2>/dev/null; [ -s {PLACE}/filler ]");
    let empty = || t.relay.run(&["rm", &format!("{PLACE}/filler")]).ok();
    // The lock file is there, as on a host that was up before.
    relay.up().ok();
    relay.ok(&["down"]);
    t.relay.run(&["bash", "-c", &fill]).ok();
    let before = Snapshot::of(&t.relay);
    refused(&relay.up(), &[".last-up.json", "No space left", "nothing was changed", "make room"]);
    before.assert_same(&Snapshot::of(&t.relay), "after an up on a full disk");
    empty();
    relay.up().ok();

    // A change is refused in the same way, and the network that is up goes on; taking it down takes no room.
    relay.edit(|text| text.replace("\"192.168.3.1\"", "\"192.168.3.77\""));
    t.relay.run(&["bash", "-c", &fill]).ok();
    let before = Snapshot::of(&t.relay);
    refused(&relay.up(), &[".last-up.json", "No space left"]);
    before.assert_same(&Snapshot::of(&t.relay), "after a changed up on a full disk");
    relay.ok(&["down"]);
    assert_eq!(relay.call(&["status"]).code, Some(4));
    empty();
}

#[test]
fn a_failed_up_puts_back_what_a_restart_brings_up() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    let kept = || t.relay.read(format!("{}/wg0/.last-up.json", relay.dir));
    let before = kept();
    relay.edit(|text| text.replace("51820", "51821"));
    let _taken = t.relay.inside(|| UdpSocket::bind("0.0.0.0:51821").expect("the port is free"));
    let failed = relay.up();
    refused(&failed, &["51821"]);
    assert_eq!(kept(), before, "{failed}");
    relay.ok(&["down"]);
}

#[test]
fn a_read_only_folder_keeps_nobody_from_down() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    t.relay.run(&["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", PLACE]).ok();
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let mount = |how: &str| t.relay.run(&["mount", "-o", &format!("remount,{how}"), PLACE]).ok();
    let seen = || Snapshot::of(&t.relay).without("files");
    let before = seen();

    // Never up, no lock file: told before anything is changed.
    t.relay.run(&["rm", "-f", &format!("{}/wg0/.lock", relay.dir)]).ok();
    mount("ro");
    let words =
        ["do not run two commands at once", "Read-only", "nothing was changed", "remount it writable"];
    refused(&relay.up(), &words);
    before.assert_same(&seen(), "after an up on a read-only disk");
    let down = relay.call(&["down"]).exits(0);
    assert!(!down.stderr.contains(".last-up.json"), "{down}");
    mount("rw");

    relay.up().ok();
    mount("ro");
    relay.up().ok(); // nothing new to keep
    let down = relay.call(&["down"]).exits(0);
    assert!(down.stderr.contains(".last-up.json: Read-only") && down.stderr.contains("restart"), "{down}");
    before.assert_same(&seen(), "after a down on a read-only disk");
    relay.up().ok(); // what a restart would bring up is still kept
    // The agent takes it down at its end, too.
    if let Some(agent) = agents(&t.relay).first() {
        t.relay.run(&["kill", "-TERM", agent]).ok();
        let began = Instant::now();
        while !agents(&t.relay).is_empty() && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
    } else {
        relay.ok(&["down"]);
    }
    before.assert_same(&seen(), "after the agent ended on a read-only disk");
    mount("rw");
    let down = relay.call(&["down"]).exits(0);
    assert_eq!(down.stderr, "", "{down}");
}

#[test]
fn a_foreign_table_is_refused_and_left_alone() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let table = "table inet wgrelay-wg0 { chain forward { type filter hook forward priority 5; ip saddr 10.9.9.9 drop; }; }";
    t.relay.run(&["nft", table]).ok();
    let before = Snapshot::of(&t.relay);
    refused(&relay.call(&["plan"]), &["wgrelay-wg0", "did not make it"]);
    refused(&relay.up(), &["wgrelay-wg0", "nft list table"]);
    before.assert_same(&Snapshot::of(&t.relay), "after an up over a foreign table");
    relay.ok(&["down"]);
    before.assert_same(&Snapshot::of(&t.relay), "after a down beside a foreign table");
    t.relay.run(&["nft", "delete table inet wgrelay-wg0"]).ok();
    relay.up().ok();
    relay.ok(&["down"]);
}

#[test]
fn a_foreign_interface_is_refused_and_left_alone() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    // What the user has today: the same interface by wg-quick.
    wg_quick_up(&t.relay, "wg0", &relay.ok(&["export", "wsl"])).ok();
    let before = Snapshot::of(&t.relay);
    refused(&relay.up(), &["wg0", "wg-quick down wg0"]);
    before.assert_same(&Snapshot::of(&t.relay), "after an up over a foreign wg0");
    relay.call(&["down"]);
    before.assert_same(&Snapshot::of(&t.relay), "after a down beside a foreign wg0");
    wg_quick_down(&t.relay, "wg0").ok();

    t.relay.ip("link add wg0 type bridge");
    let before = Snapshot::of(&t.relay);
    refused(&relay.up(), &["wg0"]);
    before.assert_same(&Snapshot::of(&t.relay), "after an up over a foreign bridge");
    t.relay.ip("link del wg0");
    relay.up().ok();
}

/// Starts `up` and kills it after a while. The agent that it may have started is left to itself.
fn killed_after(relay: &Wgrelay<'_>, while_: Duration) {
    let mut command = relay.command(&["up", "--backend", &relay.backend]);
    let mut up = relay.node.spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    std::thread::sleep(while_);
    let _it_may_have_ended = up.kill();
    up.wait().expect("up was started here");
}

#[test]
fn an_up_killed_half_way_is_made_right_by_up_or_down() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    clients_up(&t, &relay);
    let before = Snapshot::of(&t.relay);
    let whole = relay.up().ok().took;
    relay.ok(&["down"]);
    before.assert_same(&Snapshot::of(&t.relay), "after down");
    let points = 10;
    // As after any restart of the relay, a client notices after 15 s that its session is gone.
    let reached = || ping_within(Duration::from_secs(25), &t.windows, "172.19.0.5");
    for point in 1..=points {
        let after = whole * point / (points + 1);
        killed_after(&relay, after);
        if point % 2 == 0 {
            relay.up().ok();
            assert!(reached(), "up after an up killed after {after:?} of {whole:?}");
        }
        relay.ok(&["down"]);
        before.assert_same(&Snapshot::of(&t.relay), &format!("killed after {after:?} of {whole:?}"));
    }
}

/// Returns the process numbers of the agents on a node.
/// The processes that host a device; each has another that starts it again.
fn hosts(node: &Node) -> Vec<String> {
    let lines = node.processes().into_iter().filter(|(_, line)| line.contains(" run --host "));
    lines.map(|(pid, _)| pid.to_string()).collect()
}

fn agents(node: &Node) -> Vec<String> {
    node.processes()
        .into_iter()
        .filter(|(_, line)| line.contains("wgrelay"))
        .map(|(pid, _)| pid.to_string())
        .collect()
}

#[test]
fn an_agent_that_was_killed_is_replaced_or_cleaned_up() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4).with_backend("embedded");
    clients_up(&t, &relay);
    let before = Snapshot::of(&t.relay);
    relay.up().ok();
    assert!(ping(&t.windows, "172.19.0.5"));
    let kill = |what: &str| {
        assert_eq!(hosts(&t.relay).len(), 1, "one agent, {what}: {:?}", t.relay.processes());
        // Who starts it again first, in one call.
        let agents = agents(&t.relay);
        let words: Vec<&str> = ["kill", "-9"].into_iter().chain(agents.iter().map(String::as_str)).collect();
        t.relay.run(&words).ok();
        let began = Instant::now();
        while !self::agents(&t.relay).is_empty() && began.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    kill("before the first kill");
    assert_eq!(relay.call(&["status"]).code, Some(4), "status tells of a dead agent");
    relay.up().ok();
    // The client learns that its session is gone when nothing came back for 15 s (REKEY_TIMEOUT + KEEPALIVE_TIMEOUT).
    assert!(ping_within(Duration::from_secs(25), &t.windows, "172.19.0.5"), "up after the agent was killed");
    kill("after up replaced it");
    relay.ok(&["down"]);
    before.assert_same(&Snapshot::of(&t.relay), "after the agent was killed, and down");
}

#[test]
fn an_agent_that_is_told_to_end_takes_the_network_down() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4).with_backend("embedded");
    let before = Snapshot::of(&t.relay);
    relay.up().ok();
    let agents = agents(&t.relay);
    t.relay.run(&["kill", "-TERM", &agents[0]]).ok();
    let began = Instant::now();
    while !self::agents(&t.relay).is_empty() && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    // A machine that goes down tells it the same way, and comes up with what was up.
    t.relay.run(&["rm", &format!("{}/wg0/.last-up.json", relay.dir)]).ok();
    before.assert_same(&Snapshot::of(&t.relay), "after the agent was told to end");
}

#[test]
fn a_lost_or_hanging_agent_is_no_obstacle() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4).with_backend("embedded");
    // What switches were is in the record, and goes with the folder.
    let seen = || Snapshot::of(&t.relay).without("files").without("sysctls");
    let before = seen();
    let agent = || hosts(&t.relay).first().cloned().expect("an agent");
    let harms: [(&str, &dyn Fn() -> Vec<String>); 4] = [
        ("its folder is gone", &|| vec!["rm".into(), "-r".into(), "/run/wgrelay/wg0".into()]),
        ("its socket is gone", &|| vec!["rm".into(), "/run/wgrelay/wg0/control".into()]),
        ("it hangs", &|| vec!["kill".into(), "-STOP".into(), agent()]),
        ("its interface is gone", &|| ["ip", "link", "delete", "wg0"].map(String::from).to_vec()),
    ];
    for (what, harm) in harms {
        for then in ["up", "down"] {
            relay.up().ok();
            let words = harm();
            t.relay.run(&words.iter().map(String::as_str).collect::<Vec<_>>()).ok();
            relay.ok(&[then]);
            assert_eq!(hosts(&t.relay).len(), usize::from(then == "up"), "{what}, {then}");
            assert!(then == "up" || agents(&t.relay).is_empty(), "{what}: {:?}", t.relay.processes());
        }
        before.assert_same(&seen(), what);
    }
}

#[test]
fn the_relays_own_address_changes_in_place() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    relay.edit(|text| text.replace("\"192.168.3.1\"", "\"192.168.3.77\""));
    relay.up().ok();
    assert!(t.relay.ip_shows("-4", "address show dev wg0").contains("192.168.3.77"));
    assert!(t.relay.ip_shows("-4", "route show dev wg0").contains("192.168.33.0/24"));
    relay.ok(&["down"]);
}

#[test]
fn the_tunnels_own_route_comes_back_when_somebody_takes_it_away() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    let shown = || t.relay.ip_shows("-4", "route show table main");
    let before = shown();
    t.relay.ip("route del 192.168.3.0/24 dev wg0");
    if relay.backend == "kernel" {
        let status = relay.status();
        assert_eq!(status["drift"][0]["target"], "192.168.3.0/24", "{status}");
        relay.up().ok();
    }
    // With the embedded data plane there is an agent, which hears of it.
    let began = Instant::now();
    while shown() != before {
        assert!(began.elapsed() < LONG, "{}", shown());
    }
    assert_eq!(relay.status()["drift"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_switch_of_the_own_interface_goes_with_it() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let before = Snapshot::of(&t.relay);
    relay.up().ok();
    // As after an `up` that was killed before it set the switch: the next one finds another value, and notes it.
    t.relay.set_sysctl("ipv4/conf/wg0/forwarding", "0");
    relay.up().ok();
    relay.ok(&["down"]);
    before.assert_same(&Snapshot::of(&t.relay), "after down");
}

#[test]
fn two_ups_at_once_are_one_after_the_other() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    clients_up(&t, &relay);
    let before = Snapshot::of(&t.relay);
    let began = Instant::now();
    let ups = [(); 4].map(|()| {
        let mut command = relay.command(&["up", "--backend", &relay.backend]);
        t.relay.spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
    });
    let ends = ups.map(|up| finish("relay: up, one of four", up, began, LONG));
    assert!(ends.iter().any(|end| end.code == Some(0)), "one of them did it: {ends:?}");
    for end in &ends {
        // Waiting for the other is fine, and so is saying that it is at work.
        assert!(end.code == Some(0) || end.code == Some(1) && end.stderr.contains("another"), "{end}");
    }
    assert!(ping(&t.windows, "172.19.0.5"));
    assert_eq!(hosts(&t.relay).len(), usize::from(relay.backend == "embedded"), "{:?}", t.relay.processes());
    relay.ok(&["down"]);
    before.assert_same(&Snapshot::of(&t.relay), "after down");
}

#[test]
fn a_shell_that_captures_up_does_not_wait_for_the_agent() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let line = format!(
        "out=$({} --dir {} up --backend {} 2>&1 </dev/null | cat); echo \"$out\"; exec 0<&-",
        env!("CARGO_BIN_EXE_wgrelay"),
        relay.dir,
        relay.backend
    );
    t.relay.within(Duration::from_secs(30), Command::new("bash").args(["-c", &line])).ok();
    assert_ne!(relay.status()["state"], "down");
    relay.ok(&["down"]);
}

#[test]
fn a_record_that_is_gone_is_not_taken_for_a_network_that_is_down() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    t.relay.run(&["rm", "-r", "/run/wgrelay"]).ok();
    let status = relay.call(&["status"]).exits(4);
    refused_words(&status, &["stands, and the record", " up` again"]);
    assert_eq!(relay.status()["state"], "degraded");
    relay.up().ok();
    assert!(!relay.call(&["status"]).stderr.contains("no-record"));
    relay.ok(&["down"]);
}

#[track_caller]
fn refused_words(output: &Output, words: &[&str]) {
    for word in words {
        assert!(output.stderr.contains(word), "{word:?} is not in it: {output}");
    }
}

#[test]
fn metrics_are_served_where_asked_for() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let mut command = relay.command(&["run", "--backend", &relay.backend, "--metrics", "127.0.0.1:9586"]);
    let mut agent = t.relay.spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    let ask = || {
        t.relay.inside(|| {
            use std::io::{Read as _, Write as _};
            let mut stream = std::net::TcpStream::connect("127.0.0.1:9586").ok()?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer)
        })
    };
    let began = Instant::now();
    let mut answer = None;
    while answer.is_none() {
        assert!(began.elapsed() < LONG, "nobody answers");
        answer = ask();
    }
    let answer = answer.expect("just seen");
    assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
    for words in ["wgrelay_up{network=\"wg0\",node=\"wsl\"} 1", "peer=\"docker\"", "health=\"never\""] {
        assert!(answer.contains(words), "{words} is not in {answer}");
    }
    let _it_may_have_ended = agent.kill();
    agent.wait().expect("it was started here");
    relay.ok(&["down"]);
}
