//! What has to stand in other programs' chains so that our packets pass, and what only their owner can set.
//!
//! Rules are restricted to the tunnel, the site's link and the site's prefix. Sources are not repeated in them:
//! what comes out of the tunnel is held to its peers' AllowedIPs, and our own table, whose drops are final,
//! says who may talk to whom.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::Facts;
use super::firewall::Family;
use super::foreign::{Accept, ForeignChain, ForeignRule, IptablesFacts, NftForward};
use crate::model::{Network, Node, Problem, Site, SiteInterface};

/// Docker's engine drops in raw PREROUTING since 28.0, for published ports, and since 28.2 for every container.
const RAW_DROPS_SINCE: u32 = 28;

/// A site of this node and its link.
type Placed<'a> = (&'a Site, &'a str);

/// Derives the rules for a node that forwards.
pub(super) fn rules(
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
    if there.forward_drops && node.is_relay() && has_family {
        accept(Accept { iif: tunnel(), oif: tunnel(), ..Accept::default() });
    }
    let sites: Vec<Placed<'_>> =
        sites.iter().filter(|(site, _)| Family::of(&site.subnet) == there.family).copied().collect();
    for (site, link) in &sites {
        if !there.forward_drops && !(there.docker_user && is_dockers(site, link, facts)) {
            continue;
        }
        let (net, link) = (Some(site.subnet), Some((*link).to_string()));
        accept(Accept { iif: tunnel(), oif: link.clone(), dst: net, ..Accept::default() });
        accept(Accept { iif: link, oif: tunnel(), src: net, ..Accept::default() });
    }
    if there.forward_drops {
        for (inside, src) in ways_out(network, node, &sites, there.family) {
            for uplink in uplinks(facts, there.family).filter(|u| *u != inside) {
                let (inside, uplink) = (Some(inside.clone()), Some(uplink.to_string()));
                let (iif, oif) = (inside.clone(), uplink.clone());
                accept(Accept { iif, oif, src, ..Accept::default() });
                accept(Accept { iif: uplink, oif: inside, dst: src, replies: true, ..Accept::default() });
            }
        }
    }
    if there.docker_user {
        let guarded =
            sites.iter().filter(|(site, link)| is_dockers(site, link, facts) && is_guarded(there, facts));
        for (site, _) in guarded {
            // On the subnet, not on containers: Docker adds a drop for each container as it starts.
            let accept = Accept { iif: tunnel(), dst: Some(site.subnet), ..Accept::default() };
            let raw = ForeignRule::new(there.iptables, there.family, ForeignChain::RawPrerouting, accept);
            rules.push(ForeignRule { made_chain: there.raw_made || !there.raw_prerouting, ..raw });
        }
    }
    rules
}

/// Says whether Docker keeps, or will keep, its bridges to themselves in raw PREROUTING.
fn is_guarded(there: &IptablesFacts, facts: &Facts) -> bool {
    let engine = facts.engine.as_ref().and_then(super::DockerEngine::major);
    !there.raw_guarded.is_empty() || engine.is_some_and(|major| major >= RAW_DROPS_SINCE)
}

/// Says whether a site is a network of Docker's.
pub(super) fn is_dockers(site: &Site, link: &str, facts: &Facts) -> bool {
    let listed = facts.docker.iter().flatten().any(|(_, n)| n.bridge == link);
    let guarded = facts.foreign.iptables.iter().any(|i| i.raw_guarded.contains(link));
    matches!(site.interface, Some(SiteInterface::Docker(_))) || listed || guarded
}

/// Links from which packets go out to the Internet through this node, with the prefix they are held to.
fn ways_out(
    network: &Network,
    node: &Node,
    sites: &[Placed<'_>],
    family: Family,
) -> Vec<(String, Option<IpNet>)> {
    let mut ways = Vec::new();
    if node.is_relay() && node.egress && (family == Family::V4 || network.subnet6.is_some()) {
        ways.push((network.name.to_string(), None));
    }
    let out = sites.iter().filter(|(site, _)| site.egress);
    ways.extend(out.map(|(site, link)| ((*link).to_string(), Some(site.subnet))));
    ways
}

fn uplinks(facts: &Facts, family: Family) -> impl Iterator<Item = &str> {
    let defaults =
        facts.routes.iter().filter(move |r| r.dst.prefix_len() == 0 && Family::of(&r.dst) == family);
    let links: BTreeSet<&str> = defaults.map(|r| r.device.as_str()).filter(|d| !d.is_empty()).collect();
    links.into_iter()
}

/// Tells of filters that no rule of ours can open.
pub(super) fn problems(network: &Network, sites: &[Placed<'_>], facts: &Facts) -> Vec<Problem> {
    let tunnel = network.name.as_str();
    let mut problems = Vec::new();
    for chain in
        facts.foreign.nft.iter().filter(|c| c.may_drop() && !c.is_docker() && !c.links.contains(tunnel))
    {
        problems.push(if chain.is_firewalld() {
            firewalld(tunnel, sites)
        } else {
            dropped(chain, tunnel, sites)
        });
    }
    let dockers = sites.iter().find(|(site, link)| is_dockers(site, link, facts));
    if let Some((site, _)) = dockers.filter(|_| facts.foreign.is_docker_nftables()) {
        problems.push(docker_nftables(site, tunnel));
    }
    problems
}

fn docker_nftables(site: &Site, tunnel: &str) -> Problem {
    Problem::warning(
        "docker-raw-drop",
        format!("site {}", site.subnet),
        format!(
            "Docker filters with nftables here and drops what comes to {} from {tunnel}; no rule of ours can undo that",
            site.subnet
        ),
        format!(
            "take \"firewall-backend\": \"nftables\" out of /etc/docker/daemon.json and restart Docker. Or keep it: set \
             \"allow-direct-routing\": true and \"bridge-accept-fwmark\": \"0x1000000/0x1000000\" there, and mark what \
             comes from the tunnel: nft 'add table inet mark-{tunnel}; add chain inet mark-{tunnel} forward {{ type filter \
             hook forward priority -10; }}; add rule inet mark-{tunnel} forward iifname {tunnel} meta mark set meta mark \
             | 0x1000000; add rule inet mark-{tunnel} forward oifname {tunnel} meta mark set meta mark | 0x1000000'"
        ),
    )
}

fn firewalld(tunnel: &str, sites: &[Placed<'_>]) -> Problem {
    let links: BTreeSet<&str> = sites.iter().map(|(_, link)| *link).collect();
    let zones: String = links
        .iter()
        .map(|link| {
            format!(
                "; and so that it reaches {link} as well, give a policy between the two zones: firewall-cmd --permanent \
                 --new-policy {tunnel}-{link}; for z in ingress egress; do firewall-cmd --permanent --policy \
                 {tunnel}-{link} --add-$z-zone {tunnel}; firewall-cmd --permanent --policy {tunnel}-{link} --add-$z-zone \
                 \"$(firewall-cmd --get-zone-of-interface {link} || firewall-cmd --get-default-zone)\"; done; firewall-cmd \
                 --permanent --policy {tunnel}-{link} --set-target ACCEPT"
            )
        })
        .collect();
    Problem::warning(
        "forward-dropped",
        format!("interface {tunnel}"),
        format!("firewalld rejects what it has no zone for, and {tunnel} is in none"),
        format!(
            "firewall-cmd --permanent --new-zone {tunnel}; firewall-cmd --permanent --zone {tunnel} --add-interface {tunnel} \
             --add-forward{zones}; firewall-cmd --reload"
        ),
    )
}

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
