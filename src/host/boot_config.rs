//! The boot configuration, what `up` was asked for last and did: kept beside the network, so that a restart of the host brings back the same,
//! also where the file was edited since and not applied.

use std::path::PathBuf;

use super::configuration::{self, Configuration};
use crate::store::files::{self, StoreError};
use crate::store::folder::Folder;
use crate::store::owned;

const FILE: &str = ".last-up.json";

/// Reads it; `None`: the network was never brought up, or was taken down since.
pub fn read(folder: &Folder) -> Option<Configuration> {
    // The file of somebody else is none: what it says would be brought up.
    configuration::parse(owned::read_own(&path(folder)).ok()?.as_deref())
}

/// Writes it, mode 0600, where it says something new.
///
/// # Errors
/// The file cannot be written.
pub fn write(configuration: &Configuration, folder: &Folder) -> Result<(), StoreError> {
    let path = path(folder);
    let text = serde_json::to_vec(configuration).unwrap_or_default();
    if files::read_bytes(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    configuration::write(&path, configuration)
}

/// Reads what is kept, for [`put_back`]; `None`: nothing is.
pub fn kept(folder: &Folder) -> Option<Vec<u8>> {
    files::read_bytes(&path(folder)).ok()
}

/// Puts back what was kept before an `up` that failed.
///
/// # Errors
/// The file cannot be written or removed.
pub fn put_back(before: Option<&[u8]>, folder: &Folder) -> Result<(), StoreError> {
    match before {
        None => forget(folder),
        Some(before) if kept(folder).is_some_and(|now| now == before) => Ok(()),
        Some(before) => files::write_atomic(&path(folder), 0o600, before),
    }
}

/// Forgets it: the network is down because somebody wanted it so.
///
/// # Errors
/// The file is there and cannot be removed.
pub fn forget(folder: &Folder) -> Result<(), StoreError> {
    let path = path(folder);
    files::reclaim(&path);
    match std::fs::remove_file(&path) {
        // A read-only file system refuses also where there is nothing to remove.
        Err(source) if path.exists() => Err(StoreError::Io { operation: "remove", path, source }),
        _ => Ok(()),
    }
}

fn path(folder: &Folder) -> PathBuf {
    folder.path().join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Backend;

    #[test]
    fn it_is_read_as_it_was_written_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path(), &"wg0".parse().unwrap());
        std::fs::create_dir(folder.path()).unwrap();
        assert_eq!(read(&folder), None);
        let last = Configuration {
            node: "wsl".parse().unwrap(),
            backend: Backend::Embedded,
            network_text: "format = 1\n".into(),
        };
        write(&last, &folder).unwrap();
        write(&last, &folder).unwrap();
        assert_eq!(read(&folder), Some(last));
        let written = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(written, r#"{"node":"wsl","backend":"embedded","network_text":"format = 1\n"}"#);
        forget(&folder).unwrap();
        // What an `up` left that was killed before the file was in its place.
        std::fs::write(folder.path().join("..last-up.json.new"), "{").unwrap();
        forget(&folder).unwrap();
        assert_eq!(read(&folder), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
