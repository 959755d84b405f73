//! Nodes that are attached to another one's site: by `local`, or because they stand by for it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Builder, Built, End, Pair, Place, PlaceKind, TopologyError, Who, bridge_of, overlap};
use crate::model::{Bridge, Node, Site};

/// The address that a node has in another one's site.
pub(super) struct Foot<'n> {
    node: &'n Node,
    /// Index of the site.
    site: usize,
    address: IpAddr,
}

impl<'n> Builder<'n> {
    /// A node with a `local` prefix has a foot in the other node's site.
    pub(super) fn feet(&mut self, node: &'n Node) -> Result<(), TopologyError> {
        let local = node.written_local();
        let is_foot = |built: &Built<'_>| {
            let subnet = built.site.subnet;
            local.iter().any(|p| overlap(&p.trunc(), &subnet)) || standby_of(node, subnet).is_some()
        };
        let sites: Vec<usize> = (0..self.sites.len())
            .filter(|i| is_foot(&self.sites[*i]) && self.sites[*i].node.name != node.name)
            .collect();
        for (number, site) in sites.into_iter().enumerate() {
            self.foot(node, site, number)?;
        }
        Ok(())
    }

    fn foot(&mut self, node: &'n Node, site: usize, number: usize) -> Result<(), TopologyError> {
        let Built { node: owner, site: Site { subnet, .. }, .. } = self.sites[site];
        let (space, far) = (self.space_of(node), self.space_of(owner));
        let link = format!("local{number}");
        let of = |bridge: &Bridge| bridge.addresses.iter().map(IpNet::addr).find(|a| subnet.contains(a));
        let on_bridge = node.bridges.iter().find_map(|b| Some((b.name.to_string(), of(b)?)));
        if let Some(standby) = standby_of(node, *subnet) {
            return self.standby_foot(node, site, standby, on_bridge);
        }
        let (bridge, address) = match on_bridge {
            Some((bridge, address)) => (Some(bridge), address),
            None => {
                let no_room = || TopologyError::NoRoom { site: *subnet, node: owner.name.clone() };
                let address = self.free_in(self.sites[site].site, &[9]).ok_or_else(no_room)?;
                let net = IpNet::new_assert(address, subnet.prefix_len());
                self.top.spaces[space].addresses.push((link.clone(), net));
                (None, address)
            }
        };
        self.feet.push(Foot { node, site, address });
        let far_bridge = Some(self.sites[site].bridge.clone());
        self.join(
            End { space: far, link: format!("l{space}-{number}"), bridge: far_bridge },
            End { space, link, bridge },
        );
        Ok(())
    }

    /// A stand-by is behind the link that its own site names, with its own address there.
    fn standby_foot(
        &mut self,
        node: &'n Node,
        site: usize,
        (number, standby): (usize, &'n Site),
        on_bridge: Option<(String, IpAddr)>,
    ) -> Result<(), TopologyError> {
        let Built { node: owner, .. } = self.sites[site];
        let (space, far) = (self.space_of(node), self.space_of(owner));
        let subnet = standby.subnet;
        let bridge = bridge_of(standby, node.sites.len() + number);
        let here = &self.top.spaces[space];
        let known = here.addresses.iter().find(|(link, a)| *link == bridge && subnet.contains(&a.addr()));
        let known =
            known.map(|(_, a)| a.addr()).or(on_bridge.filter(|(name, _)| *name == bridge).map(|(_, a)| a));
        let address = match known {
            Some(address) => address,
            None => {
                let no_room = || TopologyError::NoRoom { site: subnet, node: node.name.clone() };
                let address = standby.address.or_else(|| self.free(subnet, &[9])).ok_or_else(no_room)?;
                let net = IpNet::new_assert(address, subnet.prefix_len());
                self.top.spaces[space].addresses.push((bridge.clone(), net));
                address
            }
        };
        let here = &mut self.top.spaces[space];
        if !here.bridges.contains(&bridge) {
            here.bridges.push(bridge.clone());
        }
        self.feet.push(Foot { node, site, address });
        let far_bridge = Some(self.sites[site].bridge.clone());
        self.join(
            End { space: far, link: format!("l{space}-s{number}"), bridge: far_bridge },
            End { space, link: format!("standby{number}"), bridge: Some(bridge) },
        );
        Ok(())
    }

    /// Nodes ask for a node with two homes also by its address in the other one's site.
    pub(super) fn second_homes(&mut self, nodes: &[&Node]) {
        for Foot { node, site, address } in &self.feet {
            let built = &self.sites[*site];
            let to = self.top.places.len();
            let space = self.space_of(node);
            let kind = PlaceKind::SecondHome(node.name.clone());
            let (address, near) = built.known_as(*address);
            self.top.places.push(Place { name: address.to_string(), kind, space, address, near });
            for (from, asking) in nodes.iter().enumerate().filter(|(_, n)| n.name != node.name) {
                let (a, b) = (Who { node: asking, site: None }, Who { node: built.node, site: Some(built) });
                let Some(promised) = self.question(&a, &b, address) else { continue };
                // Unless the caller has an address of that site, the answer takes the tunnel, where this sender is not accepted.
                let returns = asking.name == built.node.name || built.site.is_masqueraded();
                self.top.pairs.push(Pair { from, to, promised: promised && returns, seen_as: None });
            }
        }
    }
}

/// A node's own entry of a site that it stands by for, and its number among these.
fn standby_of(node: &Node, subnet: IpNet) -> Option<(usize, &Site)> {
    let mut all = node.standby.iter().map(|standby| &standby.site).enumerate();
    all.find(|(_, site)| site.subnet.trunc() == subnet.trunc())
}
