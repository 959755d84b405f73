//! The lab with real packets: every profile comes up, what is refused is seen to be, and nothing is left behind.
//!
//! Needs root and ip(8), and fails without: `cargo test --test lab -- --ignored`.
#![expect(clippy::disallowed_methods, reason = "a test runs the program")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn wgrelay(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgrelay"));
    command.args(args).env_remove("WGRELAY_DIR").env("COLUMNS", "80").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = wgrelay(args).output().unwrap();
    let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    (status.code().unwrap_or(-1), text)
}

/// The processes that have a word in their command line, this test's own aside.
fn processes_with(word: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|e| {
        let line = fs::read(e.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|l| l.contains(word)).collect()
}

#[test]
#[ignore = "needs root"]
fn every_profile_comes_up() {
    for (number, profile) in ["wsl-docker", "webvirtcloud", "road-warrior", "site-to-site"].iter().enumerate()
    {
        let name = format!("labtest{number}");
        let (code, text) = run(&["--network", &name, "lab", "--profile", profile, "--backend", "embedded"]);
        assert_eq!(code, 0, "{profile}: {text}");
        let first = text.lines().next().unwrap();
        let words: Vec<&str> = first.split_whitespace().collect();
        assert_eq!(words[0], words[2], "{profile}: {text}");
        assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
        assert_eq!(processes_with(&name), Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs root"]
fn what_the_policy_refuses_does_not_pass() {
    let dir = tempfile::tempdir().unwrap();
    let dir_text = dir.path().to_str().unwrap();
    let (code, text) = run(&["--dir", dir_text, "--network", "labtest8", "init"]);
    assert_eq!(code, 0, "{text}");
    let file = dir.path().join("labtest8/network.toml");
    let rule = "\n[[allow]]\nfrom = [\"windows\"]\nto = [\"192.168.33.0/24\"]\n";
    fs::write(&file, fs::read_to_string(&file).unwrap() + rule).unwrap();
    // The lab reads no key of the network's.
    fs::remove_file(dir.path().join("labtest8/secrets.toml")).unwrap();
    let (code, text) = run(&["--dir", dir_text, "--json", "lab"]);
    assert_eq!(code, 0, "{text}");
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let reaches = |from: &str, to: &str| {
        let pairs = answer["pairs"].as_array().unwrap();
        let pair = pairs.iter().find(|p| p["from"] == from && p["to"] == to).unwrap();
        pair["reaches"].as_bool().unwrap()
    };
    assert!(reaches("windows", "192.168.33.10"));
    assert!(!reaches("windows", "docker"));
    assert!(!reaches("windows", "172.19.0.10"));
    assert!(!reaches("docker", "windows"));
    // A node's own services are its own firewall's matter.
    assert!(reaches("windows", "wsl"));
}

#[test]
#[ignore = "needs root"]
fn a_lab_stands_until_it_is_taken_down() {
    let network = ["--network", "labtest9"];
    let lab = |args: &[&str]| run(&[&network[..], &["lab"], args].concat());
    let (code, text) = lab(&["up", "--profile", "wsl-docker", "--backend", "embedded"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = lab(&["up", "--profile", "wsl-docker"]);
    assert_eq!((code, text.contains("stands already")), (1, true), "{text}");
    let program = env!("CARGO_BIN_EXE_wgrelay");
    let (code, text) = lab(&["exec", "wsl", "--", program, "status"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("2 of 2 peers online"), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    let (code, text) = lab(&["exec", "docker", "--", program, "plan", "--check"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(lab(&["exec", "192.168.33.10", "--", "sh", "-c", "exit 7"]).0, 7);
    let (code, text) = lab(&["exec", "wls", "--", "true"]);
    assert_eq!((code, text.contains("did you mean wsl?")), (2, true), "{text}");
    let (code, text) = lab(&["down"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(lab(&["down"]).0, 1);
    assert_eq!(processes_with("labtest9"), Vec::<String>::new());
    assert!(!Path::new("/run/wgrelay-lab/labtest9").exists());
}

#[test]
#[ignore = "needs root"]
fn an_interrupted_lab_leaves_nothing() {
    let mut interrupted = 0;
    for wait in [20, 80, 120, 160, 250] {
        let mut child = wgrelay(&["--network", "labtest7", "lab", "--profile", "wsl-docker"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
        let output = child.wait().unwrap();
        // A fast one may be through already.
        interrupted += u32::from(!output.success());
        assert_eq!(processes_with("labtest7"), Vec::<String>::new());
    }
    assert!(interrupted >= 2, "it was through before it could be interrupted");
}
