//! Whether this host's own filters let out what the network has to send: the tunnel's datagrams to where its peers are called, and
//! what the host itself sends into the tunnel. Nothing is opened here: that it is closed is told, with the command.

use std::net::{IpAddr, SocketAddr};

use super::accepts::uplinks;
use super::forward::{Carried, Forwarded, Judged};
use super::{Facts, LocalFilter};
use crate::firewall::Family;
use crate::model::{Network, Node, Problem};

/// A port that nobody names in a rule: what goes to it fares as whatever is not named.
const ANY_PORT: u16 = 50_001;

/// Tells of filters that surely drop it.
pub(crate) fn problems(network: &Network, node: &Node, facts: &Facts) -> Vec<Problem> {
    let filters = facts.foreign.local_output.iter().chain(&facts.foreign.postrouting);
    filters.filter_map(|filter| problem(filter, network, node, facts)).collect()
}

fn problem(filter: &LocalFilter, network: &Network, node: &Node, facts: &Facts) -> Option<Problem> {
    let tunnel = network.name.as_str();
    let (mut what, mut commands, mut by) = (Vec::new(), Vec::new(), None);
    let peers = network.nodes.values().filter(|n| n.name != node.name && (n.is_relay() || node.is_relay()));
    let endpoints = peers.filter_map(|n| node.calls(n)?.socket_addr());
    if let Some((to, rule)) = endpoints.into_iter().find_map(|to| Some((to, outer(filter, to, facts)?))) {
        what.push(format!("the tunnel's own datagrams to {to}"));
        commands.push(opens(filter, &format!("udp dport {}", to.port()), tunnel));
        by = Some(rule);
    }
    if let Some(rule) = inner(filter, tunnel, network, node) {
        what.push(format!("what this host itself sends into {tunnel}, but for what it names"));
        commands.push(opens(filter, "", tunnel));
        by = by.or(Some(rule));
    }
    let by = by?;
    let place = &filter.place;
    Some(Problem::warning(
        "output-dropped",
        format!("filter {place}"),
        format!("{place} {by} drops {}", what.join(", and ")),
        format!("{}, and the same where that firewall keeps its rules", commands.join("; ")),
    ))
}

/// The rule that surely drops a packet.
fn surely(judged: Judged) -> Option<String> {
    judged.drop.filter(|_| judged.doubts.is_empty())
}

fn is_of(filter: &LocalFilter, ip: IpAddr) -> bool {
    filter.family.is_none_or(|family| (family == Family::V6) == ip.is_ipv6())
}

fn outer(filter: &LocalFilter, to: SocketAddr, facts: &Facts) -> Option<String> {
    if !is_of(filter, to.ip()) {
        return None;
    }
    let family = if to.is_ipv6() { Family::V6 } else { Family::V4 };
    let mut by = None;
    for link in uplinks(facts, family) {
        let addresses = facts.links.get(&link).into_iter().flat_map(|l| &l.addresses).map(ipnet::IpNet::addr);
        let src = addresses.into_iter().find(|a| a.is_ipv6() == to.is_ipv6())?;
        let carried = Some(Carried::Udp(to.port()));
        let sent = Forwarded { src, dst: to.ip(), iif: "", oif: &link, established: false, carried };
        by = Some(surely(filter.rules.judge(sent))?);
    }
    by
}

fn inner(filter: &LocalFilter, tunnel: &str, network: &Network, node: &Node) -> Option<String> {
    let other = network.nodes.values().find(|n| n.name != node.name)?;
    let (src, dst) = (IpAddr::V4(node.address), IpAddr::V4(other.address));
    if !is_of(filter, src) {
        return None;
    }
    let mut by = None;
    for carried in [Carried::Icmp, Carried::Tcp(ANY_PORT), Carried::Udp(ANY_PORT)] {
        let carried = Some(carried);
        let sent = Forwarded { src, dst, iif: "", oif: tunnel, established: false, carried };
        by = Some(surely(filter.rules.judge(sent))?);
    }
    by
}

/// The command that opens it: for what `matches` says, else for all that leaves by the tunnel.
fn opens(filter: &LocalFilter, matches: &str, tunnel: &str) -> String {
    let port = matches.strip_prefix("udp dport ");
    let is_ufw = filter.rules.chains.keys().any(|chain| chain.starts_with("ufw"));
    match (is_ufw, filter.place.strip_prefix("nft "), port) {
        (true, _, Some(port)) => format!("ufw allow out {port}/udp"),
        (true, _, None) => format!("ufw allow out on {tunnel}"),
        (false, Some(table), Some(_)) => {
            format!("nft insert rule {table} {} {matches} accept", filter.rules.base)
        }
        (false, Some(table), None) => {
            format!("nft insert rule {table} {} oifname {tunnel} accept", filter.rules.base)
        }
        (false, None, of) => {
            let program = filter.place.split(' ').next().unwrap_or_default();
            let of = of.map_or_else(|| format!("-o {tunnel}"), |port| format!("-p udp --dport {port}"));
            format!("{program} -I {} {of} -j ACCEPT", filter.rules.base)
        }
    }
}
