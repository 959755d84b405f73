//! The longest prefix that holds an address: AllowedIPs, routes and sites are all looked up like this.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// Prefixes of both families, each with a value.
#[derive(Debug, Clone)]
pub struct LongestPrefix<T> {
    /// The lengths that occur, longest first: IPv4, then IPv6.
    lengths: [Vec<u8>; 2],
    map: HashMap<IpNet, T>,
}

impl<T> Default for LongestPrefix<T> {
    fn default() -> Self {
        Self { lengths: [Vec::new(), Vec::new()], map: HashMap::new() }
    }
}

impl<T> LongestPrefix<T> {
    /// Puts a prefix in. One that is there already gets the new value, as a WireGuard device moves it to the last claimant.
    pub fn insert(&mut self, prefix: IpNet, value: T) {
        let prefix = prefix.trunc();
        let lengths = &mut self.lengths[usize::from(matches!(prefix, IpNet::V6(_)))];
        if let Err(at) = lengths.binary_search_by(|l| prefix.prefix_len().cmp(l)) {
            lengths.insert(at, prefix.prefix_len());
        }
        self.map.insert(prefix, value);
    }
    /// Puts a prefix in that is not there yet.
    pub fn insert_new(&mut self, prefix: IpNet, value: T) {
        if !self.map.contains_key(&prefix.trunc()) {
            self.insert(prefix, value);
        }
    }
    /// Returns the longest prefix that holds the address.
    pub fn lookup(&self, address: IpAddr) -> Option<(IpNet, &T)> {
        let lengths = &self.lengths[usize::from(address.is_ipv6())];
        lengths.iter().find_map(|l| {
            let prefix = IpNet::new(address, *l).ok()?.trunc();
            self.map.get(&prefix).map(|value| (prefix, value))
        })
    }
}

impl<T> LongestPrefix<T> {
    /// Returns every prefix that holds all of this one, itself included, longest first.
    pub fn around(&self, net: IpNet) -> impl Iterator<Item = (IpNet, &T)> {
        let lengths = &self.lengths[usize::from(matches!(net, IpNet::V6(_)))];
        lengths.iter().filter(move |l| **l <= net.prefix_len()).filter_map(move |l| {
            let prefix = IpNet::new(net.addr(), *l).ok()?.trunc();
            self.map.get(&prefix).map(|value| (prefix, value))
        })
    }
}

impl<T> FromIterator<(IpNet, T)> for LongestPrefix<T> {
    fn from_iter<I: IntoIterator<Item = (IpNet, T)>>(items: I) -> Self {
        let mut out = Self::default();
        for (prefix, value) in items {
            out.insert(prefix, value);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix() -> impl Strategy<Value = IpNet> {
        // Few distinct bits, so that prefixes nest and repeat.
        prop_oneof![
            (0u32..16, 0u8..=32).prop_map(|(bits, len)| {
                IpNet::new(IpAddr::V4((bits << 28 | bits << 8 | bits).into()), len).unwrap().trunc()
            }),
            (0u128..16, 0u8..=128).prop_map(|(bits, len)| {
                IpNet::new(IpAddr::V6((bits << 124 | bits << 60 | bits).into()), len).unwrap().trunc()
            }),
        ]
    }

    proptest! {
        #[test]
        fn equals_a_linear_scan(list in prop::collection::vec(prefix(), 0..40), asked in prefix()) {
            let table: LongestPrefix<usize> = list.iter().copied().zip(0..).collect();
            let address = asked.addr();
            // Of equal prefixes the last one stands, as `max_by_key` has it.
            let scan = list.iter().enumerate().filter(|(_, p)| p.contains(&address)).max_by_key(|(_, p)| p.prefix_len());
            prop_assert_eq!(table.lookup(address).map(|(p, i)| (p, *i)), scan.map(|(i, p)| (*p, i)));
        }
    }
}
