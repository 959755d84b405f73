//! What a packet's protocol was compared with on its way: protocols that compare alike with all of it fare alike.
//!
//! A policy of a hundred ports tells some two hundred packets apart, and most pairs of places meet one or two of its rules.

use super::rules::Protocol;

/// One question to a packet about its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Whether it is TCP to one of these ports, first and last.
    Tcp(u16, u16),
    /// Whether it is UDP to one of these ports, first and last.
    Udp(u16, u16),
    /// Whether it is TCP, UDP or ICMP.
    Kind,
}

impl Comparison {
    fn is_alike(self, a: Protocol, b: Protocol) -> bool {
        let inside = |first: u16, last: u16, port: u16| (first..=last).contains(&port);
        match self {
            Self::Tcp(first, last) => {
                let holds = |p| matches!(p, Protocol::Tcp(port) if inside(first, last, port));
                holds(a) == holds(b)
            }
            Self::Udp(first, last) => {
                let holds = |p| matches!(p, Protocol::Udp(port) if inside(first, last, port));
                holds(a) == holds(b)
            }
            Self::Kind => std::mem::discriminant(&a) == std::mem::discriminant(&b),
        }
    }
}

/// All that a packet's protocol was compared with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared(Vec<Comparison>);

impl Compared {
    /// Says whether nothing hung on the protocol.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, comparison: Comparison) {
        if self.0.last() != Some(&comparison) {
            self.0.push(comparison);
        }
    }

    pub(super) fn extend(&mut self, other: &Self) {
        other.0.iter().for_each(|c| self.push(*c));
    }

    /// Says whether a packet of one protocol would have fared as the other did that was compared with all this.
    pub(super) fn is_alike(&self, a: Protocol, b: Protocol) -> bool {
        self.0.iter().all(|c| c.is_alike(a, b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_alike_where_every_comparison_ends_the_same() {
        let of = |list: &[Comparison]| Compared(list.to_vec());
        let (icmp, tcp, udp) = (Protocol::Icmp, Protocol::Tcp, Protocol::Udp);
        assert!(of(&[]).is_alike(icmp, tcp(22)));
        let range = of(&[Comparison::Tcp(22, 25)]);
        assert!(range.is_alike(tcp(22), tcp(25)) && range.is_alike(tcp(21), tcp(26)));
        assert!(range.is_alike(icmp, udp(22)) && range.is_alike(udp(22), tcp(26)));
        assert!(!range.is_alike(tcp(25), tcp(26)) && !range.is_alike(udp(22), tcp(22)));
        let kind = of(&[Comparison::Kind]);
        assert!(
            kind.is_alike(tcp(1), tcp(2)) && !kind.is_alike(tcp(1), udp(1)) && !kind.is_alike(icmp, udp(1))
        );
        let both = of(&[Comparison::Tcp(22, 22), Comparison::Udp(53, 53)]);
        assert!(
            both.is_alike(tcp(80), udp(80))
                && !both.is_alike(tcp(80), udp(53))
                && !both.is_alike(tcp(22), icmp)
        );
    }
}
