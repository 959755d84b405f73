//! That a change on trial went back: kept beside the network until the next `up` or `down`, so that `status` can say why
//! the file is newer than what is applied, or why nothing is.

use std::path::PathBuf;

use crate::status::RolledBack;
use crate::store::files::{self, StoreError};
use crate::store::folder::Folder;

const FILE: &str = ".went-back.json";

/// Reads the note; `None`: no change went back since the last `up` or `down`.
pub fn read(folder: &Folder) -> Option<RolledBack> {
    serde_json::from_slice(&files::read_bytes(&path(folder)).ok()?).ok()
}

/// Writes it, mode 0600.
///
/// # Errors
/// The file cannot be written.
pub fn write(folder: &Folder, note: &RolledBack) -> Result<(), StoreError> {
    files::write_atomic(&path(folder), 0o600, &serde_json::to_vec(note).unwrap_or_default())
}

/// Forgets it: somebody has decided anew.
pub fn forget(folder: &Folder) {
    files::reclaim(&path(folder));
    // Where it cannot be removed it could not be written, and it is a word only.
    let _ = std::fs::remove_file(path(folder));
}

fn path(folder: &Folder) -> PathBuf {
    folder.path().join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn it_is_read_as_it_was_written_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path(), &"wg0".parse().unwrap());
        std::fs::create_dir(folder.path()).unwrap();
        assert_eq!(read(&folder), None);
        let note = RolledBack { made: Some(Timestamp(100)), at: Timestamp(160) };
        write(&folder, &note).unwrap();
        assert_eq!(read(&folder), Some(note));
        forget(&folder);
        forget(&folder);
        assert_eq!(read(&folder), None);
    }
}
