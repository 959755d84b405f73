//! Which of the routes that others set on a host may change what a network wants there.
//!
//! A routing daemon changes several a second, and most of them lead to places that no network here has anything to do with.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{EndpointHost, Network, Node, PlaceRef, PrefixMap, Routes};

/// What of others' routes matters to a network on a node.
#[derive(Debug, Clone)]
pub enum RouteInterest {
    /// Any may.
    All,
    /// Default routes, and those that share an address with one of these.
    Some(PrefixMap<()>),
}

impl RouteInterest {
    /// Says what matters to a network on this node; `called` are the addresses that its peers' endpoints have.
    pub fn of(network: &Network, node: &Node, called: impl Iterator<Item = IpAddr>) -> Self {
        // What is reached by a route of its own is no part of the Internet that an egress leads to.
        if node.egress || node.written_sites().iter().any(|s| s.egress) {
            return Self::All;
        }
        let mut map = PrefixMap::default();
        let mut put = |net: IpNet| _ = map.insert_new(net, ());
        network.subnets().into_iter().for_each(&mut put);
        called.for_each(|ip| put(ip.into()));
        for node in network.nodes.values() {
            node.sites.iter().flat_map(|s| [s.subnet, s.prefix()]).for_each(&mut put);
            node.local.iter().copied().for_each(&mut put);
            node.bridges.iter().flat_map(|b| &b.addresses).for_each(|a| put(a.trunc()));
            if let Routes::Only(list) = &node.routes {
                list.iter().copied().for_each(&mut put);
            }
            for endpoint in node.endpoint.iter().chain(node.endpoint_of.values()) {
                if let EndpointHost::Ip(ip) = endpoint.host {
                    put(ip.into());
                }
            }
        }
        let rules = network.allow.iter().flat_map(|rule| rule.from.iter().chain(&rule.to));
        for place in rules {
            match place {
                PlaceRef::Prefix(net) => put(*net),
                PlaceRef::Address(ip) => put((*ip).into()),
                _ => {}
            }
        }
        Self::Some(map)
    }

    /// Says whether a route to this prefix may matter.
    pub fn concerns(&self, route: IpNet) -> bool {
        match self {
            Self::All => true,
            // Two halves of everything are a default route, too.
            Self::Some(map) => route.prefix_len() <= 1 || map.overlapping(route).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::fixture::relay_alone;
    use crate::model::Site;

    #[test]
    fn what_leads_elsewhere_does_not_matter() {
        let (mut network, relay) = relay_alone();
        let site = Site::new("172.19.0.0/16".parse().unwrap());
        network.nodes.get_mut(&relay).unwrap().sites = vec![site];
        let called = ["198.51.100.7".parse().unwrap()];
        let interest =
            |network: &Network| RouteInterest::of(network, &network.nodes[&relay], called.into_iter());
        let subnet = IpNet::V4(network.subnet);
        let concerned = |network: &Network, route: &str| interest(network).concerns(route.parse().unwrap());
        for route in ["0.0.0.0/0", "128.0.0.0/1", "::/0", "172.19.3.0/24", "172.16.0.0/12", "198.51.100.0/24"]
        {
            assert!(concerned(&network, route), "{route}");
        }
        assert!(interest(&network).concerns(subnet));
        for route in ["203.0.113.0/24", "172.20.0.0/16", "198.51.100.8/32", "2001:db8::/32"] {
            assert!(!concerned(&network, route), "{route}");
        }
        network.nodes.get_mut(&relay).unwrap().egress = true;
        assert!(concerned(&network, "203.0.113.0/24"), "an egress leads past what has a route of its own");
    }
}
