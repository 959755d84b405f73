//! Targets for Prometheus' `file_sd_configs`: a group a node, an `exporter` label a port, to be kept or dropped by relabelling.

use std::net::IpAddr;

use serde_json::json;
use zeroize::Zeroizing;

use super::NamedFile;
use crate::model::{Network, Node, Platform, Timestamp};

/// Something that Prometheus asks.
struct Exporter {
    name: &'static str,
    /// The program's own default; wgrelay's is the one that `run --metrics` shows in its help.
    port: u16,
    /// Whether it is looked for on a node.
    is_on: fn(&Node) -> bool,
}

const EXPORTERS: [Exporter; 5] = [
    Exporter { name: "node", port: 9100, is_on: is_linux },
    Exporter { name: "wgrelay", port: 9586, is_on: is_linux },
    Exporter { name: "windows", port: 9182, is_on: |node| node.platform == Platform::Windows },
    // A compute node runs libvirt, and a Prometheus of its own that the controller asks.
    Exporter { name: "libvirt", port: 9177, is_on: is_compute },
    Exporter { name: "prometheus", port: 9090, is_on: is_compute },
];

fn is_linux(node: &Node) -> bool {
    node.platform.is_linux()
}

/// A node with bridges, or in a container, has virtual machines behind it.
fn is_compute(node: &Node) -> bool {
    node.platform.is_linux() && (!node.bridges.is_empty() || node.platform == Platform::Docker)
}

pub(super) fn file(network: &Network, now: Timestamp) -> NamedFile {
    let groups: Vec<_> = network
        .nodes
        .values()
        .filter(|node| node.is_active(now))
        .flat_map(|node| EXPORTERS.iter().filter(|e| (e.is_on)(node)).map(move |exporter| (node, exporter)))
        .map(|(node, exporter)| {
            let target = std::net::SocketAddr::new(IpAddr::V4(node.address), exporter.port).to_string();
            json!({
                "targets": [target],
                "labels": {
                    "exporter": exporter.name, "network": network.name, "node": node.name,
                    "platform": node.platform.as_str(), "role": if node.is_relay() { "relay" } else { "spoke" },
                },
            })
        })
        .collect();
    // Values of strings and numbers alone always have a text.
    let text = serde_json::to_string_pretty(&groups).unwrap_or_default() + "\n";
    NamedFile { name: format!("{}.json", network.name), text: Zeroizing::new(text), secret: false }
}
