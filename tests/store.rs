//! The folder of a network on real file systems: full, read-only, shared with another writer, open to others.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops where it fails, and says why it did not run"
)]
#![expect(clippy::disallowed_methods, reason = "these tests are about files")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use wgrelay::store::files::{NetworkDir, StoreError, networks, read_text, write_atomic};

fn folder(base: &Path) -> NetworkDir {
    let dir = NetworkDir::new(base, &"wg0".parse().unwrap());
    dir.create().unwrap();
    dir
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs a test on a file system of its own, in a mount namespace of its own.
fn on_tmpfs(options: &'static str, test: impl FnOnce(&Path) + Send + 'static) {
    let is_required = std::env::var_os("WGRELAY_REAL").is_some_and(|v| v == "1");
    let ran = std::thread::spawn(move || {
        let place = tempfile::tempdir().unwrap();
        let none = None::<&str>;
        // A thread shares its root with the others until it has a file system context of its own.
        let flags = nix::sched::CloneFlags::CLONE_NEWNS | nix::sched::CloneFlags::CLONE_FS;
        let made = nix::sched::unshare(flags)
            .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))
            .and_then(|()| {
                mount(Some("tmpfs"), place.path(), Some("tmpfs"), MsFlags::empty(), Some(options))
            });
        if let Err(error) = made {
            assert!(!is_required, "no file system: {error}; run as root");
            println!("not run: no file system of its own ({error}); run as root");
            return;
        }
        test(place.path());
        nix::mount::umount2(place.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    });
    if let Err(panic) = ran.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn files_and_modes() {
    let base = tempfile::tempdir().unwrap();
    let dir = folder(base.path());
    assert!(!dir.exists());
    assert_eq!(networks(base.path()).unwrap(), []);
    let lock = dir.lock(Duration::ZERO).unwrap();
    dir.write_network(&lock, "format = 1\n").unwrap();
    dir.write_secrets(&lock, "[private_keys]\n").unwrap();
    assert_eq!(dir.read_network().unwrap(), "format = 1\n");
    assert_eq!(dir.read_secrets().unwrap().unwrap().as_str(), "[private_keys]\n");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir.path()), 0o700);
    assert_eq!(mode(&dir.secrets_file()), 0o600);
    assert_eq!(names(dir.path()), [".lock", "network.toml", "secrets.toml"]);
    fs::create_dir(base.path().join("not a network")).unwrap();
    fs::create_dir(base.path().join("empty")).unwrap();
    assert_eq!(networks(base.path()).unwrap(), ["wg0".parse().unwrap()]);
    assert_eq!(networks(&base.path().join("absent")).unwrap(), []);
}

#[test]
fn what_an_earlier_writer_left_is_reclaimed() {
    let base = tempfile::tempdir().unwrap();
    let dir = folder(base.path());
    fs::write(dir.path().join(".secrets.toml.new"), "half a fi").unwrap();
    let lock = dir.lock(Duration::ZERO).unwrap();
    dir.write_secrets(&lock, "whole\n").unwrap();
    assert_eq!(names(dir.path()), [".lock", "secrets.toml"]);
    // Not even a link that somebody laid there is followed.
    let victim = base.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    std::os::unix::fs::symlink(&victim, dir.path().join(".secrets.toml.new")).unwrap();
    dir.write_secrets(&lock, "again\n").unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(dir.read_secrets().unwrap().unwrap().as_str(), "again\n");
}

#[test]
fn secrets_that_others_can_read_are_refused() {
    let base = tempfile::tempdir().unwrap();
    let dir = folder(base.path());
    assert!(dir.read_secrets().unwrap().is_none());
    fs::write(dir.secrets_file(), "").unwrap();
    for mode in [0o644, 0o640, 0o602] {
        fs::set_permissions(dir.secrets_file(), fs::Permissions::from_mode(mode)).unwrap();
        let error = dir.read_secrets().unwrap_err();
        assert!(matches!(&error, StoreError::Exposed { mode: m, .. } if *m == mode), "{error}");
        assert!(error.hint().starts_with(&format!("`chmod 600 {}`", dir.secrets_file().display())));
    }
    fs::set_permissions(dir.secrets_file(), fs::Permissions::from_mode(0o600)).unwrap();
    dir.read_secrets().unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(dir.secrets_file(), Some(12345), None).unwrap();
        let error = dir.read_secrets().unwrap_err();
        assert!(matches!(error, StoreError::Owner { owner: 12345, .. }), "{error}");
    }
}

#[test]
fn one_writer_at_a_time() {
    let base = tempfile::tempdir().unwrap();
    let dir = folder(base.path());
    let held = dir.lock(Duration::ZERO).unwrap();
    let error = dir.lock(Duration::from_millis(120)).unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with(&format!("is locked by process {}", std::process::id())), "{text}");
    let other = dir.clone();
    let start = Instant::now();
    let waiting = std::thread::spawn(move || other.lock(Duration::from_secs(10)).map(|_| start.elapsed()));
    std::thread::sleep(Duration::from_millis(150));
    drop(held);
    let waited = waiting.join().unwrap().unwrap();
    assert!(waited >= Duration::from_millis(150) && waited < Duration::from_secs(5), "{waited:?}");
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    on_tmpfs("size=64k", |base| {
        let dir = folder(base);
        let lock = dir.lock(Duration::ZERO).unwrap();
        dir.write_network(&lock, "old\n").unwrap();
        let error = dir.write_network(&lock, &"x".repeat(100_000)).unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        assert!(error.hint().contains("make room"), "{}", error.hint());
        assert_eq!(dir.read_network().unwrap(), "old\n");
        assert_eq!(names(dir.path()), [".lock", "network.toml"]);
    });
}

#[test]
fn a_read_only_disk_says_so() {
    on_tmpfs("size=64k", |base| {
        let dir = folder(base);
        let lock = dir.lock(Duration::ZERO).unwrap();
        dir.write_network(&lock, "old\n").unwrap();
        drop(lock);
        let none = None::<&str>;
        mount(none, base, none, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none).unwrap();
        let error = dir.lock(Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("Read-only file system"), "{error}");
        assert!(error.hint().contains("--dir"), "{}", error.hint());
        let error = write_atomic(&dir.network_file(), 0o644, b"new").unwrap_err();
        assert!(error.to_string().contains("network.toml: Read-only file system"), "{error}");
        assert_eq!(dir.read_network().unwrap(), "old\n");
        // What changes the host alone still excludes others.
        let held = dir.lock_to_apply(Duration::ZERO).unwrap();
        assert!(held.excludes());
        assert!(matches!(dir.lock_to_apply(Duration::ZERO), Err(StoreError::Locked { holder: None, .. })));
        drop(held);
        mount(none, base, none, MsFlags::MS_REMOUNT, none).unwrap();
        fs::remove_file(dir.path().join(".lock")).unwrap();
        mount(none, base, none, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none).unwrap();
        assert!(!dir.lock_to_apply(Duration::ZERO).unwrap().excludes());
        assert!(NetworkDir::new(base, &"wg1".parse().unwrap()).lock_to_apply(Duration::ZERO).is_err());
    });
}

#[test]
fn what_is_no_text_is_told_with_its_place() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("network.toml");
    fs::write(&path, b"abc\xff").unwrap();
    assert!(matches!(read_text(&path), Err(StoreError::NotText { offset: 3, .. })));
    fs::File::create(&path).unwrap().set_len(17 * 1024 * 1024).unwrap();
    assert!(matches!(read_text(&path), Err(StoreError::TooLarge { .. })));
}
