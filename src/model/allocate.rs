//! The next free tunnel address: the lowest one, so that a network reads in the order in which it grew.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::Network;

/// No address is left in a tunnel subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{subnet} has no free address left: all {used} are taken")]
pub struct Exhausted {
    /// The full subnet.
    pub subnet: ipnet::IpNet,
    /// How many of its host addresses are taken.
    pub used: usize,
}

/// Returns the lowest host address of the tunnel subnet that no node has; never the network's or the broadcast address.
pub fn next_address(network: &Network) -> Result<Ipv4Addr, Exhausted> {
    let taken: BTreeSet<Ipv4Addr> =
        network.nodes.values().map(|n| n.address).filter(|a| is_host(network.subnet, *a)).collect();
    // Among n + 1 host addresses one is free, so the walk is as long as the list of nodes, whatever the subnet's size.
    network
        .subnet
        .hosts()
        .find(|a| !taken.contains(a))
        .ok_or(Exhausted { subnet: network.subnet.into(), used: taken.len() })
}

/// Returns the IPv6 address that goes with an IPv4 one: the same place in the subnet (`.7` becomes `::7`) where that
/// is free, else the lowest free one. `None`: the network has no IPv6.
pub fn next_address6(network: &Network, address: Ipv4Addr) -> Option<Result<Ipv6Addr, Exhausted>> {
    let subnet = network.subnet6?;
    let taken: BTreeSet<Ipv6Addr> = network.nodes.values().filter_map(|n| n.address6).collect();
    let offset = u32::from(address).wrapping_sub(u32::from(network.subnet.network()));
    let same = Ipv6Addr::from(u128::from(subnet.network()).wrapping_add(u128::from(offset)));
    if is_host6(subnet, same) && !taken.contains(&same) {
        return Some(Ok(same));
    }
    let free = subnet.hosts().find(|a| is_host6(subnet, *a) && !taken.contains(a));
    Some(free.ok_or(Exhausted { subnet: subnet.into(), used: taken.len() }))
}

/// Says whether a host may have this address: inside, and neither the network's nor the broadcast address. A /31 has
/// neither (RFC 3021), nor has a /32.
pub(super) fn is_host(subnet: Ipv4Net, address: Ipv4Addr) -> bool {
    subnet.contains(&address)
        && (subnet.prefix_len() >= 31 || (address != subnet.network() && address != subnet.broadcast()))
}

/// Says whether a host may have this address: inside, and not the subnet-router anycast address (RFC 4291, 2.6.1).
pub(super) fn is_host6(subnet: Ipv6Net, address: Ipv6Addr) -> bool {
    subnet.contains(&address) && (subnet.prefix_len() >= 127 || address != subnet.network())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Node, PublicKey, Role};

    fn network(subnet: &str, subnet6: Option<&str>, taken: &[&str]) -> Network {
        let nodes = taken
            .iter()
            .enumerate()
            .map(|(i, a)| {
                let key = PublicKey::from_bytes([u8::try_from(i).unwrap(); 32]);
                Node::new(format!("n{i}").parse().unwrap(), Role::Spoke, a.parse().unwrap(), key)
            })
            .map(|n| (n.name.clone(), n))
            .collect();
        Network {
            nodes,
            subnet6: subnet6.map(|s| s.parse().unwrap()),
            ..Network::new("wg0".parse().unwrap(), subnet.parse().unwrap(), [])
        }
    }

    #[test]
    fn lowest_free_host() {
        let next = |s, t: &[&str]| next_address(&network(s, None, t)).map(|a| a.to_string());
        assert_eq!(next("10.0.0.0/24", &[]).unwrap(), "10.0.0.1");
        assert_eq!(next("10.0.0.0/24", &["10.0.0.1", "10.0.0.3"]).unwrap(), "10.0.0.2");
        assert_eq!(next("10.0.0.0/30", &["10.0.0.1"]).unwrap(), "10.0.0.2");
        assert_eq!(next("10.0.0.0/31", &["10.0.0.0"]).unwrap(), "10.0.0.1");
        let full = next("10.0.0.0/30", &["10.0.0.1", "10.0.0.2"]).unwrap_err();
        assert_eq!(full.to_string(), "10.0.0.0/30 has no free address left: all 2 are taken");
        assert!(next("10.0.0.0/32", &["10.0.0.0"]).is_err());
    }

    #[test]
    fn ipv6_follows_ipv4() {
        let mut n = network("10.0.0.0/24", Some("fd00::/64"), &[]);
        let next = |n: &Network, a: &str| next_address6(n, a.parse().unwrap()).unwrap().unwrap().to_string();
        assert_eq!(next(&n, "10.0.0.7"), "fd00::7");
        let mut other = Node::new(
            "x".parse().unwrap(),
            Role::Spoke,
            "10.0.0.1".parse().unwrap(),
            PublicKey::from_bytes([9; 32]),
        );
        other.address6 = Some("fd00::7".parse().unwrap());
        n.nodes.insert(other.name.clone(), other);
        assert_eq!(next(&n, "10.0.0.7"), "fd00::1");
        assert!(next_address6(&network("10.0.0.0/24", None, &[]), "10.0.0.1".parse().unwrap()).is_none());
    }
}
