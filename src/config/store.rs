//! Where a network is kept: a folder of two files today; the seam for other places behind it.

use zeroize::Zeroizing;

/// What kept a store from reading or writing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The network is not there.
    #[error("{what} does not exist")]
    Missing {
        /// What was looked for, as a person would name it.
        what: String,
    },
    /// Others may read what only the owner may.
    #[error("{what} can be read by others (mode {mode:04o})")]
    Exposed {
        /// What is exposed.
        what: String,
        /// Its mode.
        mode: u32,
    },
    /// Somebody else is writing, or wrote since it was read.
    #[error("{what} is being changed by somebody else")]
    Busy {
        /// What is being changed.
        what: String,
    },
    /// The place behind the store said no.
    #[error("cannot {verb} {what}")]
    Io {
        /// `read` or `write`.
        verb: &'static str,
        /// What was read or written.
        what: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// A place that keeps one network. Bytes go in and out unread; what they mean is the rest of this layer's matter.
pub trait Store {
    /// Returns network.toml as it was last written.
    fn read_network(&self) -> Result<Vec<u8>, StoreError>;
    /// Returns secrets.toml as it was last written.
    fn read_secrets(&self) -> Result<Zeroizing<Vec<u8>>, StoreError>;
    /// Replaces the network, and the secrets where they are given; readers see the old pair or the new one. Where that
    /// cannot be done at once, secrets go first: keys too many do no harm, keys too few do.
    fn write(&mut self, network: &str, secrets: Option<&str>) -> Result<(), StoreError>;
}
