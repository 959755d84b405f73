//! What works and should be known all the same.

use std::os::unix::fs::PermissionsExt as _;

use crate::sandbox::Sandbox;

#[test]
fn secrets_that_others_can_read_are_told_by_check_and_doctor_too() {
    let sandbox = Sandbox::with_network();
    let quiet = sandbox.run(&["check"]).exits(0);
    assert!(!quiet.err.contains("exposed-secrets"), "{quiet:?}");
    let secrets = sandbox.path("wg0/secrets.toml");
    std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(0o644)).expect("the file is ours");
    sandbox.run(&["check"]).exits(0).tells(&["exposed-secrets", "mode 0644", "chmod 600"]);
    let report = sandbox.run(&["doctor", "--json"]).out;
    assert!(report.contains("exposed-secrets") && report.contains("chmod 600"), "{report}");
}

#[test]
fn a_name_that_the_client_refuses_is_told_with_the_file() {
    let sandbox = Sandbox::with_network();
    sandbox.run(&["add", "office-in-helsinki"]).exits(0);
    let dir = sandbox.path("out");
    let all = sandbox.run(&["export", "--all", "--out", &dir.display().to_string()]).exits(0);
    let words = ["bad-tunnel-name", "office-in-helsinki: 18 characters, and 15 is the most"];
    all.tells(&words);
    let file = dir.join("office-in-helsinki.conf").display().to_string();
    sandbox.run(&["export", "office-in-helsinki", "--out", &file]).exits(0).tells(&words);
    sandbox.run(&["lint", &file]).exits(0).tells(&words);
    let short = dir.join("wg0.conf").display().to_string();
    for args in [["export", "office-in-helsinki", "--out", &short].as_slice(), &["lint", &short]] {
        let said = sandbox.run(args).exits(0);
        assert!(!said.err.contains("bad-tunnel-name"), "{said:?}");
    }
}

#[test]
fn a_host_that_came_with_a_bundle_is_sent_to_where_the_keys_are() {
    let relay = Sandbox::with_network();
    let network = std::fs::read(relay.path("wg0/network.toml")).expect("init wrote it");
    let this = Sandbox::holding(&network);
    this.write("wg0/.bundle.json", br#"{"this":"docker","made_from":"x"}"#);
    this.write("wg0/secrets.toml", b"[private_keys]\n");
    let refused =
        this.run(&["export", "windows"]).exits(1).tells(&["docker alone", "where the bundle was made"]);
    assert!(!refused.err.contains("rotate"), "{refused:?}");
}

#[test]
fn a_host_that_is_neither_wsl_nor_has_docker_is_told_of_the_other_profiles() {
    let sandbox = Sandbox::new();
    // An engine that is not there, whatever this machine has.
    let mut command = sandbox.command(&["init", "--endpoint", "192.0.2.1"]);
    command.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let told = crate::sandbox::said(&mut command).exits(0).err;
    let is_wsl = std::fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|r| r.contains("icrosoft"));
    assert_eq!(told.contains("road-warrior"), !is_wsl, "{told}");
    let sandbox = Sandbox::new();
    let told = sandbox.run(&["init", "--profile", "site-to-site"]).exits(0).err;
    assert!(!told.contains("road-warrior"), "{told}");
}

#[test]
fn files_of_nodes_that_are_gone_are_told_where_they_were_left() {
    let sandbox = Sandbox::with_network();
    let dir = sandbox.path("out").display().to_string();
    let all = ["export", "--all", "--out", dir.as_str()];
    let first = sandbox.run(&all).exits(0);
    assert!(!first.err.contains("left-over-file"), "{first:#?}");
    sandbox.run(&["remove", "docker"]).exits(0);
    sandbox.run(&["rename", "windows", "laptop"]).exits(0);
    let said =
        sandbox.run(&all).exits(0).tells(&["left-over-file", "docker.conf, windows.conf are no node's"]);
    assert!(!said.err.contains("laptop.conf") && !said.err.contains("index.html"), "{said:#?}");
    let json = sandbox.run(&[&all[..], &["--json"]].concat()).exits(0);
    assert!(json.out.contains("left-over-file"), "{json:#?}");
    // They are told, not taken away.
    assert!(sandbox.path("out/docker.conf").exists());
}

#[test]
fn a_relay_that_has_expired_is_told_and_one_that_has_not_is_not() {
    let sandbox = Sandbox::with_network();
    let said =
        ["[expired]", "the relay wsl has expired: nobody reaches anybody through it", "set wsl expires"];
    sandbox.run(&["set", "wsl", "expires", "2099-01-01T00:00:00Z"]).exits(0);
    let quiet = sandbox.run(&["check"]).exits(0);
    assert!(!quiet.err.contains("expired"), "{quiet:?}");
    sandbox.run(&["set", "wsl", "expires", "2020-01-01T00:00:00Z"]);
    sandbox.run(&["check"]).tells(&said);
    // A spoke that has is as it should be.
    sandbox.run(&["set", "wsl", "expires", "2099-01-01T00:00:00Z"]).exits(0);
    sandbox.run(&["set", "windows", "expires", "2020-01-01T00:00:00Z"]).exits(0);
    let quiet = sandbox.run(&["check"]).exits(0);
    assert!(!quiet.err.contains("through it"), "{quiet:?}");
}

/// What an edit puts right is not said of the file that it leaves behind; what it does not concern is said as before.
#[test]
fn what_an_edit_mends_is_not_warned_of() {
    let sandbox = Sandbox::with_network();
    let gone = "lets nobody out";
    sandbox.run(&["set", "windows", "via", "docker"]).exits(0).tells(&[gone]);
    sandbox.run(&["set", "network", "keepalive", "20"]).exits(0).tells(&[gone]);
    sandbox.run(&["set", "windows", "no-such-key", "1"]).exits(2).tells(&[gone, "there is no key"]);
    let said = sandbox.run(&["set", "docker", "egress", "true"]).exits(0);
    assert!(!said.err.contains(gone), "{}", said.err);
}
