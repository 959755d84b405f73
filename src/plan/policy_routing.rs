//! Others' policy rules and our routes: what goes another way than the network's, asked for every route that is installed, for
//! the answers of sites, and for the way back to endpoints.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::state::{HostState, MAIN_TABLE, PolicyRule, RuleSelector};
use super::{Facts, full_tunnel};
use crate::firewall::foreign::routing_rule::{
    Asked, Asking, DecidedBy, Decision, Leads, RoutingRule, RuleDoes, decide,
};
use crate::firewall::{Action, Addresses, Chain, Family, Hook, Match, Rule, Set, Table, table_name};
use crate::model::{Network, Node, Problem, Timestamp, places};

/// What somebody outside may have as an address (RFC 5737, RFC 3849); the first that this host has no route of its own for.
const ANYBODY: [&[IpAddr]; 2] = [
    &[
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
        IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    ],
    &[IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1))],
];
/// So many destinations of a rule are named; the rest is counted.
const NAMED: usize = 3;

/// What a rule sends another way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// What is to go into the tunnel.
    Tunnel(IpNet),
    /// What is to go to a site's link.
    Site(IpNet),
    /// What the data plane itself sends: to endpoints.
    Outer(IpAddr),
}

/// One thing that goes another way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Diverted {
    rule: RoutingRule,
    /// The link it leaves by; `None`: it ends here.
    by: Option<String>,
    what: What,
}

/// The host's tables, ours among them.
struct Tables<'a> {
    tables: BTreeMap<u32, HashMap<IpNet, Leads>>,
    rules: Vec<(u32, Asked<'a, PolicyRule>)>,
}

impl<'a> Tables<'a> {
    fn of(tunnel: &str, state: &'a HostState, facts: &'a Facts) -> Self {
        let mut tables: BTreeMap<u32, HashMap<IpNet, Leads>> = BTreeMap::new();
        let by = |device: &str, gateway| Leads::By { device: device.to_owned(), gateway };
        let mut put = |table: u32, dst: IpNet, leads| {
            tables.entry(table).or_default().entry(dst.trunc()).or_insert(leads);
        };
        let addresses = state.device.iter().flat_map(|d| &d.addresses);
        for address in addresses {
            put(MAIN_TABLE, *address, by(tunnel, None));
        }
        for route in &state.routes {
            put(route.table, route.dst, by(tunnel, None));
        }
        for route in facts.routes.iter().filter(|r| !r.device.is_empty() && r.device != tunnel) {
            put(MAIN_TABLE, route.dst, by(&route.device, route.gateway));
        }
        for (table, routes) in &facts.tables {
            for route in routes {
                put(*table, route.dst, route.leads.clone());
            }
        }
        let others = facts.rules.iter().map(|r| (r.priority, Asked::Others(r)));
        let mut rules: Vec<_> =
            others.chain(state.rules.iter().map(|r| (r.priority, Asked::Ours(r)))).collect();
        rules.sort_by_key(|(priority, _)| *priority);
        Self { tables, rules }
    }

    fn lookup(&self, table: u32, dst: IpAddr, least: u8) -> Option<Option<String>> {
        let table = self.tables.get(&table)?;
        let longest = if dst.is_ipv4() { 32 } else { 128 };
        let of_length = |length| Some((length, table.get(&IpNet::new(dst, length).ok()?.trunc())?));
        let (length, found) = (0..=longest).rev().find_map(of_length)?;
        match found {
            Leads::By { .. } if length < least => None,
            Leads::By { device, .. } => Some(Some(device.clone())),
            Leads::Throw => None,
            Leads::Refuse => Some(None),
        }
    }

    fn decide(&self, packet: &Asking<'_>) -> Decision<String> {
        let dst = packet.dst;
        let ours = |rule: &PolicyRule| {
            rule.leads(dst, packet.src, packet.mark, |table, least| self.lookup(table, dst, least))
        };
        decide(
            &self.rules,
            packet,
            |table, least| self.lookup(table, dst, least),
            ours,
            || self.lookup(MAIN_TABLE, dst, 0).flatten(),
        )
    }

    /// Says which rule of others' takes a packet off its way, and by which link.
    fn diverts(&self, packet: &Asking<'_>, to: &str) -> Option<(RoutingRule, Option<String>)> {
        let decision = self.decide(packet);
        match decision.by {
            DecidedBy::Rule(rule) if decision.way.as_deref() != Some(to) => Some((rule, decision.way)),
            _ => None,
        }
    }
}

fn anybody(facts: &Facts) -> [IpAddr; 2] {
    let is_beside = |ip: &&IpAddr| facts.routes.iter().any(|r| r.dst.prefix_len() > 1 && r.dst.contains(*ip));
    ANYBODY.map(|list| *list.iter().find(|ip| !is_beside(ip)).unwrap_or(&list[0]))
}

/// An address inside a prefix that is a host's.
fn one_of(net: &IpNet) -> IpAddr {
    net.hosts().nth(1).or_else(|| net.hosts().next()).unwrap_or_else(|| net.addr())
}

/// Asks for everything that matters. `sites` are those whose link is there.
fn diverted(
    network: &Network,
    node: &Node,
    state: &HostState,
    sites: &[(IpNet, String)],
    facts: &Facts,
) -> BTreeSet<Diverted> {
    let mut found = BTreeSet::new();
    if facts.rules.is_empty() {
        return found;
    }
    let tunnel = network.name.as_str();
    let tables = Tables::of(tunnel, state, facts);
    let mut inside: BTreeSet<IpNet> =
        state.routes.iter().map(|r| r.dst).filter(|n| n.prefix_len() > 0).collect();
    let leaving = state.rules.iter().filter_map(|r| match r.selector {
        RuleSelector::From { net, .. } => Some(net),
        _ => None,
    });
    inside.extend(state.device.iter().flat_map(|d| &d.addresses).map(IpNet::trunc));
    // A part of one of these may go another way than the rest.
    let parts = facts.tables.values().flatten().map(|r| r.dst);
    let parts: Vec<(IpNet, IpNet)> = parts
        .filter_map(|part| Some((*inside.iter().find(|net| net.contains(&part) && **net != part)?, part)))
        .collect();
    let is_full = state.routes.iter().any(|r| r.table == full_tunnel::TABLE);
    let everything_there = anybody(facts);
    let everything = everything_there.iter().filter(|ip| {
        let of = |r: &super::Route| r.table == full_tunnel::TABLE && r.dst.addr().is_ipv6() == ip.is_ipv6();
        is_full && state.routes.iter().any(of)
    });
    let asked = inside.iter().map(|net| (*net, one_of(net)));
    let asked = asked.chain(parts.iter().map(|(_, part)| (*part, one_of(part))));
    let asked: Vec<(IpNet, IpAddr)> = asked
        .chain(everything.filter_map(|ip| Some((IpNet::new(*ip, 0).ok()?.trunc(), *ip))))
        .filter(|(net, _)| sites.iter().all(|(site, _)| !site.contains(net)))
        .collect();
    let own: Vec<IpAddr> = state.device.iter().flat_map(|d| &d.addresses).map(IpNet::addr).collect();
    let ask = |packet: &Asking<'_>, to: &str, what: What| {
        let (rule, by) = tables.diverts(packet, to)?;
        Some(Diverted { rule, by, what })
    };
    for (net, dst) in &asked {
        let of_family = |ip: &&IpAddr| ip.is_ipv6() == dst.is_ipv6();
        // What starts here, and what answers from here.
        for src in [None].into_iter().chain(own.iter().filter(of_family).map(|ip| Some(*ip))) {
            found.extend(ask(&Asking { dst: *dst, src, iif: "lo", mark: 0 }, tunnel, What::Tunnel(*net)));
        }
        if node.is_relay()
            && let Some(src) = own.iter().find(of_family)
        {
            // From one spoke to another: any address of the subnet stands for a spoke's.
            let spoke = network.subnets().into_iter().find(|s| s.contains(src)).map_or(*src, |s| one_of(&s));
            found.extend(ask(
                &Asking { dst: *dst, src: Some(spoke), iif: tunnel, mark: 0 },
                tunnel,
                What::Tunnel(*net),
            ));
        }
        for (site, link) in sites.iter().filter(|(s, _)| s.addr().is_ipv6() == dst.is_ipv6()) {
            let src = Some(one_of(site));
            found.extend(ask(&Asking { dst: *dst, src, iif: link, mark: 0 }, tunnel, What::Tunnel(*net)));
        }
    }
    // Who leaves by another node.
    for (net, src) in leaving.map(|net| (net, one_of(&net))) {
        for dst in everything_there.iter().copied().filter(|ip| ip.is_ipv6() == src.is_ipv6()) {
            let all = IpNet::new(dst, 0).map_or(net, |all| all.trunc());
            found.extend(ask(
                &Asking { dst, src: Some(src), iif: tunnel, mark: 0 },
                tunnel,
                What::Tunnel(all),
            ));
        }
    }
    for (site, link) in sites {
        let src = own.iter().find(|ip| ip.is_ipv6() == site.addr().is_ipv6()).copied();
        let dst = one_of(site);
        for (src, iif) in [(None, "lo"), (src, tunnel)] {
            found.extend(ask(&Asking { dst, src, iif, mark: 0 }, link, What::Site(*site)));
        }
    }
    for (packet, link) in outer(node, state, facts) {
        match &link {
            Some(link) => found.extend(ask(&packet, link, What::Outer(packet.dst))),
            // A spoke may go to its relay by whatever leads there.
            None => {
                let decision = tables.decide(&packet);
                if let (DecidedBy::Rule(rule), true) =
                    (decision.by, decision.way.as_deref().is_none_or(|way| way == tunnel))
                {
                    found.insert(Diverted { rule, by: decision.way, what: What::Outer(packet.dst) });
                }
            }
        }
    }
    found
}

/// What the data plane sends: the packet, and the link that it has to leave by; `None`: any.
fn outer<'a>(node: &Node, state: &HostState, facts: &Facts) -> Vec<(Asking<'a>, Option<String>)> {
    let Some(device) = &state.device else { return Vec::new() };
    let mark = device.fwmark;
    let endpoints: BTreeSet<IpAddr> =
        device.peers.values().filter_map(|p| p.endpoint).map(|e| e.ip()).collect();
    let Some(endpoint) = &node.endpoint else {
        return endpoints.into_iter().map(|dst| (Asking::own(dst, mark), None)).collect();
    };
    // Who is called at an address has to answer from it, and by the link that it is on: elsewhere it is another one.
    let own = endpoint.socket_addr().map(|a: SocketAddr| a.ip());
    let has = |ip: IpAddr| {
        let links = facts.links.iter();
        links.filter(|(_, l)| l.addresses.iter().any(|a| a.addr() == ip)).map(|(name, _)| name.clone()).next()
    };
    let called = own.and_then(|ip| Some((ip, has(ip)?)));
    let mut out = Vec::new();
    for anybody in anybody(facts) {
        let default = facts.routes.iter().find(|r| {
            r.dst.prefix_len() == 0 && r.dst.addr().is_ipv6() == anybody.is_ipv6() && !r.device.is_empty()
        });
        let by_default = || {
            let link = default?.device.clone();
            let addresses = &facts.links.get(&link)?.addresses;
            let address = addresses.iter().map(IpNet::addr).find(|a| a.is_ipv6() == anybody.is_ipv6())?;
            Some((address, link))
        };
        let called = called.clone().filter(|(ip, _)| ip.is_ipv6() == anybody.is_ipv6());
        let Some((src, link)) = called.or_else(by_default) else { continue };
        out.push((Asking { dst: anybody, src: Some(src), iif: "lo", mark }, Some(link)));
    }
    out
}

/// Tells what goes another way, by rule and link, and returns the chain that stops what would leave in clear.
pub(super) fn judge(
    network: &Network,
    node: &Node,
    state: &mut HostState,
    sites: &[(IpNet, String)],
    facts: &Facts,
    now: Timestamp,
) -> Vec<Problem> {
    let found = diverted(network, node, state, sites, facts);
    stop(network, state, &found, now);
    let mut groups: BTreeMap<(RoutingRule, Option<String>, u8), Vec<What>> = BTreeMap::new();
    for one in found {
        let kind = match one.what {
            What::Tunnel(_) => 0,
            What::Site(_) => 1,
            What::Outer(_) => 2,
        };
        groups.entry((one.rule, one.by, kind)).or_default().push(one.what);
    }
    groups
        .into_iter()
        .map(|((rule, by, _), what)| problem(network, node, &rule, by.as_deref(), &what))
        .collect()
}

fn problem(network: &Network, node: &Node, rule: &RoutingRule, by: Option<&str>, what: &[What]) -> Problem {
    let tunnel = &network.name;
    let way = by.map_or_else(|| "nowhere".to_owned(), |link| format!("by {link}"));
    let text = |w: &What| match w {
        What::Tunnel(net) | What::Site(net) => net.to_string(),
        What::Outer(ip) => ip.to_string(),
    };
    let mut list = what.iter().take(NAMED).map(text).collect::<Vec<_>>().join(", ");
    if what.len() > NAMED {
        list += &format!(" and {} more", what.len() - NAMED);
    }
    let before = rule.priority.saturating_sub(1);
    let ip = if rule.ipv6 { "ip -6" } else { "ip" };
    let (message, mut hint) = match &what[0] {
        What::Tunnel(_) => (
            format!(
                "policy rule {rule} sends what is for {list} {way}, not into {tunnel}; what would leave in clear is dropped"
            ),
            rules_for(what, &format!("{ip} rule add pref {before} to"), table_name_of),
        ),
        What::Site(_) => (
            format!("policy rule {rule} sends what is for the site {list} {way}"),
            rules_for(what, &format!("{ip} rule add pref {before} to"), |_| "main".into()),
        ),
        What::Outer(_) if node.endpoint.is_some() => (
            format!(
                "policy rule {rule} sends the answers to whoever calls {} {way}: they come from another address, or not at all",
                node.name
            ),
            match rule.spares() {
                Some(mark) => format!(
                    "fwmark = {mark:#x} under [node.{}]: the rule leaves out what bears it",
                    node.name
                ),
                None => format!(
                    "fwmark = {0:#x} under [node.{1}], and {ip} rule add pref {before} fwmark {0:#x} lookup main",
                    full_tunnel::TABLE,
                    node.name
                ),
            },
        ),
        What::Outer(_) => (
            format!(
                "policy rule {rule} sends the tunnel's own packets to {list} {}",
                by.map_or("nowhere".into(), |l| format!("into {l}"))
            ),
            format!("{ip} rule add pref {before} to {list} lookup main"),
        ),
    };
    if let (RuleDoes::Lookup(52), What::Tunnel(_) | What::Site(_)) = (rule.does, &what[0]) {
        hint += "; where Tailscale brought that route: tailscale set --accept-routes=false";
    }
    Problem::warning("policy-rule", format!("policy rule {}", rule.priority), message, hint)
}

/// A command for each prefix that is named.
fn rules_for(what: &[What], command: &str, table: impl Fn(&IpNet) -> String) -> String {
    let nets = what.iter().filter_map(|one| match one {
        What::Tunnel(net) | What::Site(net) => Some(format!("{command} {net} lookup {}", table(net))),
        What::Outer(_) => None,
    });
    let more = if what.len() > NAMED { ", and so on for the others" } else { "" };
    nets.take(NAMED).collect::<Vec<_>>().join("; ") + more
}

fn table_name_of(net: &IpNet) -> String {
    match full_tunnel::table_of(net) {
        MAIN_TABLE => "main".into(),
        table => table.to_string(),
    }
}

/// Drops what is from one place of the network to another and would leave by such a link.
fn stop(network: &Network, state: &mut HostState, found: &BTreeSet<Diverted>, now: Timestamp) {
    let mut nets: BTreeMap<&str, BTreeSet<IpNet>> = BTreeMap::new();
    for one in found {
        if let (What::Tunnel(net), Some(by)) = (&one.what, &one.by) {
            nets.entry(by).or_default().insert(*net);
        }
    }
    if nets.is_empty() {
        return;
    }
    let places = places(network, now);
    let mut sets = BTreeMap::new();
    let mut rules = Vec::new();
    for (i, (link, nets)) in nets.iter().enumerate() {
        for family in Family::BOTH {
            let of_family = |net: &&IpNet| Family::of(net) == family && net.prefix_len() > 0;
            let (to, from): (Vec<IpNet>, Vec<IpNet>) = (
                nets.iter().filter(of_family).copied().collect(),
                places.iter().filter(of_family).copied().collect(),
            );
            if to.is_empty() {
                continue;
            }
            let mut set = |name: String, nets: Vec<IpNet>| {
                let elements = crate::firewall::aggregate(nets, family);
                sets.insert(name.clone(), Set { family, elements });
                Addresses::Set(name)
            };
            let saddr = set(format!("network{}", family.digit()), from);
            let daddr = set(format!("astray{i}_{}", family.digit()), to);
            rules.push(Rule {
                matches: vec![
                    Match::Oif { name: (*link).to_owned(), is: true },
                    Match::Saddr { family, with: saddr, is: true },
                    Match::Daddr { family, with: daddr, is: true },
                ],
                action: Action::Drop,
            });
        }
    }
    if rules.is_empty() {
        return;
    }
    let table = state.firewall.get_or_insert_with(|| Table {
        name: table_name(&network.name),
        sets: BTreeMap::new(),
        chains: Vec::new(),
    });
    table.sets.extend(sets);
    table.chains.push(Chain { name: "clear".into(), hook: Hook::Outgoing, rules });
}
