//! The revisions of a network, kept beside it: `.history/index.json` says when, who and why, and what was in them lies
//! there under its digest, once, however many revisions share it. With the keys of each, so mode 0600.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::files::{self, StoreError};
use super::part::{Contents, Digest, Digests, Part};
use crate::model::Timestamp;

/// How many revisions are kept.
pub const KEPT: usize = 50;
pub(super) const FOLDER: &str = ".history";
const INDEX: &str = "index.json";

/// Who changes a network, by what command, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When.
    pub at: u64,
    /// The user's number; `None`: not known.
    pub uid: Option<u32>,
    /// The user's name; `None`: not known.
    pub user: Option<String>,
    /// The command; `None`: the files were edited by hand.
    pub command: Option<String>,
    /// What was changed, in words.
    pub why: String,
}

/// A revision that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Its number: each is one more than the last.
    pub number: u64,
    /// Who, when, why.
    #[serde(flatten)]
    pub note: Note,
    /// What was in it.
    pub files: Digests,
}

/// The revisions of one network's folder.
#[derive(Debug)]
pub(crate) struct History {
    folder: PathBuf,
}

impl History {
    pub(crate) fn of(folder: &Path) -> Self {
        Self { folder: folder.join(FOLDER) }
    }

    /// Lists the revisions, the oldest first.
    ///
    /// # Errors
    /// The index is there and cannot be read.
    pub(crate) fn list(&self) -> Result<Vec<Revision>, StoreError> {
        let path = self.folder.join(INDEX);
        match files::read_secret(&path) {
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
            Ok(text) => serde_json::from_str(&text)
                .map_err(|e| StoreError::Damaged { path, why: format!("it is no index of revisions: {e}") }),
        }
    }

    /// Returns what was in a revision, every byte of it checked.
    ///
    /// # Errors
    /// A file is gone, or is not what was kept.
    pub(crate) fn contents(&self, files: &Digests) -> Result<Contents, StoreError> {
        let mut contents = Contents::default();
        for part in Part::ALL {
            contents.put(part, files.get(part).map(|digest| self.object(digest)).transpose()?);
        }
        Ok(contents)
    }

    /// Returns a file that was kept.
    pub(crate) fn object(&self, digest: &Digest) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let path = self.folder.join(digest.as_str());
        let bytes = files::read_secret_bytes(&path)?;
        if Digest::of(&bytes) != *digest {
            return Err(StoreError::Damaged { path, why: "it is not what was kept".into() });
        }
        Ok(bytes)
    }

    /// Keeps what a folder has now, as the newest revision, unless it is that already.
    pub(crate) fn keep(
        &self,
        contents: &Contents,
        note: impl FnOnce(bool) -> Note,
    ) -> Result<(), StoreError> {
        if contents.network.is_none() {
            return Ok(());
        }
        let list = self.list()?;
        let files = contents.digests();
        if list.last().is_some_and(|last| last.files == files) {
            return Ok(());
        }
        let number = list.last().map_or(1, |last| last.number + 1);
        let note = note(list.is_empty());
        self.append(list, &Revision { number, note, files }, contents)
    }

    /// Adds a revision, once; the oldest goes where there are more than [`KEPT`].
    pub(crate) fn add(&self, revision: &Revision, contents: &Contents) -> Result<(), StoreError> {
        let list = self.list()?;
        if list.last().is_some_and(|last| last.number >= revision.number) {
            return Ok(());
        }
        self.append(list, revision, contents)
    }

    /// Forgets revisions that were counted otherwise, where they are in the way of one of this number.
    pub(crate) fn make_way(&self, number: u64) -> Result<(), StoreError> {
        let path = self.folder.join(INDEX);
        match self.list()?.last() {
            Some(last) if last.number >= number => {
                fs::remove_file(&path).map_err(files::io_error("remove", &path))
            }
            _ => Ok(()),
        }
    }

    /// Returns the number that the next revision has.
    pub(crate) fn next(&self) -> Result<u64, StoreError> {
        Ok(self.list()?.last().map_or(1, |last| last.number + 1))
    }

    fn append(
        &self,
        mut list: Vec<Revision>,
        revision: &Revision,
        contents: &Contents,
    ) -> Result<(), StoreError> {
        files::create_private_dir(&self.folder)?;
        for part in Part::ALL {
            let (Some(digest), Some(bytes)) = (revision.files.get(part), contents.get(part)) else {
                continue;
            };
            let path = self.folder.join(digest.as_str());
            if !path.exists() {
                let (_, new) = files::temp_path(&path)?;
                let written = files::write_temp(&new, 0o600, bytes)
                    .and_then(|file| file.sync_all())
                    .and_then(|()| fs::rename(&new, &path));
                written.map_err(files::io_error("write", &path))?;
            }
        }
        list.push(revision.clone());
        list.drain(..list.len().saturating_sub(KEPT));
        let text = serde_json::to_vec_pretty(&list).unwrap_or_default();
        files::write_atomic(&self.folder.join(INDEX), 0o600, &text)?;
        self.prune(&list);
        Ok(())
    }

    /// Removes what no revision has any more. What cannot be removed now can be the next time.
    fn prune(&self, list: &[Revision]) {
        let used: BTreeSet<&str> = list.iter().flat_map(|r| r.files.iter()).map(Digest::as_str).collect();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name != INDEX && !name.to_str().is_some_and(|name| used.contains(name)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Note {
    /// Says what is known of a change that no command made.
    pub(crate) fn by_hand(folder: &Path, is_first: bool) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let about = fs::metadata(Part::Network.path(folder)).ok();
        let at = about.as_ref().and_then(|a| a.modified().ok()).map_or(0, |time| Timestamp::from(time).0);
        let why = if is_first { "as it was when revisions were first kept" } else { "edited by hand" };
        Self { at, uid: about.map(|a| a.uid()), user: None, command: None, why: why.into() }
    }
}
