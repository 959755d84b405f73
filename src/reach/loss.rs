//! `check --without NODE`: who loses whom when a node dies, at once and after its spokes went to their next relay.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use serde::Serialize;

use super::cause::Reason;
use super::flow::probes;
use super::judge::judge;
use super::matrix::{Matrix, asks, matrix};
use super::place::Place;
use super::world::World;
use crate::model::{Network, Node, NodeName, Role, Site, Timestamp, Verdict};

/// What the death of nodes takes away; serialises as the program's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// The version of this form: 1.
    pub version: u32,
    /// One for each node that was asked for.
    pub without: Vec<Loss>,
}

/// What one node's death takes away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The node that is dead.
    pub node: NodeName,
    /// What it is.
    pub role: Role,
    /// Pairs of other places that reach each other while it lives.
    pub of: usize,
    /// What is lost the moment it dies.
    pub at_once: Lost,
    /// What stays lost once its spokes are at home on the next of their relays and others carry its sites; `None`: nobody is at
    /// home on it, or it is the only relay, and nobody stands by for a site of its.
    pub after_failover: Option<Lost>,
    /// Its sites that somebody stands by for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub takeovers: Vec<Takeover>,
}

/// A site of a dead node that another carries on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Takeover {
    /// The site.
    pub site: IpNet,
    /// The best of those that stand by.
    pub by: NodeName,
    /// Whether the site's hosts must have that one as their gateway: it masquerades nothing.
    pub needs_gateway: bool,
    /// The relays that must send the site's packets elsewhere: each needs `up`, or its exported file anew.
    pub relays: Vec<NodeName>,
}

/// Pairs that reach each other no more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// How many.
    pub count: usize,
    /// Places that lose the same, and to whom.
    pub pairs: Vec<LostPairs>,
}

/// Every place of one list loses every place of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostPairs {
    /// Where flows start.
    pub from: Vec<Place>,
    /// Where they went.
    pub to: Vec<Place>,
    /// How many pairs that is: no place is a pair with itself.
    pub count: usize,
    /// What stops the first of them.
    pub reason: Option<Reason>,
}

/// Works out what the death of these nodes takes away, one at a time. Pairs with the dead node itself are not counted: its
/// sites are.
pub fn losses(network: &Network, nodes: &[NodeName], now: Timestamp) -> Losses {
    let network = &*network.settled(now);
    let before = World::assumed(network, now);
    let before = (matrix(&before), before);
    let without = nodes.iter().filter_map(|name| network.nodes.get(name)).map(|node| {
        let dead = World::assumed(network, now).with_dead(&node.name);
        let (of, at_once) = lost(&before, &dead, &node.name);
        let is_home = network.peers_of(node, now).any(|peer| !peer.is_relay());
        let others = network.relays().any(|relay| relay.name != node.name && relay.is_active(now));
        let takeovers = takeovers(network, node, now);
        let helps = node.is_relay() && is_home && others || !takeovers.is_empty();
        let after_failover = helps.then(|| {
            let network = without(network, &node.name);
            lost(&before, &World::assumed(&network, now).with_dead(&node.name), &node.name).1
        });
        Loss { node: node.name.clone(), role: node.role, of, at_once, after_failover, takeovers }
    });
    Losses { version: 1, without: without.collect() }
}

fn takeovers(network: &Network, dead: &Node, now: Timestamp) -> Vec<Takeover> {
    let after = without(network, &dead.name);
    let after = &*after.settled(now);
    let by = |site: &Site| {
        let carrier = after.carrier_of(site.subnet, now).filter(|_| site.preference.is_some())?;
        let own = carrier.sites.iter().find(|own| own.subnet.trunc() == site.subnet.trunc())?;
        let sends = |network: &Network, relay: &NodeName| -> Option<NodeName> {
            let relay = network.nodes.get(relay)?;
            let mut peers = network.peers_of(relay, now);
            let to = peers.find(|peer| network.allowed_ips(relay, peer, now).contains(&site.subnet))?;
            Some(to.name.clone())
        };
        let relays = after.relays().filter(|relay| relay.is_active(now) && relay.name != carrier.name);
        let changed =
            relays.map(|relay| &relay.name).filter(|name| sends(network, name) != sends(after, name));
        Some(Takeover {
            site: site.subnet,
            by: carrier.name.clone(),
            needs_gateway: !own.is_masqueraded(),
            relays: changed.cloned().collect(),
        })
    };
    dead.sites.iter().filter_map(by).collect()
}

/// Returns the network in which a node takes no part, so that its spokes are at home elsewhere.
pub fn without(network: &Network, name: &NodeName) -> Network {
    let mut out = network.clone();
    if let Some(node) = out.nodes.get_mut(name) {
        node.enabled = false;
    }
    out
}

/// A place's class before, its class after, and the node that it is of.
type Kind = (usize, usize);

fn lost((matrix_before, before): &(Matrix, World), after: &World, dead: &NodeName) -> (usize, Lost) {
    let matrix_after = matrix(after);
    let class_of = |matrix: &Matrix| -> HashMap<Place, usize> {
        let classes = matrix.classes.iter().enumerate();
        classes.flat_map(|(i, class)| class.iter().map(move |place| (place.clone(), i))).collect()
    };
    let (then, now) = (class_of(matrix_before), class_of(&matrix_after));
    let owners = owners(before.network());
    // Places that fare alike before and after, each with its node, in the order of the classes.
    let mut kinds: BTreeMap<Kind, Vec<(&Place, Option<&NodeName>)>> = BTreeMap::new();
    for place in matrix_before.classes.iter().flatten().filter(|p| **p != Place::Node(dead.clone())) {
        let (Some(a), Some(b)) = (then.get(place), now.get(place)) else { continue };
        let of = match place {
            Place::Node(name) => Some(name),
            other => owners.get(other).copied(),
        };
        kinds.entry((*a, *b)).or_default().push((place, of));
    }
    let probes = probes(before.network());
    let (mut of, mut out) = (0, Lost::default());
    for from in kinds.values() {
        for to in kinds.values() {
            // Places of one node may fare otherwise among themselves than with those of another.
            for same_node in [true, false] {
                let Some((first, count)) = pairs(from, to, same_node) else { continue };
                if !asks(before, first.0, first.1)
                    || judge(before, &probes, first.0, first.1).verdict() == Verdict::Blocked
                {
                    continue;
                }
                of += count;
                let judgement = judge(after, &probes, first.0, first.1);
                if judgement.verdict() == Verdict::Reaches {
                    continue;
                }
                let list =
                    |places: &[(&Place, Option<&NodeName>)]| places.iter().map(|p| p.0.clone()).collect();
                let reason = judgement.death.map(|d| d.reason(after, first.0, first.1));
                out.count += count;
                out.pairs.push(LostPairs { from: list(from), to: list(to), count, reason });
            }
        }
    }
    (of, out)
}

fn owners(network: &Network) -> HashMap<Place, &NodeName> {
    let sites =
        network.nodes.values().flat_map(|n| n.sites.iter().map(move |s| (Place::Site(s.prefix()), &n.name)));
    sites.collect()
}

type Placed<'p> = (&'p Place, Option<&'p NodeName>);

/// The first pair out of two lists whose places are, or are not, of one node, and how many there are; `None`: none.
fn pairs<'p>(
    from: &[Placed<'p>],
    to: &[Placed<'p>],
    same_node: bool,
) -> Option<((&'p Place, &'p Place), usize)> {
    let mut of_node: HashMap<&NodeName, usize> = HashMap::new();
    for name in to.iter().filter_map(|(_, of)| *of) {
        *of_node.entry(name).or_default() += 1;
    }
    let on_one: usize = from.iter().filter_map(|(_, of)| of_node.get((*of)?)).sum();
    // A place and itself are no pair.
    let with_node = from.iter().filter(|(_, of)| of.is_some()).count();
    let is_one_list = usize::from(from.first() == to.first());
    let count = if same_node {
        on_one - is_one_list * with_node
    } else {
        from.len() * to.len() - on_one - is_one_list * (from.len() - with_node)
    };
    if count == 0 {
        return None;
    }
    let fits = |a: &Placed<'p>, b: &Placed<'p>| a.0 != b.0 && (a.1.is_some() && a.1 == b.1) == same_node;
    let first = from.iter().find_map(|a| to.iter().find(|b| fits(a, b)).map(|b| (a.0, b.0)));
    first.map(|first| (first, count))
}
