//! Other programs' packet filters, as far as they decide about our packets, and our own rules in their chains.
//!
//! An accept in our table cannot undo a drop of another table, so what lets our packets pass there has to stand
//! there: in iptables' FORWARD, in Docker's DOCKER-USER, in raw PREROUTING. Each rule of ours carries a comment
//! `wgrelay:NETWORK` and is found again by it, with or without a record.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub(crate) mod accepts;
pub mod docker;
mod facts;
pub mod firewalld;
pub mod forward;
pub mod input;
pub(crate) mod input_blocked;
pub(crate) mod iptables;
pub(crate) mod listen_port_blocked;
pub(crate) mod nft;
pub(crate) mod output_blocked;
pub mod resolver;
pub mod routing_rule;
pub mod wsl;

use docker::DockerNftables;
use firewalld::FirewalldFacts;
use forward::ForwardChain;
use input::InputChain;

pub use facts::{Facts, ForeignRoute, Link};
pub use wsl::WslMode;

use super::{Family, IFALIAS_PREFIX, ifalias};
use crate::model::InterfaceName;

/// What a rule's comment says besides the network where the rule's chain was made for it.
const MADE_CHAIN: &str = " made-chain";

/// Which of the two programs named iptables keeps a chain: their rules are apart, and both see every packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Iptables {
    /// The kernel's `ip_tables`.
    Legacy,
    /// nf_tables, in tables named as iptables' own.
    Nft,
}

impl Iptables {
    /// Returns the program, as the distributions name it.
    pub const fn program(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::Legacy, Family::V4) => "iptables-legacy",
            (Self::Legacy, Family::V6) => "ip6tables-legacy",
            (Self::Nft, Family::V4) => "iptables-nft",
            (Self::Nft, Family::V6) => "ip6tables-nft",
        }
    }
}

/// Where a rule of ours stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ForeignChain {
    /// `filter FORWARD`
    Forward,
    /// `filter DOCKER-USER`: what Docker keeps for others, and looks at first.
    DockerUser,
    /// `raw PREROUTING`: where Docker ≥ 28 drops what did not come through a container's own bridge.
    RawPrerouting,
    /// Somewhere that we never put one: it was moved, or another version of this program knew why.
    Other {
        /// The table.
        table: String,
        /// The chain.
        chain: String,
    },
}

impl ForeignChain {
    /// Recognises a chain.
    pub fn of(table: &str, chain: &str) -> Self {
        match (table, chain) {
            ("filter", "FORWARD") => Self::Forward,
            ("filter", "DOCKER-USER") => Self::DockerUser,
            ("raw", "PREROUTING") => Self::RawPrerouting,
            _ => Self::Other { table: table.into(), chain: chain.into() },
        }
    }
    /// Returns the table's name.
    pub fn table(&self) -> &str {
        match self {
            Self::Forward | Self::DockerUser => "filter",
            Self::RawPrerouting => "raw",
            Self::Other { table, .. } => table,
        }
    }
    /// Returns the chain's name.
    pub fn chain(&self) -> &str {
        match self {
            Self::Forward => "FORWARD",
            Self::DockerUser => "DOCKER-USER",
            Self::RawPrerouting => "PREROUTING",
            Self::Other { chain, .. } => chain,
        }
    }
}

/// What packets a rule of ours accepts; `None` in a field: any.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Accept {
    /// Source prefix.
    pub src: Option<IpNet>,
    /// Destination prefix.
    pub dst: Option<IpNet>,
    /// The link they came by.
    pub iif: Option<String>,
    /// The link they leave by.
    pub oif: Option<String>,
    /// Only what belongs to a flow that was let through before.
    pub replies: bool,
    /// Only what this host sends on by its DNAT.
    #[serde(default)]
    pub dnatted: bool,
}

impl fmt::Display for Accept {
    /// Writes the words of `iptables-save`, in its order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nets = [("-s", &self.src), ("-d", &self.dst)];
        let links = [("-i", &self.iif), ("-o", &self.oif)];
        for (flag, net) in nets.iter().filter_map(|(flag, net)| Some((flag, net.as_ref()?))) {
            write!(f, "{flag} {net} ")?;
        }
        for (flag, link) in links.iter().filter_map(|(flag, link)| Some((flag, link.as_ref()?))) {
            write!(f, "{flag} {link} ")?;
        }
        if self.replies {
            f.write_str("-m conntrack --ctstate RELATED,ESTABLISHED ")?;
        }
        if self.dnatted {
            f.write_str("-m conntrack --ctstate DNAT ")?;
        }
        f.write_str("-j ACCEPT")
    }
}

impl Accept {
    /// Reads the words of a rule, its comment left out; `None`: it says something that an [`Accept`] does not.
    pub fn parse(words: &[&str]) -> Option<Self> {
        let mut accept = Self::default();
        let mut accepts = false;
        let mut rest = words;
        while let [flag, value, tail @ ..] = rest {
            rest = tail;
            match *flag {
                "-s" if accept.src.is_none() => accept.src = Some(value.parse().ok()?),
                "-d" if accept.dst.is_none() => accept.dst = Some(value.parse().ok()?),
                "-i" if accept.iif.is_none() => accept.iif = Some((*value).into()),
                "-o" if accept.oif.is_none() => accept.oif = Some((*value).into()),
                "-m" if *value == "conntrack" => {}
                "--ctstate" if matches!(*value, "RELATED,ESTABLISHED" | "ESTABLISHED,RELATED") => {
                    accept.replies = true;
                }
                "--ctstate" if *value == "DNAT" => accept.dnatted = true,
                "-j" if *value == "ACCEPT" => accepts = true,
                _ => return None,
            }
        }
        (rest.is_empty() && accepts).then_some(accept)
    }
}

/// What a rule with our tag does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Says {
    /// It accepts.
    Accept(Accept),
    /// Something that we never write: somebody edited it.
    Other(String),
}

/// A rule of ours in somebody else's chain. We put it at the top.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ForeignRule {
    /// Whose chain.
    pub iptables: Iptables,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Which chain.
    pub chain: ForeignChain,
    /// What it accepts.
    pub says: Says,
    /// Whether the chain was made for it, and goes with the last of its rules.
    pub made_chain: bool,
    /// Whether a foreign rule above it decides first, so that it has no effect.
    pub shadowed: bool,
}

impl ForeignRule {
    /// Makes a rule at the top of a chain that exists.
    pub fn new(iptables: Iptables, family: Family, chain: ForeignChain, accept: Accept) -> Self {
        Self { iptables, family, chain, says: Says::Accept(accept), made_chain: false, shadowed: false }
    }
    /// Returns the chain in words: `iptables-nft filter DOCKER-USER`.
    pub fn place(&self) -> String {
        let program = self.iptables.program(self.family);
        format!("{program} {} {}", self.chain.table(), self.chain.chain())
    }
    /// Returns the rule in iptables' words, without the comment.
    pub fn text(&self) -> String {
        let mut text = match &self.says {
            Says::Accept(accept) => accept.to_string(),
            Says::Other(text) => text.clone(),
        };
        if self.shadowed {
            let _ = write!(text, " (below a rule that decides first)");
        }
        text
    }
    /// Returns the comment that marks the rule.
    pub fn comment(&self, network: &InterfaceName) -> String {
        format!("{}{}", ifalias(network), if self.made_chain { MADE_CHAIN } else { "" })
    }
}

/// Reads a rule's comment: the network's tag, and whether the chain was made for the rule. `None`: not ours.
pub fn parse_comment(comment: &str) -> Option<(&str, bool)> {
    let (tag, made) = match comment.strip_suffix(MADE_CHAIN) {
        Some(tag) => (tag, true),
        None => (comment, false),
    };
    tag.starts_with(IFALIAS_PREFIX).then_some((tag, made))
}

/// One iptables of one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IptablesFacts {
    /// Legacy or nft.
    pub iptables: Iptables,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Whether filter FORWARD ends in a drop: by its policy, or by a last rule for everything.
    pub forward_drops: bool,
    /// Whether FORWARD goes through DOCKER-USER.
    pub docker_user: bool,
    /// Whether there is a chain PREROUTING in the table raw.
    pub raw_prerouting: bool,
    /// Whether that chain is there because of us.
    pub raw_made: bool,
    /// Bridges that raw PREROUTING keeps to themselves (`! -i BRIDGE … -j DROP`).
    pub raw_guarded: BTreeSet<String>,
    /// Whether ufw keeps its chains here.
    pub ufw: bool,
    /// What filter FORWARD makes of packets, Docker's own chains left out.
    #[serde(default)]
    pub forward: ForwardChain,
    /// What filter INPUT makes of UDP from outside.
    #[serde(default)]
    pub input: InputChain,
}

impl IptablesFacts {
    /// Makes the facts of an iptables that lets everything through.
    pub const fn open(iptables: Iptables, family: Family) -> Self {
        Self {
            iptables,
            family,
            forward_drops: false,
            docker_user: false,
            raw_prerouting: false,
            raw_made: false,
            raw_guarded: BTreeSet::new(),
            ufw: false,
            forward: ForwardChain {
                base: String::new(),
                chains: std::collections::BTreeMap::new(),
                drops: false,
            },
            input: InputChain { rules: Vec::new(), drops: false },
        }
    }
}

/// A base chain of nftables at the forward hook that is neither ours nor iptables'.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NftForward {
    /// `ip`, `ip6` or `inet`.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
    /// Whether its policy is drop.
    pub drops: bool,
    /// Links that the table's rules name; read only where the table may drop.
    pub links: BTreeSet<String>,
    /// What its rules make of packets; `None`: they were not read.
    #[serde(default)]
    pub forward: Option<ForwardChain>,
}

/// A base chain of nftables at the input hook that is neither ours nor iptables' nor firewalld's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NftInput {
    /// `ip`, `ip6` or `inet`.
    pub table_family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
    /// Of which packets.
    pub family: Family,
    /// What it makes of them.
    pub input: InputChain,
}

/// A filter of others that sees what this host itself sends, or what is for this host itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LocalFilter {
    /// Where it stands: `nft inet hard`, `iptables-nft filter`.
    pub place: String,
    /// Of which packets; `None`: of both families.
    pub family: Option<Family>,
    /// What it makes of them.
    pub rules: ForwardChain,
}

/// Packet filters of others. `default()` is a host without any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignFirewall {
    /// Those of iptables that have tables here.
    pub iptables: Vec<IptablesFacts>,
    /// Those of nftables.
    pub nft: Vec<NftForward>,
    /// Those of nftables that see what is for this host itself.
    #[serde(default)]
    pub nft_input: Vec<NftInput>,
    /// Those that see what this host sends.
    #[serde(default)]
    pub local_output: Vec<LocalFilter>,
    /// What sends on what is for this host (DNAT).
    #[serde(default)]
    pub dnat: Vec<LocalFilter>,
    /// Those that see what is for this host, in full.
    #[serde(default)]
    pub local_input: Vec<LocalFilter>,
    /// Those of nftables that see whatever comes in, before it has a route.
    #[serde(default)]
    pub prerouting: Vec<LocalFilter>,
    /// Those that see whatever leaves.
    #[serde(default)]
    pub postrouting: Vec<LocalFilter>,
    /// What Docker's own among them let through.
    #[serde(default)]
    pub docker_nft: Vec<DockerNftables>,
    /// What firewalld says of itself; `None`: it does not run, or not with nftables.
    #[serde(default)]
    pub firewalld: Option<FirewalldFacts>,
    /// Policies of ours in the files of a firewalld that does not run; `None`: it does.
    #[serde(default)]
    pub firewalld_asleep: Option<BTreeSet<String>>,
    /// nft tables with a name of ours and without the mark of ours: `wgrelay-wg0`.
    #[serde(default)]
    pub lookalikes: BTreeSet<String>,
    /// Why they could not be read; `None`: they were.
    pub unread: Option<String>,
}

/// The table of firewalld's nftables backend.
pub const FIREWALLD: &str = "firewalld";
/// The table of Docker's nftables backend.
const DOCKER_NFTABLES: &str = "docker-bridges";

impl NftForward {
    /// Says whether it is firewalld's.
    pub fn is_firewalld(&self) -> bool {
        self.table == FIREWALLD
    }
    /// Says whether it is Docker's.
    pub fn is_docker(&self) -> bool {
        self.table == DOCKER_NFTABLES
    }
    /// Says whether it may drop our packets, so that the links it names are of interest.
    pub fn may_drop(&self) -> bool {
        self.drops || self.is_firewalld()
    }
}

impl ForeignFirewall {
    /// Returns firewalld's chain, where it runs on nftables.
    pub fn firewalld_chain(&self) -> Option<&NftForward> {
        self.nft.iter().find(|c| c.is_firewalld())
    }
    /// Says whether Docker filters with nftables.
    pub fn is_docker_nftables(&self) -> bool {
        self.nft.iter().any(NftForward::is_docker)
    }
    /// Says whether ufw is active.
    pub fn is_ufw(&self) -> bool {
        self.iptables.iter().any(|i| i.ufw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Accept {
        Accept {
            src: Some("192.168.3.0/24".parse().unwrap()),
            dst: Some("172.19.0.0/16".parse().unwrap()),
            iif: Some("wg0".into()),
            oif: Some("br-6a7541fe74a1".into()),
            replies: true,
            dnatted: false,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for accept in [full(), Accept { replies: false, src: None, ..full() }, Accept::default()] {
            let text = accept.to_string();
            let words: Vec<&str> = text.split(' ').collect();
            assert_eq!(Accept::parse(&words), Some(accept), "{text}");
        }
    }

    #[test]
    fn what_says_more_is_not_ours() {
        for text in [
            "-i wg0 -j DROP",
            "-i wg0",
            "-i wg0 -p tcp -j ACCEPT",
            "! -i wg0 -j ACCEPT",
            "-i wg0 -i wg1 -j ACCEPT",
        ] {
            let words: Vec<&str> = text.split(' ').collect();
            assert_eq!(Accept::parse(&words), None, "{text}");
        }
    }

    #[test]
    fn comments() {
        let wg0: InterfaceName = "wg0".parse().unwrap();
        let mut rule =
            ForeignRule::new(Iptables::Nft, Family::V4, ForeignChain::RawPrerouting, Accept::default());
        assert_eq!(parse_comment(&rule.comment(&wg0)), Some(("wgrelay:wg0", false)));
        rule.made_chain = true;
        assert_eq!(parse_comment(&rule.comment(&wg0)), Some(("wgrelay:wg0", true)));
        assert_eq!(parse_comment("somebody's"), None);
    }
}
