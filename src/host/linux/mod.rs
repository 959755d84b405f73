//! [`Host`] for Linux: sorts changes by what carries them out, and joins neighbours into one batch.

mod ahead;
pub mod announce;
pub mod boot_clock;
mod bridge;
pub mod confine;
mod dbus;
pub mod discover;
pub mod docker;
pub mod examine;
mod facts;
pub mod fence;
mod firewalld;
pub mod floating_hook;
mod foreign_firewall;
mod iptables;
mod last_author;
mod link;
pub mod link_local;
pub mod name_servers;
mod names;
mod netlink;
pub mod netlink_monitor;
mod nft;
pub mod program;
pub mod resolver;
mod route;
pub mod scope;
pub mod site_probe;
pub mod sysctl;
pub mod systemd;
pub mod wg_quick;
pub mod wireguard;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;

use self::ahead::Ahead;
use crate::dataplane::DeviceReport;
use crate::firewall::foreign::ForeignRule;
use crate::firewall::forwarding_v4;
use crate::host::agent_process::Runtime;
use crate::host::join::join;
use crate::host::{Host, HostError, Scope};
use crate::model::InterfaceName;
use crate::plan::bridge::LinkChange;
use crate::plan::{
    Backend, Change, Device, Facts, HostState, IFALIAS_PREFIX, NameServers, PolicyRule, ifalias, table_name,
};
use docker::Engine;
pub use facts::owner_of;
use foreign_firewall::Reading;
pub use iptables::legacy_extent;
use link::NumberedLink;
use netlink::{Netlink, NetlinkError, Refusal, Request};
use wireguard::{KernelWireGuard, WireGuard};

/// This machine, in the network namespace of the thread that opened it.
pub struct LinuxHost {
    netlink: Netlink,
    kernel: Box<dyn WireGuard + Send>,
    embedded: Option<Box<dyn WireGuard + Send>>,
    docker: Option<Engine>,
    /// The packet filters of others as read last; `None`: not read, or changed by us since.
    foreign: Option<Reading>,
    /// Our routes as the facts read them, for the observation that follows: a large table is read once for both. Links are
    /// few and are read again: one of an agent that was just ended may have gone meanwhile.
    routes: Option<route::OwnRoutes>,
    /// What was read before it is asked for: see [`LinuxHost::look_ahead`].
    ahead: Ahead,
    /// The interface's telemetry as the observation read it, for whoever asks next.
    reported: Option<DeviceReport>,
}

impl LinuxHost {
    /// Opens the machine with the kernel's WireGuard alone; takes no privilege yet.
    pub fn open() -> Result<Self, HostError> {
        let netlink =
            Netlink::open(NETLINK_ROUTE).map_err(|e| HostError::new("open", "netlink socket", e))?;
        Ok(Self {
            netlink,
            kernel: Box::new(KernelWireGuard::open()?),
            embedded: None,
            docker: None,
            foreign: None,
            routes: None,
            ahead: Ahead::default(),
            reported: None,
        })
    }
    /// Gives it the data plane behind [`Backend::Embedded`].
    #[must_use]
    pub fn with_embedded(mut self, wireguard: Box<dyn WireGuard + Send>) -> Self {
        self.embedded = Some(wireguard);
        self
    }
    /// Gives it a Docker engine to ask.
    #[must_use]
    pub fn with_docker(mut self, engine: Option<Engine>) -> Self {
        self.docker = engine;
        self
    }

    fn wireguard(&mut self, backend: Backend) -> Result<&mut dyn WireGuard, HostError> {
        match (backend, &mut self.embedded) {
            (Backend::Kernel, _) => Ok(self.kernel.as_mut()),
            (Backend::Embedded, Some(embedded)) => Ok(embedded.as_mut()),
            (Backend::Embedded, None) => {
                Err(HostError::new("reach", "embedded data plane", "no agent runs for this network"))
            }
        }
    }

    fn foreign(&mut self) -> Result<&Reading, HostError> {
        // Every answer is from one reading: it takes processes, and facts are asked for more than once.
        let reading = match self.foreign.take() {
            Some(reading) => reading,
            None => Reading::take()?,
        };
        Ok(self.foreign.insert(reading))
    }

    /// Reads the little that says which data plane to take: links, and WSL's mode.
    pub fn surroundings(&mut self) -> Result<Facts, HostError> {
        let links = self.links()?.into_iter().map(|(name, l)| (name, l.link)).collect();
        Ok(Facts { links, wsl: facts::wsl(), ..Facts::default() })
    }

    fn links(&mut self) -> Result<BTreeMap<String, NumberedLink>, HostError> {
        link::read_all(&mut self.netlink).map_err(|e| HostError::new("list", "links", e))
    }

    fn routes(&mut self, links: &BTreeMap<String, NumberedLink>) -> Result<route::Routes, HostError> {
        let names = links.iter().map(|(name, l)| (l.index, name.clone())).collect();
        route::read_all(&mut self.netlink, &names).map_err(|e| HostError::new("list", "routes", e))
    }

    /// Returns the number of our link.
    fn our_index(&mut self, network: &InterfaceName) -> Result<u32, HostError> {
        let failed = |cause: String| HostError::new("find interface", network.as_str(), cause);
        match link::read_one(&mut self.netlink, network.as_str()) {
            Ok(Some(found)) if found.link.alias == ifalias(network) => Ok(found.index),
            Ok(Some(_)) => Err(failed("it is not wgrelay's".into())),
            Ok(None) => Err(failed("it is gone".into())),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Reads the policy rules of this network. A rule names no interface: what is on record for another network of ours is that
    /// one's, also while its interface is gone; where one without a record is here, only those count that were applied for this one.
    fn rules(
        &mut self,
        scope: &Scope,
        links: &BTreeMap<String, NumberedLink>,
    ) -> Result<BTreeSet<PolicyRule>, HostError> {
        let mut rules =
            route::read_rules(&mut self.netlink).map_err(|e| HostError::new("list", "policy rules", e))?;
        if rules.is_empty() {
            return Ok(rules);
        }
        let recorded = Runtime::recorded_rules()?;
        let is_others = |alias: &str| {
            alias.starts_with(IFALIAS_PREFIX)
                && alias != ifalias(&scope.network)
                && !recorded.keys().any(|name| ifalias(name) == alias)
        };
        let is_unknown = links.values().any(|l| is_others(&l.link.alias));
        let others = recorded.iter().filter(|(name, _)| **name != scope.network);
        let others: BTreeSet<&PolicyRule> = others.flat_map(|(_, rules)| rules).collect();
        let is_applied = |rule: &PolicyRule| scope.applied.as_ref().is_some_and(|a| a.rules.contains(rule));
        rules.retain(|rule| is_applied(rule) || !(is_unknown || others.contains(rule)));
        Ok(rules)
    }

    fn device(&mut self, scope: &Scope, found: &NumberedLink) -> Result<Device, HostError> {
        let backend = backend_of(found);
        // Without its agent the embedded data plane tells nothing, and the link is still ours to replace.
        let report = match (self.ahead.report.take(), self.wireguard(backend)) {
            (Some((teller, told)), _) if teller == backend => told?,
            (_, Ok(wireguard)) => wireguard.report(&scope.network)?,
            (_, Err(_)) => None,
        };
        let answered = report.is_some();
        let report = report.unwrap_or_default();
        let applied = scope.applied.as_ref().and_then(|a| a.device.as_ref());
        let is_ours = |a: &&IpNet| {
            // A TUN gives itself a link-local address when it comes up.
            !matches!(a, IpNet::V6(net) if net.addr().is_unicast_link_local())
                || applied.is_some_and(|d| d.addresses.contains(*a))
        };
        let device = Device {
            backend,
            listen_port: (report.listen_port != 0).then_some(report.listen_port),
            fwmark: report.fwmark,
            mtu: u16::try_from(found.link.mtu).unwrap_or(u16::MAX),
            up: found.link.up,
            addresses: found.link.addresses.iter().filter(is_ours).copied().collect(),
            detached: BTreeSet::new(),
            peers: wireguard::configured(&report, applied.map(|d| &d.peers)),
            private_key: report.private_key.clone(),
        };
        self.reported = answered.then_some(report);
        Ok(device)
    }

    /// Reads the interface with its peers, its routes, and the policy rules.
    fn observe_links(&mut self, scope: &Scope, state: &mut HostState) -> Result<(), HostError> {
        let links = self.links()?;
        let routes = match self.routes.take() {
            Some(routes) => routes,
            None => self.routes(&links)?.own,
        };
        let ours = links.get(scope.network.as_str()).filter(|l| l.link.alias == ifalias(&scope.network));
        if let Some(found) = ours {
            let mut device = self.device(scope, found)?;
            let is_attached = |a: &IpNet| routes.attached.contains(&(found.index, a.trunc()));
            // A link that is down has no routes yet, and a single address none of its own.
            device.detached = match device.up {
                true => {
                    device.addresses.iter().filter(|a| a.prefix_len() < a.max_prefix_len()).copied().collect()
                }
                false => BTreeSet::new(),
            };
            device.detached.retain(|a| !is_attached(a));
            state.device = Some(device);
            state.routes =
                routes.ours.into_iter().filter(|(i, _)| *i == found.index).map(|(_, r)| r).collect();
        }
        state.rules = self.rules(scope, &links)?;
        state.links = bridge::read(&mut self.netlink, &scope.links)
            .map_err(|e| HostError::new("list", "bridges and their ports", e))?;
        Ok(())
    }

    fn delete_device(&mut self, network: &InterfaceName, backend: Backend) -> Result<(), HostError> {
        match link::read_one(&mut self.netlink, network.as_str()) {
            Ok(Some(found)) if found.link.alias == ifalias(network) => {}
            // Gone already, or somebody else's now.
            Ok(_) => return Ok(()),
            Err(error) => return Err(HostError::new("find interface", network.as_str(), error)),
        }
        match self.wireguard(backend) {
            Ok(wireguard) => wireguard.delete(network),
            // Taking the link away is what ends a data plane that nobody can ask.
            Err(_) => self.kernel.delete(network),
        }
    }

    fn apply_by_netlink(
        &mut self,
        network: &InterfaceName,
        backend: Backend,
        changes: &[Change],
    ) -> Result<(), HostError> {
        let needs_link = |c: &Change| !matches!(c, Change::AddRule { .. } | Change::RemoveRule { .. });
        let mut index = 0;
        if changes.iter().any(needs_link) {
            index = match self.our_index(network) {
                Err(_) if changes.iter().all(|c| is_removal(c) || !needs_link(c)) => 0,
                other => other?,
            };
        }
        // What was to be taken off a link is gone with it.
        let kept: Vec<&Change> = changes.iter().filter(|c| index != 0 || !needs_link(c)).collect();
        let requests = kept.iter().filter_map(|c| request(index, c)).collect();
        let answers = self
            .netlink
            .batch(requests)
            .map_err(|e: NetlinkError| HostError::new("change", network.as_str(), e))?;
        for (change, answer) in kept.iter().zip(answers) {
            if let Err(refusal) = answer {
                // The kernel binds the port when the link comes up, not when it is set.
                if matches!(change, Change::LinkUp) && refusal.errno == libc::EADDRINUSE {
                    let report = self.wireguard(backend)?.report(network)?;
                    return Err(wireguard::port_taken(report.map_or(0, |r| r.listen_port)));
                }
                tolerate(network, change, &refusal)?;
            }
        }
        Ok(())
    }
}

fn backend_of(found: &NumberedLink) -> Backend {
    if found.link.kind == "wireguard" { Backend::Kernel } else { Backend::Embedded }
}

/// What carries a change out; neighbours of one kind go together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Netlink,
    Bridges,
    WireGuard,
    NftSets,
    Iptables,
    Firewalld,
    Alone,
}

const fn by(change: &Change) -> By {
    match change {
        Change::Mtu { .. }
        | Change::AddAddress { .. }
        | Change::RemoveAddress { .. }
        | Change::LinkUp
        | Change::Attach { .. }
        | Change::AddRoute { .. }
        | Change::RemoveRoute { .. }
        | Change::AddRule { .. }
        | Change::RemoveRule { .. } => By::Netlink,
        Change::Link { .. } => By::Bridges,
        Change::Configure { .. } | Change::Peer { .. } => By::WireGuard,
        Change::Elements { .. } => By::NftSets,
        Change::AddForeign { .. } | Change::RemoveForeign { .. } => By::Iptables,
        Change::Firewalld { .. } => By::Firewalld,
        Change::LoadTable { .. }
        | Change::DeleteTable { .. }
        | Change::Sysctl { .. }
        | Change::CreateDevice { .. }
        | Change::NameServers { .. }
        | Change::Carry { .. }
        | Change::DeleteDevice { .. } => By::Alone,
    }
}

fn request(index: u32, change: &Change) -> Option<Request<RouteNetlinkMessage>> {
    Some(match change {
        Change::Mtu { to, .. } => link::set_mtu(index, *to),
        Change::AddAddress { address } => link::add_address(index, address),
        Change::RemoveAddress { address } => link::remove_address(index, address),
        Change::LinkUp => link::set_up(index),
        Change::Attach { address } => route::attach(index, address),
        Change::AddRoute { route } => route::add(index, route),
        Change::RemoveRoute { route } => route::remove(index, route),
        Change::AddRule { rule } => route::add_rule(rule),
        Change::RemoveRule { rule } => route::remove_rule(rule),
        _ => return None,
    })
}

fn foreign_of(changes: &[Change]) -> Vec<&ForeignRule> {
    let rule = |change| match change {
        &(Change::AddForeign { ref rule } | Change::RemoveForeign { ref rule }) => Some(rule),
        _ => None,
    };
    changes.iter().filter_map(rule).collect()
}

fn links_of(changes: &[Change]) -> Vec<&LinkChange> {
    let mut links = Vec::new();
    for change in changes {
        if let Change::Link { change } = change {
            links.push(change.as_ref());
        }
    }
    links
}

const fn is_removal(change: &Change) -> bool {
    matches!(
        change,
        Change::RemoveAddress { .. }
            | Change::RemoveRoute { .. }
            | Change::RemoveRule { .. }
            | Change::RemoveForeign { .. }
    )
}

/// Forgives what comes to the same: removed already, or there already on our own link.
fn tolerate(network: &InterfaceName, change: &Change, refusal: &Refusal) -> Result<(), HostError> {
    let gone = [libc::ESRCH, libc::ENOENT, libc::ENODEV, libc::EADDRNOTAVAIL, libc::ENXIO];
    if is_removal(change) && gone.contains(&refusal.errno) {
        return Ok(());
    }
    if matches!(change, Change::AddAddress { .. } | Change::Attach { .. }) && refusal.errno == libc::EEXIST {
        return Ok(());
    }
    let (operation, target, hint) = match change {
        Change::Mtu { to, .. } => ("set MTU", format!("{to} on {network}"), String::new()),
        Change::AddAddress { address } => {
            let hint = match refusal.errno {
                // The kernel's words for an IPv6 address where IPv6 is switched off.
                libc::EACCES | libc::EOPNOTSUPP if matches!(address, IpNet::V6(_)) => {
                    "IPv6 is off on this host: switch it on (net.ipv6.conf.all.disable_ipv6 = 0), or take subnet6 out"
                }
                _ => "",
            };
            ("add address", address.to_string(), hint.to_string())
        }
        Change::RemoveAddress { address } => ("remove address", address.to_string(), String::new()),
        Change::Attach { address } => ("add route", address.trunc().to_string(), String::new()),
        Change::LinkUp => ("bring up", network.to_string(), String::new()),
        Change::AddRoute { route } => {
            let hint = if refusal.errno == libc::EEXIST {
                format!("see who has it: `ip route show table {} exact {}`", route.table, route.dst)
            } else {
                String::new()
            };
            ("add route", route.dst.to_string(), hint)
        }
        Change::RemoveRoute { route } => ("remove route", route.dst.to_string(), String::new()),
        Change::AddRule { rule } | Change::RemoveRule { rule } => {
            let hint = if refusal.errno == libc::EEXIST {
                "another network on this host sends everything into its tunnel; only one can".to_string()
            } else {
                String::new()
            };
            let operation = if is_removal(change) { "remove policy rule" } else { "add policy rule" };
            (operation, format!("priority {}", rule.priority), hint)
        }
        _ => ("change", network.to_string(), String::new()),
    };
    let hint = if refusal.errno == libc::EPERM { "run as root".into() } else { hint };
    Err(HostError::new(operation, target, refusal).hint(hint))
}

impl Host for LinuxHost {
    fn facts(&mut self, names: &BTreeSet<String>, sysctls: &BTreeSet<String>) -> Result<Facts, HostError> {
        let facts = match self.ahead.facts.take() {
            Some(facts) => facts,
            None => self.gather(None)?,
        };
        // Whether a link forwarded before this network came. What is a bridge's port gets nothing to forward.
        let links = facts.links.iter().filter(|(_, link)| link.master.is_none());
        let forwarding = links.map(|(name, _)| forwarding_v4(name));
        let sysctls =
            facts::sysctls(sysctls.iter().cloned().chain(forwarding).chain(facts::deciding(&facts)))?;
        Ok(Facts { sysctls, resolved: names::resolve(names), ..facts })
    }

    fn observe(&mut self, scope: &Scope) -> Result<HostState, HostError> {
        let mut state = HostState::default();
        let table = table_name(&scope.network);
        let applied = scope.applied.as_ref().and_then(|a| a.firewall.as_ref());
        let listed = self.ahead.listing.take().filter(|(name, _)| *name == table).map(|(_, listing)| listing);
        // nft takes its time about a table of many prefixes; meanwhile the rest is read.
        let list = || {
            let listing = match listed {
                Some(listing) => listing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
                None => nft::list(&table)?,
            };
            Ok::<_, HostError>(listing.map(|listing| nft::table_of(&listing, &table, applied)))
        };
        let is_read = self.foreign.is_some();
        let read = || (!is_read).then(Reading::take);
        let (firewall, (reading, links)) =
            join(list, || join(read, || self.observe_links(scope, &mut state)));
        links?;
        state.firewall = firewall?;
        if let Some(reading) = reading {
            self.foreign = Some(reading?);
        }
        for path in &scope.sysctls {
            if let Some(value) = sysctl::read(path)? {
                state.sysctls.insert(path.clone(), value);
            }
        }
        let foreign = self.foreign()?;
        state.foreign_rules = foreign.rules(&scope.network);
        state.firewalld = foreign.policies(&scope.network);
        state.name_servers = name_servers::read(&scope.network, &scope.resolvers());
        let carried = scope.applied.as_ref().and_then(|applied| applied.carried.as_ref());
        state.carried = fence::observe(&mut self.netlink, &scope.network, carried)?;
        Ok(state)
    }

    fn silent_resolvers(&mut self) -> Vec<std::net::IpAddr> {
        resolver::silent()
    }

    fn name_servers_left_behind(&mut self) -> Option<NameServers> {
        name_servers::left_behind()
    }

    fn take_next_address(&mut self, names: &BTreeSet<String>) -> bool {
        names::take_next(names)
    }

    fn report(&mut self, scope: &Scope) -> Result<Option<DeviceReport>, HostError> {
        let found = link::read_one(&mut self.netlink, scope.network.as_str())
            .map_err(|e| HostError::new("find interface", scope.network.as_str(), e))?;
        let Some(found) = found.filter(|l| l.link.alias == ifalias(&scope.network)) else { return Ok(None) };
        if let Some(report) = self.reported.take() {
            return Ok(Some(report));
        }
        self.wireguard(backend_of(&found))?.report(&scope.network)
    }

    fn apply(
        &mut self,
        network: &InterfaceName,
        backend: Backend,
        changes: &[Change],
    ) -> Result<(), HostError> {
        (self.foreign, self.routes, self.ahead, self.reported) = (None, None, Ahead::default(), None);
        for group in changes.chunk_by(|a, b| {
            by(a) == by(b) && by(a) != By::Alone && (by(a) != By::Iptables || is_removal(a) == is_removal(b))
        }) {
            match (by(&group[0]), &group[0]) {
                (By::Netlink, _) => self.apply_by_netlink(network, backend, group)?,
                (By::Bridges, _) => bridge::apply(&mut self.netlink, network, &links_of(group))?,
                (By::WireGuard, _) => {
                    let change = wireguard::device_change(group);
                    self.wireguard(backend)?.configure(network, &change)?;
                }
                (By::NftSets, _) => nft::change_elements(group)?,
                (By::Iptables, Change::RemoveForeign { .. }) => {
                    iptables::remove(network, &foreign_of(group))?;
                }
                (By::Iptables, _) => iptables::insert(network, &foreign_of(group))?,
                (By::Firewalld, _) => firewalld::apply(network, group)?,
                (By::Alone, Change::LoadTable { to, .. }) => nft::load(to)?,
                (By::Alone, Change::DeleteTable { from }) => nft::delete(&from.name)?,
                (By::Alone, Change::Sysctl { path, to, .. }) => sysctl::write(path, to)?,
                (By::Alone, Change::CreateDevice { backend, mtu }) => {
                    self.wireguard(*backend)?.create(network, *mtu)?;
                    // From here on it is ours, whichever data plane made it.
                    let answers =
                        self.netlink.batch(vec![link::set_alias(network.as_str(), &ifalias(network))]);
                    let failed = |cause: String| HostError::new("mark interface", network.as_str(), cause);
                    for answer in answers.map_err(|e| failed(e.to_string()))? {
                        answer.map_err(|refusal| failed(refusal.to_string()))?;
                    }
                    if *backend == Backend::Embedded {
                        // A host without IPv6 refuses it, and needs it not.
                        let _ = self.netlink.batch(vec![link::set_quiet(network.as_str())]);
                    }
                }
                (By::Alone, Change::NameServers { from, to }) => {
                    name_servers::apply(network, from.as_deref(), to.as_deref())?;
                }
                (By::Alone, Change::Carry { from, to }) => {
                    fence::apply(&mut self.netlink, network, from.as_deref(), to.as_deref())?;
                }
                (By::Alone, Change::DeleteDevice { from }) => self.delete_device(network, from.backend)?,
                (By::Alone, _) => {}
            }
        }
        Ok(())
    }
}
