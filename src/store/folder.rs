//! The folder of one network: network.toml, secrets.toml, and, where it came in a bundle, for which node.
//!
//! On top of [`super::files`], which writes files whole; this knows which files there are.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::Store;
use super::files::{self, NetworkDir, StoreError, WriterLock};
use super::history::{self, History, Note, Revision};
use super::journal::{self, PENDING};
use super::owned::{self, Place, Target};
use super::part::{Contents, Digests, InstalledBundle};
use super::snapshot::Snapshot;
use super::watch::Watch;
use crate::model::{InterfaceName, NodeName, Problem};

/// How long a command waits for another one that is writing.
pub(crate) const LOCK_WITHIN: Duration = Duration::from_secs(20);

/// The folder of one network.
#[derive(Debug, Clone)]
pub struct Folder {
    name: InterfaceName,
    files: NetworkDir,
}

impl Folder {
    /// Names the folder; touches nothing.
    pub fn new(dir: &Path, name: &InterfaceName) -> Self {
        Self { name: name.clone(), files: NetworkDir::new(dir, name) }
    }
    /// Lists the networks in `dir`.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn list(dir: &Path) -> Result<Vec<InterfaceName>, StoreError> {
        files::networks(dir)
    }
    /// Lists those in `dir` that have no network any more, and a history.
    pub fn list_lost(dir: &Path) -> Vec<InterfaceName> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let lost = entries.filter_map(|entry| {
            let name: InterfaceName = entry.file_name().to_str()?.parse().ok()?;
            let is_lost = !Self::new(dir, &name).exists() && entry.path().join(history::FOLDER).is_dir();
            is_lost.then_some(name)
        });
        lost.collect()
    }
    /// Returns the network's name.
    pub fn name(&self) -> &InterfaceName {
        &self.name
    }
    /// Returns the folder's path.
    pub fn path(&self) -> &Path {
        self.files.path()
    }
    /// Returns the path of network.toml.
    pub fn network_path(&self) -> PathBuf {
        self.files.network_file()
    }
    /// Returns the path of secrets.toml.
    pub fn secrets_path(&self) -> PathBuf {
        self.files.secrets_file()
    }
    /// Says whether there is a network.
    pub fn exists(&self) -> bool {
        self.files.exists()
    }

    /// Opens the files of the revision that is there now. What a kill left on its way is finished first, where nobody is
    /// at it and the folder can be written.
    ///
    /// # Errors
    /// Somebody writes without end, or what is on its way cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        if self.path().join(PENDING).exists() {
            match self.files.lock(Duration::ZERO) {
                Ok(_lock) => journal::recover(self.path()).or_else(unwritable)?,
                Err(StoreError::Locked { .. } | StoreError::Io { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Snapshot::take(self.path())
    }

    /// Reads network.toml, whatever is in it.
    ///
    /// # Errors
    /// It is not there, cannot be read, or is larger than anything of ours.
    pub fn read_network(&self) -> Result<Vec<u8>, StoreError> {
        self.snapshot()?.network()
    }

    /// Reads secrets.toml.
    ///
    /// # Errors
    /// As above, and where others can read it.
    pub fn read_secrets(&self) -> Result<Zeroizing<String>, StoreError> {
        self.snapshot()?.secrets()
    }

    /// Tells where others may read secrets.toml, for commands that do not read it themselves; with how the keys of these
    /// nodes are replaced.
    pub fn exposed_secrets<'n>(&self, nodes: impl Iterator<Item = &'n NodeName>) -> Option<Problem> {
        let error = files::exposed(&self.secrets_path())?;
        let place = self.secrets_path().display().to_string();
        Some(Problem::warning("exposed-secrets", place, error.to_string(), self.replaced_keys(&error, nodes)))
    }

    /// Returns an error's hint; of secrets that others may read, with the commands that replace the nodes' keys.
    pub fn replaced_keys<'n>(&self, error: &StoreError, nodes: impl Iterator<Item = &'n NodeName>) -> String {
        const SHOWN: usize = 3;
        if !matches!(error, StoreError::Exposed { .. }) {
            return error.hint();
        }
        if self.installed_node().ok().flatten().is_some() {
            return format!("{}, where the bundle was made", error.hint());
        }
        let names: Vec<&NodeName> = nodes.collect();
        let each: Vec<String> =
            names.iter().take(SHOWN).map(|name| format!("`wgrelay rotate {name}`")).collect();
        let more = match names.len().saturating_sub(SHOWN) {
            0 => String::new(),
            n => format!(", and so the other {n}"),
        };
        format!("{}: {}{more}", error.hint(), each.join(", "))
    }

    /// Takes the writer's lock, waiting for another command.
    ///
    /// # Errors
    /// The other command takes too long, or the folder cannot be written.
    pub fn lock(&self) -> Result<WriterLock, StoreError> {
        let lock = self.files.lock(LOCK_WITHIN)?;
        journal::recover(self.path())?;
        Ok(lock)
    }

    /// Takes the writer's lock for a command that changes the host and need not write here: a read-only folder will do.
    ///
    /// # Errors
    /// The other command takes too long, or the lock file cannot be opened.
    pub fn lock_to_apply(&self) -> Result<WriterLock, StoreError> {
        let lock = self.files.lock_to_apply(LOCK_WITHIN)?;
        journal::recover(self.path()).or_else(unwritable)?;
        Ok(lock)
    }

    /// Does the same without waiting; `None`: somebody else has it.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn try_lock_to_apply(&self) -> Result<Option<WriterLock>, StoreError> {
        match self.files.lock_to_apply(Duration::ZERO) {
            Ok(lock) => journal::recover(self.path()).or_else(unwritable).map(|()| Some(lock)),
            Err(StoreError::Locked { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the folder with a new network in it.
    ///
    /// # Errors
    /// There is one already, or it cannot be written.
    pub fn create(&self, contents: &Contents, note: Note) -> Result<(), StoreError> {
        self.files.create()?;
        let lock = self.lock()?;
        if self.exists() {
            return Err(StoreError::Exists { path: self.network_path() });
        }
        let before = Contents::read(self.path())?;
        if before.secrets.is_some() {
            // Keys of a network whose file somebody took away: nothing else may have them.
            return Err(StoreError::Exists { path: self.secrets_path() });
        }
        self.commit(&lock, contents, &before.digests(), note).map(drop)
    }

    /// Installs a bundle.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn install(
        &self,
        network: &str,
        secrets: &str,
        mark: &InstalledBundle,
        note: Note,
    ) -> Result<(), StoreError> {
        self.files.create()?;
        let lock = self.lock()?;
        let before = Contents::read(self.path())?;
        let mark = serde_json::to_vec_pretty(mark).unwrap_or_default();
        let contents = Contents {
            bundle: Some(Zeroizing::new(mark)),
            ..Contents::new(network.as_bytes(), Some(secrets.as_bytes()))
        };
        self.commit(&lock, &contents, &before.digests(), note).map(drop)
    }

    /// Makes the folder what a shared store has in a revision, which has its number from there.
    pub(crate) fn take(
        &self,
        _lock: &WriterLock,
        contents: &Contents,
        number: u64,
        note: Note,
    ) -> Result<(), StoreError> {
        let before = Contents::read(self.path())?;
        journal::replace(self.path(), &before, contents, note, Some(number)).map(drop)
    }

    /// Returns the number that the next revision would have here.
    pub(crate) fn next_revision(&self) -> Result<u64, StoreError> {
        History::of(self.path()).next()
    }

    /// Says for which node a bundle was installed here; `None`: this network came in no bundle.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn installed_node(&self) -> Result<Option<InstalledBundle>, StoreError> {
        self.snapshot()?.installed_bundle()
    }
}

impl Store for Folder {
    type Turn = WriterLock;

    fn turn(&self) -> Result<WriterLock, StoreError> {
        self.lock()
    }

    fn load(&self) -> Result<Contents, StoreError> {
        self.snapshot()?.contents()
    }

    fn commit(
        &self,
        _turn: &WriterLock,
        contents: &Contents,
        expected: &Digests,
        note: Note,
    ) -> Result<Option<u64>, StoreError> {
        let before = Contents::read(self.path())?;
        // Somebody may have edited by hand, who asks for no lock.
        if before.digests() != *expected {
            return Err(StoreError::Conflict { path: self.network_path() });
        }
        journal::replace(self.path(), &before, contents, note, None)
    }

    fn watch(&self) -> Watch {
        Watch::of(self.path())
    }

    fn history(&self) -> Result<Vec<Revision>, StoreError> {
        History::of(self.path()).list()
    }

    fn revision(&self, number: u64) -> Result<(Revision, Contents), StoreError> {
        let list = self.history()?;
        let kept = list.first().zip(list.last()).map(|(first, last)| (first.number, last.number));
        let found = list.into_iter().find(|revision| revision.number == number);
        let revision = found.ok_or(StoreError::NoRevision { number, kept })?;
        let contents = History::of(self.path()).contents(&revision.files)?;
        Ok((revision, contents))
    }
}

/// A folder that cannot be written keeps what is on its way: it is read where it is.
fn unwritable(error: StoreError) -> Result<(), StoreError> {
    match error {
        StoreError::Io { source, .. }
            if matches!(
                source.kind(),
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        error => Err(error),
    }
}

/// Returns a folder's one name: absolute, links followed where it is there. What is recorded under one spelling is found
/// under another.
pub fn settled(dir: PathBuf) -> PathBuf {
    std::fs::canonicalize(&dir).or_else(|_| std::path::absolute(&dir)).unwrap_or(dir)
}

/// Says whether a folder that was recorded is this one, also where it has come under another name since: it was moved, and
/// a link leads to it.
pub fn is_same(recorded: &Path, dir: &Path) -> bool {
    recorded == dir || settled(recorded.into()) == settled(dir.into())
}

/// Writes a file that holds a private key: mode 0600, whole or not at all. A device such as /dev/stdout and a pipe are written
/// to, not replaced. Whoever else may change the folders on the way there gets nothing written elsewhere.
///
/// # Errors
/// It cannot be written, or is somebody else's pipe or device.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let failed = |source| StoreError::Io { operation: "write", path: path.into(), source };
    if let Target::Stream(mut stream) = owned::target(path)? {
        return stream.write_all(content).map_err(failed);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(io::ErrorKind::InvalidFilename.into()));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let place = Place::of(folder)?;
    files::write_atomic(&place.path_of(name), 0o600, content).map_err(|error| error.about(path))
}
