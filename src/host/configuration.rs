//! A network as a host carries it: the same three facts in the record of what was applied, in what a change goes back to and in
//! what comes back after a restart. And the one way in which such a record is read and written.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::model::NodeName;
use crate::plan::Backend;
use crate::store::files::{self, StoreError};

/// Which network, as which node, by which data plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The node that this host is.
    pub node: NodeName,
    /// What carries the packets.
    pub backend: Backend,
    /// The network file as it was then; empty: an `up` that was cut short before it was done.
    pub network_text: String,
}

/// Understands a record; `None`: there is none, or an older version wrote it otherwise, which is as good as none.
pub(super) fn parse<T: DeserializeOwned>(text: Option<&str>) -> Option<T> {
    serde_json::from_str(text?).ok()
}

/// Writes a record whole, mode 0600: it may hold keys.
pub(super) fn write<T: Serialize>(path: &Path, record: &T) -> Result<(), StoreError> {
    let failed = |e: serde_json::Error| StoreError::Io {
        operation: "write",
        path: path.into(),
        source: io::Error::other(e),
    };
    let text = Zeroizing::new(serde_json::to_vec(record).map_err(failed)?);
    files::write_atomic(path, 0o600, &text)
}
