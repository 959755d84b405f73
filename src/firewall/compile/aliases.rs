//! Sites that the others know by another prefix: translated one to one at their gateway, both ways.
//!
//! Between the two translations, in the hooks of routing and filtering, a packet has the addresses that the site's hosts have.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Addresses, Builder, Chain, DSTNAT, Family, Hook, Match, Site, SiteMatch, rule};
use crate::firewall::Action;
use crate::model::{net_carried_over, without};

/// The chain that gives what leaves an aliased site into the tunnel the addresses that the others know.
pub(in crate::firewall) const SRCNAT: &str = "srcnat";

impl Builder<'_> {
    /// What prefixes of the network are on this host: of its own sites what their hosts have, and nobody else is there.
    pub(super) fn here(&self, nets: &BTreeSet<IpNet>) -> BTreeSet<IpNet> {
        if self.node.aliases().next().is_none() {
            return nets.clone();
        }
        let own: Vec<IpNet> = self.node.aliases().map(|(site, _)| site.subnet).collect();
        let mut here = without(nets, &own);
        for (site, alias) in self.node.aliases() {
            here.extend(nets.iter().filter_map(|net| net_carried_over(*net, alias, site.subnet)));
        }
        // A site without an alias inside of one that has one is a place by itself.
        let plain = self.node.sites.iter().filter(|site| site.alias.is_none());
        here.extend(plain.flat_map(|site| nets.iter().filter_map(|net| common(*net, site.subnet))));
        here
    }

    /// The address that this host sends to where the network names one.
    pub(super) fn address_here(&self, seen: IpAddr) -> IpAddr {
        self.node.own_address(seen)
    }

    /// Adds what leads from an alias to the site behind it: for what comes by the tunnel.
    pub(super) fn towards_sites(&self, sites: &[(&Site, SiteMatch)], chains: &mut Vec<Chain>) {
        let to = |(site, alias): (&Site, IpNet)| {
            let daddr = Match::Daddr { family: Family::of(&alias), with: Addresses::Net(alias), is: true };
            rule([self.iif(true), daddr], Action::DnatPrefix(site.subnet))
        };
        let rules: Vec<_> = narrow_first(sites).filter_map(|site| Some(to((site, site.alias?)))).collect();
        if rules.is_empty() {
            return;
        }
        match chains.iter_mut().find(|chain| chain.hook == Hook::Dstnat) {
            Some(chain) => chain.rules.extend(rules),
            None => chains.push(Chain { name: DSTNAT.into(), hook: Hook::Dstnat, rules }),
        }
    }

    /// The chain of what a site sends into the tunnel.
    pub(super) fn leaving_sites(&self, sites: &[(&Site, SiteMatch)]) -> Option<Chain> {
        let aliased: Vec<&Site> = narrow_first(sites).filter(|site| site.alias.is_some()).collect();
        let is_inside = |site: &Site| aliased.iter().any(|wide| wide.subnet.contains(&site.subnet));
        let from = |site: &Site| {
            let with = Addresses::Net(site.subnet);
            let saddr = Match::Saddr { family: Family::of(&site.subnet), with, is: true };
            rule([self.oif(true), saddr], site.alias.map_or(Action::Accept, Action::SnatPrefix))
        };
        let rules: Vec<_> = narrow_first(sites).filter(|site| is_inside(site)).map(from).collect();
        (!aliased.is_empty()).then(|| Chain { name: SRCNAT.into(), hook: Hook::Srcnat, rules })
    }
}

fn narrow_first<'s>(sites: &[(&'s Site, SiteMatch)]) -> impl Iterator<Item = &'s Site> + use<'s> {
    let mut all: Vec<&Site> = sites.iter().map(|(site, _)| *site).collect();
    all.sort_by_key(|site| std::cmp::Reverse(site.subnet.prefix_len()));
    all.into_iter()
}

fn common(a: IpNet, b: IpNet) -> Option<IpNet> {
    if a.contains(&b) {
        return Some(b);
    }
    b.contains(&a).then_some(a)
}
