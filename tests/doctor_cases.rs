//! Cases as data: `tests/cases/doctor/NAME/facts.json`, with or without a `network.toml` whose relay the host is, and
//! the findings as a person reads them.
//!
//! A new case is a new folder; `UPDATE_CASES=1` writes what the program says now, to be read before it is committed.
#![expect(clippy::disallowed_methods, reason = "a test reads its data from files")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use wgrelay::config::parse_network;
use wgrelay::doctor::{Record, answer, findings};

#[test]
fn findings_of_every_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/doctor");
    let mut folders: Vec<_> = fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 10, "only {} cases were found", folders.len());
    let mut wrong = Vec::new();
    for folder in folders {
        let record: Record = serde_json::from_slice(&fs::read(folder.join("facts.json")).unwrap())
            .unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let network = fs::read(folder.join("network.toml"))
            .ok()
            .map(|bytes| parse_network(&bytes, "network.toml").value.expect("a case's network is valid"));
        let member = network.as_ref().map(|n| (n, n.relays().next().expect("a network has a relay")));
        let mut now = String::new();
        let found = findings(&record, member, UNIX_EPOCH.into());
        let (verdict, said) = answer(&found, member.map(|(network, _)| network));
        writeln!(now, "{verdict:?}: {said}").unwrap();
        for finding in found {
            writeln!(now, "{:?} {}: {}", finding.verdict, finding.code, finding.message).unwrap();
            if !finding.fix.is_empty() {
                writeln!(now, "  fix: {}", finding.fix).unwrap();
            }
        }
        let path = folder.join("expected.txt");
        if std::env::var_os("UPDATE_CASES").is_some() {
            fs::write(path, now).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != now {
            wrong.push(format!("{}: now\n{now}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
