//! The folder of one network: network.toml, secrets.toml, and, where it came in a bundle, for which node.
//!
//! On top of [`super::files`], which writes files whole; this knows which files there are.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::files::{self, NetworkDir, StoreError, WriterLock};
use super::owned::{self, Place, Target};
use crate::model::{InterfaceName, NodeName, Problem};

/// Says for which node a bundle was installed.
const BUNDLE_FILE: &str = ".bundle.json";

/// How long a command waits for another one that is writing.
pub(crate) const LOCK_WITHIN: Duration = Duration::from_secs(20);

/// What an installed bundle says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledBundle {
    /// The node that this host is.
    pub this: NodeName,
    /// The state of the network that the bundle was made from.
    pub made_from: String,
}

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

    /// Reads network.toml, whatever is in it.
    ///
    /// # Errors
    /// It is not there, cannot be read, or is larger than anything of ours.
    pub fn read_network(&self) -> Result<Vec<u8>, StoreError> {
        files::read_bytes(&self.network_path())
    }

    /// Reads secrets.toml.
    ///
    /// # Errors
    /// As above, and where others can read it.
    pub fn read_secrets(&self) -> Result<Zeroizing<String>, StoreError> {
        files::read_secret(&self.secrets_path())
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
        self.files.lock(LOCK_WITHIN)
    }

    /// Takes the writer's lock for a command that changes the host and need not write here: a read-only folder will do.
    ///
    /// # Errors
    /// The other command takes too long, or the lock file cannot be opened.
    pub fn lock_to_apply(&self) -> Result<WriterLock, StoreError> {
        self.files.lock_to_apply(LOCK_WITHIN)
    }

    /// Does the same without waiting; `None`: somebody else has it.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn try_lock_to_apply(&self) -> Result<Option<WriterLock>, StoreError> {
        match self.files.lock_to_apply(Duration::ZERO) {
            Ok(lock) => Ok(Some(lock)),
            Err(StoreError::Locked { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the folder with a new network in it.
    ///
    /// # Errors
    /// There is one already, or it cannot be written.
    pub fn create(&self, network: &str, secrets: &str) -> Result<(), StoreError> {
        self.files.create()?;
        let lock = self.lock()?;
        if self.exists() {
            return Err(StoreError::Exists { path: self.network_path() });
        }
        // The network last: without it the folder counts as empty.
        self.files.write_secrets(&lock, secrets)?;
        self.files.write_network(&lock, network)
    }

    /// Replaces the network, and the secrets where they change too. The caller holds the lock.
    ///
    /// # Errors
    /// A file cannot be written; each is as it was, or new.
    pub fn write(&self, lock: &WriterLock, network: &str, secrets: Option<&str>) -> Result<(), StoreError> {
        // Secrets first: keys too many do no harm, keys too few do.
        if let Some(secrets) = secrets {
            self.files.write_secrets(lock, secrets)?;
        }
        self.files.write_network(lock, network)
    }

    /// Installs a bundle.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn install(&self, network: &str, secrets: &str, mark: &InstalledBundle) -> Result<(), StoreError> {
        self.files.create()?;
        let lock = self.lock()?;
        let text = serde_json::to_vec_pretty(mark).unwrap_or_default();
        files::write_atomic(&self.path().join(BUNDLE_FILE), 0o600, &text)?;
        self.write(&lock, network, Some(secrets))
    }

    /// Says for which node a bundle was installed here; `None`: this network came in no bundle.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn installed_node(&self) -> Result<Option<InstalledBundle>, StoreError> {
        let read = owned::read_own(&self.path().join(BUNDLE_FILE))?;
        Ok(read.and_then(|text| serde_json::from_str(&text).ok()))
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
    files::write_atomic(&place.path_of(name), 0o600, content).map_err(|error| match error {
        StoreError::Io { operation, source, .. } => StoreError::Io { operation, path: path.into(), source },
        other => other,
    })
}
