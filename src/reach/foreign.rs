//! What other programs' packet filters do to a packet that a host forwards, as far as its facts tell.
//!
//! Known are the policies of base chains and Docker's own chains: its raw drops, DOCKER-USER first, what DOCKER-FORWARD lets
//! through. Anything else in a foreign chain was not read, and is said to be uncertain.

use std::net::IpAddr;

use super::cause::Code;
use super::host::Host;
use crate::plan::firewall::Family;
use crate::plan::foreign::{Accept, ForeignChain, ForeignRule, IptablesFacts, NftForward, Says};

/// Docker's engine drops what is not published, whatever FORWARD's policy, since this version.
const CLOSED_SINCE: u32 = 28;

/// A packet on its way through a host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passing<'p> {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub iif: &'p str,
    pub oif: &'p str,
    /// Whether it belongs to a flow that passed before.
    pub established: bool,
    /// Whether it got its destination back here: raw PREROUTING saw this host's own address.
    pub restored: bool,
}

/// A drop: by what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drop {
    pub code: Code,
    pub by: String,
    pub fix: Fix,
}

/// What would open the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fix {
    /// A rule of ours in this chain.
    Up(String),
    /// These words: only the filter's owner can.
    Owner(String),
}

/// What comes of a packet.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub drop: Option<Drop>,
    /// What may decide otherwise and was not read.
    pub uncertain: Vec<String>,
}

/// Sends a packet through everybody else's filters on a host.
pub(super) fn pass(host: &Host, packet: Passing<'_>) -> Outcome {
    let foreign = &host.facts.foreign;
    let mut out = Outcome::default();
    if let Some(why) = &foreign.unread {
        out.uncertain.push(format!("the packet filters of others could not be read: {why}"));
    }
    let family = if packet.dst.is_ipv6() { Family::V6 } else { Family::V4 };
    for there in foreign.iptables.iter().filter(|i| i.family == family) {
        out.drop = out.drop.or_else(|| raw(host, there, packet)).or_else(|| {
            let mut dropped = forward(host, there, packet)?;
            if !there.docker_user {
                let chain = there.iptables.program(family);
                out.uncertain
                    .push(format!("{chain}'s FORWARD has rules that were not read, and they may accept it"));
            }
            dropped.by = format!("{} {}", there.iptables.program(family), dropped.by);
            Some(dropped)
        });
    }
    for chain in foreign.nft.iter().filter(|c| c.family == "inet" || c.family == family.nft()) {
        let (drop, doubt) = nft(host, chain, packet);
        out.drop = out.drop.or(drop);
        out.uncertain.extend(doubt);
    }
    out
}

/// Docker ≥ 28 lets nothing into a container but by its own bridge; an accept of ours before that does.
fn raw(host: &Host, there: &IptablesFacts, packet: Passing<'_>) -> Option<Drop> {
    let is_guarded = there.raw_guarded.contains(packet.oif) && packet.iif != packet.oif;
    if !is_guarded || packet.restored || accepted(host, there, &ForeignChain::RawPrerouting, packet) {
        return None;
    }
    let program = there.iptables.program(there.family);
    Some(Drop {
        code: Code::DockerRawDrop,
        by: format!("{program} raw PREROUTING (-d {} ! -i {} -j DROP)", packet.dst, packet.oif),
        fix: Fix::Up(format!("{program} raw PREROUTING")),
    })
}

fn forward(host: &Host, there: &IptablesFacts, packet: Passing<'_>) -> Option<Drop> {
    let is_docker = |link: &str| {
        there.docker_user
            && (there.raw_guarded.contains(link)
                || host.facts.docker.iter().flatten().any(|(_, n)| n.bridge == link))
    };
    let engine = host.facts.engine.as_ref().and_then(crate::plan::DockerEngine::major);
    let is_closed = is_docker(packet.oif)
        && packet.iif != packet.oif
        && (engine.is_some_and(|major| major >= CLOSED_SINCE) || !there.raw_guarded.is_empty());
    if !there.forward_drops && !is_closed {
        return None;
    }
    let accepts = [ForeignChain::DockerUser, ForeignChain::Forward];
    if accepts.iter().any(|chain| accepted(host, there, chain, packet)) {
        return None;
    }
    // DOCKER-FORWARD: answers to containers, and what containers send elsewhere.
    if is_docker(packet.oif) && packet.established || is_docker(packet.iif) {
        return None;
    }
    let chain = if there.docker_user { ForeignChain::DockerUser } else { ForeignChain::Forward };
    let by = if there.forward_drops {
        "filter FORWARD (policy drop)".into()
    } else {
        format!("filter DOCKER (! -i {0} -o {0} -j DROP)", packet.oif)
    };
    let place = format!("{} filter {}", there.iptables.program(there.family), chain.chain());
    Some(Drop { code: Code::ForwardDropped, by, fix: Fix::Up(place) })
}

/// Says whether a rule of ours there accepts the packet before anything else speaks.
fn accepted(host: &Host, there: &IptablesFacts, chain: &ForeignChain, packet: Passing<'_>) -> bool {
    let is_there = |rule: &&ForeignRule| {
        rule.iptables == there.iptables
            && rule.family == there.family
            && rule.chain == *chain
            && !rule.shadowed
    };
    host.state.foreign_rules.iter().filter(is_there).any(|rule| match &rule.says {
        Says::Accept(accept) => holds(accept, chain, packet),
        Says::Other(_) => false,
    })
}

fn holds(accept: &Accept, chain: &ForeignChain, packet: Passing<'_>) -> bool {
    let link = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|w| w == is);
    accept.src.is_none_or(|net| net.contains(&packet.src))
        && accept.dst.is_none_or(|net| net.contains(&packet.dst))
        && link(&accept.iif, packet.iif)
        // Before routing no packet has a link to leave by.
        && (link(&accept.oif, packet.oif) && *chain != ForeignChain::RawPrerouting || accept.oif.is_none())
        && (!accept.replies || packet.established)
}

fn nft(host: &Host, chain: &NftForward, packet: Passing<'_>) -> (Option<Drop>, Option<String>) {
    let name = format!("{} {} {}", chain.family, chain.table, chain.chain);
    let by_tunnel = packet.iif == host.tunnel || packet.oif == host.tunnel;
    if chain.is_docker() {
        let into = host.facts.docker.iter().flatten().any(|(_, n)| n.bridge == packet.oif);
        if !into || packet.iif == packet.oif || packet.established {
            return (None, None);
        }
        let fix = "firewall-backend, or allow-direct-routing and bridge-accept-fwmark, in /etc/docker/daemon.json: \
                   wgrelay plan has the words"
            .into();
        let drop = Drop { code: Code::DockerRawDrop, by: format!("nft {name}"), fix: Fix::Owner(fix) };
        return (Some(drop), Some(format!("{name} lets marked packets in; marks were not looked at")));
    }
    let unread = format!("the rules of {name} were not read");
    if !chain.may_drop() || !by_tunnel {
        // A policy of accept, or a way that is none of the network's: only a rule could drop it.
        return (None, Some(unread));
    }
    if chain.links.contains(&host.tunnel) {
        return (None, Some(format!("{unread}, and they name {}", host.tunnel)));
    }
    let policy = if chain.is_firewalld() { "no policy joins its zones" } else { "policy drop" };
    let fix =
        Fix::Owner(format!("an accept for {} in that firewall: wgrelay plan has the commands", host.tunnel));
    let drop = Drop { code: Code::ForwardDropped, by: format!("nft {name} ({policy})"), fix };
    (Some(drop), Some(unread))
}
