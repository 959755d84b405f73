//! Whether a filter of others drops what comes out of the tunnel for this host because of where it is from: Tailscale's ts-input does, of
//! 100.64.0.0/10. Who lets nobody in closes his own services, and says so himself; who closes one network's prefix seldom knows.

use std::net::IpAddr;

use super::forward::{Carried, Forwarded};
use super::{Facts, LocalFilter};
use crate::firewall::Family;
use crate::model::{Network, Node, Problem};

/// How many nodes' addresses are tried: those of a network are alike.
const TRIED: usize = 16;
/// A port that nobody names in a rule.
const ANY_PORT: u16 = 50_001;

/// Tells of filters that surely drop it.
pub(crate) fn problems(network: &Network, node: &Node, facts: &Facts) -> Vec<Problem> {
    let input =
        facts.foreign.local_input.iter().filter_map(|filter| problem(filter, Sees::Input, network, node));
    let all = facts.foreign.prerouting.iter().filter_map(|filter| problem(filter, Sees::All, network, node));
    input.chain(all).collect()
}

/// What a filter sees of what comes in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sees {
    /// What is for this host.
    Input,
    /// What it forwards, too: who closes that closes the network.
    All,
}

fn problem(filter: &LocalFilter, sees: Sees, network: &Network, node: &Node) -> Option<Problem> {
    if filter.family == Some(Family::V6) {
        return None;
    }
    let tunnel = network.name.as_str();
    let dst = IpAddr::V4(node.address);
    let others = network.nodes.values().filter(|n| n.name != node.name).take(TRIED);
    let by = others.map(|n| IpAddr::V4(n.address)).find_map(|src| {
        let mut by = None;
        for carried in [Carried::Icmp, Carried::Tcp(ANY_PORT), Carried::Udp(ANY_PORT)] {
            let carried = Some(carried);
            let judged =
                filter.rules.judge(Forwarded { src, dst, iif: tunnel, oif: "", established: false, carried });
            by = Some(judged.drop.filter(|_| judged.doubts.is_empty())?);
        }
        by.filter(|by| sees == Sees::All || by.contains("-s ") || by.contains("saddr"))
    })?;
    let place = &filter.place;
    let hint = if by.starts_with("ts-input") {
        "Tailscale takes 100.64.0.0/10 for its own: give the network another subnet, or let Tailscale leave the filter alone \
         (`tailscale set --netfilter-mode=off`)"
            .to_owned()
    } else {
        format!("an accept for what comes by {tunnel} above that rule, where that firewall keeps its rules")
    };
    Some(Problem::warning(
        "input-dropped",
        format!("filter {place}"),
        format!(
            "{place} {by} drops what comes out of {tunnel}{}",
            if sees == Sees::All { "" } else { " for this host itself" }
        ),
        hint,
    ))
}
