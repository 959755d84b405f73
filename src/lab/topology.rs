//! From a network to the namespaces, cables, addresses and routes of its lab. Pure: data in, data out.
//!
//! Every node hangs on a router that stands for the Internet and has nothing but its default route there. Behind a
//! node, each site is a bridge with the node's address and one host, which knows no more than the file promises.

mod alias;
mod feet;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::model::{
    EndpointHost, Network, Node, NodeName, PlaceRef, Routes, Site, SiteInterface, Timestamp, derive_for_spoke,
};
use crate::reach::hosts_have_gateway;

use self::feet::Foot;

/// The space that stands for everything outside the network.
pub const INTERNET: &str = "internet";
/// The router's place in [`Topology::spaces`].
const ROUTER: usize = 0;

/// What a lab consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The namespaces; the first is the Internet's.
    pub spaces: Vec<Space>,
    /// What joins them.
    pub cables: Vec<Cable>,
    /// Who is asked for, and who asks.
    pub places: Vec<Place>,
    /// Who asks for whom.
    pub pairs: Vec<Pair>,
    /// Where each node is on the lab's Internet.
    pub underlay: BTreeMap<NodeName, Ipv4Addr>,
}

/// A network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Space {
    /// A node's name, a host's address, or [`INTERNET`].
    pub name: String,
    /// The node that runs here.
    pub node: Option<NodeName>,
    /// Bridges to make.
    pub bridges: Vec<String>,
    /// Addresses by link.
    pub addresses: Vec<(String, IpNet)>,
    /// Routes, in the order in which they have to be added.
    pub routes: Vec<Hop>,
    /// Whether it forwards from the start. A node does only what wgrelay makes it do.
    pub forwards: bool,
}

/// A route of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Destination.
    pub dst: IpNet,
    /// The next hop; `None`: on the link.
    pub via: Option<IpAddr>,
    /// The link.
    pub link: String,
}

/// A veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cable(pub End, pub End);

/// An end of a cable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The space, by its index.
    pub space: usize,
    /// The link's name there.
    pub link: String,
    /// The bridge whose port it is.
    pub bridge: Option<String>,
}

/// Somebody who can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A node's name, an address, or [`INTERNET`].
    pub name: String,
    /// Who that is.
    pub kind: PlaceKind,
    /// Where, by index.
    pub space: usize,
    /// What the others call.
    pub address: IpAddr,
    /// What is called at this node, and behind it, where that is another address.
    pub near: Option<(NodeName, IpAddr)>,
}

/// Who a place is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceKind {
    /// A node, by its address in the tunnel.
    Node,
    /// A host behind this node.
    HostBehind(NodeName),
    /// This node, by its own address in another one's site.
    SecondHome(NodeName),
    /// A host outside the network.
    Internet,
}

/// A question: does `from` reach `to`?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Index of the asking place.
    pub from: usize,
    /// Index of the place asked for.
    pub to: usize,
    /// Whether the network promises it without a doubt; otherwise both answers are right here.
    pub promised: bool,
    /// The address that the far end must see; `None`: any.
    pub seen_as: Option<IpAddr>,
}

/// Why a network has no lab.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// Every address is taken by the network.
    #[error("the network leaves no private range for the lab's own Internet")]
    NoUnderlay,
    /// No room for the node and a host.
    #[error("the site {site} of {node} has no room for the node and one host")]
    NoRoom {
        /// The site.
        site: IpNet,
        /// Its node.
        node: NodeName,
    },
}

/// Lays out the lab of the nodes that are active at that moment.
///
/// # Errors
/// See [`TopologyError`].
pub fn topology(network: &Network, now: Timestamp) -> Result<Topology, TopologyError> {
    let network = &*network.settled(now);
    let nodes: Vec<&Node> = network.nodes.values().filter(|n| n.is_active(now)).collect();
    let base = underlay_range(network).ok_or(TopologyError::NoUnderlay)?;
    let mut b = Builder {
        network,
        now,
        base,
        taken: taken(&nodes),
        behind_aliases: BTreeSet::new(),
        sites: Vec::new(),
        feet: Vec::new(),
        top: empty(base),
    };
    for node in &nodes {
        b.node(node);
    }
    for node in &nodes {
        for (number, site) in node.sites.iter().enumerate() {
            b.site(node, site, number)?;
        }
    }
    for node in &nodes {
        b.feet(node)?;
    }
    b.places(&nodes);
    Ok(b.top)
}

fn empty(base: Ipv4Net) -> Topology {
    let at = |n: u32| (String::from("lo"), IpNet::from(IpAddr::V4(offset(base, n))));
    let internet =
        Space { name: INTERNET.into(), addresses: vec![at(1), at(2)], forwards: true, ..Space::default() };
    Topology {
        spaces: vec![internet],
        cables: Vec::new(),
        places: Vec::new(),
        pairs: Vec::new(),
        underlay: BTreeMap::new(),
    }
}

fn offset(base: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(base.network()) + n)
}

/// The first range of those set aside for benchmarks and for carriers (RFC 2544, RFC 6598) that the network does not use.
fn underlay_range(network: &Network) -> Option<Ipv4Net> {
    let mut used = prefixes(network);
    // An endpoint keeps its address; the lab's own hosts have the first ones of the range.
    let endpoints = network.nodes.values().filter_map(|n| n.endpoint.as_ref()?.socket_addr());
    used.extend(endpoints.map(|a| IpNet::from(a.ip())));
    let benchmark = [(198, 18), (198, 19)];
    let carrier = (64..128).map(|second| (100, second));
    benchmark
        .into_iter()
        .chain(carrier)
        .map(|(a, b)| Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), 16))
        .find(|range| !used.iter().any(|p| overlap(p, &IpNet::V4(*range))))
}

fn prefixes(network: &Network) -> Vec<IpNet> {
    let nodes = network.nodes.values();
    let own = nodes.flat_map(|n| {
        let sites = n.sites.iter().flat_map(|s| [s.subnet, s.prefix()]);
        sites.chain(n.local.iter().copied()).chain(n.bridges.iter().flat_map(|b| b.addresses.iter().copied()))
    });
    network.subnets().into_iter().chain(own).map(|p| p.trunc()).collect()
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// Addresses that the file gives to somebody.
fn taken(nodes: &[&Node]) -> BTreeSet<IpAddr> {
    nodes
        .iter()
        .flat_map(|n| {
            let sites = n.written_sites().into_iter().filter_map(|s| s.address.map(|a| s.seen_address(a)));
            sites.chain(n.bridges.iter().flat_map(|b| b.addresses.iter().map(IpNet::addr)))
        })
        .collect()
}

/// A site as it was built.
struct Built<'n> {
    node: &'n Node,
    site: &'n Site,
    bridge: String,
    host: usize,
    address: IpAddr,
    /// Whether the host knows a way back into the network.
    knows_the_way: bool,
}

struct Builder<'n> {
    network: &'n Network,
    now: Timestamp,
    base: Ipv4Net,
    taken: BTreeSet<IpAddr>,
    /// What hosts of aliased sites have: nobody in a plain site has it, so that nobody answers for another.
    behind_aliases: BTreeSet<IpAddr>,
    sites: Vec<Built<'n>>,
    feet: Vec<Foot<'n>>,
    top: Topology,
}

impl<'n> Builder<'n> {
    fn space_of(&self, node: &Node) -> usize {
        let found = self.top.spaces.iter().position(|s| s.node.as_ref() == Some(&node.name));
        found.expect("every active node got its space before anything is joined to it")
    }

    fn join(&mut self, a: End, b: End) {
        self.top.cables.push(Cable(a, b));
    }

    /// A node's space, its bridges, and its way to the Internet.
    fn node(&mut self, node: &'n Node) {
        let space = self.top.spaces.len();
        let uplink = uplink_name(self.network, node);
        let underlay = self.underlay_of(node);
        self.top.underlay.insert(node.name.clone(), underlay);
        let router = IpAddr::V4(offset(self.base, 1));
        let bridges: Vec<String> = node.bridges.iter().map(|b| b.name.to_string()).collect();
        let mut addresses = vec![(uplink.clone(), IpNet::from(IpAddr::V4(underlay)))];
        for bridge in &node.bridges {
            addresses.extend(bridge.addresses.iter().map(|a| (bridge.name.to_string(), *a)));
        }
        let routes = vec![
            Hop { dst: router.into(), via: None, link: uplink.clone() },
            Hop { dst: Ipv4Net::default().into(), via: Some(router), link: uplink.clone() },
        ];
        self.top.spaces.push(Space {
            name: node.name.to_string(),
            node: Some(node.name.clone()),
            bridges,
            addresses,
            routes,
            forwards: false,
        });
        let port = format!("p{space}");
        let to_node = Hop { dst: IpAddr::V4(underlay).into(), via: None, link: port.clone() };
        self.top.spaces[ROUTER].routes.push(to_node);
        self.join(End { space: ROUTER, link: port, bridge: None }, End { space, link: uplink, bridge: None });
    }

    /// The endpoint's own address where the lab can have it, else one of the lab's range.
    fn underlay_of(&self, node: &Node) -> Ipv4Addr {
        let own = node.endpoint.as_ref().and_then(|e| match e.host {
            EndpointHost::Ip(IpAddr::V4(ip)) => Some(ip),
            _ => None,
        });
        let places = prefixes(self.network);
        let free = |ip: &Ipv4Addr| {
            !ip.is_loopback()
                && !ip.is_unspecified()
                && !ip.is_multicast()
                && !places.iter().any(|p| p.contains(&IpAddr::V4(*ip)))
                && !self.top.underlay.values().any(|taken| taken == ip)
        };
        let number = u32::try_from(self.top.spaces.len()).unwrap_or(u32::MAX >> 16);
        own.filter(free).unwrap_or_else(|| offset(self.base, 9 + number))
    }

    /// An address of a site that nobody has: the wished ones first.
    fn free(&mut self, site: IpNet, options: &[u32]) -> Option<IpAddr> {
        let nested: Vec<IpNet> =
            prefixes(self.network).into_iter().filter(|p| site.contains(p) && *p != site).collect();
        // From the site's beginning, and behind each narrower one in it.
        let behind = nested.iter().map(|net| number(net.broadcast()) - number(site.network()) + 1);
        let starts = std::iter::once(1).chain(behind);
        let wished = options.iter().map(|n| u128::from(*n));
        let candidates = wished.chain(starts.flat_map(|start| start..start.saturating_add(1024)));
        let candidates = candidates.filter_map(|n| host_address(site, n));
        let found = candidates.into_iter().find(|a| {
            !self.taken.contains(a)
                && !self.behind_aliases.contains(a)
                && !nested.iter().any(|p| p.contains(a))
        })?;
        self.taken.insert(found);
        Some(found)
    }

    /// The address in a site that a port of a relay leads to: its host has that one.
    fn called_by_forwards(&mut self, of: &Site) -> Option<IpAddr> {
        let site = of.prefix();
        let sites = self.network.nodes.values().flat_map(|n| &n.sites).map(Site::prefix);
        let narrower: Vec<IpNet> = sites.filter(|s| *s != site && site.contains(s)).collect();
        let targets = self.network.forward.iter().flat_map(|f| f.targets(self.network));
        let is_free = |ip: &IpAddr| {
            site.contains(ip) && !self.taken.contains(ip) && !narrower.iter().any(|net| net.contains(ip))
        };
        let found = targets.into_iter().find(is_free)?;
        self.taken.insert(found);
        Some(of.own_address(found))
    }

    fn site(&mut self, node: &'n Node, site: &'n Site, number: usize) -> Result<(), TopologyError> {
        let space = self.space_of(node);
        let no_room = || TopologyError::NoRoom { site: site.subnet, node: node.name.clone() };
        let bridge = bridge_of(site, number);
        let here = &mut self.top.spaces[space];
        if !here.bridges.contains(&bridge) {
            here.bridges.push(bridge.clone());
        }
        let addressed = here
            .addresses
            .iter()
            .find(|(l, a)| *l == bridge && site.subnet.contains(&a.addr()))
            .map(|(_, a)| a.addr());
        let own = match addressed {
            Some(address) => address,
            None => {
                let address = match site.address {
                    Some(address) => address,
                    None => self.free_in(site, &[]).ok_or_else(no_room)?,
                };
                let net = IpNet::new_assert(address, site.subnet.prefix_len());
                self.top.spaces[space].addresses.push((bridge.clone(), net));
                address
            }
        };
        let wished = self.called_by_forwards(site);
        let address = match wished {
            Some(address) => address,
            None => self.free_in(site, &[10]).ok_or_else(no_room)?,
        };
        let link = String::from("eth0");
        // Only what the file promises: a gateway, or nothing but its own subnet.
        let hop = |dst: IpNet| Hop { dst, via: Some(own), link: link.clone() };
        let routes = if hosts_have_gateway(site) { vec![hop(default_of(own))] } else { Vec::new() };
        let host = self.top.spaces.len();
        let knows_the_way = !routes.is_empty();
        self.top.spaces.push(Space {
            name: address.to_string(),
            addresses: vec![(link.clone(), IpNet::new_assert(address, site.subnet.prefix_len()))],
            routes,
            ..Space::default()
        });
        self.join(
            End { space, link: format!("h{host}"), bridge: Some(bridge.clone()) },
            End { space: host, link, bridge: None },
        );
        self.sites.push(Built { node, site, bridge, host, address, knows_the_way });
        Ok(())
    }

    fn places(&mut self, nodes: &[&Node]) {
        for node in nodes {
            let space = self.space_of(node);
            self.top.places.push(Place {
                name: node.name.to_string(),
                kind: PlaceKind::Node,
                space,
                address: node.address.into(),
                near: None,
            });
        }
        for built in &self.sites {
            let (address, near) = built.known_as(built.address);
            let kind = PlaceKind::HostBehind(built.node.name.clone());
            let name = address.to_string();
            self.top.places.push(Place { name, kind, space: built.host, address, near });
        }
        let ends: Vec<Who<'_>> = nodes
            .iter()
            .map(|n| Who { node: n, site: None })
            .chain(self.sites.iter().map(|b| Who { node: b.node, site: Some(b) }))
            .collect();
        let mut pairs = Vec::new();
        for (from, a) in ends.iter().enumerate() {
            for (to, b) in ends.iter().enumerate().filter(|(to, _)| *to != from) {
                if let Some(promised) = self.question(a, b, self.top.places[to].address) {
                    pairs.push(Pair { from, to, promised, seen_as: None });
                }
            }
        }
        self.top.pairs = pairs;
        self.second_homes(nodes);
        self.egress(nodes);
    }

    /// Says whether `a` is to ask for `b`, and whether the network promises that it reaches it.
    fn question(&self, a: &Who<'_>, b: &Who<'_>, target: IpAddr) -> Option<bool> {
        if a.site.is_some_and(|s| !s.knows_the_way) {
            return None;
        }
        let source = match (a.site, target) {
            (Some(site), _) => site.known_as(site.address).0,
            (None, IpAddr::V4(_)) => a.node.address.into(),
            (None, IpAddr::V6(_)) => a.node.address6?.into(),
        };
        if source.is_ipv4() != target.is_ipv4() {
            return None;
        }
        if a.node.name == b.node.name {
            // Between two sites of one node nothing of ours is on the way.
            return (a.site.is_none() || b.site.is_none()).then_some(true);
        }
        let near = |node: &Node, ip: IpAddr| node.local.iter().any(|p| p.contains(&ip));
        if near(a.node, target) || near(b.node, source) {
            // They meet on the prefix that both are attached to. A host is not asked: its call leaves by its gateway, and
            // at the end of the tunnel its address is not accepted.
            return a.site.is_none().then_some(true);
        }
        let sends = |node: &Node, ip: IpAddr| {
            node.is_relay() || derive_for_spoke(self.network, node, self.now).iter().any(|p| p.contains(&ip))
        };
        // Between peers nobody forwards; into a site its node does, and between others a relay.
        let forwarded =
            !self.network.are_peers(a.node, b.node, self.now) || a.site.is_some() || b.site.is_some();
        let returns = b.site.is_none_or(|s| s.knows_the_way || s.site.is_masqueraded());
        Some(
            returns
                && sends(a.node, target)
                && sends(b.node, source)
                && (!forwarded || self.allows(source, target)),
        )
    }

    /// Says whether a rule lets everything pass from one to the other; rules with ports promise nothing to a ping.
    fn allows(&self, source: IpAddr, target: IpAddr) -> bool {
        let covers = |place: &PlaceRef, ip: IpAddr| match place {
            PlaceRef::Any => true,
            PlaceRef::Internet | PlaceRef::Lan(_) => false,
            PlaceRef::Group(name) => {
                self.network.group(name).any(|n| n.host_prefixes().iter().any(|p| p.contains(&ip)))
            }
            PlaceRef::Node(name) => {
                let node = self.network.nodes.get(name);
                node.is_some_and(|n| n.host_prefixes().iter().any(|p| p.contains(&ip)))
            }
            PlaceRef::Prefix(net) => net.contains(&ip),
            PlaceRef::Address(address) => *address == ip,
        };
        self.network.allow.is_empty()
            || self.network.allow.iter().any(|rule| {
                rule.ports.is_empty()
                    && rule.from.iter().any(|p| covers(p, source))
                    && rule.to.iter().any(|p| covers(p, target))
            })
    }

    /// Full-tunnel spokes reach the Internet, which sees the relay, or the node that they name; hosts of an egress site do, and it sees their node.
    fn egress(&mut self, nodes: &[&Node]) {
        let underlay = |node: &Node| self.top.underlay.get(&node.name).map(|a| IpAddr::V4(*a));
        let mut asking: Vec<(usize, Option<IpAddr>)> = Vec::new();
        for (from, node) in nodes.iter().enumerate() {
            let exit = match &node.via {
                Some(via) => self.network.nodes.get(via).filter(|exit| exit.is_active(self.now)),
                None => self.network.home_of(node, self.now),
            };
            if let Some(exit) = exit.filter(|exit| exit.egress && node.routes == Routes::Full) {
                asking.push((from, underlay(exit)));
            }
        }
        for (number, built) in self.sites.iter().enumerate() {
            if built.site.egress && built.address.is_ipv4() {
                asking.push((nodes.len() + number, underlay(built.node)));
            }
        }
        if asking.is_empty() {
            return;
        }
        let to = self.top.places.len();
        let address = IpAddr::V4(offset(self.base, 2));
        self.top.places.push(Place {
            name: INTERNET.into(),
            kind: PlaceKind::Internet,
            space: ROUTER,
            address,
            near: None,
        });
        let promised = self.network.allow.is_empty();
        self.top.pairs.extend(asking.into_iter().map(|(from, seen_as)| Pair { from, to, promised, seen_as }));
    }
}

/// An end of a question.
struct Who<'b> {
    node: &'b Node,
    site: Option<&'b Built<'b>>,
}

/// The bridge that a site is behind.
fn bridge_of(site: &Site, number: usize) -> String {
    match &site.interface {
        Some(SiteInterface::Link(name)) => name.clone(),
        Some(SiteInterface::Docker(_)) => format!("br-lab{number}"),
        None => format!("site{number}"),
    }
}

fn uplink_name(network: &Network, node: &Node) -> String {
    let used = |name: &str| {
        let sites = node.sites.iter().filter_map(|s| s.interface.as_ref());
        network.name.as_str() == name
            || node.bridges.iter().any(|b| b.name.as_str() == name)
            || sites.into_iter().any(|i| matches!(i, SiteInterface::Link(l) if l == name))
    };
    let numbered = (0..).map(|n| format!("uplink{n}"));
    std::iter::once("uplink".to_string())
        .chain(numbered)
        .find(|name| !used(name))
        .expect("a file names fewer links than there are numbers")
}

fn default_of(ip: IpAddr) -> IpNet {
    match ip {
        IpAddr::V4(_) => Ipv4Net::default().into(),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

/// The n-th address of a prefix, where a host may have it.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

fn host_address(site: IpNet, n: u128) -> Option<IpAddr> {
    match site {
        IpNet::V4(net) => {
            let n = u32::try_from(n).ok()?;
            let address = u32::from(net.network()).checked_add(n).map(Ipv4Addr::from)?;
            let usable = net.contains(&address) && (net.prefix_len() >= 31 || address != net.broadcast());
            usable.then_some(address.into())
        }
        IpNet::V6(net) => {
            let address = u128::from(net.network()).checked_add(n).map(Ipv6Addr::from)?;
            net.contains(&address).then_some(address.into())
        }
    }
}

#[cfg(test)]
#[path = "topology_tests.rs"]
mod tests;
