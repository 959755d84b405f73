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
use crate::firewall::foreign::routing_rule::{Leads, MAIN_PRIORITY, RoutingRule, RuleDoes, TableRoute};
use crate::plan::{ForeignRoute, MAIN_TABLE, PolicyRule, ROUTE_PROTOCOL, Route, RuleSelector};

/// `RT_TABLE_LOCAL` and `RT_TABLE_DEFAULT` (linux/rtnetlink.h).
const LOCAL_TABLE: u32 = 255;
const DEFAULT_TABLE: u32 = 253;

/// The routes of the host, sorted into ours and others'.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Ours, and those that addresses have.
    pub own: OwnRoutes,
    /// Others', of the main table: of several to one prefix the one that is taken comes first.
    pub foreign: Vec<ForeignRoute>,
    /// The same with their metrics, while they are read.
    ranked: Vec<(u32, ForeignRoute)>,
    /// Others', of tables besides.
    pub tables: BTreeMap<u32, Vec<TableRoute>>,
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
            let Read { dst, gateway, protocol, mtu, metric, .. } = route;
            if gateway.is_none() {
                routes.own.attached.insert((route.link, dst));
            }
            routes.ranked.push((metric, ForeignRoute { dst, device, gateway, protocol, mtu }));
        } else if route.table != LOCAL_TABLE {
            let leads = match message.header.kind {
                RouteType::Throw => Leads::Throw,
                _ if route.link == 0 => Leads::Refuse,
                _ => Leads::By {
                    device: names.get(&route.link).cloned().unwrap_or_default(),
                    gateway: route.gateway,
                },
            };
            routes.tables.entry(route.table).or_default().push(TableRoute { dst: route.dst, leads });
        }
    })?;
    let mut ranked = std::mem::take(&mut routes.ranked);
    ranked.sort_by(|(a, x), (b, y)| (x.dst, a, x).cmp(&(y.dst, b, y)));
    routes.foreign = ranked.into_iter().map(|(_, route)| route).collect();
    routes.tables.values_mut().for_each(|table| table.sort());
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
    pub metric: u32,
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
    let (mut mtu, mut metric) = (None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Metrics(list) => {
                mtu = list.iter().find_map(|m| if let RouteMetric::Mtu(mtu) = m { Some(*mtu) } else { None });
            }
            RouteAttribute::Priority(number) => metric = *number,
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
    Some(Read { dst, table, link, gateway, protocol: message.header.protocol.into(), mtu, metric })
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
    Ok(every_rule(netlink)?.iter().filter_map(read_rule).collect())
}

/// Reads the policy rules of others, by priority: without the three that every host has. Of one priority they stay in the
/// kernel's order, which is the one that it asks them in.
pub(super) fn read_foreign_rules(netlink: &mut Netlink) -> Result<Vec<RoutingRule>, NetlinkError> {
    let mut rules: Vec<RoutingRule> = every_rule(netlink)?.iter().filter_map(read_foreign_rule).collect();
    rules.sort_by_key(|rule| rule.priority);
    Ok(rules)
}

fn every_rule(netlink: &mut Netlink) -> Result<Vec<RuleMessage>, NetlinkError> {
    let mut rules = Vec::new();
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
        rules.extend(replies.into_iter().filter_map(|reply| match reply {
            RouteNetlinkMessage::NewRule(message) if message.header.family == family => Some(message),
            _ => None,
        }));
    }
    Ok(rules)
}

fn read_foreign_rule(message: &RuleMessage) -> Option<RoutingRule> {
    let header = &message.header;
    let mut rule = RoutingRule {
        priority: 0,
        ipv6: header.family == AddressFamily::Inet6,
        inverted: header.flags.contains(RuleFlags::Invert),
        from: None,
        to: None,
        iif: None,
        oif: None,
        mark: None,
        more: header.tos != 0,
        suppress: None,
        does: RuleDoes::Nop,
    };
    let (mut mark, mut mask, mut goes_to) = (None, None, 0);
    let mut table: u32 = header.table.into();
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(n) => rule.priority = *n,
            RuleAttribute::Source(ip) => rule.from = IpNet::new(*ip, header.src_len).ok(),
            RuleAttribute::Destination(ip) => rule.to = IpNet::new(*ip, header.dst_len).ok(),
            RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
            RuleAttribute::Oifname(name) => rule.oif = Some(name.clone()),
            RuleAttribute::FwMark(n) => mark = Some(*n),
            RuleAttribute::FwMask(n) => mask = Some(*n),
            RuleAttribute::SuppressPrefixLen(n) => rule.suppress = u8::try_from(*n).ok(),
            RuleAttribute::Table(n) => table = *n,
            RuleAttribute::Goto(n) => goes_to = *n,
            RuleAttribute::Protocol(p) if u8::from(*p) == ROUTE_PROTOCOL => return None,
            RuleAttribute::IpProtocol(_)
            | RuleAttribute::SourcePortRange(_)
            | RuleAttribute::DestinationPortRange(_)
            | RuleAttribute::UidRange(_)
            | RuleAttribute::TunId(_)
            | RuleAttribute::L3MDev(true)
            // What a newer kernel asks for.
            | RuleAttribute::Other(_) => rule.more = true,
            RuleAttribute::SuppressIfGroup(group) => rule.more |= *group != u32::MAX,
            _ => {}
        }
    }
    rule.mark = mark.or(mask.map(|_| 0)).map(|mark| (mark, mask.unwrap_or(u32::MAX)));
    rule.does = match header.action {
        RuleAction::ToTable => RuleDoes::Lookup(table),
        RuleAction::Goto => RuleDoes::Goto(goes_to),
        RuleAction::Blackhole | RuleAction::Unreachable | RuleAction::Prohibit => RuleDoes::Refuse,
        _ => RuleDoes::Nop,
    };
    let is_bare = rule.from.is_none()
        && rule.to.is_none()
        && rule.iif.is_none()
        && rule.mark.is_none()
        && !rule.more
        && rule.suppress.is_none();
    let usual = [(0, LOCAL_TABLE), (MAIN_PRIORITY, MAIN_TABLE), (MAIN_PRIORITY + 1, DEFAULT_TABLE)];
    let is_usual = |(priority, table)| rule.priority == priority && rule.does == RuleDoes::Lookup(table);
    (!(is_bare && usual.into_iter().any(is_usual))).then_some(rule)
}

fn read_rule(message: &RuleMessage) -> Option<PolicyRule> {
    let (mut priority, mut mark, mut suppressed, mut protocol) = (0, None, None, 0);
    let (mut to, mut from) = (None, None);
    let mut table = message.header.table.into();
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(n) => priority = *n,
            RuleAttribute::FwMark(n) => mark = Some(*n),
            RuleAttribute::SuppressPrefixLen(n) if *n != u32::MAX => suppressed = Some(*n),
            RuleAttribute::Destination(ip) => to = IpNet::new(*ip, message.header.dst_len).ok(),
            RuleAttribute::Source(ip) => from = IpNet::new(*ip, message.header.src_len).ok(),
            RuleAttribute::Table(n) => table = *n,
            RuleAttribute::Protocol(p) => protocol = u8::from(*p),
            _ => {}
        }
    }
    if protocol != ROUTE_PROTOCOL {
        return None;
    }
    let inverted = message.header.flags.contains(RuleFlags::Invert);
    let refuses = message.header.action == RuleAction::Unreachable;
    let selector = match (mark, suppressed) {
        (None, None) if refuses => RuleSelector::FromRefused { net: from? },
        (None, None) if from.is_some() => RuleSelector::From { net: from?, table },
        (None, Some(0)) if from.is_some() && table == MAIN_TABLE => {
            RuleSelector::FromWithoutDefault { net: from? }
        }
        (None, None) if table == MAIN_TABLE => RuleSelector::Outside { net: to? },
        (Some(mark), None) if inverted && refuses => RuleSelector::Refused { mark },
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
    let mut from = |net: IpNet| {
        message.header.src_len = net.prefix_len();
        message.attributes.push(RuleAttribute::Source(net.addr()));
    };
    match rule.selector {
        RuleSelector::FromWithoutDefault { net } => {
            from(net);
            message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
            message.attributes.push(RuleAttribute::Table(MAIN_TABLE));
        }
        RuleSelector::From { net, table } => {
            from(net);
            message.attributes.push(RuleAttribute::Table(table));
        }
        RuleSelector::FromRefused { net } => {
            from(net);
            message.header.action = RuleAction::Unreachable;
        }
        RuleSelector::NotMarked { mark, table } => {
            message.header.flags = RuleFlags::Invert;
            message.attributes.push(RuleAttribute::FwMark(mark));
            message.attributes.push(RuleAttribute::Table(table));
        }
        RuleSelector::Outside { net } => {
            message.header.dst_len = net.prefix_len();
            message.attributes.push(RuleAttribute::Destination(net.addr()));
            message.attributes.push(RuleAttribute::Table(MAIN_TABLE));
        }
        RuleSelector::Refused { mark } => {
            message.header.action = RuleAction::Unreachable;
            message.header.flags = RuleFlags::Invert;
            message.attributes.push(RuleAttribute::FwMark(mark));
        }
        RuleSelector::MainWithoutDefault => {
            message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
            message.attributes.push(RuleAttribute::Table(MAIN_TABLE));
        }
    }
    message
}
