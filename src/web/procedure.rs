//! What the HTTP half may ask of the half that has rights: a closed set. There is no command among them, no path of a file, and
//! keys leave through one alone.

use serde::{Deserialize, Serialize};

/// A procedure of app, with what it takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "procedure", deny_unknown_fields)]
pub enum Procedure {
    /// Who is online.
    Status,
    /// The nodes.
    List,
    /// Who reaches whom.
    Check,
    /// A packet there and back.
    Trace {
        /// Where it starts.
        from: String,
        /// Where it is to end.
        to: String,
        /// Protocol and port.
        port: Option<String>,
    },
    /// What `up` would change here.
    Plan,
    /// The revisions.
    History,
    /// What differs between a revision and another, or now.
    Diff {
        /// The revision.
        from: u64,
        /// The other.
        to: Option<u64>,
    },
    /// network.toml.
    NetworkFile,
    /// What is wrong with this host.
    Doctor,
}
