//! Random networks, built with namespaces and asked with packets: `lab check` must agree with itself on every one.
//!
//! `WGRELAY_LAB_NETWORKS` says how many (6, of deaths 2; 40 and 8 under `WGRELAY_REAL`), `WGRELAY_LAB_SEED` where to start,
//! `WGRELAY_LAB_AT_ONCE` how many stand at a time (4), `WGRELAY_PROGRAM` another program. A failure prints its seed and the
//! smallest network found that still disagrees; `WGRELAY_LAB_SHRINK` says
//! how many seconds that may take (60), `WGRELAY_LAB_SHOW=SEED` prints a network.
#![expect(clippy::disallowed_methods, reason = "a test runs the program")]
#![expect(clippy::print_stderr, reason = "a seed that disagrees is to be seen, with its network")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod dice;
mod generate;
mod network;
mod shrink;
mod storm;

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[path = "../rig/need.rs"]
#[expect(dead_code, reason = "the list of everything is for other tests")]
mod need;

use generate::{generate, is_valid, rolled};
use need::Need;
use network::{NAME, Node, Random};
use shrink::smaller;

/// The seed of a run that names none.
const SEED: u64 = 5;
/// How many seconds a smaller network is looked for.
const SHRINK_FOR: u64 = 60;

fn number(name: &str, unset: u64) -> u64 {
    std::env::var(name).map_or(unset, |text| text.parse().unwrap())
}

/// The program: a long run keeps to the one that it began with.
fn program() -> String {
    std::env::var("WGRELAY_PROGRAM").unwrap_or(env!("CARGO_BIN_EXE_wgrelay").into())
}

/// Runs `lab check` on a network; `Err` tells what does not agree, or what went wrong.
fn check(net: &Random) -> Result<u64, String> {
    let answer = lab_check(net, &[])?;
    if answer["left_out"] != 0 {
        return Err(format!("{} questions were left out", answer["left_out"]));
    }
    probes(&answer)
}

/// Runs `lab check --kill` on a network for a node that takes part, of those who carry something while there is one.
fn check_a_death(net: &Random) -> Result<u64, String> {
    let lives = |node: &&Node| node.absent.is_none();
    let carries = |node: &&Node| node.is_relay() || !node.sites.is_empty();
    let mut nodes: Vec<&Node> = net.nodes.iter().filter(lives).filter(carries).collect();
    if nodes.len() < 2 {
        nodes = net.nodes.iter().filter(lives).collect();
    }
    // Not the only node: nobody would be left to ask.
    let Some(dead) = nodes.get(net.nodes.len() % nodes.len().max(1)).filter(|_| net.nodes.len() > 1) else {
        return Ok(0);
    };
    let answer = lab_check(net, &["--kill", &dead.name()])?;
    let after = &answer["after_failover"];
    let count = probes(&answer["at_once"]).map_err(|e| format!("{} at once:\n{e}", dead.name()))?;
    let more = if after.is_null() { Ok(0) } else { probes(after) };
    Ok(count + more.map_err(|e| format!("{} after failover:\n{e}", dead.name()))?)
}

/// How many probes agree; `Err` tells those that do not.
fn probes(comparison: &serde_json::Value) -> Result<u64, String> {
    let pairs = comparison["pairs"].as_array().ok_or_else(|| comparison.to_string())?;
    let wrong: String =
        pairs.iter().filter(|p| p["predicted"] != p["observed"]).map(|p| format!("{p}\n")).collect();
    if wrong.is_empty() && comparison["agree"] == true { Ok(pairs.len() as u64) } else { Err(wrong) }
}

/// Runs `lab check` on a network, and returns its JSON.
fn lab_check(net: &Random, more: &[&str]) -> Result<serde_json::Value, String> {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(NAME);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("network.toml"), net.text()).unwrap();
    let output = Command::new(program())
        .arg("--dir")
        .arg(dir.path())
        .args(["--json", "lab", "check"])
        .args(more)
        .env_remove("WGRELAY_DIR")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What is asked of a network: how many probes agree, or what does not.
type Check = fn(&Random) -> Result<u64, String>;

/// The smallest network found that disagrees too, with what it says.
fn shrunk(mut net: Random, mut fault: String, check: Check) -> (Random, String) {
    let (start, within) = (Instant::now(), Duration::from_secs(number("WGRELAY_LAB_SHRINK", SHRINK_FOR)));
    'smaller: loop {
        for less in smaller(&net).into_iter().filter(is_valid) {
            if start.elapsed() >= within {
                break 'smaller;
            }
            if let Err(said) = check(&less) {
                (net, fault) = (less, said);
                continue 'smaller;
            }
        }
        break;
    }
    (net, fault)
}

#[test]
fn packets_fare_as_predicted() {
    if let Ok(seed) = std::env::var("WGRELAY_LAB_SHOW") {
        return println!("{}", generate(seed.parse().unwrap()).text());
    }
    random_networks(check, 40, 6);
}

#[test]
fn deaths_fare_as_predicted() {
    random_networks(check_a_death, 8, 2);
}

/// Asks networks from the seed on, as many as are named, else so many in earnest and without.
fn random_networks(check: Check, in_earnest: u64, without: u64) {
    if !need::met(&[Need::Root, Need::At("/dev/net/tun"), Need::Program("ip"), Need::Program("nft")]) {
        return;
    }
    let real = std::env::var_os("WGRELAY_REAL").is_some_and(|v| v == "1");
    let (first, count) = (
        number("WGRELAY_LAB_SEED", SEED),
        number("WGRELAY_LAB_NETWORKS", if real { in_earnest } else { without }),
    );
    let start = Instant::now();
    let (next, probes) = (AtomicU64::new(0), AtomicU64::new(0));
    let faults = Mutex::new(Vec::new());
    let work = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                break;
            }
            let net = generate(first + i);
            match check(&net) {
                Ok(asked) => drop(probes.fetch_add(asked, Ordering::Relaxed)),
                Err(fault) => {
                    eprintln!("seed {}:\n{fault}", first + i);
                    let mut faults = faults.lock().unwrap();
                    // The first is enough to make smaller; the others are told by their seed.
                    if faults.is_empty() {
                        let (net, fault) = shrunk(net, fault, check);
                        eprintln!("seed {}, made smaller:\n{fault}\n{}", first + i, net.text());
                    }
                    faults.push(first + i);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..number("WGRELAY_LAB_AT_ONCE", 4).min(count) {
            scope.spawn(work);
        }
    });
    let (probes, faults) = (probes.into_inner(), faults.into_inner().unwrap());
    eprintln!(
        "{count} networks from seed {first}, {probes} probes agree, {} networks do not: {} s",
        faults.len(),
        start.elapsed().as_secs()
    );
    assert!(faults.is_empty(), "the seeds {faults:?} disagree");
    assert!(count < 3 || probes > 0, "not one packet was sent");
}

#[test]
fn a_seed_is_a_network() {
    assert_eq!(generate(7).text(), generate(7).text());
    assert_ne!(generate(7).text(), generate(8).text());
}

#[test]
fn most_of_what_is_rolled_is_a_network() {
    let valid = (0..500).filter(|seed| is_valid(&rolled(*seed))).count();
    assert!(valid > 400, "{valid} of 500");
}
