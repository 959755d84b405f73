//! A site behind several nodes: who carries it, and who stands by, attached to it all the same.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{Nat, Network, Node, NodeName, Site, Timestamp};

/// Sites that relays have given over to others, because they do not answer there, by relay.
pub type GivenOver = BTreeMap<NodeName, BTreeSet<IpNet>>;

/// A site that a better node carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    /// The site as it is written.
    pub site: Site,
    /// Its place among the node's sites in the file, from 0.
    place: usize,
    /// Whether the file lists it under `local` as well.
    is_local: bool,
}

impl Node {
    /// Returns all sites as they are written, also those that a better node carries.
    pub fn written_sites(&self) -> Vec<&Site> {
        let mut all: Vec<&Site> = self.sites.iter().collect();
        for standby in &self.standby {
            all.insert(standby.place.min(all.len()), &standby.site);
        }
        all
    }

    /// Returns the place in the file of one of the sites that this node carries.
    pub fn written_place(&self, index: usize) -> usize {
        let before = |at: usize, standby: &Standby| if standby.place <= at { at + 1 } else { at };
        self.standby.iter().fold(index, before)
    }

    /// Returns the node as it is made ready to carry every site that it has: a stand-by forwards into its sites before it is
    /// needed, so that only others have to change. Until then their hosts have another node as their gateway, so what enters
    /// one here is masqueraded unless the file says never.
    pub fn ready(&self) -> Cow<'_, Self> {
        if self.standby.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut node = self.clone();
        node.local = node.written_local();
        for Standby { site, .. } in std::mem::take(&mut node.standby) {
            // What it has given over it sends for as anybody does.
            if node.given_over.contains(&site.subnet.trunc()) {
                continue;
            }
            let nat = if site.nat == Nat::None { Nat::None } else { Nat::Masquerade };
            node.sites.push(Site { gateway: false, nat, ..site });
        }
        Cow::Owned(node)
    }

    /// Returns all sites as text, the stand-bys marked.
    pub fn sites_in_words(&self, words: impl Fn(&Site) -> String) -> Vec<String> {
        let stands_by = |site: &Site| self.standby.iter().any(|standby| standby.site == *site);
        let of = |site: &Site| words(site) + if stands_by(site) { " (stand-by)" } else { "" };
        self.written_sites().into_iter().map(of).collect()
    }

    /// Says whether it forwards into any site, or is ready to.
    pub fn has_sites(&self) -> bool {
        !self.sites.is_empty() || !self.standby.is_empty()
    }

    /// Returns `local` as it is written.
    pub fn written_local(&self) -> Vec<IpNet> {
        let added = |net: &&IpNet| {
            !self.standby.iter().any(|standby| !standby.is_local && standby.site.subnet == **net)
        };
        self.local.iter().filter(added).copied().collect()
    }

    fn restore(&mut self) {
        if self.standby.is_empty() {
            return;
        }
        self.local = self.written_local();
        for standby in std::mem::take(&mut self.standby) {
            self.sites.insert(standby.place.min(self.sites.len()), standby.site);
        }
    }
}

impl Network {
    /// Gives each site that several nodes have, each with a `preference`, to the best of those that take part: it carries the
    /// site, and the others are attached to it and stand by. What was settled before is settled anew.
    pub fn settle(&mut self, takes_part: impl Fn(&Node) -> bool) {
        if !self.has_preferences() {
            return;
        }
        self.nodes.values_mut().for_each(Node::restore);
        let mut best: BTreeMap<IpNet, ((bool, u32), NodeName)> = BTreeMap::new();
        for node in self.nodes.values().filter(|node| takes_part(node)) {
            for site in &node.sites {
                let Some(preference) = site.preference else { continue };
                let subnet = site.subnet.trunc();
                let rank = (!node.given_over.contains(&subnet), preference);
                if best.get(&subnet).is_none_or(|(known, _)| *known < rank) {
                    best.insert(subnet, (rank, node.name.clone()));
                }
            }
        }
        for node in self.nodes.values_mut().filter(|node| takes_part(node)) {
            let (name, written) = (node.name.clone(), std::mem::take(&mut node.sites));
            for (place, site) in written.into_iter().enumerate() {
                let carrier = best.get(&site.subnet.trunc()).filter(|_| site.preference.is_some());
                if carrier.is_none_or(|(_, carrier)| *carrier == name) {
                    node.sites.push(site);
                    continue;
                }
                let is_local = node.local.contains(&site.subnet);
                if !is_local && !node.given_over.contains(&site.subnet.trunc()) {
                    node.local.push(site.subnet);
                }
                node.standby.push(Standby { site, place, is_local });
            }
        }
    }

    /// Notes which sites are given over, and gives each to the best of those that take part.
    pub fn give_over(&mut self, given: &GivenOver, takes_part: impl Fn(&Node) -> bool) {
        for node in self.nodes.values_mut() {
            node.given_over = given.get(&node.name).cloned().unwrap_or_default();
        }
        self.settle(takes_part);
    }

    /// Returns the network as it is at that moment: an expired node carries nothing.
    pub fn settled(&self, now: Timestamp) -> Cow<'_, Self> {
        if !self.has_preferences() {
            return Cow::Borrowed(self);
        }
        let mut network = self.clone();
        network.settle(|node| node.is_active(now));
        Cow::Owned(network)
    }

    /// Returns the network as its file has it: each node with all its sites.
    pub fn as_written(&self) -> Cow<'_, Self> {
        if self.nodes.values().all(|node| node.standby.is_empty()) {
            return Cow::Borrowed(self);
        }
        let mut network = self.clone();
        network.nodes.values_mut().for_each(Node::restore);
        Cow::Owned(network)
    }

    /// Returns those who stand by for a site, the best first.
    pub fn standing_by(&self, subnet: IpNet) -> Vec<&Node> {
        let preference = |node: &Node| {
            let of = node.standby.iter().find(|standby| standby.site.subnet.trunc() == subnet.trunc());
            of.and_then(|standby| standby.site.preference)
        };
        let mut found: Vec<(u32, &Node)> =
            self.nodes.values().filter_map(|node| Some((preference(node)?, node))).collect();
        found.sort_by_key(|(preference, _)| std::cmp::Reverse(*preference));
        found.into_iter().map(|(_, node)| node).collect()
    }

    /// Returns the node that carries a site.
    pub fn carrier_of(&self, subnet: IpNet, now: Timestamp) -> Option<&Node> {
        let has = |node: &&Node| node.sites.iter().any(|site| site.prefix().trunc() == subnet.trunc());
        self.nodes.values().filter(|node| node.is_active(now)).find(has)
    }

    fn has_preferences(&self) -> bool {
        let mut nodes = self.nodes.values();
        nodes.any(|node| !node.standby.is_empty() || node.sites.iter().any(|site| site.preference.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PublicKey, Role};

    fn site(subnet: &str, preference: Option<u32>) -> Site {
        Site {
            subnet: subnet.parse().unwrap(),
            interface: None,
            nat: Nat::Auto,
            gateway: true,
            address: None,
            egress: false,
            preference,
            alias: None,
        }
    }

    fn network() -> Network {
        let node = |name: &str, role, last: u8, sites: Vec<Site>| {
            let key = PublicKey::from_bytes([last; 32]);
            Node { sites, ..Node::new(name.parse().unwrap(), role, [10, 0, 0, last].into(), key) }
        };
        let shared = |preference| site("10.1.0.0/24", Some(preference));
        let nodes = [
            node("hub", Role::Relay, 1, vec![]),
            node("a", Role::Spoke, 2, vec![shared(1), site("10.2.0.0/24", None)]),
            node("b", Role::Spoke, 3, vec![site("10.3.0.0/24", Some(9)), shared(3)]),
            node("c", Role::Spoke, 4, vec![shared(2)]),
        ];
        Network {
            preshared_keys: false,
            ..Network::new("wg0".parse().unwrap(), "10.0.0.0/24".parse().unwrap(), nodes)
        }
    }

    /// What the hub sends to each.
    fn sent(network: &Network, now: Timestamp) -> Vec<String> {
        let hub = &network.nodes["hub"];
        let to = |peer: &Node| {
            let nets = network.allowed_ips(hub, peer, now).into_iter().filter(|net| net.prefix_len() == 24);
            format!("{} {}", peer.name, nets.map(|net| net.to_string()).collect::<Vec<_>>().join(" "))
        };
        network.peers_of(hub, now).map(to).collect()
    }

    #[test]
    fn the_best_that_takes_part_carries_a_site() {
        let mut network = network();
        let now = Timestamp(100);
        for (off, expected) in [
            ("", ["a 10.2.0.0/24", "b 10.1.0.0/24 10.3.0.0/24", "c "].as_slice()),
            ("b", &["a 10.2.0.0/24", "c 10.1.0.0/24"]),
            ("c", &["a 10.1.0.0/24 10.2.0.0/24"]),
        ] {
            if let Some(node) = network.nodes.get_mut(off) {
                // One is switched off, the other runs out.
                node.enabled = off != "b";
                node.expires = (off == "c").then_some(now);
            }
            let settled = network.settled(now);
            assert_eq!(sent(&settled, now), expected, "{off}");
            // What was settled at one moment is settled anew at another.
            assert_eq!(settled.settled(Timestamp(0)).as_written(), network.as_written());
        }
    }

    #[test]
    fn a_site_that_is_given_over_goes_to_the_next_and_is_sent_for_as_anybodys() {
        let (written, now) = (network(), Timestamp(100));
        let net: IpNet = "10.1.0.0/24".parse().unwrap();
        let given = |names: &[&str]| -> GivenOver {
            names.iter().map(|name| (name.parse().unwrap(), [net].into())).collect()
        };
        for (names, carrier) in [
            (&[][..], "b"),
            (&["b"], "c"),
            (&["c"], "b"),
            (&["b", "c"], "a"),
            // Where nobody is left it is as the file has it.
            (&["a", "b", "c"], "b"),
        ] {
            let mut network = written.clone();
            network.give_over(&given(names), |_| true);
            let settled = network.settled(now);
            assert_eq!(settled.carrier_of(net, now).unwrap().name.as_str(), carrier, "{names:?}");
            for node in ["a", "b", "c"] {
                let (node, is_given) = (&settled.nodes[node], names.contains(&node));
                let carries = node.name.as_str() == carrier;
                assert_eq!(node.local.contains(&net), !carries && !is_given, "{} {names:?}", node.name);
                let is_ready = node.ready().sites.iter().any(|site| site.subnet == net);
                assert_eq!(is_ready, carries || !is_given, "{} {names:?}", node.name);
            }
            network.give_over(&GivenOver::new(), |_| true);
            assert_eq!(*network.as_written(), written);
        }
    }

    #[test]
    fn a_stand_by_is_attached_and_ready_and_loses_nothing_of_what_is_written() {
        let written = network();
        let mut network = written.clone();
        network.nodes.get_mut("c").unwrap().local = vec!["10.1.0.0/24".parse().unwrap()];
        let with_local = network.clone();
        network.settle(|_| true);
        assert_eq!(*network.as_written(), with_local);
        let a = &network.nodes["a"];
        assert_eq!(a.sites, [site("10.2.0.0/24", None)]);
        assert_eq!(a.written_sites(), written.nodes["a"].sites.iter().collect::<Vec<_>>());
        assert_eq!((a.written_place(0), a.written_local()), (1, vec![]));
        assert_eq!(network.nodes["c"].written_local(), with_local.nodes["c"].local);
        let ready = a.ready();
        // Its hosts have another gateway, so they answer only to an address of their own link.
        assert!(ready.sites.iter().any(|s| s.subnet.to_string() == "10.1.0.0/24" && s.is_masqueraded()));
        assert!(ready.local.is_empty() && ready.standby.is_empty());
        let sends = crate::model::derive_for_spoke(&network, a, Timestamp(0));
        assert!(!sends.contains(&"10.1.0.0/24".parse().unwrap()), "{sends:?}");
        let names = |list: Vec<&Node>| list.iter().map(|n| n.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(network.standing_by("10.1.0.0/24".parse().unwrap())), ["c", "a"]);
    }
}
