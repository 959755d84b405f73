//! What a node's host is taken to be like where nobody has looked: its links, their addresses, its way out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::prefixes::Prefixes;
use crate::model::{Endpoint, EndpointHost, Network, Node, Site, SiteInterface};
use crate::plan::{DockerNetwork, Facts, ForeignRoute, Link};

/// The link by which an assumed host reaches the Internet.
pub(super) const UPLINK: &str = "uplink";
/// An assumed host's own address outside, and the router there: never anybody's (RFC 7600's dummy address and its neighbour,
/// RFC 6666's discard prefix), so that it is told from what is known and shown as unknown.
const OUTSIDE: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8)), IpAddr::V4(Ipv4Addr::new(192, 0, 0, 11))),
    (
        IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 2)),
        IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1)),
    ),
];
/// Says whether an address is only assumed.
pub(super) fn is_assumed(ip: IpAddr) -> bool {
    OUTSIDE.iter().any(|(own, router)| [*own, *router].contains(&ip))
}

/// Where an endpoint's name leads.
const RESOLVED: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10));
/// `RTPROT_KERNEL` and `RTPROT_STATIC`.
const KERNEL: u8 = 2;
const STATIC: u8 = 4;
/// Of an Ethernet link, in bytes.
const MTU: u32 = 1500;

/// Returns the facts of a node's host as the network file suggests them: every site's interface is there and has the node's
/// address (the site's `address`, else the first host address), prefixes of `local` and bridges are connected, every
/// endpoint's name resolves, and there is an uplink with a default route. Forwarding is off until somebody switches it on.
pub fn assumed_facts(network: &Network, node: &Node) -> Facts {
    Assumptions::of(network).facts(network, node)
}

/// What is the same for every node of a network, looked up once.
#[derive(Debug, Clone)]
pub(super) struct Assumptions {
    uses_v6: bool,
    resolved: BTreeMap<String, IpAddr>,
    /// All sites, where anybody is attached to anything.
    sites: Prefixes,
}

impl Assumptions {
    pub(super) fn of(network: &Network) -> Self {
        let endpoints = network.nodes.values().flat_map(|n| n.endpoint.iter().chain(n.endpoint_of.values()));
        let names = endpoints.filter_map(|endpoint| match &endpoint.host {
            EndpointHost::Name(name) => Some((name.clone(), RESOLVED)),
            EndpointHost::Ip(_) => None,
        });
        let is_attached = network.nodes.values().any(|n| !n.local.is_empty());
        let sites = network.nodes.values().filter(|_| is_attached).flat_map(|n| &n.sites).map(|s| s.subnet);
        Self { uses_v6: uses_v6(network), resolved: names.collect(), sites: Prefixes::new(sites) }
    }

    pub(super) fn facts(&self, network: &Network, node: &Node) -> Facts {
        let mut facts = Facts::default();
        for bridge in &node.bridges {
            let link = link_of(&mut facts, bridge.name.as_str(), "bridge");
            link.mtu = bridge.mtu.map_or(MTU, u32::from);
            link.addresses.extend(&bridge.addresses);
        }
        let mut docker = BTreeMap::new();
        let ready = node.ready();
        for (i, site) in ready.sites.iter().enumerate() {
            let (name, kind) = match &site.interface {
                Some(SiteInterface::Link(name)) => (name.clone(), ""),
                Some(wanted @ SiteInterface::Docker(network)) => {
                    // The bridge's real name changes with the Docker network; what the file calls it is what people know.
                    let bridge = wanted.to_string();
                    let known = docker
                        .entry(network.clone())
                        .or_insert(DockerNetwork { bridge, ..DockerNetwork::default() });
                    known.subnets.push(site.subnet);
                    (known.bridge.clone(), "bridge")
                }
                None => (unnamed(i), ""),
            };
            let link = link_of(&mut facts, &name, kind);
            let has_one = link.addresses.iter().any(|a| site.subnet.contains(&a.addr()));
            let carries = i < node.sites.len();
            let own =
                if carries { site_address(network, site) } else { standby_address(network, node, site) };
            if let Some(address) = own
                && (!has_one || site.address.is_some_and(|a| link.addresses.iter().all(|b| b.addr() != a)))
            {
                link.addresses.push(address);
            } else if !has_one {
                facts.routes.push(route(site.subnet, &name, None, STATIC));
            }
        }
        if !docker.is_empty() {
            facts.docker = Some(docker);
        }
        attach_local(network, node, &mut facts);
        for (name, link) in &facts.links {
            for address in &link.addresses {
                let connected = route(address.trunc(), name, None, KERNEL);
                if !facts.routes.contains(&connected) {
                    facts.routes.push(connected);
                }
            }
        }
        add_uplink(self.uses_v6, node, &mut facts);
        for link in facts.links.keys().map(String::as_str).chain([network.name.as_str()]) {
            facts.sysctls.insert(format!("net/ipv4/conf/{link}/forwarding"), "0".into());
        }
        if self.uses_v6 {
            facts.sysctls.insert("net/ipv6/conf/all/forwarding".into(), "0".into());
        }
        facts.resolved = self.resolved.clone();
        facts
    }
}

impl Assumptions {
    /// What [`Self::facts`] has beside the uplink, of a node of which the file says nothing but sites apart from each other, and
    /// what is no site of anybody's: each prefix, to which it has a route, and its own address there where that is in a site.
    /// `None`: of another. Thousands of nodes are like that, and facts are some thirty pieces of memory for each.
    pub(super) fn of_plain<'n>(
        &self,
        network: &'n Network,
        node: &'n Node,
    ) -> Option<impl Iterator<Item = (IpNet, Option<IpAddr>)>> {
        let sites = &node.sites;
        let is_apart = |i: usize, site: &Site| {
            sites[..i].iter().all(|s| !s.subnet.contains(&site.subnet) && !site.subnet.contains(&s.subnet))
        };
        let is_plain = |(i, site): (usize, &Site)| {
            let is_by_itself = |name: &str| name != UPLINK && name != network.name.as_str();
            let link = match &site.interface {
                Some(SiteInterface::Link(name)) => is_by_itself(name),
                Some(SiteInterface::Docker(_)) => true,
                None => is_by_itself(&unnamed(i)),
            };
            link && site.preference.is_none()
                && site.address.is_none_or(|a| site.subnet.contains(&a))
                && is_apart(i, site)
        };
        let is_in_site = node.local.iter().any(|net| self.sites.touch(net.trunc()));
        let has_more = !node.bridges.is_empty() || !node.standby.is_empty() || is_in_site;
        // Each is held against those before it.
        let is_plain = !has_more && sites.len() <= 16 && sites.iter().enumerate().all(is_plain);
        let of = |site: &Site| (site.subnet.trunc(), site_address(network, site).map(|a| a.addr()));
        is_plain.then(|| sites.iter().map(of).chain(node.local.iter().map(|net| (net.trunc(), None))))
    }
}

/// The link of a site, by its place among the node's, that the file gives none.
fn unnamed(place: usize) -> String {
    format!("lan{place}")
}

/// Says whether any place of the network has an IPv6 address.
pub(super) fn uses_v6(network: &Network) -> bool {
    let mut sites = network.nodes.values().flat_map(|n| &n.sites);
    network.subnet6.is_some() || sites.any(|s| matches!(s.subnet, IpNet::V6(_)))
}

fn link_of<'f>(facts: &'f mut Facts, name: &str, kind: &str) -> &'f mut Link {
    facts.links.entry(name.into()).or_insert_with(|| Link {
        kind: kind.into(),
        mtu: MTU,
        up: true,
        ..Link::default()
    })
}

/// The node's own address in a site; `None` in a site of one address, which is the host's.
fn site_address(network: &Network, site: &Site) -> Option<IpNet> {
    let mut address = site.address.or_else(|| first_host(site.subnet))?;
    if site.preference.is_some() && site.address.is_none() {
        // The other gateways of the site may say which are theirs.
        let sites = network.nodes.values().flat_map(Node::written_sites);
        let same = sites.filter(|s| s.subnet.trunc() == site.subnet.trunc());
        let taken: Vec<IpAddr> = same.filter_map(|s| s.address).collect();
        let mut hosts = site.subnet.hosts().skip_while(|ip| *ip != address);
        address = hosts.find(|ip| !taken.contains(ip))?;
    }
    IpNet::new(address, site.subnet.prefix_len()).ok()
}

/// The address of a node that stands by for a site: its own, or one of the last, that no other gateway of it has.
fn standby_address(network: &Network, node: &Node, site: &Site) -> Option<IpNet> {
    let subnet = site.subnet;
    let before = network.nodes.values().take_while(|n| n.name != node.name);
    let taken = before.filter(|n| n.local.contains(&subnet)).count();
    let address = site.address.or_else(|| from_the_end(subnet, &[], taken))?;
    IpNet::new(address, subnet.prefix_len()).ok()
}

fn first_host(subnet: IpNet) -> Option<IpAddr> {
    if subnet.prefix_len() == subnet.max_prefix_len() {
        return None;
    }
    match subnet {
        IpNet::V4(net) => net.hosts().next().map(IpAddr::V4),
        // The first address of an IPv6 subnet is the routers' anycast address (RFC 4291, section 2.6.1).
        IpNet::V6(net) => net.hosts().nth(usize::from(net.prefix_len() < 127)).map(IpAddr::V6),
    }
}

/// The node is attached to what it calls `local`; where no bridge says with which address, the last free one does.
fn attach_local(network: &Network, node: &Node, facts: &mut Facts) {
    for (i, local) in node.local.iter().enumerate() {
        let known = facts.links.values().flat_map(|l| &l.addresses).any(|a| local.contains(&a.addr()));
        if known {
            continue;
        }
        // Two nodes on one link need two addresses.
        let before = network.nodes.values().take_while(|n| n.name != node.name);
        let taken = before.filter(|n| n.local.contains(local)).count();
        // It is in the link's own prefix, not in a narrower site that somebody else has inside it.
        let sites = network.nodes.values().flat_map(|n| &n.sites).map(|s| s.subnet);
        let narrower: Vec<IpNet> = sites.filter(|s| s != local && local.contains(s)).collect();
        let address = from_the_end(*local, &narrower, taken).or_else(|| from_the_end(*local, &[], taken));
        let Some(address) = address else { continue };
        let link = link_of(facts, &format!("local{i}"), "");
        link.addresses.push(IpNet::new_assert(address, local.prefix_len()));
    }
}

/// The last address of a subnet that is no router's and in none of the holes, after some that others have.
fn from_the_end(subnet: IpNet, holes: &[IpNet], skip: usize) -> Option<IpAddr> {
    let (mut at, first) = match subnet {
        IpNet::V4(net) => (u128::from(u32::from(net.broadcast())), u128::from(u32::from(net.network()))),
        IpNet::V6(net) => (net.broadcast().into(), net.network().into()),
    };
    let address = |n: u128| match (subnet, u32::try_from(n)) {
        (IpNet::V4(_), Ok(n)) => IpAddr::V4(n.into()),
        _ => IpAddr::V6(Ipv6Addr::from(n)),
    };
    let mut left = skip;
    loop {
        at = at.checked_sub(1).filter(|a| *a > first)?;
        match holes.iter().find(|hole| hole.contains(&address(at))) {
            Some(IpNet::V4(hole)) => at = u32::from(hole.network()).into(),
            Some(IpNet::V6(hole)) => at = hole.network().into(),
            None if left == 0 => return Some(address(at)),
            None => left -= 1,
        }
    }
}

fn add_uplink(uses_v6: bool, node: &Node, facts: &mut Facts) {
    let endpoint = node.endpoint.as_ref().and_then(Endpoint::socket_addr).map(|a| a.ip());
    let free = |ip: &IpAddr| !node.sites.iter().any(|s| s.subnet.contains(ip));
    let mut link = Link { mtu: MTU, up: true, ..Link::default() };
    for (address, router) in OUTSIDE {
        if address.is_ipv6() && !uses_v6 {
            continue;
        }
        // Alone, without its subnet: what else is on that link is not known.
        let own = endpoint.filter(|e| e.is_ipv6() == address.is_ipv6()).filter(free).unwrap_or(address);
        link.addresses.push(IpNet::from(own));
        facts.routes.push(route(default_of(address), UPLINK, Some(router), STATIC));
    }
    facts.links.insert(UPLINK.into(), link);
}

fn default_of(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

fn route(dst: IpNet, device: &str, gateway: Option<IpAddr>, protocol: u8) -> ForeignRoute {
    ForeignRoute { dst, device: device.into(), gateway, protocol, mtu: None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::firewall::fixture::relay_alone;
    use crate::model::{Nat, PublicKey, Role};

    /// A site of few subnets, some inside each other, and of few links.
    fn site() -> impl Strategy<Value = Site> {
        let subnets =
            vec!["10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/24", "10.3.0.1/32", "fd01::/64", "203.0.113.0/24"];
        let links = vec!["eth1", "lan0", "uplink", "wg0", "docker:cloud"];
        let own = prop::option::weighted(0.3, prop::sample::select(vec!["10.1.2.9", "10.2.0.7", "fd01::9"]));
        (
            prop::sample::select(subnets),
            prop::option::of(prop::sample::select(links)),
            own,
            prop::bool::weighted(0.1),
        )
            .prop_map(|(subnet, link, own, is_preferred)| Site {
                subnet: subnet.parse().unwrap(),
                interface: link.map(|text| match text.strip_prefix("docker:") {
                    Some(name) => SiteInterface::Docker(name.into()),
                    None => SiteInterface::Link(text.into()),
                }),
                nat: Nat::Auto,
                gateway: false,
                address: own.map(|text| text.parse().unwrap()),
                egress: false,
                preference: is_preferred.then_some(1),
                alias: None,
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn a_plain_node_has_what_its_facts_say(
            sites in prop::collection::vec(site(), 0..4), local in prop::option::weighted(0.3, prop::sample::select(vec!["10.9.0.0/24", "10.1.0.0/16", "10.0.0.0/8"])),
        ) {
            let (mut network, _) = relay_alone();
            network.name = "lan1".parse().unwrap();
            let key = PublicKey::from_bytes([7; 32]);
            let mut node = Node::new("s".parse().unwrap(), Role::Spoke, [192, 168, 3, 9].into(), key);
            node.sites = sites;
            node.local = local.map(|net| net.parse().unwrap()).into_iter().collect();
            network.nodes.insert(node.name.clone(), node.clone());
            let assumptions = Assumptions::of(&network);
            let Some(plain) = assumptions.of_plain(&network, &node) else { return Ok(()) };
            let plain: Vec<_> = plain.collect();
            let facts = assumptions.facts(&network, &node);
            let links = facts.links.iter().filter(|(name, _)| *name != UPLINK && *name != network.name.as_str());
            let mut own: Vec<IpAddr> = links.flat_map(|(_, l)| &l.addresses).map(IpNet::addr).collect();
            own.retain(|ip| node.sites.iter().any(|s| s.subnet.contains(ip)));
            let mut routes: Vec<IpNet> = facts.routes.iter().map(|r| r.dst).filter(|net| net.prefix_len() > 0).collect();
            let mut of_plain: Vec<IpAddr> = plain.iter().filter_map(|(_, own)| *own).collect();
            let mut subnets: Vec<IpNet> = plain.iter().map(|(subnet, _)| *subnet).collect();
            own.sort();
            routes.sort();
            of_plain.sort();
            subnets.sort();
            prop_assert_eq!(of_plain, own);
            prop_assert_eq!(subnets, routes);
        }
    }
}
