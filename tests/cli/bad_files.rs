//! Faults of network.toml: cases/bad-input has one file a case, with `# <- code` on every line that has a fault.

use std::collections::BTreeSet;
use std::path::Path;

use crate::sandbox::{Said, Sandbox};

/// A fault as told: line, code.
type Fault = (usize, String);

/// Returns the errors among the lines `FILE:LINE:COLUMN: error[CODE]: …` of a text.
fn told(text: &str) -> Vec<Fault> {
    text.lines()
        .filter_map(|line| {
            let (place, rest) = line.split_once(": error[")?;
            let mut parts = place.rsplitn(3, ':');
            let column: usize = parts.next()?.parse().ok()?;
            let row = parts.next()?.parse().ok()?;
            assert!(
                parts.next()?.ends_with("wg0/network.toml") && column > 0,
                "a place is FILE:LINE:COLUMN: {line}"
            );
            Some((row, rest.split_once(']')?.0.to_owned()))
        })
        .collect()
}

/// Returns the faults that a case's comments announce.
fn announced(text: &str) -> Vec<Fault> {
    let on_line = |(row, line): (usize, &str)| -> Vec<Fault> {
        let codes = line.split_once("# <- ").map_or("", |(_, codes)| codes);
        codes.split(", ").filter(|c| !c.is_empty()).map(|code| (row + 1, code.to_owned())).collect()
    };
    text.lines().enumerate().flat_map(on_line).collect()
}

fn check(network: &[u8]) -> (Sandbox, Said) {
    let sandbox = Sandbox::holding(network);
    let said = sandbox.run(&["check"]);
    (sandbox, said)
}

#[test]
fn every_fault_of_a_file_is_told_at_once_with_its_place() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/bad-input");
    let mut cases = 0;
    for entry in std::fs::read_dir(folder).expect("the cases are there") {
        let path = entry.expect("the cases are readable").path();
        let text = std::fs::read_to_string(&path).expect("a case is text");
        let expected = announced(&text);
        assert!(!expected.is_empty(), "{} announces no fault", path.display());
        let (sandbox, said) = check(text.as_bytes());
        let said = said.exits(3).tells(&[]);
        assert_eq!(told(&format!("{}{}", said.out, said.err)), expected, "{}: {said:#?}", path.display());
        // Nothing else works with such a file either, and nothing touches it.
        let before = sandbox.files();
        for command in [&["up"][..], &["plan"], &["list"], &["add", "somebody"], &["export", "laptop"]] {
            sandbox.run(command).exits(3).tells(&["network.toml:"]);
        }
        assert_eq!(sandbox.files(), before, "{}: something was written", path.display());
        cases += 1;
    }
    assert!(cases >= 10, "{cases} cases");
}

#[test]
fn faults_as_json_say_the_same() {
    let text = include_bytes!("../cases/bad-input/many-faults.toml");
    let sandbox = Sandbox::holding(text);
    let said = sandbox.run(&["check", "--json"]).exits(3);
    let json: serde_json::Value =
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:#?}"));
    assert_eq!(json["version"], 1);
    let codes: Vec<&str> = json["problems"]
        .as_array()
        .expect("problems is a list")
        .iter()
        .filter(|problem| problem["severity"] == "error")
        .map(|problem| problem["code"].as_str().expect("a code is text"))
        .collect();
    let expected: Vec<String> =
        announced(&String::from_utf8_lossy(text)).into_iter().map(|(_, code)| code).collect();
    assert_eq!(codes, expected);
}

#[test]
fn what_is_no_network_file_at_all_is_told_in_one_line() {
    let long = vec![b'a'; 10 << 20];
    let deep = "[".repeat(100_000);
    let half = &include_bytes!("../cases/bad-input/many-faults.toml")[..120];
    let zeroes = vec![0; 4096];
    let utf16: Vec<u8> = "format = 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases: [(&str, &[u8]); 9] = [
        ("empty", b""),
        ("blank", b"\n\n# nothing\n"),
        ("10 MB", &long),
        ("deep", deep.as_bytes()),
        ("not UTF-8", b"[network]\nname = \"\xff\xfe\"\n"),
        ("UTF-16", &utf16),
        ("zeroes", &zeroes),
        ("half", half),
        ("another format", b"format = 2\n"),
    ];
    for (name, content) in cases {
        let (_sandbox, said) = check(content);
        let said = said.exits(3).tells(&["network.toml:"]);
        assert!(said.err.len() + said.out.len() < 3000, "{name}: a screen of words at most: {said:#?}");
    }
}

#[test]
fn comments_survive_what_people_do_with_nodes() {
    let sandbox = Sandbox::with_network();
    let file = "wg0/network.toml";
    let marked = String::from_utf8(sandbox.files()[&sandbox.path(file)].1.clone()).expect("it is text")
        + "\n# the last word: kept\n";
    sandbox.write(file, marked.as_bytes());
    let comments = |text: &str| -> BTreeSet<String> {
        text.lines().filter_map(|l| Some(l[l.find('#')?..].to_owned())).collect()
    };
    let now = || String::from_utf8(sandbox.files()[&sandbox.path(file)].1.clone()).expect("it is text");
    for command in [
        &["add", "phone", "--platform", "android"][..],
        &["disable", "windows"],
        &["enable", "windows"],
        &["remove", "phone"],
    ] {
        sandbox.run(command).exits(0);
        assert!(comments(&now()).is_superset(&comments(&marked)), "after {command:?}:\n{}", now());
    }
    assert_eq!(now(), marked, "there and back is the same text");
}
