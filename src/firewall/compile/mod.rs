//! From a network's policy to its table on one node.
//!
//! The order in `forward` matters: what is not ours leaves first, then errors about flows, then answers, then the
//! three ways into `pairs` (tunnel to tunnel, tunnel to site, site to tunnel), then egress, then the drop.
//! Each packet is judged by the ends of its flow, as connection tracking has them, and no flow passes because it is established:
//! one that was begun while the table was away, or before policy forbade it, ends with the table that forbids it.
//! What is neither from nor to the tunnel is others' own, but where only this network made the host forward it ([`accepts`]).

mod accepts;
mod aliases;
mod egress;
mod forwards;
mod services;

pub(super) use accepts::{ANSWERED, BESIDE, FROM_SITE, OPENED, TO_SITE};
pub(super) use aliases::SRCNAT;
pub(super) use egress::NEAR;
pub(super) use forwards::{DSTNAT, FORWARDS};
pub(super) use services::SERVICES;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Surroundings;
use super::prefixes::aggregate;
use super::rule::{Action, Addresses, Chain, CtState, Family, Hook, Match, Rule, Set, Table};
use super::table_name;
use crate::model::{AllowRule, Network, Node, PlaceRef, PortSpec, Site, Timestamp, places, prefixes_of};

/// How rules recognise a site of this node: by the link that leads there, or, where that name is
/// not known when the rule is written (an exported file), by not being the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteMatch {
    /// This link.
    Link(String),
    /// Any link but ours; the subnet alone decides.
    Subnet,
}

/// Everything that rules are made from.
struct Builder<'a> {
    network: &'a Network,
    node: &'a Node,
    now: Timestamp,
    tunnel: String,
    around: &'a Surroundings,
    /// What the node, a spoke, sends into the tunnel.
    derived: &'a dyn Fn() -> BTreeSet<IpNet>,
    sets: BTreeMap<String, Set>,
}

/// Makes the table of `node`, whose sites have the given links; a site that is not in the list gets no rule. `derived` are its
/// AllowedIPs where it is a spoke, asked for where they matter.
/// Returns `None` where the node forwards nothing: a spoke without sites, by which nobody leaves.
pub fn compile(
    network: &Network,
    derived: &dyn Fn() -> BTreeSet<IpNet>,
    node: &Node,
    sites: &[(&Site, SiteMatch)],
    around: &Surroundings,
    now: Timestamp,
) -> Option<Table> {
    if !node.is_relay() && sites.is_empty() && !network.lets_out(node, now) {
        return None;
    }
    let tunnel = network.name.to_string();
    let mut b = Builder { network, node, now, tunnel, around, derived, sets: BTreeMap::new() };
    let pairs = b.pairs();
    let mut chains = vec![strays(&pairs), pairs, b.services()];
    chains.extend(b.near());
    chains.extend(b.accepts(sites));
    chains.push(b.forward(sites));
    chains.push(b.input());
    let mut destinations = b.destinations();
    b.towards_sites(sites, &mut destinations);
    chains.extend(destinations);
    let postrouting = b.postrouting(sites);
    if !postrouting.rules.is_empty() {
        chains.push(postrouting);
    }
    chains.extend(b.leaving_sites(sites));
    Some(Table { name: table_name(&network.name), sets: b.sets, chains })
}

impl Builder<'_> {
    /// Adds a set for one family and returns the match operand; `None` where it would be for ever empty.
    fn set(&mut self, name: &str, nets: &BTreeSet<IpNet>, family: Family) -> Option<Addresses> {
        let here = self.here(nets);
        self.set_as_it_is(name, &here, family)
    }

    /// The same of addresses that are this host's own, and no places of the network.
    fn set_as_it_is(&mut self, name: &str, nets: &BTreeSet<IpNet>, family: Family) -> Option<Addresses> {
        // IPv6 sets exist only in a network that has IPv6 at all; an empty IPv4 set stays, so that a later
        // element is an element and not a new structure.
        if family == Family::V6 && !self.has_v6() {
            return None;
        }
        let name = format!("{name}{}", family.digit());
        let elements = aggregate(nets.clone(), family);
        self.sets.insert(name.clone(), Set { family, elements });
        Some(Addresses::Set(name))
    }

    fn has_v6(&self) -> bool {
        self.network.subnet6.is_some()
            || self.network.nodes.values().any(|n| n.sites.iter().any(|s| matches!(s.subnet, IpNet::V6(_))))
    }

    fn places(&self) -> BTreeSet<IpNet> {
        places(self.network, self.now)
    }

    /// What this node's sites may see as sources: the tunnel subnets and other nodes' sites.
    fn remote(&self) -> BTreeSet<IpNet> {
        let sites = crate::model::reachable_sites(self.network, self.node, self.now);
        self.network.subnets().into_iter().chain(sites).collect()
    }

    /// The prefixes that an end of an allow rule stands for.
    fn prefixes(&self, places: &[PlaceRef]) -> BTreeSet<IpNet> {
        places.iter().flat_map(|p| prefixes_of(self.network, p, self.now)).collect()
    }

    /// The chain that says who may start a flow to whom inside the network.
    fn pairs(&mut self) -> Chain {
        let mut rules = Vec::new();
        if self.network.allow.is_empty() {
            let places = self.places();
            for family in Family::BOTH {
                let Some(with) = self.set("places", &places, family) else { continue };
                rules.push(Rule {
                    matches: vec![
                        Match::FlowFrom { family, with: with.clone() },
                        Match::FlowTo { family, with, is: true },
                    ],
                    action: Action::Accept,
                });
            }
        }
        let allow: Vec<AllowRule> = self.network.allow.clone();
        for (i, rule) in allow.iter().enumerate() {
            let from = self.prefixes(&rule.from);
            let to = self.prefixes(&rule.to);
            // Towards the Internet is egress' matter.
            if from.is_empty() || to.is_empty() {
                continue;
            }
            for family in Family::BOTH {
                let Some(from) = self.set(&format!("from{i}_"), &from, family) else { continue };
                let Some(to) = self.set(&format!("to{i}_"), &to, family) else { continue };
                let ends = vec![
                    Match::FlowFrom { family, with: from },
                    Match::FlowTo { family, with: to, is: true },
                ];
                rules.extend(accept_flows(&ends, &rule.ports, family));
            }
        }
        rules.extend(self.forwarded_into_sites());
        Chain { name: "pairs".into(), hook: Hook::None, rules }
    }

    fn forward(&mut self, sites: &[(&Site, SiteMatch)]) -> Chain {
        let (iif, oif) = (self.iif(true), self.oif(true));
        let mut rules = Vec::new();
        if self.around.opens() {
            rules.push(rule([self.iif(false), self.oif(false)], Action::Jump(BESIDE.into())));
        }
        rules.extend([
            rule([self.iif(false), self.oif(false)], Action::Accept),
            rule([Match::TcpSyn], Action::ClampMss),
            rule([Match::Ct(CtState::Related)], Action::Accept),
            rule([Match::Expected], Action::Accept),
            rule([Match::Ct(CtState::Invalid)], Action::Drop),
            rule([Match::Dnatted], Action::Jump(SERVICES.into())),
        ]);
        let pairs = || Action::Jump("pairs".into());
        // By whichever link they come back.
        rules.push(rule([Match::Answer], pairs()));
        // What is not tracked has no ends of a flow, only addresses that anybody may write into it: it passes by the links
        // that its addresses belong to, or not at all. Of ICMPv6 the kernel tracks no neighbour discovery.
        let by_links = |links: Vec<Match>| {
            let untracked =
                std::iter::once(Match::Ct(CtState::Untracked)).chain(links.iter().cloned()).collect();
            [
                Rule { matches: untracked, action: Action::Jump(STRAYS.into()) },
                Rule { matches: links, action: Action::Jump("pairs".into()) },
            ]
        };
        if self.node.is_relay() {
            rules.extend(by_links(vec![iif.clone(), oif.clone()]));
        }
        for (site, link) in sites {
            let family = Family::of(&site.subnet);
            let with = || Addresses::Net(site.subnet);
            let (out, back) = match link {
                SiteMatch::Link(name) => {
                    (Match::Oif { name: name.clone(), is: true }, Match::Iif { name: name.clone(), is: true })
                }
                SiteMatch::Subnet => (self.oif(false), self.iif(false)),
            };
            rules.extend(by_links(vec![iif.clone(), out, Match::Daddr { family, with: with(), is: true }]));
            rules.extend(by_links(vec![back, oif.clone(), Match::Saddr { family, with: with(), is: true }]));
        }
        rules.extend(self.egress_forward());
        rules.extend(self.exit_forward());
        rules.extend(self.behind_full_tunnel(sites));
        rules.push(rule([iif], Action::Drop));
        rules.push(rule([oif], Action::Drop));
        Chain { name: "forward".into(), hook: Hook::Forward, rules }
    }

    fn postrouting(&mut self, sites: &[(&Site, SiteMatch)]) -> Chain {
        let mut rules = self.forward_sources();
        let remote = self.remote();
        // The narrowest first: what a site holds is no part of a wider one around it.
        let mut narrow_first: Vec<&(&Site, SiteMatch)> = sites.iter().collect();
        narrow_first.sort_by_key(|(site, _)| std::cmp::Reverse(site.subnet.prefix_len()));
        for (site, link) in narrow_first {
            let wider = |(s, by): &&(&Site, SiteMatch)| {
                s.subnet != site.subnet && s.subnet.contains(&site.subnet) && s.is_masqueraded() && by == link
            };
            if !site.is_masqueraded() && !sites.iter().any(|s| wider(&s)) {
                continue;
            }
            let family = Family::of(&site.subnet);
            let Some(with) = self.set("remote", &remote, family) else { continue };
            let out = match link {
                SiteMatch::Link(name) => Match::Oif { name: name.clone(), is: true },
                SiteMatch::Subnet => self.oif(false),
            };
            let mut matches = vec![
                out,
                Match::Saddr { family, with, is: true },
                Match::Daddr { family, with: Addresses::Net(site.subnet), is: true },
            ];
            matches.extend(self.not_from_here(family));
            let action = if site.is_masqueraded() { Action::Masquerade } else { Action::Accept };
            rules.push(Rule { matches, action });
        }
        if self.lets_out() {
            let spokes = self.egress_sources();
            for family in Family::BOTH {
                let Some(inside) = self.kept(family) else { continue };
                let Some(from) = self.set("egress", &spokes, family) else { continue };
                let matches = [
                    self.oif(false),
                    Match::Saddr { family, with: from, is: true },
                    Match::Daddr { family, with: inside, is: false },
                ];
                rules.push(rule(matches, Action::Masquerade));
            }
        }
        for (site, _) in sites.iter().filter(|(s, _)| s.egress) {
            let family = Family::of(&site.subnet);
            let places = self.places();
            let Some(inside) = self.set("inside", &places, family) else { continue };
            // By whichever link: a bridge that carries the site may be the way out as well.
            let matches = [
                self.oif(false),
                Match::Saddr { family, with: Addresses::Net(site.subnet), is: true },
                Match::Daddr { family, with: inside, is: false },
            ];
            rules.push(rule(matches, Action::Masquerade));
            // What this node is attached to itself is a place of the network, and outside of this site: the answer would
            // go to whoever routes for that place, not to this node.
            for local in self.node.local.iter().filter(|l| Family::of(l) == family) {
                let matches = [
                    self.oif(false),
                    Match::Saddr { family, with: Addresses::Net(site.subnet), is: true },
                    Match::Daddr { family, with: Addresses::Net(local.trunc()), is: true },
                ];
                rules.push(rule(matches, Action::Masquerade));
            }
        }
        Chain { name: "postrouting".into(), hook: Hook::Postrouting, rules }
    }

    /// This node's own tunnel address is inside the masqueraded prefixes, and its own packets are nobody's else.
    fn not_from_here(&self, family: Family) -> Option<Match> {
        let own = match family {
            Family::V4 => IpAddr::V4(self.node.address),
            Family::V6 => IpAddr::V6(self.node.address6?),
        };
        Some(Match::Saddr { family, with: Addresses::Net(own.into()), is: false })
    }

    fn iif(&self, is: bool) -> Match {
        Match::Iif { name: self.tunnel.clone(), is }
    }

    fn oif(&self, is: bool) -> Match {
        Match::Oif { name: self.tunnel.clone(), is }
    }
}

/// The chain of packets that no flow is known of.
pub(super) const STRAYS: &str = "strays";

/// The same policy for packets of no known flow, by their own addresses: an answer to what went another way.
fn strays(pairs: &Chain) -> Chain {
    let by_itself = |m: &Match| match m.clone() {
        Match::FlowFrom { family, with } => Match::Saddr { family, with, is: true },
        Match::FlowTo { family, with, is } => Match::Daddr { family, with, is },
        Match::FlowTcp(first, last) => Match::Tcp(first, last),
        Match::FlowUdp(first, last) => Match::Udp(first, last),
        other => other,
    };
    let of = |rule: &Rule| Rule {
        matches: rule.matches.iter().map(by_itself).collect(),
        action: rule.action.clone(),
    };
    Chain { name: STRAYS.into(), hook: Hook::None, rules: pairs.rules.iter().map(of).collect() }
}

/// A rule, and the one for what comes back.
fn there_and_back(rule: Rule) -> [Rule; 2] {
    let back = rule.turned();
    [rule, back]
}

fn rule<const N: usize>(matches: [Match; N], action: Action) -> Rule {
    Rule { matches: Vec::from(matches), action }
}

/// One accept for each port of a rule, or one for everything: of first packets.
fn accept_ports(ends: &[Match], ports: &[PortSpec], family: Family) -> Vec<Rule> {
    let matching = |port: &PortSpec| match port {
        PortSpec::Tcp(r) => Match::Tcp(r.first, r.last),
        PortSpec::Udp(r) => Match::Udp(r.first, r.last),
        PortSpec::Icmp => Match::Icmp(family),
    };
    accept_each(ends, ports, &matching)
}

/// The same, of all packets of a flow, there and back.
fn accept_flows(ends: &[Match], ports: &[PortSpec], family: Family) -> Vec<Rule> {
    let matching = |port: &PortSpec| match port {
        PortSpec::Tcp(r) => Match::FlowTcp(r.first, r.last),
        PortSpec::Udp(r) => Match::FlowUdp(r.first, r.last),
        PortSpec::Icmp => Match::Icmp(family),
    };
    accept_each(ends, ports, &matching)
}

fn accept_each(ends: &[Match], ports: &[PortSpec], matching: &dyn Fn(&PortSpec) -> Match) -> Vec<Rule> {
    let with = |port: Option<Match>| Rule {
        matches: ends.iter().cloned().chain(port).collect(),
        action: Action::Accept,
    };
    if ports.is_empty() {
        return vec![with(None)];
    }
    ports.iter().map(|p| with(Some(matching(p)))).collect()
}
