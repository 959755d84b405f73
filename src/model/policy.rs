//! Who may talk to whom (`[[allow]]`), and what must stay true (`[[expect]]`).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::{Network, NodeName};

/// An end of an allow rule or an expectation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlaceRef {
    /// `"*"`: every place of the network.
    Any,
    /// `"internet"`: whatever is outside the network, by an egress node.
    Internet,
    /// `"lan:NODE"`: a host on the link by which that node reaches the Internet, which sends to it what it likes.
    Lan(NodeName),
    /// `"@NAME"`: the nodes of a group, by their tunnel addresses.
    Group(NodeName),
    /// A node, by its tunnel addresses.
    Node(NodeName),
    /// A prefix: a site or a part of one.
    Prefix(IpNet),
    /// One address.
    Address(IpAddr),
}

impl PlaceRef {
    /// Reads a place as typed; whether it exists is the network's matter.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "*" => Self::Any,
            "internet" => Self::Internet,
            _ => {
                if let Some(name) = text.strip_prefix("lan:") {
                    Self::Lan(name.parse().ok()?)
                } else if let Some(name) = text.strip_prefix('@') {
                    Self::Group(name.parse().ok()?)
                } else if let Ok(ip) = text.parse::<IpAddr>() {
                    Self::Address(ip)
                } else if text.contains('/') {
                    Self::Prefix(text.parse().ok()?)
                } else {
                    Self::Node(text.parse().ok()?)
                }
            }
        })
    }
}

impl fmt::Display for PlaceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Internet => f.write_str("internet"),
            Self::Lan(name) => write!(f, "lan:{name}"),
            Self::Group(name) => write!(f, "@{name}"),
            Self::Node(name) => write!(f, "{name}"),
            Self::Prefix(net) => write!(f, "{net}"),
            Self::Address(ip) => write!(f, "{ip}"),
        }
    }
}

/// A range of ports, both ends included; one port is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// First port, 1 to 65535.
    pub first: u16,
    /// Last port, not below the first.
    pub last: u16,
}

/// What an allow rule lets pass: `tcp/22`, `tcp/8000-8100`, `udp/53`, `icmp`, `tcp`, `udp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortSpec {
    /// TCP to these ports.
    Tcp(PortRange),
    /// UDP to these ports.
    Udp(PortRange),
    /// ICMP, and ICMPv6 for IPv6.
    Icmp,
}

/// Tells why a text is not a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a port: write tcp/22, tcp/8000-8100, udp/53 or icmp")]
pub struct PortError(pub String);

impl FromStr for PortSpec {
    type Err = PortError;
    fn from_str(text: &str) -> Result<Self, PortError> {
        let fault = || PortError(text.into());
        let port = |t: &str| match t.parse::<u16>() {
            Ok(n) if n > 0 && t.bytes().all(|b| b.is_ascii_digit()) => Ok(n),
            _ => Err(fault()),
        };
        if text == "icmp" {
            return Ok(Self::Icmp);
        }
        let (proto, ports) = text.split_once('/').unwrap_or((text, "1-65535"));
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let range = PortRange { first: port(first)?, last: port(last)? };
        if range.first > range.last {
            return Err(fault());
        }
        match proto {
            "tcp" => Ok(Self::Tcp(range)),
            "udp" => Ok(Self::Udp(range)),
            _ => Err(fault()),
        }
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (proto, r) = match self {
            Self::Icmp => return f.write_str("icmp"),
            Self::Tcp(r) => ("tcp", r),
            Self::Udp(r) => ("udp", r),
        };
        match (r.first, r.last) {
            (1, 65535) => f.write_str(proto),
            (a, b) if a == b => write!(f, "{proto}/{a}"),
            (a, b) => write!(f, "{proto}/{a}-{b}"),
        }
    }
}

/// One `[[allow]]`: flows that may start. With any rule at all, what no rule allows is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    /// Where a flow may start.
    pub from: Vec<PlaceRef>,
    /// Where it may go.
    pub to: Vec<PlaceRef>,
    /// What may pass; empty means everything.
    pub ports: Vec<PortSpec>,
}

/// What an expectation promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The packet gets there and the answer gets back.
    Reaches,
    /// It does not.
    Blocked,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Reaches => "reaches",
            Self::Blocked => "blocked",
        })
    }
}

/// One `[[expect]]`: a promise that `check` and `up` refuse to break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// Where the flow starts.
    pub from: PlaceRef,
    /// Where it goes.
    pub to: PlaceRef,
    /// TCP, UDP or ICMP; unset means that any protocol will do.
    pub port: Option<PortSpec>,
    /// What must come out.
    pub verdict: Verdict,
    /// Whether that must stay so without any one of the relays.
    pub survives: bool,
}

impl Network {
    /// Returns the hosts of a subnet that promises to be reached are about, with their ports of TCP; `None`: an echo is to tell.
    pub fn expected_in(&self, subnet: &IpNet) -> BTreeSet<(IpAddr, Option<u16>)> {
        let reached = self.expect.iter().filter(|expect| expect.verdict == Verdict::Reaches);
        let host = |expect: &Expectation| match expect.to {
            PlaceRef::Address(ip) if subnet.contains(&ip) => Some(ip),
            _ => None,
        };
        let port = |expect: &Expectation| match expect.port {
            Some(PortSpec::Tcp(range)) => Some(range.first),
            _ => None,
        };
        reached.filter_map(|expect| Some((host(expect)?, port(expect)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_round_trip() {
        for text in ["tcp/22", "tcp/8000-8100", "udp/53", "icmp", "tcp", "udp"] {
            assert_eq!(text.parse::<PortSpec>().unwrap().to_string(), text);
        }
        for text in ["tcp/0", "tcp/65536", "tcp/9-8", "sctp/1", "", "tcp/", "tcp/+1"] {
            assert!(text.parse::<PortSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn places() {
        assert_eq!(PlaceRef::parse("*"), Some(PlaceRef::Any));
        assert_eq!(PlaceRef::parse("windows").unwrap().to_string(), "windows");
        assert!(matches!(PlaceRef::parse("172.19.0.0/16"), Some(PlaceRef::Prefix(_))));
        assert!(matches!(PlaceRef::parse("fd00::1"), Some(PlaceRef::Address(_))));
        assert_eq!(PlaceRef::parse("a b"), None);
    }
}
