//! The network as a picture: relays, spokes, their sites, and who is blocked. Nodes with the same answers are one box once
//! they are many, so that a picture of 300 can be read.

mod layout;
mod mermaid;
mod svg;

use std::collections::{BTreeMap, BTreeSet};

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
    /// Who is blocked, in words: among the nodes of a group, and, where lines for it are too many to be drawn, with how many others.
    pub blocked: Vec<String>,
    /// How many nodes it stands for.
    pub nodes: usize,
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
    for item in within(check, &items, home) {
        items[item].blocked.push("each other: blocked".into());
    }
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
    in_words(&mut items, &blocked);
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

/// The boxes of several nodes, of which one does not reach another.
fn within(check: &Check, items: &[Item], home: impl Fn(&Place) -> Option<usize>) -> BTreeSet<usize> {
    let refused = check.pairs.iter().filter(|pair| pair.verdict == Verdict::Blocked);
    let boxes = refused.filter_map(|pair| home(&pair.from).filter(|from| home(&pair.to) == Some(*from)));
    boxes.filter(|n| items[*n].is_active && items[*n].nodes > 1).collect()
}

/// Writes into each box how many nodes something is blocked with, where lines for all of it would be a thicket.
fn in_words(items: &mut [Item], blocked: &BTreeMap<(usize, usize), Blocked>) {
    let relays = items.iter().filter(|item| item.is_relay).count();
    if !layout::are_too_many(blocked, relays) {
        return;
    }
    let all: usize = items.iter().filter(|item| item.is_active).map(|item| item.nodes).sum();
    let mut with = vec![0; items.len()];
    for (a, b) in blocked.keys() {
        with[*a] += items[*b].nodes;
        with[*b] += items[*a].nodes;
    }
    for (item, with) in items.iter_mut().zip(with).filter(|(_, with)| *with > 0) {
        item.blocked.push(match all.saturating_sub(item.nodes) {
            others if with >= others => "blocked: all others".into(),
            others => format!("blocked: {with} of {others}"),
        });
    }
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
        blocked: Vec::new(),
        nodes: 1,
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
        blocked: Vec::new(),
        nodes: nodes.len(),
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::model::PrivateKey;

    /// The picture of a relay with so many spokes, and these rules.
    fn picture(spokes: usize, rules: &str) -> (Diagram, String) {
        let key = |n: usize| {
            let mut bytes = [7; 32];
            bytes[8..16].copy_from_slice(&n.to_le_bytes());
            PrivateKey::from_random(bytes).public_key()
        };
        let mut text = format!(
            "[network]\nname = \"wg0\"\nsubnet = \"10.8.0.0/16\"\n[node.hub]\nrole = \"relay\"\naddress = \"10.8.0.1\"\n\
             endpoint = \"192.0.2.1:51820\"\npublic_key = \"{}\"\n",
            key(0)
        );
        for n in 1..=spokes {
            let (a, b) = (n / 250, n % 250 + 2);
            let _ = write!(text, "[node.n{n}]\naddress = \"10.8.{a}.{b}\"\npublic_key = \"{}\"\n", key(n));
        }
        let read = crate::config::parse_network((text + rules).as_bytes(), "network.toml");
        let network = read.value.expect("the network is good");
        let made = diagram(&network, &crate::reach::check(&network, Timestamp(0)), Timestamp(0));
        let drawn = svg(&made);
        (made, drawn)
    }

    fn words(diagram: &Diagram, title: &str) -> Vec<String> {
        diagram.items.iter().find(|item| item.title == title).map(|i| i.blocked.clone()).unwrap_or_default()
    }

    /// Lines say it of a few; of many each box does, and no group hides what is refused inside of it.
    #[test]
    fn who_is_blocked_is_seen_at_every_size() {
        let few = "[[allow]]\nfrom = [\"n1\"]\nto = [\"n2\"]\n";
        let (three, drawn) = picture(3, few);
        assert!(three.items.iter().all(|item| item.blocked.is_empty()) && drawn.contains("class=\"x"));

        let (thirty, drawn) = picture(30, few);
        assert_eq!(words(&thirty, "n1"), ["blocked: 29 of 30"]);
        assert_eq!(words(&thirty, "n3"), ["blocked: 29 of 30"]);
        assert!(drawn.contains(">blocked: 29 of 30</text>"), "{drawn}");
        assert!(mermaid(&thirty).contains("<br/>blocked: 29 of 30"));

        // 298 alike are one box, in which none reaches another.
        let (many, drawn) = picture(300, few);
        assert_eq!(words(&many, "298 nodes"), ["each other: blocked"]);
        assert!(drawn.contains(">each other: blocked</text>") && drawn.contains("class=\"x"), "{drawn}");
        let (open, _) = picture(300, "");
        assert!(open.items.iter().all(|item| item.blocked.is_empty()) && open.blocked.is_empty());

        // 60 kinds of five each.
        let rules: String = (0..60)
            .map(|kind| {
                let of: Vec<String> = (0..5).map(|n| format!("\"n{}\"", kind * 5 + n + 1)).collect();
                format!("[[allow]]\nfrom = [{0}]\nto = [{0}]\n", of.join(", "))
            })
            .collect();
        let (kinds, _) = picture(300, &rules);
        assert!(kinds.items.len() > 60, "{}", kinds.items.len());
        let told = kinds.items.iter().filter(|item| item.blocked == ["blocked: 295 of 296"]).count();
        assert!(told >= 60, "{:?}", kinds.items);
    }
}
