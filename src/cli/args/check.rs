//! The words of `check`.

use clap::Args;

/// `check`
#[derive(Debug, Args)]
pub struct Check {
    /// Instead: who loses whom when this node dies; "any": each relay and each node with a site, one
    /// at a time ("*" where a node is called so)
    #[arg(long, value_name = "NODE|any")]
    pub without: Option<String>,
}
