//! One command at a time changes a network on this host, whatever folder it was read from: the lock of a folder keeps out
//! those who use the same one, and two folders may hold a network of one name.
//!
//! What is locked is the runtime folder itself, so nothing more is left behind.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::agent_process::Runtime;
use super::runtime::RuntimeDir;
use crate::host::HostError;
use crate::store::files::{StoreError, WriterLock, io_error, locked};
use crate::store::folder::LOCK_WITHIN;

/// The right to change a network on this host, given back when dropped.
#[derive(Debug)]
pub struct HostLock {
    path: PathBuf,
    /// Of the folder that is locked.
    inode: u64,
    _lock: WriterLock,
}

impl Drop for HostLock {
    fn drop(&mut self) {
        // Where it was made for the lock alone; anything in there keeps it. One of somebody else's making is not ours.
        if fs::metadata(&self.path).is_ok_and(|about| about.ino() == self.inode) {
            let _ = fs::remove_dir(&self.path);
            let _ = self.path.parent().map(fs::remove_dir);
        }
    }
}

impl Runtime {
    /// Takes the right to change this network on this host, waiting for another command. Whoever needs its folder's lock as well
    /// takes that second, and only to read: nobody who edits is to wait for a host that takes its time.
    ///
    /// # Errors
    /// The other command takes too long, or the runtime folder cannot be made.
    pub fn lock_to_apply(&self) -> Result<HostLock, HostError> {
        Ok(self.runtime_dir().lock(LOCK_WITHIN)?)
    }

    /// Does the same without waiting; `None`: somebody else has it.
    ///
    /// # Errors
    /// The runtime folder cannot be made.
    pub fn try_lock_to_apply(&self) -> Result<Option<HostLock>, HostError> {
        match self.runtime_dir().lock(Duration::ZERO) {
            Ok(lock) => Ok(Some(lock)),
            Err(StoreError::Locked { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl RuntimeDir {
    /// Locks the folder, which is made for it.
    fn lock(&self, within: Duration) -> Result<HostLock, StoreError> {
        let end = Instant::now() + within;
        loop {
            let opened =
                self.create().and_then(|()| File::open(self.path()).map_err(io_error("lock", self.path())));
            let file = match opened {
                // The one before has just taken it away.
                Err(StoreError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && Instant::now() < end =>
                {
                    continue;
                }
                other => other?,
            };
            let inode = file.metadata().map_err(io_error("lock", self.path()))?.ino();
            let left = end.saturating_duration_since(Instant::now());
            let lock = locked(file, self.path().into(), left)?;
            // A lock on a folder that is gone keeps nobody out.
            if fs::metadata(self.path()).is_ok_and(|about| about.ino() == inode) {
                return Ok(HostLock { path: self.path().into(), inode, _lock: lock });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_is_left() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().join("run");
        let dir = RuntimeDir::new(&base, &"wg0".parse().unwrap());
        let soon = Duration::from_millis(60);
        let first = dir.lock(soon).unwrap();
        assert!(matches!(dir.lock(soon), Err(StoreError::Locked { .. })));
        RuntimeDir::new(&base, &"wg1".parse().unwrap()).lock(soon).unwrap();
        drop(first);
        assert!(!base.exists());

        // `down` takes the folder away while it has the lock.
        let first = dir.lock(soon).unwrap();
        dir.remove().unwrap();
        let second = dir.lock(soon).unwrap();
        drop(first);
        assert!(matches!(dir.lock(soon), Err(StoreError::Locked { .. })), "the second one has it still");
        fs::write(dir.path().join("applied.json"), "").unwrap();
        drop(second);
        assert!(dir.path().exists(), "it is in use");
    }

    #[test]
    fn the_next_one_waits() {
        let base = tempfile::tempdir().unwrap();
        let dir = RuntimeDir::new(&base.path().join("run"), &"wg0".parse().unwrap());
        let first = dir.lock(Duration::ZERO).unwrap();
        let next = std::thread::spawn({
            let dir = dir.clone();
            move || dir.lock(Duration::from_secs(20)).map(|lock| (lock, dir))
        });
        std::thread::sleep(Duration::from_millis(120));
        assert!(!next.is_finished());
        // This takes away the folder that the other one has open.
        drop(first);
        let (lock, dir) = next.join().unwrap().unwrap();
        assert!(matches!(dir.lock(Duration::ZERO), Err(StoreError::Locked { .. })));
        drop(lock);
    }
}
