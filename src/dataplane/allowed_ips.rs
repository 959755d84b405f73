//! Cryptokey routing: which peer owns an address, by the longest prefix.
//!
//! One path-compressed binary trie per family. A look-up walks at most one node per bit that tells prefixes apart;
//! a change touches one path and never scans other peers' prefixes.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::peer::PeerId;

/// A table of AllowedIPs.
#[derive(Default)]
pub(super) struct AllowedIps {
    v4: Trie<u32>,
    v6: Trie<u128>,
    by_peer: HashMap<PeerId, BTreeSet<IpNet>>,
}

impl AllowedIps {
    /// Gives `prefix` to `peer`; another peer that had exactly this prefix loses it. Host bits are masked.
    pub(super) fn insert(&mut self, prefix: IpNet, peer: PeerId) {
        let prefix = prefix.trunc();
        let before = match prefix {
            IpNet::V4(p) => self.v4.insert(p.addr().into(), p.prefix_len(), peer),
            IpNet::V6(p) => self.v6.insert(p.addr().into(), p.prefix_len(), peer),
        };
        if let Some(before) = before.filter(|b| *b != peer) {
            self.forget(before, &prefix);
        }
        self.by_peer.entry(peer).or_default().insert(prefix);
    }

    /// Takes `prefix` from `peer`, if that peer has it.
    pub(super) fn remove(&mut self, prefix: IpNet, peer: PeerId) {
        let prefix = prefix.trunc();
        if self.by_peer.get(&peer).is_some_and(|own| own.contains(&prefix)) {
            self.clear(&prefix);
            self.forget(peer, &prefix);
        }
    }

    /// Takes every prefix from `peer`.
    pub(super) fn remove_peer(&mut self, peer: PeerId) {
        for prefix in self.by_peer.remove(&peer).unwrap_or_default() {
            self.clear(&prefix);
        }
    }

    /// Finds the peer with the longest prefix that contains `address`.
    pub(super) fn lookup(&self, address: IpAddr) -> Option<PeerId> {
        match address {
            IpAddr::V4(a) => self.v4.lookup(a.into()),
            IpAddr::V6(a) => self.v6.lookup(a.into()),
        }
    }

    /// Lists the prefixes of `peer`, sorted.
    pub(super) fn of(&self, peer: PeerId) -> impl Iterator<Item = IpNet> + '_ {
        self.by_peer.get(&peer).into_iter().flatten().copied()
    }

    fn clear(&mut self, prefix: &IpNet) {
        match prefix {
            IpNet::V4(p) => self.v4.remove(p.addr().into(), p.prefix_len()),
            IpNet::V6(p) => self.v6.remove(p.addr().into(), p.prefix_len()),
        }
    }

    fn forget(&mut self, peer: PeerId, prefix: &IpNet) {
        if let Some(own) = self.by_peer.get_mut(&peer) {
            own.remove(prefix);
            if own.is_empty() {
                self.by_peer.remove(&peer);
            }
        }
    }
}

/// An address as a number, most significant bit first.
trait Bits: Copy + Eq + Default {
    const WIDTH: u8;
    /// Counts the leading bits that two addresses share.
    fn common(self, other: Self) -> u8;
    /// Returns bit `i`, counted from the most significant, as 0 or 1. `i` is below the width.
    fn bit(self, i: u8) -> usize;
    /// Zeroes all but the first `len` bits.
    fn mask(self, len: u8) -> Self;
}

macro_rules! bits {
    ($t:ty) => {
        impl Bits for $t {
            const WIDTH: u8 = <$t>::BITS as u8;
            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }
            fn bit(self, i: u8) -> usize {
                usize::from((self >> (Self::WIDTH - 1 - i)) & 1 == 1)
            }
            fn mask(self, len: u8) -> Self {
                // A shift by the whole width is undefined, and means "nothing stays" here.
                self & <$t>::MAX.checked_shl(u32::from(Self::WIDTH - len)).unwrap_or(0)
            }
        }
    };
}
bits!(u32);
bits!(u128);

/// Marks the absence of a node.
const NONE: u32 = u32::MAX;

struct Node<B> {
    prefix: B,
    len: u8,
    peer: Option<PeerId>,
    child: [u32; 2],
}

struct Trie<B> {
    nodes: Vec<Node<B>>,
    free: Vec<u32>,
    root: u32,
}

impl<B> Default for Trie<B> {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), root: NONE }
    }
}

impl<B: Bits> Trie<B> {
    fn lookup(&self, address: B) -> Option<PeerId> {
        let (mut at, mut best) = (self.root, None);
        while let Some(node) = self.nodes.get(at as usize) {
            if address.common(node.prefix) < node.len {
                break;
            }
            best = node.peer.or(best);
            if node.len == B::WIDTH {
                break;
            }
            at = node.child[address.bit(node.len)];
        }
        best
    }

    /// Stores `peer` at exactly this prefix and returns who was there before.
    fn insert(&mut self, prefix: B, len: u8, peer: PeerId) -> Option<PeerId> {
        let mut link = Link::Root;
        loop {
            let at = self.follow(link);
            let Some(node) = self.nodes.get_mut(at as usize) else {
                let leaf = self.add(prefix, len, Some(peer));
                self.set(link, leaf);
                return None;
            };
            let shared = prefix.common(node.prefix).min(len).min(node.len);
            if shared == node.len && shared == len {
                return node.peer.replace(peer);
            }
            if shared == node.len {
                link = Link::Child(at, prefix.bit(shared));
                continue;
            }
            // The paths part above this node: it gets a new parent there.
            let side = node.prefix.bit(shared);
            let parent = if shared == len {
                self.add(prefix, len, Some(peer))
            } else {
                let fork = self.add(prefix.mask(shared), shared, None);
                let leaf = self.add(prefix, len, Some(peer));
                self.nodes[fork as usize].child[1 - side] = leaf;
                fork
            };
            self.nodes[parent as usize].child[side] = at;
            self.set(link, parent);
            return None;
        }
    }

    /// Empties exactly this prefix, and takes out the nodes that nothing needs any more.
    fn remove(&mut self, prefix: B, len: u8) {
        let (mut above, mut link) = (None, Link::Root);
        loop {
            let at = self.follow(link);
            let Some(node) = self.nodes.get_mut(at as usize) else { return };
            if node.len > len || prefix.common(node.prefix) < node.len {
                return;
            }
            if node.len == len {
                node.peer = None;
                self.splice(link);
                // Its parent may have been a fork that now has one branch.
                if let Some(parent) = above {
                    self.splice(parent);
                }
                return;
            }
            above = Some(link);
            link = Link::Child(at, prefix.bit(node.len));
        }
    }

    /// Replaces the node behind `link` by its only child, or by nothing, if it holds no peer.
    fn splice(&mut self, link: Link) {
        let at = self.follow(link);
        let Some(node) = self.nodes.get(at as usize) else { return };
        if node.peer.is_some() {
            return;
        }
        let heir = match node.child {
            [NONE, only] | [only, NONE] => only,
            _ => return,
        };
        self.set(link, heir);
        self.free.push(at);
    }

    fn follow(&self, link: Link) -> u32 {
        match link {
            Link::Root => self.root,
            Link::Child(parent, side) => self.nodes[parent as usize].child[side],
        }
    }

    fn set(&mut self, link: Link, to: u32) {
        match link {
            Link::Root => self.root = to,
            Link::Child(parent, side) => self.nodes[parent as usize].child[side] = to,
        }
    }

    fn add(&mut self, prefix: B, len: u8, peer: Option<PeerId>) -> u32 {
        let node = Node { prefix, len, peer, child: [NONE; 2] };
        if let Some(slot) = self.free.pop() {
            self.nodes[slot as usize] = node;
            return slot;
        }
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).expect("fewer than 2^32 prefixes fit in memory")
    }
}

/// Where a pointer to a node is kept.
#[derive(Clone, Copy)]
enum Link {
    Root,
    Child(u32, usize),
}

#[cfg(test)]
#[path = "allowed_ips_tests.rs"]
mod tests;
