//! What the program prints, as data: `tests/cases/screens/NAME/args` has a command line a line, `expected` what came of them.
//!
//! Each case runs in a copy of `tests/cases/screens/network`, at 80 columns unless a line begins with `COLUMNS=N`.
//! `UPDATE_CASES=1` writes what the program says now, to be read before it is committed.
#![expect(clippy::disallowed_methods, reason = "a test runs the program and reads its data from files")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/screens")
}

/// Runs one line, and returns it with what it printed and its exit code.
fn screen(line: &str, parent: &Path) -> String {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let columns = words.first().and_then(|w| w.strip_prefix("COLUMNS=")).unwrap_or("80").to_string();
    words.retain(|w| !w.starts_with("COLUMNS="));
    assert_eq!(words.first(), Some(&"wgrelay"), "{line}");
    printed(line, &words[1..], Some(&columns), parent)
}

/// Runs the program into a pipe.
fn printed(line: &str, args: &[&str], columns: Option<&str>, parent: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_wgrelay"))
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(columns.map(|c| ("COLUMNS", c)))
        // Where lines break does not depend on where temporary files are.
        .env("WGRELAY_DIR", "DIR")
        .current_dir(parent)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut text = format!("$ {line}\n");
    text += &String::from_utf8(output.stdout).unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    if !talk.is_empty() {
        write!(text, "--- stderr\n{talk}").unwrap();
    }
    writeln!(text, "--- exit {}\n", output.status.code().unwrap()).unwrap();
    text
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let network = dir.path().join("DIR/screens0");
    fs::create_dir_all(&network).unwrap();
    for file in ["network.toml", "secrets.toml"] {
        fs::copy(cases().join("network").join(file), network.join(file)).unwrap();
    }
    // As `init` makes it: git keeps no modes.
    Command::new("chmod").args(["-R", "go="]).arg(dir.path()).status().unwrap();
    dir
}

#[test]
fn every_screen_is_as_it_was_looked_at() {
    let mut folders: Vec<PathBuf> = fs::read_dir(cases()).unwrap().map(|e| e.unwrap().path()).collect();
    folders.retain(|f| f.join("args").exists());
    folders.sort();
    assert!(folders.len() >= 8, "only {} cases were found", folders.len());
    let mut wrong = Vec::new();
    for case in folders {
        let dir = folder();
        let args = fs::read_to_string(case.join("args")).unwrap();
        let now: String = args.lines().map(|line| screen(line, dir.path())).collect();
        let path = case.join("expected");
        if std::env::var_os("UPDATE_CASES").is_some() {
            fs::write(&path, now).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if expected != now {
            wrong.push(format!("{}\n--- expected\n{expected}--- now\n{now}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pipes_and_json_get_whole_lines() {
    let dir = folder();
    let told = printed("", &["set", "windows", "colour", "red"], None, dir.path());
    let hint = told.lines().find(|l| l.contains("hint:")).unwrap();
    assert!(hint.contains("address, ") && hint.ends_with("via"), "{told}");
    let checked = printed("", &["check"], None, dir.path());
    assert!(checked.lines().any(|l| l.len() > 120), "{checked}");
    for args in [["list", "--json"], ["check", "--json"]] {
        let [narrow, wide] = ["10", "1000"].map(|columns| printed("", &args, Some(columns), dir.path()));
        assert_eq!(narrow, wide);
    }
}

#[test]
fn tables_fit_the_terminal() {
    for entry in fs::read_dir(cases()).unwrap() {
        let path = entry.unwrap().path().join("expected");
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let mut columns = 80;
        for line in text.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                let typed = command.strip_prefix("COLUMNS=").and_then(|c| c.split(' ').next()?.parse().ok());
                columns = typed.unwrap_or(80);
            }
            // Command lines and long words wrap where the terminal does, as do a file's own lines in a difference; columns must
            // not.
            let is_table = line.trim_start().split("  ").count() > 3 && !line.contains("\x1b[");
            let is_table = is_table && !line.starts_with(['+', '-']);
            assert!(!is_table || line.chars().count() <= columns, "{}: {line}", path.display());
        }
    }
}

#[test]
fn the_committed_manual_page_is_the_programs_own() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/wgrelay.1");
    let output = Command::new(env!("CARGO_BIN_EXE_wgrelay")).arg("man").env_clear().output().unwrap();
    let now = String::from_utf8(output.stdout).unwrap();
    if std::env::var_os("UPDATE_CASES").is_some() {
        fs::write(&path, &now).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == now,
        "docs/wgrelay.1 is not what `wgrelay man` prints; `wgrelay man > docs/wgrelay.1` makes it so"
    );
}
