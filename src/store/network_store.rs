//! Where one network is kept: its folder alone, or a store that several relays share.

use super::cluster::{Shared, SharedTurn};
use super::files::WriterLock;
use super::folder::Folder;
use super::{Contents, Digests, Note, Revision, Store, StoreError, Watch};

/// Where a network is kept.
pub enum NetworkStore {
    /// In its folder.
    Local(Folder),
    /// In a cluster's store; the folder is its copy.
    Shared(Box<Shared>),
}

/// The right to change it.
pub enum Turn {
    /// The folder's lock.
    Local(WriterLock),
    /// That, and the store's.
    Shared(Box<SharedTurn>),
}

impl NetworkStore {
    /// Finds out; asks nobody.
    ///
    /// # Errors
    /// This host's membership is there and cannot be read.
    pub fn of(folder: &Folder) -> Result<Self, StoreError> {
        Ok(match Shared::of(folder)? {
            Some(shared) => Self::Shared(Box::new(shared)),
            None => Self::Local(folder.clone()),
        })
    }

    /// Returns the folder, which has the network either way.
    pub fn folder(&self) -> &Folder {
        match self {
            Self::Local(folder) => folder,
            Self::Shared(shared) => shared.folder(),
        }
    }
}

impl Store for NetworkStore {
    type Turn = Turn;

    fn turn(&self) -> Result<Turn, StoreError> {
        match self {
            Self::Local(folder) => folder.turn().map(Turn::Local),
            Self::Shared(shared) => shared.turn().map(|turn| Turn::Shared(Box::new(turn))),
        }
    }

    fn load(&self) -> Result<Contents, StoreError> {
        self.folder().load()
    }

    fn commit(
        &self,
        turn: &Turn,
        contents: &Contents,
        expected: &Digests,
        note: Note,
    ) -> Result<Option<u64>, StoreError> {
        match (self, turn) {
            (Self::Local(folder), Turn::Local(lock)) => folder.commit(lock, contents, expected, note),
            (Self::Shared(shared), Turn::Shared(turn)) => shared.commit(turn, contents, expected, note),
            // It joined or left between the two.
            _ => Err(StoreError::Conflict { path: self.folder().network_path() }),
        }
    }

    fn watch(&self) -> Watch {
        self.folder().watch()
    }

    fn history(&self) -> Result<Vec<Revision>, StoreError> {
        match self {
            Self::Local(folder) => folder.history(),
            Self::Shared(shared) => shared.history(),
        }
    }

    fn revision(&self, number: u64) -> Result<(Revision, Contents), StoreError> {
        match self {
            Self::Local(folder) => folder.revision(number),
            Self::Shared(shared) => shared.revision(number),
        }
    }
}
