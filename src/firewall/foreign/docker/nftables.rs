//! Docker's nftables backend (Engine 29): its drops are final, and only its own settings open a way through.
//!
//! Two drops are in the way. `raw-PREROUTING` drops what comes to a container by another link than its bridge, unless
//! the daemon allows direct routing or the network trusts the link. `filter-FORWARD` drops what no published port
//! lets in, unless it carries the mark that the daemon was told to accept: that mark is ours to set.

use super::{DockerBridge, GatewayMode};
use crate::firewall::foreign::Facts;
use crate::firewall::foreign::accepts::{Placed, is_dockers};
use crate::firewall::{Action, Addresses, Chain, Family, Hook, Mark, Match, Rule};
use crate::model::{Network, Problem, Site};

/// The mark that is proposed: one bit that neither Tailscale (0xff0000) nor wg-quick (51820) uses.
const PROPOSED: Mark = Mark { value: 0x0100_0000, mask: 0x0100_0000 };

/// The chain that marks what is on its way from the tunnel into Docker's bridges; `None`: nothing asks for a mark.
pub(crate) fn chain(network: &Network, sites: &[Placed<'_>], facts: &Facts) -> Option<Chain> {
    let rules: Vec<Rule> = sites
        .iter()
        .filter_map(|(site, link)| {
            let family = Family::of(&site.subnet);
            let mark = bridge(link, family, facts).filter(|b| !b.open)?.accepts?;
            let matches = vec![
                Match::Iif { name: network.name.to_string(), is: true },
                Match::Oif { name: (*link).into(), is: true },
                Match::Daddr { family, with: Addresses::Net(site.subnet), is: true },
            ];
            Some(Rule { matches, action: Action::Mark(mark) })
        })
        .collect();
    (!rules.is_empty()).then(|| Chain { name: "mark".into(), hook: Hook::Mark, rules })
}

/// Tells which of Docker's settings are missing for each site that is one of its networks.
pub(crate) fn problems(network: &Network, sites: &[Placed<'_>], facts: &Facts) -> Vec<Problem> {
    if !facts.foreign.is_docker_nftables() {
        return Vec::new();
    }
    let dockers = sites.iter().filter(|(site, link)| is_dockers(site, link, facts));
    dockers.filter_map(|(site, link)| problem(network.name.as_str(), site, link, facts)).collect()
}

fn problem(tunnel: &str, site: &Site, link: &str, facts: &Facts) -> Option<Problem> {
    let family = Family::of(&site.subnet);
    let there = bridge(link, family, facts).cloned().unwrap_or_default();
    let (name, listed) = facts.docker_network(link).unzip();
    let unprotected = listed.is_some_and(|n| n.gateway_mode(family) == GatewayMode::NatUnprotected);
    let unmarked = !there.open && !unprotected && there.accepts.is_none();
    let dropped = there.guarded && !there.trusted.contains(tunnel);
    // Before a container runs no drop is there to be seen; whoever set the mark is believed to have set the rest.
    let runs = name.is_some_and(|name| facts.containers.iter().any(|c| c.networks.contains_key(name)));
    let trusted = listed.is_some_and(|n| n.trusted.contains(tunnel));
    let unknown = unmarked && !there.guarded && !runs && !trusted;
    let mut daemon = Vec::new();
    let mut or = String::new();
    if dropped || unknown {
        daemon.push("\"allow-direct-routing\": true".to_string());
        or = format!(
            " (instead of \"allow-direct-routing\", for this network alone: make {} anew with `-o \
             com.docker.network.bridge.trusted_host_interfaces={tunnel}`)",
            name.unwrap_or("the network")
        );
    }
    if unmarked {
        let Mark { value, mask } = PROPOSED;
        daemon.push(format!("\"bridge-accept-fwmark\": \"{value:#x}/{mask:#x}\""));
    }
    if daemon.is_empty() {
        return None;
    }
    Some(Problem::warning(
        "docker-raw-drop",
        format!("site {}", site.subnet),
        format!(
            "Docker filters with nftables here and drops what comes to {} from {tunnel}; no rule of another table can \
             undo that, and some of its own settings are missing",
            site.subnet
        ),
        format!(
            "put {} into /etc/docker/daemon.json{or}, restart Docker, and run `wgrelay up` again, which sets the mark that \
             Docker accepts. Or take \"firewall-backend\": \"nftables\" out of that file",
            daemon.join(" and ")
        ),
    ))
}

fn bridge<'a>(link: &str, family: Family, facts: &'a Facts) -> Option<&'a DockerBridge> {
    facts.foreign.docker_nft.iter().find(|t| t.family == family)?.bridges.get(link)
}
