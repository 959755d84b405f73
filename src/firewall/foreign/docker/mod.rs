//! What Docker's engine says of itself, and what its rules say of it: read, never changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub(crate) mod answers;
pub(crate) mod nftables;
pub(crate) mod nftables_listing;

use crate::firewall::{Family, Mark};

/// The first engine that drops in raw PREROUTING, for each published port.
const RAW_DROPS_SINCE: (u32, u32) = (28, 0);
/// The first engine that drops there for each container.
const RAW_DROPS_CONTAINERS_SINCE: (u32, u32) = (28, 2);

/// A Docker engine that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerEngine {
    /// Its version, such as `28.5.2+dfsg1`.
    pub version: String,
    /// Who packed it, such as `Docker Desktop 4.34.0 (165256)`; empty where it does not say.
    pub platform: String,
}

impl DockerEngine {
    /// Returns the first two numbers of its version.
    fn release(&self) -> Option<(u32, u32)> {
        let mut numbers = self.version.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
    /// Says whether it is Docker Desktop, whose bridges are in a machine of its own.
    pub fn is_desktop(&self) -> bool {
        self.platform.starts_with("Docker Desktop")
    }
    /// Says whether it drops in raw PREROUTING what does not come through a container's own bridge.
    pub fn drops_in_raw(&self) -> bool {
        self.release().is_some_and(|r| r >= RAW_DROPS_SINCE)
    }
    /// Says whether it does so for every container, not for published ports alone.
    pub(super) fn drops_for_every_container(&self) -> bool {
        self.release().is_some_and(|r| r >= RAW_DROPS_CONTAINERS_SINCE)
    }
}

/// How a network's containers are reached from elsewhere (`com.docker.network.bridge.gateway_mode_ipv4`, `_ipv6`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayMode {
    /// By their published ports.
    #[default]
    Nat,
    /// At their own addresses, every port.
    NatUnprotected,
    /// At their own addresses, by ICMP and at the published ports.
    Routed,
    /// Not at all.
    Isolated,
}

impl GatewayMode {
    /// Reads the option's value; `None`: it is none of them.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "nat" => Some(Self::Nat),
            "nat-unprotected" => Some(Self::NatUnprotected),
            "routed" => Some(Self::Routed),
            "isolated" => Some(Self::Isolated),
            _ => None,
        }
    }
}

/// A network of the Docker engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerNetwork {
    /// Its bridge on this host.
    pub bridge: String,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
    /// Links that it trusts (`com.docker.network.bridge.trusted_host_interfaces`): no drop in raw PREROUTING for them.
    #[serde(default)]
    pub trusted: BTreeSet<String>,
    /// How its IPv4 is reached.
    #[serde(default)]
    pub gateway_mode4: GatewayMode,
    /// How its IPv6 is reached.
    #[serde(default)]
    pub gateway_mode6: GatewayMode,
}

impl DockerNetwork {
    /// Returns how one family of it is reached.
    pub const fn gateway_mode(&self, family: Family) -> GatewayMode {
        match family {
            Family::V4 => self.gateway_mode4,
            Family::V6 => self.gateway_mode6,
        }
    }
}

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerContainer {
    /// Its name.
    pub name: String,
    /// The networks that it is attached to, with their priority as its default way (`--gw-priority`; the highest wins).
    pub networks: BTreeMap<String, i64>,
    /// Its IPv4 address on each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<String, Ipv4Addr>,
}

/// What Docker's nftables backend (Engine 29) lets into one bridge, as its rules say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerBridge {
    /// The mark of packets that it lets in (`bridge-accept-fwmark`).
    pub accepts: Option<Mark>,
    /// Whether it lets everything in (gateway mode nat-unprotected).
    pub open: bool,
    /// Whether raw PREROUTING drops what comes to its containers from elsewhere.
    pub guarded: bool,
    /// Links from which it does not.
    pub trusted: BTreeSet<String>,
}

/// The bridges of Docker's nftables backend, one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerNftables {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Its bridges by name.
    pub bridges: BTreeMap<String, DockerBridge>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_engines_drop_in_raw() {
        let engine = |version: &str| DockerEngine { version: version.into(), platform: String::new() };
        let told = ["20.10.24+dfsg1", "27.5.1", "28.0.4", "28.2.0", "28.5.2+dfsg4", "29.0.1", "dev"]
            .map(|v| (engine(v).drops_in_raw(), engine(v).drops_for_every_container()));
        let (no, ports, all) = ((false, false), (true, false), (true, true));
        assert_eq!(told, [no, no, ports, all, all, all, no]);
    }
}
