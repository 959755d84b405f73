//! The nodes of a network by name. Which of them are relays is found once: much asks it of each of thousands of nodes, and going
//! through all of them for each is the square of their number.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use super::{Node, NodeName};

/// Nodes by name: a map, which knows its relays.
#[derive(Debug, Clone, Default)]
pub struct Nodes {
    by_name: BTreeMap<NodeName, Node>,
    /// The relays as they follow each other in the file; empty since nodes may have changed, until somebody asks.
    relays: OnceLock<Vec<NodeName>>,
}

impl Nodes {
    /// Returns the relays, as they follow each other in the file.
    pub fn relays(&self) -> impl Iterator<Item = &Node> + Clone {
        let names = self.relays.get_or_init(|| {
            #[cfg(test)]
            tests::SEARCHES.set(tests::SEARCHES.get() + 1);
            let mut relays: Vec<&Node> = self.by_name.values().filter(|node| node.is_relay()).collect();
            relays.sort_by_key(|relay| relay.rank);
            relays.into_iter().map(|relay| relay.name.clone()).collect()
        });
        names.iter().filter_map(|name| self.by_name.get(name))
    }
}

impl Deref for Nodes {
    type Target = BTreeMap<NodeName, Node>;
    fn deref(&self) -> &Self::Target {
        &self.by_name
    }
}

impl DerefMut for Nodes {
    /// Whoever may change nodes may change which of them are relays, and nobody can ask before he has done so.
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.relays.take();
        &mut self.by_name
    }
}

impl PartialEq for Nodes {
    fn eq(&self, other: &Self) -> bool {
        self.by_name == other.by_name
    }
}

impl Eq for Nodes {}

impl From<BTreeMap<NodeName, Node>> for Nodes {
    fn from(by_name: BTreeMap<NodeName, Node>) -> Self {
        Self { by_name, relays: OnceLock::new() }
    }
}

impl FromIterator<(NodeName, Node)> for Nodes {
    fn from_iter<I: IntoIterator<Item = (NodeName, Node)>>(nodes: I) -> Self {
        BTreeMap::from_iter(nodes).into()
    }
}

impl<'n> IntoIterator for &'n Nodes {
    type Item = (&'n NodeName, &'n Node);
    type IntoIter = std::collections::btree_map::Iter<'n, NodeName, Node>;
    fn into_iter(self) -> Self::IntoIter {
        self.by_name.iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Network, PublicKey, Role, Timestamp};

    thread_local! {
        /// How often all nodes were gone through for the relays.
        pub(super) static SEARCHES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    #[test]
    fn what_is_asked_of_each_node_goes_through_all_of_them_once() {
        let node = |number: u8| {
            let (name, role) = if number == 1 {
                ("hub".to_owned(), Role::Relay)
            } else {
                (format!("a{number}"), Role::Spoke)
            };
            Node::new(
                name.parse().unwrap(),
                role,
                [10, 0, 0, number].into(),
                PublicKey::from_bytes([number; 32]),
            )
        };
        let mut network = Network {
            preshared_keys: false,
            ..Network::new("wg0".parse().unwrap(), "10.0.0.0/24".parse().unwrap(), (1..200).map(node))
        };
        let ask = |network: &Network| {
            let now = Timestamp(0);
            for node in network.nodes.values() {
                let home = network.home_of(node, now).map(|relay| &relay.name);
                assert_eq!(home.is_none(), node.is_relay());
                assert_eq!(network.relays().count(), 1);
            }
            assert_eq!(network.relays().count(), usize::from(!network.nodes.is_empty()));
        };
        SEARCHES.set(0);
        ask(&network);
        assert_eq!(SEARCHES.get(), 1);
        network.nodes.clear();
        ask(&network);
        assert_eq!(SEARCHES.get(), 2);
    }

    /// What somebody does to a node: takes it away, or gives it a role and a rank.
    fn change() -> impl Strategy<Value = (u8, Option<(bool, usize)>)> {
        (0..8_u8, prop::option::of((any::<bool>(), 0..4_usize)))
    }

    proptest! {
        #[test]
        fn relays_are_those_of_now(changes in prop::collection::vec(change(), 0..20)) {
            let mut nodes = Nodes::default();
            for (number, becomes) in changes {
                let name: NodeName = format!("n{number}").parse().unwrap();
                let Some((is_relay, rank)) = becomes else {
                    nodes.remove(&name);
                    continue;
                };
                let role = if is_relay { Role::Relay } else { Role::Spoke };
                let new = || Node::new(name.clone(), role, [10, 0, 0, number].into(), PublicKey::from_bytes([number; 32]));
                let node = nodes.entry(name.clone()).or_insert_with(new);
                (node.role, node.rank) = (role, rank);
                let mut scan: Vec<&Node> = nodes.values().filter(|node| node.is_relay()).collect();
                scan.sort_by_key(|relay| relay.rank);
                prop_assert_eq!(nodes.relays().collect::<Vec<_>>(), scan);
            }
        }
    }
}
