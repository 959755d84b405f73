//! From the start of `up` on a spoke to the first answer from the relay, beside wg-quick on the same cable.
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

use std::time::{Duration, Instant};

use hub::{ENDPOINT, Hub, INTERFACE, PORT};
use node::Node;
use side_by_side::measured::{Better, Measured, in_turns};
use side_by_side::table::Table;
use side_by_side::{Effort, print_machine};
use two_hubs::{backend, ours, up, wg_quick_up, wgrelay, words, write_network};

fn main() {
    let effort = Effort::asked_for();
    print_machine();
    let rounds = effort.pick(9, 1);
    let hub = Hub::with_known_spokes(3, 3).with_sites(0);
    let relay = ours(&hub);
    up(&relay);
    let (mut one, mut other) = (Measured::default(), Measured::default());
    let (mut one_up, mut other_up) = (Measured::default(), Measured::default());
    in_turns(
        rounds,
        || {
            let spoke = spoke(&relay);
            write_network(&spoke, &hub.network(), &hub.secrets());
            let words = ["--node", "spoke1", "up", "--backend", &backend()];
            answered(&relay, &spoke, || wgrelay(&spoke, &words).took)
        },
        || {
            let spoke = spoke(&relay);
            let (private_key, preshared_key) = hub.keys_of(2).expect("its keys are known");
            let conf = format!(
                "[Interface]\nPrivateKey = {}\nAddress = {}/32\nMTU = 1420\n[Peer]\nPublicKey = {}\nPresharedKey = {}\n\
                 AllowedIPs = 10.0.0.0/16\nEndpoint = {ENDPOINT}:{PORT}\nPersistentKeepalive = 25\n",
                &*private_key.expose_base64(),
                hub::address(2),
                hub.public_key(),
                &*preshared_key.expose_base64(),
            );
            spoke.write(format!("/etc/wireguard/{INTERFACE}.conf"), &conf);
            answered(&relay, &spoke, || wg_quick_up(&spoke).took)
        },
        |a, b| {
            one_up.add_time(a.0);
            one.add_time(a.1);
            other_up.add_time(b.0);
            other.add_time(b.1);
        },
    );
    let title =
        format!("From the start of up to the first answer through the tunnel ({} backend)", backend());
    let mut table = Table::new(&title, &["until", "wgrelay", "wg-quick", "times faster", "rounds"]);
    for (what, a, b) in [("up has ended", &one_up, &other_up), ("the relay answers a ping", &one, &other)] {
        let ratio = a.times_better_than(b, Better::Less);
        table.row([what.into(), a.time(), b.time(), format!("{ratio:.1}"), rounds.to_string()]);
    }
    table.print();
}

/// A new spoke on a cable to the relay.
fn spoke(relay: &Node) -> Node {
    let node = Node::new("spoke");
    relay.ip(&format!(
        "link add eth0 type veth peer name eth0 netns {}\nlink set eth0 up\naddr add {ENDPOINT}/24 dev eth0",
        node.pid()
    ));
    node.ip("link set eth0 up\naddr add 192.0.2.2/24 dev eth0");
    node
}

/// Brings a spoke up; returns how long that took, and how long until the relay answered.
fn answered(relay: &Node, spoke: &Node, up: impl FnOnce() -> Duration) -> (Duration, Duration) {
    let began = Instant::now();
    let took = up();
    // The first packet starts the handshake where the keepalive has not, and waits for it.
    words(spoke, &["ping", "-n", "-c", "1", "-W", "5", "10.0.0.1"]);
    let answered = began.elapsed();
    // The next spoke's cable has the same name.
    relay.ip("link del eth0");
    (took, answered)
}
