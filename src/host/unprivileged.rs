//! An account without rights, for a process that speaks with strangers: found by name, taken on, and nothing of root kept.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid, setgid, setgroups, setuid};

use super::{HostError, program};

/// How long a process may work on an account's file: one of 40 MiB takes a second.
const WORKS_FOR: Duration = Duration::from_secs(60);

/// An account of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
}

impl Account {
    /// Returns the one that this process runs as.
    pub fn own() -> Self {
        Self { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() }
    }

    /// Says whether it may do everything.
    pub const fn is_root(self) -> bool {
        self.uid == 0
    }

    /// Finds one by name in /etc/passwd; root is none that is without rights.
    ///
    /// # Errors
    /// There is none, or it has root's rights.
    pub fn without_rights(name: &str) -> Result<Self, HostError> {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let what = format!("the user {name}");
        match account_in(&passwd, name) {
            Some(account) if account.is_root() || account.gid == 0 => {
                let cause = "what speaks with strangers is not to have root's rights, nor to be in its group";
                Err(HostError::new("take", what, cause)
                    .hint("`--user NAME` says which it is; by default it is wgrelay-web"))
            }
            Some(account) => Ok(account),
            None => Err(HostError::new(
                "find",
                what,
                "there is none, and what speaks with strangers is not to be root",
            )
            .hint(format!(
                "`useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {name}`"
            ))),
        }
    }

    /// Makes a folder that is this account's alone. One that is there already has to be the account's, or ours and empty: what others
    /// have files in is not given away.
    ///
    /// # Errors
    /// It cannot be made, or is not to be given away.
    pub fn own_folder(self, path: &Path) -> Result<(), HostError> {
        use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt, fchown};
        let failed = |e: std::io::Error| HostError::new("make", path.display().to_string(), e);
        std::fs::create_dir_all(path).map_err(failed)?;
        // What is looked at is what is given, whatever is done to the path meanwhile.
        let folder =
            std::fs::OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(path);
        let folder = folder.map_err(failed)?;
        let owner = folder.metadata().map_err(failed)?.uid();
        let is_empty = std::fs::read_dir(path).map_err(failed)?.next().is_none();
        if owner != self.uid && !(owner == Self::own().uid && is_empty) {
            let why = format!("it is there, of user {owner}, and is not given to user {}", self.uid);
            return Err(HostError::new("take", format!("the folder {}", path.display()), why)
                .hint("name a file in a folder of its own"));
        }
        folder.set_permissions(PermissionsExt::from_mode(0o700)).map_err(failed)?;
        if Self::own() == self {
            return Ok(());
        }
        fchown(&folder, Some(self.uid), Some(self.gid)).map_err(failed)
    }

    /// Works on files with this account's rights to them, and no others: where it has a folder, it may have put links into it.
    ///
    /// # Errors
    /// The work's own, or the kernel does not lend the rights.
    pub fn with_its_rights<T>(self, work: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
        struct Back(Uid, Gid);
        impl Drop for Back {
            fn drop(&mut self) {
                setfsuid(self.0);
                setfsgid(self.1);
            }
        }
        if Self::own() == self {
            return work();
        }
        // The group first: whoever is no root any more may not change it. For this thread alone.
        let gid = setfsgid(Gid::from_raw(self.gid));
        let _back = Back(setfsuid(Uid::from_raw(self.uid)), gid);
        // Each returns what it was before.
        if setfsuid(Uid::from_raw(self.uid)).as_raw() != self.uid
            || setfsgid(Gid::from_raw(self.gid)).as_raw() != self.gid
        {
            return Err(std::io::ErrorKind::PermissionDenied.into());
        }
        work()
    }

    /// Starts this program as that account, with these arguments and next to nothing of the environment.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(self, arguments: &[String]) -> Result<Child, HostError> {
        let mut command = self.this_program(arguments);
        let child = command.stdin(Stdio::null()).spawn();
        child.map_err(|e| HostError::new("start", "the half of the page that speaks HTTP", e))
    }

    /// Runs this program as that account to its end, gives it what it reads, and takes what it says: for files that nobody but
    /// that account is to be harmed by.
    ///
    /// # Errors
    /// It cannot be started, or does not end within a minute.
    pub fn run(self, arguments: &[String], input: &[u8]) -> Result<Output, HostError> {
        program::finish(&mut self.this_program(arguments), Some(input), WORKS_FOR)
            .map_err(|e| HostError::new("run", format!("this program as user {}", self.uid), e))
    }

    fn this_program(self, arguments: &[String]) -> Command {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("/proc/self/exe");
        command.args(arguments).env_clear().current_dir("/");
        if Self::own() != self {
            // Other groups than its own go with it.
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Has this process be that account from here on, for good. To be called before there is another thread.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn become_it(self) -> Result<(), HostError> {
        if Self::own() == self {
            return Ok(());
        }
        let change = || {
            setgroups(&[])?;
            setgid(Gid::from_raw(self.gid))?;
            setuid(Uid::from_raw(self.uid))
        };
        change().map_err(|e| HostError::new("become", format!("user {}", self.uid), e))
    }
}

/// Keeps nothing that a process could get rights by: no capability, none to come by a program, no terminal to type at, and it ends with
/// whoever started it.
///
/// # Errors
/// It is root still, or the kernel says no.
pub fn keep_no_rights(ends_with_parent: bool) -> Result<(), HostError> {
    let failed = |e: &dyn std::fmt::Display| HostError::new("give up", "rights", e.to_string());
    nix::sys::prctl::set_no_new_privs().map_err(|e| failed(&e))?;
    for set in
        [caps::CapSet::Ambient, caps::CapSet::Effective, caps::CapSet::Inheritable, caps::CapSet::Permitted]
    {
        caps::clear(None, set).map_err(|e| failed(&e))?;
    }
    if ends_with_parent {
        // A terminal takes what is put into it for its owner's typing, from processes of its session.
        nix::unistd::setsid().map_err(|e| failed(&e))?;
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM).map_err(|e| failed(&e))?;
    }
    if Account::own().is_root() {
        return Err(HostError::new("speak HTTP", "as root", "what speaks with strangers is not to be root"));
    }
    Ok(())
}

/// Finds an account by name (passwd(5)).
fn account_in(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some(Account { uid, gid: fields.next()?.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_root_is_none() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nwgrelay-web:x:998:997::/:/usr/sbin/nologin\n";
        assert_eq!(account_in(passwd, "wgrelay-web"), Some(Account { uid: 998, gid: 997 }));
        assert_eq!(account_in(passwd, "wgrelay"), None);
        // /etc/passwd may say that root's group is somebody's.
        let root = Account::without_rights("root").unwrap_err();
        assert_eq!(
            root.to_string(),
            "take the user root: what speaks with strangers is not to have root's rights, nor to be in its group"
        );
        let nobody = Account::without_rights("nobody-of-this-name").unwrap_err();
        assert!(nobody.to_string().contains("there is none") && nobody.hint.contains("useradd"), "{nobody}");
    }

    #[test]
    fn a_folder_in_which_others_have_files_is_not_given_away() {
        use std::os::unix::fs::MetadataExt as _;
        if !Account::own().is_root() {
            // Whoever is no root gives nothing away.
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let nobody = Account { uid: 65_534, gid: 65_534 };
        let (own, fresh, others) =
            (dir.path().join("own"), dir.path().join("a/b"), dir.path().join("others"));
        for folder in [&own, &others] {
            std::fs::create_dir(folder).unwrap();
        }
        std::fs::write(others.join("shadow"), "").unwrap();
        let refused = nobody.own_folder(&others).unwrap_err();
        assert!(refused.to_string().contains("not given"), "{refused}");
        assert_eq!(std::fs::metadata(&others).unwrap().uid(), 0);
        for folder in [&own, &fresh] {
            nobody.own_folder(folder).unwrap();
            // And once more, with something in it.
            std::fs::write(folder.join("web.db"), "").unwrap();
            nobody.own_folder(folder).unwrap();
            let about = std::fs::metadata(folder).unwrap();
            assert_eq!((about.uid(), about.gid(), about.mode() & 0o777), (65_534, 65_534, 0o700));
        }
        let other = Account { uid: 12_345, gid: 12_345 };
        assert!(other.own_folder(&own).is_err(), "another account's");
    }

    #[test]
    fn links_in_an_accounts_folder_lead_to_what_that_account_may() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
        if !Account::own().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let (shadow, folder) = (dir.path().join("shadow"), dir.path().join("own"));
        std::fs::write(&shadow, "").unwrap();
        std::fs::create_dir(&folder).unwrap();
        let nobody = Account { uid: 65_534, gid: 65_534 };
        chown(&folder, Some(nobody.uid), Some(nobody.gid)).unwrap();
        symlink(&shadow, folder.join("agent")).unwrap();
        let before = std::fs::metadata(&shadow).unwrap();
        for result in [
            nobody.with_its_rights(|| {
                std::fs::set_permissions(folder.join("agent"), std::fs::Permissions::from_mode(0o666))
            }),
            nobody.with_its_rights(|| chown(folder.join("agent"), Some(nobody.uid), None)),
            nobody.with_its_rights(|| std::fs::write(folder.join("agent"), "x")),
        ] {
            assert!(result.unwrap_err().raw_os_error().is_some());
        }
        let after = std::fs::metadata(&shadow).unwrap();
        assert_eq!((before.mode(), before.uid(), before.len()), (after.mode(), after.uid(), after.len()));
        // And root is root again.
        std::fs::write(&shadow, "x").unwrap();
    }
}
