//! A change on trial: what `up --confirm` goes back to, and when. In the runtime folder, so that it does not outlive the
//! interface; with keys, so mode 0600.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::agent_process::Runtime;
use super::configuration::{self, Configuration};
use super::host_lock::HostLock;
use super::linux::confine;
use super::runtime::{Place, UNCONFIRMED_FILE, WAITER_FILE, WAITER_LOG};
use crate::host::HostError;
use crate::model::{NodeName, PresharedKey, PrivateKey, Timestamp};
use crate::store::files::{self, StoreError};
use crate::store::folder::is_same;
use crate::store::owned;

/// How long a new waiter may take to begin.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long a waiter that was told to end may take.
const END_WITHIN: Duration = Duration::from_secs(1);

/// A change that goes back unless somebody keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// Where.
    pub place: Place,
    /// The folder that holds the networks.
    pub dir: PathBuf,
    /// When the change was made; `None`: an older version did not note it.
    #[serde(default)]
    pub made: Option<Timestamp>,
    /// When it goes back, in milliseconds of [`super::boot_clock::since_boot`].
    pub deadline_ms: u64,
    /// What it goes back to; `None`: nothing of this network.
    pub before: Option<Before>,
}

/// A network as it was applied, with the keys that its interface had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The network.
    #[serde(flatten)]
    pub configuration: Configuration,
    /// The node's own key; `None` only where the interface and the secrets had none.
    pub private_key: Option<PrivateKey>,
    /// With each peer, by the peer's name.
    pub preshared_keys: BTreeMap<NodeName, PresharedKey>,
}

impl Unconfirmed {
    /// Returns how long it still waits; zero: it is to go back.
    pub fn left(&self, since_boot: Duration) -> Duration {
        Duration::from_millis(self.deadline_ms).saturating_sub(since_boot)
    }
    /// Returns the same, to go back `wait` from now.
    #[must_use]
    pub fn until(self, since_boot: Duration, wait: Duration) -> Self {
        let end = (since_boot + wait).as_millis();
        Self { deadline_ms: u64::try_from(end).unwrap_or(u64::MAX), ..self }
    }
}

/// Held by the process that waits for a confirmation, for as long as it lives.
#[derive(Debug)]
pub struct WaiterLock {
    _file: Flock<File>,
}

impl WaiterLock {
    /// Becomes the one who waits; `None`: somebody waits already.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn take(runtime: &Runtime) -> Result<Option<Self>, HostError> {
        let path = runtime.folder().join(WAITER_FILE);
        let fault = |e: io::Error| HostError::new("write", path.display().to_string(), e);
        let file = owned::open_own(&path, OpenOptions::new().write(true).create(true).truncate(false))?;
        let Ok(mut file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
        file.set_len(0).map_err(fault)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(fault)?;
        Ok(Some(Self { _file: file }))
    }
}

impl Runtime {
    /// Reads the change on trial; `None`: there is none, or not here, or not from `dir`.
    ///
    /// # Errors
    /// The file cannot be read, or others could.
    pub fn unconfirmed(&self, dir: &Path) -> Result<Option<Unconfirmed>, HostError> {
        Ok(self.any_unconfirmed()?.filter(|u| is_same(&u.dir, dir)))
    }

    /// Returns the folder of the change on trial here that is not from `dir`.
    ///
    /// # Errors
    /// The file cannot be read, or others could.
    pub fn unconfirmed_from_other_dir(&self, dir: &Path) -> Result<Option<PathBuf>, HostError> {
        Ok(self.any_unconfirmed()?.map(|u| u.dir).filter(|d| !is_same(d, dir)))
    }

    fn any_unconfirmed(&self) -> Result<Option<Unconfirmed>, HostError> {
        let text = match files::read_secret(&self.folder().join(UNCONFIRMED_FILE)) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            other => other?,
        };
        let read = configuration::parse::<Unconfirmed>(Some(&text));
        Ok(read.filter(|u| u.place == self.place()))
    }

    /// Writes the change on trial, mode 0600.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_unconfirmed(&self, unconfirmed: &Unconfirmed) -> Result<(), HostError> {
        let path = self.folder().join(UNCONFIRMED_FILE);
        files::create_private_dir(self.folder())?;
        Ok(configuration::write(&path, unconfirmed)?)
    }

    /// Ends the trial: nothing goes back any more. Under the lock, so that nothing is going back just now.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn end_commit_confirm(&self, _on_host: &HostLock) -> Result<(), HostError> {
        for name in [UNCONFIRMED_FILE, WAITER_LOG] {
            let path = self.folder().join(name);
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(HostError::new("remove", path.display().to_string(), e));
                }
                _ => {}
            }
        }
        // It would end by itself within a moment; the host is tidy at once.
        let began = Instant::now();
        while let Some(pid) = self.waiter().filter(|pid| *pid != Some(std::process::id())) {
            if began.elapsed() > END_WITHIN {
                // Without the file it goes back to nothing.
                break;
            }
            if let Some(id) = pid.and_then(|pid| i32::try_from(pid).ok()) {
                let _ended_by_itself = kill(Pid::from_raw(id), Signal::SIGTERM);
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        let _ = std::fs::remove_file(self.folder().join(WAITER_FILE));
        // Where it was made for the trial alone; anything else in there keeps it.
        let _ = std::fs::remove_dir(self.folder());
        let _ = self.folder().parent().map(std::fs::remove_dir);
        Ok(())
    }

    /// Returns the process that waits for a confirmation, if it lives; inside, its number, once it has told it.
    pub fn waiter(&self) -> Option<Option<u32>> {
        let path = self.folder().join(WAITER_FILE);
        let mut file = owned::open_own(&path, OpenOptions::new().read(true)).ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Some(text.trim().parse().ok().filter(|pid| *pid > 1)),
            _ => None,
        }
    }

    /// Returns what the process that waits could not do, in its words.
    pub fn waiter_words(&self) -> Option<String> {
        let text = owned::read_own(&self.folder().join(WAITER_LOG)).ok()??;
        text.lines().rev().find_map(|line| line.strip_prefix("error: ")).map(|line| line.trim().to_string())
    }

    /// Starts the process that waits: it outlives this one, its terminal and its session.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_waiter(&self, command: &[String]) -> Result<(), HostError> {
        let fault = |e: &dyn std::fmt::Display| HostError::new("start", "what waits for the confirmation", e);
        let (program, args) = command.split_first().ok_or_else(|| fault(&"no command"))?;
        let path = self.folder().join(WAITER_LOG);
        let log = owned::write_anew(&path)?;
        let mut child = confine::detached(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .map_err(|e| fault(&e))?;
        let began = Instant::now();
        // It counts from when it has the lock: from then on it is found and ended.
        while self.waiter().is_none() {
            if child.try_wait().is_ok_and(|end| end.is_some()) {
                let words = std::fs::read_to_string(&path).unwrap_or_default();
                return Err(fault(&words.trim_start_matches("error: ").trim()));
            }
            if began.elapsed() > READY_WITHIN {
                let _ = child.kill();
                let _ = child.wait();
                return Err(fault(&"it was not ready within 10 s"));
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_by_the_clock_of_this_boot() {
        let pending = Unconfirmed {
            place: Place { boot_id: "a".into(), netns: 1 },
            dir: "/etc/wgrelay".into(),
            made: None,
            deadline_ms: 0,
            before: None,
        };
        let at = Duration::from_secs(1000);
        let pending = pending.until(at, Duration::from_secs(60));
        assert_eq!(pending.deadline_ms, 1_060_000);
        assert_eq!(pending.left(at), Duration::from_secs(60));
        assert_eq!(pending.left(at + Duration::from_millis(59_999)), Duration::from_millis(1));
        assert_eq!(pending.left(at + Duration::from_secs(60)), Duration::ZERO);
        assert_eq!(pending.left(at + Duration::from_secs(900)), Duration::ZERO);
    }

    #[test]
    fn keys_do_not_print() {
        let before = Before {
            configuration: Configuration {
                node: "wsl".parse().unwrap(),
                backend: crate::plan::Backend::Kernel,
                network_text: "format = 1".into(),
            },
            private_key: Some(PrivateKey::from_random([9; 32])),
            preshared_keys: BTreeMap::from([("phone".parse().unwrap(), PresharedKey::from_bytes([8; 32]))]),
        };
        let text = serde_json::to_string(&before).unwrap();
        // As every version wrote it.
        let written =
            r#"{"node":"wsl","backend":"kernel","network_text":"format = 1","private_key":"CAkJCQkJCQ"#;
        assert!(text.starts_with(written), "{text:.100}");
        assert_eq!(serde_json::from_str::<Before>(&text).unwrap(), before);
        let shown = format!("{before:?}");
        assert!(shown.contains("PrivateKey(…)") && shown.contains("PresharedKey(…)"), "{shown}");
    }
}
