//! Many files of one folder at once. Each is written beside its place; all are made durable together, which costs as much
//! as one; then each is renamed. So every file is whole or not there, and where something fails none is replaced.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::store::{StoreError, beside, io_error, sync_folder, write_beside};

/// Files on their way into a folder. Several threads may write into it.
#[derive(Debug)]
pub struct Batch {
    folder: PathBuf,
    /// Where each was written, and its place.
    files: Mutex<Vec<(PathBuf, PathBuf)>>,
}

impl Batch {
    /// Begins.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.into(), files: Mutex::new(Vec::new()) }
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file beside its place.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, mode: u32, content: &[u8]) -> Result<(), StoreError> {
        let path = self.folder.join(name);
        if path.is_dir() {
            return Err(io_error("write", &path)(std::io::ErrorKind::IsADirectory.into()));
        }
        let (_, new) = beside(&path)?;
        let written = write_beside(&new, mode, content).map_err(io_error("write", &path));
        self.lock().push((new, path));
        written.map(drop)
    }

    /// Puts all files in their places.
    ///
    /// # Errors
    /// They cannot be made durable, or one cannot be renamed: those that are not in their places yet are removed.
    pub fn finish(self) -> Result<(), StoreError> {
        let sync = io_error("sync", &self.folder);
        File::open(&self.folder).and_then(|f| Ok(nix::unistd::syncfs(&f)?)).map_err(sync)?;
        loop {
            // What is left when one fails is removed as this is dropped.
            let Some((new, path)) = self.lock().pop() else { break };
            if let Err(error) = fs::rename(&new, &path) {
                let _ = fs::remove_file(&new);
                return Err(io_error("write", &path)(error));
            }
        }
        sync_folder(&self.folder)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(PathBuf, PathBuf)>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        for (new, _) in self.lock().drain(..) {
            let _ = fs::remove_file(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn all_come_to_their_places_or_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "old").unwrap();
        fs::write(dir.path().join(".b.new"), "left by somebody").unwrap();
        let batch = Batch::new(dir.path());
        batch.write("a", 0o600, b"one").unwrap();
        batch.write("b", 0o600, b"two").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "old", "not before the end");
        batch.finish().unwrap();
        assert_eq!(names(dir.path()), ["a", "b"]);
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "one");

        fs::create_dir(dir.path().join("d")).unwrap();
        let batch = Batch::new(dir.path());
        batch.write("a", 0o600, b"three").unwrap();
        assert!(batch.write("d", 0o600, b"a folder is in its place").is_err());
        assert!(batch.write("no/such", 0o600, b"").is_err());
        drop(batch);
        assert_eq!(names(dir.path()), ["a", "b", "d"]);
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "one");
    }
}
