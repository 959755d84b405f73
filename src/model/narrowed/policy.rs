//! What two lists of `[[allow]]` both let pass.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::model::{AllowRule, Network, Node, NodeName, PlaceRef, PortRange, PortSpec};

/// How many pairs of changed rules are compared.
const PAIRS: usize = 2000;

/// Returns rules that let pass nothing that one of the two networks does not; empty only where both let everything pass. What is
/// written in two quite different ways may be left out. `old_names`: what nodes that were renamed are called in the first.
pub(super) fn narrowed(
    old: &Network,
    newer: &Network,
    old_names: &BTreeMap<&NodeName, &NodeName>,
    this: &NodeName,
) -> Vec<AllowRule> {
    let renamed = newer.allow.iter().map(|rule| with_names(rule, old_names));
    let newer_rules: Vec<AllowRule> = renamed.collect();
    match (old.allow.as_slice(), newer_rules.as_slice()) {
        (one, []) => return one.to_vec(),
        ([], other) => {
            // What is in groups that nobody was in has to be said by name.
            return other.iter().map(|rule| spread(rule, newer, old_names)).collect();
        }
        _ => {}
    }
    let mut kept: Vec<AllowRule> = old.allow.iter().filter(|r| newer_rules.contains(r)).cloned().collect();
    let changed = |rules: &[AllowRule], others: &[AllowRule], network: &Network, names: &BTreeMap<_, _>| {
        let changed = rules.iter().filter(|rule| !others.contains(rule));
        changed.map(|rule| spread(rule, network, names)).collect::<Vec<_>>()
    };
    let before = changed(&old.allow, &newer_rules, old, &BTreeMap::new());
    let after = changed(&newer_rules, &old.allow, newer, old_names);
    // So many new rules are no change any more that somebody waits for: what stayed as it was stays.
    let pairs = if before.len() * after.len() > PAIRS { &[][..] } else { &before[..] };
    let of_both = kept.len();
    for one in pairs {
        for other in &after {
            let from = places(&one.from, &other.from, old);
            let to = places(&one.to, &other.to, old);
            let ports = ports(&one.ports, &other.ports);
            let (false, false, Some(ports)) = (from.is_empty(), to.is_empty(), ports) else { continue };
            let rule = AllowRule { from, to, ports };
            if !kept.iter().any(|wider| covers(wider, &rule, old)) {
                let mut extra = kept.split_off(of_both);
                extra.retain(|narrower| !covers(&rule, narrower, old));
                kept.extend(extra);
                kept.push(rule);
            }
        }
    }
    if kept.is_empty() {
        kept.push(nothing(this));
    }
    kept
}

/// Returns a rule that lets nothing pass from one member to another.
pub(super) fn nothing(this: &NodeName) -> AllowRule {
    let this = vec![PlaceRef::Node(this.clone())];
    AllowRule { from: this.clone(), to: this, ports: Vec::new() }
}

fn with_names(rule: &AllowRule, names: &BTreeMap<&NodeName, &NodeName>) -> AllowRule {
    let with = |places: &[PlaceRef]| places.iter().map(|place| with_name(place, names)).collect();
    AllowRule { from: with(&rule.from), to: with(&rule.to), ports: rule.ports.clone() }
}

fn with_name(place: &PlaceRef, names: &BTreeMap<&NodeName, &NodeName>) -> PlaceRef {
    match place {
        PlaceRef::Node(name) => PlaceRef::Node((*names.get(name).unwrap_or(&name)).clone()),
        other => other.clone(),
    }
}

/// Writes the nodes of a group, which may be others in the other network, by their names.
fn spread(rule: &AllowRule, network: &Network, names: &BTreeMap<&NodeName, &NodeName>) -> AllowRule {
    let each = |places: &[PlaceRef]| {
        let mut out = Vec::new();
        for place in places {
            match place {
                PlaceRef::Group(group) => {
                    let nodes = network.group(group).map(|node| PlaceRef::Node(node.name.clone()));
                    out.extend(nodes.map(|node| with_name(&node, names)));
                }
                other => out.push(other.clone()),
            }
        }
        out
    };
    AllowRule { from: each(&rule.from), to: each(&rule.to), ports: rule.ports.clone() }
}

/// Returns the places that both lists have.
fn places(one: &[PlaceRef], other: &[PlaceRef], network: &Network) -> Vec<PlaceRef> {
    let known: BTreeSet<&PlaceRef> = other.iter().collect();
    let mut kept: BTreeSet<PlaceRef> = one.iter().filter(|place| known.contains(place)).cloned().collect();
    // A name is in another name's place only where they are one; so only what is wider is compared with all.
    let is_wide = |place: &&PlaceRef| matches!(place, PlaceRef::Any | PlaceRef::Prefix(_));
    for (wide, all) in [(one, other), (other, one)] {
        for wide in wide.iter().filter(is_wide) {
            kept.extend(all.iter().filter(|place| is_within(place, wide, network)).cloned());
        }
    }
    kept.into_iter().collect()
}

/// Says whether a place of the network lies within a wider one.
fn is_within(place: &PlaceRef, wide: &PlaceRef, network: &Network) -> bool {
    match (place, wide) {
        (PlaceRef::Internet | PlaceRef::Lan(_) | PlaceRef::Group(_), _) => false,
        (_, PlaceRef::Any) => true,
        (place, PlaceRef::Prefix(wide)) => {
            let nets: Vec<IpNet> = match place {
                PlaceRef::Node(name) => network.nodes.get(name).map(Node::host_prefixes).unwrap_or_default(),
                PlaceRef::Prefix(net) => vec![*net],
                PlaceRef::Address(ip) => vec![IpNet::from(*ip)],
                _ => Vec::new(),
            };
            !nets.is_empty() && nets.iter().all(|net| wide.contains(net))
        }
        _ => false,
    }
}

/// Says whether all that a rule lets pass is let pass by a wider one.
fn covers(wider: &AllowRule, rule: &AllowRule, network: &Network) -> bool {
    let within = |all: &[PlaceRef], wide: &[PlaceRef]| {
        places(all, wide, network).into_iter().collect::<BTreeSet<_>>() == all.iter().cloned().collect()
    };
    let is_wide = |set: &BTreeSet<PortSpec>| {
        ports(&wider.ports, &rule.ports).is_some_and(|both| both.into_iter().collect::<BTreeSet<_>>() == *set)
    };
    within(&rule.from, &wider.from)
        && within(&rule.to, &wider.to)
        && is_wide(&rule.ports.iter().copied().collect())
}

/// Returns the ports that both lists name; an empty list names all. `None`: they have none in common.
fn ports(one: &[PortSpec], other: &[PortSpec]) -> Option<Vec<PortSpec>> {
    match (one, other) {
        (all, []) | ([], all) => return Some(all.to_vec()),
        _ => {}
    }
    let common = |a: &PortRange, b: &PortRange| {
        let range = PortRange { first: a.first.max(b.first), last: a.last.min(b.last) };
        (range.first <= range.last).then_some(range)
    };
    let both = one.iter().flat_map(|a| other.iter().map(move |b| (a, b)));
    let kept: BTreeSet<PortSpec> = both
        .filter_map(|pair| match pair {
            (PortSpec::Tcp(a), PortSpec::Tcp(b)) => common(a, b).map(PortSpec::Tcp),
            (PortSpec::Udp(a), PortSpec::Udp(b)) => common(a, b).map(PortSpec::Udp),
            (PortSpec::Icmp, PortSpec::Icmp) => Some(PortSpec::Icmp),
            _ => None,
        })
        .collect();
    (!kept.is_empty()).then(|| kept.into_iter().collect())
}
