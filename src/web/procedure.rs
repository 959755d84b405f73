//! What the HTTP half may ask of the half that has rights: a closed set. There is no command among them, no path of a file, and
//! keys leave through one alone.

use serde::{Deserialize, Serialize};

use crate::app::Change;
use crate::model::Problem;

/// A procedure of app, with what it takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "procedure", deny_unknown_fields)]
pub enum Procedure {
    /// Who is online.
    Status,
    /// The nodes.
    List,
    /// A node, and what the network makes of it.
    Show {
        /// Its name.
        node: String,
    },
    /// What passed between this host and a node.
    Traffic {
        /// Its name.
        node: String,
    },
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
    /// Whether a revision that is kept has a node with this public key: a `revert` would bring that node back.
    KnownKey {
        /// The key.
        public_key: String,
    },
    /// network.toml.
    NetworkFile,
    /// What is wrong with this host.
    Doctor,
    /// Changes the network, or works out what that would do.
    Change {
        /// Who asks, for the history.
        by: String,
        /// What.
        change: Change,
        /// Whether nothing is written.
        dry_run: bool,
        /// The digest of the network.toml that it is meant for.
        expects: Option<String>,
    },
    /// A spoke's file for its client, with its keys: the one way by which keys leave. Those of the node that this host is stay.
    Export {
        /// Who asks.
        by: String,
        /// The node.
        node: String,
    },
    /// Makes this host match the network. It goes back by itself unless it is confirmed in time.
    Up {
        /// Who asks.
        by: String,
        /// Seconds, of 10 to 600.
        confirm: u32,
    },
    /// Keeps what was applied.
    Confirm {
        /// Who asks.
        by: String,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refused {
    /// The status of HTTP that says the same.
    pub status: u16,
    /// The sentence.
    pub message: String,
    /// What to do; may be empty.
    #[serde(default)]
    pub hint: String,
    /// Faults of a file or a network.
    #[serde(default)]
    pub problems: Vec<Problem>,
}

impl Refused {
    /// Makes one without problems.
    pub fn new(status: u16, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: hint.into(), problems: Vec::new() }
    }
}

/// Carries procedures to the half that has rights.
pub trait Agent: Send + Sync {
    /// Asks for one; its answer is the JSON that `--json` prints.
    ///
    /// # Errors
    /// It said no, or is not there.
    fn call(&self, procedure: &Procedure) -> Result<serde_json::Value, Refused>;
}
