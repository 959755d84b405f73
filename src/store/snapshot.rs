//! The files of one revision, opened at one moment. What is read of them afterwards belongs together, whatever a writer
//! does meanwhile: files are replaced, never changed in place.

use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::files::{self, StoreError};
use super::journal::{PENDING, Pending, temp_name};
use super::owned;
use super::part::{Contents, InstalledBundle, Part};

/// How long a reader tries to find a moment at which nobody is writing.
const WITHIN: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_micros(200);

/// The files of one revision.
#[derive(Debug)]
pub struct Snapshot {
    network: Slot,
    secrets: Slot,
    bundle: Slot,
}

/// A file as it was found.
#[derive(Debug)]
struct Slot {
    /// Its place, for words.
    path: PathBuf,
    opened: Opened,
}

#[derive(Debug)]
enum Opened {
    File(File),
    Absent,
    /// Not ours to open, or no file: whoever reads it is told why.
    Refused,
}

impl Snapshot {
    /// Opens what is in a folder now.
    ///
    /// # Errors
    /// Somebody writes without end, or left a change on its way that cannot be read.
    pub(crate) fn take(folder: &Path) -> Result<Self, StoreError> {
        let end = Instant::now() + WITHIN;
        loop {
            if let Some(this) = Self::try_take(folder)? {
                return Ok(this);
            }
            if Instant::now() > end {
                return Err(StoreError::Locked { path: folder.into(), holder: None });
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// Opens the files; `None`: a writer came between.
    fn try_take(folder: &Path) -> Result<Option<Self>, StoreError> {
        let pending_path = folder.join(PENDING);
        let pending = match Opened::at(&pending_path) {
            Opened::File(file) => Some((file, Pending::read(folder)?)),
            Opened::Absent | Opened::Refused => None,
        };
        let slot = |part: Part| {
            let place = part.path(folder);
            let replaced = pending
                .as_ref()
                .and_then(|(_, pending)| pending.as_ref())
                .and_then(|pending| pending.files.iter().find(|file| file.part == part));
            let opened = match replaced {
                Some(file) if file.new.is_none() => Opened::Absent,
                // Beside its place still, or in it by now.
                Some(_) => match temp_name(&place).map(|(_, new)| Opened::at(&new)) {
                    Ok(Opened::File(file)) => Opened::File(file),
                    _ => Opened::at(&place),
                },
                None => Opened::at(&place),
            };
            Slot { path: folder.join(part.file_name()), opened }
        };
        let this =
            Self { network: slot(Part::Network), secrets: slot(Part::Secrets), bundle: slot(Part::Bundle) };
        let is_one = match &pending {
            // As long as it is on its way nobody begins the next one.
            Some((file, Some(_))) => is_still(&pending_path, file),
            Some((_, None)) => false,
            // Nothing was on its way after all were opened, and each is still the one in its place: then at that
            // moment all of them were.
            None => {
                !pending_path.exists()
                    && [&this.network, &this.secrets, &this.bundle].into_iter().all(Slot::is_current)
            }
        };
        Ok(is_one.then_some(this))
    }

    /// Reads network.toml, whatever is in it.
    ///
    /// # Errors
    /// It is not there, cannot be read, or is larger than anything of ours.
    pub fn network(&self) -> Result<Vec<u8>, StoreError> {
        files::bytes_of(self.network.file()?, &self.network.path)
    }

    /// Reads secrets.toml.
    ///
    /// # Errors
    /// As above, and where others can read it.
    pub fn secrets(&self) -> Result<Zeroizing<String>, StoreError> {
        files::secret_of(self.secrets.file()?, &self.secrets.path)
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// A file is there and cannot be read.
    pub fn contents(&self) -> Result<Contents, StoreError> {
        let there = |read: Result<Zeroizing<Vec<u8>>, StoreError>| match read {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        };
        let secret = |slot: &Slot| {
            slot.file()
                .and_then(|file| files::secret_of(file, &slot.path))
                .map(|text| Zeroizing::new(text.as_bytes().to_vec()))
        };
        Ok(Contents {
            network: there(self.network().map(Zeroizing::new))?,
            secrets: there(secret(&self.secrets))?,
            bundle: there(self.bundle.file().and_then(|file| {
                owned::text_of_own(file, &self.bundle.path).map(|text| Zeroizing::new(text.into_bytes()))
            }))?,
        })
    }

    /// Says for which node a bundle was installed; `None`: this network came in no bundle.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn installed_bundle(&self) -> Result<Option<InstalledBundle>, StoreError> {
        match self.bundle.file().and_then(|file| owned::text_of_own(file, &self.bundle.path)) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            other => Ok(serde_json::from_str(&other?).ok()),
        }
    }
}

impl Opened {
    fn at(path: &Path) -> Self {
        match files::open(path) {
            Ok(file) => Self::File(file),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Self::Absent,
            Err(_) => Self::Refused,
        }
    }
}

impl Slot {
    /// Returns the open file, to be read from its beginning.
    fn file(&self) -> Result<File, StoreError> {
        match &self.opened {
            Opened::File(file) => {
                let again = file.try_clone().and_then(|mut file| file.rewind().map(|()| file));
                again.map_err(files::io_error("read", &self.path))
            }
            Opened::Absent => {
                Err(files::io_error("read", &self.path)(io::Error::from_raw_os_error(libc::ENOENT)))
            }
            Opened::Refused => files::open(&self.path),
        }
    }

    fn is_current(&self) -> bool {
        match &self.opened {
            Opened::File(file) => is_still(&self.path, file),
            Opened::Absent => !self.path.exists(),
            Opened::Refused => true,
        }
    }
}

fn is_still(path: &Path, file: &File) -> bool {
    match (fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(opened)) => (there.dev(), there.ino()) == (opened.dev(), opened.ino()),
        _ => false,
    }
}
