//! Who is whose peer, and what each accepts from the other: a spoke peers with its home relay, relays with each other.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{Network, Node, Timestamp, claimed_by_spoke, derive_for_spoke, everything};

impl Network {
    /// Returns the relay that a spoke is at home on: the one that it went over to, else the first active one of its own list, or,
    /// where that is empty because the network has one relay alone, that one. `None`: no relay of its list takes part, or the node is a relay itself.
    ///
    /// An empty list is looked up by going through all nodes; whoever asks for many pairs asks [`Network::are_peers`].
    pub fn home_of(&self, spoke: &Node, now: Timestamp) -> Option<&Node> {
        if spoke.is_relay() {
            return None;
        }
        if spoke.relays.is_empty() {
            return self.relays().find(|relay| relay.is_active(now));
        }
        let listed = spoke.attached.iter().chain(&spoke.relays).filter_map(|name| self.nodes.get(name));
        listed.into_iter().find(|relay| relay.is_relay() && relay.is_active(now))
    }

    /// Says whether two nodes have a session with each other where both take part: all relays do, and a spoke and its home.
    pub fn are_peers(&self, a: &Node, b: &Node, now: Timestamp) -> bool {
        match (a.is_relay(), b.is_relay()) {
            (true, true) => a.name != b.name,
            (true, false) => self.is_home(a, b, now),
            (false, true) => self.is_home(b, a, now),
            (false, false) => false,
        }
    }

    fn is_home(&self, relay: &Node, spoke: &Node, now: Timestamp) -> bool {
        spoke.relays.is_empty() || self.home_of(spoke, now).is_some_and(|home| home.name == relay.name)
    }

    /// Returns the active peers of a node, by name.
    pub fn peers_of<'a>(&'a self, node: &'a Node, now: Timestamp) -> impl Iterator<Item = &'a Node> {
        let others = self.nodes.values().filter(move |other| other.is_active(now));
        others.filter(move |other| self.are_peers(node, other, now))
    }

    /// Returns the AllowedIPs that `node` has for its peer `peer`: what it sends there, and takes from there as a source.
    ///
    /// A relay gives another relay all that is at home there: that relay, its sites, its spokes and theirs. The peer by which spokes
    /// leave to the Internet has that as well.
    pub fn allowed_ips(&self, node: &Node, peer: &Node, now: Timestamp) -> BTreeSet<IpNet> {
        if !node.is_relay() {
            return derive_for_spoke(self, node, now);
        }
        let mut out = claimed_by_spoke(peer);
        if peer.is_relay() {
            let homed = self.spokes().filter(|s| s.is_active(now) && self.is_home(peer, s, now));
            out.extend(homed.flat_map(claimed_by_spoke));
        }
        // Of thousands of peers few can be the one that the Internet is given to.
        if peer.egress || peer.is_relay() {
            let exit = self.exit_peer(node, now).filter(|exit| exit.name == peer.name);
            out.extend(exit.into_iter().flat_map(|_| everything()));
        }
        out
    }

    /// Returns the seconds between the keepalives that `node` sends to a peer; `None`: none. Of two relays the one that
    /// cannot be called keeps the way to itself open.
    pub fn keepalive_towards(&self, node: &Node, peer: &Node) -> Option<u16> {
        if node.is_relay() && peer.is_relay() {
            let own = Some(node.keepalive.unwrap_or(self.keepalive)).filter(|seconds| *seconds > 0);
            return own.filter(|_| node.endpoint.is_none());
        }
        self.keepalive_of(node)
    }

    /// Returns the pairs that have a preshared key, where the network has any: each relay with each spoke, so that no
    /// change of homes needs a new key, and with each relay behind it in the file.
    pub fn key_pairs(&self) -> impl Iterator<Item = (&Node, &Node)> {
        let relays = self.relays();
        relays.clone().enumerate().flat_map(move |(place, relay)| {
            let later = relays.clone().skip(place + 1);
            later.chain(self.spokes()).map(move |other| (relay, other))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PublicKey, Role, Site};

    const NOW: Timestamp = Timestamp(0);

    fn node(name: &str, role: Role, last: u8, relays: &[&str]) -> Node {
        let mut node = Node::new(
            name.parse().unwrap(),
            role,
            [10, 0, 0, last].into(),
            PublicKey::from_bytes([last; 32]),
        );
        node.relays = relays.iter().map(|r| r.parse().unwrap()).collect();
        node
    }

    fn network() -> Network {
        let mut us = node("us", Role::Relay, 2, &[]);
        us.sites.push(Site::new("10.2.0.0/16".parse().unwrap()));
        let nodes = [
            node("eu", Role::Relay, 1, &[]),
            us,
            node("a", Role::Spoke, 3, &["eu", "us"]),
            node("b", Role::Spoke, 4, &["us", "eu"]),
        ];
        let mut network = Network {
            preshared_keys: false,
            ..Network::new("wg0".parse().unwrap(), "10.0.0.0/24".parse().unwrap(), nodes)
        };
        network.nodes.get_mut("us").unwrap().rank = 1;
        network
    }

    fn of(network: &Network, node: &str, peer: &str) -> Vec<String> {
        let (node, peer) = (&network.nodes[node], &network.nodes[peer]);
        network.allowed_ips(node, peer, NOW).iter().map(ToString::to_string).collect()
    }

    fn peers(network: &Network, name: &str) -> Vec<String> {
        network.peers_of(&network.nodes[name], NOW).map(|n| n.name.to_string()).collect()
    }

    #[test]
    fn relays_peer_with_each_other_and_spokes_with_their_home() {
        let network = network();
        assert_eq!(peers(&network, "eu"), ["a", "us"]);
        assert_eq!(peers(&network, "us"), ["b", "eu"]);
        assert_eq!(peers(&network, "a"), ["eu"]);
        assert_eq!(of(&network, "eu", "us"), ["10.0.0.2/32", "10.0.0.4/32", "10.2.0.0/16"]);
        assert_eq!(of(&network, "us", "eu"), ["10.0.0.1/32", "10.0.0.3/32"]);
        assert_eq!(of(&network, "eu", "a"), ["10.0.0.3/32"]);
        assert_eq!(of(&network, "a", "eu"), ["10.0.0.0/24", "10.2.0.0/16"]);
    }

    #[test]
    fn who_derives_for_all_at_once_finds_the_same_homes() {
        let mut network = network();
        network.nodes.get_mut("b").unwrap().relays = vec!["nobody".parse().unwrap(), "a".parse().unwrap()];
        network.nodes.insert("c".parse().unwrap(), node("c", Role::Spoke, 5, &[]));
        for disabled in [None, Some("eu"), Some("us")] {
            let mut network = network.clone();
            if let Some(relay) = disabled {
                network.nodes.get_mut(relay).unwrap().enabled = false;
            }
            let all = crate::model::Derivation::of(&network, NOW);
            for node in network.nodes.values() {
                let one = network.home_of(node, NOW).map(|relay| &relay.name);
                assert_eq!(all.home_of(&network, node).map(|relay| &relay.name), one, "{}", node.name);
            }
        }
    }

    #[test]
    fn a_relay_that_takes_no_part_is_nobodys_home() {
        let mut network = network();
        network.nodes.get_mut("eu").unwrap().enabled = false;
        assert_eq!(peers(&network, "us"), ["a", "b"]);
        assert_eq!(peers(&network, "a"), ["us"]);
    }
}
