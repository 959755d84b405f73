//! The words of `import`: which files, which interface, and whether ours is to take its place.

use std::path::PathBuf;

use clap::Args;

use crate::model::InterfaceName;

/// `import`
#[derive(Debug, Args)]
pub struct Import {
    /// The relay's .conf, and its clients'; a manager's store, or its folder
    #[arg(required_unless_present_any = ["relay", "live", "take_over"], value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The relay's, where the files do not tell
    #[arg(long, value_name = "FILE")]
    pub relay: Option<PathBuf>,
    /// The relay as it runs on this host: keys, peers and addresses of this interface
    #[arg(long, value_name = "INTERFACE", conflicts_with = "relay")]
    pub live: Option<InterfaceName>,
    /// Then take the place of that interface: wg-quick's goes down and ours comes up, or wg-quick's comes back
    #[arg(long)]
    pub take_over: bool,
}
