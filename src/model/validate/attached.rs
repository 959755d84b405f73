//! What nodes are attached to themselves, by prefix: it is asked of each of thousands of sites who else is there.

use ipnet::IpNet;

use crate::model::{Network, NodeName};

/// Each prefix of `local` and whose it is, in the order of prefixes.
pub(super) struct Attached<'n> {
    all: Vec<(IpNet, &'n NodeName)>,
    /// The prefix lengths that occur.
    lengths: Vec<u8>,
}

impl<'n> Attached<'n> {
    pub(super) fn of(network: &'n Network) -> Self {
        let of = |node: &'n crate::model::Node| node.local.iter().map(|net| (net.trunc(), &node.name));
        let mut all: Vec<_> = network.nodes.values().flat_map(of).collect();
        all.sort_unstable();
        let mut lengths: Vec<u8> = all.iter().map(|(net, _)| net.prefix_len()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Self { all, lengths }
    }

    /// Says whether another node than this one is attached to a prefix that shares an address with this one.
    pub(super) fn others_touch(&self, node: &NodeName, net: IpNet) -> bool {
        let net = net.trunc();
        // What lies inside sorts between the prefix itself and the host prefix of its last address.
        let last = IpNet::from(net.broadcast());
        let from = self.all.partition_point(|(at, _)| *at < net);
        let mut inside =
            self.all[from..].iter().take_while(|(at, _)| *at <= last).filter(|(at, _)| net.contains(at));
        inside.any(|(_, owner)| *owner != node) || self.around(net).any(|owner| owner != node)
    }

    /// Who is attached to what is wider and holds all of it.
    fn around(&self, net: IpNet) -> impl Iterator<Item = &'n NodeName> {
        let shorter = self.lengths.iter().take_while(move |length| **length < net.prefix_len());
        let wider = shorter.filter_map(move |length| Some(IpNet::new(net.addr(), *length).ok()?.trunc()));
        wider.flat_map(|wider| {
            let from = self.all.partition_point(|(at, _)| *at < wider);
            self.all[from..].iter().take_while(move |(at, _)| *at == wider).map(|(_, owner)| *owner)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Node, Nodes, PublicKey, Role};

    fn prefix() -> impl Strategy<Value = IpNet> {
        let v4 = (0..16_u32, 0..=32_u8).prop_map(|(bits, length)| {
            IpNet::new(std::net::Ipv4Addr::from(bits << 28 | bits).into(), length)
        });
        let v6 = (0..16_u128, 0..=128_u8).prop_map(|(bits, length)| {
            IpNet::new(std::net::Ipv6Addr::from(bits << 124 | bits).into(), length)
        });
        prop_oneof![3 => v4, 1 => v6].prop_map(|net| net.unwrap().trunc())
    }

    proptest! {
        #[test]
        fn equals_a_look_at_all_nodes(
            local in prop::collection::vec(prop::collection::vec(prefix(), 0..4), 1..5), asked in prefix(),
        ) {
            let named = |number: usize| -> NodeName { format!("n{number}").parse().unwrap() };
            let nodes: Nodes = local.into_iter().enumerate().map(|(number, local)| {
                let mut node = Node::new(named(number), Role::Spoke, [10, 0, 0, 1].into(), PublicKey::from_bytes([1; 32]));
                node.local = local;
                (named(number), node)
            }).collect();
            let network = Network { nodes, preshared_keys: false, ..Network::new("wg0".parse().unwrap(), "10.0.0.0/24".parse().unwrap(), []) };
            let attached = Attached::of(&network);
            for node in network.nodes.keys() {
                let others = network.nodes.values().filter(|other| other.name != *node);
                let touches = others.flat_map(|other| &other.local).any(|net| net.contains(&asked) || asked.contains(net));
                prop_assert_eq!(attached.others_touch(node, asked), touches);
            }
        }
    }
}
