//! The words of `export` and `graph`: what, in which form, and where to.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::model::NodeName;

/// In which form to export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The client's configuration file
    Conf,
    /// A QR code in the terminal
    Qr,
    /// A QR code as a PNG picture
    Png,
    /// A QR code as an SVG picture
    Svg,
    /// One file for `wgrelay up --bundle` on that node
    Bundle,
    /// NetworkManager's keyfile
    #[value(name = "networkmanager")]
    NetworkManager,
    /// systemd-networkd's .netdev and .network, into the folder that --out names
    Networkd,
    /// OpenWrt's /etc/config/network
    Uci,
    /// A script for MikroTik RouterOS 7
    Mikrotik,
    /// A NixOS module and its key files, into the folder that --out names
    Nix,
    /// Targets of all nodes for Prometheus' file_sd
    Prometheus,
    /// An Ansible inventory of all nodes
    Ansible,
    /// A script for Windows' administrator, where the relay runs in WSL on that PC
    #[value(name = "powershell")]
    PowerShell,
    /// A compose file for a node in a container; with --out its bundle is written beside it
    Compose,
    /// A unit of Podman's for a node in a container; with --out its bundle is written beside it
    Quadlet,
}

impl Format {
    /// Returns the word of the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conf => "conf",
            Self::Qr => "qr",
            Self::Png => "png",
            Self::Svg => "svg",
            Self::Bundle => "bundle",
            Self::NetworkManager => "networkmanager",
            Self::Networkd => "networkd",
            Self::Uci => "uci",
            Self::Mikrotik => "mikrotik",
            Self::Nix => "nix",
            Self::Prometheus => "prometheus",
            Self::Ansible => "ansible",
            Self::PowerShell => "powershell",
            Self::Compose => "compose",
            Self::Quadlet => "quadlet",
        }
    }
}

/// `export`
#[derive(Debug, Args)]
pub struct Export {
    /// The node; the lists of all nodes (prometheus, ansible) take none
    pub name: Option<NodeName>,
    /// Every node, into the folder that --out names
    #[arg(long, requires = "out", conflicts_with = "name")]
    pub all: bool,
    /// As if the node were at home on this relay
    #[arg(long, value_name = "RELAY", requires = "name", conflicts_with = "all")]
    pub relay: Option<NodeName>,
    /// In which form
    #[arg(long, value_name = "FORMAT", default_value = "conf")]
    pub format: Format,
    /// Into this file, mode 0600, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// A picture for a browser, light and dark
    Svg,
    /// Words for a Markdown file, which code hosts draw
    Mermaid,
}

/// `graph`
#[derive(Debug, Args)]
pub struct Graph {
    /// In which form
    #[arg(long, value_name = "FORMAT", default_value = "svg")]
    pub format: GraphFormat,
    /// Into this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
