//! Files and folders that nobody else put there. Root writes and believes files in places where others may be at work: each
//! is opened once, no link and no pipe is followed on the way into it, and what was opened is looked at, not its path.

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{Uid, setfsuid};

use super::files::{MAX_FILE_BYTES, StoreError, io_error};

/// Links in one path that are followed; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// Returns the user whose rights to files this thread has: root may have lent itself another's.
fn user() -> u32 {
    // Nobody is called so: it changes nothing, and returns who it is.
    setfsuid(Uid::from_raw(u32::MAX)).as_raw()
}

/// Says whether what belongs to this user can be believed: it is ours or root's.
fn is_believed(owner: u32) -> bool {
    owner == 0 || owner == user()
}

fn owner_error(path: &Path, owner: u32) -> StoreError {
    StoreError::Owner { path: path.into(), owner, user: user() }
}

/// Opens a file of ours, or makes it with mode 0600 where the options say so. What is written into it has to be emptied by
/// the caller: nothing is truncated before it is known whose it is.
///
/// # Errors
/// It is a link, a pipe or anything else but a file, or belongs to somebody else.
pub fn open_own(path: &Path, options: &mut OpenOptions) -> Result<File, StoreError> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let opened = options.mode(0o600).custom_flags(flags.bits()).open(path);
    let file = opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        // What ends in a link, and a pipe without a reader.
        Some(Errno::ELOOP | Errno::ENXIO) => StoreError::NotAFile { path: path.into() },
        _ => io_error("open", path)(error),
    })?;
    let about = file.metadata().map_err(io_error("open", path))?;
    if !about.is_file() {
        return Err(StoreError::NotAFile { path: path.into() });
    }
    if !is_believed(about.uid()) {
        return Err(owner_error(path, about.uid()));
    }
    Ok(file)
}

/// Reads a file of ours that is believed: what it says is done. `None`: it is not there.
///
/// # Errors
/// As [`open_own`]; or others may write into it, or it is no text of a size of ours.
pub fn read_own(path: &Path) -> Result<Option<String>, StoreError> {
    let file = match open_own(path, OpenOptions::new().read(true)) {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    text_of_own(file, path).map(Some)
}

/// Reads an open file that is believed, as [`read_own`] does.
pub(crate) fn text_of_own(file: File, path: &Path) -> Result<String, StoreError> {
    let about = file.metadata().map_err(io_error("read", path))?;
    if !is_believed(about.uid()) {
        return Err(owner_error(path, about.uid()));
    }
    let mode = about.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(StoreError::Exposed { path: path.into(), mode });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(StoreError::TooLarge { path: path.into() });
    }
    let text = String::from_utf8(bytes)
        .map_err(|e| StoreError::NotText { path: path.into(), offset: e.utf8_error().valid_up_to() })?;
    Ok(text)
}

/// Opens a file of ours to write it anew, mode 0600: a log. Whatever has it open writes at its end, also after it was cut.
///
/// # Errors
/// As [`open_own`].
pub fn write_anew(path: &Path) -> Result<File, StoreError> {
    let file = open_own(path, OpenOptions::new().read(true).append(true).create(true))?;
    file.set_permissions(PermissionsExt::from_mode(0o600))
        .and_then(|()| file.set_len(0))
        .map_err(io_error("write", path))?;
    Ok(file)
}

/// Tells where a folder, or a link on the way to it, belongs to somebody else, who could put anything in its place.
///
/// # Errors
/// That; or it cannot be opened.
pub fn folder_is_own(path: &Path) -> Result<(), StoreError> {
    Place::of_own(path).map(drop)
}

/// Says whether somebody else may write what has this mode: everybody may, or a group that is neither root's nor the owner's own.
fn is_open(about: &Metadata) -> bool {
    let of_a_group = about.gid() != 0 && about.gid() != about.uid();
    about.mode() & 0o002 != 0 || (about.mode() & 0o020 != 0 && of_a_group)
}

/// Tells where a folder is not ours alone: as [`folder_is_own`], or because others may put something into it.
///
/// # Errors
/// That; or it cannot be opened.
pub fn folder_is_closed(path: &Path) -> Result<(), StoreError> {
    let about = Place::of_own(path)?.about(path)?;
    if is_open(&about) {
        Err(StoreError::Open { path: path.into(), mode: about.mode() & 0o7777 })
    } else {
        Ok(())
    }
}

/// Tells where others may put something in the place of a folder of ours that is in this one: they may write into it, and nothing
/// (`/tmp` has its sticky bit) keeps them from what is not theirs.
///
/// # Errors
/// That; or it cannot be opened.
pub fn holds_what_is_ours(path: &Path) -> Result<(), StoreError> {
    const STICKY: u32 = 0o1000;
    match folder_is_closed(path) {
        Err(StoreError::Open { mode, .. }) if mode & STICKY != 0 => Ok(()),
        other => other,
    }
}

/// Tells where a file that is believed may be written by others; links lead where whoever may write here says. One that is not there
/// is nobody's.
///
/// # Errors
/// That.
pub fn file_is_closed(path: &Path) -> Result<(), StoreError> {
    let Ok(about) = std::fs::metadata(path) else { return Ok(()) };
    if !is_believed(about.uid()) {
        return Err(owner_error(path, about.uid()));
    }
    if is_open(&about) {
        Err(StoreError::Open { path: path.into(), mode: about.mode() & 0o7777 })
    } else {
        Ok(())
    }
}

/// A folder that was opened, so that it stays the same one whoever renames what on the way to it.
#[derive(Debug)]
pub struct Place(OwnedFd);

impl Place {
    /// Opens a folder. Links on the way are followed where they are ours or root's.
    ///
    /// # Errors
    /// A link is somebody else's, or the folder is not there.
    pub fn of(path: &Path) -> Result<Self, StoreError> {
        let failed = |errno: Errno| io_error("open", path)(errno.into());
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY;
        let root = || open("/", flags, Mode::empty()).map_err(failed);
        let mut dir = open(".", flags, Mode::empty()).map_err(failed)?;
        // The next component last.
        let mut left = components(path);
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == "/" {
                dir = root()?;
                continue;
            }
            let about = fstatat(&dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(failed)?;
            if SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK {
                links += 1;
                // Opened first: another one may have taken its place since.
                let link = openat(
                    &dir,
                    name.as_os_str(),
                    OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                    Mode::empty(),
                );
                let link = link.map_err(failed)?;
                let about = nix::sys::stat::fstat(&link).map_err(failed)?;
                if !is_believed(about.st_uid) {
                    return Err(owner_error(path, about.st_uid));
                }
                if links > MAX_LINKS {
                    return Err(failed(Errno::ELOOP));
                }
                let target = target_of(&link, &dir, &name).map_err(failed)?;
                left.extend(components(Path::new(&target)));
                continue;
            }
            dir = openat(&dir, name.as_os_str(), flags | OFlag::O_NOFOLLOW, Mode::empty()).map_err(failed)?;
        }
        Ok(Self(dir))
    }

    /// Opens a folder of ours.
    ///
    /// # Errors
    /// As [`Place::of`]; or the folder is somebody else's.
    pub fn of_own(path: &Path) -> Result<Self, StoreError> {
        let place = Self::of(path)?;
        let owner = place.about(path)?.uid();
        if is_believed(owner) { Ok(place) } else { Err(owner_error(path, owner)) }
    }

    /// Returns a path of a file in this folder that leads there whatever becomes of the folder's own.
    pub fn path_of(&self, name: &std::ffi::OsStr) -> PathBuf {
        Path::new("/proc/self/fd").join(self.0.as_raw_fd().to_string()).join(name)
    }

    fn about(&self, path: &Path) -> Result<Metadata, StoreError> {
        let file = File::from(self.0.try_clone().map_err(io_error("open", path))?);
        file.metadata().map_err(io_error("open", path))
    }
}

/// Reads where a link that was opened leads; the kernel says it of the descriptor itself.
fn target_of(link: &OwnedFd, dir: &OwnedFd, name: &OsString) -> nix::Result<OsString> {
    let empty: BorrowedFd<'_> = link.as_fd();
    match readlinkat(empty, "") {
        // Links below /proc have no text of their own.
        Err(Errno::ENOENT) => readlinkat(dir, name.as_os_str()),
        other => other,
    }
}

/// A path's components, the first one last; the root is `/`.
fn components(path: &Path) -> Vec<OsString> {
    let all = path.components().filter(|c| !matches!(c, Component::CurDir | Component::Prefix(_)));
    let mut all: Vec<OsString> = all.map(|c| c.as_os_str().to_owned()).collect();
    all.reverse();
    all
}

/// What a path that something is to be written to is.
#[derive(Debug)]
pub enum Target {
    /// A file, or nothing yet: it is replaced whole, in its folder.
    Replaced,
    /// A terminal, a null device or a pipe, open for writing.
    Stream(File),
}

/// Looks what is to be written to, with one opening. What the caller has opened already (/dev/stdout) is his own.
///
/// # Errors
/// A pipe or device is somebody else's, a pipe has no reader, or the path is something else altogether.
pub fn target(path: &Path) -> Result<Target, StoreError> {
    use std::os::unix::fs::FileTypeExt as _;
    const OPEN_ALREADY: [&str; 4] = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc/self/fd"];
    if OPEN_ALREADY.iter().any(|p| path.starts_with(p)) {
        return OpenOptions::new()
            .write(true)
            .open(path)
            .map(Target::Stream)
            .map_err(io_error("write", path));
    }
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let stream = match OpenOptions::new().write(true).custom_flags(flags.bits()).open(path) {
        Ok(stream) => stream,
        Err(error) => {
            return match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENXIO) => Err(StoreError::NobodyReads { path: path.into() }),
                // A link, a folder, a file that may not be written: replacing it tells, or does.
                _ => Ok(Target::Replaced),
            };
        }
    };
    let about = stream.metadata().map_err(io_error("write", path))?;
    let kind = about.file_type();
    if kind.is_file() {
        return Ok(Target::Replaced);
    }
    if !is_believed(about.uid()) {
        return Err(StoreError::OthersStream { path: path.into(), owner: about.uid() });
    }
    if !kind.is_fifo() && !kind.is_char_device() {
        return Err(StoreError::NotAFile { path: path.into() });
    }
    // From here on a reader that is slow is waited for.
    let flags = nix::fcntl::FcntlArg::F_SETFL(OFlag::empty());
    nix::fcntl::fcntl(&stream, flags).map_err(|e| io_error("write", path)(e.into()))?;
    Ok(Target::Stream(stream))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use nix::unistd::{Uid, chown, mkfifo};

    use super::*;

    /// Somebody else's; needs root.
    fn give_away(path: &Path) {
        nix::unistd::fchownat(
            nix::fcntl::AT_FDCWD,
            path,
            Some(Uid::from_raw(12_345)),
            None,
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .unwrap();
    }

    #[test]
    fn a_file_that_is_a_link_or_a_pipe_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("target"), "precious").unwrap();
        symlink(at("target"), at("link")).unwrap();
        mkfifo(&at("pipe"), Mode::from_bits_truncate(0o600)).unwrap();
        for name in ["link", "pipe"] {
            assert!(matches!(write_anew(&at(name)), Err(StoreError::NotAFile { .. })), "{name}");
            assert!(matches!(read_own(&at(name)), Err(StoreError::NotAFile { .. })), "{name}");
        }
        assert_eq!(fs::read_to_string(at("target")).unwrap(), "precious");
        assert!(read_own(&at("none")).unwrap().is_none());
        drop(write_anew(&at("log")).unwrap());
        assert_eq!(read_own(&at("log")).unwrap().as_deref(), Some(""));
        fs::set_permissions(at("log"), PermissionsExt::from_mode(0o666)).unwrap();
        assert!(matches!(read_own(&at("log")), Err(StoreError::Exposed { .. })));
    }

    #[test]
    fn what_is_somebody_elses_is_neither_believed_nor_written_to() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "forged").unwrap();
        mkfifo(&at("pipe"), Mode::from_bits_truncate(0o622)).unwrap();
        fs::create_dir(at("theirs")).unwrap();
        fs::create_dir(at("ours")).unwrap();
        symlink(at("ours"), at("their-link")).unwrap();
        symlink(at("ours"), at("our-link")).unwrap();
        for name in ["file", "pipe", "theirs", "their-link"] {
            give_away(&at(name));
        }
        assert!(matches!(read_own(&at("file")), Err(StoreError::Owner { owner: 12_345, .. })));
        assert!(matches!(write_anew(&at("file")), Err(StoreError::Owner { .. })));
        let reader =
            OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(at("pipe")).unwrap();
        assert!(matches!(target(&at("pipe")), Err(StoreError::OthersStream { .. })));
        chown(&at("pipe"), Some(Uid::from_raw(0)), None).unwrap();
        assert!(matches!(target(&at("pipe")), Ok(Target::Stream(_))));
        drop(reader);
        assert!(matches!(target(&at("pipe")), Err(StoreError::NobodyReads { .. })));
        for name in ["theirs", "their-link"] {
            assert!(matches!(folder_is_own(&at(name)), Err(StoreError::Owner { .. })), "{name}");
        }
        for name in ["ours", "our-link", "our-link/../ours", "."] {
            folder_is_own(&at(name)).unwrap();
        }
        assert!(matches!(Place::of(&at("their-link")), Err(StoreError::Owner { .. })));
        assert!(Place::of(&at("theirs")).is_ok(), "a file for somebody may go into his folder");
    }

    #[test]
    fn links_that_go_round_end() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        symlink(at("b"), at("a")).unwrap();
        symlink("a", at("b")).unwrap();
        assert!(Place::of(&at("a")).is_err());
    }
}
