//! Sites that the others know by another prefix than their hosts do, because somebody else has the same subnet.
//!
//! The gateway translates one to one (NETMAP): the bits of the prefix change, those of the host stay.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Node, Site};

impl Site {
    /// Returns the prefix by which the others know the site: its alias, else its subnet.
    pub fn prefix(&self) -> IpNet {
        self.alias.unwrap_or(self.subnet)
    }

    /// Returns the address that a host of the site has, which the others call by this one.
    pub fn own_address(&self, seen: IpAddr) -> IpAddr {
        self.alias.and_then(|alias| carried_over(seen, alias, self.subnet)).unwrap_or(seen)
    }

    /// Returns the address by which the others know a host of the site.
    pub fn seen_address(&self, own: IpAddr) -> IpAddr {
        self.alias.and_then(|alias| carried_over(own, self.subnet, alias)).unwrap_or(own)
    }

    /// Returns the site as people read it: its subnet, and what the others call it.
    pub fn in_words(&self) -> String {
        match self.alias {
            Some(alias) => format!("{} as {alias}", self.subnet),
            None => self.subnet.to_string(),
        }
    }
}

impl Node {
    /// Returns its sites that have an alias, each with it.
    pub fn aliases(&self) -> impl Iterator<Item = (&Site, IpNet)> {
        self.sites.iter().filter_map(|site| Some((site, site.alias?)))
    }

    /// Returns the address that this node itself sends to for one that the others use.
    pub fn own_address(&self, seen: IpAddr) -> IpAddr {
        let of_alias = self.aliases().filter(|(_, alias)| alias.contains(&seen));
        let narrowest = of_alias.max_by_key(|(_, alias)| alias.prefix_len());
        // A narrower site without one is somebody else's.
        narrowest.map_or(seen, |(site, _)| site.own_address(seen))
    }
}

/// Returns an address of one prefix at the same place in another; `None`: it is not in it, or the two are of other sizes.
pub fn carried_over(ip: IpAddr, from: IpNet, to: IpNet) -> Option<IpAddr> {
    if !from.contains(&ip) || from.prefix_len() != to.prefix_len() {
        return None;
    }
    match (ip, from.hostmask(), to.network()) {
        (IpAddr::V4(ip), IpAddr::V4(host), IpAddr::V4(net)) => {
            Some(IpAddr::V4((u32::from(ip) & u32::from(host) | u32::from(net)).into()))
        }
        (IpAddr::V6(ip), IpAddr::V6(host), IpAddr::V6(net)) => {
            Some(IpAddr::V6((u128::from(ip) & u128::from(host) | u128::from(net)).into()))
        }
        _ => None,
    }
}

/// Returns the part of a prefix that is in `from`, at its place in `to`.
pub fn net_carried_over(net: IpNet, from: IpNet, to: IpNet) -> Option<IpNet> {
    if net.contains(&from) {
        return (from.prefix_len() == to.prefix_len()).then(|| to.trunc());
    }
    let first = carried_over(net.network(), from, to)?;
    IpNet::new(first, net.prefix_len()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_keep_their_place() {
        for (from, a, to, b) in [
            ("192.168.1.0/24", "192.168.1.7", "10.99.1.0/24", "10.99.1.7"),
            ("10.0.0.0/12", "10.3.4.5", "172.16.0.0/12", "172.19.4.5"),
            ("192.168.1.4/32", "192.168.1.4", "10.9.9.9/32", "10.9.9.9"),
            ("fd01::/64", "fd01::1:2", "fd02:0:0:7::/64", "fd02:0:0:7::1:2"),
        ] {
            assert_eq!(carried_over(ip(a), net(from), net(to)), Some(ip(b)));
            assert_eq!(carried_over(ip(b), net(to), net(from)), Some(ip(a)));
        }
        assert_eq!(carried_over(ip("192.168.2.7"), net("192.168.1.0/24"), net("10.99.1.0/24")), None);
        assert_eq!(carried_over(ip("192.168.1.7"), net("192.168.1.0/24"), net("10.99.0.0/16")), None);
    }

    #[test]
    fn prefixes_keep_their_place() {
        let (own, alias) = (net("192.168.0.0/16"), net("10.99.0.0/16"));
        for (a, b) in [("192.168.0.0/16", "10.99.0.0/16"), ("192.168.33.0/24", "10.99.33.0/24")] {
            assert_eq!(net_carried_over(net(a), own, alias), Some(net(b)));
        }
        assert_eq!(net_carried_over(net("192.0.0.0/8"), own, alias), Some(alias));
        assert_eq!(net_carried_over(net("172.16.0.0/16"), own, alias), None);
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_same(a: u32, b: u32, host: u32, length in 0u8..=32) {
            let net = |bits: u32| IpNet::new(IpAddr::V4(bits.into()), length).unwrap().trunc();
            let (from, to) = (net(a), net(b));
            let mask = u32::MAX.checked_shr(length.into()).unwrap_or(0);
            let IpAddr::V4(first) = from.network() else { unreachable!() };
            let ip = IpAddr::V4((u32::from(first) | host & mask).into());
            let there = carried_over(ip, from, to).unwrap();
            prop_assert!(to.contains(&there));
            prop_assert_eq!(carried_over(there, to, from), Some(ip));
        }
    }
}
