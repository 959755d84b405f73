//! Everything that wgrelay owns on one host for one network: wanted and observed are the same type.
//!
//! What others own (their links, routes, rules) is in [`super::Facts`]; what only reports (learned
//! endpoints, counters, handshakes) is telemetry and never compared.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::bridge::Links;
use super::name_servers::NameServers;
use crate::firewall::Table;
use crate::firewall::foreign::ForeignRule;
use crate::firewall::foreign::firewalld::FirewalldPolicy;
use crate::model::{PresharedKey, PrivateKey, PublicKey};

/// The protocol number of our routes and rules (`ip route show proto 87`): unassigned in
/// `/etc/iproute2/rt_protos` and above the kernel's own range.
pub const ROUTE_PROTOCOL: u8 = 87;
/// The kernel's main routing table (`RT_TABLE_MAIN`).
pub const MAIN_TABLE: u32 = 254;

/// Which data plane carries the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The kernel's WireGuard.
    Kernel,
    /// Our own, in the agent's process.
    Embedded,
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Kernel => "kernel",
            Self::Embedded => "embedded",
        })
    }
}

/// A WireGuard peer as configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The key both sides add to the handshake; `None`: none.
    pub preshared_key: Option<PresharedKey>,
    /// The endpoint we gave it; `None`: it starts the session. A learned one is telemetry.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; `None`: off.
    pub keepalive: Option<u16>,
    /// What may come from it and goes to it.
    pub allowed_ips: BTreeSet<IpNet>,
}

/// Our WireGuard interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Kernel or embedded.
    pub backend: Backend,
    /// The node's identity; `None` only in an observation or a record without secrets.
    pub private_key: Option<PrivateKey>,
    /// UDP port; `None`: whatever the system gives.
    pub listen_port: Option<u16>,
    /// Mark of the outer packets; 0: none.
    pub fwmark: u32,
    /// MTU in bytes.
    pub mtu: u16,
    /// Whether the link is administratively up.
    pub up: bool,
    /// Addresses with prefix lengths.
    pub addresses: BTreeSet<IpNet>,
    /// Of these, the ones whose own subnet has no route, because somebody took away what the kernel had made: never
    /// wanted, only observed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub detached: BTreeSet<IpNet>,
    /// The peers by public key.
    pub peers: BTreeMap<PublicKey, Peer>,
}

/// A route of ours: into our interface, with our protocol number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Destination.
    pub dst: IpNet,
    /// Routing table.
    pub table: u32,
}

/// What a policy rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RuleSelector {
    /// `not fwmark MARK lookup TABLE`: what is not the tunnel's own goes into the tunnel.
    NotMarked {
        /// The outer packets' mark.
        mark: u32,
        /// The table that holds the tunnel's default route.
        table: u32,
    },
    /// `lookup main suppress_prefixlength 0`: every route but a default one comes first.
    MainWithoutDefault,
    /// `to NET lookup main`: what a full tunnel leaves out goes where it would without it.
    Outside {
        /// The prefix.
        net: IpNet,
    },
    /// `from NET lookup main suppress_prefixlength 0`: what leaves by another node takes every route but a default one first.
    FromWithoutDefault {
        /// Who sends.
        net: IpNet,
    },
    /// `from NET lookup TABLE`: it goes to that node.
    From {
        /// Who sends.
        net: IpNet,
        /// The table that holds the way there.
        table: u32,
    },
    /// `from NET unreachable`: where that way is gone, it does not leave here.
    FromRefused {
        /// Who sends.
        net: IpNet,
    },
    /// `not fwmark MARK unreachable`: what found no way into the tunnel, since that is gone, finds none beside it.
    Refused {
        /// The outer packets' mark.
        mark: u32,
    },
}

/// A policy rule of ours, with our protocol number and a fixed priority.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyRule {
    /// Whether it is an IPv6 rule.
    pub ipv6: bool,
    /// Lower comes first.
    pub priority: u32,
    /// What it selects and does.
    pub selector: RuleSelector,
}

impl PolicyRule {
    /// Says what becomes of a packet that starts at `src` (`None`: not chosen yet) and bears a mark: `None`, the next rule is asked;
    /// `Some(None)`, it is refused. `lookup` finds a way in a table, by a route of at least so many bits (`Some(None)`: it refuses).
    pub fn leads<W>(
        &self,
        dst: IpAddr,
        src: Option<IpAddr>,
        mark: u32,
        lookup: impl Fn(u32, u8) -> Option<Option<W>>,
    ) -> Option<Option<W>> {
        let is_from = |net: IpNet| src.is_some_and(|src| net.contains(&src));
        match self.selector {
            _ if self.ipv6 != dst.is_ipv6() => None,
            RuleSelector::MainWithoutDefault => lookup(MAIN_TABLE, 1).flatten().map(Some),
            RuleSelector::NotMarked { mark: own, table } if mark != own => {
                lookup(table, 0).flatten().map(Some)
            }
            RuleSelector::Outside { net } if net.contains(&dst) => lookup(MAIN_TABLE, 0),
            RuleSelector::Refused { mark: own } if mark != own => Some(None),
            RuleSelector::FromWithoutDefault { net } if is_from(net) => {
                lookup(MAIN_TABLE, 1).flatten().map(Some)
            }
            RuleSelector::From { net, table } if is_from(net) => lookup(table, 0).flatten().map(Some),
            RuleSelector::FromRefused { net } if is_from(net) => Some(None),
            _ => None,
        }
    }
}

/// A floating address that this host carries, and the fence around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The address.
    pub address: IpNet,
    /// The link that it is on.
    pub link: String,
    /// The tunnel's UDP port, which is fenced in with it.
    pub port: u16,
}

/// All that is ours on a host. `default()` is a host without wgrelay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// Our interface.
    pub device: Option<Device>,
    /// Our routes.
    pub routes: BTreeSet<Route>,
    /// Our policy rules.
    pub rules: BTreeSet<PolicyRule>,
    /// Switches under `/proc/sys`, by path below it, such as `net/ipv4/conf/br-ext/forwarding`.
    pub sysctls: BTreeMap<String, String>,
    /// Our nft table.
    pub firewall: Option<Table>,
    /// Our bridges, and the links that are or were their ports.
    #[serde(default, skip_serializing_if = "Links::is_empty")]
    pub links: Links,
    /// Our rules in others' chains.
    #[serde(default)]
    pub foreign_rules: BTreeSet<ForeignRule>,
    /// Our policies in firewalld, by name.
    #[serde(default)]
    pub firewalld: BTreeMap<String, FirewalldPolicy>,
    /// What this host's resolver has for our interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_servers: Option<NameServers>,
    /// The floating address, while this host carries it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<Carried>,
}

impl HostState {
    /// Leaves what has to be remembered of a state: what neither the network nor the host tells. Keys stay in their file;
    /// routes, peers and the elements of sets follow from the network, so of the peers only those stay that were given an
    /// endpoint: thousands are read at each look at the host.
    #[must_use]
    pub fn to_record(&self) -> Self {
        let Self {
            device,
            routes: _,
            rules,
            sysctls,
            firewall,
            links,
            foreign_rules,
            firewalld,
            name_servers,
            carried,
        } = self;
        let given = |peer: &Peer| {
            let endpoint = Some(peer.endpoint?);
            Some(Peer { preshared_key: None, endpoint, keepalive: None, allowed_ips: BTreeSet::new() })
        };
        let device = device.as_ref().map(|device| Device {
            backend: device.backend,
            private_key: None,
            listen_port: device.listen_port,
            fwmark: device.fwmark,
            mtu: device.mtu,
            up: device.up,
            addresses: device.addresses.clone(),
            detached: device.detached.clone(),
            peers: device.peers.iter().filter_map(|(key, peer)| Some((*key, given(peer)?))).collect(),
        });
        Self {
            device,
            routes: BTreeSet::new(),
            rules: rules.clone(),
            sysctls: sysctls.clone(),
            firewall: firewall.as_ref().map(Table::emptied),
            links: links.clone(),
            foreign_rules: foreign_rules.clone(),
            firewalld: firewalld.clone(),
            name_servers: name_servers.clone(),
            carried: carried.clone(),
        }
    }
}
