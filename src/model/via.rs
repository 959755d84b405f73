//! Spokes that leave to the Internet by another node's egress: who they are, and to whom a relay sends what is from them.
//!
//! Cryptokey routing gives a prefix to one peer, and the Internet is one prefix: a relay has one way to it at the most.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Network, Node, Routes, Timestamp, claimed_by_spoke, is_full_tunnel};

impl Network {
    /// Returns the active spokes that leave by a node's egress because they name it, by name.
    pub fn leaving_by<'a>(&'a self, exit: &'a Node, now: Timestamp) -> impl Iterator<Item = &'a Node> {
        self.leaving_elsewhere(now).filter(move |spoke| spoke.via.as_ref() == Some(&exit.name))
    }

    /// Returns the active spokes that leave by a node that they name.
    pub fn leaving_elsewhere(&self, now: Timestamp) -> impl Iterator<Item = &Node> {
        let named = self.nodes.values().filter(|spoke| spoke.via.is_some() && !spoke.is_relay());
        named.filter(move |spoke| spoke.is_active(now) && !matches!(spoke.routes, Routes::Split))
    }

    /// Says whether a node is to let others out to the Internet, at whatever moment.
    pub fn is_exit(&self, node: &Node) -> bool {
        node.egress && (node.is_relay() || self.spokes().any(|spoke| spoke.via.as_ref() == Some(&node.name)))
    }

    /// Says whether a node lets others out to the Internet: a relay with `egress`, and a spoke with it that somebody names.
    pub fn lets_out(&self, node: &Node, now: Timestamp) -> bool {
        node.egress && (node.is_relay() || self.leaving_by(node, now).next().is_some())
    }

    /// Returns the peer to which a relay sends what a spoke sends to the Internet. `None`: the spoke's packets do not come by
    /// here on their way, or they end here, or nobody lets them out.
    pub fn towards_exit(&self, relay: &Node, spoke: &Node, now: Timestamp) -> Option<&Node> {
        let exit = self.nodes.get(spoke.via.as_ref()?)?;
        if !exit.is_active(now) || !exit.egress || exit.name == relay.name || exit.name == spoke.name {
            return None;
        }
        let is_home = self.home_of(spoke, now).is_some_and(|home| home.name == relay.name);
        let holder = if exit.is_relay() { exit } else { self.home_of(exit, now)? };
        match (is_home, holder.name == relay.name) {
            (_, true) => Some(exit),
            (true, false) => Some(holder),
            (false, false) => None,
        }
    }

    /// Returns the peer that a relay gives the Internet to, for those of its spokes that leave by it. Whoever came over from another
    /// relay takes it from nobody who is at home.
    pub fn exit_peer(&self, relay: &Node, now: Timestamp) -> Option<&Node> {
        let by = |is_guest: bool| {
            let is_so = |spoke: &&Node| {
                let preferred = self.relays_of(spoke, now).next().map(|relay| &relay.name);
                (spoke.attached.is_some() && spoke.attached.as_ref() != preferred) == is_guest
            };
            self.leaving_elsewhere(now).filter(is_so).find_map(|spoke| self.towards_exit(relay, spoke, now))
        };
        by(false).or_else(|| by(true))
    }

    /// Returns what is from spokes that leave by another node, and passes a relay on its way or would: the prefixes, and those of
    /// them whose way is the one that the relay has.
    pub fn exit_sources(&self, relay: &Node, now: Timestamp) -> (BTreeSet<IpNet>, BTreeSet<IpNet>) {
        let (mut all, mut carried) = (BTreeSet::new(), BTreeSet::new());
        let way = self.exit_peer(relay, now).map(|peer| &peer.name);
        for spoke in self.leaving_elsewhere(now).filter(|spoke| spoke.via.as_ref() != Some(&relay.name)) {
            let claimed = claimed_by_spoke(spoke);
            if way.is_some() && self.towards_exit(relay, spoke, now).map(|peer| &peer.name) == way {
                carried.extend(claimed.iter().copied());
            }
            all.extend(claimed);
        }
        (all, carried)
    }
}

/// The Internet as AllowedIPs have it.
pub fn everything() -> [IpNet; 2] {
    [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())]
}

/// Says whether a spoke's own way to the Internet is the tunnel, so that nobody can leave by it.
pub fn sends_all_into_tunnel(node: &Node) -> bool {
    let sends: BTreeSet<IpNet> = match &node.routes {
        Routes::Only(list) => list.iter().copied().collect(),
        Routes::Split | Routes::Full => BTreeSet::new(),
    };
    !node.is_relay() && [false, true].into_iter().any(|ipv6| is_full_tunnel(node, &sends, ipv6))
}
