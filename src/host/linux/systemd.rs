//! systemd, where it runs this very host: units that bring a network back after a restart, and word that one is up.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::program;
use crate::export::unit::{MARK, Unit};
use crate::host::HostError;
use crate::model::InterfaceName;
use crate::store::files;

/// Where units of this host's own go; they stand before a package's.
const UNITS: &str = "/etc/systemd/system";
/// Where packages put theirs.
const PACKAGED: [&str; 2] =
    ["/usr/lib/systemd/system/wgrelay@.service", "/lib/systemd/system/wgrelay@.service"];
/// There while systemd is process 1 (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// How many lines of the journal an error carries.
const LAST_LINES: &str = "4";
/// How long systemd may take to start or stop a unit: its own time limit is 90 s.
const UNIT_WITHIN: Duration = Duration::from_secs(120);

/// The systemd of this host.
#[derive(Debug, Clone, Copy)]
pub struct Systemd {
    _here: (),
}

/// A unit that was installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The file that was written; `None`: the package's unit says the same already.
    pub file: Option<PathBuf>,
    /// Whether it says something else than the one before, if there was one.
    pub is_another: bool,
}

/// Why systemd cannot look after a network of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// It is not process 1.
    #[error("systemd does not run this host")]
    NotBooted,
    /// It would start the network elsewhere than here.
    #[error("systemd is in another network or mount namespace than this command")]
    Elsewhere,
}

impl Systemd {
    /// Finds systemd; it must see the network and the files that this process sees.
    ///
    /// # Errors
    /// See [`Absent`].
    pub fn here() -> Result<Self, Absent> {
        if !Path::new(BOOTED).is_dir() {
            return Err(Absent::NotBooted);
        }
        let same = |kind: &str| {
            let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}"));
            matches!((of("1"), of("self")), (Ok(a), Ok(b)) if a == b)
        };
        if same("net") && same("mnt") { Ok(Self { _here: () }) } else { Err(Absent::Elsewhere) }
    }

    /// Says whether the network comes up with this host.
    pub fn is_enabled(self, network: &InterfaceName) -> bool {
        self.says_yes("is-enabled", network)
    }

    /// Says whether the network's unit runs.
    pub fn is_active(self, network: &InterfaceName) -> bool {
        self.says_yes("is-active", network)
    }

    /// Installs and enables a network's unit; starts nothing.
    ///
    /// # Errors
    /// The file cannot be written or is somebody else's, or systemd says no.
    pub fn install(self, network: &InterfaceName, unit: &Unit) -> Result<Installed, HostError> {
        let path = own_path(network);
        refuse_foreign(&path)?;
        let general = Unit { network: None, ..unit.clone() }.render();
        let is_packaged = PACKAGED.iter().any(|p| fs::read_to_string(p).is_ok_and(|text| text == general));
        let before = fs::read_to_string(&path).ok();
        let text = (!is_packaged).then(|| unit.render());
        match &text {
            Some(text) => files::write_atomic(&path, 0o644, text.as_bytes())?,
            None => remove_file(&path)?,
        }
        systemctl(&["daemon-reload"], "read units of", "systemd")?;
        systemctl(&["enable", "--quiet", &unit_name(network)], "enable", &unit_name(network))?;
        Ok(Installed { is_another: before != text, file: text.map(|_| path) })
    }

    /// Takes a network's unit out of the start of this host; what runs goes on. Returns whether there was one.
    ///
    /// # Errors
    /// The file is somebody else's, or systemd says no.
    pub fn remove(self, network: &InterfaceName) -> Result<bool, HostError> {
        let path = own_path(network);
        refuse_foreign(&path)?;
        let was = self.is_enabled(network) || path.exists();
        if was {
            systemctl(&["disable", "--quiet", &unit_name(network)], "disable", &unit_name(network))?;
            remove_file(&path)?;
            systemctl(&["daemon-reload"], "read units of", "systemd")?;
        }
        Ok(was)
    }

    /// Starts a network's unit, and waits until the network is up.
    ///
    /// # Errors
    /// It did not come up; the cause is what it wrote last.
    pub fn start(self, network: &InterfaceName) -> Result<(), HostError> {
        let unit = unit_name(network);
        let Err(error) = systemctl(&["start", &unit], "start", &unit) else { return Ok(()) };
        let journal = program::run(
            "journalctl",
            &["-q", "-u", &unit, "-n", LAST_LINES, "-o", "cat", "--no-pager"],
            None,
        );
        let words = journal.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        let told = words
            .lines()
            .find(|l| l.starts_with("error:"))
            .map(|l| l.trim_start_matches("error: ").to_owned());
        // It must not be tried again behind the back of whoever was told that it failed.
        let _ = systemctl(&["stop", &unit], "stop", &unit);
        let cause = told.unwrap_or(error.cause);
        Err(HostError::new("start", unit.clone(), cause)
            .hint(format!("`journalctl -u {unit}` has all of it")))
    }

    fn says_yes(self, question: &str, network: &InterfaceName) -> bool {
        program::run("systemctl", &[question, "--quiet", &unit_name(network)], None)
            .is_ok_and(|o| o.status.success())
    }
}

/// Returns the name of a network's unit.
pub fn unit_name(network: &InterfaceName) -> String {
    format!("wgrelay@{network}.service")
}

/// Says whether a service manager started this process and waits for [`notify_ready`].
pub fn waits() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Tells the service manager that started this process that the network is up; where none did, nothing.
pub fn notify_ready() {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    // Nobody waits any more where it cannot be told: systemd's own time limit says so then.
    let _ = send(&socket, b"READY=1");
}

fn send(socket: &OsStr, words: &[u8]) -> io::Result<()> {
    let address = match socket.as_bytes() {
        // sd_notify(3): @ stands for the abstract namespace.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(Path::new(socket))?,
    };
    UnixDatagram::unbound()?.send_to_addr(words, &address).map(|_| ())
}

fn own_path(network: &InterfaceName) -> PathBuf {
    Path::new(UNITS).join(unit_name(network))
}

fn refuse_foreign(path: &Path) -> Result<(), HostError> {
    match fs::read_to_string(path) {
        Ok(text) if !text.starts_with(MARK) => {
            Err(HostError::new("replace", path.display().to_string(), "wgrelay did not write it")
                .hint("move it away first; `systemctl edit` adds to a unit without replacing it"))
        }
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<(), HostError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(HostError::new("remove", path.display().to_string(), e))
        }
        _ => Ok(()),
    }
}

fn systemctl(args: &[&str], operation: &'static str, target: &str) -> Result<(), HostError> {
    let output = program::run_within(UNIT_WITHIN, "systemctl", args, None)
        .map_err(|e| HostError::new(operation, target, e))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let first = words.lines().next().unwrap_or("systemctl does not say why");
    Err(HostError::new(operation, target, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_reaches_either_kind_of_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let named = UnixDatagram::bind(&path).unwrap();
        let name = format!("wgrelay-test-{}", std::process::id());
        let hidden = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(path.as_os_str(), b"READY=1").unwrap();
        send(OsStr::new(&format!("@{name}")), b"READY=1").unwrap();
        for socket in [named, hidden] {
            let mut bytes = [0; 16];
            let length = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..length], b"READY=1");
        }
    }

    #[test]
    fn a_unit_of_somebody_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wgrelay@wg0.service");
        refuse_foreign(&path).unwrap();
        fs::write(&path, "[Service]\nExecStart=/bin/true\n").unwrap();
        assert!(refuse_foreign(&path).unwrap_err().to_string().contains("did not write it"));
        fs::write(&path, Unit::template().render()).unwrap();
        refuse_foreign(&path).unwrap();
    }
}
