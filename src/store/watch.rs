//! Whether a network's files were changed since they were looked at last.

use std::path::{Path, PathBuf};

use super::file_stamp::FileStamp;
use super::journal::PENDING;
use super::part::Part;

/// What was seen last of a network's files.
#[derive(Debug)]
pub struct Watch {
    folder: PathBuf,
    seen: Option<Vec<FileStamp>>,
}

impl Watch {
    pub(crate) fn of(folder: &Path) -> Self {
        let mut this = Self { folder: folder.into(), seen: None };
        this.seen = this.look();
        this
    }

    /// Says whether something may have changed since the last call; without reading a file, and rather once too often.
    pub fn changed(&mut self) -> bool {
        let now = self.look();
        let same = now.is_some() && now == self.seen;
        self.seen = now;
        !same
    }

    fn look(&self) -> Option<Vec<FileStamp>> {
        if self.folder.join(PENDING).exists() {
            return None;
        }
        Part::ALL
            .into_iter()
            .map(|part| part.path(&self.folder))
            .filter(|path| path.exists())
            .map(|path| FileStamp::of(&path))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(dir.path().join("network.toml"), text).unwrap();
        // Longer than a file's times take to tell one change from the next.
        let pause = || std::thread::sleep(std::time::Duration::from_millis(120));
        write("one");
        pause();
        let mut watch = Watch::of(dir.path());
        assert!(!watch.changed());
        write("two");
        pause();
        assert!(watch.changed());
        assert!(!watch.changed());
        std::fs::write(dir.path().join("secrets.toml"), "").unwrap();
        pause();
        assert!(watch.changed());
        assert!(!watch.changed());
    }
}
