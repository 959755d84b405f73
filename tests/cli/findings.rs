//! What `check` finds in a valid file: each finding with its line, a code and a hint, in text and JSON alike.

use crate::sandbox::Sandbox;

/// A file in which every warning has its line.
const ODD: &str = include_str!("../cases/reach/oddities/network.toml");

/// A client whose tunnel takes its own LAN, an endpoint inside a site, a site inside a site.
const CLASHES: &str = r#"[network]
name = "wg0"
subnet = "10.88.0.0/24"
mtu = 1460

[node.relay]
role = "relay"
address = "10.88.0.1"
public_key = "aC+64g80KLzsTBF8V76hjUOMR1jZcpCbQdviKITg1rg="
endpoint = "192.168.1.9:51820"

[node.office]
address = "10.88.0.2"
public_key = "KiH+bVkqGbfeiYtQ61PEKWCN4aZvPp9i2hlxSncFU9E="
[[node.office.site]]
subnet = "192.168.0.0/16"
[[node.office.site]]
subnet = "192.168.7.0/24"

[node.laptop]
platform = "windows"
address = "10.88.0.5"
public_key = "XuwNxBmqgze/cl8Cb9qceMHLHGQu6v+dbhES83eD6UI="

[[expect]]
from = "laptop"
to = "office"
verdict = "reaches"
"#;

/// Fails unless `check` tells these codes at these places, in text and JSON, each with a hint.
#[track_caller]
fn told(text: &str, code: i32, expected: &[(&str, &str)]) {
    let sandbox = Sandbox::holding(text.as_bytes());
    let file = sandbox.path("wg0/network.toml").display().to_string();
    let said = sandbox.run(&["check", "--json"]).exits(code);
    let json: serde_json::Value = serde_json::from_str(&said.out).expect("it is JSON");
    let problems = json["problems"].as_array().expect("problems is a list");
    let word = |p: &serde_json::Value, key: &str| p[key].as_str().expect("a text").to_owned();
    let found: Vec<(String, String)> =
        problems.iter().map(|p| (word(p, "code"), word(p, "where").replace(&file, "f"))).collect();
    let expected: Vec<(String, String)> =
        expected.iter().map(|(c, p)| ((*c).to_owned(), (*p).to_owned())).collect();
    assert_eq!(found, expected, "{}", said.out);
    let said = sandbox.run(&["check"]).exits(code);
    for problem in problems {
        assert!(!word(problem, "hint").is_empty(), "{problem}");
        let line =
            format!("{}: {}[{}]:", word(problem, "where"), word(problem, "severity"), word(problem, "code"));
        assert_eq!(said.err.matches(&line).count(), 1, "{line} is told once: {}", said.err);
        assert!(!said.out.contains(&word(problem, "message")), "and not among the results: {}", said.out);
    }
}

#[test]
fn every_finding_has_its_line() {
    told(
        ODD,
        0,
        &[
            ("nested-site", "f:26:10"),
            ("nested-site", "f:34:10"),
            ("mtu-large", "f:42:7"),
            ("mtu-narrows", "f:6:1"),
            ("no-keepalive", "f:15:13"),
            ("shadowed-prefix", "f:18:10"),
            ("shadowed-prefix", "f:41:10"),
        ],
    );
}

#[test]
fn clashes_and_promises_have_theirs() {
    // An application keeps its own packets outside of what it routes; wg-quick does not.
    let of_both = [("endpoint-in-site", "f:10:12"), ("nested-site", "f:18:10")];
    told(CLASHES, 0, &[&of_both[..], &[("mtu-large", "f:4:7"), ("swallows-lan", "f:20:1")]].concat());
    let linux = CLASHES.replace("\"windows\"", "\"linux\"");
    let more = [("endpoint-in-tunnel", "f:20:1"), ("mtu-large", "f:4:7"), ("expectation-broken", "f:26:8")];
    told(&linux, 4, &[&of_both[..], &more].concat());
}
