//! What a process that outlives its caller keeps of him: no environment, no descriptors, and of root's rights those alone that the
//! work takes.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use caps::{CapSet, Capability};

/// Links, routes, rules, marks and low ports. The unit has the same (`export::unit`).
const NEEDED: [Capability; 3] =
    [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW, Capability::CAP_NET_BIND_SERVICE];
/// What of the environment says where this host's Docker and D-Bus are.
const KEPT: [&str; 2] = ["DOCKER_HOST", "DBUS_SYSTEM_BUS_ADDRESS"];

/// Returns a command of this program's own, given as words, that starts with next to nothing of its caller's environment.
pub fn detached(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", super::program::path()).current_dir("/");
    // glibc keeps a heap for each thread that looks at the host, and gives none of them back: of 50,000 peers a third is waste.
    command.env("MALLOC_ARENA_MAX", "1");
    command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command
}

/// Closes what the caller left open beside the three standard streams: a lock that he holds would be held for ever. To be called
/// before anything is opened.
pub fn close_inherited() {
    let numbers = |entries: std::fs::ReadDir| -> Vec<i32> {
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    };
    for number in std::fs::read_dir("/proc/self/fd").map(numbers).unwrap_or_default() {
        if number > 2 {
            // The listing's own is closed by now.
            let _ = nix::unistd::close(number);
        }
    }
}

/// Gives up the rights of root that an agent does not need, for this process and whatever it starts. Works on the files of `dir`
/// with what is left.
pub fn give_up_rights(dir: &Path) {
    let mut kept = caps::CapsHashSet::from(NEEDED);
    if is_below_a_closed_folder(dir) {
        kept.insert(Capability::CAP_DAC_READ_SEARCH);
    }
    let has = |set| caps::read(None, set).unwrap_or_default();
    let outcome = has(CapSet::Bounding)
        .difference(&kept)
        .try_for_each(|capability| caps::drop(None, CapSet::Bounding, *capability))
        .and_then(|()| {
            let left = has(CapSet::Permitted).intersection(&kept).copied().collect();
            caps::clear(None, CapSet::Ambient)?;
            caps::clear(None, CapSet::Inheritable)?;
            caps::set(None, CapSet::Effective, &left)?;
            caps::set(None, CapSet::Permitted, &left)
        });
    if let Err(error) = outcome {
        tracing::debug!("keeps rights that it does not need: {error}");
    }
    if let Err(error) = nix::sys::prctl::set_no_new_privs() {
        tracing::debug!("programs may still gain rights: {error}");
    }
}

/// Says whether somebody else's folder that is closed to others is on the way to this one: root without its capabilities is
/// as anybody there.
fn is_below_a_closed_folder(dir: &Path) -> bool {
    dir.ancestors().any(|folder| {
        std::fs::metadata(folder).is_ok_and(|about| about.uid() != 0 && about.mode() & 0o001 == 0)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    #[test]
    fn the_environment_of_the_caller_stays_with_him() {
        let names = |command: &mut Command| -> Vec<String> {
            let told = String::from_utf8(command.output().unwrap().stdout).unwrap();
            told.lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect()
        };
        let is_own = |name: &String| {
            ["PATH", "MALLOC_ARENA_MAX"].contains(&name.as_str()) || KEPT.contains(&name.as_str())
        };
        // The caller has more, or nothing would be seen here.
        assert!(!names(&mut Command::new("/usr/bin/env")).iter().all(is_own));
        let left = names(&mut detached("/usr/bin/env"));
        assert!(!left.is_empty() && left.iter().all(is_own), "{left:?}");
    }

    #[test]
    fn a_closed_folder_of_somebody_else_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("home/wg0");
        std::fs::create_dir_all(&below).unwrap();
        let home = below.parent().unwrap();
        let mode = |mode| std::fs::set_permissions(home, PermissionsExt::from_mode(mode)).unwrap();
        if chown(home, Some(1000), None).is_err() {
            return;
        }
        mode(0o750);
        assert!(is_below_a_closed_folder(&below));
        mode(0o751);
        assert!(!is_below_a_closed_folder(&below));
    }
}
