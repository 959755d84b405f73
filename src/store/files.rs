//! The folder of one network: whole files, one writer at a time, secrets that nobody else can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::owned::{file_is_closed, folder_is_closed, folder_is_own, holds_what_is_ours, open_own};
use crate::model::{InterfaceName, quoted};

/// Name of the file that holds a network.
pub const NETWORK_FILE: &str = "network.toml";
/// Name of the file that holds its secrets.
pub const SECRETS_FILE: &str = "secrets.toml";
const LOCK_FILE: &str = ".lock";
/// The largest file that is read, in bytes: 100,000 nodes with a site each take 15 MB.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// A fault of files.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read a file of secrets.
    #[error("{} holds secrets and is open to others (mode {mode:04o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file or folder that is believed belongs to somebody else, who could change or read it.
    #[error("{} belongs to user {owner}, not to user {user}", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Others may write what is believed.
    #[error("{} can be changed by others (mode {mode:04o})", path.display())]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A pipe or device that something is to be written to is somebody else's.
    #[error("{} is a pipe or a device that belongs to user {owner}", path.display())]
    OthersStream {
        /// Where it is.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Larger than anything that wgrelay wrote.
    #[error("{} is larger than {MAX_FILE_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A pipe, a socket or a device.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What it is instead is not looked at.
        path: PathBuf,
    },
    /// A named pipe without a reader.
    #[error("{} is a named pipe that no program reads", path.display())]
    NobodyReads {
        /// The pipe.
        path: PathBuf,
    },
    /// Not text.
    #[error("{} is not UTF-8 (at byte {offset})", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where the first wrong byte is.
        offset: usize,
    },
    /// A network is there already.
    #[error("{} exists", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// What was read to be changed was changed by somebody else meanwhile.
    #[error("{} was changed by somebody else meanwhile", path.display())]
    Conflict {
        /// The network file.
        path: PathBuf,
    },
    /// A file of ours that says something impossible.
    #[error("{}: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A revision that is not kept.
    #[error("there is no revision {number}")]
    NoRevision {
        /// What was asked for.
        number: u64,
        /// The oldest and the newest that there are; `None`: none.
        kept: Option<(u64, u64)>,
    },
    /// A shared store says no, or nothing.
    #[error("{message}")]
    Shared {
        /// Why, as a code.
        code: &'static str,
        /// Why, in words.
        message: String,
        /// What to do.
        hint: String,
    },
    /// Somebody else is writing.
    #[error("{} is locked{}", path.display(), by(.holder))]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, where it said so.
        holder: Option<u32>,
    },
}

fn by(holder: &Option<u32>) -> String {
    holder.map_or_else(|| " by another process".into(), |pid| format!(" by process {pid}"))
}

impl StoreError {
    /// Says the same of the path by which somebody knows it.
    pub(crate) fn about(self, path: &Path) -> Self {
        match self {
            Self::Io { operation, source, .. } => Self::Io { operation, path: path.into(), source },
            other => other,
        }
    }

    /// Says what to do; empty where nothing is known.
    pub fn hint(&self) -> String {
        self.hint_about("--dir")
    }

    /// Says what to do about a file whose folder was chosen by this option.
    pub fn hint_about(&self, option: &str) -> String {
        match self {
            Self::Io { source, path, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "make room on that file system; the file is as it was before".into()
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    format!("remount it writable, or choose another folder with {option}")
                }
                io::ErrorKind::PermissionDenied if nix::unistd::geteuid().is_root() => {
                    let path = shell(path);
                    format!(
                        "`lsattr -d {path}` tells whether it is immutable (`chattr -i {path}` ends that); or choose another folder with {option}"
                    )
                }
                io::ErrorKind::PermissionDenied => {
                    format!("run as root, or choose another folder with {option}")
                }
                io::ErrorKind::NotFound => missing(path),
                _ => String::new(),
            },
            Self::Exposed { path, .. } => {
                format!(
                    "`chmod 600 {}`; if others could read it, the keys in it are to be replaced",
                    shell(path)
                )
            }
            Self::Owner { path, owner, user } => format!(
                "look at what is in it first, which user {owner} may have written; `chown -R {user} {}` says that it is to be believed",
                shell(path)
            ),
            Self::Open { path, .. } => {
                format!("`chmod go-w {}`, and look at what is in it: others may have changed it", shell(path))
            }
            Self::OthersStream { .. } => "give the path of a file, or of a pipe of your own".into(),
            Self::Exists { path } => format!(
                "it is kept: use another --dir or --network, or remove {} first",
                path.parent().unwrap_or(path).display()
            ),
            Self::NobodyReads { .. } => "start what reads it first, or give the path of a file".into(),
            Self::NotAFile { .. } => "give the path of a file; of a command's output, /dev/stdin".into(),
            Self::Conflict { .. } => "look at it, and give the command again".into(),
            Self::Damaged { .. } => {
                "put it back from a backup, or remove it: the network's own files do not depend on it".into()
            }
            Self::NoRevision { kept: Some((oldest, newest)), .. } => {
                format!("`wgrelay history` lists them: {oldest} to {newest}")
            }
            Self::NoRevision { kept: None, .. } => "none is kept yet: the first change makes one".into(),
            Self::TooLarge { .. } => "is this the right file?".into(),
            Self::NotText { .. } => "save it as UTF-8".into(),
            Self::Locked { holder: Some(pid), .. } => {
                format!("wait until it is done; `ps -p {pid}` shows what it is")
            }
            Self::Locked { .. } => "wait until it is done".into(),
            Self::Shared { hint, .. } => hint.clone(),
        }
    }
}

fn shell(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// Says what to do where a file is not there; which one it is tells.
fn missing(path: &Path) -> String {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(NETWORK_FILE) => "`wgrelay init` makes a network; `--dir DIR` looks elsewhere".into(),
        Some(SECRETS_FILE) => "put it back from a backup; without one the keys are lost: `wgrelay --dir OTHER init` makes a network with new ones".into(),
        _ => "is that the right path?".into(),
    }
}

pub(crate) fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { operation, path, source }
}

/// Writes a file whole or not at all: beside it, synced, renamed, and the folder synced.
/// What an earlier writer left half done is reclaimed, so writers must exclude each other.
pub fn write_atomic(path: &Path, mode: u32, content: &[u8]) -> Result<(), StoreError> {
    let (folder, new) = temp_path(path)?;
    let written = write_temp(&new, mode, content)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&new, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&new);
        return Err(io_error("write", path)(error));
    }
    sync_folder(folder)
}

/// Removes what a writer of this file that was killed has left beside it; whoever writes it next does the same.
pub fn reclaim(path: &Path) {
    let _a_disk_that_cannot_be_written_has_nothing_new_on_it = temp_path(path);
}

/// Returns a file's folder, and where it is written first: reclaimed from an earlier writer.
pub(crate) fn temp_path(path: &Path) -> Result<(&Path, PathBuf), StoreError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Err(io_error("write", path)(io::ErrorKind::InvalidFilename.into()));
    };
    let new = folder.join(format!(".{name}.new"));
    match fs::remove_file(&new) {
        // Also where there is nothing to remove.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            Err(io_error("write", path)(error))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &new)(error)),
        _ => Ok((folder, new)),
    }
}

pub(crate) fn write_temp(new: &Path, mode: u32, content: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(new)?;
    // The umask has taken bits from `mode`.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content)?;
    Ok(file)
}

pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(io_error("sync", folder))
}

/// Reads a file of at most [`MAX_FILE_BYTES`], whatever is in it.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, StoreError> {
    bytes_of(open(path)?, path)
}

/// Opens a file to read. A named pipe or a device is refused: it would keep us waiting, or never end; one that the caller
/// has opened already (`<(command)`, /dev/stdin) has somebody behind it.
pub(crate) fn open(path: &Path) -> Result<File, StoreError> {
    if ["/dev/fd", "/proc/self/fd", "/dev/stdin"].iter().any(|p| path.starts_with(p)) {
        return File::open(path).map_err(io_error("read", path));
    }
    // What was opened is looked at, not the path, behind which another thing may stand by now.
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file =
        OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(io_error("read", path))?;
    let about = file.metadata().map_err(io_error("read", path))?;
    if about.is_file() || about.is_dir() { Ok(file) } else { Err(StoreError::NotAFile { path: path.into() }) }
}

/// Reads a text file of at most [`MAX_FILE_BYTES`].
pub fn read_text(path: &Path) -> Result<String, StoreError> {
    text_of(open(path)?, path)
}

/// Reads a file of secrets; refuses one that others can read or that belongs to somebody else.
pub fn read_secret(path: &Path) -> Result<zeroize::Zeroizing<String>, StoreError> {
    secret_of(open(path)?, path)
}

/// Reads a file of secrets that need not be text.
pub(crate) fn read_secret_bytes(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, StoreError> {
    let file = open(path)?;
    is_private(&file, path)?;
    bytes_of(file, path).map(zeroize::Zeroizing::new)
}

/// Reads an open file of secrets, as [`read_secret`] does.
pub(crate) fn secret_of(file: File, path: &Path) -> Result<zeroize::Zeroizing<String>, StoreError> {
    is_private(&file, path)?;
    text_of(file, path).map(zeroize::Zeroizing::new)
}

fn is_private(file: &File, path: &Path) -> Result<(), StoreError> {
    let about = file.metadata().map_err(io_error("read", path))?;
    if about.is_dir() {
        return Err(StoreError::NotAFile { path: path.into() });
    }
    let user = nix::unistd::geteuid().as_raw();
    // Root may read everybody's, and so may be led to read a file that somebody else can change.
    if about.uid() != user {
        return Err(StoreError::Owner { path: path.into(), owner: about.uid(), user });
    }
    let mode = about.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StoreError::Exposed { path: path.into(), mode });
    }
    Ok(())
}

/// Says whether others may read a file of secrets, without reading it; `None`: they may not, or it is not there.
pub fn exposed(path: &Path) -> Option<StoreError> {
    let mode = fs::metadata(path).ok()?.mode() & 0o7777;
    (mode & 0o077 != 0).then(|| StoreError::Exposed { path: path.into(), mode })
}

fn text_of(file: File, path: &Path) -> Result<String, StoreError> {
    String::from_utf8(bytes_of(file, path)?)
        .map_err(|e| StoreError::NotText { path: path.into(), offset: e.utf8_error().valid_up_to() })
}

pub(crate) fn bytes_of(file: File, path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(StoreError::TooLarge { path: path.into() });
    }
    Ok(bytes)
}

/// Makes a folder that only its owner can enter, and its parents.
pub fn create_private_dir(path: &Path) -> Result<(), StoreError> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        // Not the 0777 of create_dir_all: the caller's umask may take nothing from it.
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o755).create(parent).map_err(io_error("create folder", parent))?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => folder_is_own(path),
        other => other.map_err(io_error("create folder", path)),
    }
}

/// The folder of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDir {
    path: PathBuf,
}

/// The right to write in a folder, given back when dropped.
#[derive(Debug)]
pub struct WriterLock {
    /// `None`: the file system is read-only and has no lock file.
    file: Option<Flock<File>>,
}

impl WriterLock {
    /// Says whether it keeps other commands out.
    pub const fn excludes(&self) -> bool {
        self.file.is_some()
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        // Nobody holds it any more, so nobody's name stays in it.
        let _ = self.file.as_ref().map(|file| file.set_len(0));
    }
}

impl NetworkDir {
    /// Names the folder of `network` in `dir`; touches nothing.
    pub fn new(dir: &Path, network: &InterfaceName) -> Self {
        Self { path: dir.join(network.as_str()) }
    }
    /// Returns the folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Returns the path of the network file.
    pub fn network_file(&self) -> PathBuf {
        self.path.join(NETWORK_FILE)
    }
    /// Returns the path of the secrets file.
    pub fn secrets_file(&self) -> PathBuf {
        self.path.join(SECRETS_FILE)
    }
    /// Says whether there is a network in the folder.
    pub fn exists(&self) -> bool {
        self.network_file().exists() || self.path.join(super::journal::PENDING).exists()
    }
    /// Makes the folder, mode 0700.
    pub fn create(&self) -> Result<(), StoreError> {
        create_private_dir(&self.path)
    }
    /// Takes the lock, waiting at most `limit` for another writer.
    pub fn lock(&self, limit: Duration) -> Result<WriterLock, StoreError> {
        let path = self.path.join(LOCK_FILE);
        self.is_own()?;
        locked(open_lock(&path)?, path, limit)
    }

    /// Takes the lock for a command that changes the host and need not write here: also on a read-only file system, where
    /// a lock file that is not there cannot be made, and no other command writes either.
    pub fn lock_to_apply(&self, limit: Duration) -> Result<WriterLock, StoreError> {
        let path = self.path.join(LOCK_FILE);
        self.is_own()?;
        let kind = |error: &StoreError| match error {
            StoreError::Io { source, .. } => Some(source.kind()),
            _ => None,
        };
        let opened = match open_lock(&path) {
            Err(error) if kind(&error) == Some(io::ErrorKind::ReadOnlyFilesystem) => {
                match open_own(&path, OpenOptions::new().read(true)) {
                    Err(error) if kind(&error) == Some(io::ErrorKind::NotFound) => {
                        return Ok(WriterLock { file: None });
                    }
                    read_only => read_only,
                }
            }
            other => other,
        };
        locked(opened?, path, limit)
    }

    /// What is in the folder is done to this host, so nobody else may be able to put anything in its place.
    fn is_own(&self) -> Result<(), StoreError> {
        let around = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        around.map_or(Ok(()), holds_what_is_ours)?;
        folder_is_closed(&self.path)?;
        file_is_closed(&self.network_file())
    }
}

fn open_lock(path: &Path) -> Result<File, StoreError> {
    open_own(path, OpenOptions::new().read(true).write(true).create(true).truncate(false))
}

/// Locks an open lock file, waiting at most `limit`: in the kernel's queue, so that those who wait longest come first.
pub(crate) fn locked(file: File, path: PathBuf, limit: Duration) -> Result<WriterLock, StoreError> {
    let got = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Err((file, Errno::EWOULDBLOCK)) if !limit.is_zero() => wait_for(file, limit),
        Err((file, errno)) => Err((Some(file), errno)),
        Ok(locked) => Ok(locked),
    };
    match got {
        Ok(mut locked) => {
            // For the one who waits; a full disk takes nothing from the lock itself.
            let _ = locked.set_len(0);
            let _ = locked.write_all(format!("{}\n", std::process::id()).as_bytes());
            Ok(WriterLock { file: Some(locked) })
        }
        Err((file, Errno::EWOULDBLOCK)) => {
            let mut text = String::new();
            // The one that waited in vain is still waiting: it is opened again for the name in it.
            let read = file.map_or_else(|| File::open(&path), Ok);
            let _ = read.and_then(|mut file| file.read_to_string(&mut text));
            Err(StoreError::Locked { path, holder: text.trim().parse().ok() })
        }
        Err((_, errno)) => Err(io_error("lock", &path)(errno.into())),
    }
}

/// Waits for a lock on a thread of its own, which gives it back where it comes too late.
fn wait_for(file: File, limit: Duration) -> Result<Flock<File>, (Option<File>, Errno)> {
    let (got, gets) = std::sync::mpsc::channel();
    let wait = move || {
        let _given_back_where_nobody_waits = got.send(Flock::lock(file, FlockArg::LockExclusive));
    };
    if std::thread::Builder::new().spawn(wait).is_err() {
        return Err((None, Errno::EAGAIN));
    }
    match gets.recv_timeout(limit) {
        Ok(locked) => locked.map_err(|(file, errno)| (Some(file), errno)),
        Err(_) => Err((None, Errno::EWOULDBLOCK)),
    }
}

/// Lists the networks in `dir`, sorted; a folder that does not exist has none.
pub fn networks(dir: &Path) -> Result<Vec<InterfaceName>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io_error("read folder", dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error("read folder", dir))?;
        if entry.file_type().is_ok_and(|t| !t.is_dir() && !t.is_symlink()) {
            continue;
        }
        let Some(name) = entry.file_name().to_str().and_then(|n| n.parse::<InterfaceName>().ok()) else {
            continue;
        };
        // A folder that may not be looked into is told, not passed over: it is the one that is meant.
        let folder = NetworkDir::new(dir, &name);
        let file = folder.network_file();
        if file.try_exists().map_err(io_error("read", &file))? || folder.exists() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
