//! Many files of one folder at once. Each is written beside its place; all are made durable together, which costs as much
//! as one; then each is renamed. So every file is whole or not there, and where something fails none is replaced: one that
//! cannot be (it is immutable, say) has those put back that were.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::files::{StoreError, io_error, sync_folder, temp_path, write_temp};
use super::owned::Place;

/// Files on their way into a folder, which stays the one that was opened, whatever is done to its path. Several threads may write
/// into it.
#[derive(Debug)]
pub struct Batch {
    folder: PathBuf,
    opened: Place,
    /// Where each was written, and its place, by way of the open folder.
    files: Mutex<Vec<(PathBuf, PathBuf)>>,
}

impl Batch {
    /// Begins.
    ///
    /// # Errors
    /// The folder, or a link on the way to it, is somebody else's; or it is not there.
    pub fn new(folder: &Path) -> Result<Self, StoreError> {
        let opened = Place::of_own(folder)?;
        Ok(Self { folder: folder.into(), opened, files: Mutex::new(Vec::new()) })
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
        let (path, shown) = (self.opened.path_of(name.as_ref()), self.folder.join(name));
        if path.is_dir() {
            return Err(io_error("write", &shown)(io::ErrorKind::IsADirectory.into()));
        }
        let (_, new) = temp_path(&path).map_err(|error| error.about(&shown))?;
        let written = write_temp(&new, mode, content).map_err(io_error("write", &shown));
        self.lock().push((new, path));
        written.map(drop)
    }

    /// Puts all files in their places, and returns their names, sorted.
    ///
    /// # Errors
    /// They cannot be made durable, or one cannot be put in its place: then all are as they were, but for those that the
    /// error names.
    pub fn finish(self) -> Result<Vec<String>, Unplaced> {
        let sync = io_error("sync", &self.folder);
        let folder = self.opened.path_of("".as_ref());
        let synced = File::open(&folder).and_then(|f| Ok(nix::unistd::syncfs(&f)?)).map_err(sync);
        synced.map_err(|error| Unplaced { error, replaced: Vec::new() })?;
        // What is beside its place when this is dropped is removed: new files where one failed, old ones at the end.
        let files = self.lock().clone();
        let mut placed = Vec::new();
        for (new, path) in &files {
            match place(new, path) {
                Ok(replaced) => placed.push((new.clone(), path.clone(), replaced)),
                Err(error) => {
                    let mut replaced = undo(placed);
                    // An old file that did not go back is kept.
                    self.lock().retain(|(new, _)| !replaced.iter().any(|r| r.kept.as_ref() == Some(new)));
                    for kept in replaced.iter_mut().filter_map(|file| file.kept.as_mut()) {
                        *kept = self.folder.join(name(kept));
                    }
                    let shown = self.folder.join(name(path));
                    return Err(Unplaced { error: io_error("write", &shown)(error), replaced });
                }
            }
        }
        let mut names: Vec<String> = files.iter().map(|(_, path)| name(path)).collect();
        names.sort();
        match sync_folder(&folder) {
            Ok(()) => Ok(names),
            Err(error) => {
                let error = error.about(&self.folder);
                let replaced = names.into_iter().map(|name| StillNew { name, kept: None }).collect();
                Err(Unplaced { error, replaced })
            }
        }
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

/// Why the files of a batch are not all in their places.
#[derive(Debug, thiserror::Error)]
#[error("{error}; {}", self.what_changed())]
pub struct Unplaced {
    /// What failed.
    pub error: StoreError,
    /// The files that are new all the same, because what they replaced could not be put back.
    pub replaced: Vec<StillNew>,
}

/// A file that is new all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StillNew {
    /// Its name.
    pub name: String,
    /// Where the file is that it replaced; `None`: nowhere.
    pub kept: Option<PathBuf>,
}

impl Unplaced {
    fn what_changed(&self) -> String {
        if self.replaced.is_empty() {
            return "no file was changed".into();
        }
        let each = self.replaced.iter().map(|file| match &file.kept {
            Some(kept) => format!("{} (the old one is {})", file.name, kept.display()),
            None => file.name.clone(),
        });
        format!("changed all the same: {}", each.collect::<Vec<_>>().join(", "))
    }
}

/// What became of a file that was in the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replaced {
    /// There was none.
    None,
    /// It is beside its place now.
    Beside,
    /// It is gone: this file system does not exchange files.
    Gone,
}

fn place(new: &Path, path: &Path) -> io::Result<Replaced> {
    match exchange(new, path).map_err(|e| (e.kind(), e)) {
        Ok(()) => Ok(Replaced::Beside),
        Err((io::ErrorKind::NotFound, _)) => fs::rename(new, path).map(|()| Replaced::None),
        // EINVAL of a file system, ENOSYS of a kernel.
        Err((io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported, _)) => {
            fs::rename(new, path).map(|()| Replaced::Gone)
        }
        Err((_, error)) => Err(error),
    }
}

/// Lets two files change places in one step.
#[expect(unsafe_code, reason = "nix has renameat2 for glibc alone, and musl has none")]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other);
    let (one, other, here) = (text(one)?, text(other)?, libc::AT_FDCWD);
    // SAFETY: both texts end with a NUL and live until the call returns, which reads them and nothing else.
    let result = unsafe {
        libc::syscall(libc::SYS_renameat2, here, one.as_ptr(), here, other.as_ptr(), libc::RENAME_EXCHANGE)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Puts back what was there before, and returns those files that are new all the same.
fn undo(placed: Vec<(PathBuf, PathBuf, Replaced)>) -> Vec<StillNew> {
    let mut stuck = Vec::new();
    for (new, path, replaced) in placed.into_iter().rev() {
        let is_back = match replaced {
            Replaced::None => fs::remove_file(&path).is_ok(),
            Replaced::Beside => fs::rename(&new, &path).is_ok(),
            Replaced::Gone => false,
        };
        if !is_back {
            let kept = (replaced == Replaced::Beside).then(|| keep(&new, &path)).flatten();
            stuck.push(StillNew { name: name(&path), kept });
        }
    }
    stuck
}

/// Gives an old file a name that no later writer takes, and returns the one that it has then; `None`: it is gone.
fn keep(old: &Path, path: &Path) -> Option<PathBuf> {
    old.symlink_metadata().ok()?;
    let free = (1..).map(|n| {
        let number = if n == 1 { String::new() } else { format!("-{n}") };
        path.with_file_name(format!(".{}.old{number}", name(path)))
    });
    let kept = free.into_iter().find(|kept| kept.symlink_metadata().is_err())?;
    Some(if fs::rename(old, &kept).is_ok() { kept } else { old.into() })
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
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
        let batch = Batch::new(dir.path()).unwrap();
        batch.write("a", 0o600, b"one").unwrap();
        batch.write("b", 0o600, b"two").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "old", "not before the end");
        assert_eq!(batch.finish().unwrap(), ["a", "b"]);
        assert_eq!(names(dir.path()), ["a", "b"]);
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "one");

        fs::create_dir(dir.path().join("d")).unwrap();
        let batch = Batch::new(dir.path()).unwrap();
        batch.write("a", 0o600, b"three").unwrap();
        assert!(batch.write("d", 0o600, b"a folder is in its place").is_err());
        assert!(batch.write("no/such", 0o600, b"").is_err());
        drop(batch);
        assert_eq!(names(dir.path()), ["a", "b", "d"]);
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "one");
    }

    /// Whoever may rename the folder puts a link in its place, between any two steps.
    #[test]
    fn they_go_into_the_folder_that_was_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let swap = |back: bool| {
            if back {
                fs::remove_file(at("out")).unwrap();
                fs::rename(at("away"), at("out")).unwrap();
            } else {
                fs::rename(at("out"), at("away")).unwrap();
                std::os::unix::fs::symlink(at("precious"), at("out")).unwrap();
            }
        };
        fs::create_dir(at("out")).unwrap();
        fs::create_dir(at("precious")).unwrap();
        for step in 0..3 {
            fs::write(at("precious/a"), "kept").unwrap();
            let batch = Batch::new(&at("out")).unwrap();
            if step == 0 {
                swap(false);
            }
            batch.write("a", 0o600, b"key").unwrap();
            if step == 1 {
                swap(false);
            }
            batch.write("b", 0o600, b"key").unwrap();
            if step == 2 {
                swap(false);
            }
            assert_eq!(batch.finish().unwrap(), ["a", "b"]);
            assert_eq!(names(&at("precious")), ["a"], "step {step}");
            assert_eq!(fs::read_to_string(at("precious/a")).unwrap(), "kept", "step {step}");
            assert_eq!(names(&at("away")), ["a", "b"]);
            swap(true);
        }
    }

    #[test]
    fn where_one_cannot_be_replaced_the_others_are_put_back() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "m", "z"] {
            fs::write(dir.path().join(name), "old").unwrap();
        }
        let batch = Batch::new(dir.path()).unwrap();
        for name in ["a", "b", "m", "n", "z"] {
            batch.write(name, 0o600, b"new").unwrap();
        }
        // One that is gone can be put in no place, whoever asks.
        fs::remove_file(dir.path().join("m")).unwrap();
        fs::remove_file(dir.path().join(".m.new")).unwrap();
        assert!(batch.finish().is_err());
        assert_eq!(names(dir.path()), ["a", "z"]);
        for name in ["a", "z"] {
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "old");
        }
    }

    #[test]
    fn what_could_not_be_put_back_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["a", "b", "c", ".b.new"] {
            fs::write(at(name), "x").unwrap();
        }
        let placed = vec![
            (at(".a.new"), at("a"), Replaced::Gone),
            (at(".b.new"), at("b"), Replaced::Beside),
            (at(".c.new"), at("c"), Replaced::None),
            (at(".d.new"), at("d"), Replaced::Beside),
        ];
        let stuck = undo(placed);
        let names_of: Vec<&str> = stuck.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names_of, ["d", "a"]);
        assert_eq!(names(dir.path()), ["a", "b"]);
        let error = || io_error("write", Path::new("x"))(io::ErrorKind::PermissionDenied.into());
        let told = |replaced: Vec<StillNew>| Unplaced { error: error(), replaced }.to_string();
        assert!(told(Vec::new()).ends_with("; no file was changed"));
        assert!(told(stuck).ends_with("; changed all the same: d, a"));
    }

    #[test]
    fn an_old_file_that_does_not_go_back_is_named_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        // No file goes to the place of a folder.
        fs::create_dir(at("a")).unwrap();
        for (n, kept) in [".a.old", ".a.old-2"].into_iter().enumerate() {
            fs::write(at(".a.new"), n.to_string()).unwrap();
            let stuck = undo(vec![(at(".a.new"), at("a"), Replaced::Beside)]);
            assert_eq!(stuck, [StillNew { name: "a".into(), kept: Some(at(kept)) }]);
            let error = io_error("write", Path::new("x"))(io::ErrorKind::PermissionDenied.into());
            let told = Unplaced { error, replaced: stuck }.to_string();
            assert!(told.ends_with(&format!("a (the old one is {})", at(kept).display())), "{told}");
            // What writes next reclaims what is beside a place, and nothing else.
            temp_path(&at("a")).unwrap();
            assert_eq!(fs::read_to_string(at(kept)).unwrap(), n.to_string());
        }
    }
}
