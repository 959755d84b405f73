//! Sites with an alias: who calls their hosts by which address.

use std::net::IpAddr;

use super::{Builder, Built, Place, PlaceKind, Topology, host_address};
use crate::model::{NodeName, Site};

impl Place {
    /// Returns the address that it has itself.
    pub fn own_address(&self) -> IpAddr {
        self.near.as_ref().map_or(self.address, |(_, own)| *own)
    }
}

impl Topology {
    /// Returns the address by which one place calls another.
    pub fn called(&self, from: &Place, to: &Place) -> IpAddr {
        let at = match &from.kind {
            PlaceKind::HostBehind(node) => Some(node),
            _ => self.spaces.get(from.space).and_then(|space| space.node.as_ref()),
        };
        let near = to.near.as_ref().filter(|(node, _)| at == Some(node));
        near.map_or(to.address, |(_, own)| *own)
    }
}

impl Built<'_> {
    /// By which address the others know somebody on its link, and by which whoever is at its node.
    pub(super) fn known_as(&self, own: IpAddr) -> (IpAddr, Option<(NodeName, IpAddr)>) {
        let near = self.site.alias.map(|_| (self.node.name.clone(), own));
        (self.site.seen_address(own), near)
    }
}

impl Builder<'_> {
    /// An address for somebody on a site's link: nobody else's by which the others know it. Hosts of two aliased sites may well
    /// have the same.
    pub(super) fn free_in(&mut self, site: &Site, options: &[u32]) -> Option<IpAddr> {
        if site.alias.is_none() {
            return self.free(site.subnet, options);
        }
        let candidates = options.iter().copied().chain(1..1024);
        let mut own = candidates.filter_map(|n| host_address(site.subnet, n.into()));
        let found =
            own.find(|own| !self.taken.contains(own) && !self.taken.contains(&site.seen_address(*own)))?;
        self.taken.insert(site.seen_address(found));
        self.behind_aliases.insert(found);
        Some(found)
    }
}
