//! Ports of the relay that lead on: where they lead, and whose address the target sees.
//!
//! What was rewritten passes as this host's service does ([`super::services`]); the gateway of a site lets it in there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Addresses, Builder, Chain, Family, Hook, Match, Rule, accept_flows, accept_ports, rule};
use crate::firewall::Action;
use crate::model::{Forward, ForwardSource, Node};

/// The chain of what comes to this host from elsewhere.
pub(in crate::firewall) const DSTNAT: &str = "dstnat";
/// The chain of what is for one of its own addresses.
pub(in crate::firewall) const FORWARDS: &str = "forwards";

impl Builder<'_> {
    /// The forwards of this node, each with an address that it leads to, as the network names it.
    fn own_forwards(&self) -> Vec<(usize, Forward, IpAddr)> {
        let of = |(i, f): (usize, &Forward)| {
            let targets = if f.is_on(self.node) { f.targets(self.network) } else { Vec::new() };
            targets.into_iter().map(|ip| (i, f.clone(), ip)).collect::<Vec<_>>()
        };
        let all = self.network.forward.iter().enumerate().flat_map(of);
        all.filter(|(_, f, ip)| self.is_there(f, *ip)).collect()
    }

    /// Says whether who is called takes part.
    fn is_there(&self, forward: &Forward, target: IpAddr) -> bool {
        let is_its = |node: &&Node| {
            node.host_prefixes().iter().any(|p| p.addr() == target)
                || node.sites.iter().any(|s| s.prefix().contains(&target))
        };
        let _ = forward;
        self.network.nodes.values().filter(is_its).any(|node| node.is_active(self.now))
    }

    /// The chains that rewrite destinations; none without a forward.
    pub(super) fn destinations(&mut self) -> Vec<Chain> {
        let forwards = self.own_forwards();
        if forwards.is_empty() {
            return Vec::new();
        }
        let mut rules = Vec::new();
        for (i, forward, target) in &forwards {
            let target = self.address_here(*target);
            let family = family_of(target);
            let mut ends = Vec::new();
            if let Some(from) = forward.callers(self.network) {
                // Callers of the other family are nobody here.
                if !from.iter().any(|net| Family::of(net) == family) {
                    continue;
                }
                let name = format!("callers{i}_{}", family.digit());
                let elements = super::aggregate(self.here(&from), family);
                self.sets.insert(name.clone(), super::Set { family, elements });
                ends.push(Match::Saddr { family, with: Addresses::Set(name), is: true });
            } else {
                ends.push(Match::Nfproto(family));
            }
            for mut accept in accept_ports(&ends, &[forward.port], family) {
                let port = forward.to.port.filter(|p| forward.called().first != *p);
                accept.action = Action::Dnat(target, port);
                rules.push(accept);
            }
        }
        let own: BTreeSet<IpNet> = self.around.own.clone();
        let mut to_own = Vec::new();
        if !self.around.opened_later {
            for family in Family::BOTH {
                let Some(with) = self.set_as_it_is("own", &own, family) else { continue };
                let daddr = Match::Daddr { family, with, is: true };
                to_own.push(rule([daddr], Action::Jump(FORWARDS.into())));
            }
        }
        vec![
            Chain { name: FORWARDS.into(), hook: Hook::None, rules },
            Chain { name: DSTNAT.into(), hook: Hook::Dstnat, rules: to_own.clone() },
            Chain { name: "output".into(), hook: Hook::Output, rules: to_own },
        ]
    }

    /// Whose flows to a target get this host's address.
    pub(super) fn forward_sources(&mut self) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (_, forward, asked) in self.own_forwards() {
            let target = self.address_here(asked);
            let family = family_of(target);
            let daddr = Match::Daddr { family, with: Addresses::Net(target.into()), is: true };
            let mut masquerade = |sources: Option<Match>| {
                let ends: Vec<Match> = [Match::Dnatted, daddr.clone()].into_iter().chain(sources).collect();
                for mut made in accept_ports(&ends, &[forward.at_target()], family) {
                    made.action = Action::Masquerade;
                    rules.push(made);
                }
            };
            let keeps = match forward.source {
                ForwardSource::Keep => continue,
                ForwardSource::Masquerade => false,
                ForwardSource::Auto => forward.answers_by_relay(self.network, self.node, asked),
            };
            if !keeps {
                masquerade(None);
                continue;
            }
            // Whoever is on the target's own link would be answered there, past this host; and so would the target itself.
            let site = self.node.sites.iter().find(|s| s.subnet.contains(&target)).map(|s| s.subnet);
            let near = site.unwrap_or_else(|| target.into());
            masquerade(Some(Match::Saddr { family, with: Addresses::Net(near), is: true }));
            if !self.around.opened_later {
                let own = self.around.own.clone();
                if let Some(with) = self.set_as_it_is("own", &own, family) {
                    masquerade(Some(Match::Saddr { family, with, is: true }));
                }
            }
        }
        rules
    }

    /// On the gateway of a site: what the relay's ports lead to there, policy or not.
    pub(super) fn forwarded_into_sites(&mut self) -> Vec<Rule> {
        let mut rules = Vec::new();
        for forward in self.network.forward.clone() {
            let Some(relay) = self.network.relays().find(|r| forward.is_on(r)) else { continue };
            if relay.name == self.node.name {
                continue;
            }
            for target in forward.targets(self.network) {
                if !self.node.sites.iter().any(|s| s.prefix().contains(&target)) {
                    continue;
                }
                let target = self.address_here(target);
                let family = family_of(target);
                let to = Match::FlowTo { family, with: Addresses::Net(target.into()), is: true };
                let relays = relay.host_prefixes().into_iter().filter(|p| Family::of(p) == family);
                let keeps = forward.source == ForwardSource::Keep;
                let sources: Vec<Match> = if keeps {
                    vec![self.iif(true), self.oif(true)]
                } else {
                    relays.map(|p| Match::FlowFrom { family, with: Addresses::Net(p) }).collect()
                };
                for source in sources {
                    rules.extend(accept_flows(&[source, to.clone()], &[forward.at_target()], family));
                }
            }
        }
        rules
    }
}

const fn family_of(ip: IpAddr) -> Family {
    match ip {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}
