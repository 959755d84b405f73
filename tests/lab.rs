//! The lab with real packets: every profile comes up, what is refused is seen to be, and nothing is left behind.
//!
//! With `WGRELAY_REAL=1` it fails where it cannot run; otherwise it says why it did not.
#![expect(clippy::disallowed_methods, reason = "a test runs the program")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "rig/need.rs"]
mod need;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use need::{NAMESPACES, met};

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

/// The processes that are left of a lab a moment later: its holder still has to exit when the lab is gone.
fn left_of(word: &str) -> Vec<String> {
    for _ in 0..50 {
        if processes_with(word).is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    processes_with(word)
}

#[test]
fn every_profile_comes_up() {
    if !met(&NAMESPACES) {
        return;
    }
    for (number, profile) in ["wsl-docker", "webvirtcloud", "road-warrior", "site-to-site"].iter().enumerate()
    {
        let name = format!("labtest{number}");
        let (code, text) = run(&["--network", &name, "lab", "--profile", profile, "--backend", "embedded"]);
        assert_eq!(code, 0, "{profile}: {text}");
        let first = text.lines().next().unwrap();
        let words: Vec<&str> = first.split_whitespace().collect();
        assert_eq!(words[0], words[2], "{profile}: {text}");
        assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
        let (code, text) = run(&["--network", &name, "lab", "check", "--profile", profile]);
        assert_eq!(code, 0, "{profile}: prediction and packets disagree: {text}");
        assert_eq!(left_of(&name), Vec::<String>::new());
    }
}

#[test]
fn what_the_policy_refuses_does_not_pass() {
    if !met(&NAMESPACES) {
        return;
    }
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
}

/// Two relays, spokes at home on either, and a site that two nodes have, with a gateway or masqueraded.
fn two_relays(nat: &str) -> String {
    let key = |n: u8| BASE64_STANDARD.encode([n; 32]);
    let node = |n: u8, name: &str, more: &str| {
        format!("[node.{name}]\naddress = \"10.9.0.{n}\"\npublic_key = \"{}\"\n{more}\n", key(n))
    };
    let relay = |n: u8| format!("role = \"relay\"\nendpoint = \"203.0.113.{n}:51820\"\negress = true");
    let site = |node: &str, n: u8| {
        let preference = 300 - 100 * u16::from(n);
        format!(
            "[[node.{node}.site]]\nsubnet = \"192.168.50.0/24\"\naddress = \"192.168.50.{n}\"\n{nat}\npreference = {preference}\n"
        )
    };
    [
        "format = 1\n[network]\nname = \"labtest7\"\nsubnet = \"10.9.0.0/24\"\n".into(),
        node(1, "eu", &relay(1)),
        node(2, "us", &relay(2)),
        node(3, "laptop", "relays = [\"eu\", \"us\"]"),
        node(4, "phone", "relays = [\"us\", \"eu\"]\nroutes = \"full\""),
        node(5, "first", "relays = [\"eu\", \"us\"]"),
        site("first", 1),
        node(6, "second", "relays = [\"us\"]"),
        site("second", 2),
    ]
    .concat()
}

#[test]
fn what_a_death_takes_away_is_shown_with_packets() {
    if !met(&NAMESPACES) {
        return;
    }
    let deaths = [
        ("nat = \"masquerade\"", &[("laptop", false)][..]),
        ("nat = \"none\"\ngateway = true", &[("first", true)][..]),
    ];
    for (nat, deaths) in deaths {
        let dir = tempfile::tempdir().unwrap();
        let lab = |args: &[&str]| {
            run(&[&["--dir", dir.path().to_str().unwrap(), "--network", "labtest7", "lab", "check"], args]
                .concat())
        };
        fs::create_dir(dir.path().join("labtest7")).unwrap();
        fs::write(dir.path().join("labtest7/network.toml"), two_relays(nat)).unwrap();
        for (dead, takes_over) in deaths {
            let (code, text) = lab(&["--kill", *dead]);
            assert_eq!(code, 0, "{text}");
            let first = text.lines().next().unwrap();
            assert_eq!(first, format!("lab and check agree about the network without {dead}"));
            let nobody = format!("nobody takes over from {dead}");
            assert_eq!(text.contains("after failover, "), *takes_over, "{text}");
            assert_eq!(text.contains(&nobody), !*takes_over, "{text}");
        }
        let (code, text) = lab(&["--kill", "eu", "--json"]);
        assert_eq!(code, 0, "{text}");
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        let observed = |when: &str, from: &str, to: &str| {
            let pairs = answer[when]["pairs"].as_array().unwrap();
            let pair = pairs.iter().find(|p| p["from"] == from && p["to"] == to && p["port"] == "icmp");
            pair.unwrap()["observed"].as_str().unwrap().to_owned()
        };
        assert_eq!(observed("at_once", "laptop", "phone"), "blocked");
        assert_eq!(observed("after_failover", "laptop", "phone"), "reaches");
        assert_eq!(observed("at_once", "phone", "second"), "reaches");
        let (code, text) = lab(&["--kill", "ue"]);
        assert_eq!((code, text.contains("there is no node ue")), (2, true), "{text}");
    }
    assert_eq!(left_of("labtest7"), Vec::<String>::new());
}

#[test]
fn a_lab_stands_until_it_is_taken_down() {
    if !met(&NAMESPACES) {
        return;
    }
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
    assert_eq!(left_of("labtest9"), Vec::<String>::new());
    assert!(!Path::new("/run/wgrelay-lab/labtest9").exists());
}

#[test]
fn an_interrupted_lab_leaves_nothing() {
    if !met(&NAMESPACES) {
        return;
    }
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
        assert_eq!(left_of("labtest7"), Vec::<String>::new());
    }
    assert!(interrupted >= 2, "it was through before it could be interrupted");
}

/// The processes that a lab started, itself among them: all of them have its mark in their environment.
fn marked(mark: &str, network: &str) -> Vec<(i32, String)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let found = entries.filter_map(|e| {
        let pid = e.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(e.path().join("environ")).ok()?;
        let line = fs::read(e.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        // An agent has nothing of its starter's environment, and says whose it is on its command line.
        let is_agent = line.contains(&format!("--network {network} ")) && line.contains("--attach");
        (is_agent || environment.split(|b| *b == 0).any(|v| v == mark.as_bytes())).then_some((pid, line))
    });
    found.collect()
}

/// Waits until a lab's processes are as they should be, and returns them as they are in the end.
fn marked_until(mark: &str, network: &str, fine: impl Fn(&[(i32, String)]) -> bool) -> Vec<(i32, String)> {
    for _ in 0..200 {
        if fine(&marked(mark, network)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    marked(mark, network)
}

/// A namespace lives by its processes and by open files, so where no process is left, none is left.
#[test]
fn a_killed_lab_leaves_nothing() {
    if !met(&NAMESPACES) {
        return;
    }
    let mut agents = 0;
    for wait in [150, 300, 500, 800, 1100, 2000] {
        let value = format!("{}-{wait}", std::process::id());
        let mut child = wgrelay(&["--network", "labtest6", "lab", "check", "--profile", "wsl-docker"])
            .args(["--backend", "embedded"])
            .env("LABTEST_MARK", &value)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        let mark = format!("LABTEST_MARK={value}");
        agents += marked(&mark, "labtest6").iter().filter(|(_, line)| line.contains("--attach")).count();
        child.kill().unwrap();
        child.wait().unwrap();
        let left = marked_until(&mark, "labtest6", <[_]>::is_empty);
        // What a failed test leaves would stand in the way of nobody, but for ever.
        for (pid, _) in &left {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        assert_eq!(left, [], "killed after {wait} ms");
    }
    assert!(agents > 0, "it was never killed while an agent ran");
}

#[test]
fn an_agent_of_a_lab_obeys_sigterm() {
    if !met(&NAMESPACES) {
        return;
    }
    let value = std::process::id().to_string();
    let mark = format!("LABTEST_MARK={value}");
    let lab = ["--network", "labtest5", "lab"];
    let up = wgrelay(&lab)
        .args(["--profile", "wsl-docker", "--backend", "embedded", "up"])
        .env("LABTEST_MARK", &value)
        .output()
        .unwrap();
    assert!(up.status.success(), "{up:?}");
    let agents: Vec<i32> = marked(&mark, "labtest5")
        .iter()
        .filter(|(_, line)| line.contains("--attach"))
        .map(|(pid, _)| *pid)
        .collect();
    for agent in &agents {
        kill(Pid::from_raw(*agent), Signal::SIGTERM).unwrap();
    }
    let left = marked_until(&mark, "labtest5", |all| !all.iter().any(|(_, line)| line.contains("--attach")));
    let (code, text) = run(&[&lab[..], &["down"]].concat());
    assert_eq!(code, 0, "{text}");
    assert_eq!(agents.len(), 3, "an agent for each node");
    assert!(left.iter().all(|(_, line)| !line.contains("--attach")), "{left:?}");
}

/// As on a machine that has far too much to do: the agents get their turn after each other, so that an answer takes more than a second.
#[test]
fn an_answer_may_take_longer_than_a_call_is_repeated() {
    if !met(&NAMESPACES) {
        return;
    }
    let value = std::process::id().to_string();
    let mark = format!("LABTEST_SLOW={value}");
    let dir = tempfile::tempdir().unwrap();
    let dir_text = dir.path().to_str().unwrap();
    fs::create_dir(dir.path().join("labtest4")).unwrap();
    fs::write(dir.path().join("labtest4/network.toml"), TWO_NODES).unwrap();
    let lab = ["--dir", dir_text, "--network", "labtest4", "--json", "lab"];
    let up =
        wgrelay(&lab).args(["--backend", "embedded", "up"]).env("LABTEST_SLOW", &value).output().unwrap();
    assert!(up.status.success(), "{up:?}");
    let agents: Vec<Pid> = marked(&mark, "labtest4")
        .iter()
        .filter(|(_, line)| line.contains("--attach"))
        .map(|(pid, _)| Pid::from_raw(*pid))
        .collect();
    assert_eq!(agents.len(), 2, "an agent for each node");
    let is_over = AtomicBool::new(false);
    let (code, text) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let all = |signal| agents.iter().for_each(|agent| kill(*agent, signal).unwrap());
            all(Signal::SIGSTOP);
            for agent in agents.iter().cycle().take_while(|_| !is_over.load(Ordering::Relaxed)) {
                kill(*agent, Signal::SIGCONT).unwrap();
                std::thread::sleep(Duration::from_millis(30));
                kill(*agent, Signal::SIGSTOP).unwrap();
                std::thread::sleep(Duration::from_millis(500));
            }
            all(Signal::SIGCONT);
        });
        let answer = run(&[&lab[..], &["check"]].concat());
        is_over.store(true, Ordering::Relaxed);
        answer
    });
    assert_eq!(run(&[&lab[..], &["down"]].concat()).0, 0);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("tcp/"), "{text}");
}

const TWO_NODES: &str = r#"
[network]
name = "labtest4"
subnet = "10.88.0.0/24"
[node.hub]
role = "relay"
address = "10.88.0.1"
endpoint = "192.0.2.1:51820"
public_key = "aC+64g80KLzsTBF8V76hjUOMR1jZcpCbQdviKITg1rg="
[node.spoke]
address = "10.88.0.2"
public_key = "XuwNxBmqgze/cl8Cb9qceMHLHGQu6v+dbhES83eD6UI="
"#;
