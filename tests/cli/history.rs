//! Revisions: kept with who and why, told apart, gone back to, and kept in a file.

use serde_json::Value;

use super::sandbox::Sandbox;

fn json(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let said = sandbox.run(arguments).exits(0);
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}", said.out))
}

fn files(sandbox: &Sandbox) -> [Vec<u8>; 2] {
    ["wg0/network.toml", "wg0/secrets.toml"].map(|f| std::fs::read(sandbox.path(f)).expect("it is there"))
}

#[test]
fn revert_finds_keys_again_that_were_rotated_and_removed() {
    let sandbox = Sandbox::with_network();
    let made = files(&sandbox);
    sandbox.run(&["rotate", "docker"]).exits(0);
    let rotated = files(&sandbox);
    sandbox.run(&["remove", "docker"]).exits(0);
    let listed = json(&sandbox, &["history", "--json"]);
    assert_eq!(listed["version"], 1);
    let list = listed["revisions"].as_array().expect("a list");
    let numbers: Vec<u64> = list.iter().filter_map(|r| r["revision"].as_u64()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!((&list[2]["current"], &listed["edited"]), (&true.into(), &false.into()));
    let uid = u64::from(nix::unistd::getuid().as_raw());
    for (revision, (command, why)) in list.iter().zip([
        ("init", "profile"),
        ("rotate docker", "rotated"),
        ("remove docker", "removed docker"),
    ]) {
        assert!(revision["command"].as_str().is_some_and(|c| c.contains(command)), "{revision}");
        assert!(revision["why"].as_str().is_some_and(|w| w.contains(why)), "{revision}");
        assert_eq!(revision["uid"].as_u64(), Some(uid), "{revision}");
        assert!(revision["at"].as_u64().is_some_and(|at| at > 1_700_000_000), "{revision}");
    }
    let told = json(&sandbox, &["diff", "1", "2", "--json"]);
    let keys: Vec<&str> =
        told["keys"].as_array().expect("keys").iter().filter_map(|k| k["of"].as_str()).collect();
    assert_eq!(keys, ["docker", "wsl and docker"]);
    let [_, secrets] = &made;
    for line in String::from_utf8_lossy(secrets).lines().filter(|line| line.contains("= \"")) {
        let key = line.split('"').nth(1).expect("a key");
        assert!(!told.to_string().contains(key), "a key is told");
        for words in [vec!["history"], vec!["diff", "1"], vec!["history", "--json"]] {
            let said = sandbox.run(&words).exits(0);
            assert!(!said.out.contains(key) && !said.err.contains(key), "{words:?} tells a key");
        }
    }
    sandbox.run(&["revert", "2"]).exits(0);
    assert_eq!(files(&sandbox), rotated);
    sandbox.run(&["revert", "1"]).exits(0);
    assert_eq!(files(&sandbox), made);
    sandbox.run(&["export", "docker"]).exits(0);
    assert_eq!(json(&sandbox, &["revert", "1", "--json"])["changed"], false);
    sandbox.run(&["revert", "99"]).exits(1).tells(&["no revision 99", "1 to 5"]);
}

#[test]
fn what_was_edited_by_hand_is_a_revision_too() {
    let sandbox = Sandbox::with_network();
    let text = String::from_utf8(files(&sandbox)[0].clone()).expect("text");
    sandbox.write("wg0/network.toml", format!("# mine\n{text}").as_bytes());
    assert_eq!(json(&sandbox, &["history", "--json"])["edited"], true);
    sandbox.run(&["disable", "docker"]).exits(0);
    let listed = json(&sandbox, &["history", "--json"]);
    assert_eq!(listed["revisions"][1]["why"], "edited by hand");
    assert_eq!(listed["revisions"][1]["command"], Value::Null);
    sandbox.run(&["revert", "2"]).exits(0);
    assert!(files(&sandbox)[0].starts_with(b"# mine\n"));
}

/// Where network.toml is empty or gone, each command says how to have it back, and that is so.
#[test]
fn a_network_that_was_lost_comes_back_by_what_the_hint_says() {
    let sandbox = Sandbox::with_network();
    let file = sandbox.path("wg0/network.toml");
    let whole = std::fs::read(&file).expect("it is there");
    std::fs::write(&file, "").expect("it can be written");
    sandbox.run(&["list"]).exits(3).tells(&["empty-file", "revert REV`"]);
    sandbox.run(&["revert", "1"]).exits(0);
    assert_eq!(std::fs::read(&file).expect("it is there"), whole);
    std::fs::remove_file(&file).expect("it can be removed");
    for command in [&["list"][..], &["history"], &["revert", "1"]] {
        sandbox.run(command).exits(1).tells(&["network.toml is gone", "--network wg0 revert REV`"]);
    }
    sandbox.run(&["--network", "wg0", "history"]).exits(0);
    sandbox.run(&["--network", "wg0", "revert", "1"]).exits(0);
    assert_eq!(std::fs::read(&file).expect("it is there"), whole);
}

#[test]
fn a_backup_comes_back_anywhere_and_is_checked_whole() {
    let sandbox = Sandbox::with_network();
    let made = files(&sandbox);
    let file = sandbox.path("kept");
    let kept = file.to_str().expect("a path");
    sandbox.run(&["backup", kept]).exits(0);
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
    let other = Sandbox::new();
    other.run(&["restore", kept]).exits(0);
    assert_eq!(files(&other), made);
    assert_eq!(json(&other, &["restore", kept, "--json"])["changed"], false);
    other.run(&["remove", "docker"]).exits(0);
    other.run(&["restore", kept]).exits(0);
    assert_eq!(files(&other), made);
    assert_eq!(json(&other, &["history", "--json"])["revisions"].as_array().map(Vec::len), Some(3));
    // One byte that is not as it was, anywhere in the files: nothing is touched.
    let text = std::fs::read_to_string(&file).expect("text");
    for (what, broken) in [
        ("half", text[..text.len() / 2].to_owned()),
        ("a digit", text.replacen("192.168.3.2", "192.168.3.9", 1)),
        ("another file", "[network]\nname = \"wg0\"\n".to_owned()),
    ] {
        sandbox.write("broken", broken.as_bytes());
        let path = sandbox.path("broken");
        let said = other.run(&["restore", path.to_str().expect("a path")]).exits(1);
        assert!(said.err.contains("nothing was changed"), "{what}: {said:#?}");
        assert_eq!(files(&other), made, "{what}");
    }
    // Who others can read it is not believed.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    other.run(&["restore", kept]).exits(1).tells(&["open to others"]);
}

#[test]
fn what_is_no_backup_is_told_as_what_it_is() {
    let sandbox = Sandbox::with_network();
    let file = sandbox.path("kept");
    let kept = file.to_str().expect("a path");
    sandbox.run(&["backup", kept]).exits(0);
    let folder = sandbox.path("wg0");
    let said = sandbox.run(&["restore", folder.to_str().expect("a path")]).exits(1);
    let said = said.tells(&["is not a regular file", "backup FILE` writes"]);
    assert!(!said.err.contains("chmod"), "{said:#?}");
    // Saved by an editor that marks what it saves, it is the same backup.
    let text = std::fs::read_to_string(&file).expect("text");
    sandbox.write("marked", format!("\u{feff}{text}").as_bytes());
    let other = Sandbox::new();
    other.run(&["restore", sandbox.path("marked").to_str().expect("a path")]).exits(0);
    assert_eq!(files(&other), files(&sandbox));
}
