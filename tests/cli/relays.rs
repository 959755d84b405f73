//! A second relay by commands alone: its keys, its spokes' files, its name, its end.

use crate::sandbox::Sandbox;

fn two_relays() -> Sandbox {
    let sandbox = Sandbox::with_network();
    for words in [
        &["add", "us"][..],
        &["set", "us", "role", "relay"],
        &["set", "us", "endpoint", "us.example.org:51820"],
        &["add", "phone"],
    ] {
        sandbox.run(words).exits(0);
    }
    sandbox
}

/// The `[Peer]` sections of a file that is exported, each with its name before it.
fn peers(sandbox: &Sandbox, words: &[&str]) -> String {
    let out = sandbox.run(words).exits(0).out;
    out.lines()
        .filter(|l| l.starts_with("# ") || l.starts_with("Endpoint"))
        .skip(1)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn every_pair_with_a_relay_has_a_key() {
    let sandbox = two_relays();
    let text = std::fs::read_to_string(sandbox.path("wg0/secrets.toml")).expect("it was written");
    let of = |relay: &str| {
        let table = text.split(&format!("[preshared_keys.{relay}]\n")).nth(1).expect("its table");
        let lines = table.lines().take_while(|l| !l.starts_with('[') && !l.is_empty());
        lines.filter_map(|l| l.split(' ').next()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of("wsl"), "docker phone us windows");
    assert_eq!(of("us"), "docker phone windows");
    sandbox.run(&["rotate", "us"]).exits(0);
    sandbox.run(&["check"]).exits(0);
}

#[test]
fn a_spoke_gets_the_file_of_its_home_and_another_where_asked() {
    let sandbox = two_relays();
    let home = peers(&sandbox, &["export", "phone"]);
    assert!(home.starts_with("# wsl ") && !home.contains("us.example.org"), "{home}");
    let other = peers(&sandbox, &["export", "phone", "--relay", "us"]);
    assert_eq!(other, "# us Endpoint = us.example.org:51820");
    sandbox.run(&["set", "phone", "relays", "us,wsl"]).exits(0);
    assert_eq!(peers(&sandbox, &["export", "phone"]), other);
    sandbox.run(&["disable", "us"]).exits(0);
    assert_eq!(peers(&sandbox, &["export", "phone"]), home);
    assert!(sandbox.run(&["export", "phone", "--relay", "us"]).exits(1).err.contains("takes no part"));
    assert!(sandbox.run(&["export", "phone", "--relay", "windows"]).exits(2).err.contains("is no relay"));
}

#[test]
fn a_spoke_whose_relays_are_all_off_is_cut_off_and_told_so() {
    let sandbox = two_relays();
    for words in [
        &["set", "us", "egress", "true"][..],
        &["set", "phone", "relays", "us"],
        &["set", "phone", "routes", "full"],
    ] {
        sandbox.run(words).exits(0);
    }
    sandbox.run(&["trace", "phone", "internet"]).exits(0);
    let told = sandbox.run(&["check", "--without", "us"]).exits(0).out;
    let after = told.split("use their next relay:").nth(1).expect("phone has no next one");
    let of_phone = after.lines().find(|line| line.trim_start().starts_with("phone -> "));
    assert!(of_phone.is_some_and(|line| line.contains("internet")), "{told}");
    sandbox.run(&["disable", "us"]).exits(0).tells(&["no other of their relays is enabled for phone"]);
    for to in ["internet", "windows"] {
        let traced = sandbox.run(&["trace", "phone", to]).exits(4);
        assert!(traced.out.contains("blocked at us, disabled"), "{traced:?}");
    }
    assert!(sandbox.run(&["export", "phone"]).exits(1).err.contains("none that it may use is enabled"));
    sandbox.run(&["export", "phone", "--relay", "wsl"]).exits(1).tells(&["does not list wsl"]);
    let dir = sandbox.path("out").display().to_string();
    sandbox.run(&["export", "--all", "--out", &dir]).exits(0).tells(&["no file for phone"]);
    assert!(sandbox.path("out/windows.conf").exists() && !sandbox.path("out/phone.conf").exists());
    sandbox.run(&["export", "--all", "--relay", "us", "--out", &dir]).exits(2);
}

#[test]
fn a_relay_that_is_listed_is_renamed_everywhere_and_not_removed() {
    let sandbox = two_relays();
    sandbox.run(&["set", "phone", "relays", "us"]).exits(0);
    sandbox.run(&["rename", "us", "asia"]).exits(0);
    assert!(peers(&sandbox, &["export", "phone"]).starts_with("# asia "));
    assert!(sandbox.run(&["remove", "asia"]).exits(1).err.contains("by relays"));
    sandbox.run(&["set", "phone", "relays", "wsl"]).exits(0);
    sandbox.run(&["remove", "asia"]).exits(0);
    assert!(sandbox.run(&["remove", "wsl"]).exits(1).err.contains("is the relay"));
    sandbox.run(&["check"]).exits(0);
}
