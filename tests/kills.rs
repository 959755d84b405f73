//! Commands killed at every system call: whatever is left, the next command finishes it or takes it back, nothing is torn,
//! and no key is lost. `WGRELAY_KILLS` says how many kills of each command; 300 unless told (scripts/soak kills).
#![expect(clippy::disallowed_methods, reason = "tests run the program on files")]
#![expect(clippy::print_stdout, reason = "how many kills there were is worth knowing")]

use std::path::Path;
use std::process::{Command, Stdio};

use wgrelay::config::{Secrets, parse_network};
use wgrelay::store::folder::Folder;
use wgrelay::store::{Contents, Store as _};

#[path = "rig/killed.rs"]
mod killed;

use killed::{End, killed_at};

fn wgrelay(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgrelay"));
    command.arg("--dir").arg(dir).args(words).env_remove("WGRELAY_DIR");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a folder of its own");
    for entry in std::fs::read_dir(from).expect("it is there").map(|e| e.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("the file is copied");
        }
    }
}

/// Fails unless what a folder holds is whole: the two files fit each other, and each node that had its key here has one.
#[track_caller]
fn whole(contents: &Contents, what: &str) {
    let network = contents.network.as_ref().and_then(|text| parse_network(text, "network.toml").value);
    let network = network.unwrap_or_else(|| panic!("{what}: the network is not valid"));
    let secrets = contents.secrets.as_ref().unwrap_or_else(|| panic!("{what}: no secrets"));
    let parsed = Secrets::parse_for(secrets, "secrets.toml", &network);
    assert!(parsed.problems.is_empty(), "{what}: {:?}", parsed.problems);
    let secrets = parsed.value.expect("no problem was told");
    let keyed: Vec<_> = secrets.private_keys.keys().collect();
    assert_eq!(keyed, network.nodes.keys().collect::<Vec<_>>(), "{what}: every node has its key here");
}

/// Kills a command at its system calls, as many as there are, and lets each of `next` be the next command in turn.
fn survives(words: &[&str]) {
    // In memory: no power fails here, and the syncs of so many runs take their time.
    let base = tempfile::tempdir_in("/dev/shm").expect("a folder can be made");
    let origin = base.path().join("origin");
    assert!(
        wgrelay(&origin, &["init", "--endpoint", "192.0.2.1:51820"]).status().expect("it runs").success()
    );
    let made = base.path().join("made");
    copy(&origin, &made);
    let End::Exited(0, calls) = killed_at(&mut wgrelay(&made, words), u64::MAX / 2) else {
        panic!("{words:?} works where nobody kills it")
    };
    let kills: u64 = std::env::var("WGRELAY_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let name = "wg0".parse().expect("a name");
    let before = Folder::new(&origin, &name).load().expect("it is read").digests();
    let nodes = |contents: &Contents| -> Vec<_> {
        let text = contents.network.as_ref().expect("a network");
        parse_network(text, "network.toml").value.expect("a valid network").nodes.keys().cloned().collect()
    };
    let after = nodes(&Folder::new(&made, &name).load().expect("it is read"));
    let (mut finished, mut taken_back) = (0, 0);
    for n in 0..kills {
        // All of them over and over, or the last ones: the first ones only start the program.
        let nth = if kills >= calls { n % calls + 1 } else { calls - kills + n + 1 };
        let dir = base.path().join("run");
        copy(&origin, &dir);
        let end = killed_at(&mut wgrelay(&dir, words), nth);
        let what = format!("{words:?} killed at call {nth} of {calls} ({end:?})");
        let folder = Folder::new(&dir, &name);
        // A reader first, or the writer itself, or whoever brings the network up.
        match n % 4 {
            0 => whole(&folder.load().unwrap_or_else(|e| panic!("{what}: {e}")), &what),
            1 => {
                let said = wgrelay(&dir, &["export", "wsl"]).status().expect("it runs");
                assert!(said.success(), "{what}: export says {said}");
            }
            2 => _ = wgrelay(&dir, words).status().expect("it runs"),
            _ => drop(folder.lock_to_apply().unwrap_or_else(|e| panic!("{what}: {e}"))),
        }
        let contents = folder.load().unwrap_or_else(|e| panic!("{what}: {e}"));
        whole(&contents, &what);
        assert!(!dir.join("wg0/.pending").exists(), "{what}: it is still on its way");
        let digests = contents.digests();
        if digests == before {
            taken_back += 1;
        } else {
            finished += 1;
            assert_eq!(nodes(&contents), after, "{what}");
            // What was there before is kept.
            let history = folder.history().unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(history.iter().any(|r| r.files == before), "{what}: {history:?}");
            assert_eq!(history.last().map(|r| &r.files), Some(&digests), "{what}");
        }
        std::fs::remove_dir_all(&dir).expect("it is ours");
    }
    println!(
        "{words:?}: {kills} kills over {calls} calls, {finished} finished, {taken_back} taken back, 0 stuck"
    );
    assert!(finished > 0 && taken_back > 0, "the kills come before and after the change counts");
}

#[test]
fn rotate() {
    survives(&["rotate", "docker"]);
}

#[test]
fn remove() {
    survives(&["remove", "windows"]);
}

#[test]
fn rename() {
    survives(&["rename", "docker", "compute"]);
}

#[test]
fn add() {
    survives(&["add", "phone", "--site", "10.9.0.0/24"]);
}
