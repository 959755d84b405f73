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
use wgrelay::store::files::{NetworkDir, StoreError, networks, read_secret, read_text, write_atomic};
use wgrelay::store::folder::Folder;
use wgrelay::store::{Contents, Note, Store as _};

fn folder(base: &Path) -> NetworkDir {
    let dir = NetworkDir::new(base, &"wg0".parse().unwrap());
    dir.create().unwrap();
    dir
}

/// The same folder, as what keeps a network.
fn store(base: &Path) -> Folder {
    Folder::new(base, &"wg0".parse().unwrap())
}

fn write(base: &Path, network: &str, secrets: &str) -> Result<Option<u64>, StoreError> {
    let store = store(base);
    let turn = store.turn()?;
    let expected = store.load()?.digests();
    let contents = Contents::new(network.as_bytes(), Some(secrets.as_bytes()));
    store.commit(&turn, &contents, &expected, Note::default())
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
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(write(base.path(), "format = 1\n", "[private_keys]\n").unwrap(), Some(1));
    assert_eq!(write(base.path(), "format = 1\n", "[private_keys]\n").unwrap(), None, "nothing differs");
    let snapshot = store(base.path()).snapshot().unwrap();
    assert_eq!(snapshot.network().unwrap(), b"format = 1\n");
    assert_eq!(snapshot.secrets().unwrap().as_str(), "[private_keys]\n");
    let kept = dir.path().join(".history");
    let modes: Vec<u32> = names(&kept).iter().map(|name| mode(&kept.join(name))).collect();
    assert_eq!((mode(&kept), modes), (0o700, vec![0o600; 3]));
    assert_eq!(mode(dir.path()), 0o700);
    assert_eq!(mode(&dir.secrets_file()), 0o600);
    assert_eq!(names(dir.path()), [".history", ".lock", "network.toml", "secrets.toml"]);
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
    write(base.path(), "format = 1\n", "whole\n").unwrap();
    assert_eq!(names(dir.path()), [".history", ".lock", "network.toml", "secrets.toml"]);
    // Not even a link that somebody laid there is followed.
    let victim = base.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    std::os::unix::fs::symlink(&victim, dir.path().join(".secrets.toml.new")).unwrap();
    write(base.path(), "format = 1\n", "again\n").unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(store(base.path()).read_secrets().unwrap().as_str(), "again\n");
}

#[test]
fn secrets_that_others_can_read_are_refused() {
    let base = tempfile::tempdir().unwrap();
    let dir = folder(base.path());
    fs::write(dir.secrets_file(), "").unwrap();
    for mode in [0o644, 0o640, 0o602] {
        fs::set_permissions(dir.secrets_file(), fs::Permissions::from_mode(mode)).unwrap();
        let error = read_secret(&dir.secrets_file()).unwrap_err();
        assert!(matches!(&error, StoreError::Exposed { mode: m, .. } if *m == mode), "{error}");
        assert!(error.hint().starts_with(&format!("`chmod 600 {}`", dir.secrets_file().display())));
    }
    fs::set_permissions(dir.secrets_file(), fs::Permissions::from_mode(0o600)).unwrap();
    read_secret(&dir.secrets_file()).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(dir.secrets_file(), Some(12345), None).unwrap();
        let error = read_secret(&dir.secrets_file()).unwrap_err();
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
        write(base, "old\n", "keys\n").unwrap();
        let error = write(base, &"x".repeat(100_000), "others\n").unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        assert!(error.hint().contains("make room"), "{}", error.hint());
        assert_eq!(store(base).read_network().unwrap(), b"old\n");
        assert_eq!(store(base).read_secrets().unwrap().as_str(), "keys\n");
        assert_eq!(names(dir.path()), [".history", ".lock", "network.toml", "secrets.toml"]);
    });
}

#[test]
fn a_read_only_disk_says_so() {
    on_tmpfs("size=64k", |base| {
        let dir = folder(base);
        write(base, "old\n", "").unwrap();
        let none = None::<&str>;
        mount(none, base, none, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none).unwrap();
        let error = dir.lock(Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("Read-only file system"), "{error}");
        assert!(error.hint().contains("--dir"), "{}", error.hint());
        let error = write_atomic(&dir.network_file(), 0o644, b"new").unwrap_err();
        assert!(error.to_string().contains("network.toml: Read-only file system"), "{error}");
        assert_eq!(store(base).read_network().unwrap(), b"old\n");
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
    fs::File::create(&path).unwrap().set_len(65 * 1024 * 1024).unwrap();
    assert!(matches!(read_text(&path), Err(StoreError::TooLarge { .. })));
}

#[test]
fn what_was_edited_meanwhile_is_not_lost() {
    let base = tempfile::tempdir().unwrap();
    folder(base.path());
    write(base.path(), "one\n", "").unwrap();
    let store = store(base.path());
    let turn = store.turn().unwrap();
    let read = store.load().unwrap();
    // An editor asks for no lock.
    fs::write(store.network_path(), "by hand\n").unwrap();
    let contents = Contents::new(b"two\n", None);
    let refused = store.commit(&turn, &contents, &read.digests(), Note::default());
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(store.read_network().unwrap(), b"by hand\n");
    let read = store.load().unwrap();
    assert_eq!(store.commit(&turn, &contents, &read.digests(), Note::default()).unwrap(), Some(3));
    let (by_hand, text) = store.revision(2).unwrap();
    assert_eq!((by_hand.note.command, by_hand.note.why.as_str()), (None, "edited by hand"));
    assert_eq!(text.network.unwrap().as_slice(), b"by hand\n");
}

#[test]
fn the_last_fifty_revisions_are_kept_and_no_more() {
    let base = tempfile::tempdir().unwrap();
    let dir = folder(base.path());
    for n in 1..=60 {
        // The secrets change every tenth time only: what is the same is kept once.
        assert_eq!(write(base.path(), &format!("{n}\n"), &format!("{}\n", n / 10)).unwrap(), Some(n));
    }
    let store = store(base.path());
    let numbers: Vec<u64> = store.history().unwrap().iter().map(|r| r.number).collect();
    assert_eq!(numbers, (11..=60).collect::<Vec<u64>>());
    for n in numbers {
        let (_, contents) = store.revision(n).unwrap();
        assert_eq!(
            contents,
            Contents::new(format!("{n}\n").as_bytes(), Some(format!("{}\n", n / 10).as_bytes()))
        );
    }
    assert_eq!(names(&dir.path().join(".history")).len(), 50 + 6 + 1);
    for number in [0, 10, 61] {
        let error = store.revision(number).unwrap_err();
        assert!(error.hint().contains("11 to 60"), "{error}: {}", error.hint());
    }
    // One that is not as it was kept is not handed out.
    let (revision, _) = store.revision(30).unwrap();
    let kept = dir.path().join(".history");
    let name = names(&kept).into_iter().find(|name| fs::read(kept.join(name)).unwrap() == b"30\n").unwrap();
    fs::write(kept.join(name), "31\n").unwrap();
    assert!(matches!(store.revision(revision.number), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_file_that_cannot_be_replaced_takes_the_others_back() {
    on_tmpfs("size=1m", |base| {
        let dir = folder(base);
        write(base, "old\n", "keys\n").unwrap();
        // A mount over the file: it is there, and nothing takes its place.
        let (none, file) = (None::<&str>, dir.network_file());
        mount(Some(&file), &file, none, MsFlags::MS_BIND, none).unwrap();
        let error = write(base, "new\n", "others\n").unwrap_err();
        assert!(error.to_string().contains("network.toml"), "{error}");
        nix::mount::umount2(&file, nix::mount::MntFlags::MNT_DETACH).unwrap();
        assert_eq!(store(base).read_network().unwrap(), b"old\n");
        assert_eq!(store(base).read_secrets().unwrap().as_str(), "keys\n");
        assert_eq!(names(dir.path()), [".history", ".lock", "network.toml", "secrets.toml"]);
        assert_eq!(store(base).history().unwrap().len(), 1);
    });
}

#[test]
fn a_network_file_kept_elsewhere_stays_a_link() {
    let base = tempfile::tempdir().unwrap();
    let dir = folder(base.path());
    let elsewhere = base.path().join("elsewhere.toml");
    fs::write(&elsewhere, "one\n").unwrap();
    std::os::unix::fs::symlink(&elsewhere, dir.network_file()).unwrap();
    write(base.path(), "two\n", "").unwrap();
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "two\n");
    assert!(dir.network_file().is_symlink());
}
