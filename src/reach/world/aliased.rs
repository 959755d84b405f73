//! Aliased sites in the world: which addresses are on whose link, where the network knows them by others.

use std::net::IpAddr;

use super::{NodeId, SiteId, Spot, World};

impl World {
    /// The source and the destination of a packet as it is sent. A host of an aliased site has its own address, and whoever is at the
    /// site's node calls it by that.
    pub(in crate::reach) fn as_sent(&self, from: Spot, to: Spot) -> (IpAddr, IpAddr) {
        let node = match from {
            Spot::Node(id, _) | Spot::Neighbour(id, _) => Some(id),
            Spot::Host(site, _) => Some(site.node),
            Spot::Internet(_) | Spot::Lan(..) => None,
        };
        let own = |ip: IpAddr| node.map_or(ip, |id| self.node(id).own_address(ip));
        (own(from.address()), own(to.address()))
    }

    /// The site, among those for which this holds, that an address is in by the addresses that its hosts have.
    pub(in crate::reach) fn site_here(
        &self,
        address: IpAddr,
        is_here: impl Fn(&SiteId) -> bool,
    ) -> Option<SiteId> {
        let plain = self.site_of(address).filter(|site| self.site(*site).alias.is_none() && is_here(site));
        let holds = |site: &&SiteId| self.site(**site).subnet.contains(&address) && is_here(site);
        let aliased = self.aliased.iter().filter(holds).copied();
        plain.into_iter().chain(aliased).max_by_key(|site| self.site(*site).subnet.prefix_len())
    }

    /// Says whether any site has an alias: where none has, no two links have the same prefix unless the file says so.
    pub(in crate::reach) fn has_aliases(&self) -> bool {
        !self.aliased.is_empty()
    }

    /// Says whether a node has a link that is the site's.
    pub(in crate::reach) fn is_attached(&self, node: NodeId, site: SiteId) -> bool {
        self.facts(node).links.keys().any(|link| self.is_on(node, link, site))
    }

    /// The address by which the network knows one that was met at a node.
    pub(in crate::reach) fn seen_at(&self, node: NodeId, own: IpAddr) -> IpAddr {
        let holds = |(site, _): &(&crate::model::Site, _)| site.subnet.contains(&own);
        let site = self.node(node).aliases().filter(holds).max_by_key(|(site, _)| site.subnet.prefix_len());
        site.map_or(own, |(site, _)| site.seen_address(own))
    }

    /// The active sites that have an alias.
    pub(super) fn with_alias(&self) -> Vec<SiteId> {
        let of = |node: NodeId| {
            let sites = self.nodes[node].sites.iter().enumerate();
            sites.filter(|(_, site)| site.alias.is_some()).map(move |(index, _)| SiteId { node, index })
        };
        (0..self.nodes.len()).filter(|id| self.is_active(*id)).flat_map(of).collect()
    }
}
