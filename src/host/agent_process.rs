//! The agent as a process: who it is, whether it lives, and what it leaves behind when it is killed.
//!
//! The agent holds a lock on its pid file for as long as it lives. The kernel gives the lock back whatever way the
//! process ends, so a pid that was reused is never mistaken for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::runtime::{Applied, DEFAULT_DIR, LEDGER_FILE, Place, RuntimeDir};
use crate::host::HostError;
use crate::model::InterfaceName;
use crate::plan::PolicyRule;
use crate::store::file_stamp::own_program;
use crate::store::files::StoreError;
use crate::store::owned;
use crate::store::unix_socket::connect_within;

/// Where userspace WireGuard keeps its sockets, for `wg(8)`.
const UAPI_DIR: &str = "/run/wireguard";
const PID_FILE: &str = "pid";
const LOG_FILE: &str = "agent.log";
/// There while the folder of [`UAPI_DIR`] is one that this agent caused.
const MADE_UAPI_DIR: &str = "made-uapi-folder";
/// How long whoever has a device's socket may take to accept; one that has no room is somebody's too.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// The runtime folder of a network, here: on this boot, in this network namespace.
#[derive(Debug, Clone)]
pub struct Runtime {
    folder: RuntimeDir,
    place: Place,
    network: InterfaceName,
}

/// Held by the agent for as long as it lives.
#[derive(Debug)]
pub struct AgentLock {
    _file: Flock<File>,
}

impl From<StoreError> for HostError {
    fn from(error: StoreError) -> Self {
        let hint = error.hint();
        match error {
            StoreError::Io { operation, path, source } => {
                Self::new(operation, path.display().to_string(), source).hint(hint)
            }
            other => Self::new("use", "the files", other).hint(hint),
        }
    }
}

impl Runtime {
    /// Names the runtime folder of a network.
    ///
    /// # Errors
    /// /proc does not tell the boot or the network namespace.
    pub fn here(network: &InterfaceName) -> Result<Self, HostError> {
        let place = Place::here().map_err(|e| HostError::new("read", "/proc", e))?;
        Ok(Self { folder: RuntimeDir::new(Path::new(DEFAULT_DIR), network), place, network: network.clone() })
    }

    /// Lists the networks that have a runtime folder.
    pub fn list() -> Vec<InterfaceName> {
        let entries = std::fs::read_dir(DEFAULT_DIR).into_iter().flatten().flatten();
        let mut names: Vec<InterfaceName> =
            entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
        names.sort();
        names
    }

    /// Returns the policy rules that are on record here, by network.
    ///
    /// # Errors
    /// /proc does not tell the boot or the network namespace.
    pub fn recorded_rules() -> Result<BTreeMap<InterfaceName, BTreeSet<PolicyRule>>, HostError> {
        let place = Place::here().map_err(|e| HostError::new("read", "/proc", e))?;
        let rules = |name: &InterfaceName| RuntimeDir::new(Path::new(DEFAULT_DIR), name).read_rules(&place);
        Ok(Self::list().into_iter().filter_map(|name| Some((name.clone(), rules(&name)?))).collect())
    }

    /// Returns the folder itself.
    pub(super) const fn runtime_dir(&self) -> &RuntimeDir {
        &self.folder
    }

    /// Returns the folder's path.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns where and when this is, for a new record.
    pub fn place(&self) -> Place {
        self.place.clone()
    }

    /// Names this program and where it is, so that an agent and whoever asks it can tell whether they speak of the same host.
    pub fn client_id(&self) -> String {
        format!("{} {} {}", own_program(), self.place.boot_id, self.place.netns)
    }

    /// Reads what was applied last; `None`: nothing, or elsewhere, or before the last start of this host.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_applied(&self, dir: &Path) -> Result<Option<Applied>, HostError> {
        Ok(self.folder.read_applied(&self.place, dir)?)
    }

    /// Returns the folder that a network was brought up from here, where that is not `dir`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn applied_from_other_dir(&self, dir: &Path) -> Result<Option<PathBuf>, HostError> {
        Ok(self.folder.applied_from_other_dir(&self.place, dir)?)
    }

    /// Returns the path of the record of what was applied.
    pub fn applied_path(&self) -> PathBuf {
        self.folder.applied_path()
    }

    /// Writes what is applied.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_applied(&self, applied: Applied) -> Result<(), HostError> {
        Ok(self.folder.write_applied(applied)?)
    }

    /// Removes the folder and what is left of an agent that is gone.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn remove(&self) -> Result<(), HostError> {
        self.clear_stale_agent()?;
        Ok(self.folder.remove()?)
    }

    /// Returns the path of the control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.folder.control_socket()
    }

    /// Removes the control socket; one that is not there is fine.
    pub fn remove_control_socket(&self) {
        let _ = std::fs::remove_file(self.control_socket());
    }

    /// Opens the agent's log anew, mode 0600.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn agent_log(&self) -> io::Result<File> {
        self.folder.create().map_err(io::Error::other)?;
        owned::write_anew(&self.agent_log_path()).map_err(io::Error::other)
    }

    /// Returns the path of the agent's log.
    pub fn agent_log_path(&self) -> PathBuf {
        self.folder.path().join(LOG_FILE)
    }

    /// Returns the path of what is known of the embedded device's peers.
    pub fn ledger_path(&self) -> PathBuf {
        self.folder.path().join(LEDGER_FILE)
    }

    fn pid_path(&self) -> PathBuf {
        self.folder.path().join(PID_FILE)
    }

    /// Returns the pid of the agent that lives.
    pub fn agent_pid(&self) -> Option<u32> {
        let mut file = owned::open_own(&self.pid_path(), OpenOptions::new().read(true)).ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// Removes what an agent that is gone left behind: pid file, control socket, and the socket of its device.
    /// Does nothing where the agent lives.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn clear_stale_agent(&self) -> Result<(), HostError> {
        if self.agent_pid().is_some() {
            return Ok(());
        }
        self.folder.remove_agent()?;
        let _ = std::fs::remove_file(self.agent_log_path());
        let socket = Path::new(UAPI_DIR).join(format!("{}.sock", self.network));
        // A socket that nobody listens on refuses; any other answer means that it is somebody's.
        if let Err(e) = connect_within(&socket, LOOK_WITHIN)
            && e.kind() == io::ErrorKind::ConnectionRefused
        {
            std::fs::remove_file(&socket)
                .map_err(|e| HostError::new("remove", socket.display().to_string(), e))?;
        }
        let mark = self.folder.path().join(MADE_UAPI_DIR);
        if mark.exists() {
            // Another userspace device may be in it by now, and keeps it.
            let _ = std::fs::remove_dir(UAPI_DIR);
            let _ = std::fs::remove_file(mark);
        }
        Ok(())
    }

    /// Ends an agent that does not answer.
    ///
    /// # Errors
    /// The process may not be signalled.
    pub fn kill_agent(&self, pid: u32) -> Result<(), HostError> {
        // Only while the lock says that the pid is still the agent's.
        if self.agent_pid() != Some(pid) {
            return Ok(());
        }
        let id = i32::try_from(pid).map_err(|e| HostError::new("end", format!("process {pid}"), e))?;
        kill(Pid::from_raw(id), Signal::SIGKILL)
            .map_err(|e| HostError::new("end", format!("process {pid}"), e))
    }
}

impl AgentLock {
    /// Becomes the agent of a network.
    ///
    /// # Errors
    /// Another agent lives, or the file cannot be written.
    pub fn take(runtime: &Runtime) -> Result<Self, HostError> {
        let path = runtime.pid_path();
        let fault = |e: &dyn std::fmt::Display| HostError::new("write", path.display().to_string(), e);
        runtime.folder.create()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = owned::open_own(&path, &mut options)?;
        if !Path::new(UAPI_DIR).exists() {
            let _ = owned::write_anew(&runtime.folder.path().join(MADE_UAPI_DIR));
        }
        let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            let pid = runtime.agent_pid().map_or_else(String::new, |p| format!(" (process {p})"));
            HostError::new("run", "the agent", format!("one is running already for {}{pid}", runtime.network))
                .hint("`wgrelay down` ends it")
        })?;
        file.set_len(0).map_err(|e| fault(&e))?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(|e| fault(&e))?;
        Ok(Self { _file: file })
    }
}
