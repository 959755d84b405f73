//! Addresses that the file says a node has on the link of a site, and what lies around them.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{SiteId, World};
use crate::model::Node;

/// Returns the nodes' own addresses in their sites, as far as the file gives them.
pub(super) fn of(nodes: &[Node]) -> HashMap<IpAddr, Vec<SiteId>> {
    let mut written: HashMap<IpAddr, Vec<SiteId>> = HashMap::new();
    for (node, of) in nodes.iter().enumerate() {
        for (index, site) in of.sites.iter().enumerate().filter(|(_, site)| site.alias.is_none()) {
            if let Some(address) = site.address {
                written.entry(address).or_default().push(SiteId { node, index });
            }
        }
    }
    written
}

impl World {
    /// The wider site, around this one, whose node has this address as its own there: what the network sends to the address comes
    /// here, because the longer prefix wins, and here nobody has it.
    pub(in crate::reach) fn kept_around(&self, site: SiteId, address: IpAddr) -> Option<SiteId> {
        let owners = self.written.get(&address)?;
        let narrow = self.site(site);
        let is_around = |owner: &&SiteId| {
            let wide = self.site(**owner).subnet;
            owner.node != site.node
                && wide.trunc() != narrow.subnet.trunc()
                && wide.contains(&narrow.subnet)
                && !self.node(owner.node).local.iter().any(|l| l.contains(&address))
        };
        owners.iter().find(is_around).copied().filter(|_| narrow.alias.is_none())
    }

    /// Says whether a link with this address is a narrower site's than this one, which is another node's or on another link there.
    pub(super) fn is_of_narrower(&self, address: &IpNet, site: SiteId) -> bool {
        let Some(narrow) = self.site_of(address.addr()).filter(|narrow| *narrow != site) else {
            return false;
        };
        let (wide, subnet) = (self.site(site).subnet, self.site(narrow).subnet);
        let is_same_link = || narrow.node == site.node && self.site_link(narrow) == self.site_link(site);
        subnet.prefix_len() > wide.prefix_len() && subnet.contains(&address.trunc()) && !is_same_link()
    }
}
