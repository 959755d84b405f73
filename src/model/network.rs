//! The network as one file describes it, typed: nodes, their sites, and the defaults of both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    AllowRule, DEFAULT_PORT, Endpoint, EndpointHost, Expectation, Forward, InterfaceName, NodeName, Nodes,
    PublicKey, SigningKey, Timestamp,
};

/// Seconds between keepalives unless told otherwise: short enough for the usual NAT's 30 s (`wg(8)`).
pub const DEFAULT_KEEPALIVE: u16 = 25;
/// Tunnel MTU in bytes unless told otherwise: 1500 less 80 of IPv6, UDP and WireGuard headers.
pub const DEFAULT_MTU: u16 = 1420;

/// A whole network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name, and the interface's.
    pub name: InterfaceName,
    /// Where the tunnel's IPv4 addresses come from.
    pub subnet: Ipv4Net,
    /// Where the tunnel's IPv6 addresses come from; `None`: no IPv6 in the tunnel.
    pub subnet6: Option<Ipv6Net>,
    /// Seconds between keepalives of a spoke; 0: none.
    pub keepalive: u16,
    /// Tunnel MTU in bytes.
    pub mtu: u16,
    /// Whether every relay-spoke pair has a preshared key.
    pub preshared_keys: bool,
    /// Whether spokes that run wgrelay go over to another relay of their list when theirs does not answer.
    pub failover: bool,
    /// The nodes by name.
    pub nodes: Nodes,
    /// Who may talk to whom; empty: everyone to everyone.
    pub allow: Vec<AllowRule>,
    /// Ports of the relay that lead on.
    pub forward: Vec<Forward>,
    /// What must stay true.
    pub expect: Vec<Expectation>,
}

impl Network {
    /// Makes a network with every optional field at its default.
    pub fn new(name: InterfaceName, subnet: Ipv4Net, nodes: impl IntoIterator<Item = Node>) -> Self {
        Self {
            name,
            subnet,
            subnet6: None,
            keepalive: DEFAULT_KEEPALIVE,
            mtu: DEFAULT_MTU,
            preshared_keys: true,
            failover: true,
            nodes: nodes.into_iter().map(|node| (node.name.clone(), node)).collect(),
            allow: Vec::new(),
            forward: Vec::new(),
            expect: Vec::new(),
        }
    }
}

/// What a node does in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A hub: what spokes peer with.
    Relay,
    /// A client, with or without sites behind it.
    Spoke,
}

/// What a node runs on: decides which keys its configuration may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Platform {
    Linux,
    Windows,
    Macos,
    Android,
    Ios,
    Openwrt,
    Mikrotik,
    Docker,
}

impl Platform {
    /// Every platform, as the file spells it.
    pub const ALL: [(&'static str, Self); 8] = [
        ("linux", Self::Linux),
        ("windows", Self::Windows),
        ("macos", Self::Macos),
        ("android", Self::Android),
        ("ios", Self::Ios),
        ("openwrt", Self::Openwrt),
        ("mikrotik", Self::Mikrotik),
        ("docker", Self::Docker),
    ];
    /// Returns the spelling of the file.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, p)| *p == self).map_or("linux", |(s, _)| s)
    }
    /// Says whether its client keeps its own packets out of the tunnel whatever AllowedIPs hold: Windows' binds its socket to the
    /// link of the default route, Android's is protected by its VPN service, Apple's is outside by the system's extension.
    pub const fn binds_to_uplink(self) -> bool {
        matches!(self, Self::Windows | Self::Macos | Self::Ios | Self::Android)
    }
    /// Says whether `wg-quick(8)` of Linux reads this node's configuration.
    pub const fn is_linux(self) -> bool {
        matches!(self, Self::Linux | Self::Docker)
    }
}

/// Which destinations a spoke sends into the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routes {
    /// The tunnel subnet and every other node's sites.
    Split,
    /// Everything.
    Full,
    /// These prefixes only.
    Only(Vec<IpNet>),
}

/// Whether what enters a site gets the gateway's own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Nat {
    /// Masqueraded unless this node is its hosts' gateway.
    Auto,
    /// Always masqueraded.
    Masquerade,
    /// Never: the site's hosts have a route back.
    None,
}

/// The link that a site is behind, as written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SiteInterface {
    /// A link of the host.
    Link(String),
    /// The bridge of this Docker network, whatever its name is today.
    Docker(String),
}

impl fmt::Display for SiteInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(name) => f.write_str(name),
            Self::Docker(network) => write!(f, "docker:{network}"),
        }
    }
}

/// A subnet behind a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The prefix, host bits zero.
    pub subnet: IpNet,
    /// The link behind which it is; `None`: found by the prefix when applied.
    pub interface: Option<SiteInterface>,
    /// How what enters it is rewritten.
    pub nat: Nat,
    /// Whether the site's hosts have this node as their gateway.
    pub gateway: bool,
    /// This node's own address in the site.
    pub address: Option<IpAddr>,
    /// Whether the site's hosts may go out through this node, masqueraded.
    pub egress: bool,
    /// Of several nodes that have this site, each with a number of its own, the one with the highest carries it; `None`: it is
    /// this node's alone.
    pub preference: Option<u32>,
    /// The prefix under which the others see it, of the subnet's length; `None`: under its own.
    pub alias: Option<IpNet>,
}

impl Site {
    /// Makes a site with every optional field at its default.
    pub const fn new(subnet: IpNet) -> Self {
        Self {
            subnet,
            interface: None,
            nat: Nat::Auto,
            gateway: false,
            address: None,
            egress: false,
            preference: None,
            alias: None,
        }
    }
    /// Says whether packets into this site get the gateway's address.
    pub const fn is_masqueraded(&self) -> bool {
        match self.nat {
            Nat::Masquerade => true,
            Nat::None => false,
            Nat::Auto => !(self.gateway || matches!(self.interface, Some(SiteInterface::Docker(_)))),
        }
    }
    /// Says whether the site's hosts send their answers to this node by themselves.
    pub const fn is_gateway(&self) -> bool {
        self.gateway || matches!(self.interface, Some(SiteInterface::Docker(_)))
    }
}

/// A bridge that wgrelay makes and addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The link's name.
    pub name: InterfaceName,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Links that become its ports.
    pub ports: Vec<String>,
    /// Spanning tree.
    pub stp: bool,
    /// MTU in bytes; `None`: the kernel's choice.
    pub mtu: Option<u16>,
}

/// One member of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Relay or spoke.
    pub role: Role,
    /// On a relay: its place among the relays of the file, from 0; else 0.
    pub rank: usize,
    /// On a spoke: the relays that it may use, its home first; empty where the network has one relay.
    pub relays: Vec<NodeName>,
    /// On a spoke: the relay of its list that it went over to; `None`: it is at home.
    pub attached: Option<NodeName>,
    /// What it runs on.
    pub platform: Platform,
    /// Its IPv4 address in the tunnel.
    pub address: Ipv4Addr,
    /// Its IPv6 address in the tunnel; set only in a network with `subnet6`.
    pub address6: Option<Ipv6Addr>,
    /// Where it is reached from outside; `None`: it starts every session itself.
    pub endpoint: Option<Endpoint>,
    /// Where it reaches others instead of at their own endpoint, by their names.
    pub endpoint_of: BTreeMap<NodeName, Endpoint>,
    /// Its identity.
    pub public_key: PublicKey,
    /// On a relay of a cluster: what keys are sealed to in the shared store; `None`: it has not joined.
    pub sealing_key: Option<PublicKey>,
    /// On a relay of a cluster: the Ed25519 key that its revisions are signed with.
    pub signing_key: Option<SigningKey>,
    /// On a relay: the hosts that can carry it, one at a time; empty: it is one host.
    pub hosts: Vec<NodeName>,
    /// On a relay with `hosts`: the address by which whoever carries it is reached, with its prefix length.
    pub floating: Option<IpNet>,
    /// Subnets behind it.
    pub sites: Vec<Site>,
    /// Subnets behind it that a better node carries.
    pub standby: Vec<super::Standby>,
    /// Subnets of its own that it has given over just now, because they do not answer here; empty in a file.
    pub given_over: BTreeSet<IpNet>,
    /// Bridges to make on it.
    pub bridges: Vec<Bridge>,
    /// Prefixes it is attached to itself: left out of its AllowedIPs and routes.
    pub local: Vec<IpNet>,
    /// What it sends into the tunnel.
    pub routes: Routes,
    /// What it belongs to: `"@NAME"` in rules stands for all nodes of a group.
    pub groups: Vec<NodeName>,
    /// `false`: kept in the file, absent from the network.
    pub enabled: bool,
    /// When it stops being a member; `None`: never.
    pub expires: Option<Timestamp>,
    /// Name servers, and search domains, for its configuration.
    pub dns: Vec<String>,
    /// Its own MTU in bytes; `None`: the network's.
    pub mtu: Option<u16>,
    /// Its own keepalive in seconds, 0 for none; `None`: the network's.
    pub keepalive: Option<u16>,
    /// The UDP port it listens on; `None`: see [`Node::listen_port`].
    pub listen_port: Option<u16>,
    /// Mark of the tunnel's own packets, for rules of the owner's; `None`: as it needs itself.
    pub fwmark: Option<u32>,
    /// Whether the agents of others keep a history of its traffic and sessions.
    pub history: bool,
    /// With a full tunnel: what stays outside of it.
    pub except: Vec<IpNet>,
    /// On a spoke: the node by whose egress it leaves to the Internet; `None`: its relay.
    pub via: Option<NodeName>,
    /// Whether full-tunnel spokes leave to the Internet here: on a relay those that are at home there, on a spoke those that name it.
    pub egress: bool,
    /// With `egress`: whether they reach private networks, and those that this node is attached to, as well.
    pub egress_all: bool,
}

impl Node {
    /// Returns where whoever carries it is called; `None`: it has no floating address.
    pub fn floating_endpoint(&self) -> Option<Endpoint> {
        let host = EndpointHost::Ip(self.floating?.addr());
        Some(Endpoint { host, port: self.listen_port.unwrap_or(DEFAULT_PORT) })
    }
    /// Says whether that is an endpoint, which then need not be written.
    pub fn is_called_at_floating(&self, endpoint: &Endpoint) -> bool {
        self.floating_endpoint().as_ref() == Some(endpoint)
    }
    /// Makes a node with every optional field at its default.
    pub fn new(name: NodeName, role: Role, address: Ipv4Addr, public_key: PublicKey) -> Self {
        Self {
            name,
            role,
            rank: 0,
            relays: Vec::new(),
            attached: None,
            platform: Platform::Linux,
            address,
            address6: None,
            endpoint: None,
            endpoint_of: BTreeMap::new(),
            public_key,
            sealing_key: None,
            signing_key: None,
            hosts: Vec::new(),
            floating: None,
            sites: Vec::new(),
            standby: Vec::new(),
            given_over: BTreeSet::new(),
            bridges: Vec::new(),
            local: Vec::new(),
            routes: Routes::Split,
            groups: Vec::new(),
            enabled: true,
            expires: None,
            dns: Vec::new(),
            mtu: None,
            keepalive: None,
            listen_port: None,
            via: None,
            egress: false,
            egress_all: false,
            fwmark: None,
            history: true,
            except: Vec::new(),
        }
    }
    /// Says whether this node is a relay.
    pub fn is_relay(&self) -> bool {
        self.role == Role::Relay
    }
    /// Says whether the node takes part at that moment: enabled and not expired.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.enabled && self.expires.is_none_or(|end| now < end)
    }
    /// Returns the UDP port it listens on: its own, else its endpoint's, else 51820 on a relay; a spoke's is the kernel's choice.
    pub fn listen_port(&self) -> Option<u16> {
        self.listen_port
            .or_else(|| self.endpoint.as_ref().map(|e| e.port))
            .or_else(|| self.is_relay().then_some(DEFAULT_PORT))
    }
    /// Returns where it calls another node: at the endpoint that it has of it, else at that node's own.
    pub fn calls<'a>(&'a self, other: &'a Self) -> Option<&'a Endpoint> {
        self.endpoint_of.get(&other.name).or(other.endpoint.as_ref())
    }
    /// Returns its tunnel addresses as host prefixes (/32 and /128).
    pub fn host_prefixes(&self) -> Vec<IpNet> {
        let mut out = vec![IpNet::from(IpAddr::V4(self.address))];
        out.extend(self.address6.map(|a| IpNet::from(IpAddr::V6(a))));
        out
    }
}

impl Network {
    /// Returns the relays, as they follow each other in the file.
    pub fn relays(&self) -> impl Iterator<Item = &Node> + Clone {
        self.nodes.relays()
    }
    /// Returns the spokes, by name.
    pub fn spokes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|n| !n.is_relay())
    }
    /// Returns the nodes of a group, by name.
    pub fn group(&self, name: &NodeName) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(move |n| n.groups.contains(name))
    }
    /// Returns the tunnel subnets.
    pub fn subnets(&self) -> Vec<IpNet> {
        let mut out = vec![IpNet::V4(self.subnet)];
        out.extend(self.subnet6.map(IpNet::V6));
        out
    }
    /// Returns a node's tunnel addresses with the subnet's prefix length, as its interface has them.
    pub fn interface_addresses(&self, node: &Node) -> Vec<IpNet> {
        let mut out = vec![IpNet::new_assert(node.address.into(), self.subnet.prefix_len())];
        if let (Some(a), Some(net)) = (node.address6, self.subnet6) {
            out.push(IpNet::new_assert(a.into(), net.prefix_len()));
        }
        out
    }
    /// Returns the MTU of a node's interface in bytes.
    pub fn mtu_of(&self, node: &Node) -> u16 {
        node.mtu.unwrap_or(self.mtu)
    }
    /// Returns a spoke's keepalive in seconds; `None`: none is sent.
    pub fn keepalive_of(&self, node: &Node) -> Option<u16> {
        Some(node.keepalive.unwrap_or(self.keepalive)).filter(|k| *k > 0 && !node.is_relay())
    }
}
