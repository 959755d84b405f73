//! Hosts of WSL, recorded as data: `tests/cases/wsl/NAME/host.json` has what tells one of WSL from others, its links and its
//! data plane; `expected.txt` what each command that meets WSL says of it.
//!
//! A new case is a new folder; `UPDATE_CASES=1` writes what the program says now, to be read before it is committed.
#![expect(clippy::disallowed_methods, reason = "a test reads its data from files")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::Deserialize;
use wgrelay::config::parse_network;
use wgrelay::doctor::{Record, answer, findings};
use wgrelay::firewall::foreign::wsl::{WslSigns, of_new, to_stay};
use wgrelay::model::Problem;
use wgrelay::plan::{Backend, Facts, Keys, Link, preflight, wanted};

/// A host as it was found.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Host {
    /// Where it comes from, in a sentence.
    #[expect(dead_code, reason = "for whoever reads the case")]
    what: String,
    signs: WslSigns,
    links: BTreeMap<String, Link>,
    kernel_wireguard: bool,
    tun: bool,
}

const NETWORK: &str = r#"
[network]
name = "wg0"
subnet = "192.168.3.0/24"
[node.wsl]
role = "relay"
address = "192.168.3.1"
endpoint = "192.168.39.45:51820"
public_key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
[node.windows]
address = "192.168.3.2"
public_key = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
"#;

fn tell(text: &mut String, problems: impl IntoIterator<Item = Problem>) {
    for problem in problems {
        let word = if problem.is_error() { "error" } else { "warning" };
        writeln!(text, "  {word}[{}]: {}\n    hint: {}", problem.code, problem.message, problem.hint)
            .unwrap();
    }
}

fn what_is_said(host: &Host) -> String {
    let mode = host.signs.mode();
    let mut text = format!("mode: {}\n", mode.map_or_else(|| "not WSL".into(), |mode| format!("{mode:?}")));
    let facts = Facts { links: host.links.clone(), wsl: mode, ..Facts::default() };
    let network = parse_network(NETWORK.as_bytes(), "network.toml").value.unwrap();
    let relay = network.relays().next().unwrap();
    writeln!(text, "init:").unwrap();
    let here = host.links.get("eth0").and_then(|eth0| eth0.addresses.first()).map(ipnet::IpNet::addr);
    tell(&mut text, mode.and_then(|mode| of_new(mode, relay, here)));
    for backend in [Backend::Embedded, Backend::Kernel] {
        writeln!(text, "up --backend {backend}:").unwrap();
        let wish = wanted(&network, relay, &Keys::default(), backend, &facts, UNIX_EPOCH.into());
        let about = |problem: &Problem| problem.code.starts_with("wsl");
        let refused = preflight(&network, relay, &facts);
        tell(&mut text, refused.into_iter().chain(wish.problems).filter(about));
    }
    let spoke = network.spokes().next().unwrap();
    writeln!(text, "up, as the spoke:").unwrap();
    let wish = wanted(&network, spoke, &Keys::default(), Backend::Embedded, &facts, UNIX_EPOCH.into());
    tell(&mut text, wish.problems.into_iter().filter(|p| p.code.starts_with("wsl")));
    match to_stay(&network, relay, &facts) {
        Ok(problems) => {
            writeln!(text, "service install:").unwrap();
            tell(&mut text, problems);
        }
        Err(refused) => {
            writeln!(text, "service install, refused:").unwrap();
            tell(&mut text, [refused]);
        }
    }
    let record = Record {
        root: true,
        kernel_wireguard: host.kernel_wireguard,
        tun: host.tun,
        nft: Some("nftables v1.0.6".into()),
        facts,
        ..Record::default()
    };
    let found = findings(&record, Some((&network, relay)), UNIX_EPOCH.into());
    let (verdict, said) = answer(&found, Some(&network));
    writeln!(text, "doctor: {verdict:?}: {said}").unwrap();
    for finding in found.iter().filter(|f| f.code.starts_with("wsl") || f.code == "wireguard") {
        writeln!(text, "  {:?} {}: {}", finding.verdict, finding.code, finding.message).unwrap();
    }
    text
}

#[test]
fn every_host_as_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/wsl");
    let mut folders: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 12, "only {} hosts were found", folders.len());
    let mut wrong = Vec::new();
    for folder in folders {
        let host: Host = serde_json::from_slice(&fs::read(folder.join("host.json")).unwrap())
            .unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let now = what_is_said(&host);
        let path = folder.join("expected.txt");
        if std::env::var_os("UPDATE_CASES").is_some() {
            fs::write(path, now).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != now {
            wrong.push(format!("{}: now\n{now}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
