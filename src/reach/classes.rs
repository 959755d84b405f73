//! Places with the same answers, found without asking for every pair.
//!
//! Nodes that differ in nothing but their names, keys and addresses fare alike. So one walk stands for all pairs of two such
//! kinds, and the classes are then compared by their answers, exactly. Where a policy narrows, a node may reach its own site and
//! no other's: such a kind is a class all the same, with two answers, one for places of the same node.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::flow::Probe;
use super::judge::{Judgement, judge};
use super::longest::LongestPrefix;
use super::matrix::asks;
use super::place::Place;
use super::world::World;
use crate::model::{Network, Node, PlaceRef, Routes, Site};

/// A place, as a slot of its node's kind: slot 0 is the node, the others are its sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Slot {
    kind: usize,
    index: usize,
}

struct Kinds {
    /// For each place its node's number and its slot.
    of: Vec<(usize, Slot)>,
    /// For each kind, where the places of its nodes begin.
    members: Vec<Vec<usize>>,
    /// For each kind its last slot.
    last: Vec<usize>,
}

/// Places with the same answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    /// In the order of the places.
    pub places: Vec<Place>,
    /// The kind of node whose places these are, where it matters to another class of that kind whether a place is on the
    /// same node. The n-th place of one such class and the n-th of another are then on one node.
    pub own: Option<usize>,
}

impl Class {
    /// Returns the pairs that tell how places of this class fare with those of another, each with whether it speaks of places
    /// of one node alone, or of different ones; `None`: that does not matter.
    pub(super) fn pairs<'c>(&'c self, to: &'c Self) -> Vec<(&'c Place, &'c Place, Option<bool>)> {
        let Some(from) = self.places.first() else { return Vec::new() };
        let second = to.places.get(1);
        if std::ptr::eq(self, to) {
            return second.map(|to| (from, to, None)).into_iter().collect();
        }
        let first = to.places.first();
        if self.own.is_none() || self.own != to.own {
            return first.map(|to| (from, to, None)).into_iter().collect();
        }
        let same = first.map(|to| (from, to, Some(true)));
        same.into_iter().chain(second.map(|to| (from, to, Some(false)))).collect()
    }
}

/// Returns the classes.
pub(super) fn classes(world: &World, probes: &[Probe], places: &[Place]) -> Vec<Class> {
    let kinds = kinds(world, places);
    let mut asked =
        Asked { world, probes, places, kinds: &kinds, known: HashMap::new(), answers: HashMap::new() };
    let groups = asked.groups();
    let table = asked.table(&groups);
    let merged = merge(&groups, &table);
    merged
        .into_iter()
        .map(|class| {
            let own = class.first().and_then(|g| groups[*g].own);
            let mut all: Vec<usize> =
                class.into_iter().flat_map(|g| groups[g].places.iter().copied()).collect();
            all.sort_unstable();
            Class { places: all.into_iter().map(|i| places[i].clone()).collect(), own }
        })
        .collect()
}

/// The places of a slot, by number.
struct Group {
    places: Vec<usize>,
    /// As in [`Class`].
    own: Option<usize>,
}

/// The answers that were asked for, each as a number: equal numbers, equal answers.
struct Asked<'a> {
    world: &'a World,
    probes: &'a [Probe],
    places: &'a [Place],
    kinds: &'a Kinds,
    known: HashMap<(Slot, Slot, bool), u32>,
    answers: HashMap<String, u32>,
}

/// No question at all.
const NONE: u32 = u32::MAX;

impl Asked<'_> {
    fn answer(&mut self, from: usize, to: usize) -> u32 {
        if from == to || !asks(self.world, &self.places[from], &self.places[to]) {
            return NONE;
        }
        let ((unit, a), (other, b)) = (self.kinds.of[from], self.kinds.of[to]);
        let same = unit == other;
        if let Some(known) = self.known.get(&(a, b, same)) {
            return *known;
        }
        let judgement = judge(self.world, self.probes, &self.places[from], &self.places[to]);
        let text = self.text(&judgement);
        let next = self.answers.len() as u32;
        let number = *self.answers.entry(text).or_insert(next);
        self.known.insert((a, b, same), number);
        number
    }

    fn text(&self, judgement: &Judgement) -> String {
        let code = judgement.death.as_ref().map(|d| d.code(self.world).as_str());
        format!("{:?} {:?} {code:?}", judgement.ports, judgement.families)
    }

    /// Puts the places of each slot together.
    fn groups(&mut self) -> Vec<Group> {
        let mut by_slot: HashMap<Slot, Vec<usize>> = HashMap::new();
        let mut order = Vec::new();
        for (place, (_, slot)) in self.kinds.of.iter().enumerate() {
            let list = by_slot.entry(*slot).or_default();
            if list.is_empty() {
                order.push(*slot);
            }
            list.push(place);
        }
        let mut groups = Vec::new();
        for slot in order {
            let places = by_slot.remove(&slot).unwrap_or_default();
            let own = (places.len() > 1 && !self.is_uniform(slot)).then_some(slot.kind);
            groups.push(Group { places, own });
        }
        groups
    }

    fn is_uniform(&mut self, slot: Slot) -> bool {
        let (first, second) = match self.kinds.members[slot.kind].as_slice() {
            [first, second, ..] => (*first, *second),
            _ => return true,
        };
        (0..=self.kinds.last[slot.kind]).filter(|i| *i != slot.index).all(|i| {
            let here = first + slot.index;
            self.answer(here, first + i) == self.answer(here, second + i)
                && self.answer(first + i, here) == self.answer(second + i, here)
        })
    }

    /// The answers between the first members of groups, on different nodes where that matters; on the diagonal, from the
    /// first to the second member.
    fn table(&mut self, groups: &[Group]) -> Vec<Vec<u32>> {
        let rows = groups.iter().enumerate().map(|(i, from)| {
            let cell = |(j, to): (usize, &Group)| {
                let beside = i == j || from.own.is_some() && from.own == to.own;
                let to = if beside { to.places.get(1) } else { to.places.first() };
                to.map_or(NONE, |to| self.answer(from.places[0], *to))
            };
            groups.iter().enumerate().map(cell).collect()
        });
        rows.collect()
    }
}

/// Joins groups that answer alike to all others, among themselves and within.
fn merge(groups: &[Group], table: &[Vec<u32>]) -> Vec<Vec<usize>> {
    let mut classes: Vec<(Vec<usize>, u32)> = Vec::new();
    for group in 0..groups.len() {
        let inner = table[group][group];
        let fits = |(members, within): &(Vec<usize>, u32)| {
            let first = members[0];
            // What has two answers is like nothing else.
            if groups[group].own.is_some() || groups[first].own.is_some() {
                return false;
            }
            let between = table[group][first];
            // A group of one has nothing within.
            let alike = |a: u32| a == NONE || a == between;
            table[first][group] == between
                && alike(inner)
                && alike(*within)
                && (0..groups.len())
                    .filter(|x| *x != group && *x != first)
                    .all(|x| table[group][x] == table[first][x] && table[x][group] == table[x][first])
        };
        match classes.iter().position(fits) {
            Some(at) => {
                let between = table[group][classes[at].0[0]];
                classes[at].0.push(group);
                classes[at].1 = between;
            }
            None => classes.push((vec![group], inner)),
        }
    }
    classes.into_iter().map(|(members, _)| members).collect()
}

/// Sorts nodes by what they are but for name, key and addresses.
fn kinds(world: &World, places: &[Place]) -> Kinds {
    let network = world.network();
    let marks = Marks::of(network);
    // A host that is off is like no other.
    let is_dead = |node: &Node| world.id(&node.name).is_some_and(|id| world.is_dead(id));
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut kinds = Kinds { of: Vec::new(), members: Vec::new(), last: Vec::new() };
    let mut unit = 0;
    let mut current = Slot { kind: 0, index: 0 };
    for (at, place) in places.iter().enumerate() {
        let key = match place {
            Place::Node(name) => network
                .nodes
                .get(name)
                .map(|n| if is_dead(n) { format!("only {name}") } else { marks.kind(n) }),
            Place::Site(_) | Place::Address(_) => None,
            Place::Internet | Place::Outside(_) | Place::Lan(_) => Some(place.to_string()),
        };
        match key {
            Some(key) => {
                unit += 1;
                let next = numbers.len();
                current = Slot { kind: *numbers.entry(key).or_insert(next), index: 0 };
                kinds.members.resize(numbers.len(), Vec::new());
                kinds.last.resize(numbers.len(), 0);
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

/// Prefixes, to be asked what is inside of one and what around it.
struct Prefixes {
    /// By first address, then by length: what is inside of one stands behind it in a row.
    sorted: Vec<IpNet>,
    known: LongestPrefix<()>,
}

impl Prefixes {
    fn new(all: impl Iterator<Item = IpNet>) -> Self {
        let mut sorted: Vec<IpNet> = all.map(|net| net.trunc()).collect();
        sorted.sort();
        let known = sorted.iter().map(|net| (*net, ())).collect();
        Self { sorted, known }
    }

    /// How many are this prefix or inside of it.
    fn inside(&self, net: IpNet) -> usize {
        let last = IpNet::from(net.broadcast());
        self.sorted.partition_point(|n| *n <= last) - self.sorted.partition_point(|n| *n < net)
    }

    fn has(&self, net: IpNet) -> bool {
        self.sorted.binary_search(&net).is_ok()
    }

    /// Says whether one is wider than this prefix and holds it.
    fn are_around(&self, net: IpNet) -> bool {
        self.known.around(net).any(|(around, ())| around != net)
    }

    fn hold(&self, ip: IpAddr) -> bool {
        self.known.lookup(ip).is_some()
    }
}

/// The prefixes that set one address apart from another, and what makes a node one of a kind.
struct Marks<'n> {
    network: &'n Network,
    /// Of each side of every allow rule, which says the same of all its prefixes, and of each entry of lists of routes: by
    /// prefix, the numbers of those that have it.
    groups: LongestPrefix<Vec<u32>>,
    /// All of these.
    prefixes: Prefixes,
    /// What no site may touch to be like others: other sites are looked up one by one.
    foreign: Prefixes,
    sites: Prefixes,
}

impl<'n> Marks<'n> {
    fn of(network: &'n Network) -> Self {
        let of = |place: &PlaceRef| match place {
            PlaceRef::Prefix(net) => vec![net.trunc()],
            PlaceRef::Address(ip) => vec![IpNet::from(*ip)],
            PlaceRef::Node(name) => {
                network.nodes.get(name).into_iter().flat_map(Node::host_prefixes).collect()
            }
            PlaceRef::Group(name) => network.group(name).flat_map(Node::host_prefixes).collect(),
            PlaceRef::Any | PlaceRef::Internet | PlaceRef::Lan(_) => Vec::new(),
        };
        let side = |places: &[PlaceRef]| places.iter().flat_map(of).collect::<Vec<IpNet>>();
        let mut groups: Vec<Vec<IpNet>> =
            network.allow.iter().flat_map(|r| [side(&r.from), side(&r.to)]).collect();
        let nodes = || network.nodes.values();
        for node in nodes() {
            if let Routes::Only(list) = &node.routes {
                groups.extend(list.iter().map(|net| vec![net.trunc()]));
            }
        }
        groups.iter_mut().for_each(|group| group.sort());
        groups.sort();
        groups.dedup();
        let mut prefixes: Vec<(IpNet, u32)> = Vec::new();
        for (number, group) in (0..).zip(&groups) {
            prefixes.extend(group.iter().map(|net| (*net, number)));
        }
        prefixes.sort();
        prefixes.dedup();
        let by_prefix = prefixes.chunk_by(|a, b| a.0 == b.0);
        let groups =
            by_prefix.map(|same| (same[0].0, same.iter().map(|(_, number)| *number).collect())).collect();
        prefixes.dedup_by_key(|(net, _)| *net);
        let endpoints =
            nodes().filter_map(|n| n.endpoint.as_ref()?.socket_addr()).map(|a| IpNet::from(a.ip()));
        let bridges = nodes().flat_map(|n| &n.bridges).flat_map(|b| &b.addresses).map(IpNet::trunc);
        let locals = nodes().flat_map(|n| &n.local).copied();
        Self {
            network,
            groups,
            prefixes: Prefixes::new(prefixes.into_iter().map(|(net, _)| net)),
            foreign: Prefixes::new(endpoints.chain(bridges).chain(locals).chain(network.subnets())),
            sites: Prefixes::new(nodes().flat_map(|n| &n.sites).map(|s| s.subnet)),
        }
    }

    /// The groups that hold a prefix.
    fn groups_of(&self, net: IpNet) -> Vec<u32> {
        let mut all: Vec<u32> = self.groups.around(net).flat_map(|(_, numbers)| numbers).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn kind(&self, node: &Node) -> String {
        let alone = !node.bridges.is_empty()
            || !node.local.is_empty()
            || node.is_relay()
            || node.sites.iter().any(|s| self.is_entangled(s.subnet.trunc()));
        if alone {
            return format!("only {}", node.name);
        }
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
                self.groups_of(s.subnet),
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
                node.endpoint.as_ref().map(|e| e.socket_addr().is_some()),
                self.network.keepalive_of(node),
                addresses.iter().map(|a| (self.groups_of(*a), in_site(a))).collect::<Vec<_>>(),
                sites.collect::<Vec<_>>(),
            )
        )
    }

    /// Says whether a site shares addresses with anything else, or something singles out a part of it.
    fn is_entangled(&self, subnet: IpNet) -> bool {
        self.foreign.inside(subnet) > 0
            || self.foreign.are_around(subnet)
            || self.prefixes.inside(subnet) > usize::from(self.prefixes.has(subnet))
            || self.sites.inside(subnet) > 1
            || self.sites.are_around(subnet)
    }
}
