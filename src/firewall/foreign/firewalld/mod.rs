//! What firewalld needs so that our packets pass: policies of our own in it.
//!
//! Its last rule rejects whatever no zone and no policy lets through, and no rule of another table undoes that; its own
//! table belongs to its process. So we keep policies there, named after the interface: they are from any zone, because
//! the tunnel is to stay in whichever zone it is, and say by prefixes who may pass. Who may talk to whom is our own
//! table's matter, whose drops are final.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Facts;
use super::accepts::{Placed, ways_out};
use crate::firewall::{Action, Addresses, Chain, CtState, Family, Hook, Match, Rule};
use crate::model::{InterfaceName, Network, Node, Problem, Timestamp, reachable_sites};

/// What the name of a policy of ours begins with: with the interface's name after it, or a number that stands for one.
const PREFIXES: [&str; 2] = ["wgrelay-", "wgr-"];
/// The longest name of a policy, in characters: firewalld before 2.0 makes iptables chains of it.
pub(crate) const MAX_NAME: usize = 17;
/// Every zone.
const ANY: &str = "ANY";

/// What a policy lets through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RichRule {
    /// It accepts from one prefix to another; `None`: whatever the address.
    Accept {
        /// Source prefix.
        src: Option<IpNet>,
        /// Destination prefix.
        dst: Option<IpNet>,
    },
    /// Something that we never write: somebody edited it.
    Other(String),
}

impl fmt::Display for RichRule {
    /// Writes firewalld's rich language, as firewalld itself prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src, dst) = match self {
            Self::Accept { src, dst } => (src, dst),
            Self::Other(text) => return f.write_str(text),
        };
        f.write_str("rule")?;
        if let Some(net) = src.or(*dst) {
            f.write_str(match Family::of(&net) {
                Family::V4 => " family=\"ipv4\"",
                Family::V6 => " family=\"ipv6\"",
            })?;
        }
        for (end, net) in [("source", src), ("destination", dst)] {
            if let Some(net) = net {
                write!(f, " {end} address=\"{net}\"")?;
            }
        }
        f.write_str(" accept")
    }
}

impl RichRule {
    /// Reads a rule as firewalld prints it.
    pub fn parse(text: &str) -> Self {
        let end = |name: &str| {
            let rest = text.split_once(&format!("{name} address=\""))?.1;
            rest.split_once('"')?.0.parse().ok()
        };
        let read = Self::Accept { src: end("source"), dst: end("destination") };
        if read.to_string() == text { read } else { Self::Other(text.into()) }
    }
    fn words(&self) -> String {
        match self {
            Self::Accept { src, dst } => {
                let end = |word: &str, net: &Option<IpNet>| net.map(|net| format!("{word} {net}"));
                [end("from", src), end("to", dst)].into_iter().flatten().collect::<Vec<_>>().join(" ")
            }
            Self::Other(text) => format!("`{text}`"),
        }
    }
}

/// A policy of ours in firewalld.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewalldPolicy {
    /// The zones that packets leave by; `ANY`: all.
    pub egress: BTreeSet<String>,
    /// What it lets through.
    pub rules: BTreeSet<RichRule>,
    /// Whether it is the same at run time and in firewalld's files, with nothing else changed.
    pub whole: bool,
}

impl FirewalldPolicy {
    /// Makes what stands for a policy in the files of a firewalld that does not run: its content is not read.
    pub const fn asleep() -> Self {
        Self { egress: BTreeSet::new(), rules: BTreeSet::new(), whole: false }
    }
    /// Returns the policy in words: `accept from 192.168.3.0/24 to 172.19.0.0/16`.
    pub fn words(&self) -> String {
        let rules: Vec<String> = self.rules.iter().map(RichRule::words).collect();
        let mut text = match rules.len() {
            0 => "nothing accepted".to_string(),
            1..=8 => format!("accept {}", rules.join(", ")),
            n => format!("accept {}, and {} more", rules[..8].join(", "), n - 8),
        };
        if !self.egress.contains(ANY) && !self.egress.is_empty() {
            let zones: Vec<&str> = self.egress.iter().map(String::as_str).collect();
            text += &format!(", into zone {}", zones.join(", "));
        }
        if !self.whole {
            text += " (not as it was made)";
        }
        text
    }
    /// Says whether it lets a new flow through that leaves by a zone.
    pub fn accepts(&self, src: std::net::IpAddr, dst: std::net::IpAddr, zone: &str) -> bool {
        let inside = |net: &Option<IpNet>, address| net.is_none_or(|net| net.contains(address));
        self.whole
            && (self.egress.contains(ANY) || self.egress.contains(zone))
            && self.rules.iter().any(|rule| match rule {
                RichRule::Accept { src: from, dst: to } => inside(from, &src) && inside(to, &dst),
                RichRule::Other(_) => false,
            })
    }
}

/// What a running firewalld says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewalldFacts {
    /// Why it cannot be asked; `None`: it answered.
    pub fault: Option<String>,
    /// The zones of links that are in one by name.
    pub zones: BTreeMap<String, String>,
    /// The zone of all others.
    pub default_zone: String,
    /// What at run time differs from its files, so that a reload would change it: `zone public`.
    pub unloaded: BTreeSet<String>,
    /// Policies of ours at run time.
    pub policies: BTreeSet<String>,
    /// The UDP ports of this host that each zone in use lets in, first and last.
    #[serde(default)]
    pub open: BTreeMap<String, BTreeSet<(u16, u16)>>,
}

impl FirewalldFacts {
    /// Says whether a policy can be made.
    pub fn is_ready(&self) -> bool {
        self.fault.is_none() && self.unloaded.is_empty()
    }
    /// Says whether a zone is known to keep a UDP port of this host closed.
    pub(crate) fn is_closed(&self, zone: &str, port: u16) -> bool {
        let is_open = |ranges: &BTreeSet<(u16, u16)>| ranges.iter().any(|(a, b)| (*a..=*b).contains(&port));
        self.open.get(zone).is_some_and(|ranges| !is_open(ranges))
    }
    /// Returns the zone by which a policy reaches a link. firewalld 1.3 has no jump to a policy for a zone that no link is in by
    /// name, be it the default zone of all others: there, any zone is meant.
    fn egress_zone(&self, link: &str) -> &str {
        let zone = self.zone_of(link);
        if self.zones.values().any(|bound| bound == zone) { zone } else { ANY }
    }
    /// Returns the zone of a link.
    pub fn zone_of(&self, link: &str) -> &str {
        self.zones.get(link).unwrap_or(&self.default_zone)
    }
}

/// Says whether a policy is ours, of whichever network.
pub fn is_our_policy(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns the names of a network's policies: inside the network, and out to the Internet.
pub fn policy_names(network: &InterfaceName) -> [String; 2] {
    let plain = format!("{}{network}", PREFIXES[0]);
    let is_simple = plain.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let name = if is_simple && plain.len() + "-out".len() <= MAX_NAME {
        plain
    } else {
        // FNV-1a, 32 bits: the same name for the same interface, for ever.
        let hash = network
            .as_str()
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        format!("{}{hash:08x}", PREFIXES[1])
    };
    [name.clone(), name + "-out"]
}

/// Derives the policies of a node that forwards.
pub(crate) fn policies(
    network: &Network,
    node: &Node,
    sites: &[Placed<'_>],
    facts: &Facts,
    now: Timestamp,
) -> BTreeMap<String, FirewalldPolicy> {
    let names = policy_names(&network.name);
    if let Some(asleep) = &facts.foreign.firewalld_asleep {
        // They are left as they are until it runs again, or `down` takes them out.
        let ours = asleep.iter().filter(|name| names.contains(name));
        return ours.map(|name| (name.clone(), FirewalldPolicy::asleep())).collect();
    }
    let Some(there) = facts.foreign.firewalld.as_ref().filter(|f| f.fault.is_none()) else {
        return BTreeMap::new();
    };
    let wanted = needed(network, node, sites, facts, there, now);
    if must_wait(&wanted, there) { BTreeMap::new() } else { wanted }
}

/// A policy comes to life by a reload of firewalld's files, which takes everybody's changes at run time away.
fn must_wait(wanted: &BTreeMap<String, FirewalldPolicy>, there: &FirewalldFacts) -> bool {
    !there.unloaded.is_empty() && wanted.keys().any(|name| !there.policies.contains(name))
}

fn needed(
    network: &Network,
    node: &Node,
    sites: &[Placed<'_>],
    facts: &Facts,
    there: &FirewalldFacts,
    now: Timestamp,
) -> BTreeMap<String, FirewalldPolicy> {
    let remote = remote(network, node, now);
    // Whatever goes into the tunnel: our own table refuses what is not allowed there.
    let mut inside: BTreeSet<RichRule> =
        remote.iter().map(|net| RichRule::Accept { src: None, dst: Some(*net) }).collect();
    inside.extend(
        into_sites(&remote, sites)
            .map(|(src, site, _)| RichRule::Accept { src: Some(src), dst: Some(site.subnet) }),
    );
    if node.is_relay() {
        let (_, led_on) = network.exit_sources(node, now);
        inside.extend(led_on.into_iter().map(|net| RichRule::Accept { src: Some(net), dst: None }));
    }
    let mut outside = BTreeSet::new();
    let mut zones = BTreeSet::new();
    for family in Family::BOTH {
        for way in ways_out(network, node, sites, facts, family) {
            let sources = remote.iter().filter(|net| Family::of(net) == family).copied();
            let sources: Vec<IpNet> = way.only.map_or_else(|| sources.collect(), |net| vec![net]);
            outside.extend(sources.into_iter().map(|src| RichRule::Accept { src: Some(src), dst: None }));
            zones.extend(way.outside.iter().map(|link| there.egress_zone(link).to_string()));
        }
    }
    if zones.contains(ANY) {
        // It stands for all, and firewalld takes it alone.
        zones.retain(|zone| zone == ANY);
    }
    let policy = |egress, rules| FirewalldPolicy { egress, rules, whole: true };
    let [name, out] = policy_names(&network.name);
    let mut policies: BTreeMap<_, _> = [(name, policy([ANY.to_string()].into(), inside))].into();
    if !outside.is_empty() && !zones.is_empty() {
        policies.insert(out, policy(zones, outside));
    }
    policies
}

/// The prefixes at the other end of the tunnel.
fn remote(network: &Network, node: &Node, now: Timestamp) -> BTreeSet<IpNet> {
    network.subnets().into_iter().chain(reachable_sites(network, node, now)).collect()
}

fn into_sites<'a>(
    remote: &'a BTreeSet<IpNet>,
    sites: &'a [Placed<'a>],
) -> impl Iterator<Item = (IpNet, &'a crate::model::Site, &'a str)> {
    sites.iter().flat_map(move |(site, link)| {
        let from = remote.iter().filter(|net| Family::of(net) == Family::of(&site.subnet));
        from.map(move |src| (*src, *site, *link))
    })
}

/// Holds what the policies let into the sites to the tunnel: a rule of firewalld's names no link, and a neighbour may
/// write any source. `None`: there are no policies.
pub(crate) fn chain(
    network: &Network,
    node: &Node,
    sites: &[Placed<'_>],
    facts: &Facts,
    now: Timestamp,
) -> Option<Chain> {
    if sites.is_empty() || facts.foreign.firewalld.as_ref().is_none_or(|f| f.fault.is_some()) {
        return None;
    }
    let answers = Rule { matches: vec![Match::Ct(CtState::EstablishedRelated)], action: Action::Accept };
    let remote = remote(network, node, now);
    let drops = into_sites(&remote, sites).map(|(src, site, _)| {
        let family = Family::of(&site.subnet);
        let matches = vec![
            Match::Iif { name: network.name.to_string(), is: false },
            Match::Saddr { family, with: Addresses::Net(src), is: true },
            Match::Daddr { family, with: Addresses::Net(site.subnet), is: true },
        ];
        Rule { matches, action: Action::Drop }
    });
    let rules = std::iter::once(answers).chain(drops).collect();
    Some(Chain { name: "by-tunnel-only".into(), hook: Hook::Forward, rules })
}

/// Tells where the policies cannot be made by themselves.
pub(crate) fn problems(
    network: &Network,
    node: &Node,
    sites: &[Placed<'_>],
    facts: &Facts,
    now: Timestamp,
) -> Vec<Problem> {
    if facts.foreign.firewalld_chain().is_none() {
        return Vec::new();
    }
    let unknown = FirewalldFacts { fault: Some("it was not asked".into()), ..FirewalldFacts::default() };
    let there = facts.foreign.firewalld.as_ref().unwrap_or(&unknown);
    let wanted = needed(network, node, sites, facts, there, now);
    let tell = |why: String, fix: String| {
        vec![Problem::warning("forward-dropped", format!("interface {}", network.name), why, fix)]
    };
    if let Some(fault) = &there.fault {
        return tell(
            format!(
                "firewalld rejects what no policy of its own lets through, and cannot be told of one: {fault}"
            ),
            format!("run {}", commands(&wanted).join("; ")),
        );
    }
    if must_wait(&wanted, there) {
        let what: Vec<&str> = there.unloaded.iter().map(String::as_str).collect();
        return tell(
            format!(
                "firewalld rejects what no policy of its own lets through; a new one needs a reload, which would change \
                 what differs at run time from its files ({})",
                what.join(", ")
            ),
            "`firewall-cmd --runtime-to-permanent` keeps what is set at run time, `firewall-cmd --reload` forgets it; then \
             run `wgrelay up` again"
                .into(),
        );
    }
    Vec::new()
}

/// The same policies, made by hand.
fn commands(policies: &BTreeMap<String, FirewalldPolicy>) -> Vec<String> {
    let mut commands = Vec::new();
    for (name, policy) in policies {
        commands.push(format!("firewall-cmd --permanent --new-policy {name}"));
        // It takes one kind of change at a time.
        let zones = policy.egress.iter().filter(|z| !z.is_empty()).map(|z| format!("--add-egress-zone {z}"));
        let rules: Vec<String> =
            policy.rules.iter().map(|rule| format!("--add-rich-rule '{rule}'")).collect();
        let of_policy =
            std::iter::once(format!("--add-ingress-zone {ANY}")).chain(zones).chain([rules.join(" ")]);
        commands.extend(of_policy.map(|change| format!("firewall-cmd --permanent --policy {name} {change}")));
    }
    commands.push("firewall-cmd --reload".into());
    commands
}
