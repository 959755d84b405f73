//! Cases as data: `tests/cases/kernel/NAME/config`, a kernel's configuration, and what `doctor --kernel-config` and
//! `--kernel-fragment` print of it, with their exit codes.
//!
//! A new case is a new folder; `UPDATE_CASES=1` writes what the program says now, to be read before it is committed.
#![expect(clippy::disallowed_methods, reason = "a test reads its data from files and runs the program")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn doctor(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_wgrelay"))
        .arg("doctor")
        .args(arguments)
        .env("NO_COLOR", "1")
        .env_remove("COLUMNS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("piped").write_all(input).expect("it reads its input");
    child.wait_with_output().expect("it ends")
}

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/kernel");
    let mut folders: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 6, "only {} cases were found", folders.len());
    folders
}

fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}exit {}\n", text(&output.stdout), text(&output.stderr), output.status.code().unwrap())
}

#[test]
fn every_case_as_expected() {
    let mut wrong = Vec::new();
    for folder in cases() {
        let config = fs::read(folder.join("config")).unwrap();
        let judged = doctor(&["--kernel-config", "-"], &config);
        let fragment = doctor(&["--kernel-config", "-", "--kernel-fragment"], &config);
        let now = format!("{}\n{}", text(&judged), text(&fragment));
        let path = folder.join("expected.txt");
        if std::env::var_os("UPDATE_CASES").is_some() {
            fs::write(path, now).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != now {
            wrong.push(format!("{}: now\n{now}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn with_its_fragment_each_kernel_is_enough() {
    for folder in cases() {
        let mut config = fs::read(folder.join("config")).unwrap();
        config.extend(doctor(&["--kernel-config", "-", "--kernel-fragment"], &config).stdout);
        let output = doctor(&["--kernel-config", "-"], &config);
        assert_eq!(output.status.code(), Some(0), "{}: {}", folder.display(), text(&output));
    }
}

#[test]
fn a_packed_file_a_missing_one_and_none() {
    let folder = tempfile::tempdir().unwrap();
    let config = cases().pop().unwrap().join("config");
    let path = folder.path().join("config.gz");
    let packed = Command::new("gzip").arg("-c").arg(&config).output().unwrap().stdout;
    fs::write(&path, &packed).unwrap();
    let by_file = doctor(&["--kernel-config", path.to_str().unwrap(), "--json"], b"");
    assert_eq!(
        by_file.stdout,
        doctor(&["--kernel-config", "-", "--json"], &fs::read(config).unwrap()).stdout
    );
    let report: serde_json::Value = serde_json::from_slice(&by_file.stdout).unwrap();
    assert_eq!(report["version"], 1);
    assert!(report["needs"].as_array().unwrap().iter().any(|need| need["state"] == "absent"));

    let none = text(&doctor(&["--kernel-config", folder.path().join("nowhere").to_str().unwrap()], b""));
    assert!(none.contains("error: cannot read") && none.ends_with("exit 1\n"), "{none}");
    let other = text(&doctor(&["--kernel-config", "-"], b"[network]\n"));
    assert!(other.contains("standard input is no kernel configuration"), "{other}");
    let whole = text(&doctor(&["--kernel-fragment"], b""));
    assert!(whole.contains("\nCONFIG_WIREGUARD=y\n") && whole.ends_with("exit 0\n"), "{whole}");
}
