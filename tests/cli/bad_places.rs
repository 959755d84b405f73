//! Faults of the machine: no root, a read-only or full disk, secrets that others may read. One clear sentence, an exit
//! code, and the files as they were.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::need::{Need, met};
use crate::sandbox::{Sandbox, said};

/// The user and the group of nobody.
const NOBODY: u32 = 65534;

#[test]
fn usage_errors_end_with_2() {
    let sandbox = Sandbox::new();
    for arguments in [
        &["frobnicate"][..],
        &["add"],
        &["add", "no/good"],
        &["up", "--backend", "telepathy"],
        &["export", "--all"],
        &["add", "phone", "--public-key", "short"],
    ] {
        let plain = sandbox.run(arguments).exits(2).tells(&["error"]);
        assert_eq!(plain.out, "");
        let said = sandbox.run(&[&["--json"], arguments].concat()).exits(2);
        assert_eq!(said.err, plain.err);
        let json: serde_json::Value = serde_json::from_str(&said.out).expect("with --json it is an object");
        let told = json["error"]["message"].as_str().expect("it has a message");
        assert!(!told.is_empty() && !told.contains("error:") && json["version"] == 1, "{json}");
        assert!(json["problems"].is_array(), "{json}");
    }
    assert!(sandbox.files().is_empty());
}

#[test]
fn commands_without_a_network_say_how_to_get_one() {
    let sandbox = Sandbox::new();
    let named = &["--network", "wg7", "add", "phone"][..];
    for arguments in [&["list"][..], &["check"], &["add", "phone"], &["export", "windows"], named] {
        let said = sandbox.run(arguments).tells(&[" init` "]);
        assert!(matches!(said.code, 1 | 3), "{said:#?}");
    }
    assert!(sandbox.files().is_empty());
}

#[test]
fn init_overwrites_nothing() {
    let sandbox = Sandbox::with_network();
    let before = sandbox.files();
    sandbox.run(&["init"]).exits(1).tells(&["network.toml"]);
    assert_eq!(sandbox.files(), before);
}

#[test]
fn names_that_are_taken_or_unknown_are_told() {
    let sandbox = Sandbox::with_network();
    let before = sandbox.files();
    for arguments in [
        &["add", "windows"][..],
        &["add", "phone", "--address", "192.168.3.2"],
        &["add", "phone", "--address", "10.0.0.1"],
        &["add", "phone", "--site", "172.19.0.0/16"],
        &["add", "phone", "--site", "192.168.3.128/25"],
        &["add", "phone", "--site", "10.1.2.3/16"],
        &["add", "phone", "--platform", "toaster"],
        &["remove", "nobody"],
        &["disable", "nobody"],
        &["export", "nobody"],
    ] {
        let said = sandbox.run(arguments).tells(&[]);
        assert!(matches!(said.code, 1..=3) && said.err.lines().count() <= 6, "{arguments:?}: {said:#?}");
        assert_eq!(sandbox.files(), before, "{arguments:?} changed something");
    }
}

#[test]
fn a_full_subnet_is_told() {
    let sandbox = Sandbox::new();
    let small = sandbox
        .run(&["init", "--endpoint", "192.0.2.1:51820", "--subnet", "10.6.0.0/30"])
        .tells(&["10.6.0.0/30"]);
    assert!(matches!(small.code, 1..=3), "{small:#?}");
    assert!(sandbox.files().is_empty(), "nothing was written");
    sandbox.run(&["init", "--endpoint", "192.0.2.1:51820", "--subnet", "10.6.0.0/29"]).exits(0);
    for name in ["a", "b", "c"] {
        sandbox.run(&["add", name]).exits(0);
    }
    let before = sandbox.files();
    let full = sandbox.run(&["add", "d"]).tells(&["10.6.0.0/29"]);
    assert!(matches!(full.code, 1..=3), "{full:#?}");
    assert_eq!(sandbox.files(), before);
}

#[test]
fn secrets_that_others_may_read_are_refused_with_the_remedy() {
    let sandbox = Sandbox::with_network();
    let secrets = sandbox.path("wg0/secrets.toml");
    for mode in [0o644, 0o640, 0o606] {
        std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(mode))
            .expect("the mode can be set");
        let before = sandbox.files();
        for arguments in [&["export", "windows"][..], &["up"], &["add", "phone"]] {
            let said = sandbox.run(arguments).exits(1).tells(&["chmod", "600", "secrets.toml"]);
            assert!(!said.out.contains("PrivateKey"), "{said:#?}");
        }
        assert_eq!(sandbox.files(), before);
    }
    // What needs no secret still works.
    sandbox.run(&["list"]).exits(0);
}

#[test]
fn swapped_keys_are_told() {
    let sandbox = Sandbox::with_network();
    let file = sandbox.path("wg0/secrets.toml");
    let text = std::fs::read_to_string(&file).expect("the secrets are text");
    let key_of = |name: &str| {
        let line = text
            .lines()
            .find(|l| l.starts_with(&format!("{name} = ")))
            .expect("the first line is the private key's");
        line.split('"').nth(1).expect("a key is in quotes").to_owned()
    };
    let (windows, docker) = (key_of("windows"), key_of("docker"));
    let swapped = text.replace(&windows, "?").replace(&docker, &windows).replace('?', &docker);
    sandbox.write("wg0/secrets.toml", swapped.as_bytes());
    let before = sandbox.files();
    for arguments in [&["export", "windows"][..], &["up"]] {
        let said = sandbox.run(arguments).exits(3).tells(&["secrets.toml:", "windows"]);
        assert!(!said.err.contains(&windows) && !said.err.contains(&docker), "a secret is told: {said:#?}");
    }
    assert_eq!(sandbox.files(), before);
}

#[test]
fn what_must_be_put_right_in_the_secrets_comes_first() {
    let sandbox = Sandbox::with_network();
    let file = sandbox.path("wg0/secrets.toml");
    let text = std::fs::read_to_string(&file).expect("the secrets are text");
    let (head, keys) = text.split_once("[private_keys]\n").expect("it has private keys");
    let key_of = |name: &str| {
        let line = keys.lines().find_map(|l| l.strip_prefix(&format!("{name} = "))).expect("each has one");
        line.to_owned()
    };
    // A key of a node that is not there, before one that is another node's.
    let stray = format!("gone = {}\n", key_of("docker"));
    let bad = keys.replacen(&key_of("windows"), &key_of("docker"), 1);
    sandbox.write("wg0/secrets.toml", format!("{head}[private_keys]\n{stray}{bad}").as_bytes());
    let said = sandbox.run(&["export", "wsl"]).exits(3).tells(&["the file of the secrets has a fault"]);
    let at = |word: &str| said.err.find(word).unwrap_or_else(|| panic!("{word}: {said:#?}"));
    assert!(at("error[key-mismatch]") < at("warning["), "{said:#?}");
}

#[test]
fn without_root_it_says_so_and_changes_nothing() {
    if !met(&[Need::Root]) {
        return;
    }
    let sandbox = Sandbox::with_network();
    // Somewhere that everyone may look into, with the program: the build folder may be closed to others.
    let public = tempfile::tempdir().expect("a folder can be made");
    std::fs::set_permissions(public.path(), std::fs::Permissions::from_mode(0o755))
        .expect("the mode can be set");
    let program = public.path().join("wgrelay");
    std::fs::copy(env!("CARGO_BIN_EXE_wgrelay"), &program).expect("the program can be copied");
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).uid(NOBODY).gid(NOBODY).current_dir("/").env_remove("WGRELAY_DIR");
        said(&mut command)
    };
    let dir = public.path().join("etc");
    let dir = dir.to_str().expect("the path is text");
    as_nobody(&["--dir", dir, "init"]).exits(1).tells(&[dir]);
    assert!(!public.path().join("etc").exists());
    // A network of nobody's own: all but the machine is theirs.
    std::fs::create_dir(dir).expect("a folder can be made");
    std::os::unix::fs::chown(dir, Some(NOBODY), Some(NOBODY)).expect("root gives folders away");
    as_nobody(&["--dir", dir, "init", "--endpoint", "192.0.2.1:51820"]).exits(0);
    as_nobody(&["--dir", dir, "export", "windows"]).exits(0);
    as_nobody(&["--dir", dir, "up"]).exits(1).tells(&["root"]);
    as_nobody(&["--dir", dir, "down"]).exits(1).tells(&["root"]);
    // And somebody else's network is not theirs to read.
    let other = sandbox.path("");
    as_nobody(&["--dir", other.to_str().expect("the path is text"), "list"]).exits(1).tells(&[]);
}

/// Runs a script in a mount namespace of its own, where $DIR is a small file system with a network, $WGRELAY the program.
fn on_a_small_disk(script: &str) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let whole = format!(
        "set -eu
        mount -t tmpfs -o size=256k tmpfs $DIR
        wgrelay() {{ $WGRELAY --dir $DIR \"$@\"; }}
        fails() {{ code=0; wgrelay \"$@\" 2>$ERR || code=$?; [ $code = 1 ] || {{ echo \"$*: exit $code\"; cat $ERR; exit 9; }}; }}
        wgrelay init --endpoint 192.0.2.1:51820
        sum() {{ sha256sum $DIR/wg0/network.toml $DIR/wg0/secrets.toml; ls -A $DIR/wg0; }}
        before=$(sum)
        {script}
        [ \"$before\" = \"$(sum)\" ] || {{ echo changed: \"$before\" \"$(sum)\"; exit 9; }}"
    );
    let error = tempfile::NamedTempFile::new().expect("a file can be made");
    let ended = said(
        Command::new("unshare")
            .args(["--mount", "bash", "-c", &whole])
            .env("DIR", folder.path())
            .env("WGRELAY", env!("CARGO_BIN_EXE_wgrelay"))
            .env("ERR", error.path()),
    );
    assert_eq!(ended.code, 0, "{ended:#?}");
}

#[test]
fn a_read_only_disk_is_told() {
    if !met(&[Need::Root, Need::Program("unshare")]) {
        return;
    }
    on_a_small_disk(
        "mount -o remount,ro $DIR
        for what in 'add phone' 'remove windows' 'disable windows'; do
            fails $what
            grep -qi 'read-only' $ERR || { cat $ERR; exit 9; }
        done
        wgrelay list; wgrelay check; wgrelay export windows >/dev/null",
    );
}

#[test]
fn a_full_disk_is_told_and_costs_nothing() {
    if !met(&[Need::Root, Need::Program("unshare")]) {
        return;
    }
    on_a_small_disk(
        "dd if=/dev/zero of=$DIR/filler bs=1k 2>/dev/null || :
        for what in 'add phone' 'remove windows' 'disable windows'; do
            fails $what
            grep -qi 'no space' $ERR || { cat $ERR; exit 9; }
        done
        wgrelay list; wgrelay export windows >/dev/null
        rm $DIR/filler
        wgrelay add phone; wgrelay remove phone; rm -f $DIR/wg0/.lock; touch $DIR/wg0/.lock",
    );
}

#[test]
fn a_pipe_is_no_file_and_keeps_nobody_waiting() {
    let sandbox = Sandbox::with_network();
    let make = |name: &str| {
        let _ = std::fs::remove_file(sandbox.path(name));
        nix::unistd::mkfifo(&sandbox.path(name), nix::sys::stat::Mode::S_IRUSR).expect("a pipe can be made");
    };
    make("laptop.conf");
    let conf = sandbox.path("laptop.conf");
    sandbox.run(&["lint", conf.to_str().expect("a plain name")]).exits(1).tells(&["named pipe", "hint"]);
    make("wg0/secrets.toml");
    sandbox.run(&["export", "windows"]).exits(1).tells(&["secrets.toml is not a regular file", "hint"]);
    make("wg0/network.toml");
    sandbox.run(&["check"]).exits(1).tells(&["network.toml is not a regular file", "hint"]);
    make("docker.bundle");
    if met(&[Need::Root]) {
        let bundle = sandbox.path("docker.bundle");
        let said = sandbox.run(&["up", "--bundle", bundle.to_str().expect("a plain name")]).exits(1);
        said.tells(&["docker.bundle is not a regular file", "hint"]);
    }
}

#[test]
fn out_that_cannot_be_written_is_told_with_out() {
    let sandbox = Sandbox::with_network();
    let pipe = sandbox.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe can be made");
    let name = pipe.to_str().expect("a plain name");
    sandbox.run(&["export", "windows", "--out", name]).exits(1).tells(&["no program reads", "hint"]);
    let reader =
        Command::new("cat").arg(&pipe).stdout(std::process::Stdio::piped()).spawn().expect("cat starts");
    // It may not have opened the pipe yet.
    let began = std::time::Instant::now();
    while sandbox.run(&["export", "windows", "--out", name]).code != 0 {
        assert!(began.elapsed().as_secs() < 20, "a pipe with a reader is written to");
    }
    let read = reader.wait_with_output().expect("cat ends");
    assert!(String::from_utf8_lossy(&read.stdout).contains("PrivateKey"));
    if !met(&[Need::Root, Need::Program("unshare")]) {
        return;
    }
    on_a_small_disk(
        "mkdir $DIR/there; before=$(sum); mount -o remount,ro $DIR
        for where in \"--all --out $DIR/there\" \"--all --out $DIR/new\" \"windows --out $DIR/there/w.conf\"; do
            fails export $where
            grep -q 'another folder with --out' $ERR || { cat $ERR; exit 9; }
        done",
    );
}

#[test]
fn a_file_that_cannot_be_replaced_leaves_all_as_they_were() {
    if !met(&[Need::Root, Need::Program("chattr")]) {
        return;
    }
    let sandbox = Sandbox::with_network();
    let dir = sandbox.path("out");
    let out = dir.to_str().expect("a plain name");
    sandbox.run(&["export", "--all", "--out", out]).exits(0);
    let before = sandbox.files();
    let attribute = |how: &str| said(Command::new("chattr").arg(how).arg(dir.join("docker.conf"))).code == 0;
    if !attribute("+i") {
        // This file system has no such attribute.
        return;
    }
    let again = sandbox.run(&["export", "--all", "--out", out, "--format", "png"]);
    assert!(attribute("-i"));
    again.exits(1).tells(&["docker.conf", "no file was changed", "chattr -i"]);
    assert_eq!(sandbox.files(), before);
}

#[test]
fn who_gets_no_code_is_told_with_the_reason() {
    let sandbox = Sandbox::with_network();
    sandbox.run(&["add", "own", "--public-key", "aC+64g80KLzsTBF8V76hjUOMR1jZcpCbQdviKITg1rg="]).exits(0);
    let dir = sandbox.path("out").display().to_string();
    let said = sandbox.run(&["export", "--all", "--out", &dir, "--format", "png"]).exits(0);
    let count = std::fs::read_dir(&dir).expect("it was made").count();
    said.tells(&[
        &format!("wrote {count} files"),
        "wsl has its .conf alone: a relay",
        "own has its .conf alone: a code",
    ]);
}

#[test]
fn a_file_larger_than_any_of_ours_is_told_with_its_place() {
    let sandbox = Sandbox::with_network();
    sandbox.write("wg0/network.toml", &vec![b'#'; (64 << 20) + 1]);
    sandbox.run(&["check"]).exits(3).tells(&["wg0/network.toml:1:1: error[too-large]", "hint"]);
}

#[test]
fn hints_fit_the_file_that_is_missing() {
    let sandbox = Sandbox::with_network();
    std::fs::remove_file(sandbox.path("wg0/secrets.toml")).expect("it is there");
    sandbox.run(&["export", "windows"]).exits(1).tells(&["secrets.toml", "backup"]);
    if met(&[Need::Root]) {
        let said =
            sandbox.run(&["up", "--bundle", "nowhere.bundle"]).exits(1).tells(&["is that the right path?"]);
        assert!(!said.err.contains(" init`"), "{said:#?}");
    }
}

#[test]
fn an_edited_bundle_is_noticed() {
    use wgrelay::config::{Bundle, Secrets, parse_network};
    use wgrelay::store::folder::Folder;
    use wgrelay::store::{InstalledBundle, Note};
    let made = Sandbox::with_network();
    let read = |name: &str| std::fs::read(made.path(name)).expect("init wrote it");
    let network = parse_network(&read("wg0/network.toml"), "network.toml").value.expect("it is valid");
    let secrets = Secrets::parse(&read("wg0/secrets.toml"), "secrets.toml").value.expect("it is valid");
    for this in network.nodes.keys() {
        let bundle = Bundle::make(&network, &secrets, this).expect("it is a node");
        let sandbox = Sandbox::new();
        let folder = Folder::new(&sandbox.path(""), &network.name);
        let mark = InstalledBundle { this: this.clone(), made_from: bundle.made_from.clone() };
        folder
            .install(&bundle.network_text, &bundle.secrets.render(), &mark, Note::default())
            .expect("the folder is empty");
        let said = sandbox.run(&["check"]).exits(0);
        assert!(!said.err.contains("edited-bundle"), "{this}: {said:#?}");
        let edited = bundle.network_text.replace("192.168.33.0/24", "192.168.34.0/24");
        assert_ne!(edited, bundle.network_text);
        sandbox.write("wg0/network.toml", edited.as_bytes());
        sandbox.run(&["check"]).exits(0).tells(&["network.toml:1:1: warning[edited-bundle]", "hint"]);
    }
}

#[test]
fn a_name_of_two_lines_makes_no_line_of_its_own() {
    let sandbox = Sandbox::with_network();
    let name = "a\nerror[x]: b.conf";
    sandbox.write(name, b"[Pear]\n");
    let file = sandbox.path(name).display().to_string();
    for line in
        [&["lint", file.as_str()][..], &["import", &file], &["restore", &file], &["--dir", &file, "check"]]
    {
        let said = sandbox.run(line);
        assert!(said.code != 0, "{said:#?}");
        let invented = said.err.lines().find(|l| l.starts_with("error[x]"));
        assert_eq!(invented, None, "{line:?}: {said:#?}");
    }
    // The command that is proposed is one line, and a shell reads the same name out of it.
    let told = sandbox.run(&["import", &file]).exits(3);
    let hint = told.err.split("`wgrelay lint ").nth(1).and_then(|h| h.split('`').next()).expect("a hint");
    let shell = Command::new("bash").args(["-c", &format!("printf %s {hint}")]).output();
    assert_eq!(String::from_utf8_lossy(&shell.expect("bash runs").stdout), file, "{hint}");
}
