//! Random networks, built with namespaces and asked with packets: `lab check` must agree with itself on every one.
//!
//! `WGRELAY_LAB_NETWORKS` says how many (6), `WGRELAY_LAB_SEED` where to start; a failure prints its seed and its network.
#![expect(clippy::disallowed_methods, reason = "a test runs the program")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

#[path = "rig/need.rs"]
#[expect(dead_code, reason = "the list of everything is for other tests")]
mod need;

use need::Need;

/// The seed of a run that names none.
const SEED: u64 = 5;

/// A generator of numbers (xorshift64*): the same seed gives the same network everywhere.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        // Neighbouring seeds must not start alike.
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            dice.below(2);
        }
        dice
    }
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn pick<'a>(&mut self, list: &'a [String]) -> &'a str {
        &list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
}

/// A key that no two nodes share; the lab makes its own.
fn key(n: u64) -> String {
    format!("{}BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", char::from(b'A' + u8::try_from(n).unwrap()))
}

/// Writes a network: what this can produce is what `lab check` is held to.
fn network(seed: u64) -> String {
    let dice = &mut Dice::new(seed);
    let dual = dice.one_in(2);
    let full = dice.one_in(4);
    let mut text = String::from("[network]\nname = \"wlcrand\"\nsubnet = \"10.77.0.0/24\"\n");
    if dual {
        text += "subnet6 = \"fd77::/64\"\n";
    }
    let mut sites: Vec<(u64, String)> = Vec::new();
    let mut places: Vec<String> = Vec::new();
    let count = 1 + dice.below(6);
    for n in 0..count {
        let name = format!("n{n}");
        writeln!(text, "[node.{name}]\npublic_key = \"{}\"\naddress = \"10.77.0.{}\"", key(n), n + 1)
            .unwrap();
        places.push(name.clone());
        if dual && (n == 0 || !dice.one_in(3)) {
            writeln!(text, "address6 = \"fd77::{}\"", n + 1).unwrap();
        }
        if n == 0 {
            text += "role = \"relay\"\nendpoint = \"192.0.2.7:51820\"\n";
            if full {
                text += "egress = true\n";
            }
        } else {
            spoke(&mut text, dice, &sites, full);
        }
        for s in 0..dice.below(3) {
            let nested = sites.iter().find(|(owner, net)| *owner != n && net.ends_with(".0/24")).cloned();
            let subnet = match nested {
                Some((_, outer)) if dice.one_in(4) && !sites.iter().any(|(_, n)| n.ends_with(".64/26")) => {
                    outer.replace(".0/24", ".64/26")
                }
                _ if dual && dice.one_in(3) => format!("fd88:{n}:{s}::/64"),
                _ => format!("10.{}.{s}.0/24", 100 + n),
            };
            write!(text, "[[node.{name}.site]]\nsubnet = \"{subnet}\"\ninterface = \"lan{s}\"\n").unwrap();
            text +=
                ["", "nat = \"none\"\n", "nat = \"masquerade\"\n"][usize::try_from(dice.below(3)).unwrap()];
            if dice.one_in(2) {
                text += "gateway = true\n";
            }
            places.push(subnet.clone());
            sites.push((n, subnet));
        }
    }
    if dice.one_in(2) {
        places.push("*".into());
        for _ in 0..=dice.below(3) {
            let (from, to) = (dice.pick(&places).to_owned(), dice.pick(&places).to_owned());
            write!(text, "[[allow]]\nfrom = [\"{from}\"]\nto = [\"{to}\"]\n").unwrap();
            text += [
                "",
                "",
                "ports = [\"icmp\"]\n",
                "ports = [\"tcp/8000-8100\"]\n",
                "ports = [\"udp/5353\", \"tcp/22\"]\n",
            ][usize::try_from(dice.below(5)).unwrap()];
        }
    }
    text
}

/// What only a spoke may have: `enabled`, `routes`, `local`, no keepalive.
fn spoke(text: &mut String, dice: &mut Dice, sites: &[(u64, String)], full: bool) {
    if dice.one_in(8) {
        *text += "enabled = false\n";
    }
    if dice.one_in(10) {
        *text += "keepalive = 0\n";
    }
    let known: Vec<String> = sites.iter().map(|(_, net)| net.clone()).collect();
    let local = known.iter().find(|net| net.ends_with(".0/24")).filter(|_| dice.one_in(5));
    if let Some(local) = local {
        writeln!(text, "local = [\"{local}\"]").unwrap();
    }
    if full && dice.one_in(2) {
        *text += "routes = \"full\"\n";
    } else if !known.is_empty() && local.is_none() && dice.one_in(4) {
        writeln!(text, "routes = [\"10.77.0.1/32\", \"{}\"]", dice.pick(&known)).unwrap();
    }
}

fn number(name: &str, unset: u64) -> u64 {
    std::env::var(name).map_or(unset, |text| text.parse().unwrap())
}

/// Runs `lab check` on a network; `Err` tells what does not agree, or what went wrong.
fn check(text: &str) -> Result<usize, String> {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("wlcrand");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("network.toml"), text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_wgrelay"))
        .arg("--dir")
        .arg(dir.path())
        .args(["--json", "lab", "check"])
        .env_remove("WGRELAY_DIR")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let pairs = answer["pairs"].as_array().ok_or("no pairs")?;
    if answer["agree"] == true && output.status.code() == Some(0) {
        return Ok(pairs.len());
    }
    let wrong = pairs.iter().filter(|p| p["predicted"] != p["observed"]);
    Err(wrong.map(|p| format!("{p}\n")).collect())
}

#[test]
fn packets_fare_as_predicted() {
    if !need::met(&[Need::Root, Need::At("/dev/net/tun"), Need::Program("ip"), Need::Program("nft")]) {
        return;
    }
    let (seed, count) = (number("WGRELAY_LAB_SEED", SEED), number("WGRELAY_LAB_NETWORKS", 6));
    let start = Instant::now();
    let (mut probes, mut faults) = (0, Vec::new());
    for seed in seed..seed + count {
        let text = network(seed);
        match check(&text) {
            Ok(asked) => probes += asked,
            Err(fault) => {
                eprintln!("seed {seed}:\n{fault}\n{text}");
                faults.push(seed);
            }
        }
    }
    let seconds = start.elapsed().as_secs();
    eprintln!(
        "{count} networks from seed {seed}, {probes} probes agree, {} networks do not: {seconds} s",
        faults.len()
    );
    assert!(faults.is_empty(), "the seeds {faults:?} disagree");
    assert!(count < 3 || probes > 0, "not one packet was sent");
}

#[test]
fn a_seed_is_a_network() {
    assert_eq!(network(7), network(7));
    assert_ne!(network(7), network(8));
}
