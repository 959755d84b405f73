//! Every place against every other, places with the same answers told once.

use serde::Serialize;

use super::cause::Reason;
use super::classes::classes;
use super::flow::{Probe, probes};
use super::judge::{Judgement, PathFamily, Ports, judge};
use super::place::Place;
use super::world::World;
use crate::model::{Network, Node, Routes, Verdict};

/// Up to so many places, each is a class of its own.
pub(super) const SMALL: usize = 64;

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
        return Matrix { classes: places.into_iter().map(|p| vec![p]).collect(), pairs };
    }
    let classes = classes(world, &probes, &places);
    let mut pairs = Vec::new();
    for (from, to, same_node) in classes.iter().flat_map(|a| classes.iter().flat_map(|b| a.pairs(b))) {
        if asks(world, from, to) {
            pairs.push(Pair { same_node, ..pair(world, &probes, from, to) });
        }
    }
    Matrix { classes: classes.into_iter().map(|class| class.places).collect(), pairs }
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
        let sites = n.sites.iter().map(|s| Place::Site(s.subnet)).collect::<Vec<_>>();
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
            sites.any(|s| s.egress && s.subnet == *net)
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
