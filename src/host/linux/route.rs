//! Routes and policy rules, over rtnetlink. A route goes with its link by itself; a rule does not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::link::family_of;
use super::netlink::{Netlink, NetlinkError, Request};
use crate::plan::{ForeignRoute, MAIN_TABLE, PolicyRule, ROUTE_PROTOCOL, Route, RuleSelector};

/// The routes of the host, sorted into ours and others'.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Ours, and those that addresses have.
    pub own: OwnRoutes,
    /// Others', of the main table.
    pub foreign: Vec<ForeignRoute>,
}

/// What an observation takes from the host's routes, each with the number of the link that it leaves by.
#[derive(Debug, Default)]
pub(super) struct OwnRoutes {
    /// Those with our protocol number.
    pub ours: BTreeSet<(u32, Route)>,
    /// Where links are attached: the kernel's routes of the main table, made with an address.
    pub attached: BTreeSet<(u32, IpNet)>,
}

/// Reads every route. `names` are the links' names by number.
pub(super) fn read_all(netlink: &mut Netlink, names: &BTreeMap<u32, String>) -> Result<Routes, NetlinkError> {
    let every = RouteNetlinkMessage::GetRoute(RouteMessage::default());
    let mut routes = netlink.dump_into(&every, |routes: &mut Routes, reply| {
        let RouteNetlinkMessage::NewRoute(message) = reply else { return };
        let Some(route) = read(&message) else { return };
        if route.protocol == ROUTE_PROTOCOL {
            routes.own.ours.insert((route.link, Route { dst: route.dst, table: route.table }));
        } else if route.table == MAIN_TABLE {
            let device = names.get(&route.link).cloned().unwrap_or_default();
            let Read { dst, gateway, protocol, mtu, .. } = route;
            if gateway.is_none() {
                routes.own.attached.insert((route.link, dst));
            }
            routes.foreign.push(ForeignRoute { dst, device, gateway, protocol, mtu });
        }
    })?;
    routes.foreign.sort();
    Ok(routes)
}

/// One route, as far as everybody wants to know it.
pub(super) struct Read {
    pub dst: IpNet,
    pub table: u32,
    pub link: u32,
    pub gateway: Option<IpAddr>,
    pub protocol: u8,
    pub mtu: Option<u32>,
}

pub(super) fn read(message: &RouteMessage) -> Option<Read> {
    let unspecified: IpAddr = match message.header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    // What the kernel learned (redirects, path MTU) is no route that anybody set.
    if message.header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let (mut dst, mut table, mut link, mut gateway) = (unspecified, message.header.table.into(), 0, None);
    let mut mtu = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Metrics(list) => {
                mtu = list.iter().find_map(|m| if let RouteMetric::Mtu(mtu) = m { Some(*mtu) } else { None });
            }
            RouteAttribute::Destination(a) => dst = ip(a)?,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Oif(index) => link = *index,
            RouteAttribute::Gateway(a) => gateway = ip(a),
            // Of several ways the first speaks for the route.
            RouteAttribute::MultiPath(hops) => {
                let Some(hop) = hops.first() else { continue };
                link = hop.interface_index;
                gateway = hop.attributes.iter().find_map(|a| match a {
                    RouteAttribute::Gateway(a) => ip(a),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let dst = IpNet::new(dst, message.header.destination_prefix_length).ok()?;
    Some(Read { dst, table, link, gateway, protocol: message.header.protocol.into(), mtu })
}

pub(super) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

/// Adds a route into the link with this number.
pub(super) fn add(index: u32, route: &Route) -> Request<RouteNetlinkMessage> {
    (RouteNetlinkMessage::NewRoute(message(index, route)), NLM_F_CREATE | NLM_F_EXCL)
}

/// Removes a route.
pub(super) fn remove(index: u32, route: &Route) -> Request<RouteNetlinkMessage> {
    (RouteNetlinkMessage::DelRoute(message(index, route)), 0)
}

/// Puts back the route that the kernel makes with an address, just as it makes it, so that it goes with the address.
pub(super) fn attach(index: u32, address: &IpNet) -> Request<RouteNetlinkMessage> {
    /// `IP6_RT_PRIO_ADDRCONF` (net/ip6_route.h).
    const IPV6_METRIC: u32 = 256;
    let mut message = message(index, &Route { dst: address.trunc(), table: MAIN_TABLE });
    message.header.protocol = RouteProtocol::Kernel;
    match address.addr() {
        IpAddr::V4(own) => message.attributes.push(RouteAttribute::PrefSource(RouteAddress::Inet(own))),
        IpAddr::V6(_) => message.attributes.push(RouteAttribute::Priority(IPV6_METRIC)),
    }
    (RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
}

fn message(index: u32, route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family_of(route.dst.addr());
    message.header.destination_prefix_length = route.dst.prefix_len();
    message.header.table = u8::try_from(route.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.header.protocol = RouteProtocol::from(ROUTE_PROTOCOL);
    message.header.scope = RouteScope::Link;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Destination(route.dst.network().into()),
        RouteAttribute::Table(route.table),
        RouteAttribute::Oif(index),
    ];
    message
}

/// Reads the policy rules that carry our protocol number.
pub(super) fn read_rules(netlink: &mut Netlink) -> Result<BTreeSet<PolicyRule>, NetlinkError> {
    let mut rules = BTreeSet::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RuleMessage::default();
        request.header.family = family;
        let replies = match netlink.dump(&RouteNetlinkMessage::GetRule(request)) {
            // A kernel without IPv6, or without policy routing.
            Err(NetlinkError::Refused(r)) if matches!(r.errno, libc::EAFNOSUPPORT | libc::EOPNOTSUPP) => {
                continue;
            }
            other => other?,
        };
        rules.extend(replies.iter().filter_map(|reply| match reply {
            RouteNetlinkMessage::NewRule(message) if message.header.family == family => read_rule(message),
            _ => None,
        }));
    }
    Ok(rules)
}

fn read_rule(message: &RuleMessage) -> Option<PolicyRule> {
    let (mut priority, mut mark, mut suppressed, mut protocol) = (0, None, None, 0);
    let mut table = message.header.table.into();
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(n) => priority = *n,
            RuleAttribute::FwMark(n) => mark = Some(*n),
            RuleAttribute::SuppressPrefixLen(n) if *n != u32::MAX => suppressed = Some(*n),
            RuleAttribute::Table(n) => table = *n,
            RuleAttribute::Protocol(p) => protocol = u8::from(*p),
            _ => {}
        }
    }
    if protocol != ROUTE_PROTOCOL {
        return None;
    }
    let inverted = message.header.flags.contains(RuleFlags::Invert);
    let selector = match (mark, suppressed) {
        (Some(mark), None) if inverted => RuleSelector::NotMarked { mark, table },
        (None, Some(0)) if table == MAIN_TABLE => RuleSelector::MainWithoutDefault,
        _ => return None,
    };
    let ipv6 = message.header.family == AddressFamily::Inet6;
    Some(PolicyRule { ipv6, priority, selector })
}

/// Adds a policy rule.
pub(super) fn add_rule(rule: &PolicyRule) -> Request<RouteNetlinkMessage> {
    (RouteNetlinkMessage::NewRule(rule_message(rule)), NLM_F_CREATE | NLM_F_EXCL)
}

/// Removes a policy rule.
pub(super) fn remove_rule(rule: &PolicyRule) -> Request<RouteNetlinkMessage> {
    (RouteNetlinkMessage::DelRule(rule_message(rule)), 0)
}

fn rule_message(rule: &PolicyRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = if rule.ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Protocol(RouteProtocol::from(ROUTE_PROTOCOL)),
    ];
    match rule.selector {
        RuleSelector::NotMarked { mark, table } => {
            message.header.flags = RuleFlags::Invert;
            message.attributes.push(RuleAttribute::FwMark(mark));
            message.attributes.push(RuleAttribute::Table(table));
        }
        RuleSelector::MainWithoutDefault => {
            message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
            message.attributes.push(RuleAttribute::Table(MAIN_TABLE));
        }
    }
    message
}
