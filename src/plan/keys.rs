//! The secrets that one node needs, and what they lack of what its network asks for.
//!
//! A key that is not there means that nobody knows it, never that there is to be none: what a device has stays, and a peer
//! that is not there yet is not made without.

use std::collections::{BTreeMap, BTreeSet};

use super::state::HostState;
use crate::model::{Network, Node, NodeName, PresharedKey, PrivateKey, Problem, PublicKey, Timestamp};

/// The secrets that one node needs.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// The node's own.
    pub private_key: Option<PrivateKey>,
    /// With each peer, by the peer's name.
    pub preshared_keys: BTreeMap<NodeName, PresharedKey>,
}

/// What is not known of the keys that a network asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// The node's own, or what is there belongs to another public key.
    pub private_key: bool,
    /// Peers whose preshared key is not there.
    pub preshared_keys: BTreeSet<PublicKey>,
    /// The same in words: errors.
    pub problems: Vec<Problem>,
}

impl Keys {
    /// Says what these lack for a node of a network. `file` is where they come from.
    pub fn missing(&self, network: &Network, node: &Node, now: Timestamp, file: &str) -> Missing {
        let mut missing = Missing::default();
        let mut error = |code, message: String, hint: String| {
            missing.problems.push(Problem::error(code, file, message, hint));
        };
        let name = &node.name;
        match self.private_key.as_ref().map(PrivateKey::public_key) {
            Some(public) if public == node.public_key => {}
            Some(_) => {
                missing.private_key = true;
                error(
                    "key-mismatch",
                    format!(
                        "the private key of node {name} does not belong to its public key {}",
                        node.public_key
                    ),
                    format!("put the right one back, or `wgrelay rotate {name}` makes a new pair"),
                );
            }
            None => {
                missing.private_key = true;
                error(
                    "missing-private-key",
                    format!("the private key of node {name} is not there"),
                    "put it back under [private_keys], or install a bundle that has it".into(),
                );
            }
        }
        let peers = network.peers_of(node, now);
        for peer in peers.filter(|n| network.preshared_keys && !self.preshared_keys.contains_key(&n.name)) {
            missing.preshared_keys.insert(peer.public_key);
            let (relay, spoke) = if node.is_relay() { (node, peer) } else { (peer, node) };
            error(
                "missing-preshared-key",
                format!("relay {} and node {} have no preshared key", relay.name, spoke.name),
                format!("`wgrelay rotate {}` makes one; preshared_keys = false does without", spoke.name),
            );
        }
        missing
    }
}

impl Missing {
    /// Wants of a device what it has, where nobody knows what it should have; a peer that is not there is not wanted
    /// without its key. Routes stay: what was to go into the tunnel must not go elsewhere.
    pub fn keep(&self, wanted: &mut HostState, observed: &HostState) {
        let Some(wanted) = &mut wanted.device else { return };
        if self.private_key {
            wanted.private_key = None;
        }
        for key in &self.preshared_keys {
            match observed.device.as_ref().and_then(|device| device.peers.get(key)) {
                Some(there) => {
                    if let Some(peer) = wanted.peers.get_mut(key) {
                        peer.preshared_key.clone_from(&there.preshared_key);
                    }
                }
                None => _ = wanted.peers.remove(key),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::fixture::relay_alone;
    use crate::plan::{Backend, Facts, diff, wanted};

    const NOW: Timestamp = Timestamp(0);

    /// A relay with two spokes, and all its keys.
    fn network() -> (Network, Keys) {
        let (mut network, _) = relay_alone();
        network.preshared_keys = true;
        let own = PrivateKey::from_random([1; 32]);
        let mut keys = Keys::default();
        for node in network.nodes.values_mut() {
            if node.is_relay() {
                node.public_key = own.public_key();
            }
        }
        for (n, name) in [(2, "a"), (3, "b")] {
            let public = PrivateKey::from_random([n; 32]).public_key();
            let name: NodeName = name.parse().unwrap();
            let node = Node::new(name.clone(), crate::model::Role::Spoke, [192, 168, 3, n].into(), public);
            network.nodes.insert(name.clone(), node);
            keys.preshared_keys.insert(name, PresharedKey::from_bytes([n; 32]));
        }
        keys.private_key = Some(own);
        (network, keys)
    }

    fn relay(network: &Network) -> &Node {
        network.relays().next().unwrap()
    }

    /// What would change on a host that is as it was applied, with other keys now; and what is said.
    fn changes(
        network: &Network,
        applied: &Keys,
        now: &Keys,
        without: Option<&str>,
    ) -> (Vec<String>, Vec<String>) {
        let node = relay(network);
        let state = |keys: &Keys| wanted(network, node, keys, Backend::Kernel, &Facts::default(), NOW).state;
        let mut observed = state(applied);
        if let (Some(name), Some(device)) = (without, &mut observed.device) {
            let name: NodeName = name.parse().unwrap();
            device.peers.remove(&network.nodes[&name].public_key);
        }
        let mut desired = state(now);
        let missing = now.missing(network, node, NOW, "secrets.toml");
        missing.keep(&mut desired, &observed);
        let lines = diff(&observed, &desired).lines().into_iter().map(|l| format!("{} {}", l.kind, l.target));
        (lines.collect(), missing.problems.into_iter().map(|p| p.code).collect())
    }

    #[test]
    fn what_is_not_known_stays_as_it_is() {
        let (network, keys) = network();
        let none = (Vec::<String>::new(), Vec::<String>::new());
        assert_eq!(changes(&network, &keys, &keys, None), none);
        let mut half = keys.clone();
        half.preshared_keys.remove("b");
        assert_eq!(changes(&network, &keys, &half, None), (vec![], vec!["missing-preshared-key".into()]));
        let nothing = Keys::default();
        let (lines, codes) = changes(&network, &keys, &nothing, None);
        assert_eq!((lines.len(), codes.len()), (0, 3), "{lines:?} {codes:?}");
        let other = Keys { private_key: Some(PrivateKey::from_random([9; 32])), ..keys.clone() };
        assert_eq!(changes(&network, &keys, &other, None), (vec![], vec!["key-mismatch".into()]));
        // One that is gone comes back with its key, and not without.
        assert_eq!(changes(&network, &keys, &keys, Some("b")).0.len(), 1);
        assert_eq!(changes(&network, &keys, &half, Some("b")).0, [""; 0]);
        // A network that asks for none gets none.
        let plain = Network { preshared_keys: false, ..network.clone() };
        assert_eq!(changes(&plain, &keys, &half, None), none);
    }

    #[test]
    fn no_key_is_in_the_words() {
        let (network, keys) = network();
        let other = PrivateKey::from_random([9; 32]);
        let secret = other.expose_base64();
        let half = Keys { private_key: Some(other), ..keys };
        let said = format!("{:?}", half.missing(&network, relay(&network), NOW, "secrets.toml"));
        assert!(said.contains("key-mismatch") && !said.contains(secret.as_str()), "{said}");
    }
}
