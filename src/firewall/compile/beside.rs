//! What passes a host that forwards only because of this network, and touches the tunnel neither coming nor going.
//!
//! Nobody was forwarded there before, so nobody is now: only answers, the flows from one site of the node to another that
//! policy allows, and what a site sends out by its egress. Where the host forwarded already, everything is as it was.

use super::{Addresses, Builder, Chain, CtState, Family, Hook, Match, Rule, Site, SiteMatch, rule};
use crate::firewall::Action;
use ipnet::IpNet;

/// The chain of what is neither from nor to the tunnel.
pub(in crate::firewall) const BESIDE: &str = "beside";
/// The chain that ends what only this network made the host forward.
pub(in crate::firewall) const OPENED: &str = "opened";
/// The chain of what comes from a site of this node.
pub(in crate::firewall) const FROM_SITE: &str = "from_site";
/// The chain of what comes from one of its sites and goes to one.
pub(in crate::firewall) const TO_SITE: &str = "to_site";

impl Builder<'_> {
    /// The chains, each after those that it jumps to; none where this network makes the host forward nothing.
    pub(super) fn beside(&mut self, sites: &[(&Site, SiteMatch)]) -> Vec<Chain> {
        if !self.around.opens() {
            return Vec::new();
        }
        let linked = sites.iter().filter_map(|(site, link)| match link {
            SiteMatch::Link(name) => Some((site.subnet, name.clone())),
            SiteMatch::Subnet => None,
        });
        let near: Vec<(IpNet, String)> = linked.chain(self.around.attached.iter().cloned()).collect();
        let to_site = near.iter().map(|(net, link)| {
            let oif = Match::Oif { name: link.clone(), is: true };
            rule([oif, daddr(*net)], Action::Jump("pairs".into()))
        });
        let from_site = near.iter().map(|(net, link)| {
            let iif = Match::Iif { name: link.clone(), is: true };
            rule([iif, saddr(*net)], Action::Jump(TO_SITE.into()))
        });
        let mut rules = vec![rule([Match::Ct(CtState::EstablishedRelated)], Action::Accept)];
        for bridge in &self.around.bridged {
            let (iif, oif) = (bridge.clone(), bridge.clone());
            let inside = [Match::Iif { name: iif, is: true }, Match::Oif { name: oif, is: true }];
            rules.push(rule(inside, Action::Accept));
        }
        for tunnel in &self.around.tunnels {
            rules.push(rule([Match::Oif { name: tunnel.clone(), is: true }], Action::Accept));
        }
        rules.push(rule([Match::Dnatted], Action::Jump(super::SERVICES.into())));
        rules.push(rule([], Action::Jump(FROM_SITE.into())));
        rules.extend(self.site_egress(sites));
        rules.push(rule([], Action::Jump(OPENED.into())));
        let chain = |name: &str, rules| Chain { name: name.into(), hook: Hook::None, rules };
        vec![
            chain(TO_SITE, to_site.collect()),
            chain(FROM_SITE, from_site.collect()),
            chain(OPENED, self.opened()),
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
            let outside = Match::Daddr { family, with: inside, is: false };
            rules.push(rule([iif, saddr(site.subnet), outside], Action::Accept));
        }
        rules
    }

    fn opened(&self) -> Vec<Rule> {
        let v4 = self.around.opened4.iter().map(|link| {
            rule([Match::Iif { name: link.clone(), is: true }, Match::Nfproto(Family::V4)], Action::Drop)
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
