//! What `up` was asked for last and did: kept beside the network, so that a restart of the host brings back the same,
//! also where the file was edited since and not applied.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::NodeName;
use crate::plan::Backend;
use crate::store::files::{self, StoreError};
use crate::store::folder::Folder;
use crate::store::owned;

const FILE: &str = ".last-up.json";

/// What `up` did last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUp {
    /// The node that this host is.
    pub node: NodeName,
    /// The data plane.
    pub backend: Backend,
    /// The network file as it was then.
    pub network_text: String,
}

impl LastUp {
    /// Reads it; `None`: the network was never brought up, or was taken down since.
    pub fn read(folder: &Folder) -> Option<Self> {
        // The file of somebody else is none: what it says would be brought up.
        serde_json::from_str(&owned::read_own(&path(folder.path())).ok()??).ok()
    }

    /// Writes it, mode 0600, where it says something new.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, folder: &Folder) -> Result<(), StoreError> {
        let path = path(folder.path());
        let text = serde_json::to_vec(self).unwrap_or_default();
        if files::read_bytes(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        files::write_atomic(&path, 0o600, &text)
    }

    /// Reads what is kept, for [`LastUp::put_back`]; `None`: nothing is.
    pub fn kept(folder: &Folder) -> Option<Vec<u8>> {
        files::read_bytes(&path(folder.path())).ok()
    }

    /// Puts back what was kept before an `up` that failed.
    ///
    /// # Errors
    /// The file cannot be written or removed.
    pub fn put_back(kept: Option<&[u8]>, folder: &Folder) -> Result<(), StoreError> {
        match kept {
            None => Self::forget(folder),
            Some(kept) if Self::kept(folder).is_some_and(|now| now == kept) => Ok(()),
            Some(kept) => files::write_atomic(&path(folder.path()), 0o600, kept),
        }
    }

    /// Forgets it: the network is down because somebody wanted it so.
    ///
    /// # Errors
    /// The file is there and cannot be removed.
    pub fn forget(folder: &Folder) -> Result<(), StoreError> {
        let path = path(folder.path());
        match std::fs::remove_file(&path) {
            // A read-only file system refuses also where there is nothing to remove.
            Err(source) if path.exists() => Err(StoreError::Io { operation: "remove", path, source }),
            _ => Ok(()),
        }
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path(), &"wg0".parse().unwrap());
        std::fs::create_dir(folder.path()).unwrap();
        assert_eq!(LastUp::read(&folder), None);
        let last = LastUp {
            node: "wsl".parse().unwrap(),
            backend: Backend::Embedded,
            network_text: "format = 1\n".into(),
        };
        last.write(&folder).unwrap();
        last.write(&folder).unwrap();
        assert_eq!(LastUp::read(&folder), Some(last));
        LastUp::forget(&folder).unwrap();
        LastUp::forget(&folder).unwrap();
        assert_eq!(LastUp::read(&folder), None);
    }
}
