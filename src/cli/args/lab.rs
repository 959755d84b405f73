//! `lab` and what is below it, as typed.

use clap::{Args, Subcommand};

use super::BackendChoice;
use crate::model::NodeName;

/// `lab`
#[derive(Debug, Args)]
pub struct Lab {
    /// What to do; without it: everything, once
    #[command(subcommand)]
    pub action: Option<LabAction>,
    /// A profile with fresh keys instead of the network file
    #[arg(long, global = true, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// Which data plane
    #[arg(long, global = true, value_name = "BACKEND", default_value = "auto")]
    pub backend: BackendChoice,
}

/// Below `lab`
#[derive(Debug, Subcommand)]
pub enum LabAction {
    /// Build it and leave it standing
    Up,
    /// Build it, ask everybody for everybody, and compare the answers with the analysis of `check`
    ///
    /// Where a lab of this network stands, it is asked as it is by now.
    #[command(
        after_help = "Exit code 4: prediction and packets disagree.\n\nExamples:\n  wgrelay lab check\n  \
                            wgrelay lab check --profile site-to-site --json\n  wgrelay lab check --kill eu"
    )]
    Check {
        /// How long a packet that should arrive is waited for
        #[arg(long, value_name = "SECONDS", default_value_t = 15)]
        patience: u16,
        /// Take this node's host away first, and compare with `check --without`: at once, and when the others go on without it
        #[arg(long, value_name = "NODE")]
        kill: Option<NodeName>,
    },
    /// Run a program in a node, in a site's host (by its address), or on the lab's `internet`
    #[command(after_help = "Examples:\n  wgrelay lab exec windows -- ping 192.168.33.10\n  \
                            wgrelay lab exec wsl -- wgrelay status\n  wgrelay lab exec 172.19.0.10 -- ip route")]
    Exec {
        /// A node's name, a host's address, or `internet`
        place: String,
        /// The program and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<String>,
    },
    /// Remove it
    Down,
    /// Hold a lab until a signal comes; used by `lab up` itself
    #[command(hide = true)]
    Hold,
}
