//! An Ansible inventory (YAML) of the nodes, in groups by role and platform, reached by their tunnel addresses.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::NamedFile;
use crate::model::{Network, Node, Platform, Timestamp};

/// Names and addresses that the file's own rules allow have no quote, backslash or line break; quoting keeps YAML from
/// reading `on`, `1.5` or `0x10` as something else.
fn quoted(text: impl std::fmt::Display) -> String {
    format!("\"{text}\"")
}

pub(super) fn file(network: &Network, now: Timestamp) -> NamedFile {
    let active: Vec<&Node> = network.nodes.values().filter(|node| node.is_active(now)).collect();
    let mut text = String::from("all:\n  hosts:\n");
    for node in &active {
        let role = if node.is_relay() { "relay" } else { "spoke" };
        let _ = writeln!(
            text,
            "    {}:\n      ansible_host: {}\n      wgrelay_network: {}\n      wgrelay_role: {role}\n      wgrelay_platform: {}",
            quoted(&node.name),
            quoted(node.address),
            quoted(&network.name),
            node.platform.as_str()
        );
    }
    text += "  children:\n";
    group(&mut text, "wgrelay_relays", active.iter().filter(|node| node.is_relay()));
    group(&mut text, "wgrelay_spokes", active.iter().filter(|node| !node.is_relay()));
    for (word, platform) in Platform::ALL {
        let of = active.iter().filter(|node| node.platform == platform);
        group(&mut text, &format!("wgrelay_{word}"), of);
    }
    NamedFile { name: format!("{}.yaml", network.name), text: Zeroizing::new(text), secret: false }
}

fn group<'a>(text: &mut String, name: &str, nodes: impl Iterator<Item = &'a &'a Node>) {
    let hosts: String = nodes.map(|node| format!("        {}: {{}}\n", quoted(&node.name))).collect();
    if !hosts.is_empty() {
        let _ = write!(text, "    {name}:\n      hosts:\n{hosts}");
    }
}
