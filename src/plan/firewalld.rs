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
use super::beside::{Placed, ways_out};
use super::firewall::{Action, Addresses, Chain, CtState, Family, Hook, Match, Rule};
use crate::model::{InterfaceName, Network, Node, Problem, Timestamp, reachable_sites};

/// What the name of a policy of ours begins with: with the interface's name after it, or a number that stands for one.
const PREFIXES: [&str; 2] = ["wgrelay-", "wgr-"];
/// The longest name of a policy, in characters: firewalld before 2.0 makes iptables chains of it.
const MAX_NAME: usize = 17;
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
    pub(super) fn is_closed(&self, zone: &str, port: u16) -> bool {
        let is_open = |ranges: &BTreeSet<(u16, u16)>| ranges.iter().any(|(a, b)| (*a..=*b).contains(&port));
        self.open.get(zone).is_some_and(|ranges| !is_open(ranges))
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
pub(super) fn policies(
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
    let mut outside = BTreeSet::new();
    let mut zones = BTreeSet::new();
    for family in Family::BOTH {
        for way in ways_out(network, node, sites, facts, family) {
            let sources = remote.iter().filter(|net| Family::of(net) == family).copied();
            let sources: Vec<IpNet> = way.only.map_or_else(|| sources.collect(), |net| vec![net]);
            outside.extend(sources.into_iter().map(|src| RichRule::Accept { src: Some(src), dst: None }));
            zones.extend(way.outside.iter().map(|link| there.zone_of(link).to_string()));
        }
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
pub(super) fn chain(
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
pub(super) fn problems(
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
        let mut of_policy = vec![format!("--add-ingress-zone {ANY}")];
        of_policy
            .extend(policy.egress.iter().filter(|z| !z.is_empty()).map(|z| format!("--add-egress-zone {z}")));
        of_policy.extend(policy.rules.iter().map(|rule| format!("--add-rich-rule '{rule}'")));
        commands.push(format!("firewall-cmd --permanent --policy {name} {}", of_policy.join(" ")));
    }
    commands.push("firewall-cmd --reload".into());
    commands
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{RELAY, SITE, SPOKE, network, uplink};
    use crate::plan::foreign::{ForeignFirewall, NftForward};
    use crate::plan::{Backend, HostState, Keys, Link, Wanted, diff, wanted};

    fn text() -> String {
        let behind = "[[node.docker.site]]\nsubnet = \"192.168.33.0/24\"\ninterface = \"br-ext\"\n";
        [RELAY, SITE, SPOKE, behind].concat()
    }

    fn facts(there: Option<FirewalldFacts>) -> Facts {
        let link = Link {
            kind: "bridge".into(),
            addresses: vec!["172.19.0.1/16".parse().unwrap()],
            ..Link::default()
        };
        let chain = NftForward {
            family: "inet".into(),
            table: "firewalld".into(),
            chain: "filter_FORWARD".into(),
            drops: false,
            links: BTreeSet::new(),
        };
        Facts {
            links: [("br-site".to_string(), link)].into(),
            routes: vec![uplink()],
            foreign: ForeignFirewall { nft: vec![chain], firewalld: there, ..ForeignFirewall::default() },
            ..Facts::default()
        }
    }

    fn ready() -> FirewalldFacts {
        FirewalldFacts {
            zones: [("eth0".to_string(), "external".to_string())].into(),
            default_zone: "public".into(),
            ..FirewalldFacts::default()
        }
    }

    fn made(text: &str, facts: &Facts) -> Wanted {
        let network = network(text);
        let now = Timestamp::from(std::time::UNIX_EPOCH);
        wanted(&network, &network.nodes["wsl"], &Keys::default(), Backend::Embedded, facts, now)
    }

    fn lines(wanted: &Wanted) -> Vec<String> {
        let plan = diff(&HostState::default(), &wanted.state).lines();
        let lines = plan.into_iter().filter(|l| l.kind == "firewalld-policy");
        lines.map(|l| format!("{}: {}", l.target, l.to.unwrap())).collect()
    }

    #[test]
    fn a_closed_port_is_told_where_somebody_dials_it() {
        let told = |open: &[(&str, (u16, u16))]| -> Vec<String> {
            let open = open.iter().map(|(zone, range)| ((*zone).to_string(), [*range].into())).collect();
            let made = made(&text(), &facts(Some(FirewalldFacts { open, ..ready() })));
            made.problems.iter().filter(|p| p.code == "port-closed").map(|p| p.hint.clone()).collect()
        };
        let open = "--zone external --add-port 51820/udp";
        let told_of_external = vec![format!("firewall-cmd {open} && firewall-cmd --permanent {open}")];
        assert_eq!(told(&[("external", (1, 51819)), ("public", (51820, 51820))]), told_of_external);
        assert_eq!(told(&[("external", (51000, 52000))]), [""; 0]);
        assert_eq!(told(&[]), [""; 0], "what is not known is not told");
    }

    #[test]
    fn a_running_firewalld_gets_a_policy() {
        let made = made(&text(), &facts(Some(ready())));
        assert_eq!(
            lines(&made),
            [
                "wgrelay-wg0: accept to 192.168.3.0/24, to 192.168.33.0/24, from 192.168.3.0/24 to 172.19.0.0/16, \
                 from 192.168.33.0/24 to 172.19.0.0/16; firewalld reloads for it"
            ]
        );
        assert_eq!(made.problems, []);
        let table = made.state.firewall.unwrap();
        let held = table.chains.iter().find(|c| c.name == "by-tunnel-only").unwrap();
        assert_eq!(held.rules.len(), 3, "answers, and a drop for each pair: {held:#?}");
    }

    #[test]
    fn what_goes_out_goes_into_the_zone_of_the_way_out_alone() {
        let egress = text().replace("role = \"relay\"", "role = \"relay\"\negress = true");
        let told = lines(&made(&egress, &facts(Some(ready()))));
        assert_eq!(
            told[1],
            "wgrelay-wg0-out: accept from 192.168.3.0/24, from 192.168.33.0/24, into zone external; firewalld reloads for it"
        );
        let at_site = text().replace("interface = \"br-site\"", "interface = \"br-site\"\negress = true");
        let told = lines(&made(&at_site, &facts(Some(ready()))));
        assert_eq!(
            told[1],
            "wgrelay-wg0-out: accept from 172.19.0.0/16, into zone external; firewalld reloads for it"
        );
    }

    #[test]
    fn what_a_reload_would_take_away_is_told_and_kept() {
        let there = FirewalldFacts { unloaded: ["zone public".to_string()].into(), ..ready() };
        let waits = made(&text(), &facts(Some(there.clone())));
        assert_eq!(waits.state.firewalld, BTreeMap::new());
        assert_eq!(waits.problems[0].code, "forward-dropped");
        assert!(waits.problems[0].message.contains("(zone public)"), "{}", waits.problems[0]);
        // A policy that is there needs no reload.
        let there = FirewalldFacts { policies: ["wgrelay-wg0".to_string()].into(), ..there };
        let goes_on = made(&text(), &facts(Some(there)));
        assert_eq!((goes_on.state.firewalld.len(), goes_on.problems.len()), (1, 0));
    }

    #[test]
    fn one_that_cannot_be_asked_is_opened_by_hand() {
        let there = FirewalldFacts { fault: Some("no bus".into()), ..FirewalldFacts::default() };
        let told = made(&text(), &facts(Some(there)));
        assert_eq!(told.state.firewalld, BTreeMap::new());
        assert!(told.problems[0].message.ends_with("no bus"), "{}", told.problems[0]);
        assert_eq!(
            told.problems[0].hint,
            "run firewall-cmd --permanent --new-policy wgrelay-wg0; firewall-cmd --permanent --policy wgrelay-wg0 \
             --add-ingress-zone ANY --add-egress-zone ANY --add-rich-rule 'rule family=\"ipv4\" destination \
             address=\"192.168.3.0/24\" accept' --add-rich-rule 'rule family=\"ipv4\" destination address=\"192.168.33.0/24\" \
             accept' --add-rich-rule 'rule family=\"ipv4\" source address=\"192.168.3.0/24\" destination \
             address=\"172.19.0.0/16\" accept' --add-rich-rule 'rule family=\"ipv4\" source address=\"192.168.33.0/24\" \
             destination address=\"172.19.0.0/16\" accept'; firewall-cmd --reload"
        );
        assert!(told.state.firewall.unwrap().chains.iter().all(|c| c.name != "by-tunnel-only"));
    }

    #[test]
    fn what_is_in_the_files_of_one_that_does_not_run_stays() {
        let mut facts = facts(None);
        facts.foreign.nft.clear();
        facts.foreign.firewalld_asleep = Some(["wgrelay-wg0", "wgrelay-wg1"].map(str::to_string).into());
        let made = made(&text(), &facts);
        assert_eq!(made.state.firewalld, [("wgrelay-wg0".to_string(), FirewalldPolicy::asleep())].into());
        assert_eq!(made.problems, []);
    }

    #[test]
    fn what_is_written_is_read() {
        let nets: [Option<IpNet>; 3] =
            [None, Some("10.0.0.0/8".parse().unwrap()), Some("10.1.2.3/32".parse().unwrap())];
        for (src, dst) in nets.iter().flat_map(|src| nets.iter().map(move |dst| (*src, *dst))) {
            let rule = RichRule::Accept { src, dst };
            assert_eq!(RichRule::parse(&rule.to_string()), rule);
        }
        let v6 = RichRule::Accept { src: None, dst: Some("fd00:19::/64".parse().unwrap()) };
        assert_eq!(v6.to_string(), "rule family=\"ipv6\" destination address=\"fd00:19::/64\" accept");
        for text in [
            "rule family=\"ipv4\" source address=\"10.0.0.0/8\" drop",
            "rule priority=\"1\" family=\"ipv4\" source address=\"10.0.0.0/8\" accept",
            "rule family=\"ipv4\" source NOT address=\"10.0.0.0/8\" accept",
            "rule family=\"ipv4\" source ipset=\"x\" accept",
            "",
        ] {
            assert_eq!(RichRule::parse(text), RichRule::Other(text.into()), "{text}");
        }
    }

    #[test]
    fn names_that_every_firewalld_takes() {
        let names = |network: &str| policy_names(&network.parse().unwrap());
        assert_eq!(names("wg0"), ["wgrelay-wg0", "wgrelay-wg0-out"]);
        assert_eq!(names("wg.office"), ["wgr-4cf0a63b", "wgr-4cf0a63b-out"]);
        for network in ["a-very-long-one", "wg12345", "a.b"] {
            let names = names(network);
            assert!(names.iter().all(|n| n.len() <= MAX_NAME && is_our_policy(n)), "{names:?}");
        }
        assert_ne!(names("a-very-long-one"), names("a-very-long-two"));
        assert!(!is_our_policy("docker-forwarding") && !is_our_policy("wgrouter"));
    }
}
