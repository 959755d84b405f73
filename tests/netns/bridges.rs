//! A node's bridges: a container as Docker leaves it becomes the compute node, sessions live on, and `down` puts all back.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::rig::drive::{Wgrelay, wg_quick_down, wg_quick_up};
use crate::rig::node::{Node, Output, PLACE};
use crate::rig::probe::{ping, ping_within, tcp, udp};
use crate::rig::snapshot::Snapshot;
use crate::rig::topology::{BRIDGE, Families, RELAY, Topology};

/// The compute node as `docker run` and `docker network connect` leave it: no bridge, its links' addresses on themselves.
fn as_docker_leaves_it(node: &Node) {
    node.ip("link set vnet0 nomaster
        link del br-ext
        addr add 172.19.0.9/16 brd 172.19.255.255 dev eth0
        addr flush dev eth1
        addr add 172.17.0.2/16 brd 172.17.255.255 dev eth1
        route add default via 172.17.0.1");
}

/// The relay with the compute node's profile, and the compute node with its bundle, not up yet.
fn compute_node(t: &Topology) -> (Wgrelay<'_>, Wgrelay<'_>) {
    as_docker_leaves_it(&t.docker);
    let relay = Wgrelay::on(&t.relay);
    relay.ok(&["init", "--profile", "webvirtcloud", "--endpoint", &format!("{RELAY}:51820")]);
    relay.edit(|text| text.replace("docker:webvirtcloud_default", BRIDGE));
    relay.up().ok();
    wg_quick_up(&t.windows, "wg0", &relay.ok(&["export", "windows"])).ok();
    let bundle = relay.ok(&["export", "docker", "--format", "bundle"]);
    t.docker.write(format!("{PLACE}/docker.bundle"), &bundle);
    (relay, Wgrelay::on(&t.docker))
}

fn up(docker: &Wgrelay<'_>) -> Output {
    docker.call(&["up", "--backend", &docker.backend, "--bundle", &format!("{PLACE}/docker.bundle")])
}

fn shows(node: &Node, line: &str) -> Vec<String> {
    let shown = node.run(&["bash", "-c", line]).ok().stdout;
    shown.lines().map(|l| l.trim().to_string()).collect()
}

/// Returns a link's IPv4 addresses, sorted.
fn addresses(node: &Node, link: &str) -> Vec<String> {
    let mut list = shows(node, &format!("ip -4 -o addr show dev {link} | awk '{{print $4}}'"));
    list.sort();
    list
}

#[track_caller]
fn assert_stands(t: &Topology) {
    assert_eq!(
        addresses(&t.docker, "br-ext"),
        ["10.255.0.1/16", "169.254.169.254/16", "172.19.0.9/16", "192.168.33.1/24"]
    );
    assert_eq!(addresses(&t.docker, "br-int"), ["172.17.0.2/16"]);
    assert_eq!(shows(&t.docker, "ip route show default"), ["default via 172.17.0.1 dev br-int"]);
    for port in ["eth0", "eth1"] {
        assert!(addresses(&t.docker, port).is_empty(), "{port} has an address");
    }
    assert_eq!(shows(&t.docker, "cat /sys/class/net/br-ext/bridge/stp_state"), ["0"]);
    assert_eq!(shows(&t.docker, "ls /sys/class/net/br-int/brif"), ["eth1"]);
}

/// As libvirt does with a VM's tap.
fn start_vm(t: &Topology) {
    t.docker.ip("link set vnet0 master br-ext\nlink set vnet0 up");
    t.vm.ip("route replace default via 192.168.33.1");
}

#[track_caller]
fn assert_flows(t: &Topology) {
    let flows = [
        (&t.windows, &t.vm, "192.168.33.71", "192.168.33.1"),
        (&t.windows, &t.docker, "172.19.0.9", "172.19.0.1"),
        (&t.vm, &t.docker, "172.17.0.2", "192.168.33.71"),
        (&t.vm, &t.relay, "172.17.0.1", "172.17.0.2"),
        (&t.vm, &t.internet, "192.168.39.1", "192.168.39.45"),
        (&t.vm, &t.container, "172.19.0.5", "172.19.0.9"),
    ];
    for (from, to, address, seen) in flows {
        let call = format!("{} to {address} ({})", from.name, to.name);
        assert!(ping(from, address), "{call}: no answer to pings");
        match tcp(from, to, address) {
            Ok(source) => assert_eq!(source.to_string(), seen, "{call}"),
            Err(e) => panic!("{call}: TCP: {e}"),
        }
    }
}

/// The relay masquerades what its containers send out, as Docker does, and forwards it.
fn docker_on(relay: &Node) {
    relay.set_sysctl("ipv4/ip_forward", "1");
    relay
        .run(&[
            "iptables",
            "-t",
            "nat",
            "-A",
            "POSTROUTING",
            "-s",
            "172.17.0.0/16",
            "!",
            "-o",
            "docker0",
            "-j",
            "MASQUERADE",
        ])
        .ok();
}

#[test]
fn a_container_becomes_the_compute_node_and_is_itself_again() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    docker_on(&t.relay);
    let (_relay, docker) = compute_node(&t);
    let before = Snapshot::of(&t.docker).without("files");
    let links = shows(&t.docker, "ip -4 -o addr show");
    up(&docker).ok();
    assert_stands(&t);
    start_vm(&t);
    assert_flows(&t);
    // Nothing is left to do, and nothing has drifted.
    let plan = docker.call(&["plan", "--check"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    let status = docker.status();
    assert_eq!(status["drift"], serde_json::json!([]), "{status}");
    assert_eq!(status["state"], "up", "{status}");

    t.docker.ip("link set vnet0 nomaster\nlink set vnet0 down");
    docker.ok(&["down"]);
    assert_eq!(shows(&t.docker, "ip -4 -o addr show"), links);
    t.docker.ip("link set vnet0 up");
    before.assert_same(&Snapshot::of(&t.docker).without("files"), "after down");
    let plan = docker.call(&["plan", "--backend", &docker.backend]).ok();
    for line in ["bridge", "br-ext", "br-int", "port of br-int", "by br-int", "172.17.0.2/16"] {
        assert!(plan.stdout.contains(line), "{line} is not in {plan}");
    }
}

#[test]
fn what_webvirtcompute_sets_is_no_obstacle() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    docker_on(&t.relay);
    t.docker.run(&["bash", "-c", "modprobe br_netfilter 2>/dev/null; true"]).ok();
    for (key, value) in
        [("ipv4/conf/all/rp_filter", "0"), ("ipv4/conf/default/rp_filter", "0"), ("ipv4/ip_forward", "1")]
    {
        t.docker.set_sysctl(key, value);
    }
    let (_relay, docker) = compute_node(&t);
    if t.docker.outside("/proc/sys/net/bridge").exists() {
        t.docker.set_sysctl("bridge/bridge-nf-call-iptables", "1");
    }
    let before = Snapshot::of(&t.docker).without("files");
    up(&docker).ok();
    assert_stands(&t);
    start_vm(&t);
    assert_flows(&t);
    t.docker.ip("link set vnet0 nomaster");
    docker.ok(&["down"]);
    before.assert_same(&Snapshot::of(&t.docker).without("files"), "after down");
}

/// One TCP session whose every byte is asked for and answered.
struct Session {
    client: TcpStream,
    server: TcpStream,
}

impl Session {
    fn open(from: &Node, to: &Node, address: &str) -> Self {
        let listener = to.inside(|| TcpListener::bind((address, 7117))).expect("the port is free");
        let client = from.inside(|| TcpStream::connect((address, 7117))).expect("it connects");
        let (server, _) = listener.accept().expect("it is connected");
        for end in [&client, &server] {
            end.set_read_timeout(Some(Duration::from_secs(20))).expect("the time is not zero");
        }
        Self { client, server }
    }
    #[track_caller]
    fn assert_alive(&self, when: &str) {
        for (mut from, mut to) in [(&self.client, &self.server), (&self.server, &self.client)] {
            from.write_all(b"still there?").unwrap_or_else(|e| panic!("{when}: {e}"));
            let mut bytes = [0; 12];
            to.read_exact(&mut bytes).unwrap_or_else(|e| panic!("{when}: {e}"));
        }
    }
}

#[test]
fn sessions_through_a_port_live_on() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let (_relay, docker) = compute_node(&t);
    let sessions = [
        Session::open(&t.container, &t.docker, "172.19.0.9"),
        Session::open(&t.docker, &t.container, "172.19.0.5"),
        Session::open(&t.docker, &t.relay, "172.17.0.1"),
        // By the default route.
        Session::open(&t.docker, &t.relay, RELAY),
    ];
    let alive = |when: &str| sessions.iter().for_each(|s| s.assert_alive(when));
    alive("before");
    for round in 0..2 {
        up(&docker).ok();
        alive(&format!("after up {round}"));
        docker.ok(&["down"]);
        alive(&format!("after down {round}"));
    }
}

#[test]
fn an_up_killed_half_way_is_mended() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let (_relay, docker) = compute_node(&t);
    let before = Snapshot::of(&t.docker).without("files");
    let whole = up(&docker).ok().took;
    docker.ok(&["down"]);
    before.assert_same(&Snapshot::of(&t.docker).without("files"), "after down");
    let points = 12;
    for point in 1..=points {
        let after = whole * point / (points + 1);
        let bundle = format!("{PLACE}/docker.bundle");
        let mut command = docker.command(&["up", "--backend", &docker.backend, "--bundle", &bundle]);
        let mut started =
            docker.node.spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        std::thread::sleep(after);
        let _it_may_have_ended = started.kill();
        started.wait().expect("up was started here");
        if point % 2 == 0 {
            up(&docker).ok();
            assert_stands(&t);
        }
        docker.ok(&["down"]);
        let when = format!("killed after {after:?} of {whole:?}");
        before.assert_same(&Snapshot::of(&t.docker).without("files"), &when);
    }
}

#[test]
fn a_port_that_is_away_is_told_and_joins_when_it_appears() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let (_relay, docker) = compute_node(&t);
    t.docker.ip("link set eth0 down\nlink set eth0 name away0");
    let degraded = up(&docker).ok();
    assert!(degraded.stderr.contains("eth0") && degraded.stderr.contains("br-ext"), "{degraded}");
    assert_eq!(docker.status()["state"], "degraded", "{}", docker.status());
    // The machines' bridge works without it.
    start_vm(&t);
    assert!(ping(&t.windows, "192.168.33.71"));
    t.docker.ip("link set away0 name eth0\nlink set eth0 up");
    if docker.backend != "embedded" {
        docker.up().ok(); // no agent is there to see it
    }
    settled(&docker, "eth0 is there");
    assert_stands(&t);
    assert!(ping(&t.windows, "192.168.33.71"));
    docker.ok(&["down"]);
    assert_eq!(addresses(&t.docker, "eth0"), ["172.19.0.9/16"]);
}

/// Waits until the agent has nothing to repair any more.
#[track_caller]
fn settled(docker: &Wgrelay<'_>, after: &str) {
    let began = Instant::now();
    let is_whole = || {
        let status = docker.status();
        status["state"] == "up" && status["drift"] == serde_json::json!([])
    };
    while !is_whole() {
        assert!(began.elapsed() < Duration::from_secs(30), "{after}: {}", docker.status());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_is_taken_from_a_bridge_is_put_back() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let (_relay, docker) = compute_node(&t);
    up(&docker).ok();
    let agent = docker.backend == "embedded";
    for harm in [
        "addr del 172.19.0.9/16 dev br-ext",
        "link set eth0 nomaster",
        "link set br-int down",
        "route del default",
        "link del br-int",
        "link del br-ext",
    ] {
        t.docker.ip(harm);
        if agent {
            settled(&docker, harm);
        } else {
            let status = docker.status();
            assert_ne!(status["drift"], serde_json::json!([]), "{harm}: {status}");
            docker.up().ok();
        }
        assert_stands(&t);
    }
    start_vm(&t);
    assert!(ping(&t.windows, "192.168.33.71"));
}

#[test]
fn a_bridge_made_by_hand_is_used_and_never_deleted() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let (_relay, docker) = compute_node(&t);
    // Half of section 2 of somebody's notes, typed before.
    t.docker.ip("link add dum0 type veth peer name dum1
        link set dum1 up
        link set dum0 up
        link add br-ext type bridge
        link set dum0 master br-ext
        link set br-ext up
        addr add 10.255.0.1/16 dev br-ext
        addr add 10.77.0.1/24 dev br-ext");
    let before = Snapshot::of(&t.docker).without("files");
    up(&docker).ok();
    assert!(addresses(&t.docker, "br-ext").contains(&"10.77.0.1/24".to_string()));
    assert!(addresses(&t.docker, "br-ext").contains(&"172.19.0.9/16".to_string()));
    docker.ok(&["down"]);
    before.assert_same(&Snapshot::of(&t.docker).without("files"), "after down");
    // What is no bridge is not taken.
    t.docker.ip("link del br-ext\nlink add br-ext type veth peer name peer0");
    let before = Snapshot::of(&t.docker).without("files");
    let refused = up(&docker);
    assert!(refused.code != Some(0) && refused.stderr.contains("br-ext"), "{refused}");
    before.assert_same(&Snapshot::of(&t.docker).without("files"), "after a refusal");
}

#[test]
fn a_table_that_goes_takes_its_bridge_along() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let (_relay, docker) = compute_node(&t);
    up(&docker).ok();
    docker.edit(|text| {
        let start = text.rfind("[[node.docker.bridge]]").expect("two bridges");
        text[..start].to_string()
    });
    docker.up().ok();
    assert_eq!(addresses(&t.docker, "eth1"), ["172.17.0.2/16"]);
    assert_eq!(shows(&t.docker, "ip route show default"), ["default via 172.17.0.1 dev eth1"]);
    assert_eq!(t.docker.run(&["ip", "link", "show", "br-int"]).code, Some(1));
    assert!(!addresses(&t.docker, "br-ext").is_empty());
    // Addresses that are not in the file any more go; what somebody else put there stays.
    t.docker.ip("addr add 10.77.0.1/24 dev br-ext");
    docker.edit(|text| text.replace("\"10.255.0.1/16\", ", ""));
    docker.up().ok();
    assert_eq!(
        addresses(&t.docker, "br-ext"),
        ["10.77.0.1/24", "169.254.169.254/16", "172.19.0.9/16", "192.168.33.1/24"]
    );
    assert!(ping_within(Duration::from_secs(5), &t.docker, "172.19.0.5"));
    assert!(udp(&t.docker, &t.container, "172.19.0.5", 100).is_ok());
}

#[test]
fn a_resolver_that_does_not_answer_any_more_is_told() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let (_relay, docker) = compute_node(&t);
    // As Docker writes it; nobody answers there in this namespace.
    t.docker.write(format!("{PLACE}/resolv.conf"), "nameserver 127.0.0.11\noptions ndots:0\n");
    t.docker.run(&["mount", "--bind", &format!("{PLACE}/resolv.conf"), "/etc/resolv.conf"]).ok();
    let told = up(&docker).ok();
    for word in ["127.0.0.11", "resolv.conf", "nameserver"] {
        assert!(told.stderr.contains(word), "{word} is not in {told}");
    }
    let doctor = docker.call(&["doctor"]);
    assert!(doctor.stdout.contains("127.0.0.11"), "{doctor}");
    docker.ok(&["down"]);

    // One that answers, if only that it does not know.
    let server = t.docker.inside(|| UdpSocket::bind("127.0.0.11:53").expect("the port is free"));
    let answering = std::thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((size, from)) = server.recv_from(&mut bytes) {
            if size < 12 {
                return;
            }
            bytes[2] |= 0x80;
            let _the_asker_may_be_gone = server.send_to(&bytes[..size], from);
        }
    });
    let quiet = up(&docker).ok();
    assert!(!quiet.stderr.contains("127.0.0.11"), "{quiet}");
    t.docker.inside(|| {
        let end = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        end.send_to(b"end", "127.0.0.11:53").expect("it is on this host");
    });
    answering.join().expect("it ends when told");
}

/// The exported file makes the bridges by its PreUp as `up` does, and PostDown takes them away.
#[test]
fn an_exported_file_makes_the_bridges_and_takes_them_away() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    docker_on(&t.relay);
    let (relay, _docker) = compute_node(&t);
    t.docker.run(&["mkdir", "-p", "/run/wireguard"]).ok();
    let before = Snapshot::of(&t.docker).without("files");
    let by_hand = relay.ok(&["export", "docker"]);
    wg_quick_up(&t.docker, "wg0", &by_hand).ok();
    assert_stands(&t);
    start_vm(&t);
    assert_flows(&t);
    let session = Session::open(&t.docker, &t.relay, "172.17.0.1");
    t.docker.ip("link set vnet0 nomaster");
    wg_quick_down(&t.docker, "wg0").ok();
    session.assert_alive("after wg-quick down");
    before.assert_same(&Snapshot::of(&t.docker).without("files"), "after wg-quick down");

    // One that ended half-way is taken back by the next.
    wg_quick_up(&t.docker, "wg0", &by_hand).ok();
    session.assert_alive("after wg-quick up");
    t.docker.ip("link del wg0");
    std::thread::sleep(Duration::from_millis(500));
    wg_quick_up(&t.docker, "wg0", &by_hand).ok();
    assert_stands(&t);
    wg_quick_down(&t.docker, "wg0").ok();
    before.assert_same(&Snapshot::of(&t.docker).without("files"), "after one that ended half-way");

    // A table without addresses moves those of its port; a bridge of somebody else's keeps what is his; a port may be away.
    relay
        .edit(|text| text.replace("[\"172.17.0.2/16\"]", "[]").replace("[\"eth0\"]", "[\"eth0\", \"eth9\"]"));
    t.docker.ip("link add dum0 type veth peer name dum1
        link set dum1 up
        link set dum0 up
        link add br-ext type bridge
        link set dum0 master br-ext
        link set br-ext up
        addr add 10.77.0.1/24 dev br-ext");
    let before = Snapshot::of(&t.docker).without("files");
    let told = wg_quick_up(&t.docker, "wg0", &relay.ok(&["export", "docker"])).ok();
    assert!(told.stderr.contains("eth9 is not here: br-ext is without it"), "{told}");
    assert_eq!(addresses(&t.docker, "br-int"), ["172.17.0.2/16"]);
    assert_eq!(shows(&t.docker, "ip route show default"), ["default via 172.17.0.1 dev br-int"]);
    assert!(addresses(&t.docker, "br-ext").contains(&"10.77.0.1/24".to_string()));
    start_vm(&t);
    assert!(ping(&t.windows, "192.168.33.71"));
    t.docker.ip("link set vnet0 nomaster");
    wg_quick_down(&t.docker, "wg0").ok();
    before.assert_same(&Snapshot::of(&t.docker).without("files"), "with a bridge of somebody else's");
}
