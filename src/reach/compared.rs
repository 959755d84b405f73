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
    /// The answer to the question, as a number below [`ANSWERS`].
    fn answer(self, protocol: Protocol) -> usize {
        match (self, protocol) {
            (Self::Tcp(first, last), Protocol::Tcp(port)) | (Self::Udp(first, last), Protocol::Udp(port)) => {
                usize::from((first..=last).contains(&port))
            }
            (Self::Tcp(..) | Self::Udp(..), _) => 0,
            (Self::Kind, Protocol::Icmp) => 0,
            (Self::Kind, Protocol::Tcp(_)) => 1,
            (Self::Kind, Protocol::Udp(_)) => 2,
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
}

/// What became of packets between two ends, by what their protocols were compared with: each question leads on to the next
/// one, or to an end. A policy of hundreds of port ranges is gone through once for a packet instead of once for each that was
/// sent before.
#[derive(Debug, Default)]
pub(super) struct Sent {
    nodes: Vec<(Comparison, [Next; ANSWERS])>,
    first: Next,
}

/// A question has at most three answers: TCP, UDP or ICMP.
const ANSWERS: usize = 3;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Next {
    /// No packet came here yet.
    #[default]
    Unknown,
    Asks(usize),
    /// Whether the packet reaches.
    Ends(bool),
}

impl Sent {
    /// Says whether a packet of this protocol reaches; `None`: none that compares like it was sent.
    pub(super) fn reaches(&self, protocol: Protocol) -> Option<bool> {
        let mut at = self.first;
        loop {
            match at {
                Next::Unknown => return None,
                Next::Ends(reaches) => return Some(reaches),
                Next::Asks(node) => {
                    let (comparison, next) = &self.nodes[node];
                    at = next[comparison.answer(protocol)];
                }
            }
        }
    }

    /// Remembers what became of a packet.
    pub(super) fn remember(&mut self, protocol: Protocol, compared: &Compared, reaches: bool) {
        // The question that led here, and which answer did.
        let mut from: Option<(usize, usize)> = None;
        for comparison in &compared.0 {
            let node = match self.next(from) {
                Next::Asks(node) => node,
                Next::Unknown => {
                    self.nodes.push((*comparison, [Next::Unknown; ANSWERS]));
                    self.lead(from, Next::Asks(self.nodes.len() - 1));
                    self.nodes.len() - 1
                }
                Next::Ends(_) => return,
            };
            // The same packets are asked the same; one that is not, is sent each time.
            if self.nodes[node].0 != *comparison {
                return;
            }
            from = Some((node, comparison.answer(protocol)));
        }
        if self.next(from) == Next::Unknown {
            self.lead(from, Next::Ends(reaches));
        }
    }

    fn next(&self, from: Option<(usize, usize)>) -> Next {
        from.map_or(self.first, |(node, answer)| self.nodes[node].1[answer])
    }

    fn lead(&mut self, from: Option<(usize, usize)>, to: Next) {
        match from {
            None => self.first = to,
            Some((node, answer)) => self.nodes[node].1[answer] = to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Protocol; 7] = [
        Protocol::Icmp,
        Protocol::Tcp(21),
        Protocol::Tcp(22),
        Protocol::Tcp(25),
        Protocol::Tcp(53),
        Protocol::Udp(22),
        Protocol::Udp(53),
    ];

    /// Those that are known to fare as a packet did that was compared with all this.
    fn alike(list: &[Comparison], sent: Protocol) -> Vec<Protocol> {
        let mut tree = Sent::default();
        tree.remember(sent, &Compared(list.to_vec()), true);
        ALL.into_iter().filter(|p| tree.reaches(*p) == Some(true)).collect()
    }

    #[test]
    fn protocols_are_alike_where_every_comparison_ends_the_same() {
        use Protocol::{Icmp, Tcp, Udp};
        assert_eq!(alike(&[], Icmp), ALL);
        let range = [Comparison::Tcp(22, 25)];
        assert_eq!(alike(&range, Tcp(22)), [Tcp(22), Tcp(25)]);
        assert_eq!(alike(&range, Icmp), [Icmp, Tcp(21), Tcp(53), Udp(22), Udp(53)]);
        assert_eq!(alike(&[Comparison::Kind], Udp(1)), [Udp(22), Udp(53)]);
        let both = [Comparison::Tcp(22, 22), Comparison::Udp(53, 53)];
        assert_eq!(alike(&both, Udp(53)), [Udp(53)]);
        assert_eq!(alike(&both, Tcp(80)), [Icmp, Tcp(21), Tcp(25), Tcp(53), Udp(22)]);
    }

    #[test]
    fn each_packet_is_remembered_beside_the_others() {
        let mut tree = Sent::default();
        // As the rules "tcp 22 passes, udp passes, the rest does not" would ask.
        let rules = |p: Protocol| {
            let mut asked = Compared(vec![Comparison::Tcp(22, 22)]);
            if p != Protocol::Tcp(22) {
                asked.push(Comparison::Kind);
            }
            (asked, matches!(p, Protocol::Tcp(22) | Protocol::Udp(_)))
        };
        let mut walks = 0;
        for protocol in ALL {
            let (asked, reaches) = rules(protocol);
            if tree.reaches(protocol).is_none() {
                walks += 1;
                tree.remember(protocol, &asked, reaches);
            }
            assert_eq!(tree.reaches(protocol), Some(reaches));
        }
        assert_eq!(walks, 4, "icmp, tcp 22, other tcp, udp");
    }
}
