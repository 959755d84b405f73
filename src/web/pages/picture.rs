//! The network drawn: relays in the middle, spokes and groups of spokes around, with who is online and what is blocked.

use std::collections::{BTreeMap, HashMap};

use maud::{Markup, PreEscaped};

use super::form::with_query;
use super::{table, text};
use crate::export::graph::{self, Blocked, Diagram, Item, Mark};
use crate::status::Health;
use crate::web::view::{Check, Frame, List, ListedNode, Status};

/// How many names and sites a box has before it says how many more there are.
const NAMED: usize = 3;

/// Draws the network.
pub fn picture(frame: &Frame, status: Option<&Status>, list: &List, check: &Check) -> Markup {
    let health: HashMap<&str, Health> = status
        .iter()
        .flat_map(|status| &status.peers)
        .filter_map(|peer| Some((peer.name.as_ref()?.as_str(), peer.health)))
        .collect();
    let here = status.and_then(|status| status.node.as_ref()).map(crate::model::NodeName::as_str);
    let boxes = boxes(list, check);
    let items = boxes.iter().map(|nodes| item(frame, nodes)).collect::<Vec<_>>();
    let marks: Vec<Mark> = boxes.iter().map(|nodes| mark(frame, nodes, &health, here)).collect();
    let blocked = blocked(&boxes, &items, check);
    let diagram =
        Diagram { name: list.network.clone(), answer: String::new(), items, blocked, reasons: Vec::new() };
    PreEscaped(graph::inline_svg(&diagram, frame.say(text::PICTURE), &marks))
}

/// Who is a box of its own, and who shares one: relays first, then spokes with the same answers together.
fn boxes<'l>(list: &'l List, check: &Check) -> Vec<Vec<&'l ListedNode>> {
    let by_name: HashMap<&str, &ListedNode> =
        list.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    let mut boxes: Vec<Vec<&ListedNode>> =
        list.nodes.iter().filter(|node| node.role == "relay").map(|node| vec![node]).collect();
    for class in &check.classes {
        let spokes: Vec<&ListedNode> = class
            .iter()
            .filter_map(|place| by_name.get(place.as_str()).copied())
            .filter(|node| node.role != "relay")
            .collect();
        if !spokes.is_empty() {
            boxes.push(spokes);
        }
    }
    boxes
}

fn item(frame: &Frame, nodes: &[&ListedNode]) -> Item {
    let sites: Vec<String> = nodes.iter().flat_map(|node| node.sites.clone()).collect();
    match nodes {
        [node] => Item {
            title: node.name.clone(),
            lines: vec![node.address.clone()],
            sites: shortened(sites),
            blocked: Vec::new(),
            nodes: 1,
            is_relay: node.role == "relay",
            is_active: node.is_active,
        },
        nodes => Item {
            title: frame.fill(text::NODES_COUNT, &[&nodes.len()]),
            lines: shortened(nodes.iter().map(|node| node.name.clone()).collect()),
            sites: shortened(sites),
            blocked: Vec::new(),
            nodes: nodes.len(),
            is_relay: false,
            is_active: nodes.iter().any(|node| node.is_active),
        },
    }
}

/// The first of many, and how many more there are.
fn shortened(mut list: Vec<String>) -> Vec<String> {
    if list.len() > NAMED + 1 {
        let more = list.len() - NAMED;
        list.truncate(NAMED);
        list.push(format!("+{more}"));
    }
    list
}

fn mark(frame: &Frame, nodes: &[&ListedNode], health: &HashMap<&str, Health>, here: Option<&str>) -> Mark {
    if let [node] = nodes {
        let (class, word) = match health.get(node.name.as_str()) {
            _ if here == Some(node.name.as_str()) => ("here", frame.say(text::THIS_HOST)),
            _ if !node.enabled => ("off", frame.say(text::DISABLED)),
            _ if !node.is_active => ("off", frame.say(text::EXPIRED)),
            Some(health) => {
                let (word, _) = table::health_word(*health);
                (health.as_str(), frame.say(word))
            }
            None => ("unknown", frame.say(text::UNKNOWN)),
        };
        return Mark { class, note: word.into(), href: table::node_url(frame, &node.name) };
    }
    let known: Vec<Health> =
        nodes.iter().filter_map(|node| health.get(node.name.as_str()).copied()).collect();
    let online = known.iter().filter(|health| **health == Health::Online).count();
    let class = match online {
        _ if known.is_empty() => "unknown",
        0 => "idle",
        n if n == nodes.len() => "online",
        _ => "uncertain",
    };
    let note = if known.is_empty() {
        frame.say(text::UNKNOWN).into()
    } else {
        frame.fill(text::ONLINE_OF, &[&online, &nodes.len()])
    };
    let first = nodes.first().map_or("", |node| node.name.as_str());
    Mark { class, note, href: frame.url(&with_query("/nodes", &[("like", first)])) }
}

/// The pairs of boxes between which something is blocked; those who take no part are drawn so, and reach nobody.
fn blocked(boxes: &[Vec<&ListedNode>], items: &[Item], check: &Check) -> BTreeMap<(usize, usize), Blocked> {
    let mut home: HashMap<&str, usize> = HashMap::new();
    for (n, nodes) in boxes.iter().enumerate() {
        for node in nodes {
            home.insert(&node.name, n);
            for site in &node.sites {
                home.entry(site).or_insert(n);
            }
        }
    }
    let mut blocked: BTreeMap<(usize, usize), Blocked> = BTreeMap::new();
    for pair in &check.pairs {
        let (Some(from), Some(to)) = (home.get(pair.from.as_str()), home.get(pair.to.as_str())) else {
            continue;
        };
        if from == to || !items[*from].is_active || !items[*to].is_active {
            continue;
        }
        let between = blocked.entry((*from.min(to), *from.max(to))).or_default();
        between.of += 1;
        between.pairs += usize::from(pair.verdict != "reaches");
    }
    blocked.retain(|_, between| between.pairs > 0);
    blocked
}
