//! What the procedures need of a machine, and how it says that something failed.
//! Apart from the machine itself, so that one in memory can take its place.

use std::collections::BTreeSet;

use crate::dataplane::DeviceReport;
use crate::firewall::foreign::resolver::Resolver;
use crate::model::InterfaceName;
use crate::plan::{Backend, Change, Facts, HostState, NameServers};

/// What to look at: one network on this host.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The network, and its interface.
    pub network: InterfaceName,
    /// Switches whose values are wanted, by path below `/proc/sys`.
    pub sysctls: BTreeSet<String>,
    /// Bridges and their ports, by name.
    pub links: BTreeSet<String>,
    /// Who may have name servers of ours besides whom the record names.
    pub resolver: Option<Resolver>,
    /// What was applied last, without secrets: supplies what the host cannot tell (the endpoints that were
    /// given, as against those learned; the rules behind an unchanged fingerprint). `None`: nothing was.
    pub applied: Option<HostState>,
}

impl Scope {
    /// Returns who may have name servers of ours.
    pub fn resolvers(&self) -> BTreeSet<Resolver> {
        let recorded = self.applied.as_ref().and_then(|applied| applied.name_servers.as_ref());
        self.resolver.into_iter().chain(recorded.map(|servers| servers.resolver)).collect()
    }
}

/// A fault of the machine, named by the operation.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {target}: {cause}")]
pub struct HostError {
    /// What was tried: `add route`, `load nft table`, …
    pub operation: &'static str,
    /// On what.
    pub target: String,
    /// What the system said.
    pub cause: String,
    /// What to do about it; empty where nothing is known.
    pub hint: String,
}

impl HostError {
    /// Makes an error without a hint.
    pub fn new(operation: &'static str, target: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self { operation, target: target.into(), cause: cause.to_string(), hint: String::new() }
    }
    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// A machine, or one in memory.
pub trait Host {
    /// Reads the foreign state that decides. `names` are resolved; `sysctls` are read.
    fn facts(&mut self, names: &BTreeSet<String>, sysctls: &BTreeSet<String>) -> Result<Facts, HostError>;
    /// Reads what is ours.
    fn observe(&mut self, scope: &Scope) -> Result<HostState, HostError>;
    /// Asks this host's resolvers, and returns those that do not answer.
    fn silent_resolvers(&mut self) -> Vec<std::net::IpAddr> {
        Vec::new()
    }
    /// Returns what a resolver still has of before the host's last start, of a network that is not up since.
    fn name_servers_left_behind(&mut self) -> Option<NameServers> {
        None
    }
    /// Resolves these names to the next of their addresses from now on; says whether any has one.
    fn take_next_address(&mut self, _names: &BTreeSet<String>) -> bool {
        false
    }
    /// Reads the interface's telemetry; `None`: there is no interface of ours.
    fn report(&mut self, scope: &Scope) -> Result<Option<DeviceReport>, HostError>;
    /// Carries out changes in order, batching neighbours of a kind. Stops at the first that fails.
    fn apply(
        &mut self,
        network: &InterfaceName,
        backend: Backend,
        changes: &[Change],
    ) -> Result<(), HostError>;
}
