//! What AllowedIPs are derived from, looked up once for all nodes of a network.
//!
//! For each node by itself, thousands of nodes would go through all sites and all rules thousands of times.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::allowed_ips::{claimed_by_spoke, cut_out, outside_of_full, places, without};
use super::{Network, Node, NodeName, PlaceRef, Routes, Timestamp};

/// The sites and the rules of a network at one moment, by prefix.
#[derive(Debug, Clone)]
pub struct Derivation {
    subnets: Vec<IpNet>,
    /// The active relays in the file's order, with their own addresses: what goes there is no matter of policy, but of the
    /// relay's own firewall.
    relays: Vec<(NodeName, Vec<IpNet>)>,
    /// Of active nodes, in the order of prefixes.
    sites: Vec<(IpNet, NodeName)>,
    /// Every place; made where a rule speaks of all.
    places: BTreeSet<IpNet>,
    /// From and to of each `[[allow]]`.
    rules: Vec<[Side; 2]>,
    /// Each prefix that a side names, in order, with the number of its rule and of its side there.
    named: Vec<(IpNet, usize, usize)>,
    /// What leaves by a node's egress, since its spoke names that node.
    leaving: BTreeMap<NodeName, Vec<IpNet>>,
    /// The prefix lengths that occur among these, IPv4 and IPv6.
    lengths: [BTreeSet<u8>; 2],
}

/// What one side of a rule stands for.
#[derive(Debug, Clone, Default)]
struct Side {
    is_any: bool,
    prefixes: BTreeSet<IpNet>,
}

impl Derivation {
    /// Looks up what a network's AllowedIPs are derived from.
    pub fn of(network: &Network, now: Timestamp) -> Self {
        let network = &*network.settled(now);
        let active = network.nodes.values().filter(|n| n.is_active(now));
        let mut sites: Vec<(IpNet, NodeName)> =
            active.flat_map(|n| n.sites.iter().map(|s| (s.prefix(), n.name.clone()))).collect();
        sites.sort();
        let mut groups: BTreeMap<&NodeName, Vec<IpNet>> = BTreeMap::new();
        for node in network.nodes.values() {
            for group in &node.groups {
                groups.entry(group).or_default().extend(node.host_prefixes());
            }
        }
        let side = |places: &[PlaceRef]| {
            let prefixes = places.iter().flat_map(|place| match place {
                PlaceRef::Any | PlaceRef::Internet | PlaceRef::Lan(_) => Vec::new(),
                PlaceRef::Group(name) => groups.get(name).cloned().unwrap_or_default(),
                PlaceRef::Node(name) => network.nodes.get(name).map(Node::host_prefixes).unwrap_or_default(),
                PlaceRef::Prefix(net) => vec![net.trunc()],
                PlaceRef::Address(ip) => vec![IpNet::from(*ip)],
            });
            Side { is_any: places.contains(&PlaceRef::Any), prefixes: prefixes.collect() }
        };
        let rules: Vec<[Side; 2]> = network.allow.iter().map(|r| [side(&r.from), side(&r.to)]).collect();
        let of_side = |(rule, sides): (usize, &[Side; 2])| {
            let both: Vec<_> = sides.iter().enumerate().collect();
            let named =
                both.into_iter().flat_map(|(at, side)| side.prefixes.iter().map(move |p| (*p, rule, at)));
            named.collect::<Vec<_>>()
        };
        let mut named: Vec<(IpNet, usize, usize)> = rules.iter().enumerate().flat_map(of_side).collect();
        named.sort_unstable();
        let mut lengths = [BTreeSet::new(), BTreeSet::new()];
        for (net, ..) in &named {
            lengths[usize::from(net.addr().is_ipv6())].insert(net.prefix_len());
        }
        let relays = network.relays().filter(|relay| relay.is_active(now));
        let mut leaving: BTreeMap<NodeName, Vec<IpNet>> = BTreeMap::new();
        for spoke in network.leaving_elsewhere(now) {
            let by = spoke.via.iter().cloned();
            by.for_each(|exit| leaving.entry(exit).or_default().extend(claimed_by_spoke(spoke)));
        }
        let speaks_of_all = rules.iter().flatten().any(|side| side.is_any);
        Self {
            subnets: network.subnets(),
            relays: relays.map(|relay| (relay.name.clone(), relay.host_prefixes())).collect(),
            sites,
            places: if speaks_of_all { places(network, now) } else { BTreeSet::new() },
            rules,
            named,
            leaving,
            lengths,
        }
    }

    /// Returns the relay of that network that a spoke is at home on, as [`Network::home_of`] does.
    pub fn home_of<'n>(&self, network: &'n Network, spoke: &Node) -> Option<&'n Node> {
        network.nodes.get(&self.home(spoke)?.0)
    }

    fn home(&self, spoke: &Node) -> Option<&(NodeName, Vec<IpNet>)> {
        let known = |name: &NodeName| self.relays.iter().find(|(relay, _)| relay == name);
        match (spoke.is_relay(), spoke.relays.as_slice()) {
            (true, _) => None,
            (false, []) => self.relays.first(),
            (false, listed) => spoke.attached.iter().chain(listed).find_map(known),
        }
    }

    /// Returns what a spoke sends to its relay, and takes from it: what it may reach or be reached from,
    /// less its own sites and what it is attached to itself.
    pub fn for_spoke(&self, spoke: &Node) -> BTreeSet<IpNet> {
        let mut wanted: BTreeSet<IpNet> = match &spoke.routes {
            Routes::Split if !self.rules.is_empty() => self.allowed_by_policy(spoke),
            Routes::Split => {
                let others = self.sites.iter().filter(|(_, owner)| *owner != spoke.name).map(|(net, _)| *net);
                self.subnets.iter().copied().chain(others).collect()
            }
            // Both families, also without IPv6 in the tunnel: a full tunnel that leaks IPv6 is none.
            Routes::Full => {
                [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())].into_iter().collect()
            }
            Routes::Only(list) => list.iter().map(IpNet::trunc).collect(),
        };
        if spoke.routes == Routes::Full {
            return self.all_but_outside(spoke, wanted);
        }
        let own: Vec<IpNet> = spoke
            .local
            .iter()
            .copied()
            .chain(spoke.sites.iter().flat_map(|s| [s.subnet, s.prefix()]))
            .map(|n| n.trunc())
            .collect();
        let nested = self.nested(spoke, &own, &wanted);
        // The halves are kept as well, and one family alone: cut into pieces, they would be no default route to a client.
        let whole: Vec<IpNet> = wanted.iter().filter(|net| net.prefix_len() <= 1).copied().collect();
        whole.iter().for_each(|net| _ = wanted.remove(net));
        let mut out = cut_out(wanted, &own);
        out.extend(nested);
        out.extend(whole);
        out
    }

    /// Nothing but a default route is one to a client: a full tunnel keeps its /0 where nothing is to stay outside.
    fn all_but_outside(&self, spoke: &Node, all: BTreeSet<IpNet>) -> BTreeSet<IpNet> {
        let outside = outside_of_full(spoke);
        if outside.is_empty() {
            return all;
        }
        // A place of the network inside of what stays outside is a longer prefix, and wins.
        let is_inside = |place: &IpNet| outside.iter().any(|net| net != place && net.contains(place));
        let split = self.for_spoke(&Node { routes: Routes::Split, ..spoke.clone() });
        let mut out = cut_out(all, &outside);
        out.extend(split.into_iter().filter(is_inside));
        out
    }

    /// Sites of others inside of own ones: these are reached all the same, since the longest prefix wins.
    fn nested(&self, spoke: &Node, own: &[IpNet], wanted: &BTreeSet<IpNet>) -> BTreeSet<IpNet> {
        let common = |a: IpNet, b: IpNet| match (a.contains(&b), b.contains(&a)) {
            (true, _) => Some(b),
            (false, true) => Some(a),
            (false, false) => None,
        };
        let local = spoke.written_local();
        let is_there = |other: &IpNet| local.iter().any(|l| l.contains(other));
        let mut out = BTreeSet::new();
        for site in spoke.written_sites().into_iter().flat_map(|s| [Some(s.subnet), s.alias]).flatten() {
            let others = inside(&self.sites, site, |(net, _)| *net)
                .filter(|(net, owner)| *owner != spoke.name && *net != site && !is_there(net));
            for (other, _) in others {
                let found: BTreeSet<IpNet> = wanted.iter().filter_map(|w| common(*w, *other)).collect();
                // What is this spoke's own again inside of that is not sent away.
                let own: Vec<IpNet> =
                    own.iter().copied().filter(|o| o != other && other.contains(o)).collect();
                out.extend(without(&found, &own));
            }
        }
        out
    }

    /// Returns what policy lets a spoke reach or be reached from.
    fn allowed_by_policy(&self, spoke: &Node) -> BTreeSet<IpNet> {
        let own = claimed_by_spoke(spoke);
        let speaks = |with: &IpNet| own.iter().any(|o| o.contains(with) || with.contains(o));
        let mut met: BTreeSet<(usize, usize)> = BTreeSet::new();
        for net in &own {
            met.extend(inside(&self.named, *net, |(net, ..)| *net).map(|(_, rule, side)| (*rule, *side)));
            met.extend(self.around(*net));
        }
        if self.places.iter().any(speaks) {
            let any = |(rule, sides): (usize, &[Side; 2])| {
                let at = |side: usize| sides[side].is_any.then_some((rule, side));
                [at(0), at(1)].into_iter().flatten().collect::<Vec<_>>()
            };
            met.extend(self.rules.iter().enumerate().flat_map(any));
        }
        let home = self.home(spoke).into_iter();
        let mut out: BTreeSet<IpNet> = home.flat_map(|(_, own)| own).copied().collect();
        let mut all = false;
        for (rule, side) in met {
            let other = &self.rules[rule][1 - side];
            out.extend(&other.prefixes);
            all |= other.is_any;
        }
        if all {
            out.extend(&self.places);
        }
        out.extend(self.leaving.get(&spoke.name).into_iter().flatten());
        out
    }

    /// The sides that name a prefix wider than this one.
    fn around(&self, net: IpNet) -> impl Iterator<Item = (usize, usize)> {
        let lengths = self.lengths[usize::from(net.addr().is_ipv6())].range(..net.prefix_len());
        lengths.filter_map(move |length| Some(IpNet::new(net.addr(), *length).ok()?.trunc())).flat_map(
            |wider| {
                let from = self.named.partition_point(|(named, ..)| *named < wider);
                self.named[from..]
                    .iter()
                    .take_while(move |(named, ..)| *named == wider)
                    .map(|(_, rule, side)| (*rule, *side))
            },
        )
    }
}

/// Of a list in the order of prefixes, what is this prefix or inside of it.
fn inside<T>(sorted: &[T], net: IpNet, prefix: impl Fn(&T) -> IpNet + Copy) -> impl Iterator<Item = &T> {
    let (first, last) = (net.trunc(), IpNet::from(net.broadcast()));
    let from = sorted.partition_point(|item| prefix(item) < first);
    sorted[from..]
        .iter()
        .take_while(move |item| prefix(item) <= last)
        .filter(move |item| net.contains(&prefix(item)))
}
