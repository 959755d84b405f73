//! The network as a picture: relays, spokes, their sites, and who is blocked. Nodes with the same answers are one box once
//! they are many, so that a picture of 300 can be read.

mod layout;
mod mermaid;
mod svg;

use std::collections::BTreeMap;

pub use mermaid::mermaid;
pub(super) use svg::escaped;
pub use svg::{Mark, inline_svg, svg};

use crate::model::{Network, Node, NodeName, Site, Timestamp, Verdict};
use crate::reach::{Check, Place};

/// How many names and sites a box has before it says how many more there are.
const NAMED: usize = 3;

/// One box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// A node's name, or a group's.
    pub title: String,
    /// Its address, or the group's first names.
    pub lines: Vec<String>,
    /// Subnets behind it.
    pub sites: Vec<String>,
    /// Whether it is a relay.
    pub is_relay: bool,
    /// Whether it takes part now.
    pub is_active: bool,
}

/// How much of what two boxes ask of each other is blocked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Blocked {
    /// Pairs of places that do not reach.
    pub pairs: usize,
    /// All pairs of places.
    pub of: usize,
}

impl Blocked {
    /// Says whether nothing passes at all.
    pub const fn is_all(self) -> bool {
        self.pairs == self.of
    }
}

/// Boxes, and the pairs of them between which nothing passes one way or the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagram {
    /// The network's name.
    pub name: String,
    /// The answer in a line.
    pub answer: String,
    /// Boxes, relays first.
    pub items: Vec<Item>,
    /// Pairs of boxes that take part, the lower number first, between which something is blocked.
    pub blocked: BTreeMap<(usize, usize), Blocked>,
    /// What is blocked and why, a line each.
    pub reasons: Vec<String>,
}

/// Lays a network out: who is a box of its own, who shares one, and what is blocked.
pub fn diagram(network: &Network, check: &Check, now: Timestamp) -> Diagram {
    let mut items = Vec::new();
    let mut box_of: BTreeMap<&NodeName, usize> = BTreeMap::new();
    for relay in network.relays() {
        box_of.insert(&relay.name, items.len());
        items.push(single(relay, now));
    }
    for group in groups(network, check) {
        for node in &group {
            box_of.insert(&node.name, items.len());
        }
        match group.as_slice() {
            [node] => items.push(single(node, now)),
            nodes => items.push(together(nodes, now)),
        }
    }
    let home = |place: &Place| match place {
        Place::Node(name) => box_of.get(name).copied(),
        Place::Site(net) => {
            let owner =
                network.nodes.values().find(|node| node.sites.iter().any(|site| site.prefix() == *net));
            owner.and_then(|node| box_of.get(&node.name).copied())
        }
        _ => None,
    };
    let refused: Vec<_> = check.pairs.iter().filter(|pair| pair.verdict == Verdict::Blocked).collect();
    let mut blocked: BTreeMap<(usize, usize), Blocked> = BTreeMap::new();
    for pair in &check.pairs {
        let Some((from, to)) = home(&pair.from).zip(home(&pair.to)) else { continue };
        // Who takes no part is drawn so, and reaches nobody.
        if from == to || !items[from].is_active || !items[to].is_active {
            continue;
        }
        let between = blocked.entry((from.min(to), from.max(to))).or_default();
        between.of += 1;
        between.pairs += usize::from(pair.verdict == Verdict::Blocked);
    }
    blocked.retain(|_, between| between.pairs > 0);
    let reasons = refused
        .iter()
        .map(|pair| {
            let why = pair.reason.as_ref().map_or_else(String::new, |reason| format!(": {}", reason.code));
            format!("{} -> {}{why}", pair.from, pair.to)
        })
        .collect();
    let answer = match (refused.len(), check.pairs.len()) {
        (0, _) => "every place reaches every other".into(),
        (blocked, all) => format!("{blocked} of {all} pairs are blocked"),
    };
    Diagram { name: network.name.to_string(), answer, items, blocked, reasons }
}

/// The spokes, those with the same answers together.
fn groups<'a>(network: &'a Network, check: &Check) -> Vec<Vec<&'a Node>> {
    let spoke = |place: &Place| match place {
        Place::Node(name) => network.nodes.get(name).filter(|node| !node.is_relay()),
        _ => None,
    };
    let mut groups: Vec<Vec<&Node>> =
        check.classes.iter().map(|class| class.iter().filter_map(spoke).collect::<Vec<_>>()).collect();
    groups.retain(|group| !group.is_empty());
    groups
}

fn single(node: &Node, now: Timestamp) -> Item {
    Item {
        title: node.name.to_string(),
        lines: vec![node.address.to_string()],
        sites: shortened(node.sites_in_words(Site::in_words)),
        is_relay: node.is_relay(),
        is_active: node.is_active(now),
    }
}

fn together(nodes: &[&Node], now: Timestamp) -> Item {
    let sites: Vec<String> = nodes.iter().flat_map(|node| node.sites_in_words(Site::in_words)).collect();
    Item {
        title: format!("{} nodes", nodes.len()),
        lines: shortened(nodes.iter().map(|node| node.name.to_string()).collect()),
        sites: shortened(sites),
        is_relay: false,
        is_active: nodes.iter().any(|node| node.is_active(now)),
    }
}

/// The first of many, and how many more there are.
fn shortened(mut list: Vec<String>) -> Vec<String> {
    if list.len() > NAMED + 1 {
        let more = list.len() - NAMED;
        list.truncate(NAMED);
        list.push(format!("and {more} more"));
    }
    list
}
