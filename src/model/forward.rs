//! `[[forward]]`: a port of a relay's own addresses that leads to a node, or to a host of a site.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::{Network, Node, NodeName, PlaceRef, PortRange, PortSpec, Routes, Timestamp, prefixes_of};

/// Whom a forward leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A node, by its tunnel addresses.
    Node(NodeName),
    /// An address in a site, or a node's.
    Address(IpAddr),
}

/// Whom, and at which port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// Who.
    pub target: Target,
    /// The port there; `None`: the one that was called.
    pub port: Option<u16>,
}

/// Tells why a text is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not where a forward can lead: write NODE:PORT, ADDRESS:PORT or [IPV6]:PORT")]
pub struct DestinationError(pub String);

impl FromStr for Destination {
    type Err = DestinationError;
    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let fault = || DestinationError(text.into());
        let whom = |who: &str| {
            let bare = who.strip_prefix('[').and_then(|w| w.strip_suffix(']')).unwrap_or(who);
            match bare.parse::<IpAddr>() {
                Ok(ip) => Ok(Target::Address(ip)),
                Err(_) => who.parse().map(Target::Node).map_err(|_| fault()),
            }
        };
        // An address of IPv6 has colons of its own.
        if text.parse::<IpAddr>().is_ok() || text.ends_with(']') {
            return Ok(Self { target: whom(text)?, port: None });
        }
        let Some((who, port)) = text.rsplit_once(':') else {
            return Ok(Self { target: whom(text)?, port: None });
        };
        let port = port.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(fault)?;
        Ok(Self { target: whom(who)?, port: Some(port) })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.target, self.port) {
            (Target::Node(name), _) => write!(f, "{name}")?,
            (Target::Address(ip @ IpAddr::V6(_)), Some(_)) => write!(f, "[{ip}]")?,
            (Target::Address(ip), _) => write!(f, "{ip}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Which source address the target sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ForwardSource {
    /// The caller's where its answers come back by the relay all the same, else the relay's.
    Auto,
    /// The caller's.
    Keep,
    /// The relay's.
    Masquerade,
}

impl ForwardSource {
    /// Every one, as the file spells it.
    pub const ALL: [(&'static str, Self); 3] =
        [("auto", Self::Auto), ("keep", Self::Keep), ("masquerade", Self::Masquerade)];
    /// Returns the spelling of the file.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, s)| *s == self).map_or("auto", |(text, _)| text)
    }
}

/// One `[[forward]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The relay whose port it is; `None`: the only one.
    pub on: Option<NodeName>,
    /// The port that is called: TCP or UDP.
    pub port: PortSpec,
    /// Where it leads.
    pub to: Destination,
    /// Who may call, prefixes and groups; empty: everybody.
    pub from: Vec<PlaceRef>,
    /// Which source the target sees.
    pub source: ForwardSource,
}

impl Forward {
    /// Says whether it is a port of this node.
    pub fn is_on(&self, node: &Node) -> bool {
        node.is_relay() && self.on.as_ref().is_none_or(|on| *on == node.name)
    }

    /// Returns the addresses that it leads to: at most one of each family.
    pub fn targets(&self, network: &Network) -> Vec<IpAddr> {
        match &self.to.target {
            Target::Address(ip) => vec![*ip],
            Target::Node(name) => {
                let node = network.nodes.get(name);
                node.into_iter().flat_map(Node::host_prefixes).map(|p| p.addr()).collect()
            }
        }
    }

    /// Returns who may call; of nobody's group nothing is left. `None`: everybody may.
    pub fn callers(&self, network: &Network) -> Option<BTreeSet<IpNet>> {
        // Nothing here hangs on the time: only "*" does, and that is none of these.
        let of = |place| prefixes_of(network, place, Timestamp(0));
        (!self.from.is_empty()).then(|| self.from.iter().flat_map(of).collect())
    }

    /// Returns the ports that are called.
    pub const fn called(&self) -> PortRange {
        match self.port {
            PortSpec::Tcp(range) | PortSpec::Udp(range) => range,
            PortSpec::Icmp => PortRange { first: 0, last: 0 },
        }
    }

    /// Returns the ports at the target, with the protocol.
    pub fn at_target(&self) -> PortSpec {
        let one = |p| PortRange { first: p, last: p };
        match (self.port, self.to.port) {
            (PortSpec::Tcp(r), Some(p)) if r.first == r.last => PortSpec::Tcp(one(p)),
            (PortSpec::Udp(r), Some(p)) if r.first == r.last => PortSpec::Udp(one(p)),
            (same, _) => same,
        }
    }

    /// Says whether the target's answers to anybody come back by the relay: it sends everything into the tunnel, or has the
    /// relay as its gateway.
    pub fn answers_by_relay(&self, network: &Network, relay: &Node, target: IpAddr) -> bool {
        let full = |node: &Node| {
            matches!(&node.routes, Routes::Full)
                || matches!(&node.routes, Routes::Only(list) if list.iter().any(|n| n.prefix_len() == 0 && n.contains(&target)))
        };
        let owner = network.nodes.values().find(|n| n.host_prefixes().iter().any(|p| p.addr() == target));
        match owner {
            Some(node) => full(node),
            None => relay.sites.iter().any(|s| s.prefix().contains(&target) && s.is_gateway()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_round_trip() {
        for text in ["docker:443", "docker", "192.168.33.71:22", "192.168.33.71", "[fd00::1]:443", "fd00::1"]
        {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        for text in ["", ":443", "docker:0", "docker:65536", "docker:x", "a b:1", "[fd00::1]:"] {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
    }
}
