//! docs/security.md held to its word: each promise names a test that is there; and those promises that no other file tests.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::sandbox::Sandbox;

/// Where what is promised ends.
const NOT_PROMISED: &str = "## What is not promised";

/// Returns the texts of all files of Rust below a folder.
fn rust_below(folder: &Path, texts: &mut String) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            rust_below(&path, texts);
        } else if path.extension().is_some_and(|end| end == "rs") {
            *texts += &std::fs::read_to_string(&path).expect("it is text");
        }
    }
}

/// Says whether a function of this name is a test.
fn is_test(name: &str, texts: &str) -> bool {
    texts.match_indices(&format!("fn {name}(")).any(|(at, _)| {
        let before = texts[..at].trim_end();
        let before = before.strip_suffix("async").unwrap_or(before).trim_end();
        before.ends_with("#[test]") || before.ends_with("#[tokio::test]")
    })
}

/// What a promise names: in backticks, names of tests and files of them.
fn named(promise: &str) -> impl Iterator<Item = &str> {
    let quoted = promise.split('`').skip(1).step_by(2);
    quoted.filter(|word| {
        let is_name = word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        (is_name && word.matches('_').count() > 1) || word.ends_with(".rs")
    })
}

/// Returns what is wrong with a page. `holds_tests` says of a file whether it holds tests; `None`: it is not there.
fn faults(page: &str, texts: &str, holds_tests: impl Fn(&str) -> Option<bool>) -> Vec<String> {
    let (promised, _) = page.split_once(NOT_PROMISED).expect("the page says what is not promised");
    let promises = promised.split("\n- ").skip(1);
    let of_one = |promise: &str| {
        let title = promise.split("**").nth(1).unwrap_or(promise).to_string();
        // A file of the program is named for what it does, and is enough only where it holds tests.
        let is_held = |word: &str| {
            if word.ends_with(".rs") { holds_tests(word) } else { is_test(word, texts).then_some(true) }
        };
        let missing = named(promise).filter(|word| is_held(word).is_none());
        let mut faults: Vec<String> = missing.map(|word| format!("{title}: {word} is no test")).collect();
        if faults.is_empty() && !named(promise).any(|word| is_held(word) == Some(true)) {
            faults.push(format!("{title}: no test is named"));
        }
        faults
    };
    promises.flat_map(of_one).collect()
}

#[test]
fn each_promise_of_the_page_names_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/security.md")).expect("the page is there");
    let mut texts = String::new();
    for folder in ["src", "tests"] {
        rust_below(&root.join(folder), &mut texts);
    }
    let holds_tests = |path: &str| Some(std::fs::read_to_string(root.join(path)).ok()?.contains("#[test]"));
    assert_eq!(faults(&page, &texts, holds_tests), [""; 0]);
    // And one that does not is told.
    let told =
        |promise: &str| faults(&format!("\n- **X.** {promise}\n{NOT_PROMISED}\n"), &texts, holds_tests).len();
    assert_eq!(told("(`each_promise_of_the_page_names_a_test_that_is_there`, `tests/cli/promises.rs`)"), 0);
    assert_eq!(told("(`a_test_that_is_not_there`)"), 1);
    assert_eq!(told("(`tests/netns/nowhere.rs`, `docs/security.rs`)"), 2);
    assert_eq!(told("(`rust_below` of `ip_forward`)"), 1, "no test is named");
}

#[test]
fn it_leaves_no_core_dump() {
    let sandbox = Sandbox::new();
    let ended = |program: &str| {
        let line = format!("ulimit -c unlimited 2>/dev/null; exec {program}");
        let mut child = Command::new("sh")
            .args(["-c", &line])
            .current_dir(sandbox.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        // It waits for a key; by then it has its settings, or a moment later.
        let status = format!("/proc/{}/wchan", child.id());
        let began = std::time::Instant::now();
        while !std::fs::read_to_string(&status).is_ok_and(|at| at.contains("pipe")) {
            if began.elapsed() > std::time::Duration::from_secs(2) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("it is a process's number")),
            nix::sys::signal::Signal::SIGQUIT,
        )
        .expect("it is there");
        child.wait().expect("it ends")
    };
    let status = ended(&format!("{} pubkey", env!("CARGO_BIN_EXE_wgrelay")));
    assert_eq!(status.signal(), Some(nix::sys::signal::Signal::SIGQUIT as i32));
    assert!(!status.core_dumped());
}

#[test]
fn a_public_key_is_all_that_is_kept_of_a_node() {
    let sandbox = Sandbox::with_network();
    let key = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
    sandbox.run(&["add", "phone", "--public-key", key]).exits(0);
    let secrets = std::fs::read_to_string(sandbox.path("wg0/secrets.toml")).expect("it is text");
    let (private, preshared) = secrets.split_once("[preshared_keys").expect("it has both");
    assert!(!private.contains("phone") && private.contains("windows"), "a private key was made");
    assert!(preshared.contains("phone"), "it has a preshared key");
}
