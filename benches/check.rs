//! `check` and `trace` of large networks: the whole matrix of a thousand nodes and a hundred sites, with policies and without.
//!
//! No other tool answers the question, so nothing stands beside it; the goal is a second (DESIGN: numbers to reach).
#![expect(clippy::disallowed_methods, reason = "a bench runs programs, reads clocks and writes files")]

#[expect(dead_code, reason = "it serves other benches as well")]
mod hub;
#[expect(dead_code, reason = "it serves other benches as well")]
mod side_by_side;

use std::path::Path;
use std::process::Command;

use side_by_side::measured::Measured;
use side_by_side::table::Table;
use side_by_side::{Effort, Run, print_machine, program, timed};

fn main() {
    let effort = Effort::asked_for();
    print_machine();
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let mut table = Table::new("check and trace, from process start to end", &["work", "median", "rounds"]);
    let (nodes, sites) = effort.pick((1000, 100), (10, 3));
    let rounds = effort.pick(11, 1);
    let everyone = hub::Hub::with_spokes(nodes - 1).with_sites(sites).network();
    let ruled = everyone.clone() + &policies(nodes);
    for (what, text) in [("no policy", &everyone), ("100 allow rules", &ruled)] {
        write(dir.path(), text);
        let mut check = Measured::default();
        for _ in 0..rounds {
            let run = wgrelay(dir.path(), &["check", "--json"]);
            let answer: serde_json::Value = serde_json::from_str(&run.stdout).expect("check --json is JSON");
            let places: usize = answer["classes"]
                .as_array()
                .expect("there are classes")
                .iter()
                .map(|class| class.as_array().map_or(0, Vec::len))
                .sum();
            assert!(places >= nodes + sites, "{places} places for {nodes} nodes and {sites} sites");
            check.add_time(run.took);
        }
        table.row([format!("check, {nodes} nodes, {sites} sites, {what}"), check.time(), rounds.to_string()]);
        let mut trace = Measured::default();
        for _ in 0..rounds {
            let run = wgrelay(dir.path(), &["trace", "spoke1", "spoke2"]);
            trace.add_time(run.took);
        }
        table.row([format!("trace between two spokes of them, {what}"), trace.time(), rounds.to_string()]);
    }
    table.print();
}

/// A hundred rules, each from some spokes to a site, with ports; and all may talk to the first spokes.
fn policies(nodes: usize) -> String {
    let spoke = |number: usize| format!("\"spoke{}\"", number % (nodes - 1) + 1);
    let rule = |i: usize| {
        let from: Vec<String> = (0..8).map(|k| spoke(i * 9 + k)).collect();
        let to = hub::site(i % 3 + 1);
        format!(
            "\n[[allow]]\nfrom = [{}]\nto = [\"{to}\"]\nports = [\"tcp/{}\"]\n",
            from.join(", "),
            1000 + i
        )
    };
    (0..99).map(rule).collect::<String>() + "\n[[allow]]\nfrom = [\"*\"]\nto = [\"spoke1\", \"spoke2\"]\n"
}

fn write(dir: &Path, network: &str) {
    let folder = dir.join(hub::INTERFACE);
    std::fs::create_dir_all(&folder).expect("the network's folder can be made");
    std::fs::write(folder.join("network.toml"), network).expect("the network can be written");
}

fn wgrelay(dir: &Path, words: &[&str]) -> Run {
    let mut command = Command::new(program());
    command.arg("--dir").arg(dir).args(words);
    timed(0, &mut command, |c| c.spawn().expect("wgrelay starts"))
}
