//! `up` of a hub, with a /24 behind every spoke, beside `wg-quick up` of the same peers; and what each spoke more costs.
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

use hub::Hub;
use side_by_side::measured::{Better, Measured, in_turns};
use side_by_side::table::Table;
use side_by_side::{Effort, Run, print_machine};
use two_hubs::{State, backend, ours, theirs, up, wg_quick_up};

fn main() {
    let effort = Effort::asked_for();
    print_machine();
    beside_wg_quick(effort);
    growth(effort);
}

fn beside_wg_quick(effort: Effort) {
    let title = format!("up beside wg-quick up ({} backend), from process start to end", backend());
    let mut table = Table::new(&title, &["spokes", "wgrelay", "wg-quick", "times faster", "rounds"]);
    // wg-quick starts two or three processes a route: 40 s at 5,000.
    let sizes: &[(usize, usize)] = effort.pick(&[(10, 5), (100, 5), (1000, 3), (5000, 1)], &[(10, 1)]);
    for &(spokes, rounds) in sizes {
        let hub = Hub::with_spokes(spokes);
        let (mut one, mut other) = (Measured::default(), Measured::default());
        let side = |up: fn(&node::Node) -> Run, node: node::Node| {
            let took = up(&node).took;
            (took, State::of(&node))
        };
        in_turns(
            rounds,
            || side(up, ours(&hub)),
            || side(wg_quick_up, theirs(&hub)),
            |a, b| {
                a.1.assert_spokes(spokes);
                assert!(a.1 == b.1, "both have the same peers and routes");
                one.add_time(a.0);
                other.add_time(b.0);
            },
        );
        table.row([
            spokes.to_string(),
            one.time(),
            other.time(),
            format!("{:.1}", one.times_better_than(&other, Better::Less)),
            rounds.to_string(),
        ]);
    }
    table.print();
}

fn growth(effort: Effort) {
    let title = format!("up ({} backend), as spokes grow", backend());
    let mut table = Table::new(&title, &["spokes", "up", "a spoke", "rounds"]);
    let rounds = effort.pick(3, 1);
    let mut least = f64::NAN;
    for &spokes in effort.pick(&[10, 100, 1000, 5000, 10_000][..], &[10][..]) {
        let hub = Hub::with_spokes(spokes);
        let mut time = Measured::default();
        for _ in 0..rounds {
            let node = ours(&hub);
            time.add_time(up(&node).took);
            State::of(&node).assert_spokes(spokes);
        }
        // Processes and the agent cost what they cost: the first row.
        least = least.min(time.median());
        #[expect(clippy::cast_precision_loss, reason = "spokes are few")]
        let each = (time.median() - least) / spokes as f64;
        let each = if each > 0.0 { format!("{:.0} µs", each * 1e6) } else { "-".to_owned() };
        table.row([spokes.to_string(), time.time(), each, rounds.to_string()]);
    }
    table.print();
}
