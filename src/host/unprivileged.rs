//! An account without rights, for a process that speaks with strangers: found by name, taken on, and nothing of root kept.

use std::path::Path;
use std::process::{Child, Command};

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

use super::HostError;

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
    /// There is none.
    pub fn without_rights(name: &str) -> Result<Self, HostError> {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        account_in(&passwd, name).filter(|account| !account.is_root()).ok_or_else(|| {
            HostError::new(
                "find",
                format!("the user {name}"),
                "there is none, and what speaks with strangers is not to be root",
            )
            .hint(format!(
                "`useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {name}`"
            ))
        })
    }

    /// Makes a folder that is this account's alone.
    ///
    /// # Errors
    /// It cannot be made, or given away.
    pub fn own_folder(self, path: &Path) -> Result<(), HostError> {
        use std::os::unix::fs::{PermissionsExt, chown};
        let make = || {
            std::fs::create_dir_all(path)?;
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o700))?;
            if Self::own() == self { Ok(()) } else { chown(path, Some(self.uid), Some(self.gid)) }
        };
        make().map_err(|e: std::io::Error| HostError::new("make", path.display().to_string(), e))
    }

    /// Starts this program as that account, with these arguments and next to nothing of the environment.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(self, arguments: &[String]) -> Result<Child, HostError> {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("/proc/self/exe");
        command.args(arguments).env_clear().current_dir("/");
        if Self::own() != self {
            // Other groups than its own go with it.
            command.uid(self.uid).gid(self.gid);
        }
        command.spawn().map_err(|e| HostError::new("start", "the half of the page that speaks HTTP", e))
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

/// Keeps nothing that a process could get rights by: no capability, none to come by a program, and it ends with whoever started it.
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
        let root = Account::without_rights("root").unwrap_err();
        assert!(root.to_string().contains("not to be root"), "{root}");
    }
}
