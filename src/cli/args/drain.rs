//! `drain` and `undrain`.

use clap::Args;

use crate::model::NodeName;

/// `drain` and `undrain`
#[derive(Debug, Args)]
pub struct Drain {
    /// The relay, this host's or another of the network
    #[arg(value_name = "RELAY")]
    pub relay: NodeName,
}
