//! What has to stand in other programs' chains so that our packets pass, and what only their owner can set.
//!
//! Rules are restricted to the tunnel, the site's link and the site's prefix. Sources are not repeated in them:
//! what comes out of the tunnel is held to its peers' AllowedIPs, and our own table, whose drops are final,
//! says who may talk to whom.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::docker::{self, DockerEngine, GatewayMode};
use super::forward::{ForwardChain, Forwarded};
use super::{Accept, Facts, ForeignChain, ForeignRule, IptablesFacts, NftForward};
use crate::firewall::Family;
use crate::model::{Network, Node, Problem, Site, SiteInterface};

/// A site of this node and its link.
pub(crate) type Placed<'a> = (&'a Site, &'a str);

/// Derives the rules for a node that forwards.
pub(crate) fn rules(
    network: &Network,
    node: &Node,
    sites: &[Placed<'_>],
    facts: &Facts,
) -> BTreeSet<ForeignRule> {
    facts.foreign.iptables.iter().flat_map(|there| rules_in(there, network, node, sites, facts)).collect()
}

fn rules_in(
    there: &IptablesFacts,
    network: &Network,
    node: &Node,
    sites: &[Placed<'_>],
    facts: &Facts,
) -> Vec<ForeignRule> {
    let tunnel = || Some(network.name.to_string());
    let chain = if there.docker_user { ForeignChain::DockerUser } else { ForeignChain::Forward };
    let mut rules = Vec::new();
    let mut accept =
        |accept| rules.push(ForeignRule::new(there.iptables, there.family, chain.clone(), accept));
    let has_family = there.family == Family::V4 || network.subnet6.is_some();
    let is_closed_to =
        |iif: &str, oif: &str, dst: Option<IpNet>| there.forward_drops || rejects(there, node, iif, oif, dst);
    let ours = network.name.as_str();
    if node.is_relay() && has_family && is_closed_to(ours, ours, None) {
        accept(Accept { iif: tunnel(), oif: tunnel(), ..Accept::default() });
    }
    let sites: Vec<Placed<'_>> =
        sites.iter().filter(|(site, _)| Family::of(&site.subnet) == there.family).copied().collect();
    for (site, link) in &sites {
        let is_closed = there.docker_user && is_dockers(site, link, facts);
        let is_closed = is_closed || is_closed_to(ours, link, Some(site.subnet));
        if !is_closed || is_unprotected(link, there.family, facts) {
            continue;
        }
        let (net, link) = (Some(site.subnet), Some((*link).to_string()));
        accept(Accept { iif: tunnel(), oif: link.clone(), dst: net, ..Accept::default() });
        accept(Accept { iif: link, oif: tunnel(), src: net, ..Accept::default() });
    }
    if there.forward_drops {
        for WayOut { inside, only, outside } in ways_out(network, node, &sites, facts, there.family) {
            for out in outside {
                let (inside, out) = (Some(inside.clone()), Some(out));
                let (iif, oif) = (inside.clone(), out.clone());
                accept(Accept { iif, oif, src: only, ..Accept::default() });
                accept(Accept { iif: out, oif: inside, dst: only, replies: true, ..Accept::default() });
            }
        }
    }
    if there.forward_drops {
        let targets = network.forward.iter().filter(|f| f.is_on(node)).flat_map(|f| f.targets(network));
        // Past the translation it has the address that the host itself has.
        for target in targets.map(|target| node.own_address(target)) {
            let net = IpNet::from(target);
            if Family::of(&net) != there.family {
                continue;
            }
            let site = sites.iter().find(|(site, _)| site.subnet.contains(&target));
            let link = site.map_or_else(tunnel, |(_, link)| Some((*link).to_string()));
            accept(Accept { oif: link.clone(), dst: Some(net), dnatted: true, ..Accept::default() });
            accept(Accept { iif: link, src: Some(net), replies: true, ..Accept::default() });
        }
    }
    if there.docker_user {
        let guarded = sites.iter().filter(|(site, link)| {
            is_dockers(site, link, facts) && is_guarded(there, network.name.as_str(), link, facts)
        });
        for (site, _) in guarded {
            // On the subnet, not on containers: Docker adds a drop for each container as it starts.
            let accept = Accept { iif: tunnel(), dst: Some(site.subnet), ..Accept::default() };
            let raw = ForeignRule::new(there.iptables, there.family, ForeignChain::RawPrerouting, accept);
            rules.push(ForeignRule { made_chain: there.raw_made || !there.raw_prerouting, ..raw });
        }
    }
    rules
}

/// Says whether a rule of another program's, in FORWARD or where that jumps to, drops what the tunnel sends by a link.
fn rejects(there: &IptablesFacts, node: &Node, iif: &str, oif: &str, dst: Option<IpNet>) -> bool {
    let own = match there.family {
        Family::V4 => Some(IpAddr::V4(node.address)),
        Family::V6 => node.address6.map(IpAddr::V6),
    };
    let Some(src) = own else { return false };
    let dst = dst.and_then(|net| net.hosts().nth(1)).unwrap_or(src);
    let judged = there.forward.judge(Forwarded { src, dst, iif, oif, established: false, carried: None });
    // What its policy drops is known by itself.
    judged.drop.is_some_and(|by| !by.ends_with("(policy drop)"))
}

/// Says whether Docker lets everybody into a bridge.
fn is_unprotected(link: &str, family: Family, facts: &Facts) -> bool {
    facts.docker_network(link).is_some_and(|(_, n)| n.gateway_mode(family) == GatewayMode::NatUnprotected)
}

/// Says whether Docker keeps, or will keep, a bridge to itself in raw PREROUTING.
fn is_guarded(there: &IptablesFacts, tunnel: &str, link: &str, facts: &Facts) -> bool {
    let listed = facts.docker_network(link);
    let is_open = |mode| matches!(mode, GatewayMode::NatUnprotected | GatewayMode::Routed);
    if listed.is_some_and(|(_, n)| n.trusted.contains(tunnel) || is_open(n.gateway_mode(there.family))) {
        return false;
    }
    if there.raw_guarded.contains(link) {
        return true;
    }
    let Some(engine) = facts.engine.as_ref().filter(|e| e.drops_in_raw()) else { return false };
    // The drop comes with a network's first container. One that runs without it shows that the daemon allows direct
    // routing; before 28.2 it shows nothing, for the drop comes with a published port.
    let runs = |name: &str| facts.containers.iter().any(|c| c.networks.contains_key(name));
    !(DockerEngine::drops_for_every_container(engine) && listed.is_some_and(|(name, _)| runs(name)))
}

/// Says whether a site is a network of Docker's.
pub(crate) fn is_dockers(site: &Site, link: &str, facts: &Facts) -> bool {
    let listed = facts.docker.iter().flatten().any(|(_, n)| n.bridge == link);
    let guarded = facts.foreign.iptables.iter().any(|i| i.raw_guarded.contains(link));
    let kept = facts.foreign.docker_nft.iter().any(|t| t.bridges.contains_key(link));
    matches!(site.interface, Some(SiteInterface::Docker(_))) || listed || guarded || kept
}

/// A way out of the network through this node.
pub(crate) struct WayOut {
    /// The link that packets come by.
    pub inside: String,
    /// Their sources; `None`: whatever comes out of the tunnel.
    pub only: Option<IpNet>,
    /// The links that they leave by. A site's own may be among them: its hosts and the way out can be on one bridge.
    pub outside: BTreeSet<String>,
}

/// Returns the ways out to the Internet, and to the networks on this node's other bridges.
pub(crate) fn ways_out(
    network: &Network,
    node: &Node,
    sites: &[Placed<'_>],
    facts: &Facts,
    family: Family,
) -> Vec<WayOut> {
    let tunnel = network.name.as_str();
    let mut uplinks = uplinks(facts, family);
    uplinks.remove(tunnel);
    let mut ways = Vec::new();
    if network.is_exit(node) && (family == Family::V4 || network.subnet6.is_some()) {
        ways.push(WayOut { inside: tunnel.into(), only: None, outside: uplinks.clone() });
    }
    let bridges =
        node.bridges.iter().map(|b| b.name.to_string()).filter(|name| facts.links.contains_key(name));
    let outside: BTreeSet<String> = uplinks.into_iter().chain(bridges).collect();
    for (site, link) in sites.iter().filter(|(site, _)| site.egress && Family::of(&site.subnet) == family) {
        ways.push(WayOut { inside: (*link).to_string(), only: Some(site.subnet), outside: outside.clone() });
    }
    ways
}

pub(crate) fn uplinks(facts: &Facts, family: Family) -> BTreeSet<String> {
    let defaults = facts.routes.iter().filter(|r| r.dst.prefix_len() == 0 && Family::of(&r.dst) == family);
    defaults.map(|r| r.device.clone()).filter(|d| !d.is_empty()).collect()
}

/// Tells of filters that no rule of ours can open.
pub(crate) fn problems(network: &Network, sites: &[Placed<'_>], facts: &Facts) -> Vec<Problem> {
    let tunnel = network.name.as_str();
    let mut problems = Vec::new();
    for chain in facts.foreign.nft.iter().filter(|c| !c.is_docker() && !c.is_firewalld()) {
        match &chain.forward {
            Some(there) => problems.extend(rejected(chain, there, network, sites, facts)),
            None if chain.drops && !chain.links.contains(tunnel) => {
                problems.push(dropped(chain, tunnel, sites));
            }
            None => {}
        }
    }
    problems.extend(docker::nftables::problems(network, sites, facts));
    problems
}

/// Tells which of the network's ways a chain of nftables closes, and what opens each.
fn rejected(
    chain: &NftForward,
    there: &ForwardChain,
    network: &Network,
    sites: &[Placed<'_>],
    facts: &Facts,
) -> Option<Problem> {
    let tunnel = network.name.as_str();
    let has_it = |relay: &&Node| {
        let link = facts.links.get(tunnel);
        link.is_some_and(|l| l.addresses.iter().any(|a| a.addr() == IpAddr::V4(relay.address)))
    };
    let relay = network.relays().find(has_it).or_else(|| network.relays().next())?;
    let inside = IpAddr::V4(relay.address);
    let host = |net: IpNet| net.hosts().nth(1).unwrap_or(net.addr());
    let mut ways: Vec<(&str, &str, IpAddr, IpAddr)> = Vec::new();
    let is_relay = facts.links.get(tunnel).is_none_or(|l| l.addresses.iter().any(|a| a.addr() == inside));
    if is_relay {
        ways.push((tunnel, tunnel, inside, inside));
    }
    for (site, link) in sites {
        let there = host(site.subnet);
        let own = if there.is_ipv6() { relay.address6.map_or(there, IpAddr::V6) } else { inside };
        ways.extend([(tunnel, *link, own, there), (*link, tunnel, there, own)]);
    }
    let out: Vec<String> = uplinks(facts, Family::V4).into_iter().filter(|l| l != tunnel).collect();
    let is_exit = network.spokes().any(|spoke| has_it(&spoke) && network.is_exit(spoke));
    if is_exit || (is_relay && relay.egress) {
        ways.extend(out.iter().map(|link| (tunnel, link.as_str(), inside, OUTSIDE)));
    }
    let is_of = |ip: IpAddr| chain.family == "inet" || (chain.family == "ip6") == ip.is_ipv6();
    let closed: Vec<(&str, &str, String)> = ways
        .into_iter()
        .filter(|(.., dst)| is_of(*dst))
        .filter_map(|(iif, oif, src, dst)| {
            let by = there.judge(Forwarded { src, dst, iif, oif, established: false, carried: None }).drop?;
            Some((iif, oif, by))
        })
        .collect();
    let (_, _, by) = closed.first()?;
    let NftForward { family, table, chain: base, .. } = chain;
    let mut commands: Vec<String> = closed
        .iter()
        .map(|(iif, oif, _)| {
            format!("nft insert rule {family} {table} {base} iifname {iif} oifname {oif} accept")
        })
        .collect();
    let back = format!(
        "nft insert rule {family} {table} {base} oifname {tunnel} ct state established,related accept"
    );
    commands.extend(closed.iter().any(|(_, oif, _)| out.iter().any(|o| o == oif)).then_some(back));
    let hint = if table == LIBVIRT {
        "<forward mode='open'/> in the network's XML (`virsh net-edit NAME`, then net-destroy and net-start): libvirt makes its \
         rules anew, and no rule of another table undoes its reject"
            .to_owned()
    } else {
        format!("add to that firewall's own file, and run: {}", commands.join("; "))
    };
    let ways: Vec<String> = closed.iter().map(|(iif, oif, _)| format!("{iif} to {oif}")).collect();
    Some(Problem::warning(
        "forward-dropped",
        format!("chain {family} {table} {base}"),
        format!("{family} {table} drops what this network forwards ({}): {by}", ways.join(", ")),
        hint,
    ))
}

/// The table of libvirt's nftables backend.
const LIBVIRT: &str = "libvirt_network";
/// An address that is nobody's (RFC 5737).
const OUTSIDE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));

fn dropped(chain: &NftForward, tunnel: &str, sites: &[Placed<'_>]) -> Problem {
    let NftForward { family, table, chain, .. } = chain;
    let links: BTreeSet<&str> = sites.iter().map(|(_, link)| *link).collect();
    let pairs = std::iter::once((tunnel, tunnel))
        .chain(links.into_iter().flat_map(|link| [(tunnel, link), (link, tunnel)]));
    let commands: Vec<String> = pairs
        .map(|(iif, oif)| {
            format!("nft insert rule {family} {table} {chain} iifname {iif} oifname {oif} accept")
        })
        .collect();
    Problem::warning(
        "forward-dropped",
        format!("chain {family} {table} {chain}"),
        format!(
            "the policy of {family} {table} {chain} is drop, and none of the table's rules names {tunnel}"
        ),
        format!("add to that firewall's own file, and run: {}", commands.join("; ")),
    )
}
