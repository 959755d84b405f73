//! What binds a lab's agents to it: they end with it whatever way it ends, also by a SIGKILL.
//!
//! The lab's process holds a lock on a file of each node's space for as long as it lives; the kernel gives the lock back,
//! and an agent that waits for it then ends. The namespaces go with the last agent.

#![expect(clippy::disallowed_methods, reason = "a file and a process of this machine are what this is about")]

use std::fs::File;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::build::DIR;

/// Beside the network's folder, inside a node's space.
const FILE: &str = "/run/lab.held";

/// A lab's hold on the agents of one space; dropping it ends them.
#[derive(Debug)]
pub struct Hold {
    _file: Flock<File>,
}

impl Hold {
    /// Takes hold of the space that this thread is in.
    ///
    /// # Errors
    /// The file cannot be made or locked.
    pub fn take() -> io::Result<Self> {
        let file = Flock::lock(File::create(FILE)?, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| e)?;
        Ok(Self { _file: file })
    }
}

/// Ends this process when the lab that it is in is gone; does nothing for a network that is in no lab.
///
/// # Errors
/// The lab's file cannot be opened, or a thread cannot be started.
pub fn end_with_lab(dir: &Path) -> io::Result<()> {
    if dir != Path::new(DIR) {
        return Ok(());
    }
    let mut file = match File::open(FILE) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    std::thread::Builder::new().name("lab".into()).spawn(move || {
        loop {
            match Flock::lock(file, FlockArg::LockShared) {
                Err((same, Errno::EINTR)) => file = same,
                // Nothing is put back: the namespaces take links, routes and rules along.
                _ => std::process::exit(1),
            }
        }
    })?;
    Ok(())
}
