//! What of a network stays when a newer one only takes away: the members, sites and permissions that both have. Where a host cannot
//! take the newer one, this is what it is held to.

mod policy;

use std::collections::BTreeMap;

use super::{Forward, Network, Node, NodeName, PlaceRef, PublicKey, Site, Target};

impl Network {
    /// Returns this network without what `newer` takes away, and with nothing that `newer` adds; `this` stays what it is in any
    /// case, and so does an only relay.
    #[must_use]
    pub fn narrowed_to(&self, newer: &Self, this: &NodeName) -> Self {
        let mut narrowed = self.as_written().narrowed_as_written(&newer.as_written(), this);
        narrowed.settle(|node| node.enabled);
        narrowed
    }

    fn narrowed_as_written(&self, newer: &Self, this: &NodeName) -> Self {
        // A node that was renamed is the same one.
        let of_newer: BTreeMap<PublicKey, &Node> = newer.nodes.values().map(|n| (n.public_key, n)).collect();
        let is_only_relay = self.relays().nth(1).is_none();
        let mut nodes = BTreeMap::new();
        for (name, node) in &self.nodes {
            let later = of_newer.get(&node.public_key).copied().filter(|later| is_same(node, later));
            // One whose own identity changes is the same member in its place.
            let later = later.or_else(|| newer.nodes.get(name).filter(|_| name == this));
            let stays = name == this || (node.is_relay() && is_only_relay);
            match later {
                Some(later) => {
                    let mut node = narrowed(node, later, stays);
                    let key = |network: &Self, via: &Option<NodeName>| {
                        via.as_ref().and_then(|by| Some(network.nodes.get(by)?.public_key))
                    };
                    if key(self, &node.via) != key(newer, &later.via) {
                        // By itself: what was its way is taken away, and the new one is not there yet.
                        node.via = Some(name.clone());
                    }
                    nodes.insert(name.clone(), node);
                }
                None if stays => _ = nodes.insert(name.clone(), node.clone()),
                // Others may list it as theirs.
                None if node.is_relay() => {
                    nodes.insert(name.clone(), Node { enabled: false, ..node.clone() });
                }
                None => {}
            }
        }
        let old_names: BTreeMap<&NodeName, &NodeName> = nodes
            .values()
            .filter_map(|n| Some((&of_newer.get(&n.public_key)?.name, &n.name)))
            .filter(|(new, old)| new != old)
            .collect();
        let mut narrowed = Self { expect: Vec::new(), ..self.clone() };
        narrowed.allow = policy::narrowed(self, newer, &old_names, this);
        narrowed.forward.retain(|forward| newer.forward.contains(forward) && leads_on(forward, &nodes));
        let is_there = |place: &PlaceRef| !matches!(place, PlaceRef::Node(name) if !nodes.contains_key(name));
        for rule in &mut narrowed.allow {
            rule.from.retain(is_there);
            rule.to.retain(is_there);
        }
        let had_rules = !narrowed.allow.is_empty();
        narrowed.allow.retain(|rule| !rule.from.is_empty() && !rule.to.is_empty());
        if had_rules && narrowed.allow.is_empty() {
            // No rule at all would let everybody through.
            narrowed.allow.push(policy::nothing(this));
        }
        narrowed.nodes = nodes.into();
        narrowed
    }
}

/// Says whether two nodes of one key are one member: at the same addresses, with the same work.
fn is_same(node: &Node, later: &Node) -> bool {
    (node.role, node.address, node.address6) == (later.role, later.address, later.address6)
}

fn narrowed(node: &Node, later: &Node, stays: bool) -> Node {
    let mut node = node.clone();
    let is_same = |a: &Site, b: &Site| (a.subnet, a.alias) == (b.subnet, b.alias);
    node.sites.retain(|site| later.sites.iter().any(|l| is_same(l, site)));
    for site in &mut node.sites {
        site.egress &= later.sites.iter().any(|l| is_same(l, site) && l.egress);
    }
    node.groups.retain(|group| later.groups.contains(group));
    node.egress &= later.egress;
    node.egress_all &= later.egress_all && later.egress;
    if !stays {
        node.enabled &= later.enabled;
        node.expires = match (node.expires, later.expires) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    node
}

/// Says whether where a forward leads to is there still.
fn leads_on(forward: &Forward, nodes: &BTreeMap<NodeName, Node>) -> bool {
    match &forward.to.target {
        Target::Node(name) => nodes.contains_key(name),
        Target::Address(ip) => nodes.values().any(|node| {
            let sites = node.sites.iter().map(Site::prefix);
            node.host_prefixes().into_iter().chain(sites).any(|net| net.contains(ip))
        }),
    }
}
