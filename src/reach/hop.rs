//! One step of a packet's path.

use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::assume::is_assumed;

/// What happens to the packet there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// A host picks the link.
    Route,
    /// AllowedIPs pick the peer, and the packet goes into the tunnel.
    Encrypt,
    /// It comes out of the tunnel, and AllowedIPs let its source in.
    Decrypt,
    /// The rules for what is forwarded let it pass.
    Forward,
    /// It gets another destination.
    Dnat,
    /// It gets the same place in another prefix: an alias and the site behind it.
    Netmap,
    /// It gets another source address.
    Masquerade,
    /// The answer gets the address back that the packet had.
    Restore,
    /// It is where it was going.
    Deliver,
}

impl Step {
    /// Returns the word that JSON and text use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Forward => "forward",
            Self::Dnat => "dnat",
            Self::Netmap => "netmap",
            Self::Masquerade => "masquerade",
            Self::Restore => "restore",
            Self::Deliver => "deliver",
        }
    }
}

/// A step, with the packet's addresses after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// A node, or the address of a site's host.
    pub node: String,
    /// What happens.
    pub step: Step,
    /// By which route, prefix or rule.
    pub detail: String,
    /// Source address after the step; `unknown` in JSON where it is an uplink's that nobody has looked at.
    #[serde(serialize_with = "known")]
    pub src: IpAddr,
    /// Destination address after the step, in the same way.
    #[serde(serialize_with = "known")]
    pub dst: IpAddr,
}

/// Writes an address as people read it.
pub(super) fn shown(ip: IpAddr) -> String {
    if is_assumed(ip) { "unknown".into() } else { ip.to_string() }
}

fn known<S: Serializer>(ip: &IpAddr, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&shown(*ip))
}
