//! Where a network is kept: the files of a revision change as one, one writer at a time, and the last revisions are kept
//! with who made them and why. Secrets are such that nobody else can read them.
//!
//! [`Store`] is the seam: [`folder::Folder`] is a folder of this host, [`cluster::Shared`] an etcd that several relays share and
//! of which the folder is the last good copy. [`NetworkStore`] is whichever of them a network is kept in.

#![expect(clippy::disallowed_methods, reason = "files are what this layer is about")]

pub mod backup;
pub mod batch;
pub mod cluster;
pub mod file_stamp;
pub mod files;
pub mod folder;
mod history;
mod journal;
mod network_store;
pub mod owned;
mod part;
mod snapshot;
pub mod traffic;
pub mod unix_socket;
mod watch;

pub use files::StoreError;
pub use history::{KEPT, Note, Revision};
pub use network_store::{NetworkStore, Turn};
pub use part::{Contents, Digest, Digests, InstalledBundle};
pub use snapshot::Snapshot;
pub use watch::Watch;

/// A place that keeps one network.
pub trait Store {
    /// The right to change it, one writer at a time.
    type Turn;

    /// Takes the right to change it, waiting for others. What somebody left on its way is finished by then.
    ///
    /// # Errors
    /// Somebody else takes too long, or the place cannot be written.
    fn turn(&self) -> Result<Self::Turn, StoreError>;

    /// Reads what is in it now: of one revision, whatever writers do.
    ///
    /// # Errors
    /// It cannot be read.
    fn load(&self) -> Result<Contents, StoreError>;

    /// Replaces what `expected` stands for, all files as one. Returns the new revision; `None`: nothing differs.
    ///
    /// # Errors
    /// Something else is there by now ([`StoreError::Conflict`]), or it cannot be written; then nothing was changed.
    fn commit(
        &self,
        turn: &Self::Turn,
        contents: &Contents,
        expected: &Digests,
        note: Note,
    ) -> Result<Option<u64>, StoreError>;

    /// Begins to watch for what others change.
    fn watch(&self) -> Watch;

    /// Lists the revisions that are kept, the oldest first: at most [`KEPT`].
    ///
    /// # Errors
    /// They cannot be read.
    fn history(&self) -> Result<Vec<Revision>, StoreError>;

    /// Returns a revision and what was in it.
    ///
    /// # Errors
    /// It is not kept any more, or not as it was.
    fn revision(&self, number: u64) -> Result<(Revision, Contents), StoreError>;
}
