//! What other programs' packet filters do to a packet that a host forwards, as far as its facts tell.
//!
//! Known are the rules of base chains with those that they jump to, as far as they are understood, and Docker's own chains: its
//! raw drops, DOCKER-USER first, what DOCKER-FORWARD lets through. Anything else is said to be uncertain.

use std::net::IpAddr;

use super::cause::Code;
use super::host::Host;
use crate::firewall::foreign::forward::{Carried, Forwarded};
use crate::firewall::foreign::{Accept, ForeignChain, ForeignRule, IptablesFacts, NftForward, Says};
use crate::firewall::{Action, Family};
use crate::plan::{DockerBridge, GatewayMode};

/// The table of libvirt's nftables backend.
const LIBVIRT: &str = "libvirt_network";

/// A packet on its way through a host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passing<'p> {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub iif: &'p str,
    pub oif: &'p str,
    /// Whether it belongs to a flow that passed before.
    pub established: bool,
    /// Whether this host rewrote its flow's destination.
    pub dnatted: bool,
    /// Whether it got its destination back here: raw PREROUTING saw this host's own address.
    pub restored: bool,
    pub carried: Carried,
}

impl<'p> Passing<'p> {
    const fn forwarded(self) -> Forwarded<'p> {
        let Self { src, dst, iif, oif, established, restored: _, dnatted: _, carried } = self;
        Forwarded { src, dst, iif, oif, established, carried: Some(carried) }
    }
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
            let mut dropped = forward(host, there, packet, &mut out.uncertain)?;
            dropped.by = format!("{} {}", there.iptables.program(family), dropped.by);
            Some(dropped)
        });
    }
    for there in foreign.docker_nft.iter().filter(|d| d.family == family) {
        let bridge = there.bridges.get(packet.oif).filter(|_| packet.iif != packet.oif);
        out.drop = out.drop.or_else(|| docker_nftables(host, bridge?, packet));
    }
    for chain in foreign.nft.iter().filter(|c| c.family == "inet" || c.family == family.nft()) {
        let (drop, doubt) = nft(host, chain, packet);
        out.drop = out.drop.or(drop);
        out.uncertain.extend(doubt);
    }
    out
}

/// Where on a host filters see a packet that its forwarding alone does not decide about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// What it sends itself.
    Output,
    /// What is for it.
    Input,
    /// Whatever comes in.
    Prerouting,
    /// Whatever leaves.
    Postrouting,
}

/// Sends a packet through the filters of a host's owner there; `code` is what a drop is called.
pub(super) fn pass_local(host: &Host, at: At, code: Code, packet: Forwarded<'_>) -> Outcome {
    let foreign = &host.facts.foreign;
    let mut out = Outcome::default();
    let family = if packet.dst.is_ipv6() { Family::V6 } else { Family::V4 };
    let (filters, link, way) = match at {
        At::Input => (&foreign.local_input, packet.iif, "iifname"),
        At::Prerouting => (&foreign.prerouting, packet.iif, "iifname"),
        At::Output => (&foreign.local_output, packet.oif, "oifname"),
        At::Postrouting => (&foreign.postrouting, packet.oif, "oifname"),
    };
    for filter in filters.iter().filter(|f| f.family.is_none_or(|f| f == family)) {
        let judged = filter.rules.judge(packet);
        out.uncertain
            .extend(judged.doubts.iter().map(|rule| format!("{} {rule} may decide otherwise", filter.place)));
        out.drop = out.drop.or_else(|| {
            let by = format!("{} {}", filter.place, judged.drop?);
            let what = carried_text(packet.carried);
            Some(Drop {
                code,
                by,
                fix: Fix::Owner(format!("an accept for {what} by {link} ({way} {link}) in that firewall")),
            })
        });
    }
    out
}

fn carried_text(carried: Option<Carried>) -> String {
    match carried {
        Some(Carried::Tcp(port)) => format!("TCP to port {port}"),
        Some(Carried::Udp(port)) => format!("UDP to port {port}"),
        Some(Carried::Icmp) => "ICMP".into(),
        None => "it".into(),
    }
}

/// Docker ≥ 28 lets nothing into a container but by its own bridge; an accept of ours before that does.
fn raw(host: &Host, there: &IptablesFacts, packet: Passing<'_>) -> Option<Drop> {
    let is_trusted =
        host.facts.docker_network(packet.oif).is_some_and(|(_, n)| n.trusted.contains(packet.iif));
    let is_guarded = there.raw_guarded.contains(packet.oif) && packet.iif != packet.oif && !is_trusted;
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

fn forward(
    host: &Host,
    there: &IptablesFacts,
    packet: Passing<'_>,
    uncertain: &mut Vec<String>,
) -> Option<Drop> {
    let is_docker = |link: &str| {
        there.docker_user && (there.raw_guarded.contains(link) || host.facts.docker_network(link).is_some())
    };
    let closes = host.facts.engine.as_ref().is_some_and(crate::plan::DockerEngine::drops_in_raw);
    let mode = host.facts.docker_network(packet.oif).map(|(_, n)| n.gateway_mode(there.family));
    let is_closed = is_docker(packet.oif)
        && packet.iif != packet.oif
        && mode != Some(GatewayMode::NatUnprotected)
        && (closes || !there.raw_guarded.is_empty());
    let accepts = [ForeignChain::DockerUser, ForeignChain::Forward];
    if accepts.iter().any(|chain| accepted(host, there, chain, packet)) {
        return None;
    }
    let judged = there.forward.judge(packet.forwarded());
    if !there.docker_user || judged.drop.as_ref().is_some_and(|by| !by.ends_with("(policy drop)")) {
        let program = there.iptables.program(there.family);
        uncertain.extend(judged.doubts.iter().map(|rule| format!("{program} {rule} may decide otherwise")));
        let chain = if there.docker_user { ForeignChain::DockerUser } else { ForeignChain::Forward };
        if let Some(by) = judged.drop {
            let fix = Fix::Up(format!("{program} filter {}", chain.chain()));
            return Some(Drop { code: Code::ForwardDropped, by: format!("filter {by}"), fix });
        }
        if !there.forward.chains.is_empty() || !there.forward_drops {
            return None;
        }
        uncertain.push(format!("{program}'s FORWARD has rules that were not read, and they may accept it"));
    }
    if !there.forward_drops && !is_closed {
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
        && (!accept.dnatted || packet.dnatted)
}

/// Docker's nftables backend leaves no place for a rule of ours: only its own settings open a bridge.
fn docker_nftables(host: &Host, bridge: &DockerBridge, packet: Passing<'_>) -> Option<Drop> {
    let settings = || {
        let words = "allow-direct-routing and bridge-accept-fwmark in /etc/docker/daemon.json: wgrelay plan has the words";
        Fix::Owner(words.into())
    };
    let drop = |code, chain: &str| {
        Some(Drop { code, by: format!("nft docker-bridges {chain} ({})", packet.oif), fix: settings() })
    };
    if bridge.guarded && !packet.restored && !bridge.trusted.contains(packet.iif) {
        return drop(Code::DockerRawDrop, "raw-PREROUTING");
    }
    let is_marked = || {
        let rules = host.state.firewall.iter().flat_map(|t| &t.chains).flat_map(|c| &c.rules);
        bridge.accepts.is_some() && rules.into_iter().any(|r| matches!(r.action, Action::Mark(_)))
    };
    if bridge.open || packet.established || is_marked() {
        return None;
    }
    drop(Code::ForwardDropped, "filter-FORWARD")
}

/// Says whether firewalld lets a packet through because it answers one that passed, or by a policy of ours.
fn passes_firewalld(host: &Host, packet: Passing<'_>) -> bool {
    let zone = host.facts.foreign.firewalld.as_ref().map_or("", |there| there.zone_of(packet.oif));
    packet.established || host.state.firewalld.values().any(|p| p.accepts(packet.src, packet.dst, zone))
}

/// What its owner has to say to let a packet through.
fn opens(chain: &NftForward, host: &Host, packet: Passing<'_>) -> String {
    if chain.table == LIBVIRT {
        return format!("<forward mode='open'/> for the network of {}, or an accept", packet.oif);
    }
    let (iif, oif) = (packet.iif, packet.oif);
    if iif == host.tunnel || oif == host.tunnel {
        format!("an accept for {} (iifname {iif} oifname {oif})", host.tunnel)
    } else {
        format!("an accept for iifname {iif} oifname {oif}")
    }
}

fn nft(host: &Host, chain: &NftForward, packet: Passing<'_>) -> (Option<Drop>, Option<String>) {
    let name = format!("{} {} {}", chain.family, chain.table, chain.chain);
    let by_tunnel = packet.iif == host.tunnel || packet.oif == host.tunnel;
    if chain.is_docker() {
        // Its chains are asked bridge by bridge.
        return (None, None);
    }
    let unread = format!("the rules of {name} were not read");
    if chain.is_firewalld() && by_tunnel && passes_firewalld(host, packet) {
        return (None, None);
    }
    if let Some(there) = &chain.forward {
        let judged = there.judge(packet.forwarded());
        let doubts: Vec<&str> = judged.doubts.iter().map(String::as_str).collect();
        let doubt = (!doubts.is_empty())
            .then(|| format!("{} {} {} may decide otherwise", chain.family, chain.table, doubts.join(", ")));
        let words =
            || format!("{} in that firewall: wgrelay plan has the commands", opens(chain, host, packet));
        let drop = judged.drop.map(|by| Drop {
            code: Code::ForwardDropped,
            by: format!("nft {} {} {by}", chain.family, chain.table),
            fix: Fix::Owner(words()),
        });
        return (drop, doubt);
    }
    if !chain.may_drop() || !by_tunnel {
        // A policy of accept, or a way that is none of the network's: only a rule could drop it.
        return (None, Some(unread));
    }
    if chain.links.contains(&host.tunnel) {
        return (None, Some(format!("{unread}, and they name {}", host.tunnel)));
    }
    let policy = if chain.is_firewalld() { "no policy of it accepts" } else { "policy drop" };
    let owners = || {
        Fix::Owner(format!("an accept for {} in that firewall: wgrelay plan has the commands", host.tunnel))
    };
    let ours = host.facts.foreign.firewalld.as_ref().filter(|f| chain.is_firewalld() && f.is_ready());
    let fix = match ours {
        Some(_) => Fix::Up("firewalld's policies".into()),
        None => owners(),
    };
    let drop = Drop { code: Code::ForwardDropped, by: format!("nft {name} ({policy})"), fix };
    (Some(drop), Some(unread))
}
