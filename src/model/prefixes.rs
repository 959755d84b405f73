//! Prefixes in order, so that "what overlaps this" costs a few look-ups, however many there are.

use std::collections::BTreeMap;

use ipnet::IpNet;

/// Prefixes, each with what it stands for. Two families never overlap.
#[derive(Debug, Clone)]
pub struct PrefixMap<T> {
    map: BTreeMap<IpNet, T>,
    /// A bit for every length that occurs, IPv4 and IPv6: what is wider is looked for only there.
    lengths: [u128; 2],
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        Self { map: BTreeMap::new(), lengths: [0; 2] }
    }
}

impl<T> PrefixMap<T> {
    /// Returns what stands at exactly this prefix.
    pub fn get(&self, prefix: IpNet) -> Option<&T> {
        self.map.get(&prefix.trunc())
    }
    /// Returns what stands at exactly this prefix, to be changed.
    pub fn get_mut(&mut self, prefix: IpNet) -> Option<&mut T> {
        self.map.get_mut(&prefix.trunc())
    }
    /// Puts a prefix in unless it is there already; says whether it went in.
    pub fn insert_new(&mut self, prefix: IpNet, value: T) -> bool {
        // No prefix of 128 bits is wider than another.
        self.lengths[family(prefix)] |= 1u128.checked_shl(prefix.prefix_len().into()).unwrap_or(0);
        match self.map.entry(prefix.trunc()) {
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(value);
                true
            }
            std::collections::btree_map::Entry::Occupied(_) => false,
        }
    }
    /// Returns the longest prefix that holds all of `inner` and is wider than it.
    pub fn wider_than(&self, inner: IpNet) -> Option<(IpNet, &T)> {
        let lengths = self.lengths[family(inner)];
        (0..inner.prefix_len()).rev().filter(|length| lengths >> length & 1 == 1).find_map(|length| {
            let prefix = IpNet::new(inner.addr(), length).ok()?.trunc();
            self.map.get(&prefix).map(|found| (prefix, found))
        })
    }
    /// Returns any prefix that shares an address with this one.
    pub fn overlapping(&self, prefix: IpNet) -> Option<(IpNet, &T)> {
        let prefix = prefix.trunc();
        if let Some(found) = self.map.get(&prefix) {
            return Some((prefix, found));
        }
        // What lies inside sorts between the prefix itself and the host prefix of its last address.
        let last = IpNet::from(prefix.broadcast());
        let inside = self.map.range(prefix..=last).find(|(p, _)| prefix.contains(*p));
        inside.map(|(p, v)| (*p, v)).or_else(|| self.wider_than(prefix))
    }
}

const fn family(prefix: IpNet) -> usize {
    match prefix {
        IpNet::V4(_) => 0,
        IpNet::V6(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps() {
        let mut map = PrefixMap::default();
        for p in ["10.0.0.0/8", "10.1.0.0/16", "192.168.3.0/24", "fd00::/16", "10.1.2.3/32"] {
            assert!(map.insert_new(p.parse().unwrap(), p));
        }
        assert!(!map.insert_new("10.0.0.0/8".parse().unwrap(), ""));
        let wider = |p: &str| map.wider_than(p.parse().unwrap()).map(|(_, v)| *v);
        assert_eq!(wider("10.1.2.0/24"), Some("10.1.0.0/16"));
        assert_eq!(wider("10.1.0.0/16"), Some("10.0.0.0/8"));
        assert_eq!(wider("10.0.0.0/8"), None);
        let over = |p: &str| map.overlapping(p.parse().unwrap()).map(|(_, v)| *v);
        assert_eq!(over("192.168.0.0/16"), Some("192.168.3.0/24"));
        assert_eq!(over("192.168.3.7/32"), Some("192.168.3.0/24"));
        assert_eq!(over("192.168.4.0/24"), None);
        assert_eq!(over("::/0"), Some("fd00::/16"));
        assert_eq!(over("0.0.0.0/0"), Some("10.0.0.0/8"));
    }
}
