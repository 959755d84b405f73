//! What reads bytes from outside, given thousands of damaged files: nothing panics, nothing takes long, nothing takes much memory, and what
//! is read is written and read again as the same. The inputs are the same at every run; `scripts/fuzz` looks for new ones, guided
//! by coverage. `WGRELAY_FUZZ=100000` makes more of them here.
#![expect(clippy::disallowed_methods, reason = "a test reads its seeds from files")]
#![expect(clippy::print_stderr, reason = "which input does not end is told before the test ends")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use wgrelay::config::{Bundle, Secrets, parse_network, render_network};
use wgrelay::import::{File, ImportOptions, import, manager};
use wgrelay::model::{PresharedKey, Timestamp};
use wgrelay::wgconf::{Client, Comments, decode, parse, render};

/// Inputs of each kind, and the most that one has, in bytes.
const RUNS: usize = 2_000;
const MOST_BYTES: usize = 16 << 10;
/// Address space that the whole process may take, in bytes.
const MEMORY: u64 = 2 << 30;
/// So long one input may take, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pieces that mean something to one of the readers.
const WORDS: [&str; 36] = [
    "[",
    "]",
    "[[",
    "=",
    "\"",
    "#",
    ",",
    "\n",
    "\r\n",
    "\0",
    "\u{feff}",
    "'''",
    "\\",
    "0",
    "4294967296",
    "-1",
    "/0",
    "/129",
    "::/0",
    "0.0.0.0/0",
    "10.0.0.1/32",
    "%i",
    "[Peer]\n",
    "[Interface]\n",
    "PublicKey = ",
    "PostUp = ",
    "iptables -A FORWARD ",
    "[node.x]\n",
    "[[node.x.site]]\n",
    "role = \"relay\"\n",
    "{ a = 1 }",
    "this = \"x\"\n",
    "BEGIN_PEER",
    "\u{202e}",
    "=\n=\n=",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
];

/// Numbers that are the same every time (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % end.max(1)
    }

    /// A damaged copy of a seed: cut, repeated, with bits turned, with pieces of others and words put in.
    fn damaged(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(64)).min(bytes.len());
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                3 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                4 => {
                    let again = bytes[at..end].repeat(1 + self.below(40));
                    bytes.splice(at..at, again);
                }
                5 => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len() + 1);
                    let piece = &other[from..(from + self.below(400)).min(other.len())];
                    bytes.splice(at..end, piece.iter().copied());
                }
                _ => {
                    let word = WORDS[self.below(WORDS.len())].repeat(1 + self.below(3));
                    bytes.splice(at..at, word.into_bytes());
                }
            }
            bytes.truncate(MOST_BYTES);
        }
        bytes
    }
}

/// Every file below these folders whose name ends so.
fn seeds(folders: &[&str], ends: &[&str]) -> Vec<Vec<u8>> {
    fn walk(folder: &Path, ends: &[&str], found: &mut Vec<(std::path::PathBuf, Vec<u8>)>) {
        for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                walk(&path, ends, found);
            } else if ends.iter().any(|end| path.to_str().is_some_and(|p| p.ends_with(end))) {
                let bytes = fs::read(&path).unwrap();
                found.push((path, bytes));
            }
        }
    }
    let mut found = Vec::new();
    for folder in folders {
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), ends, &mut found);
    }
    found.sort();
    assert!(found.len() >= 8, "only {} seeds in {folders:?}", found.len());
    found.into_iter().map(|(_, bytes)| bytes).collect()
}

/// Runs a reader on damaged seeds, within bounds of time and memory.
fn bounded(seeds: &[Vec<u8>], mut read: impl FnMut(&mut Dice, &[u8])) {
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY).unwrap();
    let done = std::sync::Arc::new(AtomicUsize::new(0));
    let seen = std::sync::Arc::clone(&done);
    std::thread::spawn(move || {
        let mut last = usize::MAX;
        loop {
            let now = seen.load(Ordering::Relaxed);
            if now == last {
                // The one input that does not end holds the test's own thread.
                eprintln!("input {now} takes longer than {PATIENCE:?}");
                std::process::abort();
            }
            last = now;
            std::thread::sleep(PATIENCE);
        }
    });
    let runs = std::env::var("WGRELAY_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(RUNS);
    let mut dice = Dice(0x5eed_0000_0000_0001);
    for run in 0..runs {
        let bytes = dice.damaged(seeds);
        read(&mut dice, &bytes);
        done.store(run + 1, Ordering::Relaxed);
    }
}

#[test]
fn confs() {
    let seeds = seeds(&["tests/cases/lint", "tests/cases/import"], &[".conf"]);
    bounded(&seeds, |_, bytes| {
        let decoded = decode(bytes);
        for (_, client) in Client::ALL {
            decoded.lint("wg0.conf", client);
        }
        // A comment that a program may take for two lines is written as two.
        let is_plain = |text: &str| {
            !text.replace("\r\n", "\n").contains(|c: char| c.is_control() && !"\n\t".contains(c))
        };
        if let (Ok(document), true) = (parse(&decoded.text, "wg0.conf"), is_plain(&decoded.text)) {
            let again = parse(&render(&document, Comments::Keep), "wg0.conf");
            assert!(again.as_ref() == Ok(&document), "{document:?} became {again:?}");
        }
    });
}

#[test]
fn networks() {
    let seeds = seeds(&["profiles", "tests/cases/config", "tests/cases/bad-input"], &[".toml"]);
    bounded(&seeds, |_, bytes| {
        if let Some(network) = parse_network(bytes, "network.toml").value {
            let again = parse_network(render_network(&network, None).as_bytes(), "network.toml");
            assert!(again.value.as_ref() == Some(&network), "{network:?} became {again:?}");
        }
        Secrets::parse(bytes, "secrets.toml");
    });
}

#[test]
fn bundles() {
    // Of each network that can be one, each node's.
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for text in self::seeds(
        &["tests/cases/export-formats", "tests/cases/config", "tests/cases/reach"],
        &["network.toml", ".toml"],
    ) {
        let Some(network) = parse_network(&text, "network.toml").value else { continue };
        let nodes: Vec<_> = network.nodes.keys().take(3).cloned().collect();
        for node in nodes {
            seeds.extend(
                Bundle::make(&network, &Secrets::default(), &node).map(|b| b.render().as_bytes().to_vec()),
            );
        }
    }
    assert!(seeds.len() >= 8, "only {} bundles", seeds.len());
    bounded(&seeds, |_, bytes| {
        if let Some(bundle) = Bundle::parse(bytes, "x.bundle").value {
            let again = Bundle::parse(bundle.render().as_bytes(), "x.bundle");
            assert!(
                again.value.as_ref().is_some_and(|b| b.network == bundle.network),
                "{bundle:?} became {again:?}"
            );
        }
    });
}

#[test]
fn imports() {
    let seeds = seeds(
        &["tests/cases/import", "tests/cases/managers", "tests/cases/lint"],
        &[".conf", ".json", ".db"],
    );
    let now = Timestamp(1_795_478_400);
    bounded(&seeds, |dice, bytes| {
        let mut texts = vec![("wg0.conf", decode(bytes))];
        for name in ["a.conf", "b.conf"] {
            if dice.below(2) == 0 {
                texts.push((name, decode(&dice.damaged(&seeds))));
            }
        }
        if manager::is_store(bytes) {
            let _ = manager::read("wg-easy.db", bytes, &now.to_string(), &BTreeMap::default());
        }
        let files: Vec<File<'_>> = texts.iter().map(|(name, text)| File { name, text: &text.text }).collect();
        let (none, mut key) = (BTreeMap::new(), || PresharedKey::from_bytes([7; 32]));
        let options = ImportOptions {
            name: None,
            relay: None,
            running: None,
            disabled: &[],
            expires: &[],
            now,
            docker: &none,
            preshared_key: &mut key,
        };
        if let Ok(made) = import(&files, options) {
            // What came out is a network, and no private key is told beside it.
            assert!(
                parse_network(made.text.as_bytes(), "network.toml").value.as_ref() == Some(&made.network)
            );
            let told: String = made.findings.iter().map(|p| format!("{p}\n")).collect();
            for key in made.secrets.private_keys.values() {
                assert!(!told.contains(key.expose_base64().as_str()), "a private key is told");
            }
        }
    });
}
