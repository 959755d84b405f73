//! Places with the same answers, found without asking for every pair.
//!
//! Nodes that differ in nothing but their names, keys and addresses fare alike. So one walk stands for all pairs of two such
//! kinds, and the classes are then compared by their answers, exactly.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::flow::Probe;
use super::judge::{Judgement, judge};
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
    /// For each kind, where the places of its first two nodes begin.
    members: Vec<Vec<usize>>,
}

/// Returns the classes, each in the order of the places.
pub(super) fn classes(world: &World, probes: &[Probe], places: &[Place]) -> Vec<Vec<Place>> {
    let kinds = kinds(world.network(), places);
    let mut asked =
        Asked { world, probes, places, kinds: &kinds, known: HashMap::new(), answers: HashMap::new() };
    let groups = asked.groups();
    let table = asked.table(&groups);
    let merged = merge(&groups, &table);
    merged
        .into_iter()
        .map(|class| {
            let mut all: Vec<usize> = class.into_iter().flat_map(|g| groups[g].iter().copied()).collect();
            all.sort_unstable();
            all.into_iter().map(|i| places[i].clone()).collect()
        })
        .collect()
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

    /// Puts the places of a slot together where it does not matter whether the other end is on the same node.
    fn groups(&mut self) -> Vec<Vec<usize>> {
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
            if places.len() == 1 || self.is_uniform(slot) {
                groups.push(places);
            } else {
                groups.extend(places.into_iter().map(|p| vec![p]));
            }
        }
        groups
    }

    fn is_uniform(&mut self, slot: Slot) -> bool {
        let (first, second) = match self.kinds.members[slot.kind].as_slice() {
            [first, second, ..] => (*first, *second),
            _ => return true,
        };
        let slots = self.kinds.of.iter().filter(|(_, s)| s.kind == slot.kind).map(|(_, s)| s.index).max();
        (0..=slots.unwrap_or(0)).filter(|i| *i != slot.index).all(|i| {
            let here = first + slot.index;
            self.answer(here, first + i) == self.answer(here, second + i)
                && self.answer(first + i, here) == self.answer(second + i, here)
        })
    }

    /// The answers between the first members of groups; on the diagonal, from the first to the second member.
    fn table(&mut self, groups: &[Vec<usize>]) -> Vec<Vec<u32>> {
        let rows = groups.iter().enumerate().map(|(i, from)| {
            let cell = |(j, to): (usize, &Vec<usize>)| {
                let to = if i == j { to.get(1) } else { to.first() };
                to.map_or(NONE, |to| self.answer(from[0], *to))
            };
            groups.iter().enumerate().map(cell).collect()
        });
        rows.collect()
    }
}

/// Joins groups that answer alike to all others, among themselves and within.
fn merge(groups: &[Vec<usize>], table: &[Vec<u32>]) -> Vec<Vec<usize>> {
    let mut classes: Vec<(Vec<usize>, u32)> = Vec::new();
    for group in 0..groups.len() {
        let inner = table[group][group];
        let fits = |(members, within): &(Vec<usize>, u32)| {
            let first = members[0];
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
fn kinds(network: &Network, places: &[Place]) -> Kinds {
    let marks = Marks::of(network);
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut kinds = Kinds { of: Vec::new(), members: Vec::new() };
    let mut unit = 0;
    let mut current = Slot { kind: 0, index: 0 };
    for (at, place) in places.iter().enumerate() {
        let key = match place {
            Place::Node(name) => network.nodes.get(name).map(|n| marks.kind(n)),
            Place::Site(_) | Place::Address(_) => None,
            Place::Internet | Place::Outside(_) => Some("internet".into()),
        };
        match key {
            Some(key) => {
                unit += 1;
                let next = numbers.len();
                current = Slot { kind: *numbers.entry(key).or_insert(next), index: 0 };
                kinds.members.resize(numbers.len(), Vec::new());
                kinds.members[current.kind].push(at);
            }
            None => current.index += 1,
        }
        kinds.of.push((unit, current));
    }
    kinds
}

/// The prefixes that set one address apart from another, and what makes a node one of a kind.
struct Marks<'n> {
    network: &'n Network,
    /// The prefixes of each side of every allow rule, which says the same of all of them, and each of every list of routes.
    groups: Vec<Vec<IpNet>>,
    /// All of these.
    prefixes: Vec<IpNet>,
    /// What no site may touch to be like others: other sites are looked up one by one.
    foreign: Vec<IpNet>,
    sites: Vec<IpNet>,
}

impl<'n> Marks<'n> {
    fn of(network: &'n Network) -> Self {
        let of = |place: &PlaceRef| match place {
            PlaceRef::Prefix(net) => vec![net.trunc()],
            PlaceRef::Address(ip) => vec![IpNet::from(*ip)],
            PlaceRef::Node(name) => {
                network.nodes.get(name).into_iter().flat_map(Node::host_prefixes).collect()
            }
            PlaceRef::Any | PlaceRef::Internet => Vec::new(),
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
        let mut prefixes: Vec<IpNet> = groups.iter().flatten().copied().collect();
        prefixes.sort();
        prefixes.dedup();
        let endpoints =
            nodes().filter_map(|n| n.endpoint.as_ref()?.socket_addr()).map(|a| IpNet::from(a.ip()));
        let bridges = nodes().flat_map(|n| &n.bridges).flat_map(|b| &b.addresses).map(IpNet::trunc);
        let locals = nodes().flat_map(|n| &n.local).copied();
        let foreign = endpoints.chain(bridges).chain(locals).chain(network.subnets()).collect();
        let mut sites: Vec<IpNet> = nodes().flat_map(|n| &n.sites).map(|s| s.subnet).collect();
        sites.sort();
        Self { network, groups, prefixes, foreign, sites }
    }

    fn kind(&self, node: &Node) -> String {
        let alone = !node.bridges.is_empty()
            || !node.local.is_empty()
            || node.is_relay()
            || node.sites.iter().any(|s| self.is_entangled(s.subnet));
        if alone {
            return format!("only {}", node.name);
        }
        let holds = |group: &Vec<IpNet>, net: &IpNet| group.iter().any(|p| p.contains(net));
        let bits = |net: IpNet| -> Vec<bool> { self.groups.iter().map(|g| holds(g, &net)).collect() };
        let sites = node.sites.iter().map(|s: &Site| {
            let link = s.interface.as_ref().map(std::mem::discriminant);
            let v6 = s.subnet.addr().is_ipv6();
            let bits = bits(s.subnet);
            (
                v6,
                s.subnet.max_prefix_len() - s.subnet.prefix_len() < 2,
                s.nat,
                s.gateway,
                s.egress,
                link,
                bits,
            )
        });
        let addresses = node.host_prefixes();
        let inside = |a: &IpNet| {
            let ip: IpAddr = a.addr();
            self.sites.iter().any(|s| s.contains(&ip))
        };
        format!(
            "{:?}",
            (
                node.enabled,
                node.expires,
                &node.routes,
                node.endpoint.as_ref().map(|e| e.socket_addr().is_some()),
                self.network.keepalive_of(node),
                addresses.iter().map(|a| (bits(*a), self.in_site(inside(a), a))).collect::<Vec<_>>(),
                sites.collect::<Vec<_>>(),
            )
        )
    }

    /// A tunnel address that a site surrounds belongs to nobody else's kind.
    fn in_site(&self, inside: bool, address: &IpNet) -> Option<String> {
        inside.then(|| address.to_string())
    }

    /// Says whether a site shares addresses with anything else, or something singles out a part of it.
    fn is_entangled(&self, subnet: IpNet) -> bool {
        let meets = |other: &IpNet| other.contains(&subnet) || subnet.contains(other);
        self.foreign.iter().any(meets)
            || self.prefixes.iter().any(|p| subnet.contains(p) && *p != subnet)
            || self.sites.iter().filter(|s| meets(s)).count() > 1
    }
}
