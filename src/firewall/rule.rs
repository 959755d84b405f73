//! Tables, sets, chains and rules: as much of nft's language as a network needs.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// IPv4 or IPv6, of a set or a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// `ip`
    V4,
    /// `ip6`
    V6,
}

impl Family {
    /// Both, in the order that rules are written.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
    /// Returns the family of a prefix.
    pub const fn of(net: &IpNet) -> Self {
        match net {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }
    /// Returns `4` or `6`, the suffix of set names.
    pub const fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }
    /// Returns nft's name of the protocol.
    pub const fn nft(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
}

/// A named set of prefixes that do not overlap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// IPv4 or IPv6.
    pub family: Family,
    /// The prefixes, aggregated: none contains or touches another of its size.
    pub elements: BTreeSet<IpNet>,
}

/// Where addresses are matched: in a named set, or one prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Addresses {
    /// A set of the table.
    Set(String),
    /// One prefix.
    Net(IpNet),
}

/// A state of connection tracking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CtState {
    /// `established,related`
    EstablishedRelated,
    /// `related`: an error about a flow, or the first packet of one that a helper expects.
    Related,
    /// `invalid`
    Invalid,
    /// `invalid,untracked`: of no flow that is known here.
    Stray,
    /// `untracked`: the owner's rules keep it from being tracked, or it is neighbour discovery, which the kernel never tracks.
    Untracked,
}

/// One condition; a rule's conditions must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Match {
    /// The link a packet came by.
    Iif {
        /// Its name.
        name: String,
        /// Whether it is this one (`true`) or any other.
        is: bool,
    },
    /// The link a packet leaves by.
    Oif {
        /// Its name.
        name: String,
        /// Whether it is this one (`true`) or any other.
        is: bool,
    },
    /// Source address.
    Saddr {
        /// IPv4 or IPv6.
        family: Family,
        /// What it is compared with.
        with: Addresses,
        /// Whether it is inside (`true`) or outside.
        is: bool,
    },
    /// Destination address.
    Daddr {
        /// IPv4 or IPv6.
        family: Family,
        /// What it is compared with.
        with: Addresses,
        /// Whether it is inside (`true`) or outside.
        is: bool,
    },
    /// Its destination was rewritten on this host: `ct status dnat`.
    Dnatted,
    /// The destination that the flow's first packet had, in this set.
    OriginalDaddr(Family, String),
    /// Any packet of a family.
    Nfproto(Family),
    /// Connection tracking.
    Ct(CtState),
    /// TCP with a destination port in this range, both ends included.
    Tcp(u16, u16),
    /// UDP with a destination port in this range, both ends included.
    Udp(u16, u16),
    /// ICMP (IPv4) or ICMPv6, by the family.
    Icmp(Family),
    /// Who began the packet's flow, whichever way the packet goes.
    FlowFrom {
        /// IPv4 or IPv6.
        family: Family,
        /// What the address is compared with.
        with: Addresses,
    },
    /// Whom the packet's flow reaches, behind whatever this host rewrote.
    FlowTo {
        /// IPv4 or IPv6.
        family: Family,
        /// What the address is compared with.
        with: Addresses,
        /// Whether it is inside (`true`) or outside.
        is: bool,
    },
    /// The flow is of TCP, and called a port in this range, both ends included.
    FlowTcp(u16, u16),
    /// The flow is of UDP, and called a port in this range, both ends included.
    FlowUdp(u16, u16),
    /// The packet goes against the way that its flow was begun.
    Answer,
    /// A helper of connection tracking expected the flow: FTP's data, for instance.
    Expected,
    /// The packet's mark is this one.
    Marked(u32),
    /// The mark of the packet's flow is this one.
    FlowMarked(u32),
    /// A TCP packet with SYN set: `tcp flags & syn != 0`.
    TcpSyn,
}

/// A firewall mark, and the bits of it that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// The value of those bits.
    pub value: u32,
    /// The bits; all of them where no mask was given.
    pub mask: u32,
}

/// What happens to a packet that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Leaves this base chain; another table's drop still holds.
    Accept,
    /// Final.
    Drop,
    /// Goes on in a chain of the same table, and comes back where that says nothing.
    Jump(String),
    /// Goes to another address, and to another port where one is given.
    Dnat(std::net::IpAddr, Option<u16>),
    /// Goes to the same place in another prefix: `dnat prefix to`, NETMAP.
    DnatPrefix(IpNet),
    /// Comes from the same place in another prefix: `snat prefix to`, NETMAP.
    SnatPrefix(IpNet),
    /// Takes the address of the link it leaves by.
    Masquerade,
    /// Lowers the TCP MSS to what the route's MTU carries.
    ClampMss,
    /// Sets the bits of a mark, and leaves the others as they are.
    Mark(Mark),
    /// Gives the flow the packet's mark.
    SaveMark,
    /// Gives the packet its flow's mark.
    RestoreMark,
}

/// Conditions and an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// All must hold.
    pub matches: Vec<Match>,
    /// Done where they do.
    pub action: Action,
}

/// Where a base chain is attached. The policy is always accept: what is not ours passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hook {
    /// `type filter hook forward priority 0`
    Forward,
    /// `type nat hook postrouting priority 100`
    Postrouting,
    /// `type nat hook postrouting priority 99`: before whoever masquerades at 100, Docker among them.
    Srcnat,
    /// `type nat hook prerouting priority -100`
    Dstnat,
    /// `type nat hook output priority -100`
    Output,
    /// `type filter hook input priority 0`
    Input,
    /// `type filter hook forward priority -150`: marks are set here, for those who look at them at 0.
    Mark,
    /// `type filter hook prerouting priority -150`: before the route of what comes in is looked up.
    Incoming,
    /// `type filter hook postrouting priority -150`: when the way of what leaves is known.
    Outgoing,
    /// Reached by a jump only.
    None,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Its name. `fwd` and the like are words of nft 1.0.6 and cannot be one.
    pub name: String,
    /// Where it is attached.
    pub hook: Hook,
    /// In order.
    pub rules: Vec<Rule>,
}

/// One network's table, of family `inet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Sets by name.
    pub sets: BTreeMap<String, Set>,
    /// Chains in the order they are made; one that is jumped to comes first.
    pub chains: Vec<Chain>,
}

impl Rule {
    /// The same for what comes back: the links change places, and the flow's ends stay.
    #[must_use]
    pub fn turned(&self) -> Self {
        let turn = |m: &Match| match m.clone() {
            Match::Iif { name, is } => Match::Oif { name, is },
            Match::Oif { name, is } => Match::Iif { name, is },
            other => other,
        };
        Self { matches: self.matches.iter().map(turn).collect(), action: self.action.clone() }
    }
}

impl Table {
    /// Returns its rules, with nothing in its sets.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let empty = |set: &Set| Set { family: set.family, elements: BTreeSet::new() };
        Self {
            name: self.name.clone(),
            sets: self.sets.iter().map(|(name, set)| (name.clone(), empty(set))).collect(),
            chains: self.chains.clone(),
        }
    }

    /// Says whether the two differ in nothing but the elements of their sets.
    pub fn same_structure(&self, other: &Self) -> bool {
        self.name == other.name
            && self.chains == other.chains
            && self.sets.len() == other.sets.len()
            && self.sets.iter().zip(&other.sets).all(|((a, x), (b, y))| a == b && x.family == y.family)
    }
}
