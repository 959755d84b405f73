//! Every place against every other, places with the same answers told once.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cause::{Code, Reason};
use super::classes::{Answer, Asked, Class, classes};
use super::flow::{Probe, probes};
use super::judge::{Judgement, PathFamily, Ports, judge};
use super::place::Place;
use super::world::World;
use crate::model::{Network, Node, Routes, Verdict};

/// Up to so many places, each is a class of its own.
pub(super) const SMALL: usize = 64;

/// With more pairs of classes, those that are blocked are counted: each is told by `trace`.
pub(super) const LISTED: usize = 100_000;

/// Pairs of places that are blocked and not in the list, which would be too long: all of which the list says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unlisted {
    /// Why.
    pub reason: Code,
    /// How many pairs of places.
    pub count: usize,
    /// One of them.
    pub example: [Place; 2],
}

/// One pair: of first members, or the first two members of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// Where the flow starts.
    pub from: Place,
    /// Where it goes.
    pub to: Place,
    /// Whether anything gets there and back.
    pub verdict: Verdict,
    /// What does.
    pub ports: Ports,
    /// Why nothing does.
    pub reason: Option<Reason>,
    /// The families that reach.
    pub families: Vec<PathFamily>,
    /// Whether the pair speaks of places of one node, or of two, where the same classes have an answer for each; `None`: it
    /// does not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_node: Option<bool>,
}

/// The whole network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Matrix {
    /// Places with the same answers.
    pub classes: Vec<Vec<Place>>,
    /// Pairs of classes, by their first members; inside a class of several, from its first to its second. Where it matters
    /// whether two places are on one node, the pair of first members is, and the first and the second are on two.
    pub pairs: Vec<Pair>,
    /// What is blocked beside these pairs; empty: they are all.
    pub unlisted: Vec<Unlisted>,
}

/// Judges every pair of places: nodes, sites, and the Internet for those that go there through the network.
pub fn matrix(world: &World) -> Matrix {
    let places = places(world.network());
    let probes = probes(world.network());
    if places.len() <= SMALL {
        let mut pairs = Vec::new();
        for from in &places {
            for to in places.iter().filter(|to| *to != from && asks(world, from, to)) {
                pairs.push(pair(world, &probes, from, to));
            }
        }
        let classes = places.into_iter().map(|p| vec![p]).collect();
        return Matrix { classes, pairs, unlisted: Vec::new() };
    }
    let mut asked = Asked::of(world, &probes, &places);
    let classes = classes(&mut asked);
    let lists_all = classes.len() * classes.len() <= LISTED;
    let mut pairs = Vec::new();
    let mut unlisted: BTreeMap<Code, Unlisted> = BTreeMap::new();
    for (a, b) in classes.iter().flat_map(|a| classes.iter().map(move |b| (a, b))) {
        for (i, j, same_node) in a.pairs(b) {
            let told = match same_node {
                None if !std::ptr::eq(a, b) => asked.told_of_classes(a, b),
                _ => asked.told(i, j),
            };
            let Some(Answer { ports, families, code }) = told else { continue };
            let (from, to) = (&places[i], &places[j]);
            match code {
                None => pairs.push(Pair {
                    from: from.clone(),
                    to: to.clone(),
                    verdict: Verdict::Reaches,
                    ports: ports.clone(),
                    reason: None,
                    families: families.clone(),
                    same_node,
                }),
                Some(_) if lists_all => pairs.push(Pair { same_node, ..pair(world, &probes, from, to) }),
                Some(code) => {
                    let example = || [from.clone(), to.clone()];
                    let all = unlisted.entry(*code).or_insert_with(|| Unlisted {
                        reason: *code,
                        count: 0,
                        example: example(),
                    });
                    all.count += weight((a.places.len(), b.places.len()), std::ptr::eq(a, b), same_node);
                }
            }
        }
    }
    let named = |class: Class| class.places.into_iter().map(|i| places[i].clone()).collect();
    Matrix {
        classes: classes.into_iter().map(named).collect(),
        pairs,
        unlisted: unlisted.into_values().collect(),
    }
}

/// How many pairs of places a pair of two classes of these sizes stands for.
pub(super) const fn weight((from, to): (usize, usize), is_one: bool, same_node: Option<bool>) -> usize {
    match same_node {
        Some(true) => from,
        Some(false) => from * (from - 1),
        None if is_one => from * (from - 1),
        None => from * to,
    }
}

pub(super) fn pair(world: &World, probes: &[Probe], from: &Place, to: &Place) -> Pair {
    let judgement = judge(world, probes, from, to);
    let verdict = judgement.verdict();
    let Judgement { ports, families, death } = judgement;
    let reason = death.map(|d| d.reason(world, from, to));
    Pair { from: from.clone(), to: to.clone(), verdict, ports, reason, families, same_node: None }
}

/// Every place of a network: nodes, each followed by its sites, then the Internet where anyone reaches it through us.
pub(super) fn places(network: &Network) -> Vec<Place> {
    let of = |n: &Node| {
        let sites = n.sites.iter().map(|s| Place::Site(s.prefix())).collect::<Vec<_>>();
        std::iter::once(Place::Node(n.name.clone())).chain(sites)
    };
    let mut out: Vec<Place> = network.nodes.values().flat_map(of).collect();
    let mut seen = std::collections::HashSet::new();
    // A stand-by claims the same prefix as the node that it stands by for.
    out.retain(|p| seen.insert(p.clone()));
    let goes_out = network.nodes.values().any(|n| sends_everything(n) || n.sites.iter().any(|s| s.egress));
    out.extend(goes_out.then_some(Place::Internet));
    out
}

/// Says whether a pair is a question of this network: to the Internet only those go by it who send everything into it.
pub(super) fn asks(world: &World, from: &Place, to: &Place) -> bool {
    match (from, to) {
        (Place::Internet | Place::Lan(_), _) => false,
        (Place::Node(name), Place::Internet) => world.network().nodes.get(name).is_some_and(sends_everything),
        (Place::Site(net), Place::Internet) => {
            let mut sites = world.network().nodes.values().flat_map(|n| &n.sites);
            sites.any(|s| s.egress && s.prefix() == *net)
        }
        _ => true,
    }
}

fn sends_everything(node: &Node) -> bool {
    !node.is_relay()
        && match &node.routes {
            Routes::Split => false,
            Routes::Full => true,
            Routes::Only(list) => list.iter().any(|n| n.prefix_len() == 0),
        }
}
