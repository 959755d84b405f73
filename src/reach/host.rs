//! One node's host: its state and facts, indexed for the questions that a packet asks.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::assume::UPLINK;
use super::longest::LongestPrefix;
use crate::firewall::Hook;
use crate::firewall::foreign::routing_rule::{Asked, Asking, DecidedBy, Leads, RoutingRule, decide};
use crate::model::{Node, Problem, PublicKey};
use crate::plan::{
    Facts, HostState, MAIN_TABLE, Peer, PolicyRule, RuleSelector, SiteLink, is_strict, resolve_site,
};

/// A link of a host: the tunnel or another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dev {
    /// Our interface.
    Tunnel,
    /// Any other, by name.
    Link(String),
}

/// Where a packet goes next.
#[derive(Debug, Clone)]
pub(super) struct Way {
    /// The link.
    pub dev: Dev,
    /// The router on that link; `None`: the destination itself is there.
    pub gateway: Option<IpAddr>,
    /// The prefix of the route.
    pub prefix: IpNet,
}

/// A host in a world.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub state: HostState,
    pub facts: Facts,
    /// Why the state must not be applied; empty: it is.
    pub refused: Vec<Problem>,
    /// The link of each of the node's sites, in order.
    pub site_links: Vec<SiteLink>,
    /// The tunnel's name, which rules compare with.
    pub tunnel: String,
    own: HashMap<IpAddr, Dev>,
    allowed: LongestPrefix<PublicKey>,
    tables: BTreeMap<u32, LongestPrefix<Leads>>,
    /// Ours, in the order of their priority.
    rules: Vec<PolicyRule>,
}

/// A packet whose route is looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sought<'a> {
    pub dst: IpAddr,
    /// `None`: the host has not chosen one yet.
    pub src: Option<IpAddr>,
    /// The link it came by; `None`: it starts on the host.
    pub came_by: Option<&'a Dev>,
}

/// Where others' rules leave a packet.
#[derive(Debug)]
pub(super) struct Chosen {
    pub way: Option<Way>,
    /// The rule of others that led there; `None`: none did.
    pub rule: Option<RoutingRule>,
    pub doubts: Vec<String>,
}

impl Host {
    pub(super) fn new(
        tunnel: &str,
        node: &Node,
        state: HostState,
        facts: Facts,
        refused: Vec<Problem>,
    ) -> Self {
        let mut host = Self {
            site_links: node.sites.iter().map(|s| resolve_site(s, &facts)).collect(),
            tunnel: tunnel.into(),
            own: HashMap::new(),
            allowed: LongestPrefix::default(),
            tables: BTreeMap::new(),
            rules: Vec::new(),
            state,
            facts,
            refused,
        };
        host.index();
        host
    }

    fn index(&mut self) {
        let main = self.tables.entry(MAIN_TABLE).or_default();
        for route in self.facts.routes.iter().filter(|r| !r.device.is_empty() && r.device != self.tunnel) {
            main.insert_new(route.dst, Leads::By { device: route.device.clone(), gateway: route.gateway });
        }
        for (table, routes) in &self.facts.tables {
            for route in routes {
                self.tables.entry(*table).or_default().insert_new(route.dst, route.leads.clone());
            }
        }
        for (name, link) in self.facts.links.iter().filter(|(name, _)| **name != self.tunnel) {
            for address in &link.addresses {
                self.own.insert(address.addr(), Dev::Link(name.clone()));
            }
        }
        let Some(device) = self.state.device.as_ref().filter(|d| d.up) else { return };
        let into_tunnel = || Leads::By { device: self.tunnel.clone(), gateway: None };
        let main = self.tables.entry(MAIN_TABLE).or_default();
        for address in &device.addresses {
            main.insert(*address, into_tunnel());
            self.own.insert(address.addr(), Dev::Tunnel);
        }
        for route in &self.state.routes {
            self.tables.entry(route.table).or_default().insert(route.dst, into_tunnel());
        }
        self.rules = self.state.rules.iter().cloned().collect();
        self.rules.sort_by_key(|r| r.priority);
        for (key, peer) in &device.peers {
            for net in &peer.allowed_ips {
                self.allowed.insert(*net, *key);
            }
        }
    }

    /// Says whether the tunnel's interface is there and up.
    pub(super) fn is_up(&self) -> bool {
        self.state.device.as_ref().is_some_and(|d| d.up)
    }
    /// Returns the link that has this address of the host itself.
    pub(super) fn owns(&self, address: IpAddr) -> Option<&Dev> {
        self.own.get(&address)
    }
    /// Returns the peer that cryptokey routing gives an address to, and the prefix that does.
    pub(super) fn allowed(&self, address: IpAddr) -> Option<(IpNet, PublicKey)> {
        self.allowed.lookup(address).map(|(net, key)| (net, *key))
    }
    /// Returns a peer's configuration.
    pub(super) fn peer(&self, key: &PublicKey) -> Option<&Peer> {
        self.state.device.as_ref()?.peers.get(key)
    }
    /// Returns the tunnel's MTU in bytes.
    pub(super) fn tunnel_mtu(&self) -> u32 {
        self.state.device.as_ref().map_or(0, |d| d.mtu.into())
    }
    /// Returns the name of a link as rules write it.
    pub(super) fn name_of<'a>(&'a self, dev: &'a Dev) -> &'a str {
        match dev {
            Dev::Tunnel => &self.tunnel,
            Dev::Link(name) => name,
        }
    }

    /// Looks an address up as the network means it: our policy rules in the order of their priority, then the main table.
    pub(super) fn route(&self, dst: IpAddr, src: Option<IpAddr>, mark: u32) -> Option<Way> {
        let mut rules = self.rules.iter().filter(|r| r.ipv6 == dst.is_ipv6());
        let ruled = rules.find_map(|rule| self.by_our_rule(rule, (dst, src), mark));
        ruled.unwrap_or_else(|| self.lookup(MAIN_TABLE, dst, 0).flatten())
    }

    /// What a rule of ours does with it: `None`, the next one is asked; `Some(None)`, it refuses.
    fn by_our_rule(
        &self,
        rule: &PolicyRule,
        (dst, src): (IpAddr, Option<IpAddr>),
        mark: u32,
    ) -> Option<Option<Way>> {
        rule.leads(dst, src, mark, |table, least| self.lookup(table, dst, least))
    }

    /// Looks a packet up as the kernel does, others' rules among ours.
    pub(super) fn choose(&self, sought: Sought<'_>, mark: u32) -> Chosen {
        let dst = sought.dst;
        if self.facts.rules.is_empty() {
            return Chosen { way: self.route(dst, sought.src, mark), rule: None, doubts: Vec::new() };
        }
        let iif = sought.came_by.map_or("lo", |dev| self.name_of(dev));
        let others = self.facts.rules.iter().map(|r| (r.priority, Asked::Others(r)));
        let mut rules: Vec<_> =
            others.chain(self.rules.iter().map(|r| (r.priority, Asked::Ours(r)))).collect();
        rules.sort_by_key(|(priority, _)| *priority);
        let decision = decide(
            &rules,
            &Asking { dst, src: sought.src, iif, mark },
            |table, least| self.lookup(table, dst, least),
            |rule| self.by_our_rule(rule, (dst, sought.src), mark),
            || self.lookup(MAIN_TABLE, dst, 0).flatten(),
        );
        let rule = match decision.by {
            DecidedBy::Rule(rule) => Some(rule),
            DecidedBy::Usual => None,
        };
        Chosen { way: decision.way, rule, doubts: decision.doubts }
    }

    /// Says which rule of others' sends the answers to whoever calls this host at its endpoint by another link, or nowhere.
    pub(super) fn diverts_answers(&self, endpoint: Option<IpAddr>, peer: IpAddr) -> Option<RoutingRule> {
        let called = endpoint.and_then(|ip| Some((ip, self.owns(ip)?.clone())));
        let (src, link) = called.or_else(|| {
            let uplink = self.uplink(peer.is_ipv6())?;
            Some((self.address_on(&uplink, peer.is_ipv6())?, uplink))
        })?;
        if src.is_ipv6() != peer.is_ipv6() {
            return None;
        }
        let mark = self.state.device.as_ref().map_or(0, |d| d.fwmark);
        let chosen = self.choose(Sought { dst: peer, src: Some(src), came_by: None }, mark);
        chosen.rule.filter(|_| chosen.way.is_none_or(|way| way.dev != link))
    }

    /// Says whether a link is a way out of the host, by whatever table.
    pub(super) fn leads_out(&self, dev: &Dev, ipv6: bool) -> bool {
        let Dev::Link(name) = dev else { return false };
        let is_out = |dst: &IpNet| dst.prefix_len() == 0 && dst.addr().is_ipv6() == ipv6;
        self.facts.routes.iter().any(|r| is_out(&r.dst) && r.device == *name)
            || self
                .facts
                .tables
                .values()
                .flatten()
                .any(|r| is_out(&r.dst) && matches!(&r.leads, Leads::By { device, .. } if device == name))
    }

    /// `Some(None)`: a route refuses.
    fn lookup(&self, table: u32, dst: IpAddr, least: u8) -> Option<Option<Way>> {
        let (prefix, leads) = self.tables.get(&table)?.lookup(dst)?;
        match leads {
            Leads::Throw => None,
            Leads::Refuse => Some(None),
            Leads::By { .. } if prefix.prefix_len() < least => None,
            Leads::By { device, gateway } => {
                let dev = if *device == self.tunnel { Dev::Tunnel } else { Dev::Link(device.clone()) };
                Some(Some(Way { dev, gateway: *gateway, prefix }))
            }
        }
    }

    /// Returns the address that a packet takes which leaves by a link: the one that the route was made with, else the one on
    /// the next hop's subnet, else the link's first, else, of IPv6, one of another link (RFC 6724, section 4).
    pub(super) fn source(&self, way: &Way, dst: IpAddr) -> Option<IpAddr> {
        let next = way.gateway.unwrap_or(dst);
        let family = |a: &&IpNet| a.addr().is_ipv6() == dst.is_ipv6();
        let pick = |addresses: &mut dyn Iterator<Item = &IpNet>| {
            let list: Vec<_> = addresses.filter(family).collect();
            let connected = list.iter().find(|a| way.gateway.is_none() && a.trunc() == way.prefix);
            connected.or_else(|| list.iter().find(|a| a.contains(&next))).or(list.first()).map(|a| a.addr())
        };
        let own = match &way.dev {
            Dev::Tunnel => pick(&mut self.state.device.as_ref()?.addresses.iter()),
            Dev::Link(name) => pick(&mut self.facts.links.get(name)?.addresses.iter()),
        };
        own.or_else(|| self.borrowed(dst))
    }

    /// Returns the IPv6 address that stands in where the link has none: of all links' the one most like the destination.
    fn borrowed(&self, dst: IpAddr) -> Option<IpAddr> {
        let IpAddr::V6(dst) = dst else { return None };
        let alike = |a: &Ipv6Addr| (u128::from(*a) ^ u128::from(dst)).leading_zeros();
        self.own_v6().max_by_key(|ip| (alike(ip), std::cmp::Reverse(*ip))).map(IpAddr::V6)
    }

    /// Returns an IPv6 address of the host's own, whatever link has it.
    pub(super) fn any_v6(&self) -> Option<IpAddr> {
        self.own_v6().min().map(IpAddr::V6)
    }

    /// What an assumed uplink has is a guess, and no address to speak of.
    fn own_v6(&self) -> impl Iterator<Item = Ipv6Addr> {
        let known = self.own.iter().filter(|(_, dev)| **dev != Dev::Link(UPLINK.into()));
        let v6 = known.filter_map(|(ip, _)| if let IpAddr::V6(ip) = ip { Some(*ip) } else { None });
        v6.filter(|ip| !ip.is_loopback() && !ip.is_unicast_link_local())
    }

    /// Says whether a packet that comes in by a link may leave by another: IPv4 asks the link it came by, IPv6 one switch
    /// for all (`ip-sysctl`, `forwarding`).
    pub(super) fn forwards(&self, came_by: &Dev, ipv6: bool) -> bool {
        let path = self.forwarding_switch(came_by, ipv6);
        let value = self.state.sysctls.get(&path).map(String::as_str).or_else(|| self.facts.sysctl(&path));
        // Facts that were gathered without that link's switch still have the one that sets the default.
        let value = value.or_else(|| self.facts.sysctl("net/ipv4/ip_forward").filter(|_| !ipv6));
        value.is_some_and(|v| v.trim() != "0")
    }

    /// Returns the switch that [`Host::forwards`] asks, by its path below `/proc/sys`.
    pub(super) fn forwarding_switch(&self, came_by: &Dev, ipv6: bool) -> String {
        if ipv6 {
            return "net/ipv6/conf/all/forwarding".into();
        }
        format!("net/ipv4/conf/{}/forwarding", self.name_of(came_by))
    }

    /// Returns the link of the default route.
    pub(super) fn uplink(&self, ipv6: bool) -> Option<Dev> {
        let is_default = |r: &&crate::plan::ForeignRoute| {
            r.dst.prefix_len() == 0 && r.dst.addr().is_ipv6() == ipv6 && !r.device.is_empty()
        };
        self.facts.routes.iter().find(is_default).map(|r| Dev::Link(r.device.clone()))
    }
    /// Returns the first address of a link in a family.
    pub(super) fn address_on(&self, dev: &Dev, ipv6: bool) -> Option<IpAddr> {
        let Dev::Link(name) = dev else { return None };
        let addresses = &self.facts.links.get(name)?.addresses;
        addresses.iter().map(IpNet::addr).find(|a| a.is_ipv6() == ipv6)
    }
    /// Says whether the tunnel's own packets to this endpoint would be sent into the tunnel.
    pub(super) fn swallows(&self, endpoint: IpAddr) -> bool {
        let mark = self.state.device.as_ref().map_or(0, |d| d.fwmark);
        self.route(endpoint, None, mark).is_some_and(|way| way.dev == Dev::Tunnel)
    }

    /// Says whether a strict reverse-path filter drops all that the endpoints send: a full tunnel without the rules that
    /// mark answers (`firewall::Hook::Incoming`).
    pub(super) fn drops_answers(&self) -> bool {
        let is_full =
            self.rules.iter().any(|r| !r.ipv6 && matches!(r.selector, RuleSelector::NotMarked { .. }));
        let chains = self.state.firewall.iter().flat_map(|t| &t.chains);
        is_full && is_strict(&self.facts) && !chains.into_iter().any(|c| c.hook == Hook::Incoming)
    }
}
