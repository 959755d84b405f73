//! The hand-written cases of tests/cases/reach, with packets: `lab check` builds each network and must agree with `check`.
//!
//! A case that no lab can show says why, in its `no-lab.txt`.
#![expect(clippy::disallowed_methods, reason = "a test runs the program on its cases")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

#[path = "rig/need.rs"]
#[expect(dead_code, reason = "the list of everything is for other tests")]
mod need;

use need::Need;

/// How many labs stand at once: each is a few busy processes for two seconds.
const AT_ONCE: usize = 2;

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/reach");
    let mut out: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    out.sort();
    out
}

fn name(folder: &Path) -> &str {
    folder.file_name().unwrap().to_str().unwrap()
}

/// Runs `lab check` on a case; `Err` tells what does not agree.
fn check(folder: &Path, network: &str) -> Result<usize, String> {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(folder.join("network.toml")).unwrap();
    let text = text.replacen("name = \"wg0\"", &format!("name = \"{network}\""), 1);
    fs::create_dir(dir.path().join(network)).unwrap();
    fs::write(dir.path().join(network).join("network.toml"), &text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_wgrelay"))
        .arg("--dir")
        .arg(dir.path())
        .args(["--json", "lab", "check"])
        .env_remove("WGRELAY_DIR")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|_| said())?;
    let pairs = answer["pairs"].as_array().ok_or_else(said)?;
    if answer["agree"] == true && output.status.success() {
        return Ok(pairs.len());
    }
    Err(pairs.iter().filter(|p| p["predicted"] != p["observed"]).map(|p| format!("{p}\n")).collect())
}

#[test]
fn every_case_fares_as_predicted_or_says_why_no_lab_shows_it() {
    let (shown, not): (Vec<PathBuf>, Vec<PathBuf>) =
        folders().into_iter().partition(|f| !f.join("no-lab.txt").exists());
    for folder in &not {
        let why = fs::read_to_string(folder.join("no-lab.txt")).unwrap();
        assert!(why.trim().len() > 20, "{} gives a reason", folder.display());
    }
    for folder in &shown {
        // What a host was found to be like is no part of a network.
        assert!(!folder.join("live.txt").exists(), "{}: say why in no-lab.txt", folder.display());
    }
    assert!(shown.len() >= 20, "{} cases are shown with packets", shown.len());
    if !need::met(&[Need::Root, Need::At("/dev/net/tun"), Need::Program("ip"), Need::Program("nft")]) {
        return;
    }
    let left = Mutex::new(shown.iter().rev().collect::<Vec<_>>());
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..AT_ONCE {
            let (left, faults) = (&left, &faults);
            scope.spawn(move || {
                while let Some(folder) = { left.lock().unwrap().pop() } {
                    match check(folder, &format!("wlcase{worker}")) {
                        Ok(probes) => eprintln!("{}: {probes} probes agree", name(folder)),
                        Err(fault) => faults.lock().unwrap().push(format!("{}: {fault}", name(folder))),
                    }
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
