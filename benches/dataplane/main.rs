//! The embedded device beside wireguard-go, in one run: throughput, relaying, many peers, memory, latency.
//!
//! ```text
//!   cargo bench --bench dataplane [-- CASE...]     the cases' names are below; all of them take some minutes
//! ```
//!
//! Rounds of both programs take turns, and a case's row holds the medians and their ratio. wireguard-go is the newest
//! that `scripts/fetch-wireguard-go` can get, else the installed one. `WGRELAY_BENCH_ROUNDS` and
//! `WGRELAY_BENCH_SECONDS` set how many rounds of how many seconds; 5 of 3 unless told, 1 of 1 for `--smoke`.
//! `WGRELAY_BENCH_OURS` measures another build of this bench as ours. Needs root, /dev/net/tun, and what
//! `scripts/install-needs --bench` installs. Everything happens in namespaces that end with the process.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement on the machine")]

mod counting;
mod crowd;
mod lab;
mod serve;
mod table;
mod traffic;

use lab::{Lab, Program};
use table::{Row, number};
use traffic::Stream;

/// Runs of one case, and the seconds of each.
struct Effort {
    rounds: usize,
    seconds: u64,
}

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let smoke = args.iter().any(|a| a == "--smoke");
    args.retain(|a| a != "--smoke");
    if let [flag, name] = &args[..]
        && flag == "--serve"
    {
        return serve::serve(name);
    }
    let effort = Effort {
        rounds: number("WGRELAY_BENCH_ROUNDS", if smoke { 1 } else { 5 }),
        seconds: number("WGRELAY_BENCH_SECONDS", if smoke { 1 } else { 3 }) as u64,
    };
    let wanted = |case: &str| args.is_empty() || args.iter().any(|a| a == case);
    lab::private_namespaces();
    let go = Program::wireguard_go();
    println!("ours: {}", Program::Ours.describe());
    println!("wireguard-go: {}", go.describe());
    table::describe_machine();

    let pair = |program: &Program| Lab::new(&[program, program], true);
    if ["one", "four", "reverse", "both", "udp"].iter().any(|case| wanted(case)) {
        let labs = [pair(&Program::Ours), pair(&go)];
        for (case, what, stream) in [
            ("one", "one stream", Stream::tcp(&[])),
            ("four", "four streams", Stream::tcp(&["-P", "4"])),
            ("reverse", "one stream, the other way", Stream::tcp(&["-R"])),
            ("both", "one stream each way, sum", Stream::tcp(&["--bidir"])),
            ("udp", "UDP of 1,200 bytes", Stream::udp(1200)),
        ] {
            if wanted(case) {
                table::throughput(what, &labs, &effort, |_, lab, seconds| stream.run(lab, 1, 0, seconds));
            }
        }
    }
    if wanted("plain") {
        let labs = [&Program::Ours, &go].map(|program| Lab::new(&[program, program], false));
        let stream = Stream::tcp(&[]);
        table::throughput("one stream, veth without UDP segmentation", &labs, &effort, |_, lab, seconds| {
            stream.run(lab, 1, 0, seconds)
        });
    }
    if wanted("relay") {
        relayed(&go, &effort);
    }
    if wanted("crowd") {
        let labs = [&Program::Ours, &go].map(|program| Lab::new(&[program], true));
        let mut crowds = labs.each_ref().map(|lab| crowd::Crowd::join(lab, 1000));
        table::throughput("1,000 peers sending 1,200 bytes each", &labs, &effort, |i, lab, seconds| {
            crowds[i].send(lab, seconds)
        });
    }
    if wanted("latency") {
        latency(&go, &effort);
    }
    if wanted("memory") {
        memory(&go);
    }
    if wanted("change") {
        serve::time_changes();
    }
    if wanted("allocations") {
        allocations(effort.seconds);
    }
}

/// What one stream asks of the allocator at its sender and at its receiver.
fn allocations(seconds: u64) {
    let lab = Lab::new(&[&Program::Ours, &Program::Ours], true);
    let count = || [1, 0].map(|node| (lab.allocations(node), lab.transferred(node)));
    let before = count();
    Stream::tcp(&[]).run(&lab, 1, 0, seconds);
    for (what, direction, (before, after)) in
        [("sender", 1, (before[0], count()[0])), ("receiver", 0, (before[1], count()[1]))]
    {
        // A full message is 1,452 bytes long.
        let messages = (after.1[direction] - before.1[direction]) as f64 / 1452.0;
        let each = (after.0 - before.0) as f64 / messages;
        println!("| allocations for each of {messages:.0} messages, {what} | {each:.2} | | | |");
    }
}

/// c1 → R → c2: the program everywhere, and then only the relay another one.
fn relayed(go: &Program, effort: &Effort) {
    let ours = &Program::Ours;
    for (what, programs) in [
        ("relayed, one stream, all three the program", [[ours, ours, ours], [go, go, go]]),
        ("relayed, only the relay differs, clients ours", [[ours, ours, ours], [go, ours, ours]]),
        ("relayed, only the relay differs, clients wireguard-go", [[ours, go, go], [go, go, go]]),
    ] {
        let labs = programs.map(|p| Lab::new(&p, true));
        let stream = Stream::tcp(&[]);
        table::throughput(what, &labs, effort, |_, lab, seconds| stream.run(lab, 1, 2, seconds));
    }
}

/// Round-trip times beside a stream that takes all it can get, and beside one of 300 Mbit/s.
fn latency(go: &Program, effort: &Effort) {
    for (what, flags) in [
        ("beside a full stream", &[][..]),
        ("beside 300 Mbit/s", &["-b", "300M"][..]),
        ("idle", &["-b", "1K"]),
    ] {
        let labs = [&Program::Ours, go].map(|program| Lab::new(&[program, program], true));
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..effort.rounds {
            for i in table::order(round) {
                times[i].extend(traffic::ping_beside(&labs[i], &Stream::tcp(flags), effort.seconds));
            }
        }
        for (percent, name) in [(50, "median"), (99, "99 of 100")] {
            Row {
                what: format!("round trip {what}, {name}, ms"),
                values: times.each_ref().map(|t| table::percentile(t, percent)),
                spread: times.each_ref().map(|t| (table::percentile(t, 5), table::percentile(t, 95))),
                note: String::new(),
                less_is_better: true,
            }
            .print();
        }
    }
}

/// Resident memory of one device after a handshake with every peer and some packets from each.
fn memory(go: &Program) {
    for count in [3, 1000, 5000] {
        let labs = [&Program::Ours, go].map(|program| Lab::new(&[program], true));
        let (idle, used): (Vec<f64>, Vec<f64>) = labs
            .iter()
            .map(|lab| {
                crowd::configure(lab, count);
                let idle = lab.memory(0);
                crowd::Crowd::join(lab, count).send(lab, 1);
                (idle, lab.memory(0))
            })
            .unzip();
        for (what, values) in [("configured", idle), ("all in use", used)] {
            Row {
                what: format!("memory with {count} peers, {what}, MB"),
                values: [values[0], values[1]],
                spread: [(values[0], values[0]), (values[1], values[1])],
                note: String::new(),
                less_is_better: true,
            }
            .print();
        }
    }
}
