//! A lab that outlives the command that made it: a process holds it, and a file tells the others how to get in.
//!
//! The process holds a lock on that file for as long as it lives, so a file left by one that was killed counts for nothing,
//! and its pid is never mistaken for somebody else's.

#![expect(clippy::disallowed_methods, reason = "a process and a file of this machine are what this is about")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::build::{DIR, Handles, Lab, enter};
use crate::model::{InterfaceName, Timestamp};

const BASE: &str = "/run/wgrelay-lab";
/// How long a lab may take to go away.
const END_WITHIN: Duration = Duration::from_secs(10);

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The process that holds the lab.
    pub pid: i32,
    /// The network.
    pub network: InterfaceName,
    /// Its file, as the lab was built from it.
    pub text: String,
    /// When that was.
    pub now: Timestamp,
    /// Its spaces.
    pub spaces: Vec<Door>,
}

/// How to get into a space: the holder's descriptors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    /// A node's name, a host's address, or `internet`.
    pub name: String,
    net: i32,
    mount: i32,
}

/// The holder's claim; dropping it gives it back.
#[derive(Debug)]
pub struct Claim {
    file: Flock<File>,
    path: PathBuf,
}

fn path_of(network: &InterfaceName) -> PathBuf {
    Path::new(BASE).join(network.as_str())
}

impl Claim {
    /// Claims the name of a network for a lab that stands.
    ///
    /// # Errors
    /// One stands already (`AlreadyExists`), or the file cannot be made.
    pub fn take(network: &InterfaceName) -> io::Result<Self> {
        if let Err(error) = fs::DirBuilder::new().mode(0o700).create(BASE)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        let path = path_of(network);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| match e {
            Errno::EWOULDBLOCK => io::Error::from(io::ErrorKind::AlreadyExists),
            e => e.into(),
        })?;
        file.set_len(0)?;
        Ok(Self { file, path })
    }

    /// Tells the others how to get in.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn publish(&mut self, lab: &Lab, text: &str, now: Timestamp) -> io::Result<()> {
        let doors = lab.topology.spaces.iter().zip(&lab.spaces).map(|(space, handles)| Door {
            name: space.name.clone(),
            net: handles.net.as_raw_fd(),
            mount: handles.mount.as_raw_fd(),
        });
        let pid = Pid::this().as_raw();
        let record =
            Record { pid, network: lab.network.clone(), text: text.into(), now, spaces: doors.collect() };
        let text = serde_json::to_vec(&record).map_err(io::Error::other)?;
        self.file.write_all(&text)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        // Another lab's file keeps it.
        let _ = fs::remove_dir(BASE);
    }
}

/// Lists the labs that stand, by name.
pub fn list() -> Vec<Record> {
    let entries = fs::read_dir(BASE).into_iter().flatten().flatten();
    let mut found: Vec<Record> = entries.filter_map(|e| read(&e.path())).collect();
    found.sort_by(|a, b| a.network.cmp(&b.network));
    found
}

/// Reads a record; `None`: nobody holds it, or it is being made.
fn read(path: &Path) -> Option<Record> {
    let mut file = File::open(path).ok()?;
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((_, Errno::EWOULDBLOCK)) => serde_json::from_str(&text).ok(),
        _ => None,
    }
}

impl Record {
    /// Opens every space of the lab; they live as long as this, and as the lab.
    ///
    /// # Errors
    /// The holder is gone.
    pub fn enter(&self) -> io::Result<Vec<Handles>> {
        let open = |fd: i32| File::open(format!("/proc/{}/fd/{fd}", self.pid));
        self.spaces
            .iter()
            .map(|door| Ok(Handles { net: open(door.net)?, mount: open(door.mount)? }))
            .collect()
    }

    /// Becomes a program in a space; returns only where that fails.
    pub fn exec(&self, door: &Door, command: &[String]) -> io::Error {
        let Some((program, args)) = command.split_first() else {
            return io::Error::from(io::ErrorKind::InvalidInput);
        };
        let open = |fd: i32| File::open(format!("/proc/{}/fd/{fd}", self.pid));
        let entered = open(door.net)
            .and_then(|net| open(door.mount).map(|mount| (net, mount)))
            .and_then(|(net, mount)| enter(net.as_fd(), mount.as_fd()));
        match entered {
            Ok(()) => Command::new(program).args(args).env("WGRELAY_DIR", DIR).exec(),
            Err(error) => error,
        }
    }

    /// Ends the holder, and waits until the lab is gone.
    ///
    /// # Errors
    /// It may not be signalled, or does not end in time.
    pub fn end(&self) -> io::Result<()> {
        kill(Pid::from_raw(self.pid), Signal::SIGTERM)?;
        let start = Instant::now();
        while read(&path_of(&self.network)).is_some() {
            if start.elapsed() > END_WITHIN {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}
