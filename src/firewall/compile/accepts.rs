//! What passes a host that forwards only because of this network, and touches the tunnel neither coming nor going.
//!
//! Nobody was forwarded there before, so nobody is now: only the flows from one site of the node to another that policy
//! allows, what a site sends out by its egress, and answers to what came by a link that forwarded before. Where the host forwarded
//! already, everything is as it was.

use super::{
    Addresses, Builder, Chain, CtState, Family, Hook, Match, Rule, Site, SiteMatch, rule, there_and_back,
};
use crate::firewall::Action;
use ipnet::IpNet;

/// The chain of what is neither from nor to the tunnel.
pub(in crate::firewall) const BESIDE: &str = "beside";
/// The chain that ends what only this network made the host forward.
pub(in crate::firewall) const OPENED: &str = "opened";
/// The chain that ends the answers to what came by a link that only this network made the host forward.
pub(in crate::firewall) const ANSWERED: &str = "answered";
/// The chain of what comes from a site of this node.
pub(in crate::firewall) const FROM_SITE: &str = "from_site";
/// The chain of what comes from one of its sites and goes to one.
pub(in crate::firewall) const TO_SITE: &str = "to_site";

impl Builder<'_> {
    /// The chains, each after those that it jumps to; none where this network makes the host forward nothing.
    pub(super) fn accepts(&mut self, sites: &[(&Site, SiteMatch)]) -> Vec<Chain> {
        if !self.around.opens() {
            return Vec::new();
        }
        let linked = sites.iter().filter_map(|(site, link)| match link {
            SiteMatch::Link(name) => Some((site.subnet, name.clone())),
            SiteMatch::Subnet => None,
        });
        let near: Vec<(IpNet, String)> = linked.chain(self.around.attached.iter().cloned()).collect();
        let to_site = near.iter().flat_map(|(net, link)| {
            let oif = || Match::Oif { name: link.clone(), is: true };
            let stray = Match::Ct(CtState::Stray);
            [
                rule([oif(), daddr(*net), stray], Action::Jump(super::STRAYS.into())),
                rule([oif(), daddr(*net)], Action::Jump("pairs".into())),
            ]
        });
        let from_site = near.iter().map(|(net, link)| {
            let iif = Match::Iif { name: link.clone(), is: true };
            rule([iif, saddr(*net)], Action::Jump(TO_SITE.into()))
        });
        let mut rules = vec![
            rule([Match::Ct(CtState::Related)], Action::Accept),
            rule([Match::Expected], Action::Accept),
        ];
        for bridge in &self.around.bridged {
            let (iif, oif) = (bridge.clone(), bridge.clone());
            let inside = [Match::Iif { name: iif, is: true }, Match::Oif { name: oif, is: true }];
            rules.push(rule(inside, Action::Accept));
        }
        for tunnel in &self.around.tunnels {
            rules.push(rule([Match::Oif { name: tunnel.clone(), is: true }], Action::Accept));
            let back = Match::Iif { name: tunnel.clone(), is: true };
            rules.push(rule([back, Match::Answer], Action::Accept));
        }
        rules.push(rule([Match::Dnatted], Action::Jump(super::SERVICES.into())));
        rules.push(rule([Match::Answer], Action::Jump("pairs".into())));
        rules.push(rule([], Action::Jump(FROM_SITE.into())));
        rules.extend(self.site_egress(sites));
        rules.push(rule([Match::Answer], Action::Jump(ANSWERED.into())));
        rules.push(rule([Match::Answer], Action::Accept));
        rules.push(rule([], Action::Jump(OPENED.into())));
        let chain = |name: &str, rules| Chain { name: name.into(), hook: Hook::None, rules };
        vec![
            chain(TO_SITE, to_site.collect()),
            chain(FROM_SITE, from_site.collect()),
            chain(ANSWERED, self.opened(false)),
            chain(OPENED, self.opened(true)),
            chain(BESIDE, rules),
        ]
    }

    /// What hosts of a site with egress send out of the network, by whichever link.
    fn site_egress(&mut self, sites: &[(&Site, SiteMatch)]) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (site, link) in sites.iter().filter(|(site, _)| site.egress) {
            let family = Family::of(&site.subnet);
            let places = self.places();
            let Some(inside) = self.set("inside", &places, family) else { continue };
            let iif = match link {
                SiteMatch::Link(name) => Match::Iif { name: name.clone(), is: true },
                SiteMatch::Subnet => self.iif(false),
            };
            let from = Match::FlowFrom { family, with: Addresses::Net(site.subnet) };
            let outside = Match::FlowTo { family, with: inside, is: false };
            rules.extend(there_and_back(rule([iif, from, outside], Action::Accept)));
        }
        rules
    }

    /// What comes by these links, or answers what came by them.
    fn opened(&self, there: bool) -> Vec<Rule> {
        let v4 = self.around.opened4.iter().map(|link| {
            let came_by = Match::Iif { name: link.clone(), is: true };
            let drop = rule([came_by, Match::Nfproto(Family::V4)], Action::Drop);
            if there { drop } else { drop.turned() }
        });
        // IPv6 has one switch for the whole host.
        let v6 = self.around.opened6.then(|| rule([Match::Nfproto(Family::V6)], Action::Drop));
        v4.chain(v6).collect()
    }
}

fn saddr(net: IpNet) -> Match {
    Match::Saddr { family: Family::of(&net), with: Addresses::Net(net), is: true }
}

fn daddr(net: IpNet) -> Match {
    Match::Daddr { family: Family::of(&net), with: Addresses::Net(net), is: true }
}
