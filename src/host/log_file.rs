//! The log of a process without a terminal: a file on the little space of /run, so it is bounded, and a full disk or a reader
//! that went away costs the line and nothing else.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

/// What a log may grow to, in bytes: some thousand lines.
const LIMIT: u64 = 256 << 10;
/// Stands where older lines were.
const CUT: &[u8] = b"(older lines were dropped)\n";

/// Takes what is logged, and says that it was written, whatever becomes of it: nobody is left to tell.
#[derive(Debug)]
pub struct Log {
    /// The file behind stderr, where it is one of ours.
    file: Option<File>,
}

impl Log {
    /// Logs to stderr; `own` says that the file behind it is this process's log, and may be cut.
    pub fn to_stderr(own: bool) -> Self {
        let behind = || File::from(io::stderr().as_fd().try_clone_to_owned().ok()?).into();
        let file: Option<File> = if own { behind() } else { None };
        Self { file: file.filter(|file| file.metadata().is_ok_and(|about| about.is_file())) }
    }
}

impl Write for &Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &self.file {
            let _ = make_room(file, LIMIT.saturating_sub(bytes.len() as u64));
        }
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Drops the older half of a file that is longer than `limit` bytes.
fn make_room(file: &File, limit: u64) -> io::Result<()> {
    let length = file.metadata()?.size();
    if length <= limit {
        return Ok(());
    }
    let mut newer = vec![0; usize::try_from(limit.min(LIMIT) / 2).unwrap_or(0)];
    let from = length - newer.len() as u64;
    let read = file.read_at(&mut newer, from);
    // Emptied first: where the disk is full this is what makes it less so.
    file.set_len(0)?;
    newer.truncate(read?);
    let whole = newer.iter().position(|byte| *byte == b'\n').map_or(newer.len(), |at| at + 1);
    let mut file = file;
    file.write_all(CUT)?;
    file.write_all(&newer[whole..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_its_newest_lines_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.log");
        std::fs::write(&path, "of the agent before\n").unwrap();
        let mut file = crate::store::owned::write_anew(&path).unwrap();
        assert_eq!(file.metadata().unwrap().size(), 0);
        // Another descriptor of the same file, as stdout is one.
        let mut other = file.try_clone().unwrap();
        for n in 0..10_000 {
            make_room(&file, LIMIT).unwrap();
            assert!(file.metadata().unwrap().size() <= LIMIT, "line {n}");
            writeln!(file, "{n:05} repaired {}", "x".repeat(90)).unwrap();
        }
        writeln!(other, "a panic's words").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "(older lines were dropped)");
        assert!(lines[1].starts_with('0') && lines[1].len() == 105, "a whole line: {}", lines[1]);
        assert!(lines[lines.len() - 2].starts_with("09999 "));
        assert_eq!(lines[lines.len() - 1], "a panic's words");
    }

    #[test]
    fn what_is_logged_stays_within_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let file = crate::store::owned::write_anew(&dir.path().join("agent.log")).unwrap();
        let log = Log { file: Some(file.try_clone().unwrap()) };
        (&file).write_all(&vec![b'\n'; 3 << 20]).unwrap();
        (&log).write_all(b"\n").unwrap();
        let size = file.metadata().unwrap().size();
        assert!(size <= LIMIT, "{size}");
    }
}
