//! A topology as lines for `ip -batch`. Pure.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::topology::{Space, Topology};

/// Returns the lines that make every cable; `netns` names a space's namespace in a way that ip(8) opens.
pub fn cables(topology: &Topology, netns: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for cable in &topology.cables {
        let (a, b) = (&cable.0, &cable.1);
        let _ = writeln!(
            text,
            "link add {} netns {} type veth peer name {} netns {}",
            a.link,
            netns(a.space),
            b.link,
            netns(b.space)
        );
    }
    text
}

/// Returns the lines that finish a space once its cables are there.
pub fn settle(topology: &Topology, index: usize) -> String {
    let space = &topology.spaces[index];
    let mut text = String::from("link set lo up\n");
    for bridge in &space.bridges {
        let _ = writeln!(text, "link add {bridge} type bridge");
    }
    let ends = topology.cables.iter().flat_map(|c| [&c.0, &c.1]).filter(|e| e.space == index);
    for end in ends {
        if let Some(bridge) = &end.bridge {
            let _ = writeln!(text, "link set {} master {bridge}", end.link);
        }
        let _ = writeln!(text, "link set {} up", end.link);
    }
    for bridge in &space.bridges {
        let _ = writeln!(text, "link set {bridge} up");
    }
    addresses(space, &mut text);
    text
}

fn addresses(space: &Space, text: &mut String) {
    for (link, address) in &space.addresses {
        // Nobody else is here: an IPv6 address need not wait to be found unique.
        let nodad = if matches!(address, IpNet::V6(_)) { " nodad" } else { "" };
        let _ = writeln!(text, "addr add {address} dev {link}{nodad}");
    }
    for hop in &space.routes {
        let via = hop.via.map_or_else(String::new, |v| format!(" via {v}"));
        let _ = writeln!(text, "route add {}{via} dev {}", hop.dst, hop.link);
    }
}
