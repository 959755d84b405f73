//! Places where others may be at work: what they put in the way of a file of ours gets nothing, and loses nothing of anybody's.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};

use crate::need::{Need, met};
use crate::sandbox::{Sandbox, said};

const SOMEBODY: u32 = 12_345;

fn give_away(path: &std::path::Path) {
    std::os::unix::fs::lchown(path, Some(SOMEBODY), None).expect("root may");
}

#[test]
fn a_lock_that_is_a_link_truncates_nothing() {
    let sandbox = Sandbox::with_network();
    fs::write(sandbox.path("precious"), "kept").expect("a file can be written");
    fs::remove_file(sandbox.path("wg0/.lock")).expect("init locked the folder");
    symlink(sandbox.path("precious"), sandbox.path("wg0/.lock")).expect("a link can be made");
    for line in [&["add", "x"][..], &["disable", "windows"]] {
        sandbox.run(line).exits(1).tells(&[".lock is not a regular file"]);
    }
    assert_eq!(fs::read_to_string(sandbox.path("precious")).expect("it is there"), "kept");
}

#[test]
fn a_folder_of_somebody_else_is_refused() {
    if !met(&[Need::Root]) {
        return;
    }
    let sandbox = Sandbox::with_network();
    give_away(&sandbox.path("wg0"));
    sandbox.run(&["add", "x"]).exits(1).tells(&["wg0 ", "belongs to user 12345"]);
    sandbox.run(&["export", "--all", "--out", &sandbox.path("wg0").display().to_string()]).exits(1);
    std::os::unix::fs::lchown(sandbox.path("wg0"), Some(0), None).expect("root may");
    sandbox.run(&["add", "x"]).exits(0);
    // The folder around it: who has it may put another one in its place.
    give_away(&sandbox.path(""));
    sandbox.run(&["add", "y"]).exits(1).tells(&["belongs to user 12345"]);
    std::os::unix::fs::lchown(sandbox.path(""), Some(0), None).expect("root may");
}

/// Whoever may write where the network is, or the file itself, would say what root brings up.
#[test]
fn what_others_may_write_is_not_believed() {
    if !met(&[Need::Root]) {
        return;
    }
    let sandbox = Sandbox::with_network();
    let chmod = |name: &str, mode| {
        fs::set_permissions(sandbox.path(name), fs::Permissions::from_mode(mode)).expect("root may");
    };
    let refuses = |what: &str, says: &str| {
        for line in [&["add", "x"][..], &["disable", "windows"], &["rotate", "windows"]] {
            let told = sandbox.run(line).exits(1).tells(&[what, says]);
            assert!(!told.err.contains("chown 0"), "{told:?}");
        }
    };
    let before = fs::read(sandbox.path("wg0/network.toml")).expect("it is there");
    for (name, mode, back) in [
        ("wg0", 0o777, 0o700),
        ("wg0", 0o1777, 0o700),
        ("", 0o777, 0o700),
        ("wg0/network.toml", 0o666, 0o644),
    ] {
        chmod(name, mode);
        refuses(name, "can be changed by others");
        chmod(name, back);
    }
    // A group of others; root's own is nobody.
    std::os::unix::fs::chown(sandbox.path("wg0"), None, Some(SOMEBODY)).expect("root may");
    chmod("wg0", 0o770);
    refuses("wg0", "can be changed by others");
    let kept = fs::read(sandbox.path("wg0/network.toml")).expect("it is there");
    assert_eq!(kept, before);
    std::os::unix::fs::chown(sandbox.path("wg0"), None, Some(0)).expect("root may");
    sandbox.run(&["add", "of-roots-group"]).exits(0);
    chmod("wg0", 0o700);
    give_away(&sandbox.path("wg0/network.toml"));
    sandbox.run(&["add", "x"]).exits(1).tells(&["network.toml", "belongs to user 12345"]);
    std::os::unix::fs::lchown(sandbox.path("wg0/network.toml"), Some(0), None).expect("root may");
    // As /tmp is.
    chmod("", 0o1777);
    sandbox.run(&["add", "x"]).exits(0);
}

#[test]
fn a_private_key_goes_into_nobody_elses_pipe() {
    if !met(&[Need::Root]) {
        return;
    }
    let sandbox = Sandbox::with_network();
    let folder = sandbox.path("theirs");
    fs::create_dir(&folder).expect("a folder can be made");
    let pipe = folder.join("out");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o666)).expect("a pipe can be made");
    let mut reader = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(&pipe)
        .expect("somebody reads");
    give_away(&pipe);
    give_away(&folder);
    let out = pipe.display().to_string();
    sandbox.run(&["export", "windows", "--out", &out]).exits(1).tells(&["belongs to user 12345"]);
    let mut read = Vec::new();
    let _ = std::io::Read::read_to_end(&mut reader, &mut read);
    assert_eq!(read, b"");
    // A link of theirs on the way leads nowhere; one of ours, and a file in their folder, are fine.
    fs::create_dir(sandbox.path("ours")).expect("a folder can be made");
    symlink(sandbox.path("ours"), folder.join("link")).expect("a link can be made");
    give_away(&folder.join("link"));
    let at = |name: &str| folder.join(name).display().to_string();
    sandbox.run(&["export", "windows", "--out", &at("link/key")]).exits(1);
    assert!(!sandbox.path("ours/key").exists());
    // A link in the place of the file is replaced, not followed.
    fs::write(sandbox.path("precious"), "kept").expect("a file can be written");
    symlink(sandbox.path("precious"), folder.join("file")).expect("a link can be made");
    sandbox.run(&["export", "windows", "--out", &at("file")]).exits(0);
    assert_eq!(fs::read_to_string(sandbox.path("precious")).expect("it is there"), "kept");
    let about = fs::symlink_metadata(folder.join("file")).expect("it was written");
    assert!(about.is_file() && about.mode() & 0o777 == 0o600 && about.uid() == 0);
}

#[test]
fn what_the_caller_opened_is_written_to() {
    let sandbox = Sandbox::with_network();
    let told = sandbox.run(&["export", "windows", "--out", "/dev/stdout"]).exits(0);
    assert!(told.out.contains("[Interface]"), "{told:?}");
    sandbox.run(&["export", "windows", "--out", "/dev/null"]).exits(0);
}

#[test]
fn no_umask_opens_a_folder() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path("a/b");
    let line = format!(
        "umask 0; exec {} --dir {} init --endpoint 192.0.2.1",
        env!("CARGO_BIN_EXE_wgrelay"),
        dir.display()
    );
    said(std::process::Command::new("sh").args(["-c", &line])).exits(0);
    for (path, mode) in [("a", 0o755), ("a/b", 0o755), ("a/b/wg0", 0o700), ("a/b/wg0/secrets.toml", 0o600)] {
        let found = fs::metadata(sandbox.path(path)).expect("it was made").permissions().mode() & 0o777;
        assert_eq!(found, mode, "{path} has {found:o}");
    }
}

/// Escapes in what comes from outside are shown, not obeyed, in text and in JSON alike.
#[test]
fn no_escape_reaches_the_terminal() {
    let evil = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\r";
    let network = "[network]\nname = \"wg0\"\nsubnet = \"10.0.0.0/24\"\n[node.a]\nrole = \"relay\"\n";
    let quoted = "\\u001b[2J\\u001b]0;x\\u0007\\u009b31m\\u202e\\r";
    let sandbox = Sandbox::holding(
        format!("{network}platform = \"{quoted}\"\nendpoint = \"{quoted}\"\naddress = \"{quoted}\"\n[[node.a.site]]\nsubnet = \"10.1.0.0/16\"\ninterface = \"{quoted}\"\n[node.\"{quoted}\"]\n\"{quoted}\" = \"{quoted}\"\n")
            .as_bytes(),
    );
    sandbox.write(
        "x.conf",
        format!("# {evil}\n[Interface]\n{evil} = {evil}\n[{evil}]\n[Peer] {evil}\nEndpoint = {evil}\n")
            .as_bytes(),
    );
    let conf = sandbox.path("x.conf").display().to_string();
    let lines: [&[&str]; 8] = [
        &["check"],
        &["list"],
        &["show", "a"],
        &["lint", &conf],
        &["import", &conf, "--network", "wg7"],
        &["add", evil],
        &["trace", evil, evil],
        &["set", evil, evil],
    ];
    for line in lines {
        for more in [&[][..], &["--json"], &["--color", "always"]] {
            let words: Vec<&str> = line.iter().chain(more).copied().collect();
            let told = sandbox.run(&words);
            let all = format!("{}{}", told.out, told.err);
            for bad in ["\u{1b}[2J", "\u{1b}]", "\u{7}", "\u{9b}", "\u{202e}", "\r"] {
                assert!(!all.contains(bad), "{words:?} prints {bad:?}: {all:?}");
            }
            assert!(more.contains(&"always") || !all.contains('\u{1b}'), "{words:?}: {all:?}");
        }
    }
}
