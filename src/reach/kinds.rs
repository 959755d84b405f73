//! Nodes that differ in nothing but their names, keys and addresses are of one kind.
//!
//! What a kind is but for the rules that name its nodes is its shape. Two nodes fare as any other two of these shapes that are
//! named by the same rules together.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;

use super::longest::LongestPrefix;
use super::place::Place;
use super::prefixes::Prefixes;
use super::rule_bits::{Bits, Named, Ruled};
use super::world::World;
use crate::model::{Network, Node, NodeName, PlaceRef, Routes, Site};

/// A place, as a slot of its node's kind: slot 0 is the node, the others are its sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub kind: usize,
    pub index: usize,
}

/// The kinds of a network's nodes.
pub(super) struct Kinds {
    /// For each place its node's number and its slot.
    pub of: Vec<(usize, Slot)>,
    /// For each kind, where the places of its nodes begin.
    pub members: Vec<Vec<usize>>,
    /// For each kind its last slot.
    pub last: Vec<usize>,
    /// For each kind its shape, and how rules name it; `None`: it is like nothing else.
    pub shapes: Vec<Option<(usize, Ruled)>>,
}

/// Sorts nodes by what they are but for name, key and addresses.
pub(super) fn kinds(world: &World, places: &[Place]) -> Kinds {
    let network = world.network();
    let marks = Marks::of(network);
    // A host that is off is like no other.
    let is_dead = |node: &Node| world.id(&node.name).is_some_and(|id| world.is_dead(id));
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut shapes: HashMap<String, usize> = HashMap::new();
    let mut kinds = Kinds { of: Vec::new(), members: Vec::new(), last: Vec::new(), shapes: Vec::new() };
    let mut unit = 0;
    let mut current = Slot { kind: 0, index: 0 };
    for (at, place) in places.iter().enumerate() {
        let key = match place {
            Place::Node(name) => network.nodes.get(name).map(|n| match is_dead(n) {
                true => (format!("only {name}"), None),
                false => (marks.kind(n), Some(n)),
            }),
            Place::Site(_) | Place::Address(_) => None,
            Place::Internet | Place::Outside(_) | Place::Lan(_) => Some((place.to_string(), None)),
        };
        match key {
            Some((key, node)) => {
                unit += 1;
                let next = numbers.len();
                current = Slot { kind: *numbers.entry(key).or_insert(next), index: 0 };
                if current.kind == kinds.members.len() {
                    kinds.members.push(Vec::new());
                    kinds.last.push(0);
                    let shape = node.and_then(|node| marks.shape(node));
                    kinds.shapes.push(shape.map(|(shape, ruled)| {
                        let next = shapes.len();
                        (*shapes.entry(shape).or_insert(next), ruled)
                    }));
                }
                kinds.members[current.kind].push(at);
            }
            None => current.index += 1,
        }
        if let Some(last) = kinds.last.get_mut(current.kind) {
            *last = current.index.max(*last);
        }
        kinds.of.push((unit, current));
    }
    kinds
}

/// What says the same of all its prefixes: a side of allow rules, or an entry of lists of routes.
#[derive(Default)]
struct Group {
    /// The rules whose side it is, from and to; `None`: what it says is not of pairs alone.
    sides: Option<[Vec<usize>; 2]>,
}

/// The prefixes that set one address apart from another, and what makes a node one of a kind.
struct Marks<'n> {
    network: &'n Network,
    groups: Vec<Group>,
    /// By prefix, the numbers of the groups that have it.
    by_prefix: LongestPrefix<Vec<u32>>,
    /// All of these.
    prefixes: Prefixes,
    /// What no site may touch to be like others: other sites are looked up one by one.
    foreign: Prefixes,
    /// The same without what nodes are attached to.
    elsewhere: Prefixes,
    sites: Prefixes,
}

impl<'n> Marks<'n> {
    fn of(network: &'n Network) -> Self {
        let nodes = || network.nodes.values();
        let endpoints =
            nodes().filter_map(|n| n.endpoint.as_ref()?.socket_addr()).map(|a| IpNet::from(a.ip()));
        let bridges = nodes().flat_map(|n| &n.bridges).flat_map(|b| &b.addresses).map(IpNet::trunc);
        let locals = nodes().flat_map(|n| &n.local).copied();
        // Who has the subnet of an aliased site as well meets it otherwise than others do.
        let aliased = nodes().flat_map(Node::aliases).map(|(site, _)| site.subnet);
        let beside: Vec<IpNet> = endpoints.chain(bridges).chain(aliased).collect();
        let elsewhere = Prefixes::new(beside.iter().copied().chain(network.subnets()));
        let beside: Vec<IpNet> = beside.into_iter().chain(locals).collect();
        let sites = Prefixes::new(nodes().flat_map(|n| &n.sites).map(Site::prefix));
        let others = Prefixes::new(beside.iter().copied());
        // A rule about places of the network, and no part of anything else, says nothing but who may talk to whom.
        let is_of_place = |net: &IpNet| {
            !others.touch(*net) && (sites.has(*net) || network.subnets().iter().any(|s| s.contains(net)))
        };
        let mut by_list: BTreeMap<Vec<IpNet>, Group> = BTreeMap::new();
        let group_of = groups_of_names(network);
        for (number, rule) in network.allow.iter().enumerate() {
            let sides = [&rule.from, &rule.to].map(|places| side(network, &group_of, places));
            let is_of_pairs = sides.iter().all(|side| !side.is_empty() && side.iter().all(is_of_place))
                && rule.from.iter().chain(&rule.to).all(names_addresses);
            for (at, list) in sides.into_iter().enumerate() {
                let group = by_list.entry(list).or_insert_with(|| Group { sides: Some(Default::default()) });
                match &mut group.sides {
                    Some(sides) if is_of_pairs => sides[at].push(number),
                    sides => *sides = None,
                }
            }
        }
        for node in nodes() {
            if let Routes::Only(list) = &node.routes {
                list.iter().for_each(|net| drop(by_list.insert(vec![net.trunc()], Group::default())));
            }
        }
        let mut prefixes: Vec<(IpNet, u32)> = Vec::new();
        for (number, list) in (0..).zip(by_list.keys()) {
            prefixes.extend(list.iter().map(|net| (*net, number)));
        }
        prefixes.sort();
        prefixes.dedup();
        let same = prefixes.chunk_by(|a, b| a.0 == b.0);
        let by_prefix =
            same.map(|same| (same[0].0, same.iter().map(|(_, number)| *number).collect())).collect();
        prefixes.dedup_by_key(|(net, _)| *net);
        let groups = Self::consistent(network, by_list.into_values().collect());
        Self {
            network,
            groups,
            by_prefix,
            prefixes: Prefixes::new(prefixes.into_iter().map(|(net, _)| net)),
            foreign: Prefixes::new(beside.into_iter().chain(network.subnets())),
            elsewhere,
            sites,
        }
    }

    /// A rule is of pairs only where both its sides are: else what it says is a part of the shapes of those that it names.
    fn consistent(network: &Network, mut groups: Vec<Group>) -> Vec<Group> {
        loop {
            let mut sides = vec![0; network.allow.len()];
            for group in groups.iter().filter_map(|g| g.sides.as_ref()) {
                group.iter().flatten().for_each(|rule| sides[*rule] += 1);
            }
            let torn = |group: &Group| group.sides.iter().flatten().flatten().any(|rule| sides[*rule] < 2);
            let mut changed = false;
            for group in groups.iter_mut().filter(|g| torn(g)) {
                group.sides = None;
                changed = true;
            }
            if !changed {
                return groups;
            }
        }
    }

    /// The groups that hold a prefix.
    fn groups_of(&self, net: IpNet) -> Vec<u32> {
        let mut all: Vec<u32> =
            self.by_prefix.around(net).flat_map(|(_, numbers)| numbers).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn is_alone(&self, node: &Node) -> bool {
        !node.bridges.is_empty()
            || !self.is_attached_beside(node)
            || node.is_relay()
            || node.aliases().next().is_some()
            || node.sites.iter().any(|s| self.is_entangled(s.subnet.trunc()))
    }

    /// Says whether what a node is attached to itself has no part in the network: no flow goes there, and none is kept from going.
    fn is_attached_beside(&self, node: &Node) -> bool {
        let goes_out = node.egress || node.routes == Routes::Full || node.sites.iter().any(|s| s.egress);
        let has_part =
            |net: IpNet| self.sites.touch(net) || self.prefixes.touch(net) || self.elsewhere.touch(net);
        node.local.is_empty() || !goes_out && !node.local.iter().any(|net| has_part(net.trunc()))
    }

    fn kind(&self, node: &Node) -> String {
        if self.is_alone(node) {
            return format!("only {}", node.name);
        }
        self.described(node, |net| self.groups_of(net))
    }

    /// What a node is but for the rules that speak of pairs, and how these name it; `None`: like nothing else.
    fn shape(&self, node: &Node) -> Option<(String, Ruled)> {
        let addresses = node.host_prefixes();
        let is_plain = node.routes == Routes::Split && !self.is_alone(node);
        if !is_plain || addresses.iter().any(|a| self.sites.hold(a.addr())) {
            return None;
        }
        let is_of_pairs = |number: &u32| self.groups[*number as usize].sides.is_some();
        let shape = self.described(node, |net| {
            self.groups_of(net).into_iter().filter(|number| !is_of_pairs(number)).collect()
        });
        let mut parts: Vec<Named> = addresses.iter().map(|a| self.named(*a)).collect();
        let is_alike = node.sites.is_empty() && parts.windows(2).all(|pair| pair[0] == pair[1]);
        parts.extend(node.sites.iter().map(|s| self.named(s.subnet)));
        let ruled = if is_alike { Ruled::Alike(parts.swap_remove(0)) } else { Ruled::Each(parts) };
        Some((shape, ruled))
    }

    fn named(&self, net: IpNet) -> Named {
        let groups = self.groups_of(net);
        let rules = |at: usize| {
            let sides = groups.iter().filter_map(|number| self.groups[*number as usize].sides.as_ref());
            Bits::of(sides.flat_map(|sides| &sides[at]).copied(), self.network.allow.len())
        };
        Named { from: rules(0), to: rules(1) }
    }

    fn described(&self, node: &Node, groups_of: impl Fn(IpNet) -> Vec<u32>) -> String {
        let sites = node.sites.iter().map(|s: &Site| {
            let link = s.interface.as_ref().map(std::mem::discriminant);
            let v6 = s.subnet.addr().is_ipv6();
            (
                v6,
                s.subnet.max_prefix_len() - s.subnet.prefix_len() < 2,
                s.nat,
                s.gateway,
                s.egress,
                link,
                groups_of(s.subnet),
            )
        });
        let addresses = node.host_prefixes();
        // A tunnel address that a site surrounds belongs to nobody else's kind.
        let in_site = |a: &IpNet| self.sites.hold(a.addr()).then(|| a.to_string());
        format!(
            "{:?}",
            (
                node.enabled,
                node.expires,
                &node.routes,
                &node.relays,
                (&node.except, &node.via, node.egress),
                node.local.iter().map(|net| net.addr().is_ipv6()).collect::<Vec<_>>(),
                (node.endpoint.as_ref().map(|e| e.socket_addr().is_some()), &node.endpoint_of),
                self.network.keepalive_of(node),
                addresses.iter().map(|a| (groups_of(*a), in_site(a))).collect::<Vec<_>>(),
                sites.collect::<Vec<_>>(),
            )
        )
    }

    /// Says whether a site shares addresses with anything else, or something singles out a part of it.
    fn is_entangled(&self, subnet: IpNet) -> bool {
        self.foreign.touch(subnet)
            || self.prefixes.inside(subnet) > usize::from(self.prefixes.has(subnet))
            || self.sites.inside(subnet) > 1
            || self.sites.are_around(subnet)
    }
}

fn groups_of_names(network: &Network) -> HashMap<&NodeName, Vec<IpNet>> {
    let mut out: HashMap<&NodeName, Vec<IpNet>> = HashMap::new();
    for node in network.nodes.values() {
        for group in &node.groups {
            out.entry(group).or_default().extend(node.host_prefixes());
        }
    }
    out
}

/// Says whether a place of a rule stands for certain addresses, and not for whatever there is.
const fn names_addresses(place: &PlaceRef) -> bool {
    !matches!(place, PlaceRef::Any | PlaceRef::Internet | PlaceRef::Lan(_))
}

/// The prefixes of a rule's side, in order.
fn side(network: &Network, groups: &HashMap<&NodeName, Vec<IpNet>>, places: &[PlaceRef]) -> Vec<IpNet> {
    let of = |place: &PlaceRef| match place {
        PlaceRef::Prefix(net) => vec![net.trunc()],
        PlaceRef::Address(ip) => vec![IpNet::from(*ip)],
        PlaceRef::Node(name) => network.nodes.get(name).into_iter().flat_map(Node::host_prefixes).collect(),
        PlaceRef::Group(name) => groups.get(name).cloned().unwrap_or_default(),
        PlaceRef::Any | PlaceRef::Internet | PlaceRef::Lan(_) => Vec::new(),
    };
    let mut all: Vec<IpNet> = places.iter().flat_map(of).collect();
    all.sort();
    all.dedup();
    all
}
