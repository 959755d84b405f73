//! Beside the tunnel: which way a host sends, and who is on the link that it sends to.

use std::net::IpAddr;

use super::{Addresses, Cause, Delivered, Next, Step, Walk};
use crate::model::{Node, claimed_by_spoke};
use crate::reach::host::{Dev, Host, Sought, Way};
use crate::reach::rules::Protocol;
use crate::reach::world::{NodeId, SiteId, Spot};

impl Walk<'_> {
    /// Finds the route, and says what is wrong where it does not lead to the destination.
    pub(super) fn way(&mut self, id: NodeId, sought: Sought<'_>) -> Result<Way, Cause> {
        let host = self.world.host(id);
        let dst = sought.dst;
        let chosen = host.choose(sought, 0);
        let name = self.world.name(id);
        self.uncertain.extend(chosen.doubts.iter().map(|doubt| format!("{name}: {doubt}")));
        if let Some(rule) = chosen.rule {
            let usual = host.route(dst, sought.src, 0).map(|way| way.dev);
            let is = chosen.way.as_ref().map(|way| way.dev.clone());
            // Which of its ways out a host takes is its owner's matter.
            let goes_out = self.world.is_internet(dst) && is.is_some() && usual != Some(Dev::Tunnel);
            if usual != is && !goes_out {
                let by = is.map(|dev| host.name_of(&dev).to_owned());
                return Err(Cause::Ruled {
                    node: id,
                    dst,
                    rule: rule.to_string(),
                    priority: rule.priority,
                    by,
                });
            }
        }
        match chosen.way {
            Some(way) if way.gateway.is_none() || self.world.is_internet(dst) => Ok(way),
            Some(way) if self.by_gateway(id, &way).is_some() => Ok(way),
            None if let Some(exit) = self.exit_of(sought) => Err(Cause::ExitAway { node: id, exit }),
            unroutable => Err(self.unroutable(id, host, unroutable.as_ref(), dst)),
        }
    }

    /// The way of a socket that is connected: Linux asks the rules once more with the source that the first answer gave. Of UDP nobody
    /// knows whether it is connected; a ping is not.
    pub(super) fn way_of_connected(&mut self, id: NodeId, first: Way, at: Addresses) -> Result<Way, Cause> {
        let sought = Sought { dst: at.dst, src: Some(at.src), came_by: None };
        match self.protocol {
            Protocol::Icmp => Ok(first),
            Protocol::Tcp(_) => self.way(id, sought),
            Protocol::Udp(_) => {
                let again = self.world.host(id).choose(sought, 0);
                if again.way.as_ref().map(|way| &way.dev) != Some(&first.dev) {
                    let rule =
                        again.rule.map_or_else(|| "another rule".into(), |r| format!("policy rule {r}"));
                    let name = self.world.name(id);
                    self.uncertain.push(format!(
                        "{name}: {rule} takes what a connected socket sends, and nobody knows whether this one is"
                    ));
                }
                Ok(first)
            }
        }
    }

    /// The node by which whoever sends this leaves to the Internet.
    fn exit_of(&self, sought: Sought<'_>) -> Option<NodeId> {
        let (world, src) = (self.world, sought.src?);
        let network = world.network();
        let is_its = |spoke: &&Node| claimed_by_spoke(spoke).iter().any(|net| net.contains(&src));
        let spoke = world
            .is_internet(sought.dst)
            .then(|| network.spokes().filter(|s| s.via.is_some()).find(is_its))??;
        sought.came_by.and_then(|_| world.id(spoke.via.as_ref()?))
    }

    pub(super) fn unroutable(&self, id: NodeId, host: &Host, way: Option<&Way>, dst: IpAddr) -> Cause {
        let world = self.world;
        if let Err(cause) = self.usable(id) {
            return cause;
        }
        let node = world.node(id);
        let missing = node.sites.iter().enumerate().find(|(i, s)| {
            s.subnet.contains(&dst) && host.site_links.get(*i).is_some_and(|l| l.name().is_none())
        });
        if let Some((index, _)) = missing {
            return Cause::InterfaceMissing { site: SiteId { node: id, index } };
        }
        if host.allowed(dst).is_some() {
            let by = way.map(|w| host.name_of(&w.dev).to_owned());
            return Cause::NoRoute { node: id, dst, by };
        }
        self.not_allowed(id, dst)
    }

    pub(super) fn not_allowed(&self, id: NodeId, dst: IpAddr) -> Cause {
        let world = self.world;
        let node = world.node(id);
        if !node.is_relay() && world.home(node).is_none() {
            let listed = node.relays.iter().filter_map(|name| world.id(name));
            let mut relays = listed.chain(world.ids()).filter(|r| world.node(*r).is_relay());
            if let Some(relay) = relays.next() {
                return Cause::Inactive(relay);
            }
        }
        Cause::NotAllowed { node: id, dst }
    }

    /// The node that is a route's router, where one of the network is.
    pub(super) fn by_gateway(&self, id: NodeId, way: &Way) -> Option<Next> {
        let (Dev::Link(link), Some(gateway)) = (&way.dev, way.gateway) else { return None };
        let site = self.world.site_here(gateway, |site| self.world.is_on(id, link, *site))?;
        let (router, dev) = self.world.attached_at(site, gateway)?;
        Some(Next::Node(router, dev))
    }

    /// A site's host sends: what its own subnet holds is on its link, the rest goes to its gateway if it has one.
    pub(super) fn host_sends(&mut self, site: SiteId, host: IpAddr, dst: IpAddr) -> Result<Next, Cause> {
        let world = self.world;
        let subnet = world.site(site).subnet;
        let at = Addresses { src: host, dst };
        if subnet.contains(&dst) {
            self.hop(&host, Step::Route, at, || format!("{subnet} is its own link"));
            return self.on_link(site, dst).ok_or_else(|| Cause::NotOnLink {
                at: host.to_string(),
                owner: site.node,
                subnet,
                dst,
            });
        }
        if subnet.addr().is_ipv6() != dst.is_ipv6() {
            return Err(Cause::NothingInCommon);
        }
        if !world.is_gateway(site) {
            return Err(Cause::HostHasNoWay { site, host, dst });
        }
        let Some(link) = world.site_link(site) else { return Err(Cause::InterfaceMissing { site }) };
        self.hop(&host, Step::Route, at, || format!("its gateway is {}", world.name(site.node)));
        Ok(Next::Node(site.node, Dev::Link(link.into())))
    }

    /// Says no where somebody else has the address, on a link with the same prefix.
    pub(super) fn is_meant(&self, to: Spot, landing: Delivered, dst: IpAddr) -> Result<(), Cause> {
        let world = self.world;
        let (owner, at) = match (to, landing) {
            (Spot::Host(site, _), Delivered::Host(other, _)) if site != other => (site.node, other.node),
            (Spot::Host(site, _), Delivered::Node(other))
                if world.has_aliases() && !world.is_attached(other, site) =>
            {
                (site.node, other)
            }
            (
                Spot::Node(node, _),
                Delivered::Node(other) | Delivered::Host(SiteId { node: other, .. }, _),
            ) if world.has_aliases() && node != other && self.rewritten.is_none() => (node, other),
            _ => return Ok(()),
        };
        let subnet = world.prefix_of(dst);
        Err(Cause::NotOnLink { at: world.name(at).to_string(), owner, subnet, dst })
    }

    /// A host on a bridge that is no site's sends: it knows its own link, and nobody's gateway.
    pub(super) fn neighbour_sends(&mut self, id: NodeId, host: IpAddr, dst: IpAddr) -> Result<Next, Cause> {
        let world = self.world;
        let Some(net) = world.neighbourhood(id, host).filter(|net| net.contains(&dst)) else {
            return Err(Cause::NeighbourHasNoWay { node: id, host, dst });
        };
        self.hop(&host, Step::Route, Addresses { src: host, dst }, || format!("{net} is its own link"));
        match world.host(id).owns(dst) {
            Some(dev) => Ok(Next::Node(id, dev.clone())),
            None => Ok(Next::Neighbour(id, dst)),
        }
    }

    /// Who has this address on a site's link: a node that is attached there, else the host itself.
    pub(super) fn on_link(&self, site: SiteId, dst: IpAddr) -> Option<Next> {
        if let Some((id, dev)) = self.world.attached_at(site, dst) {
            return Some(Next::Node(id, dev));
        }
        // A node that is attached here answers for every address of its own, on whichever of its links that is.
        if let Some((id, dev)) = self.world.answers_arp(site, dst) {
            return Some(Next::Node(id, dev));
        }
        // Another site of the same node may be on the same link.
        let is_here = |other: &SiteId| {
            let link = |of: SiteId| self.world.site_link(of);
            *other == site || other.node == site.node && link(site).is_some() && link(*other) == link(site)
        };
        if let Some(other) = self.world.site_here(dst, is_here)
            && self.world.by_tunnel_address(dst).is_none()
            && self.world.kept_around(other, dst).is_none()
        {
            return Some(Next::Host(other, dst));
        }
        None
    }

    pub(super) fn over_link(
        &self,
        id: NodeId,
        host: &Host,
        link: &str,
        way: &Way,
        dst: IpAddr,
    ) -> Result<Next, Cause> {
        let world = self.world;
        if let Some(site) = world.site_here(dst, |s| world.is_on(id, link, *s))
            && let Some(next) = self.on_link(site, dst)
        {
            return Ok(next);
        }
        // Another node's address on the same link, though in a prefix of another site.
        let sites = world
            .ids()
            .filter(|node| world.is_active(*node))
            .flat_map(|node| (0..world.node(node).sites.len()).map(move |index| SiteId { node, index }));
        let mut here = sites.filter(|s| world.site(*s).subnet.contains(&dst) && world.is_on(id, link, *s));
        let answers = |s| world.attached_at(s, dst).or_else(|| world.answers_arp(s, dst));
        if let Some((other, dev)) = here.clone().find_map(answers) {
            return Ok(Next::Node(other, dev));
        }
        if let Some(site) = here.next() {
            if let Some(next) = self.on_link(site, dst) {
                return Ok(next);
            }
            let subnet = world.site(site).subnet;
            return Err(Cause::NotOnLink { at: world.name(id).to_string(), owner: site.node, subnet, dst });
        }
        if world.neighbourhood(id, dst).is_some_and(|net| net == way.prefix) {
            return Ok(Next::Neighbour(id, dst));
        }
        let missing = world.node(id).sites.iter().zip(&host.site_links);
        if missing.clone().any(|(s, l)| s.subnet.contains(&dst) && l.name().is_none()) {
            return Err(self.unroutable(id, host, Some(way), dst));
        }
        Err(Cause::NotOnLink { at: world.name(id).to_string(), owner: id, subnet: way.prefix, dst })
    }
}
