//! What a hint proposes works in the very case that it is told in.

use std::fs;

use crate::sandbox::Sandbox;

fn network() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.run(&["init", "--profile", "site-to-site", "--endpoint", "192.0.2.1"]).exits(0);
    sandbox
}

fn edit(sandbox: &Sandbox, file: &str, change: impl FnOnce(String) -> String) {
    let path = sandbox.path(file);
    let text = fs::read_to_string(&path).expect("the file is there");
    fs::write(&path, change(text)).expect("it can be written");
}

/// Without the line that begins so, below a heading.
fn without(text: &str, heading: &str, key: &str) -> String {
    let (head, tail) = text.split_once(heading).expect("the heading is there");
    let lines: Vec<&str> = tail.lines().collect();
    let at = lines.iter().position(|l| l.starts_with(key)).expect("the key is there");
    let kept: Vec<&str> = [&lines[..at], &lines[at + 1..]].concat();
    format!("{head}{heading}{}\n", kept.join("\n"))
}

#[test]
fn keys_whose_network_is_gone_are_nobody_elses() {
    let sandbox = Sandbox::with_network();
    let keys = fs::read(sandbox.path("wg0/secrets.toml")).expect("it was written");
    fs::remove_file(sandbox.path("wg0/network.toml")).expect("it was there");
    sandbox.run(&["init"]).exits(1).tells(&["secrets.toml", "it is kept"]);
    assert_eq!(fs::read(sandbox.path("wg0/secrets.toml")).expect("it is still there"), keys);
}

#[test]
fn rotate_mends_a_preshared_key_that_is_missing() {
    let sandbox = network();
    edit(&sandbox, "wg0/secrets.toml", |text| without(&text, "[preshared_keys.relay]", "office-a"));
    let said = sandbox.run(&["export", "office-a"]).exits(3);
    assert!(said.err.contains("missing-preshared-key") && said.err.contains("rotate"), "{}", said.err);
    sandbox.run(&["rotate", "office-a"]).exits(0);
    sandbox.run(&["export", "office-a"]).exits(0);
}

#[test]
fn rotate_mends_a_public_key_that_is_another() {
    let sandbox = network();
    let other = "aC+64g80KLzsTBF8V76hjUOMR1jZcpCbQdviKITg1rg=";
    edit(&sandbox, "wg0/network.toml", |text| {
        let (head, tail) = text.split_once("[node.relay]").expect("the relay is there");
        let (before, key) = tail.split_once("public_key = \"").expect("it has a key");
        format!("{head}[node.relay]{before}public_key = \"{other}{}", &key[44..])
    });
    let said = sandbox.run(&["export", "relay"]).exits(3);
    assert!(said.err.contains("key-mismatch") && said.err.contains(" rotate relay`"), "{}", said.err);
    sandbox.run(&["rotate", "relay"]).exits(0);
    sandbox.run(&["export", "relay"]).exits(0);
}

#[test]
fn keys_that_a_relay_made_by_hand_lacks_are_told_by_check() {
    let sandbox = Sandbox::with_network();
    let file = sandbox.path("wg0/network.toml");
    let text = fs::read_to_string(&file).expect("init wrote it");
    let by_hand =
        text.replace("[node.docker]\n", "[node.docker]\nrole = \"relay\"\nendpoint = \"192.0.2.2:51820\"\n");
    assert_ne!(by_hand, text);
    sandbox.run(&["check"]).exits(0);
    sandbox.write("wg0/network.toml", by_hand.as_bytes());
    // The keys of docker and windows: nobody made any.
    sandbox.run(&["check"]).exits(0).tells(&["secrets.toml:", "[missing-preshared-key]"]);
    let told = sandbox.run(&["check", "--json"]).exits(0);
    assert!(told.out.contains("missing-preshared-key"), "{told:#?}");
    // A network is checked where its keys are not.
    fs::remove_file(sandbox.path("wg0/secrets.toml")).expect("it is there");
    let said = sandbox.run(&["check"]).exits(0);
    assert!(!said.err.contains("secrets"), "{said:#?}");
}
