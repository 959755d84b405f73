//! The foreign state that decides what we do: read, never owned, never diffed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::ForeignFirewall;
use super::docker::{DockerContainer, DockerEngine, DockerNetwork};
use super::resolver::Resolver;
use super::routing_rule::{RoutingRule, TableRoute};
use super::wsl::WslMode;

/// A link of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// `wireguard`, `tun`, `bridge`, `veth`, … or empty for a physical one.
    pub kind: String,
    /// The `ifalias`, empty where none is set.
    pub alias: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// The bridge or bond it belongs to.
    pub master: Option<String>,
    /// Its addresses with prefix lengths.
    pub addresses: Vec<IpNet>,
}

/// A route that is not ours, of the main table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ForeignRoute {
    /// Destination.
    pub dst: IpNet,
    /// The link it leaves by; empty for a blackhole and the like.
    pub device: String,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The protocol number: 2 kernel, 3 boot, 4 static, 9 router advertisement, 16 DHCP …
    pub protocol: u8,
    /// The largest packet that the route takes, in bytes; `None`: what its link takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// What there is on the host besides us.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Links by name.
    pub links: BTreeMap<String, Link>,
    /// Foreign routes of the main table.
    pub routes: Vec<ForeignRoute>,
    /// Others' policy rules, by priority; what every host has (local, main, default) is not among them.
    #[serde(default)]
    pub rules: Vec<RoutingRule>,
    /// The tables that these look into, but for the main one.
    #[serde(default)]
    pub tables: BTreeMap<u32, Vec<TableRoute>>,
    /// Values of the switches that matter, by path below `/proc/sys`.
    pub sysctls: BTreeMap<String, String>,
    /// The values that switches had before this network set them, by path; from the record of what was applied.
    #[serde(rename = "displaced", default)]
    pub saved_sysctls: BTreeMap<String, String>,
    /// Docker's networks by name; `None`: no engine answered.
    pub docker: Option<BTreeMap<String, DockerNetwork>>,
    /// Its networks without a bridge here, with their drivers: `macvlan`, `ipvlan`, `overlay`.
    #[serde(default)]
    pub docker_unbridged: BTreeMap<String, String>,
    /// That engine.
    #[serde(default)]
    pub engine: Option<DockerEngine>,
    /// The containers that run there.
    #[serde(default)]
    pub containers: Vec<DockerContainer>,
    /// The value of `DOCKER_HOST` where it names an engine that is not on this host; `None`: it does not.
    #[serde(default)]
    pub docker_elsewhere: Option<String>,
    /// Packet filters of others.
    #[serde(default)]
    pub foreign: ForeignFirewall,
    /// Addresses of the endpoints' names; a name that did not resolve is absent.
    pub resolved: BTreeMap<String, IpAddr>,
    /// WSL's networking mode; `None`: not WSL.
    pub wsl: Option<WslMode>,
    /// Whether switches below `/proc/sys` cannot be written, as in a container.
    #[serde(default)]
    pub switches_are_read_only: bool,
    /// TCP ports that somebody listens on.
    #[serde(default)]
    pub tcp_ports: BTreeSet<u16>,
    /// Who keeps this host's name servers; `None`: nobody who could be given more of them.
    #[serde(default)]
    pub resolver: Option<Resolver>,
    /// UDP ports that somebody has bound, ourselves included.
    #[serde(default)]
    pub udp_ports: BTreeSet<u16>,
}

impl Facts {
    /// Returns a switch's value, `None` where the host has no such switch.
    pub fn sysctl(&self, path: &str) -> Option<&str> {
        self.sysctls.get(path).map(String::as_str)
    }
    /// Returns the value that a switch had before this network set it; `None`: it is not known.
    pub fn before(&self, path: &str) -> Option<&str> {
        self.saved_sysctls.get(path).map(String::as_str).or_else(|| self.sysctl(path))
    }
    /// Returns Docker's network that has this bridge, with its name.
    pub fn docker_network(&self, bridge: &str) -> Option<(&str, &DockerNetwork)> {
        self.docker.iter().flatten().find(|(_, n)| n.bridge == bridge).map(|(name, n)| (name.as_str(), n))
    }
    /// Returns the link that a subnet is behind: the one attached to just that, else to more, else to a part of it.
    pub fn link_in(&self, subnet: IpNet, is_kind: impl Fn(&Link) -> bool) -> Option<&str> {
        let closeness = |address: &IpNet| match address.trunc() {
            _ if !subnet.contains(&address.addr()) => None,
            net if net == subnet => Some(0),
            net if net.contains(&subnet) => Some(1),
            _ => Some(2),
        };
        let links = self.links.iter().filter(|(_, link)| is_kind(link));
        let ranked =
            links.filter_map(|(name, link)| Some((link.addresses.iter().filter_map(closeness).min()?, name)));
        ranked.min().map(|(_, name)| name.as_str())
    }
}
