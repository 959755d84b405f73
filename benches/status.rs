//! `status --json` of a hub beside `wg show dump` of the same interface.
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

use hub::{Hub, INTERFACE};
use side_by_side::measured::{Better, Measured, in_turns};
use side_by_side::table::Table;
use side_by_side::{Effort, print_machine};
use two_hubs::{backend, ours, theirs, up, wg_quick_up, wgrelay_exits, words};

fn main() {
    let effort = Effort::asked_for();
    print_machine();
    let title =
        format!("status --json beside wg show dump ({} backend), from process start to end", backend());
    let head = ["peers", "wgrelay", "wg, same interface", "times as long", "wg, wireguard-go", "rounds"];
    let mut table = Table::new(&title, &head);
    let rounds = effort.pick(9, 1);
    for &spokes in effort.pick(&[100, 1000, 5000][..], &[10][..]) {
        let hub = Hub::with_spokes(spokes);
        let (node, other_node) = (ours(&hub), theirs(&hub));
        up(&node);
        // Routes take it long, and are no part of this.
        let conf = hub.wg_quick().replacen("MTU", "Table = off\nMTU", 1);
        other_node.write(format!("/etc/wireguard/{INTERFACE}.conf"), &conf);
        wg_quick_up(&other_node);
        let (mut one, mut other, mut third) = (Measured::default(), Measured::default(), Measured::default());
        in_turns(
            rounds,
            || {
                // No site can be reached, as nobody is there.
                let run = wgrelay_exits(&node, 4, &["status", "--json"]);
                let status: serde_json::Value =
                    serde_json::from_str(&run.stdout).expect("status --json is JSON");
                assert_eq!(status["peers"].as_array().map(Vec::len), Some(spokes), "every spoke is told of");
                run.took
            },
            || {
                let run = words(&node, &["wg", "show", INTERFACE, "dump"]);
                assert_eq!(run.stdout.lines().count(), spokes + 1, "every spoke is told of");
                third.add_time(words(&other_node, &["wg", "show", INTERFACE, "dump"]).took);
                run.took
            },
            |a, b| {
                one.add_time(a);
                other.add_time(b);
            },
        );
        table.row([
            spokes.to_string(),
            one.time(),
            other.time(),
            format!("{:.1}", 1.0 / one.times_better_than(&other, Better::Less)),
            third.time(),
            rounds.to_string(),
        ]);
    }
    table.print();
}
