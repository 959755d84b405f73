//! The network that must work first, whole: a relay on a Docker host, a Windows laptop, and a privileged container that
//! is a node itself, runs wgrelay inside, has two homes, and carries a virtual machine behind its bridge.
//!
//! It runs here on the embedded data plane, and in a guest with the kernel's.

use std::process::Command;

use crate::beside::{CONTAINER, NETWORK, PATIENCE, PORT, Place, can_run, makes_networks, page};
use crate::engine::{Engine, IMAGE};
use crate::rig::drive::{Wgrelay, program};
use crate::rig::need::{NAMESPACES, Need, met};
use crate::rig::net::up;
use crate::rig::node::Node;
use crate::rig::probe::{ping, tcp};

/// The container that is a node.
const COMPUTE: &str = "compute";
/// Its second home.
const SECOND_HOME: &str = "172.19.0.9";
/// The machine behind its bridge.
const MACHINE: &str = "192.168.33.71";
/// The node's folder that the engine sees as well, for the program and the bundle.
const SHARED: &str = "/run/shared";
/// wgrelay inside the container.
const INSIDE: &str = "/opt/wgrelay";

/// Starts the compute node: on Docker's default network, which its default way leads through, and on the site's.
fn compute(place: &Place, engine: &Engine<'_>, bundle: &str) {
    place.relay.write(format!("{SHARED}/docker.bundle"), bundle);
    std::fs::copy(program(), place.relay.outside(format!("{SHARED}/wgrelay")))
        .expect("the program can be copied");
    let mut words = vec!["run", "-d", "--name", COMPUTE, "--privileged", "--stop-timeout", "1"];
    // The engine's own tree has nft, ip and the C library: no image has to be made of them.
    for mount in
        ["/usr:/usr:ro", "/bin:/bin:ro", "/lib:/lib:ro", "/lib64:/lib64:ro", "/run/place/shared:/opt:ro"]
    {
        words.extend(["-v", mount]);
    }
    engine.ok(&[&words[..], &[IMAGE, "/bin/sleep", "inf"]].concat());
    engine.ok(&["network", "connect", "--ip", SECOND_HOME, NETWORK, COMPUTE]);
    // As the user did it: the network's link becomes a port of the bridge, which takes its address over.
    inside(
        engine,
        "ip link add br-ext type bridge && ip address add 192.168.33.1/24 dev br-ext && ip link set br-ext up && \
         ip address flush dev eth1 && ip link set eth1 master br-ext && ip address add 172.19.0.9/16 dev br-ext",
    );
}

/// Runs a script in the container, which must end well; returns what it printed.
#[track_caller]
fn inside(engine: &Engine<'_>, script: &str) -> String {
    engine.ok(&["exec", COMPUTE, "/bin/sh", "-c", script])
}

/// Lays the machine behind the container's bridge.
fn machine(place: &Place, engine: &Engine<'_>) -> Node {
    let machine = Node::new("machine");
    place.relay.ip(&format!("link add vm0 type veth peer name eth0 netns {}", machine.pid()));
    let pid = engine.ok(&["inspect", "-f", "{{.State.Pid}}", COMPUTE]);
    place.relay.run(&["ip", "link", "set", "vm0", "netns", &pid]).ok();
    inside(engine, "ip link set vm0 master br-ext && ip link set vm0 up");
    machine.ip(&(up("eth0", &["192.168.33.71/24"]) + "route add default via 192.168.33.1\n"));
    machine
}

#[track_caller]
fn assert_whole(place: &Place, engine: &Engine<'_>, machine: &Node, relay: &Wgrelay<'_>) {
    assert!(ping(&place.windows, CONTAINER), "windows pings an unpublished container");
    assert!(page(&place.windows, CONTAINER, PORT, PATIENCE), "windows reads its page");
    assert!(ping(&place.windows, SECOND_HOME), "windows pings the container with two homes at the second");
    assert!(ping(&place.windows, "192.168.3.3"), "windows pings the docker node");
    assert!(ping(&place.windows, MACHINE), "windows pings the machine behind it");
    tcp(&place.windows, machine, MACHINE).expect("windows calls the machine");
    assert!(ping(machine, "192.168.3.2"), "the machine pings windows");
    tcp(machine, &place.windows, "192.168.3.2").expect("the machine calls windows");
    let pings =
        |from: &str, to: &str| engine.exec(from, &["/bin/busybox", "ping", "-c", "1", "-W", "10", to]);
    assert!(pings("site", "192.168.3.2"), "the container pings windows");
    assert!(pings(COMPUTE, "192.168.3.2"), "the docker node pings windows");
    let is_well = |status: &serde_json::Value, who: &str| {
        assert!(
            status["state"] == "up" && status["drift"].as_array().is_some_and(Vec::is_empty),
            "{who}: {status}"
        );
    };
    let status = relay.status();
    is_well(&status, "the relay");
    for name in ["windows", "docker"] {
        let peers = status["peers"].as_array().expect("a status has peers");
        let peer = peers.iter().find(|p| p["name"] == name).expect("the peer is listed");
        assert_eq!(peer["health"], "online", "{name}: {status}");
    }
    assert_eq!(relay.call(&["status"]).code, Some(0), "the relay's status is good");
    let status = inside(engine, &format!("{INSIDE} status --json"));
    let status: serde_json::Value = serde_json::from_str(&status).expect("status is JSON");
    is_well(&status, "the docker node");
    assert_eq!(status["peers"][0]["health"], "online", "{status}");
    let shown = place.windows.run(&["wg", "show", "wg0", "latest-handshakes"]).ok().stdout;
    assert!(!shown.trim().ends_with("\t0"), "windows has had a handshake: {shown}");
}

#[test]
fn whole() {
    if !can_run() {
        return;
    }
    let place = Place::new();
    let engine = Engine::start(&place.relay, "28", "nft");
    makes_networks(&engine);
    let relay = place.network();
    relay.up().ok();
    place.clients(&relay);
    compute(&place, &engine, &relay.ok(&["export", "docker", "--format", "bundle"]));
    let machine = machine(&place, &engine);
    inside(&engine, &format!("{INSIDE} up --bundle /opt/docker.bundle --backend {}", relay.backend));
    assert_whole(&place, &engine, &machine, &relay);
    inside(&engine, &format!("{INSIDE} down"));
    let left = inside(&engine, "nft list tables; ip -br link show type wireguard");
    assert!(!left.contains("wg"), "nothing of ours is left inside: {left}");
}

/// What the guest takes besides.
const GUEST: [Need; 4] = [
    Need::Program("qemu-system-x86_64"),
    Need::Program("depmod"),
    Need::Program("cpio"),
    Need::Program("xz"),
];

/// `WGRELAY_GUEST_TESTS`: others of this file's tests than the whole network's, as the test program is told them.
#[test]
fn in_guest() {
    let inside = std::env::var_os("WGRELAY_GUEST").is_some();
    if inside || !can_run() || !met(&NAMESPACES) || !met(&GUEST) {
        return;
    }
    // Fetched here: the guest has no network, and forgets its files.
    crate::engine::prepare("28");
    let tests = std::env::var("WGRELAY_GUEST_TESTS").unwrap_or_else(|_| "--exact design::whole".to_owned());
    if tests.contains("compute_node") {
        for version in ["", "1.3"] {
            crate::firewalld::prepare(version);
        }
    }
    let status = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/run"))
        .arg(std::env::current_exe().expect("a test knows its program"))
        .args(tests.split_whitespace())
        .args(["--nocapture", "--test-threads=1"])
        .env("WGRELAY_GUEST", "1")
        .env("WGRELAY_REAL", "1")
        .env("WGRELAY_BACKEND", "kernel")
        .status()
        .expect("tests/vm/run starts");
    assert!(status.success(), "in the guest: {status} (see above)");
}
