//! `tests/debian/tree` as the tests call it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::need::{Need, met};

/// What a clean Debian takes.
const NEEDS: [Need; 6] = [
    Need::Root,
    Need::At("/dev/net/tun"),
    Need::Program("bash"),
    Need::Program("unshare"),
    Need::Program("ip"),
    Need::Program("debootstrap"),
];

/// A machine of this suite, whose disk lives as long as the value.
pub struct Tree {
    suite: &'static str,
    place: tempfile::TempDir,
}

impl Tree {
    /// Makes one; `None`: this machine cannot, and need not.
    pub fn new(suite: &'static str) -> Option<Self> {
        if !met(&NEEDS) {
            return None;
        }
        let prepared = script(&["prepare", suite]).status().expect("bash starts");
        assert!(prepared.success(), "no Debian {suite} (see above)");
        // Where a layer of changes can be kept: /tmp may be a layer itself.
        let place = tempfile::tempdir_in("/var/tmp").expect("a folder can be made");
        std::fs::create_dir(place.path().join("files")).expect("the folder is empty");
        Some(Self { suite, place })
    }

    /// Puts a file into /files.
    pub fn put(&self, from: impl AsRef<Path>, name: &str) {
        let to = self.place.path().join("files").join(name);
        std::fs::copy(&from, to).unwrap_or_else(|e| panic!("{}: {e}", from.as_ref().display()));
    }

    /// Starts the machine with systemd, runs a script in it, and shuts it down; the script must succeed.
    #[track_caller]
    pub fn boot(&self, lines: &str) -> String {
        self.call("boot", lines)
    }

    /// Runs a script without starting the machine; it must succeed.
    #[track_caller]
    pub fn run(&self, lines: &str) -> String {
        self.call("run", lines)
    }

    #[track_caller]
    fn call(&self, verb: &str, lines: &str) -> String {
        let place = self.place.path().to_str().expect("temporary folders have plain names");
        let lines = format!("set -exo pipefail\n{lines}");
        let Output { status, stdout, stderr } = script(&[verb, self.suite, place, "bash", "-c", &lines])
            .stdin(Stdio::null())
            .output()
            .expect("bash starts");
        let stdout = String::from_utf8_lossy(&stdout).into_owned();
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{verb} {}: {status}\n-- stdout\n{stdout}-- stderr\n{stderr}", self.suite);
        stdout
    }
}

fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/debian/tree"));
    command.args(arguments);
    command
}
