//! Whether a file is the one that was read, without reading it again.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How old a change has to be before a file's times tell it from the next one: Linux stamps files by its tick, 10 ms at
/// the slowest.
const SETTLED: Duration = Duration::from_millis(50);

/// What is different in a file that was written since, or replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStamp {
    file: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

impl FileStamp {
    /// Reads it; `None`: there is no such file, or it changed just now, and might again without showing it.
    pub fn of(path: &Path) -> Option<Self> {
        let mark = Self::as_it_is(path)?;
        let (seconds, nanos) = mark.changed;
        let changed = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        // A clock that was set back makes every file new: it is read again then, which is right.
        (now.checked_sub(changed)? >= SETTLED).then_some(mark)
    }

    fn as_it_is(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        Some(Self {
            file: (meta.dev(), meta.ino()),
            size: meta.size(),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// Says which program file this process runs, so that two processes can tell whether they are the same program.
pub fn own_program() -> String {
    let file = std::fs::metadata("/proc/self/exe").map(|m| (m.dev(), m.ino())).unwrap_or_default();
    format!("{} {}:{}", env!("CARGO_PKG_VERSION"), file.0, file.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_again_until_it_is_written_or_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert_eq!(FileStamp::of(&path), None);
        std::fs::write(&path, "one").unwrap();
        assert_eq!(FileStamp::of(&path), None, "a file of just now may change again within its stamp");
        std::thread::sleep(SETTLED * 2);
        let mark = FileStamp::of(&path);
        assert!(mark.is_some());
        assert_eq!(FileStamp::of(&path), mark);
        // As long as before, and put back to the old time, as `touch -r` does.
        let times = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "two").unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(times).unwrap();
        std::thread::sleep(SETTLED * 2);
        assert_ne!(FileStamp::of(&path), mark);
        let other = dir.path().join("other");
        std::fs::write(&other, "two").unwrap();
        let written = FileStamp::of(&path);
        std::fs::rename(&other, &path).unwrap();
        std::thread::sleep(SETTLED * 2);
        assert_ne!(FileStamp::of(&path), written);
    }
}
