//! One changed spoke among many beside `wg syncconf`, with a session that must be kept; and `plan`, and a file with a fault.
//!
//! Work is what happens inside the process from its first line to the verified host, as `-v` tells it; a start and an end of
//! the process come on top.
#![expect(clippy::disallowed_methods, reason = "a bench runs programs, reads clocks and writes files")]

#[expect(dead_code, reason = "it serves other benches as well")]
mod hub;
#[path = "../tests/rig/node.rs"]
#[expect(dead_code, reason = "the rig serves tests")]
mod node;
#[expect(dead_code, reason = "it serves other benches as well")]
mod side_by_side;
#[expect(dead_code, reason = "it serves other benches as well")]
mod two_hubs;

use std::time::Duration;

use hub::{ENDPOINT, Hub, INTERFACE, PORT};
use node::Node;
use side_by_side::measured::{Better, Measured, in_turns};
use side_by_side::table::Table;
use side_by_side::{Effort, Run, print_machine};
use two_hubs::{
    State, backend, ours, place, theirs, up, wg_quick_up, wgrelay, wgrelay_exits, words, write_network,
};

/// The spoke that changes; the first one has a session.
const CHANGED: usize = 2;

fn main() {
    let effort = Effort::asked_for();
    print_machine();
    let spokes = effort.pick(5000, 10);
    let rounds = effort.pick(7, 2);
    let hub = Hub::with_known_spokes(spokes, 1);
    let (ours, theirs) = (ours(&hub), theirs(&hub));
    up(&ours);
    wg_quick_up(&theirs);
    let (our_spoke, their_spoke) = (client(&ours, &hub), client(&theirs, &hub));
    let sessions = (handshake(&our_spoke), handshake(&their_spoke));

    let (mut work, mut one, mut other) = (Measured::default(), Measured::default(), Measured::default());
    let versions = [hub.network(), with_another_site(&hub.network())];
    let confs = [hub.wg(), with_another_site_wg(&hub.wg())];
    let mut turn = (0, 0);
    in_turns(
        rounds,
        || {
            turn.0 += 1;
            write_network(&ours, &versions[turn.0 % 2], &hub.secrets());
            wgrelay(&ours, &["-v", "up", "--backend", &backend()])
        },
        || {
            turn.1 += 1;
            theirs.write(place("changed.conf"), &confs[turn.1 % 2]);
            words(&theirs, &["wg", "syncconf", INTERFACE, &place("changed.conf")])
        },
        |a, b| {
            work.add_time(work_of(&a));
            one.add_time(a.took);
            other.add_time(b.took);
        },
    );
    // wg syncconf does no routes.
    assert!(State::of(&ours).same_peers(&State::of(&theirs)), "both have the same peers");
    assert!(
        (handshake(&our_spoke), handshake(&their_spoke)) == sessions,
        "the sessions of the spoke that did not change are the same"
    );
    let title =
        format!("One changed spoke of {spokes} ({} backend); the session of another is kept", backend());
    let mut table = Table::new(&title, &["work", "median", "rounds"]);
    table.row(["wgrelay up: inside the process".into(), work.time(), rounds.to_string()]);
    table.row(["wgrelay up: from process start to end, routes too".into(), one.time(), rounds.to_string()]);
    table.row([
        "wg syncconf: from process start to end, without routes".into(),
        other.time(),
        rounds.to_string(),
    ]);
    let ratio = one.times_better_than(&other, Better::Less);
    table.row(["times faster".into(), format!("{ratio:.2}"), String::new()]);
    table.print();
    alone(effort, &ours, &hub, spokes);
}

/// What nothing stands beside.
fn alone(effort: Effort, node: &Node, hub: &Hub, spokes: usize) {
    let rounds = effort.pick(5, 1);
    let mut table = Table::new(&format!("{spokes} spokes, wgrelay alone"), &["work", "median", "rounds"]);
    let mut row = |what: &str, mut once: Box<dyn FnMut() -> Duration + '_>| {
        let mut time = Measured::default();
        for _ in 0..rounds {
            time.add_time(once());
        }
        table.row([what.to_owned(), time.time(), rounds.to_string()]);
    };
    write_network(node, &hub.network(), &hub.secrets());
    wgrelay(node, &["up", "--backend", &backend()]);
    row("up again, nothing to change", Box::new(|| wgrelay(node, &["up", "--backend", &backend()]).took));
    row("plan, nothing to change", Box::new(|| wgrelay(node, &["plan"]).took));
    row("list", Box::new(|| wgrelay(node, &["list"]).took));
    row("check", Box::new(|| wgrelay(node, &["check"]).took));
    row("set of one spoke", Box::new(|| wgrelay(node, &["set", "spoke3", "keepalive", "21"]).took));
    let fault = hub.network().replacen(&format!("\"{}\"", hub::address(spokes)), "\"10.0.0.1\"", 1);
    write_network(node, &fault, &hub.secrets());
    row(
        "check of a file with a fault in its last node",
        Box::new(|| {
            let run = wgrelay_exits(node, 3, &["check"]);
            assert!(run.stderr.contains("10.0.0.1"), "the fault is told: {}", run.stderr);
            run.took
        }),
    );
    wgrelay(node, &["down"]);
    write_network(node, &hub.network(), &hub.secrets());
    row(
        "plan, nothing is there",
        Box::new(|| {
            let run = wgrelay(node, &["plan"]);
            assert!(run.stdout.lines().count() > spokes, "every peer is a line");
            run.took
        }),
    );
    table.print();
}

/// Returns the work that `-v` told of.
fn work_of(run: &Run) -> Duration {
    let told = run.stderr.lines().rev().find_map(|l| l.split_once("done in ")?.1.strip_suffix(" ms"));
    let ms: f64 = told.and_then(|ms| ms.parse().ok()).expect("-v tells how long the work took");
    Duration::from_secs_f64(ms / 1e3)
}

/// The network with a site more behind one spoke.
fn with_another_site(network: &str) -> String {
    let node = format!("\n[node.spoke{}]\n", CHANGED + 1);
    let site = format!("\n[[node.spoke{CHANGED}.site]]\nsubnet = \"172.31.0.0/24\"\ninterface = \"eth2\"\n");
    network.replacen(&node, &(site + &node), 1)
}

/// The same for wg(8).
fn with_another_site_wg(conf: &str) -> String {
    let site = hub::site(CHANGED);
    conf.replacen(&site, &format!("{site}, 172.31.0.0/24"), 1)
}

/// Links a spoke to a hub by a cable and opens a session.
fn client(hub_node: &Node, hub: &Hub) -> Node {
    let node = Node::new("spoke");
    hub_node.ip(&format!("link add eth0 type veth peer name eth0 netns {}", node.pid()));
    hub_node.ip(&format!("link set eth0 up\naddr add {ENDPOINT}/24 dev eth0"));
    node.ip("link set eth0 up\naddr add 192.0.2.2/24 dev eth0");
    let (private_key, preshared_key) = hub.keys_of(1).expect("the first spoke's keys are known");
    let conf = format!(
        "[Interface]\nPrivateKey = {}\nAddress = {}/16\n[Peer]\nPublicKey = {}\nPresharedKey = {}\n\
         AllowedIPs = 10.0.0.0/16\nEndpoint = {ENDPOINT}:{PORT}\n",
        &*private_key.expose_base64(),
        hub::address(1),
        hub.public_key(),
        &*preshared_key.expose_base64(),
    );
    node.write(format!("/etc/wireguard/{INTERFACE}.conf"), &conf);
    wg_quick_up(&node);
    node
}

/// Pings the hub and returns when the session was opened.
fn handshake(spoke: &Node) -> String {
    words(spoke, &["ping", "-n", "-c", "1", "-W", "5", "10.0.0.1"]);
    words(spoke, &["wg", "show", INTERFACE, "latest-handshakes"]).stdout
}
