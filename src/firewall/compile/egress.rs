//! The way out of a full tunnel: to the Internet, which is what a default route leads to and nobody's own network.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{
    Addresses, Builder, Chain, Family, Hook, Match, Rule, Site, SiteMatch, accept_flows, rule, there_and_back,
};
use crate::firewall::Action;
use crate::model::{PlaceRef, Routes, claimed_by_spoke, is_full_tunnel, is_private};

/// The chain that ends what is not the Internet, filled where an exported file is loaded.
pub(in crate::firewall) const NEAR: &str = "near";

impl Builder<'_> {
    /// The set of what an egress does not lead to: the network's own places, and, unless it leads anywhere, private
    /// networks and those that this host is attached to.
    pub(super) fn kept(&mut self, family: Family) -> Option<Addresses> {
        let mut kept = self.places();
        if self.node.egress_all {
            return self.set("inside", &kept, family);
        }
        kept.extend(is_private::PREFIXES.iter().filter_map(|text| text.parse::<IpNet>().ok()));
        kept.extend(&self.around.near);
        self.set("kept", &kept, family)
    }

    /// Where the host is not known yet, what it is attached to is found when the rules are loaded.
    pub(super) fn near(&self) -> Option<Chain> {
        let is_later = self.around.opened_later && self.lets_out();
        (is_later && !self.node.egress_all).then(|| Chain {
            name: NEAR.into(),
            hook: Hook::None,
            rules: Vec::new(),
        })
    }

    /// Full-tunnel spokes on their way out to the Internet by this node.
    pub(super) fn egress_forward(&mut self) -> Vec<Rule> {
        if !self.lets_out() {
            return Vec::new();
        }
        let spokes = self.egress_sources();
        let allow = self.network.allow.clone();
        let mut rules = Vec::new();
        // Who leaves by another node does not leave here while that one is away.
        let (elsewhere, _) = self.network.exit_sources(self.node, self.now);
        if !elsewhere.is_empty() {
            for family in Family::BOTH {
                let Some(with) = self.set("elsewhere", &elsewhere, family) else { continue };
                let from = Match::FlowFrom { family, with };
                rules.push(rule([self.iif(true), self.oif(false), from], Action::Drop));
            }
        }
        if self.around.opened_later && !self.node.egress_all {
            rules.extend(there_and_back(rule([self.iif(true), self.oif(false)], Action::Jump(NEAR.into()))));
        }
        for family in Family::BOTH {
            let Some(places) = self.kept(family) else { continue };
            let outside = Match::FlowTo { family, with: places, is: false };
            if allow.is_empty() {
                let Some(with) = self.set("egress", &spokes, family) else { continue };
                let from = Match::FlowFrom { family, with };
                let out = rule([self.iif(true), self.oif(false), from, outside], Action::Accept);
                rules.extend(there_and_back(out));
                continue;
            }
            for (i, r) in allow.iter().enumerate().filter(|(_, r)| r.to.contains(&PlaceRef::Internet)) {
                let from = self.prefixes(&r.from);
                let Some(with) = self.set(&format!("out{i}_"), &from, family) else { continue };
                let from = Match::FlowFrom { family, with };
                let ends = vec![self.iif(true), self.oif(false), from, outside.clone()];
                rules.extend(accept_flows(&ends, &r.ports, family).into_iter().flat_map(there_and_back));
            }
        }
        rules
    }

    /// Accepts flows to the Internet between these ends: all of them, or those that `[[allow]]` has.
    fn let_out(&mut self, ends: Vec<Match>, family: Family) -> Vec<Rule> {
        let allow = self.network.allow.clone();
        if allow.is_empty() {
            return there_and_back(Rule { matches: ends, action: Action::Accept }).into_iter().collect();
        }
        let mut rules = Vec::new();
        for (i, r) in allow.iter().enumerate().filter(|(_, r)| r.to.contains(&PlaceRef::Internet)) {
            let allowed = self.prefixes(&r.from);
            let Some(with) = self.set(&format!("out{i}_"), &allowed, family) else { continue };
            let mut ends = ends.clone();
            ends.push(Match::FlowFrom { family, with });
            rules.extend(accept_flows(&ends, &r.ports, family).into_iter().flat_map(there_and_back));
        }
        rules
    }

    /// Says whether this node is a way out to the Internet for others.
    pub(super) fn lets_out(&self) -> bool {
        self.network.lets_out(self.node, self.now)
    }

    /// The tunnel addresses (and sites) of spokes that send more than the network into the tunnel, and leave here.
    pub(super) fn egress_sources(&self) -> BTreeSet<IpNet> {
        let at_home = self.network.peers_of(self.node, self.now).filter(|n| {
            self.node.is_relay() && !n.is_relay() && n.via.is_none() && !matches!(n.routes, Routes::Split)
        });
        at_home.chain(self.network.leaving_by(self.node, self.now)).flat_map(claimed_by_spoke).collect()
    }

    /// What this relay leads on to the node by which it leaves: out of the tunnel, and into it again. What that is may go out
    /// is said there.
    pub(super) fn exit_forward(&mut self) -> Vec<Rule> {
        let (_, spokes) = self.network.exit_sources(self.node, self.now);
        if !self.node.is_relay() || spokes.is_empty() {
            return Vec::new();
        }
        let places = self.places();
        let mut rules = Vec::new();
        for family in Family::BOTH {
            let Some(inside) = self.set("inside", &places, family) else { continue };
            let Some(with) = self.set("exit", &spokes, family) else { continue };
            let from = Match::FlowFrom { family, with };
            let outside = Match::FlowTo { family, with: inside, is: false };
            let ends = vec![self.iif(true), self.oif(true), from, outside];
            rules.extend(self.let_out(ends, family));
        }
        rules
    }

    /// The hosts of a site go where their gateway goes: into the tunnel, where that takes everything.
    pub(super) fn behind_full_tunnel(&mut self, sites: &[(&Site, SiteMatch)]) -> Vec<Rule> {
        if self.node.is_relay() {
            return Vec::new();
        }
        let mut concerned = sites.iter().filter(|(s, _)| s.is_gateway() || s.egress).peekable();
        if concerned.peek().is_none() {
            return Vec::new();
        }
        let sends = (self.derived)();
        let places = self.places();
        let mut rules = Vec::new();
        for (site, link) in concerned {
            let family = Family::of(&site.subnet);
            if !is_full_tunnel(self.node, &sends, family == Family::V6) {
                continue;
            }
            let Some(inside) = self.set("inside", &places, family) else { continue };
            let came_by = match link {
                SiteMatch::Link(name) => Match::Iif { name: name.clone(), is: true },
                SiteMatch::Subnet => self.iif(false),
            };
            let from = Match::FlowFrom { family, with: Addresses::Net(site.subnet) };
            let outside = Match::FlowTo { family, with: inside, is: false };
            let ends = vec![came_by, self.oif(true), from, outside];
            rules.extend(self.let_out(ends, family));
        }
        rules
    }
}
