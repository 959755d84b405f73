//! Several files that change as one. The new ones are written beside their places, then `.pending` says that they count:
//! from that rename on the change is made, and before it nothing is. Whoever comes next, after a kill, finishes what it
//! names; a reader who cannot write reads the new files where they are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::files::{self, StoreError, sync_folder, temp_path, write_temp};
use super::history::{History, Note, Revision};
use super::part::{Contents, Digest, Part};
use crate::config::{Secrets, parse_network};

pub(crate) const PENDING: &str = ".pending";

/// A change on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The files that change.
    pub files: Vec<Replaced>,
    /// What the history says of it; `None`: it takes back one that could not be finished.
    revision: Option<Revision>,
}

/// A file that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replaced {
    pub part: Part,
    /// What was there; `None`: nothing.
    old: Option<Digest>,
    /// What is to be there; `None`: nothing.
    pub new: Option<Digest>,
}

impl Pending {
    /// Reads it; `None`: nothing is on its way.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, StoreError> {
        let path = folder.join(PENDING);
        match files::read_secret(&path) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|e| StoreError::Damaged { path, why: format!("it is no change of files: {e}") }),
        }
    }

    fn write(&self, folder: &Path) -> Result<(), StoreError> {
        files::write_atomic(&folder.join(PENDING), 0o600, &serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Replaces the files of a folder by these, as one. Returns the revision; `None`: they are so already. The lock is held. A shared
/// store gives its revisions a `number`; else they are counted here.
///
/// # Errors
/// Where one cannot be written or put into its place all are as they were; only where that fails, too, the change is
/// still on its way, and the next command goes on with it.
pub(crate) fn replace(
    folder: &Path,
    before: &Contents,
    contents: &Contents,
    note: Note,
    number: Option<u64>,
) -> Result<Option<u64>, StoreError> {
    let (old, new) = (before.digests(), contents.digests());
    let changed = |part: &Part| old.get(*part) != new.get(*part);
    let files: Vec<Replaced> = Part::ALL
        .into_iter()
        .filter(changed)
        .map(|part| Replaced { part, old: old.get(part).cloned(), new: new.get(part).cloned() })
        .collect();
    if files.is_empty() {
        return Ok(None);
    }
    let history = History::of(folder);
    history.keep(before, |is_first| Note::by_hand(folder, is_first))?;
    let number = match number {
        Some(number) => history.make_way(number).map(|()| number)?,
        None => history.next()?,
    };
    let pending = Pending { files, revision: Some(Revision { number, note, files: new }) };
    write_new(folder, &pending, contents)?;
    pending.write(folder).inspect_err(|_| forget_new(folder, &pending))?;
    match place(folder, &pending) {
        Ok(()) => finish(folder, &pending, contents)?,
        Err(error) => {
            take_back(folder, &pending, before)?;
            return Err(error);
        }
    }
    Ok(Some(number))
}

/// Finishes what another command left on its way, or takes it back. The lock is held.
///
/// # Errors
/// A file cannot be written; the change is still on its way.
pub(crate) fn recover(folder: &Path) -> Result<(), StoreError> {
    let Some(mut pending) = Pending::read(folder)? else { return Ok(()) };
    let now = Contents::read(folder)?;
    let history = History::of(folder);
    // What somebody edited since is theirs: it is neither replaced nor lost.
    let is_edited = |file: &Replaced| {
        let digest = now.get(file.part).map(|bytes| Digest::of(bytes));
        digest != file.new && digest != file.old
    };
    let edited: Vec<Part> = pending.files.iter().filter(|f| is_edited(f)).map(|f| f.part).collect();
    pending.files.retain(|file| !edited.contains(&file.part));
    if edited.contains(&Part::Network) && !fits_edited(folder, &pending, &now, &history) {
        // The old secrets are the ones that go with the edit.
        for file in &mut pending.files {
            file.new.clone_from(&file.old);
        }
    }
    for file in &pending.files {
        let path = file.part.path(folder);
        let (_, new) = temp_name(&path)?;
        let there = now.get(file.part).map(|bytes| Digest::of(bytes));
        match &file.new {
            digest if there == *digest => _ = fs::remove_file(&new),
            None => remove(&path)?,
            Some(digest) if is(&new, digest) => rename(&new, &path)?,
            Some(digest) => files::write_atomic(&path, file.part.mode(), &history.object(digest)?)?,
        }
    }
    sync_folder(folder)?;
    let contents = Contents::read(folder)?;
    match pending.revision.clone().filter(|_| edited.is_empty()) {
        Some(revision) => history.add(&revision, &contents)?,
        None => history.keep(&contents, |is_first| Note::by_hand(folder, is_first))?,
    }
    remove(&folder.join(PENDING))
}

/// Says whether the network that somebody edited after a kill goes with the new secrets rather than with the old ones.
fn fits_edited(folder: &Path, pending: &Pending, now: &Contents, history: &History) -> bool {
    let Some(secrets) = pending.files.iter().find(|f| f.part == Part::Secrets) else { return true };
    let Some(network) = now.network.as_ref().and_then(|text| parse_network(text, "network.toml").value)
    else {
        return true;
    };
    let beside = || {
        let (_, new) = temp_name(&Part::Secrets.path(folder)).ok()?;
        files::read_secret_bytes(&new).ok()
    };
    let kept = |digest: &Option<Digest>| -> Option<Zeroizing<Vec<u8>>> {
        let is_it = |bytes: &Zeroizing<Vec<u8>>| Some(Digest::of(bytes)) == *digest;
        let there = now.secrets.clone().filter(is_it).or_else(|| beside().filter(is_it));
        there.or_else(|| history.object(digest.as_ref()?).ok())
    };
    let fits = |digest: &Option<Digest>| {
        kept(digest).is_some_and(|bytes| {
            Secrets::parse_for(&bytes, "secrets.toml", &network).problems.iter().all(|p| !p.is_error())
        })
    };
    fits(&secrets.new) || !fits(&secrets.old)
}

fn write_new(folder: &Path, pending: &Pending, contents: &Contents) -> Result<(), StoreError> {
    for file in &pending.files {
        let Some(bytes) = contents.get(file.part) else { continue };
        let path = file.part.path(folder);
        let written = temp_path(&path).and_then(|(_, new)| {
            write_temp(&new, file.part.mode(), bytes)
                .and_then(|file| file.sync_all())
                .map_err(files::io_error("write", &path))
        });
        written.inspect_err(|_| forget_new(folder, pending))?;
    }
    Ok(())
}

fn forget_new(folder: &Path, pending: &Pending) {
    for file in &pending.files {
        if let Ok((_, new)) = temp_name(&file.part.path(folder)) {
            let _ = fs::remove_file(new);
        }
    }
}

/// Puts the new files into their places.
fn place(folder: &Path, pending: &Pending) -> Result<(), StoreError> {
    for file in &pending.files {
        let path = file.part.path(folder);
        match file.new {
            Some(_) => rename(&temp_name(&path)?.1, &path)?,
            None => remove(&path)?,
        }
    }
    // A network file that is kept elsewhere is in another folder.
    let elsewhere =
        pending.files.iter().map(|file| file.part.path(folder)).filter(|p| p.parent() != Some(folder));
    for path in elsewhere {
        path.parent().map_or(Ok(()), sync_folder)?;
    }
    sync_folder(folder)
}

fn finish(folder: &Path, pending: &Pending, contents: &Contents) -> Result<(), StoreError> {
    if let Some(revision) = &pending.revision {
        // The change is made, and it is told that its revision is not kept: not worth undoing it.
        if let Err(error) = History::of(folder).add(revision, contents) {
            tracing::warn!("revision {} is not kept: {error}", revision.number);
        }
    }
    remove(&folder.join(PENDING))
}

/// Takes back a change that could not be finished: the same way, with the old files as the new ones.
fn take_back(folder: &Path, failed: &Pending, before: &Contents) -> Result<(), StoreError> {
    forget_new(folder, failed);
    let back = |file: &Replaced| Replaced { part: file.part, old: file.new.clone(), new: file.old.clone() };
    let mut back = Pending { files: failed.files.iter().map(back).collect(), revision: None };
    // One that never came into its place is not put back: it would fail in the same way.
    back.files.retain(|file| match file.part.read(folder) {
        Ok(there) => there.map(|bytes| Digest::of(&bytes)) != file.new,
        Err(_) => true,
    });
    write_new(folder, &back, before)?;
    back.write(folder)?;
    place(folder, &back)?;
    remove(&folder.join(PENDING))
}

/// Returns where a file is written first.
pub(crate) fn temp_name(path: &Path) -> Result<(&Path, PathBuf), StoreError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Err(files::io_error("write", path)(io::ErrorKind::InvalidFilename.into()));
    };
    Ok((folder, folder.join(format!(".{name}.new"))))
}

fn is(path: &Path, digest: &Digest) -> bool {
    files::read_bytes(path).is_ok_and(|bytes| Digest::of(&Zeroizing::new(bytes)) == *digest)
}

fn rename(new: &Path, path: &Path) -> Result<(), StoreError> {
    fs::rename(new, path).map_err(files::io_error("write", path))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(files::io_error("remove", path)(error)),
        _ => Ok(()),
    }
}
