//! Where a spoke is just now: at its home relay, or, after failover, at another one of its own list. Never anywhere else.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use blake2::{Blake2s256, Digest as _};
use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{Network, Node, NodeName, PublicKey, Timestamp};

/// The relay that a spoke chose last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The relay.
    pub relay: NodeName,
    /// How manyth choice of the spoke this is: a later one counts, in whatever order they are heard of.
    pub epoch: u64,
    /// When this host learned of it.
    pub since: Timestamp,
}

/// Spokes that have ever left their home relay, by name.
pub type Attachments = BTreeMap<NodeName, Attachment>;

impl PublicKey {
    /// Returns the address at which the agent of whoever has this key is asked whether it is well, inside the session with it:
    /// fe80::/64 and 64 bits of a hash of the key, so that nobody can choose a key for the address of another one. It is never
    /// routed, and no site and no policy has it.
    pub fn link_local(&self) -> Ipv6Addr {
        let mut hash = Blake2s256::new();
        hash.update(b"wgrelay link-local address");
        hash.update(self.as_bytes());
        let mut octets = [0; 16];
        octets[..2].copy_from_slice(&[0xfe, 0x80]);
        octets[8..].copy_from_slice(&hash.finalize()[..8]);
        octets.into()
    }

    /// Returns the same as the prefix that is accepted from it.
    pub fn link_local_prefix(&self) -> IpNet {
        IpNet::V6(Ipv6Net::from(self.link_local()))
    }
}

impl Network {
    /// Returns the active relays of a spoke's list, the preferred first; none where the network has one relay alone.
    pub fn relays_of<'a>(&'a self, spoke: &'a Node, now: Timestamp) -> impl Iterator<Item = &'a Node> {
        let listed = spoke.relays.iter().filter(|_| !spoke.is_relay());
        let known = listed.filter_map(|name| self.nodes.get(name));
        known.filter(move |relay| relay.is_relay() && relay.is_active(now))
    }

    /// Says whether a spoke can go over to another relay.
    pub fn can_fail_over(&self, spoke: &Node, now: Timestamp) -> bool {
        self.failover && self.relays_of(spoke, now).nth(1).is_some()
    }

    /// Says whether a spoke may be attached to a relay: it is one of its own list.
    pub fn may_attach(&self, spoke: &NodeName, relay: &NodeName) -> bool {
        let Some(spoke) = self.nodes.get(spoke).filter(|node| !node.is_relay()) else { return false };
        self.failover && spoke.relays.contains(relay) && self.nodes.get(relay).is_some_and(Node::is_relay)
    }

    /// Puts spokes where they are; who may not be there stays at home.
    pub fn attach(&mut self, attachments: &Attachments) {
        for (name, attachment) in attachments {
            let relay = Some(attachment.relay.clone()).filter(|relay| self.may_attach(name, relay));
            if let Some(spoke) = self.nodes.get_mut(name) {
                spoke.attached = relay;
            }
        }
    }

    /// Says whether two nodes keep a session warm that carries nothing yet: a spoke, and a relay of its list that it is not attached to.
    pub fn stands_by(&self, a: &Node, b: &Node, now: Timestamp) -> bool {
        let (relay, spoke) = if a.is_relay() { (a, b) } else { (b, a) };
        !spoke.is_relay()
            && self.can_fail_over(spoke, now)
            && self.relays_of(spoke, now).any(|listed| listed.name == relay.name)
            && !self.are_peers(a, b, now)
    }

    /// Returns the nodes with which a session is kept warm beside those of [`Network::peers_of`], by name.
    pub fn warm_peers_of<'a>(&'a self, node: &'a Node, now: Timestamp) -> impl Iterator<Item = &'a Node> {
        let others = self.nodes.values().filter(move |other| self.failover && other.is_active(now));
        others.filter(move |other| other.is_relay() != node.is_relay() && self.stands_by(node, other, now))
    }

    /// Says whether a node's agent asks any other one whether it is well.
    pub fn asks_others(&self, node: &Node, now: Timestamp) -> bool {
        let mut others = self.nodes.values().filter(|other| other.name != node.name && other.is_active(now));
        others.any(|other| self.probe_each_other(node, other, now))
    }

    /// Says whether two peers' agents ask each other whether they are well.
    pub fn probe_each_other(&self, a: &Node, b: &Node, now: Timestamp) -> bool {
        match (a.is_relay(), b.is_relay()) {
            (true, true) => self.failover,
            (false, false) => false,
            (true, false) => self.can_fail_over(b, now),
            (false, true) => self.can_fail_over(a, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;

    const NOW: Timestamp = Timestamp(0);

    fn network(failover: bool) -> Network {
        let node = |(n, (name, role, relays)): (u8, (&str, Role, &[&str]))| {
            let mut node =
                Node::new(name.parse().unwrap(), role, [10, 0, 0, n].into(), PublicKey::from_bytes([n; 32]));
            node.relays = relays.iter().map(|relay| relay.parse().unwrap()).collect();
            node.rank = usize::from(n);
            (node.name.clone(), node)
        };
        let nodes: [(&str, Role, &[&str]); 5] = [
            ("eu", Role::Relay, &[]),
            ("us", Role::Relay, &[]),
            ("ap", Role::Relay, &[]),
            ("a", Role::Spoke, &["eu", "us"]),
            ("b", Role::Spoke, &["us"]),
        ];
        Network {
            nodes: (1..).zip(nodes).map(node).collect(),
            preshared_keys: false,
            failover,
            ..Network::new("wg0".parse().unwrap(), "10.0.0.0/24".parse().unwrap(), [])
        }
    }

    fn at(spoke: &str, relay: &str) -> Attachments {
        let attachment = Attachment { relay: relay.parse().unwrap(), epoch: 1, since: NOW };
        [(spoke.parse().unwrap(), attachment)].into()
    }

    fn home(network: &Network, spoke: &str) -> String {
        network.home_of(&network.nodes[spoke], NOW).map(|relay| relay.name.to_string()).unwrap_or_default()
    }

    fn warm(network: &Network, node: &str) -> Vec<String> {
        network.warm_peers_of(&network.nodes[node], NOW).map(|n| n.name.to_string()).collect()
    }

    #[test]
    fn a_spoke_is_where_it_went_and_never_beside_its_list() {
        for (spoke, relay, expected) in [
            ("a", "us", "us"),
            ("a", "eu", "eu"),
            ("a", "ap", "eu"),
            ("a", "b", "eu"),
            ("a", "nobody", "eu"),
            ("b", "eu", "us"),
            ("eu", "us", ""),
            ("nobody", "us", ""),
        ] {
            let mut network = network(true);
            network.attach(&at(spoke, relay));
            let found = if spoke == "nobody" { String::new() } else { home(&network, spoke) };
            assert_eq!(found, expected, "{spoke} at {relay}");
            let all = crate::model::Derivation::of(&network, NOW);
            for spoke in network.spokes() {
                let one = network.home_of(spoke, NOW).map(|relay| &relay.name);
                assert_eq!(all.home_of(&network, spoke).map(|relay| &relay.name), one);
            }
        }
        let asks = |network: &Network, node: &str| network.asks_others(&network.nodes[node], NOW);
        assert!(["eu", "us", "ap", "a"].iter().all(|node| asks(&network(true), node)));
        assert!(!asks(&network(true), "b"), "it has one relay");
        let mut off = network(false);
        assert!(!asks(&off, "eu") && !asks(&off, "a"));
        off.attach(&at("a", "us"));
        assert_eq!((home(&off, "a"), warm(&off, "a")), ("eu".into(), vec![]));
    }

    #[test]
    fn keys_that_begin_alike_have_addresses_of_their_own() {
        let mut key = [7; 32];
        let one = PublicKey::from_bytes(key).link_local();
        key[31] = 8;
        let other = PublicKey::from_bytes(key).link_local();
        assert!(
            one != other && one.is_unicast_link_local() && one.segments()[1..4] == [0; 3],
            "{one} {other}"
        );
    }

    #[test]
    fn a_relay_that_takes_no_part_holds_nobody() {
        let mut network = network(true);
        network.attach(&at("a", "us"));
        network.nodes.get_mut("us").unwrap().enabled = false;
        assert_eq!((home(&network, "a"), warm(&network, "a")), ("eu".into(), vec![]));
    }

    #[test]
    fn what_a_spoke_has_moves_with_it_and_the_rest_stays_warm() {
        let mut network = network(true);
        let of = |network: &Network, node: &str, peer: &str| {
            let ips = network.allowed_ips(&network.nodes[node], &network.nodes[peer], NOW);
            ips.contains(&"10.0.0.4/32".parse().unwrap())
        };
        assert_eq!(
            (warm(&network, "a"), warm(&network, "us"), warm(&network, "ap")),
            (vec!["us".into()], vec!["a".into()], vec![])
        );
        assert!(of(&network, "eu", "a") && of(&network, "us", "eu") && of(&network, "ap", "eu"));
        network.attach(&at("a", "us"));
        assert_eq!(
            (warm(&network, "a"), warm(&network, "eu"), warm(&network, "us")),
            (vec!["eu".into()], vec!["a".into()], vec![])
        );
        assert!(of(&network, "us", "a") && of(&network, "eu", "us") && of(&network, "ap", "us"));
        assert!(!of(&network, "us", "eu") && !of(&network, "ap", "eu"));
    }
}
