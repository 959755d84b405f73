//! AllowedIPs, derived and never typed: what a relay accepts from a spoke, and what a spoke sends to a relay.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::derivation::Derivation;
use super::{Network, Node, PlaceRef, Routes, Site, Timestamp};

/// Returns what belongs to a spoke on its relay: its own addresses and its sites.
pub fn claimed_by_spoke(spoke: &Node) -> BTreeSet<IpNet> {
    spoke.host_prefixes().into_iter().chain(spoke.sites.iter().map(Site::prefix)).collect()
}

/// Returns the sites of every other active node, as seen from `node`.
pub fn reachable_sites(network: &Network, node: &Node, now: Timestamp) -> BTreeSet<IpNet> {
    network
        .nodes
        .values()
        .filter(|other| other.name != node.name && other.is_active(now))
        .flat_map(|other| other.sites.iter().map(Site::prefix))
        .collect()
}

/// Returns every place of the network: the tunnel subnets and the sites of active nodes.
pub fn places(network: &Network, now: Timestamp) -> BTreeSet<IpNet> {
    let sites = network.nodes.values().filter(|n| n.is_active(now)).flat_map(|n| &n.sites);
    network.subnets().into_iter().chain(sites.map(Site::prefix)).collect()
}

/// Returns the prefixes that a place of a rule stands for; none for the Internet.
pub fn prefixes_of(network: &Network, place: &PlaceRef, now: Timestamp) -> BTreeSet<IpNet> {
    match place {
        PlaceRef::Any => places(network, now),
        PlaceRef::Internet | PlaceRef::Lan(_) => BTreeSet::new(),
        PlaceRef::Group(name) => network.group(name).flat_map(Node::host_prefixes).collect(),
        PlaceRef::Node(name) => network.nodes.get(name).into_iter().flat_map(Node::host_prefixes).collect(),
        PlaceRef::Prefix(net) => [net.trunc()].into(),
        PlaceRef::Address(ip) => [IpNet::from(*ip)].into(),
    }
}

/// Returns what a spoke sends to its relay, and takes from it. For many spokes of one network, [`Derivation`] is asked.
pub fn derive_for_spoke(network: &Network, spoke: &Node, now: Timestamp) -> BTreeSet<IpNet> {
    Derivation::of(network, now).for_spoke(spoke)
}

/// Returns what a full tunnel leaves out: `except`, and what the node is attached to itself.
pub fn outside_of_full(spoke: &Node) -> Vec<IpNet> {
    spoke.except.iter().chain(&spoke.local).map(IpNet::trunc).collect()
}

/// The table and the mark of a full tunnel on Linux: wg-quick(8) uses the same number.
pub const FULL_TUNNEL: u32 = 51820;

/// Says whether a node's full tunnel leaves something out, on a system where it needs a table of its own for that: a list of
/// prefixes is no default route to wg-quick, which would look for the endpoint in the tunnel.
pub fn has_own_table(node: &Node) -> bool {
    let is_cut = node.routes == Routes::Full && !node.is_relay() && !outside_of_full(node).is_empty();
    is_cut && node.platform.is_linux()
}

/// Returns the mark that a node's `.conf` names.
pub fn conf_mark(node: &Node) -> Option<u32> {
    let own = node.fwmark.filter(|_| node.platform.is_linux());
    if has_own_table(node) { Some(FULL_TUNNEL) } else { own }
}

/// Says whether a spoke sends everything of a family into the tunnel, but for what is to stay outside.
pub fn is_full_tunnel(spoke: &Node, sends: &BTreeSet<IpNet>, ipv6: bool) -> bool {
    spoke.routes == Routes::Full
        || sends.iter().any(|net| net.prefix_len() == 0 && net.addr().is_ipv6() == ipv6)
}

/// Returns `from` less everything covered by `holes`, splitting prefixes where a hole lies inside.
pub fn without(from: &BTreeSet<IpNet>, holes: &[IpNet]) -> BTreeSet<IpNet> {
    cut_out(from.clone(), holes)
}

/// The same of a set that is nobody else's.
pub(super) fn cut_out(mut out: BTreeSet<IpNet>, holes: &[IpNet]) -> BTreeSet<IpNet> {
    for hole in holes {
        let touched: Vec<IpNet> =
            out.iter().filter(|net| hole.contains(*net) || net.contains(hole)).copied().collect();
        for net in touched {
            out.remove(&net);
            out.extend(cut(net, *hole));
        }
    }
    out
}

fn cut(net: IpNet, hole: IpNet) -> Vec<IpNet> {
    if hole.contains(&net) {
        return Vec::new();
    }
    if !net.contains(&hole) {
        return vec![net];
    }
    // Halve until the hole itself is one of the halves; keep every half that is beside it.
    let mut kept = Vec::new();
    let mut rest = net;
    while rest != hole {
        let Ok(mut halves) = rest.subnets(rest.prefix_len() + 1) else { break };
        let (Some(low), Some(high)) = (halves.next(), halves.next()) else { break };
        let first: IpAddr = hole.network();
        if low.contains(&first) {
            kept.push(high);
            rest = low;
        } else {
            kept.push(low);
            rest = high;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(list: &[&str]) -> BTreeSet<IpNet> {
        list.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn holes_are_cut_out() {
        let hole = |t: &str| vec![t.parse::<IpNet>().unwrap()];
        assert_eq!(without(&set(&["172.19.0.0/16"]), &hole("172.19.0.0/16")), set(&[]));
        assert_eq!(without(&set(&["172.19.0.0/16"]), &hole("172.0.0.0/8")), set(&[]));
        assert_eq!(without(&set(&["10.0.0.0/8"]), &hole("172.19.0.0/16")), set(&["10.0.0.0/8"]));
        assert_eq!(
            without(&set(&["10.0.0.0/29"]), &hole("10.0.0.2/31")),
            set(&["10.0.0.0/31", "10.0.0.4/30"])
        );
        assert_eq!(without(&set(&["fd00::/16"]), &hole("10.0.0.0/8")), set(&["fd00::/16"]));
    }

    fn place(text: &str) -> PlaceRef {
        PlaceRef::parse(text).unwrap()
    }

    fn network() -> Network {
        let node = |name: &str, last: u8| {
            let key = crate::model::PublicKey::from_bytes([last; 32]);
            let role = if last == 1 { crate::model::Role::Relay } else { crate::model::Role::Spoke };
            Node::new(name.parse().unwrap(), role, [10, 0, 0, last].into(), key)
        };
        let nodes = [node("hub", 1), node("a", 2), node("b", 3), node("c", 4)];
        Network::new("wg0".parse().unwrap(), "10.0.0.0/24".parse().unwrap(), nodes)
    }

    #[test]
    fn a_site_inside_an_own_one_is_sent_for_unless_it_is_attached() {
        let mut network = network();
        let site = |subnet: &str| Site::new(subnet.parse().unwrap());
        network.nodes.get_mut("a").unwrap().sites = vec![site("10.1.0.0/24")];
        network.nodes.get_mut("b").unwrap().sites = vec![site("10.1.0.64/26")];
        let of = |network: &Network| derive_for_spoke(network, &network.nodes["a"], Timestamp(0));
        assert_eq!(of(&network), set(&["10.0.0.0/24", "10.1.0.64/26"]));
        network.nodes.get_mut("a").unwrap().local = vec!["10.1.0.64/26".parse().unwrap()];
        assert_eq!(of(&network), set(&["10.0.0.0/24"]));
        // What a rule says of an own site, or of a part of one, is no way into the tunnel.
        network.nodes.get_mut("a").unwrap().local.clear();
        network.nodes.get_mut("a").unwrap().sites.push(site("10.1.0.128/26"));
        network.nodes.get_mut("a").unwrap().sites.push(site("10.1.0.80/28"));
        for (own, sent) in [
            ("10.1.0.80/28", "10.0.0.1/32"),
            ("10.1.0.128/26", "10.0.0.1/32"),
            ("10.1.0.10", "10.0.0.1/32"),
            ("10.1.0.70", "10.1.0.70/32"),
            ("10.1.0.0/16", "10.1.0.64/28"),
        ] {
            network.allow =
                vec![crate::model::AllowRule { from: vec![place("a")], to: vec![place(own)], ports: vec![] }];
            assert!(of(&network).contains(&sent.parse().unwrap()), "{own}: {:?}", of(&network));
            let own: Vec<IpNet> = of(&network)
                .into_iter()
                .filter(|n| {
                    set(&["10.1.0.0/26", "10.1.0.128/26", "10.1.0.80/28"]).iter().any(|o| o.contains(n))
                })
                .collect();
            assert_eq!(own, Vec::<IpNet>::new());
        }
    }

    #[test]
    fn a_default_route_is_never_cut() {
        let mut network = network();
        let a = network.nodes.get_mut("a").unwrap();
        a.local = vec!["192.168.1.0/24".parse().unwrap()];
        for written in
            [&["0.0.0.0/0"][..], &["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"], &["::/0", "10.0.0.0/24"]]
        {
            network.nodes.get_mut("a").unwrap().routes = Routes::Only(set(written).into_iter().collect());
            assert_eq!(derive_for_spoke(&network, &network.nodes["a"], Timestamp(0)), set(written));
        }
        network.nodes.get_mut("a").unwrap().routes = Routes::Only(vec!["192.168.0.0/23".parse().unwrap()]);
        assert_eq!(derive_for_spoke(&network, &network.nodes["a"], Timestamp(0)), set(&["192.168.0.0/24"]));
    }

    #[test]
    fn policy_narrows_both_sides_of_a_rule() {
        let allow =
            vec![crate::model::AllowRule { from: vec![place("a")], to: vec![place("b")], ports: vec![] }];
        let network = Network { allow, ..network() };
        let of = |name: &str| derive_for_spoke(&network, &network.nodes[name], Timestamp(0));
        assert_eq!(of("a"), set(&["10.0.0.1/32", "10.0.0.3/32"]));
        // The answer's source has to be taken too.
        assert_eq!(of("b"), set(&["10.0.0.1/32", "10.0.0.2/32"]));
        assert_eq!(of("c"), set(&["10.0.0.1/32"]));
    }
}
