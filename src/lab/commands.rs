//! A topology as lines for `ip -batch`. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;

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

/// Returns the lines that take a space's host away: what it has of its own goes down, and its bridges are switches and no more.
pub fn power_off(topology: &Topology, index: usize) -> String {
    let mut text = String::new();
    let ends = topology.cables.iter().flat_map(|c| [&c.0, &c.1]).filter(|e| e.space == index);
    for end in ends.filter(|end| end.bridge.is_none()) {
        let _ = writeln!(text, "link set {} down", end.link);
    }
    for bridge in &topology.spaces[index].bridges {
        let _ = writeln!(text, "addr flush dev {bridge}");
    }
    text
}

/// Returns the lines that give a host another gateway, or none.
pub fn another_gateway(space: &Space, gateway: Option<IpAddr>) -> String {
    let mut text = String::new();
    let was = space.routes.iter().find(|hop| hop.dst.prefix_len() == 0);
    if let Some(hop) = was {
        let _ = writeln!(text, "route del {} dev {}", hop.dst, hop.link);
    }
    if let Some((via, (link, _))) = gateway.zip(space.addresses.first()) {
        let _ = writeln!(
            text,
            "route add {} via {via} dev {link}",
            if via.is_ipv4() { "0.0.0.0/0" } else { "::/0" }
        );
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::topology::{Cable, End, Hop};

    #[test]
    fn lines_for_a_router_and_a_host() {
        let space = Space {
            name: "a".into(),
            bridges: vec!["br0".into()],
            addresses: vec![("br0".into(), "fd00::1/64".parse().unwrap())],
            routes: vec![Hop {
                dst: "0.0.0.0/0".parse().unwrap(),
                via: Some([10, 0, 0, 1].into()),
                link: "eth0".into(),
            }],
            ..Space::default()
        };
        let end = |space, link: &str, bridge: Option<&str>| End {
            space,
            link: link.into(),
            bridge: bridge.map(Into::into),
        };
        let topology = Topology {
            spaces: vec![space, Space::default()],
            cables: vec![Cable(end(0, "h1", Some("br0")), end(1, "eth0", None))],
            places: Vec::new(),
            pairs: Vec::new(),
            underlay: std::collections::BTreeMap::new(),
        };
        assert_eq!(
            cables(&topology, |i| format!("ns{i}")),
            "link add h1 netns ns0 type veth peer name eth0 netns ns1\n"
        );
        assert_eq!(
            settle(&topology, 0),
            "link set lo up\nlink add br0 type bridge\nlink set h1 master br0\nlink set h1 up\nlink set br0 up\n\
             addr add fd00::1/64 dev br0 nodad\nroute add 0.0.0.0/0 via 10.0.0.1 dev eth0\n"
        );
    }
}
