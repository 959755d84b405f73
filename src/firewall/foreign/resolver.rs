//! Who decides which name servers this host asks, as far as it can be given more of them.

use serde::{Deserialize, Serialize};

/// A program that keeps the name servers of a host, by link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resolver {
    /// systemd-resolved, and /etc/resolv.conf leads to it. It asks by domain.
    SystemdResolved,
    /// resolvconf of openresolv: one list for every name, or a link's alone.
    Openresolv,
    /// resolvconf of Debian: one list, the tunnels' first.
    Resolvconf,
}

impl std::fmt::Display for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::SystemdResolved => "systemd-resolved",
            Self::Openresolv => "openresolv",
            Self::Resolvconf => "resolvconf",
        })
    }
}
