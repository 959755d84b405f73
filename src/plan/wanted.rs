//! What a node's host should be: from the network, the node and what is on the host already.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::site_link::{SiteLink, resolve};
use super::state::{Backend, Device, HostState, MAIN_TABLE, Peer, Route};
use super::{
    Facts, Keys, bridge, exit, full_tunnel, multi_homed, name_servers, own_address, path_mtu, policy_routing,
    read_only,
};
use crate::firewall::foreign::wsl;
use crate::firewall::foreign::{
    accepts, docker, firewalld, input_blocked, listen_port_blocked, output_blocked,
};
use crate::firewall::{SiteMatch, Surroundings, Table, compile, forwarding_v4, ifalias, table_name};
use crate::model::{
    EndpointHost, Network, Node, PlaceRef, Problem, Routes, SiteInterface, Timestamp, derive_for_spoke,
    outside_of_full,
};

/// A wanted state, and what to say about it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What the host should be.
    pub state: HostState,
    /// Errors: it must not be applied. Warnings: it can, and something will be missing (degraded).
    pub problems: Vec<Problem>,
}

impl Wanted {
    /// Says whether an error forbids to apply the state.
    pub fn is_refused(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }
}

/// Computes what `node`'s host should be.
pub fn wanted(
    network: &Network,
    node: &Node,
    keys: &Keys,
    backend: Backend,
    facts: &Facts,
    now: Timestamp,
) -> Wanted {
    let network = &*network.settled(now);
    let node = network.nodes.get(&node.name).unwrap_or(node);
    wanted_of(network, &|| derive_for_spoke(network, node, now), node, keys, backend, facts, now)
}

/// The same of a settled network ([`Network::settled`]), with the AllowedIPs of a spoke from somewhere: where many nodes are
/// asked for, they are not derived one by one.
pub fn wanted_of(
    network: &Network,
    derived: &dyn Fn() -> BTreeSet<IpNet>,
    node: &Node,
    keys: &Keys,
    backend: Backend,
    facts: &Facts,
    now: Timestamp,
) -> Wanted {
    let mut problems = bridge::problems(node, facts);
    let links = bridge::links(node, facts);
    // Sites, forwarding and filters are of the host as it will be when its bridges stand.
    let facts = &*bridge::ahead(node, facts);
    if !node.is_active(now) {
        let (code, why) = if node.enabled { ("expired", "has expired") } else { ("disabled", "is disabled") };
        problems.push(Problem::error(
            code,
            format!("node {}", node.name),
            format!("{} {why}: it is no member of the network", node.name),
            format!("`wgrelay enable {}`, or correct `expires`", node.name),
        ));
    }
    problems.extend(wsl::reachability(network, node, facts));
    problems.extend(facts.wsl.filter(|_| backend == Backend::Kernel).and_then(wsl::deaf_kernel));
    problems.extend(from_outside(network, node));
    let mut peers = peers(network, derived, node, keys, facts, now, &mut problems);
    problems.extend(same_lan(network, node, facts, &mut peers));
    let carrier = path_mtu::carrier(network, node, peers.values(), facts);
    let mtu = path_mtu::mtu(network, node, carrier.as_ref(), &mut problems);
    let ipv6 = path_mtu::ipv6(network, mtu, facts);
    let is_carried = |net: &IpNet| ipv6.is_ok() || matches!(net, IpNet::V4(_));
    problems.extend(ipv6.as_ref().err().and_then(|why| path_mtu::without_ipv6(network, node, why)));
    let addresses: BTreeSet<IpNet> =
        network.interface_addresses(node).into_iter().filter(|a| is_carried(a)).collect();
    let goes_whole = node.routes == Routes::Full && !node.is_relay();
    // Without a relay left, what a spoke sends into the tunnel goes nowhere, and not beside it.
    let sends = if peers.is_empty() && !node.is_relay() { derived() } else { BTreeSet::new() };
    let all = peers.values().flat_map(|peer| &peer.allowed_ips).chain(&sends);
    // What a relay leads to an exit has a table of its own.
    let all = all.filter(|net| !node.is_relay() || net.prefix_len() > 0);
    let mut routes = routes(all, &addresses, goes_whole);
    // What a relay is attached to itself, as a stand-by of another, it reaches by its own link.
    routes.retain(|r| is_carried(&r.dst) && !(node.is_relay() && node.local.contains(&r.dst)));
    // What it has given over it is attached to all the same: the halves are narrower than the link's own route.
    let given_over = |route: &Route| node.given_over.contains(&route.dst.trunc());
    let halves = routes.iter().filter(|route| given_over(route)).flat_map(|route| {
        let parts = route.dst.subnets(route.dst.prefix_len() + 1).into_iter().flatten();
        parts.map(|dst| Route { dst, table: route.table })
    });
    let halves: BTreeSet<Route> = halves.collect();
    routes.retain(|route| !given_over(route));
    routes.extend(halves);
    let rules = full_tunnel::rules(&routes, &outside_of_full(node));
    let is_full = !rules.is_empty();
    let (ways, by_source) = exit::ways(network, node, now);
    routes.extend(ways.into_iter().filter(|way| is_carried(&way.dst)));
    conflicts(network, node, &routes, &addresses, facts, &mut problems);

    let (name_servers, untold) = name_servers::wanted(network, node, is_full, facts);
    problems.extend(untold);
    // From here on it is about what this host forwards.
    let node = &*node.ready();
    let mut sites = Vec::new();
    for site in &node.sites {
        match resolve(site, facts) {
            SiteLink::Found(link) => sites.push((site, SiteMatch::Link(link))),
            SiteLink::Missing(problem) => problems.push(*problem),
        }
    }
    let mut sysctls = BTreeMap::new();
    if node.is_relay() || !sites.is_empty() || network.lets_out(node, now) {
        let links = sites.iter().filter_map(|(site, link)| match link {
            SiteMatch::Link(name) => Some((site.subnet, name.as_str())),
            SiteMatch::Subnet => None,
        });
        forwarding(network, node, links, facts, &mut sysctls, now);
    }
    let around = Surroundings::of(network, node, facts, &sysctls);
    let mut firewall = compile(network, derived, node, &sites, &around, now);
    // Without it the kernel takes a new address away together with the old one of the same subnet, and the routes too.
    sysctls.insert(format!("net/ipv4/conf/{}/promote_secondaries", network.name), "1".into());
    if backend == Backend::Kernel {
        // The kernel's WireGuard turns this off for the whole host when its link comes up, and leaves it so. Named here,
        // it is put back with the rest.
        sysctls.insert("net/ipv4/conf/all/send_redirects".into(), "0".into());
    }
    if rules.iter().any(|r| !r.ipv6) || node.fwmark.is_some() {
        // Replies to marked packets pass the reverse-path check only with this (ip-sysctl, src_valid_mark).
        sysctls.insert("net/ipv4/conf/all/src_valid_mark".into(), "1".into());
    }
    let mut foreign_rules = BTreeSet::new();
    let mut firewalld_policies = BTreeMap::new();
    problems.extend(listen_port_blocked::problems(network, node, facts));
    problems.extend(output_blocked::problems(network, node, facts));
    problems.extend(input_blocked::problems(network, node, facts));
    if let Some(table) = &mut firewall {
        let placed: Vec<_> = sites
            .iter()
            .filter_map(|(site, link)| match link {
                SiteMatch::Link(name) => Some((*site, name.as_str())),
                SiteMatch::Subnet => None,
            })
            .collect();
        foreign_rules = accepts::rules(network, node, &placed, facts);
        firewalld_policies = firewalld::policies(network, node, &placed, facts, now);
        problems.extend(accepts::problems(network, &placed, facts));
        problems.extend(firewalld::problems(network, node, &placed, facts, now));
        problems.extend(multi_homed::problems(node, facts));
        table.chains.extend(docker::nftables::chain(network, &placed, facts));
        table.chains.extend(firewalld::chain(network, node, &placed, facts, now));
    }
    let forwards_anyway = firewall.is_some();
    if let Some(chain) = own_address::chain(network, node, forwards_anyway, facts) {
        own_table(&mut firewall, network).chains.push(chain);
    }
    let is_marked = rules.iter().any(|r| !r.ipv6) || node.fwmark.is_some();
    if is_marked && full_tunnel::is_strict(facts) {
        own_table(&mut firewall, network).chains.extend(full_tunnel::marks(if is_full {
            full_tunnel::TABLE
        } else {
            node.fwmark.unwrap_or(0)
        }));
    }
    if facts.switches_are_read_only {
        problems.extend(read_only::leave_out(&mut sysctls, facts));
    }
    let device = Device {
        backend,
        private_key: keys.private_key.clone(),
        listen_port: node.listen_port(),
        fwmark: if is_full { full_tunnel::TABLE } else { node.fwmark.unwrap_or(0) },
        mtu,
        up: true,
        addresses,
        detached: BTreeSet::new(),
        peers,
    };
    let mut state = HostState {
        device: Some(device),
        routes,
        rules: rules.into_iter().chain(by_source).collect(),
        sysctls,
        firewall,
        links,
        foreign_rules,
        firewalld: firewalld_policies,
        name_servers,
        carried: None,
    };
    let placed: Vec<(IpNet, String)> = sites
        .into_iter()
        .filter_map(|(site, link)| match link {
            SiteMatch::Link(name) => Some((site.subnet, name)),
            SiteMatch::Subnet => None,
        })
        .collect();
    problems.extend(policy_routing::judge(network, node, &mut state, &placed, facts, now));
    Wanted { state, problems }
}

/// A rule that would have no effect must not look as if it had one.
fn from_outside(network: &Network, node: &Node) -> Option<Problem> {
    let at = network.allow.iter().position(|rule| rule.from.contains(&PlaceRef::Internet))?;
    node.is_relay().then(|| {
        Problem::error(
            "from-internet",
            format!("allow[{at}]"),
            "a rule of [[allow]] lets flows in from the Internet, and none comes by it",
            "take \"internet\" out of `from`: what the relay's own DNAT sends into the network passes without a rule",
        )
    })
}

fn peers(
    network: &Network,
    derived: &dyn Fn() -> BTreeSet<IpNet>,
    node: &Node,
    keys: &Keys,
    facts: &Facts,
    now: Timestamp,
    problems: &mut Vec<Problem>,
) -> BTreeMap<crate::model::PublicKey, Peer> {
    // Without its key a session that carries nothing yet is not begun; one that carries is told as incomplete.
    let has_key = |other: &&Node| {
        !network.preshared_keys
            || keys.preshared_keys.get(&other.name).is_some_and(crate::model::PresharedKey::is_some)
    };
    let warm = network.warm_peers_of(node, now).filter(has_key).map(|other| (other, BTreeSet::new()));
    network
        .peers_of(node, now)
        .map(|other| {
            let ips = if node.is_relay() { network.allowed_ips(node, other, now) } else { derived() };
            (other, ips)
        })
        .chain(warm)
        .map(|(other, mut allowed_ips)| {
            if network.probe_each_other(node, other, now) {
                allowed_ips.insert(other.public_key.link_local_prefix());
            }
            let keepalive = network.keepalive_towards(node, other);
            let endpoint = endpoint(node, other, facts, problems);
            // Keys that are stored and not asked for would keep this side from those that export none.
            let preshared_key = keys.preshared_keys.get(&other.name);
            let preshared_key = preshared_key.filter(|k| network.preshared_keys && k.is_some()).cloned();
            (other.public_key, Peer { preshared_key, endpoint, keepalive, allowed_ips })
        })
        .collect()
}

/// The network's table, also where policy asks for none.
fn own_table<'t>(firewall: &'t mut Option<Table>, network: &Network) -> &'t mut Table {
    firewall.get_or_insert_with(|| Table {
        name: table_name(&network.name),
        sets: BTreeMap::new(),
        chains: Vec::new(),
    })
}

fn endpoint(this: &Node, node: &Node, facts: &Facts, problems: &mut Vec<Problem>) -> Option<SocketAddr> {
    let endpoint = this.calls(node)?;
    if let EndpointHost::Name(name) = &endpoint.host {
        let address = facts.resolved.get(name);
        if address.is_none() {
            problems.push(Problem::warning(
                "no-endpoint",
                format!("node {}", node.name),
                format!(
                    "the name {name} does not resolve here, so no session with {} can be started",
                    node.name
                ),
                "check the name and this host's DNS; the agent tries again, and so does `wgrelay up`",
            ));
        }
        return address.map(|ip| SocketAddr::new(*ip, endpoint.port));
    }
    endpoint.socket_addr()
}

/// The routes into the tunnel: every AllowedIPs prefix that the interface's own subnet does not cover.
fn routes<'n>(
    sends: impl Iterator<Item = &'n IpNet>,
    addresses: &BTreeSet<IpNet>,
    is_full: bool,
) -> BTreeSet<Route> {
    sends
        // Where agents ask each other is on the interface's own link.
        .filter(|net| !matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local() && net.prefix_len() == 128))
        .filter(|net| !addresses.iter().any(|a| a.trunc().contains(*net)))
        .map(|net| Route {
            dst: *net,
            table: if is_full { full_tunnel::TABLE } else { full_tunnel::table_of(net) },
        })
        .collect()
}

/// A spoke that came into a LAN with the prefix of somebody's site is there without that site: its own LAN comes first.
fn same_lan(
    network: &Network,
    node: &Node,
    facts: &Facts,
    peers: &mut BTreeMap<crate::model::PublicKey, Peer>,
) -> Vec<Problem> {
    /// `RTPROT_KERNEL`, `RTPROT_RA`, `RTPROT_DHCP`: what comes with an address.
    const ATTACHED: [u8; 3] = [2, 9, 16];
    let mut problems = Vec::new();
    if node.is_relay() {
        return problems;
    }
    // What the file itself puts on this host is no LAN that it came into.
    let is_its = |link: &str| {
        let sites = node.sites.iter().filter_map(|s| s.interface.as_ref());
        node.bridges.iter().any(|b| b.name.as_str() == link)
            || sites.into_iter().any(|i| matches!(i, SiteInterface::Link(name) if name == link))
    };
    let lan = |net: &IpNet| {
        let mut attached =
            facts.routes.iter().filter(|r| r.gateway.is_none() && ATTACHED.contains(&r.protocol));
        attached.find(|r| {
            r.dst == *net && r.device != network.name.as_str() && !r.device.is_empty() && !is_its(&r.device)
        })
    };
    for peer in peers.values_mut() {
        peer.allowed_ips.retain(|net| {
            let Some(route) = lan(net).filter(|_| net.prefix_len() > 0) else { return true };
            problems.push(Problem::warning(
                "overlap",
                format!("route {net}"),
                format!(
                    "this host is in a LAN {net} itself, by {}: {} is up without the site of that prefix",
                    route.device, network.name
                ),
                format!(
                    "elsewhere it is reached again; if this LAN is that site, write local = [\"{net}\"] in [node.{}]; otherwise one of \
                     the two must be renumbered",
                    node.name
                ),
            ));
            false
        });
    }
    problems
}

/// What stands in the way on this host: a foreign interface of our name, the same prefix elsewhere.
fn conflicts(
    network: &Network,
    node: &Node,
    routes: &BTreeSet<Route>,
    addresses: &BTreeSet<IpNet>,
    facts: &Facts,
    problems: &mut Vec<Problem>,
) {
    let ours = network.name.as_str();
    if let Some(link) = facts.links.get(ours).filter(|l| l.alias != ifalias(&network.name)) {
        let kind = if link.kind.is_empty() { "physical" } else { link.kind.as_str() };
        let release = match link.kind.as_str() {
            "wireguard" | "tun" => format!(
                "if wg-quick made it: `systemctl disable --now wg-quick@{ours}` or `wg-quick down {ours}`; \
                 otherwise `ip link delete {ours}`"
            ),
            _ => "give the network another name: that interface is something else".into(),
        };
        problems.push(Problem::error(
            "foreign-interface",
            format!("interface {ours}"),
            format!("there is a {kind} interface {ours} on this host already, and wgrelay did not make it"),
            release,
        ));
    }
    for address in addresses {
        let subnet = address.trunc();
        let other = facts
            .links
            .iter()
            .filter(|(name, _)| *name != ours)
            .find(|(_, l)| l.addresses.iter().any(|a| subnet.contains(&a.addr())));
        if let Some((name, _)) = other {
            problems.push(Problem::error(
                "overlap",
                format!("subnet {subnet}"),
                format!("{name} on this host has an address inside the tunnel subnet {subnet}"),
                "give the network another `subnet`, or take the address off that interface",
            ));
        }
    }
    for route in routes.iter().filter(|r| r.table == MAIN_TABLE) {
        let taken = facts.routes.iter().find(|r| r.dst == route.dst && r.device != ours);
        if let Some(taken) = taken {
            problems.push(Problem::error(
                "overlap",
                format!("route {}", route.dst),
                format!(
                    "this host reaches {} by {} already, not through the tunnel",
                    route.dst, taken.device
                ),
                format!(
                    "if {} is attached to that network itself, write local = [\"{}\"] in [node.{}]; \
                     otherwise one of the two networks must be renumbered",
                    node.name, route.dst, node.name
                ),
            ));
        }
    }
}

fn forwarding<'a>(
    network: &Network,
    node: &Node,
    sites: impl Iterator<Item = (IpNet, &'a str)>,
    facts: &Facts,
    sysctls: &mut BTreeMap<String, String>,
    now: Timestamp,
) {
    let sites: Vec<(IpNet, &str)> = sites.collect();
    let mut v4 = |link: &str| sysctls.insert(forwarding_v4(link), "1".into());
    v4(network.name.as_str());
    for (_, link) in sites.iter().filter(|(net, _)| matches!(net, IpNet::V4(_))) {
        v4(link);
    }
    let leads_on = network.forward.iter().any(|f| f.is_on(node));
    let lets_out = network.lets_out(node, now);
    if lets_out || leads_on || node.sites.iter().any(|s| s.egress) {
        // Answers from outside come in by the uplink.
        for route in facts.routes.iter().filter(|r| is_default(r, false)) {
            v4(&route.device);
        }
    }
    if lets_out && node.egress_all {
        let has_v4 = |l: &super::Link| l.master.is_none() && l.addresses.iter().any(|a| a.addr().is_ipv4());
        facts.links.iter().filter(|(name, l)| *name != "lo" && has_v4(l)).for_each(|(name, _)| {
            v4(name);
        });
    }
    if node.sites.iter().any(|s| s.egress) {
        // Outside are the networks on the node's other bridges, too.
        for bridge in node.bridges.iter().filter(|b| facts.links.contains_key(b.name.as_str())) {
            v4(bridge.name.as_str());
        }
    }
    let has_v6 = network.subnet6.is_some() || sites.iter().any(|(net, _)| matches!(net, IpNet::V6(_)));
    // A host without IPv6 has no such switch.
    if has_v6 && facts.sysctl("net/ipv6/conf/all/forwarding").is_some() {
        sysctls.insert("net/ipv6/conf/all/forwarding".into(), "1".into());
        // A forwarding host stops listening to router advertisements unless told 2 (ip-sysctl, accept_ra).
        const ROUTER_ADVERTISEMENT: u8 = 9;
        for route in facts.routes.iter().filter(|r| is_default(r, true) && r.protocol == ROUTER_ADVERTISEMENT)
        {
            sysctls.insert(format!("net/ipv6/conf/{}/accept_ra", route.device), "2".into());
        }
    }
}

fn is_default(route: &super::ForeignRoute, ipv6: bool) -> bool {
    let family = matches!(route.dst.addr(), IpAddr::V6(_)) == ipv6;
    family && route.dst.prefix_len() == 0 && !route.device.is_empty()
}
