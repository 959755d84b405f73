//! What a link has by itself: a bridge of ours, or a port of one, before and after.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Links by name; `None`: there is (or should be) no such link. A link that is not named is not ours to look at.
pub type Links = BTreeMap<String, Option<LinkState>>;

/// An address with all that has to be said to give it back as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkAddress {
    /// The address with its prefix length.
    pub net: IpNet,
    /// The other end of a point-to-point link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// IPv4's broadcast address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<Ipv4Addr>,
    /// IPv4's label, where it is not the link's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The kernel's scope: 0 everywhere, 253 this link.
    #[serde(default)]
    pub scope: u8,
    /// `IFA_F_NOPREFIXROUTE`: its subnet's route is somebody's own.
    #[serde(default)]
    pub no_prefix_route: bool,
    /// The metric of its subnet's route; 0: the kernel's choice.
    #[serde(default)]
    pub metric: u32,
    /// Seconds for which it was preferred and valid when it was read; `None`: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<(u32, u32)>,
}

impl LinkAddress {
    /// An address as `ip address add` makes it.
    pub const fn of(net: IpNet) -> Self {
        Self {
            net,
            peer: None,
            broadcast: None,
            label: None,
            scope: 0,
            no_prefix_route: false,
            metric: 0,
            lifetime: None,
        }
    }
    /// What tells two addresses of a link apart.
    pub(super) const fn key(&self) -> (IpNet, Option<IpAddr>) {
        (self.net, self.peer)
    }
}

/// A route that leaves by a link and is not the kernel's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRoute {
    /// Destination.
    pub dst: IpNet,
    /// Routing table.
    pub table: u32,
    /// The kernel's priority; 0: the first of IPv4.
    #[serde(default)]
    pub metric: u32,
    /// The next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The protocol number: 3 boot, 4 static, 16 DHCP …
    pub protocol: u8,
    /// The kernel's scope: 0 everywhere, 253 this link.
    #[serde(default)]
    pub scope: u8,
    /// The preferred source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src: Option<IpAddr>,
    /// `RTNH_F_ONLINK`: the next hop is taken to be on the link.
    #[serde(default)]
    pub onlink: bool,
    /// `RTA_METRICS` by number: MTU, window and the like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<(u16, u32)>,
}

impl LinkRoute {
    /// What the kernel has one route of, on whichever link.
    pub(super) const fn key(&self) -> (IpNet, u32, u32) {
        (self.dst, self.table, self.metric)
    }
    /// The route as `ip route` writes it, without the link.
    pub fn text(&self) -> String {
        let mut text = if self.dst.prefix_len() == 0 { "default".to_string() } else { self.dst.to_string() };
        if let Some(gateway) = self.gateway {
            text += &format!(" via {gateway}");
        }
        if self.metric != 0 {
            text += &format!(" metric {}", self.metric);
        }
        if self.table != super::super::state::MAIN_TABLE {
            text += &format!(" table {}", self.table);
        }
        text
    }
}

/// What a link has by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    /// A bridge, and whether it speaks the spanning tree protocol; `None`: another link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stp: Option<bool>,
    /// MTU in bytes; `None` in a wanted state: the kernel's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether it is administratively up.
    pub up: bool,
    /// The bridge that it is a port of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// Its addresses in the kernel's order, without IPv6's of the link itself.
    #[serde(default)]
    pub addresses: Vec<LinkAddress>,
    /// The routes that leave by it, without those that the kernel makes with an address.
    #[serde(default)]
    pub routes: Vec<LinkRoute>,
    /// The kernel's number, by which a link that was made anew is told from the one before; 0 in a wanted state.
    #[serde(default)]
    pub index: u32,
}

impl LinkState {
    /// A bridge without addresses, up.
    pub const fn bridge(stp: bool, mtu: Option<u32>) -> Self {
        Self {
            stp: Some(stp),
            mtu,
            up: true,
            master: None,
            addresses: Vec::new(),
            routes: Vec::new(),
            index: 0,
        }
    }
    /// A port of a bridge: it has nothing by itself.
    pub fn port_of(bridge: &str) -> Self {
        Self {
            stp: None,
            mtu: None,
            up: true,
            master: Some(bridge.into()),
            addresses: Vec::new(),
            routes: Vec::new(),
            index: 0,
        }
    }
    /// Says whether a next hop is on one of its subnets.
    pub(super) fn reaches(&self, gateway: IpAddr) -> bool {
        self.addresses.iter().any(|a| a.net.contains(&gateway))
    }
}
