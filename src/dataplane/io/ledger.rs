//! The file in which a device's memory of its peers outlives the process: one record a peer, each written when it changes, so
//! that nothing is lost whatever way the process ends.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::dataplane::memory::{RECORD, Remembered, pack, sum, unpack};
use crate::model::PublicKey;

const MAGIC: &[u8; 16] = b"wgrelay peers 1\n";
/// Records of a file, at most: what is longer is none of ours.
const MOST: u64 = 1 << 20;

/// A file of records.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    known: HashMap<PublicKey, Remembered>,
    places: HashMap<PublicKey, u64>,
    free: Vec<u64>,
    /// Places in the file.
    length: u64,
}

impl Ledger {
    /// Opens the file, or makes it, mode 0600. What is in it counts only where it was written by this user, who alone may write it,
    /// and in this `place`: a boot, a network namespace.
    ///
    /// # Errors
    /// It cannot be opened or made.
    pub fn open(path: &Path, place: &str) -> io::Result<Self> {
        let mut header = [0; RECORD];
        header[..16].copy_from_slice(MAGIC);
        header[16..24].copy_from_slice(&sum(place.as_bytes()).to_le_bytes());
        if let Some((file, content)) = open_own(path)? {
            if content.first_chunk() == Some(&header) {
                return Ok(Self::with(file, &content[RECORD..]));
            }
            drop(file);
        }
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all_at(&header, 0)?;
        Ok(Self::with(file, &[]))
    }

    fn with(file: File, records: &[u8]) -> Self {
        let mut this = Self {
            file,
            known: HashMap::new(),
            places: HashMap::new(),
            free: Vec::new(),
            length: records.len().div_ceil(RECORD) as u64,
        };
        for at in 0..this.length {
            let from = usize::try_from(at).unwrap_or(usize::MAX) * RECORD;
            match records.get(from..).and_then(<[u8]>::first_chunk).and_then(unpack) {
                Some((key, about)) => {
                    let key = PublicKey::from_bytes(key);
                    this.known.insert(key, about);
                    this.places.insert(key, at);
                }
                None => this.free.push(at),
            }
        }
        this
    }

    /// Takes out what the device before knew.
    pub(super) fn take_known(&mut self) -> HashMap<PublicKey, Remembered> {
        std::mem::take(&mut self.known)
    }

    /// Writes what is known of a peer. A full disk costs the memory and nothing else.
    pub(super) fn write(&mut self, key: &PublicKey, about: &Remembered) {
        let at = *self.places.entry(*key).or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.length += 1;
                self.length - 1
            })
        });
        self.put(at, &pack(key.as_bytes(), about));
    }

    /// Forgets a peer that was taken away.
    pub(super) fn forget(&mut self, key: &PublicKey) {
        if let Some(at) = self.places.remove(key) {
            self.put(at, &[0; RECORD]);
            self.free.push(at);
        }
    }

    fn put(&self, at: u64, record: &[u8; RECORD]) {
        if let Err(error) = self.file.write_all_at(record, (at + 1) * RECORD as u64) {
            tracing::debug!(%error, "what is known of a peer will not outlive this process");
        }
    }
}

/// Opens a file that this user alone can have written, and reads it; `None`: there is none, or it is another kind of file.
fn open_own(path: &Path) -> io::Result<Option<(File, Vec<u8>)>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut file = match OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        // A link, a folder, a socket.
        Err(_) => return Ok(None),
        Ok(file) => file,
    };
    let about = file.metadata()?;
    let own = about.is_file()
        && about.uid() == nix::unistd::geteuid().as_raw()
        && about.mode() & 0o077 == 0
        && about.nlink() == 1;
    if !own || about.size() > MOST * RECORD as u64 {
        return Ok(None);
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(Some((file, content)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn key(n: u8) -> PublicKey {
        PublicKey::from_bytes([n; 32])
    }

    fn about(n: u8) -> Remembered {
        Remembered { endpoint: Some(([192, 0, 2, n], 51820).into()), stamp: [n; 12] }
    }

    #[test]
    fn what_was_written_is_known_whatever_way_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers");
        let mut ledger = Ledger::open(&path, "here").unwrap();
        assert!(ledger.take_known().is_empty());
        for n in 1..=5 {
            ledger.write(&key(n), &about(n));
        }
        ledger.write(&key(2), &about(20));
        ledger.forget(&key(3));
        // Not dropped in good order.
        std::mem::forget(ledger);
        let mut again = Ledger::open(&path, "here").unwrap();
        let known = again.take_known();
        assert_eq!(known.len(), 4);
        assert_eq!((known[&key(2)], known.get(&key(3))), (about(20), None));
        // The free place is used again.
        again.write(&key(9), &about(9));
        assert_eq!(std::fs::metadata(&path).unwrap().size(), 6 * RECORD as u64);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

        // A record that was cut short, and one that is damaged.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 1);
        bytes[RECORD + 30] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let known = Ledger::open(&path, "here").unwrap().take_known();
        assert_eq!(known.len(), 3);
    }

    #[test]
    fn nothing_counts_that_another_place_or_user_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers");
        let write = |place: &str| Ledger::open(&path, place).unwrap().write(&key(1), &about(1));
        let known = |place: &str| Ledger::open(&path, place).unwrap().take_known().len();
        write("here");
        assert_eq!((known("here"), known("there")), (1, 0));
        assert_eq!(known("here"), 0, "the other place began anew");
        for mode in [0o620, 0o606, 0o644] {
            write("here");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(known("here"), 0, "{mode:o}");
        }
        if nix::unistd::geteuid().is_root() {
            write("here");
            std::os::unix::fs::chown(&path, Some(1000), None).unwrap();
            assert_eq!(known("here"), 0);
        }
        // Links, either kind: what they lead to stays as it is.
        let other = dir.path().join("other");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&other, "precious").unwrap();
        symlink(&other, &path).unwrap();
        write("here");
        std::fs::remove_file(&path).unwrap();
        std::fs::hard_link(&other, &path).unwrap();
        write("here");
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "precious");
        assert_eq!(known("here"), 1);
    }
}
