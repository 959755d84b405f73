//! Rounds that take turns, and the table that they end in.

use crate::Effort;
use crate::lab::Lab;
use crate::traffic::Outcome;

/// One line of the table: ours beside theirs.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) values: [f64; 2],
    /// Least and most.
    pub(crate) spread: [(f64, f64); 2],
    pub(crate) note: String,
    pub(crate) less_is_better: bool,
}

impl Row {
    pub(crate) fn print(&self) {
        let cell = |i: usize| {
            let (value, (least, most)) = (self.values[i], self.spread[i]);
            format!("{value:.2} ({least:.2}-{most:.2})")
        };
        let [ours, theirs] = self.values;
        let ratio = if self.less_is_better { theirs / ours } else { ours / theirs };
        println!("| {} | {} | {} | {ratio:.2} | {} |", self.what, cell(0), cell(1), self.note);
    }
}

/// Says where it was measured, and begins the table.
pub(crate) fn describe_machine() {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map(|m| m.1);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("machine: {cores} x {}, Linux {}", model.unwrap_or("a processor"), kernel.trim());
    println!();
    println!("| | ours | wireguard-go | ratio | |");
    println!("|---|---|---|---|---|");
}

/// Who begins in a round.
pub(crate) fn order(round: usize) -> [usize; 2] {
    if round.is_multiple_of(2) { [0, 1] } else { [1, 0] }
}

/// Measures Gbit/s in both labs, in turns, and prints a row.
pub(crate) fn throughput(
    what: &str,
    labs: &[Lab; 2],
    effort: &Effort,
    mut measure: impl FnMut(usize, &Lab, u64) -> Outcome,
) {
    let (mut rates, mut cores, mut lost) = ([Vec::new(), Vec::new()], [0.0; 2], [0.0; 2]);
    for round in 0..effort.rounds {
        for i in order(round) {
            let lab = &labs[i];
            let before = lab.processor(0);
            let outcome = measure(i, lab, effort.seconds);
            cores[i] += (lab.processor(0) - before) / (effort.seconds * effort.rounds as u64) as f64;
            rates[i].push(outcome.gigabits);
            lost[i] += outcome.lost / effort.rounds as f64;
        }
    }
    let medians = rates.each_ref().map(|r| percentile(r, 50));
    let cost = [0, 1].map(|i| cores[i] / (rates[i].iter().sum::<f64>() / rates[i].len() as f64));
    // What the hub takes for its work, however busy the rest of the machine is.
    let mut note = format!("hub's device {:.2} / {:.2} cores for each Gbit/s", cost[0], cost[1]);
    if lost != [0.0; 2] {
        note += &format!(", lost {:.0} / {:.0} %", lost[0] * 100.0, lost[1] * 100.0);
    }
    Row {
        what: format!("{what}, Gbit/s"),
        values: medians,
        spread: rates.each_ref().map(|r| (percentile(r, 0), percentile(r, 100))),
        note,
        less_is_better: false,
    }
    .print();
}

/// The value below which so many of a hundred are.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) * percent / 100]
}

/// A number from the environment.
pub(crate) fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().map_or(otherwise, |v| v.parse().expect("a number in the environment"))
}
