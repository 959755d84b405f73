//! A node's configuration for programs that read something else than a `.conf`, and lists of all nodes for programs that look
//! after them. Each is text; what a program cannot say is told as a problem.

mod ansible;
mod compose;
mod mikrotik;
mod network_manager;
mod networkd;
mod nix;
mod powershell;
mod prometheus;
mod quadlet;
mod uci;

use zeroize::Zeroizing;

pub use compose::compose;
pub use powershell::{PowerShell, powershell};
pub use quadlet::quadlet;

use super::Exported;
use super::node_conf::without_exit;
use crate::model::{FULL_TUNNEL, Network, Node, Problem, Timestamp};
use crate::wgconf::{Document, Table};

/// A file to be written, or printed.
pub struct NamedFile {
    /// Its name, or where it belongs on the host that reads it.
    pub name: String,
    /// What is in it.
    pub text: Zeroizing<String>,
    /// Whether it holds a key.
    pub secret: bool,
}

/// What was made for a program.
#[derive(Default)]
pub struct Files {
    /// One or more files.
    pub files: Vec<NamedFile>,
    /// What it cannot say, and what its reader has to know.
    pub problems: Vec<Problem>,
}

/// A program that brings up a node's interface from a file of its own kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFormat {
    /// NetworkManager's keyfile, `/etc/NetworkManager/system-connections/NAME.nmconnection`.
    NetworkManager,
    /// systemd-networkd's `.netdev` and `.network`.
    Networkd,
    /// OpenWrt's `/etc/config/network`.
    Uci,
    /// A script for MikroTik RouterOS 7.
    Mikrotik,
    /// A NixOS module, and the key files beside it.
    Nix,
}

/// A list of nodes for a program that looks after them. It holds no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFormat {
    /// Prometheus' `file_sd` targets.
    Prometheus,
    /// An Ansible inventory in YAML.
    Ansible,
}

/// Makes a node's files for a program. `exported` is the node's configuration without hooks.
pub fn client_files(format: ClientFormat, network: &Network, node: &Node, exported: &Exported) -> Files {
    let name = network.name.as_str();
    let mut document = exported.document.clone();
    let mut left_out = Vec::new();
    if node.is_relay() {
        let by_key = |key| network.nodes.values().find(|other| other.public_key == key);
        for peer in
            document.peers.iter_mut().filter(|p| p.allowed_ips.iter().any(|net| net.prefix_len() == 0))
        {
            peer.allowed_ips.retain(|net| net.prefix_len() > 0);
            document.interface.table = None;
            left_out.extend(by_key(peer.public_key).map(|exit| without_exit(node, exit)));
        }
    }
    let document = &document;
    let mut made = match format {
        ClientFormat::NetworkManager => network_manager::files(name, node, document),
        ClientFormat::Networkd => networkd::files(name, document),
        ClientFormat::Uci => uci::files(name, document),
        ClientFormat::Mikrotik => mikrotik::files(name, node, document),
        ClientFormat::Nix => nix::files(name, document),
    };
    made.problems.extend(left_out);
    if node.is_relay() || node.has_sites() || network.is_exit(node) {
        made.problems.push(Problem::warning(
            "no-firewall",
            format!("node.{}", node.name),
            format!(
                "{} forwards for others, and a file of this kind carries neither forwarding nor firewall rules",
                node.name
            ),
            "see to both there by hand, or run wgrelay itself on that host, with its bundle",
        ));
    }
    made
}

/// Whether everything but a few prefixes goes into the tunnel: by a table of its own, which only the rules that look into it bring to life.
fn has_own_table(document: &Document) -> bool {
    matches!(&document.interface.table, Some(Table::Named(table)) if *table == FULL_TUNNEL.to_string())
}

/// Whether everything of a family goes into the tunnel, or everything but a few prefixes.
fn is_full(document: &Document) -> bool {
    has_own_table(document)
        || document.peers.iter().flat_map(|peer| &peer.allowed_ips).any(|net| net.prefix_len() == 0)
}

/// Makes a list of the nodes that take part now.
pub fn list_file(format: ListFormat, network: &Network, now: Timestamp) -> NamedFile {
    match format {
        ListFormat::Prometheus => prometheus::file(network, now),
        ListFormat::Ansible => ansible::file(network, now),
    }
}
