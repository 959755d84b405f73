//! `drain` and `undrain`.

use clap::Args;

use crate::model::NodeName;

/// `drain` and `undrain`
#[derive(Debug, Args)]
pub struct Drain {
    /// The relay, this host's or another of the network; or one of the hosts that carry a relay
    #[arg(value_name = "RELAY|HOST")]
    pub relay: NodeName,
}
