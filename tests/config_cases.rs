//! Cases as data: `tests/cases/config/NAME/network.toml` and the problems that it has, as a person sees them.
//!
//! A new case is a new folder; `UPDATE_CASES=1` writes what the program says now, to be read before it is committed.
#![expect(clippy::disallowed_methods, reason = "a test reads its data from files")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use wgrelay::config::{Bundle, NetworkDocument, Secrets, parse_network, profile};
use wgrelay::model::{Network, NodeName, PublicKey, Timestamp, derive_for_spoke};

fn folders(below: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(below);
    let mut all: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

fn compare(path: &Path, now: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("UPDATE_CASES").is_some() {
        fs::write(path, now).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected != now {
        wrong.push(format!("{}\n--- expected\n{expected}--- now\n{now}", path.display()));
    }
}

#[test]
fn problems_of_every_case() {
    let mut wrong = Vec::new();
    let folders = folders("config");
    assert!(folders.len() >= 30, "only {} cases were found", folders.len());
    for folder in folders {
        let bytes = fs::read(folder.join("network.toml")).unwrap();
        let parsed = parse_network(&bytes, "network.toml");
        assert_eq!(parsed.value.is_some(), !parsed.has_errors(), "{}", folder.display());
        let mut now = String::new();
        for problem in &parsed.problems {
            writeln!(now, "{problem}").unwrap();
        }
        if parsed.problems.is_empty() {
            now.push_str("no problem\n");
        }
        compare(&folder.join("expected.txt"), &now, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `tests/cases/edit/NAME`: the lines of `edit` applied to `before` give `after`, or `error`.
#[test]
fn edits_of_every_case() {
    let mut wrong = Vec::new();
    let folders = folders("edit");
    assert!(folders.len() >= 10, "only {} cases were found", folders.len());
    for folder in folders {
        let before = fs::read_to_string(folder.join("before")).unwrap();
        let mut document = NetworkDocument::parse(&before).unwrap();
        let mut told = String::new();
        for line in fs::read_to_string(folder.join("edit")).unwrap().lines() {
            if let Err(error) = edit(&mut document, line) {
                writeln!(told, "{line}: {error}").unwrap();
            }
        }
        compare(&folder.join("after"), &format!("{document}"), &mut wrong);
        if !told.is_empty() || folder.join("error").exists() {
            compare(&folder.join("error"), &told, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn edit(document: &mut NetworkDocument, line: &str) -> Result<(), wgrelay::config::EditError> {
    use wgrelay::config::{Setting, SiteWords};
    use wgrelay::model::{Node, Role};
    let words: Vec<&str> = line.split(' ').collect();
    let name = |i: usize| words[i].parse::<NodeName>().unwrap();
    match words[0] {
        "add" => {
            let key = PublicKey::from_bytes([7; 32]);
            document.add_node(&Node::new(name(1), Role::Spoke, words[2].parse().unwrap(), key))
        }
        "remove" => document.remove_node(&name(1)),
        "enable" => document.set_enabled(&name(1), true),
        "disable" => document.set_enabled(&name(1), false),
        "rename" => document.rename_node(&name(1), &name(2)),
        "set" => document.set_value(&name(1), words[2], Some(&Setting::Text(words[3].into()))),
        "number" => document.set_value(&name(1), words[2], Some(&Setting::Number(words[3].parse().unwrap()))),
        "unset" => document.set_value(&name(1), words[2], None),
        "site" => {
            for site in SiteWords::read(&words[2..]).unwrap() {
                document.set_site(&name(1), &site)?;
            }
            Ok(())
        }
        "unsite" => document.remove_site(&name(1), words[2].parse().unwrap()).map(drop),
        "network" => document.set_network_value(words[1], Some(&Setting::Text(words[2].into()))),
        other => panic!("no such edit: {other}"),
    }
}

/// The example in the reference is read as a user would read it: copied whole, keys filled in.
#[test]
fn the_reference_holds_a_valid_example() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/network-toml.md")).unwrap();
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).map(|b| b.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    let mut n = 0;
    let mut key = || {
        n += 1;
        PublicKey::from_bytes([n; 32]).to_string()
    };
    let mut text = String::new();
    for line in blocks[0].lines() {
        let line =
            if line.starts_with("public_key = ") { format!("public_key = {:?}", key()) } else { line.into() };
        text.push_str(&line);
        text.push('\n');
    }
    let parsed = parse_network(text.as_bytes(), "docs/network-toml.md");
    assert_eq!(parsed.problems, vec![]);
    let network = parsed.value.unwrap();
    assert!(!network.allow.is_empty() && !network.expect.is_empty());
    // The page names every key there is.
    for name in
        ["subnet6", "keepalive", "listen_port", "gateway", "stp", "expires", "verdict", "preshared_keys"]
    {
        assert!(page.contains(&format!("`{name}`")), "{name} is not described");
    }
}

#[test]
fn a_bundle_carries_one_nodes_secrets_and_no_others() {
    use wgrelay::model::{PresharedKey, PrivateKey};
    let mut private = std::collections::BTreeMap::new();
    let text = profile::instantiate("webvirtcloud", &profile::ProfileValues::default(), &mut |name| {
        let secret = PrivateKey::from_random([private.len() as u8 + 1; 32]);
        let public = secret.public_key();
        private.insert(name.clone(), secret);
        public
    })
    .unwrap();
    let network = parse_network(text.as_bytes(), "network.toml").value.unwrap();
    let mut secrets = Secrets { private_keys: private, ..Secrets::default() };
    for (i, spoke) in network.spokes().enumerate() {
        let key = PresharedKey::from_bytes([100 + i as u8; 32]);
        secrets.preshared_keys.entry("wsl".parse().unwrap()).or_default().insert(spoke.name.clone(), key);
    }
    for this in network.nodes.keys() {
        let bundle = Bundle::make(&network, &secrets, this).unwrap();
        let text = bundle.render();
        let parsed = Bundle::parse(text.as_bytes(), "bundle");
        assert_eq!(parsed.problems, vec![]);
        assert_eq!(parsed.value.unwrap(), bundle);
        for (other, key) in &secrets.private_keys {
            assert_eq!(
                text.contains(key.expose_base64().as_str()),
                other == this,
                "{this} has the key of {other}"
            );
        }
        let psk = |spoke: &str| secrets.preshared_keys["wsl"][spoke].expose_base64();
        assert_eq!(text.contains(psk("windows").as_str()), this.as_str() != "docker");
        // What the node sends into the tunnel does not depend on which of the two it was derived from.
        let now = Timestamp(0);
        let routes = |network: &Network| derive_for_spoke(network, &network.nodes[this], now);
        assert_eq!(routes(&bundle.network), routes(&network));
        assert_eq!(bundle.network.allow, network.allow);
        let installed = parse_network(bundle.network_text.as_bytes(), "network.toml");
        assert_eq!(installed.value.unwrap(), bundle.network);
        // Stale as soon as something changes that it needs; not by a promise, or by another spoke's MTU.
        let mut later = network.clone();
        later.nodes.get_mut("windows").unwrap().mtu = Some(1300);
        let same = Bundle::digest_of(&later, this).unwrap() == bundle.made_from;
        assert_eq!(same, this.as_str() == "docker");
        later.nodes.get_mut("wsl").unwrap().address = [192, 168, 3, 77].into();
        assert_ne!(Bundle::digest_of(&later, this).unwrap(), bundle.made_from);
    }
    // Another node's key in place of its own is told.
    let mut swapped = Bundle::make(&network, &secrets, &"docker".parse().unwrap()).unwrap();
    let other = secrets.private_keys["windows"].clone();
    swapped.secrets.private_keys.insert("docker".parse().unwrap(), other);
    let told = Bundle::parse(swapped.render().as_bytes(), "bundle").problems;
    assert!(told.iter().any(|p| p.code == "key-mismatch" && p.message.contains("node windows")), "{told:?}");
}

/// Nothing compares all with all: four times the nodes may not take ten times the work, where a quadratic check takes sixteen
/// times and more. Counted is this thread's own processor time, which a busy machine does not lengthen.
#[test]
fn work_grows_with_the_number_of_nodes() {
    let text = |nodes: usize| {
        let mut text = String::from("[network]\nname = \"wg0\"\nsubnet = \"10.0.0.0/16\"\n");
        for i in 1..=nodes {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(i as u64).to_le_bytes());
            let (high, low) = (i / 250, i % 250 + 1);
            writeln!(
                text,
                "\n[node.n{i}]\naddress = \"10.0.{high}.{low}\"\npublic_key = \"{}\"",
                PublicKey::from_bytes(key)
            )
            .unwrap();
            if i == 1 {
                text.push_str("role = \"relay\"\nendpoint = \"192.0.2.1:51820\"\n");
            }
            if i % 10 == 0 {
                writeln!(text, "[[node.n{i}.site]]\nsubnet = \"172.{high}.{low}.0/24\"").unwrap();
            }
        }
        for i in 1..=nodes / 10 {
            writeln!(text, "[[allow]]\nfrom = [\"n{i}\"]\nto = [\"10.0.0.{}\"]", i % 250 + 1).unwrap();
        }
        text
    };
    let work = |nodes: usize| {
        let text = text(nodes);
        let runs = (0..3).map(|_| {
            let before = processor_time();
            let parsed = parse_network(text.as_bytes(), "network.toml");
            assert_eq!(parsed.problems, vec![]);
            processor_time() - before
        });
        runs.min().unwrap()
    };
    let (few, many) = (work(1250), work(5000));
    assert!(many < few * 10, "1,250 nodes take {few:?}, 5,000 take {many:?}");
    println!("1,250 nodes: {few:?}; 5,000 nodes: {many:?}");
}

/// How long this thread has run on a processor.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
