//! Every host of the network at once: what each node would be, who is behind it, and who has which address.

mod aliased;
mod written;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use ipnet::IpNet;

use super::assume::{Assumptions, UPLINK, uses_v6};
use super::host::{Dev, Host};
use super::longest::LongestPrefix;
use super::place::Place;
use crate::model::{Derivation, Network, Node, NodeName, Problem, PublicKey, Site, SiteInterface, Timestamp};
use crate::plan::{Backend, Facts, HostState, Keys, multi_homed_doubt, wanted_of};

/// Destinations that stand for the Internet (RFC 5737, RFC 3849), the first of each family that is beside no host that was
/// looked at.
const INTERNET: [&[IpAddr]; 2] = [
    &[
        IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)),
    ],
    &[
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1)),
        IpAddr::V6(Ipv6Addr::new(0x2620, 0xfe, 0, 0, 0, 0, 0, 0xfe)),
    ],
];

/// A node by its place in the order of names.
pub(super) type NodeId = usize;

/// A site by its node and its place among that node's sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SiteId {
    pub node: NodeId,
    pub index: usize,
}

/// An end of a flow, found in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    /// A node, by this address.
    Node(NodeId, IpAddr),
    /// A host in a site.
    Host(SiteId, IpAddr),
    /// A host on a bridge of a node's that is no site's.
    Neighbour(NodeId, IpAddr),
    /// Outside.
    Internet(IpAddr),
    /// Beside a node's uplink: outside as well, with a route to whatever is behind that node.
    Lan(NodeId, IpAddr),
}

impl Spot {
    pub(super) const fn address(self) -> IpAddr {
        match self {
            Self::Node(_, a)
            | Self::Host(_, a)
            | Self::Neighbour(_, a)
            | Self::Internet(a)
            | Self::Lan(_, a) => a,
        }
    }
}

/// All nodes' states and facts, the hosts of their sites, and the gateways of these.
#[derive(Debug, Clone)]
pub struct World {
    network: Network,
    now: Timestamp,
    /// In the order of names; an id is a place in it.
    nodes: Vec<Node>,
    assumptions: Assumptions,
    /// Given, or made when first asked for, as hosts are: a matrix by classes needs a few of many.
    facts: Vec<OnceLock<Facts>>,
    hosts: Vec<OnceLock<Host>>,
    derivation: OnceLock<Derivation>,
    keys: HashMap<PublicKey, NodeId>,
    /// Tunnel addresses.
    tunnel: HashMap<IpAddr, NodeId>,
    /// Addresses that nodes have on other links.
    attached: HashMap<IpAddr, Vec<NodeId>>,
    /// Those of them that the file gives, of all nodes.
    written: HashMap<IpAddr, Vec<SiteId>>,
    active_sites: LongestPrefix<SiteId>,
    inactive_sites: LongestPrefix<SiteId>,
    /// The active sites that have an alias.
    aliased: Vec<SiteId>,
    /// For each site the host that stands for it, once somebody asked.
    stand_ins: HashMap<IpNet, OnceLock<Option<IpAddr>>>,
    docker_masquerades: bool,
    /// The node whose host is off.
    dead: Option<NodeId>,
    /// An address outside that was asked for by itself.
    outside: Option<IpAddr>,
    /// What stands for the Internet in each family.
    internet: [IpAddr; 2],
}

impl World {
    /// Returns the world in which every active node is as `up`, or its exported file, makes it, on a host as
    /// [`super::assumed_facts`] has it.
    pub fn assumed(network: &Network, now: Timestamp) -> Self {
        let network = &*network.settled(now);
        let nodes: Vec<&Node> = network.nodes.values().collect();
        let addresses = |(id, n): (usize, &&Node)| {
            let all: Vec<IpAddr> = n.host_prefixes().iter().map(IpNet::addr).collect();
            all.into_iter().map(move |a| (a, id))
        };
        let mut world = Self {
            now,
            assumptions: Assumptions::of(network),
            facts: nodes.iter().map(|_| OnceLock::new()).collect(),
            hosts: nodes.iter().map(|_| OnceLock::new()).collect(),
            keys: nodes.iter().enumerate().map(|(id, n)| (n.public_key, id)).collect(),
            tunnel: nodes.iter().enumerate().flat_map(addresses).collect(),
            attached: HashMap::new(),
            written: HashMap::new(),
            derivation: OnceLock::new(),
            active_sites: LongestPrefix::default(),
            inactive_sites: LongestPrefix::default(),
            aliased: Vec::new(),
            stand_ins: HashMap::new(),
            docker_masquerades: true,
            dead: None,
            outside: None,
            internet: [INTERNET[0][0], INTERNET[1][0]],
            network: network.clone(),
            nodes: network.nodes.values().cloned().collect(),
        };
        world.written = written::of(&world.nodes);
        world.attach();
        world
    }

    /// Returns the world with an address in it that is outside like any of the Internet's, where a place is one.
    #[must_use]
    pub fn with_outside(mut self, place: &Place) -> Self {
        self.outside = match place {
            Place::Outside(ip) => Some(*ip),
            _ => None,
        };
        self
    }

    /// Returns the world with one host as it was found, for `trace --live`.
    #[must_use]
    pub fn with_observed(mut self, node: &NodeName, state: HostState, facts: Facts) -> Self {
        let Some(id) = self.id(node) else { return self };
        let host = Host::new(self.network.name.as_str(), self.node(id), state, facts.clone(), Vec::new());
        self.facts[id] = OnceLock::from(facts);
        self.hosts[id] = OnceLock::from(host);
        self.attach();
        self
    }

    /// Returns the world in which one host has these links and routes before anything is applied.
    #[must_use]
    pub fn with_facts(mut self, node: &NodeName, facts: Facts) -> Self {
        let Some(id) = self.id(node) else { return self };
        self.facts[id] = OnceLock::from(facts);
        self.hosts[id] = OnceLock::new();
        self.attach();
        self
    }

    /// Returns the world in which a Docker network is a bridge and no more. Docker's engine masquerades what its
    /// containers send elsewhere; where a bridge only stands for a Docker network, nobody does.
    #[must_use]
    pub fn without_docker_masquerade(mut self) -> Self {
        self.docker_masquerades = false;
        self
    }

    /// Returns the world in which one host is off. What is on the links of its sites still is, also where the network is the one
    /// that the others follow by then, in which that node is disabled.
    #[must_use]
    pub fn with_dead(mut self, node: &NodeName) -> Self {
        self.dead = self.id(node);
        if let Some(id) = self.dead {
            self.hosts[id] = OnceLock::new();
            self.attach();
        }
        self
    }

    /// The sites of those who take part, or of those who do not.
    fn sites(&self, active: bool) -> LongestPrefix<SiteId> {
        let of = |id: NodeId| {
            let sites = self.nodes[id].sites.iter().enumerate();
            sites.map(move |(index, site)| (site.prefix(), SiteId { node: id, index }))
        };
        (0..self.nodes.len()).filter(|id| self.is_active(*id) == active).flat_map(of).collect()
    }

    fn attach(&mut self) {
        (self.active_sites, self.inactive_sites) = (self.sites(true), self.sites(false));
        self.aliased = self.with_alias();
        let mut attached: HashMap<IpAddr, Vec<NodeId>> = HashMap::new();
        let mut internet = INTERNET.map(<[IpAddr]>::to_vec);
        for id in self.ids() {
            let is_active = self.nodes[id].is_active(self.now);
            let mut note = |address: IpAddr| attached.entry(address).or_default().push(id);
            // What a host has beside itself is its own LAN, and stands for no Internet.
            let mut has_beside = |net: IpNet| {
                if net.prefix_len() > 1 {
                    internet.iter_mut().for_each(|list| list.retain(|ip| !net.contains(ip)));
                }
            };
            // Where a node that is no member may be attached, nobody knows; its address there would be a guess.
            match self
                .assumptions
                .of_plain(&self.network, &self.nodes[id])
                .filter(|_| self.facts[id].get().is_none())
            {
                Some(sites) => sites.for_each(|(subnet, own)| {
                    has_beside(subnet);
                    own.filter(|_| is_active).into_iter().for_each(&mut note);
                }),
                None => {
                    let facts = self.facts(id);
                    facts.routes.iter().map(|route| route.dst).for_each(has_beside);
                    let tunnel = self.network.name.as_str();
                    let links = facts
                        .links
                        .iter()
                        .filter(|(name, _)| is_active && *name != UPLINK && *name != tunnel);
                    links.flat_map(|(_, link)| &link.addresses).map(IpNet::addr).for_each(note);
                }
            }
        }
        let first = |family: usize| *internet[family].first().unwrap_or(&INTERNET[family][0]);
        self.internet = [first(0), first(1)];
        self.attached = attached;
        let sites = self.nodes.iter().flat_map(|n| &n.sites).map(|s| (s.prefix(), OnceLock::new()));
        self.stand_ins = sites.collect();
    }

    /// What is on a node's host besides.
    fn facts(&self, id: NodeId) -> &Facts {
        self.facts[id].get_or_init(|| self.assumptions.facts(&self.network, self.node(id)))
    }

    /// The network that the world was made from.
    pub fn network(&self) -> &Network {
        &self.network
    }
    pub(super) fn ids(&self) -> std::ops::Range<NodeId> {
        0..self.nodes.len()
    }
    pub(super) fn name(&self, id: NodeId) -> &NodeName {
        &self.nodes[id].name
    }
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }
    pub(super) fn id(&self, name: &NodeName) -> Option<NodeId> {
        self.nodes.binary_search_by(|n| n.name.cmp(name)).ok()
    }
    pub(super) fn is_active(&self, id: NodeId) -> bool {
        self.node(id).is_active(self.now) || self.is_dead(id)
    }
    /// The relay that a spoke is at home on.
    pub(super) fn home(&self, spoke: &Node) -> Option<&Node> {
        self.network.home_of(spoke, self.now)
    }
    pub(super) fn site(&self, id: SiteId) -> &Site {
        &self.node(id.node).sites[id.index]
    }
    pub(super) fn by_key(&self, key: &PublicKey) -> Option<NodeId> {
        self.keys.get(key).copied()
    }
    pub(super) fn by_tunnel_address(&self, address: IpAddr) -> Option<NodeId> {
        self.tunnel.get(&address).copied()
    }

    pub(super) fn is_dead(&self, id: NodeId) -> bool {
        self.dead == Some(id)
    }

    pub(super) fn host(&self, id: NodeId) -> &Host {
        self.hosts[id].get_or_init(|| {
            let (node, facts) = (self.node(id), self.facts(id));
            if self.is_dead(id) {
                let off = HostState::default();
                return Host::new(self.network.name.as_str(), node, off, facts.clone(), Vec::new());
            }
            let derived = || {
                let derivation = self.derivation.get_or_init(|| Derivation::of(&self.network, self.now));
                derivation.for_spoke(node)
            };
            let (keys, backend) = (Keys::default(), Backend::Kernel);
            let wanted = wanted_of(&self.network, &derived, node, &keys, backend, facts, self.now);
            // What must not be applied is not there.
            let state = if wanted.is_refused() { HostState::default() } else { wanted.state };
            let refused = wanted.problems.into_iter().filter(Problem::is_error).collect();
            Host::new(self.network.name.as_str(), node, state, facts.clone(), refused)
        })
    }

    /// The site that an address belongs to: the longest prefix of an active node's sites.
    pub(super) fn site_of(&self, address: IpAddr) -> Option<SiteId> {
        self.active_sites.lookup(address).map(|(_, id)| *id)
    }

    /// Says whether the site's hosts send what is not on their link to the site's node.
    pub(super) fn is_gateway(&self, id: SiteId) -> bool {
        hosts_have_gateway(self.site(id))
    }

    /// The link of a site on its node; `None`: it is not there.
    pub(super) fn site_link(&self, id: SiteId) -> Option<&str> {
        self.host(id.node).site_links.get(id.index)?.name()
    }

    /// The node, other than a site host, that has this address on a site's link, and its own link there. Of several it is
    /// the site's own: the others may only look as if they were there.
    pub(super) fn attached_at(&self, site: SiteId, address: IpAddr) -> Option<(NodeId, Dev)> {
        let all = self.attached.get(&address)?;
        let own = all.iter().filter(|id| **id == site.node);
        own.chain(all.iter().filter(|id| **id != site.node)).find_map(|id| {
            let dev = self.host(*id).owns(address)?;
            let Dev::Link(link) = dev else { return None };
            self.is_on(*id, link, site).then(|| (*id, dev.clone()))
        })
    }

    /// The node on a site's link that has an IPv4 address on any link of its own: Linux answers ARP for all of them
    /// (`arp_ignore` 0), while an IPv6 neighbour answers only for the link that is asked.
    pub(super) fn answers_arp(&self, site: SiteId, address: IpAddr) -> Option<(NodeId, Dev)> {
        if address.is_ipv6() {
            return None;
        }
        let owners = self.by_tunnel_address(address).into_iter();
        let owners = owners.chain(self.attached.get(&address).into_iter().flatten().copied());
        owners.filter(|id| self.host(*id).owns(address).is_some()).find_map(|id| {
            let link = self.facts(id).links.keys().find(|link| self.is_on(id, link, site))?;
            Some((id, Dev::Link(link.clone())))
        })
    }

    /// Says whether a node's link is the site's: its own side of the site, or another node's that has an address in it.
    pub(super) fn is_on(&self, node: NodeId, link: &str, site: SiteId) -> bool {
        if node == site.node {
            return self.site_link(site) == Some(link);
        }
        let subnet = self.site(site).subnet;
        let of = self.node(node);
        // What the file does not call `local` is another LAN with the same prefix, but for a bridge that the file itself makes.
        let is_named = |a: &IpNet| {
            of.local.iter().any(|l| l.contains(&a.addr()) || a.trunc().contains(l))
                || of.bridges.iter().any(|b| b.name.as_str() == link && b.addresses.contains(a))
        };
        // An address in a site of its own is on that site's link, whatever wider site of another surrounds it.
        let is_elsewhere = |a: &IpNet| {
            of.sites.iter().any(|s| s.subnet.contains(&a.addr()))
                && !of.local.iter().any(|l| l.contains(&a.addr()))
        };
        // So is one in a site that it stands by for, unless this one lies in that and the address has another prefix.
        let stands_by = |a: &IpNet| {
            let mut others = of.standby.iter().map(|s| s.site.subnet).filter(|s| s.trunc() != subnet.trunc());
            others.any(|s| {
                s.contains(&a.addr())
                    && (s.prefix_len() > subnet.prefix_len() || s.prefix_len() == a.prefix_len())
            })
        };
        let is_elsewhere = |a: &IpNet| is_elsewhere(a) || stands_by(a) || self.is_of_narrower(a, site);
        self.facts(node).links.get(link).is_some_and(|l| {
            let mut inside = l.addresses.iter().filter(|a| subnet.contains(&a.addr()));
            inside.any(|a| a.prefix_len() < a.max_prefix_len() && !is_elsewhere(a) && is_named(a))
        })
    }

    /// Says whether Docker rewrites what leaves this node from `src` by another link than the container's own bridge.
    pub(super) fn is_docker_masqueraded(&self, node: NodeId, src: IpAddr, oif: &str) -> bool {
        self.docker_masquerades
            && self.node(node).sites.iter().zip(&self.host(node).site_links).any(|(site, link)| {
                matches!(site.interface, Some(SiteInterface::Docker(_)))
                    && matches!(site.subnet, IpNet::V4(_))
                    && site.subnet.contains(&src)
                    && link.name().is_some_and(|name| name != oif)
            })
    }

    /// The families in which a place has an address: IPv4 first.
    pub(super) fn spots(&self, place: &Place) -> Vec<Spot> {
        match place {
            Place::Node(name) => {
                let Some(id) = self.id(name) else { return Vec::new() };
                self.node(id).host_prefixes().iter().map(|p| Spot::Node(id, p.addr())).collect()
            }
            Place::Address(ip) => self.spot_of(*ip).into_iter().collect(),
            Place::Site(net) => {
                let host = match self.stand_ins.get(net) {
                    Some(known) => *known.get_or_init(|| self.representative(*net)),
                    None => self.representative(*net),
                };
                host.and_then(|ip| self.spot_of(ip)).into_iter().collect()
            }
            Place::Outside(ip) => vec![Spot::Internet(*ip)],
            Place::Lan(name) => {
                let families = self.internet.into_iter().take(1 + usize::from(uses_v6(&self.network)));
                self.id(name)
                    .into_iter()
                    .flat_map(|id| families.clone().map(move |ip| Spot::Lan(id, ip)))
                    .collect()
            }
            Place::Internet => self
                .internet
                .into_iter()
                .take(1 + usize::from(uses_v6(&self.network)))
                .map(Spot::Internet)
                .collect(),
        }
    }

    /// Returns the address that stands for a place in each family that it has.
    pub fn addresses(&self, place: &Place) -> Vec<IpAddr> {
        self.spots(place).into_iter().map(Spot::address).collect()
    }

    /// Says whether an address is one of the network's.
    pub(super) fn is_place(&self, ip: IpAddr) -> bool {
        self.by_tunnel_address(ip).is_some() || self.site_of(ip).is_some()
    }

    fn spot_of(&self, ip: IpAddr) -> Option<Spot> {
        if let Some(id) = self.by_tunnel_address(ip) {
            return Some(Spot::Node(id, ip));
        }
        let site = self.site_of(ip).or_else(|| self.inactive_sites.lookup(ip).map(|(_, id)| *id));
        let Some(site) = site else {
            let own = self.attached.get(&ip).and_then(|ids| ids.first()).map(|id| Spot::Node(*id, ip));
            let beside = || self.ids().find(|id| self.neighbourhood(*id, ip).is_some());
            return own.or_else(|| beside().map(|id| Spot::Neighbour(id, ip)));
        };
        let own = self.site(site).own_address(ip);
        Some(self.attached_at(site, own).map_or(Spot::Host(site, ip), |(id, _)| Spot::Node(id, ip)))
    }

    /// The network of a bridge of this node's, where an address is on one that is no site's.
    pub(super) fn neighbourhood(&self, node: NodeId, ip: IpAddr) -> Option<IpNet> {
        let addresses = self.node(node).bridges.iter().flat_map(|b| &b.addresses);
        addresses.filter(|a| a.contains(&ip)).map(IpNet::trunc).next().filter(|_| self.site_of(ip).is_none())
    }

    /// The first address from the second on that is a site's host: no node's own, and in no longer prefix of another site.
    fn representative(&self, net: IpNet) -> Option<IpAddr> {
        let is_active = self.active_sites.around(net).next().is_some();
        let table = if is_active { &self.active_sites } else { &self.inactive_sites };
        let last = number(net.broadcast());
        let first = number(net.network());
        let is_v4 = matches!(net, IpNet::V4(_));
        // The network's and the broadcast address are nobody's; a prefix of one or two addresses has neither.
        let (mut at, last) = match net.max_prefix_len() - net.prefix_len() {
            0 => (first, last),
            1 => (first + 1, last),
            _ => (first + 2, last - u128::from(is_v4)),
        };
        let home = net.prefix_len();
        while at <= last {
            let ip = address(at, is_v4);
            let tunnel = self.network.subnets().into_iter().find(|s| s.contains(&ip) && net.contains(s));
            let nested = table.lookup(ip).map(|(p, _)| p).filter(|p| p.prefix_len() > home);
            // Where a site of a member has the addresses of a site of nobody's, that is who answers there.
            let taken = || self.active_sites.lookup(ip).map(|(p, _)| p).filter(|p| p.prefix_len() > home);
            let nested = nested.or_else(taken);
            if let Some(hole) = tunnel.or(nested) {
                at = number(hole.broadcast()).checked_add(1)?;
            } else if self.is_a_nodes(ip) {
                at += 1;
            } else {
                return Some(ip);
            }
        }
        None
    }

    /// Says whether a node has an address of a site's, as the others know it.
    fn is_a_nodes(&self, ip: IpAddr) -> bool {
        let lookup = self.active_sites.lookup(ip).or_else(|| self.inactive_sites.lookup(ip));
        let own = lookup.map_or(ip, |(_, site)| self.site(*site).own_address(ip));
        self.attached.contains_key(&own) || self.written.contains_key(&own)
    }

    /// What people call an address: its node, else its site's subnet, else itself.
    pub(super) fn label(&self, ip: IpAddr) -> String {
        if let Some(id) = self.by_tunnel_address(ip) {
            return self.name(id).to_string();
        }
        if self.internet.contains(&ip) {
            return "internet".into();
        }
        self.site_of(ip).map_or_else(|| ip.to_string(), |s| self.site(s).prefix().to_string())
    }

    /// The prefix that a line should name to cover an address: its site, the tunnel subnet, else itself.
    pub(super) fn prefix_of(&self, ip: IpAddr) -> IpNet {
        if let Some(subnet) = self.network.subnets().into_iter().find(|s| s.contains(&ip)) {
            return subnet;
        }
        if self.is_internet(ip) {
            return IpNet::new(ip, 0).map_or_else(|_| ip.into(), |n| n.trunc());
        }
        self.site_of(ip).map_or_else(|| ip.into(), |s| self.site(s).prefix())
    }

    /// Says which container with two homes has an address, where its host was looked at: nobody assumes containers.
    pub(super) fn multi_homed(&self, ip: IpAddr) -> Option<String> {
        self.ids().find_map(|id| multi_homed_doubt(self.node(id), self.facts[id].get()?, ip))
    }

    /// Addresses that anybody outside may have.
    pub(super) const fn anybody(&self) -> [IpAddr; 2] {
        self.internet
    }

    pub(super) fn is_internet(&self, ip: IpAddr) -> bool {
        self.internet.contains(&ip) || self.outside == Some(ip)
    }
}

/// Says whether a site's hosts have their node as the gateway: as `gateway` says, or Docker, or because they go out by it.
pub fn hosts_have_gateway(site: &Site) -> bool {
    site.is_gateway() || site.egress
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(a) => u32::from(a).into(),
        IpAddr::V6(a) => a.into(),
    }
}

fn address(n: u128, is_v4: bool) -> IpAddr {
    match u32::try_from(n) {
        Ok(a) if is_v4 => IpAddr::V4(a.into()),
        _ => IpAddr::V6(n.into()),
    }
}
