//! Prefixes that are asked what of them touches another, however many there are.

use std::net::IpAddr;

use ipnet::IpNet;

use super::longest::LongestPrefix;

/// Prefixes, to be asked what is inside of one and what around it.
#[derive(Debug, Clone)]
pub(super) struct Prefixes {
    /// By first address, then by length: what is inside of one stands behind it in a row.
    sorted: Vec<IpNet>,
    known: LongestPrefix<()>,
}

impl Prefixes {
    pub(super) fn new(all: impl Iterator<Item = IpNet>) -> Self {
        let mut sorted: Vec<IpNet> = all.map(|net| net.trunc()).collect();
        sorted.sort();
        let known = sorted.iter().map(|net| (*net, ())).collect();
        Self { sorted, known }
    }

    /// How many are this prefix or inside of it.
    pub(super) fn inside(&self, net: IpNet) -> usize {
        let last = IpNet::from(net.broadcast());
        self.sorted.partition_point(|n| *n <= last) - self.sorted.partition_point(|n| *n < net)
    }

    pub(super) fn has(&self, net: IpNet) -> bool {
        self.sorted.binary_search(&net).is_ok()
    }

    /// Says whether one is wider than this prefix and holds it.
    pub(super) fn are_around(&self, net: IpNet) -> bool {
        self.known.around(net).any(|(around, ())| around != net)
    }

    pub(super) fn hold(&self, ip: IpAddr) -> bool {
        self.known.lookup(ip).is_some()
    }

    pub(super) fn touch(&self, net: IpNet) -> bool {
        self.inside(net) > 0 || self.are_around(net)
    }
}
