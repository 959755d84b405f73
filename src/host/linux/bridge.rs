//! Bridges and their ports, over rtnetlink: what each has, and the changes to it.
//!
//! Neighbouring changes travel in one datagram, so that an address that moves is away for microseconds, if at all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Nla as _};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo,
    LinkMessage,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};

use super::link::{self, family_of};
use super::netlink::{Netlink, NetlinkError, Refusal, Request};
use super::route;
use crate::host::HostError;
use crate::model::InterfaceName;
use crate::plan::bridge::{LinkAddress, LinkChange, LinkRoute, LinkState, Links};
use crate::plan::{ROUTE_PROTOCOL, ifalias};

/// The kernel's own table of addresses (`RT_TABLE_LOCAL`).
const LOCAL_TABLE: u32 = 255;
/// `RTPROT_KERNEL`: made with an address, and gone with it.
const KERNEL: u8 = 2;
/// `IFA_F_TEMPORARY` is `IFA_F_SECONDARY` of IPv6: made and taken away by the kernel.
const TEMPORARY: u32 = 0x01;
/// `INFINITY_LIFE_TIME`
const FOR_EVER: u32 = u32::MAX;

/// Reads links by name.
pub(super) fn read(netlink: &mut Netlink, wanted: &BTreeSet<String>) -> Result<Links, NetlinkError> {
    let mut links: Links = wanted.iter().map(|name| (name.clone(), None)).collect();
    if links.is_empty() {
        return Ok(links);
    }
    let mut request = LinkMessage::default();
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let mut names = BTreeMap::new();
    for reply in netlink.dump(&RouteNetlinkMessage::GetLink(request))? {
        let RouteNetlinkMessage::NewLink(message) = reply else { continue };
        let name = message.attributes.iter().find_map(|a| match a {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
        let Some(name) = name else { continue };
        names.insert(message.header.index, (name.clone(), message));
    }
    for (index, (name, message)) in &names {
        if let Some(state) = links.get_mut(name) {
            let master = |index: &u32| names.get(index).map(|(name, _)| name.clone());
            *state = Some(link_of(*index, message, master));
        }
    }
    let is_asked = |index: u32| names.get(&index).is_some_and(|(name, _)| wanted.contains(name));
    for reply in netlink.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))? {
        let RouteNetlinkMessage::NewAddress(message) = reply else { continue };
        if let Some((name, _)) = names.get(&message.header.index)
            && let Some(Some(state)) = links.get_mut(name)
        {
            state.addresses.extend(address_of(name, &message));
        }
    }
    let every = RouteNetlinkMessage::GetRoute(RouteMessage::default());
    let routes = netlink.dump_into(&every, |routes: &mut Vec<(u32, LinkRoute)>, reply| {
        if let RouteNetlinkMessage::NewRoute(message) = reply
            && let Some((index, route)) = route_of(&message)
            && is_asked(index)
        {
            routes.push((index, route));
        }
    })?;
    for (index, route) in routes {
        if let Some((name, _)) = names.get(&index)
            && let Some(Some(state)) = links.get_mut(name)
        {
            state.routes.push(route);
        }
    }
    Ok(links)
}

fn link_of(index: u32, message: &LinkMessage, name_of: impl Fn(&u32) -> Option<String>) -> LinkState {
    let mut state = LinkState {
        stp: None,
        mtu: None,
        up: message.header.flags.contains(LinkFlags::Up),
        master: None,
        addresses: Vec::new(),
        routes: Vec::new(),
        index,
    };
    let mut mtu = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(value) => mtu = Some(*value),
            LinkAttribute::Controller(master) => state.master = name_of(master),
            LinkAttribute::LinkInfo(list) => {
                let data = list.iter().find_map(|info| match info {
                    LinkInfo::Data(InfoData::Bridge(data)) => Some(data),
                    _ => None,
                });
                let stp = |info: &InfoBridge| match info {
                    InfoBridge::StpState(stp) => Some(*stp != BridgeStpState::Disabled),
                    _ => None,
                };
                if let Some(data) = data {
                    state.stp = Some(data.iter().find_map(stp).unwrap_or(false));
                }
            }
            _ => {}
        }
    }
    // A port keeps its own, whoever sets it.
    state.mtu = mtu.filter(|_| state.stp.is_some());
    state
}

fn address_of(link: &str, message: &AddressMessage) -> Option<LinkAddress> {
    let (mut local, mut other, mut flags) = (None, None, u32::from(message.header.flags.bits()));
    let mut address = LinkAddress::of(IpNet::new([0, 0, 0, 0].into(), 0).ok()?);
    address.scope = message.header.scope.into();
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => other = Some(*ip),
            AddressAttribute::Broadcast(ip) => address.broadcast = Some(*ip),
            AddressAttribute::Label(text) if text != link => address.label = Some(text.clone()),
            AddressAttribute::Flags(all) => flags = all.bits(),
            AddressAttribute::RoutePriority(metric) => address.metric = *metric,
            AddressAttribute::CacheInfo(info) if info.ifa_valid != FOR_EVER => {
                address.lifetime = Some((info.ifa_preferred, info.ifa_valid));
            }
            _ => {}
        }
    }
    let own = local.or(other)?;
    if let IpAddr::V6(ip) = own
        && (ip.is_unicast_link_local() || flags & TEMPORARY != 0)
    {
        return None;
    }
    address.net = IpNet::new(own, message.header.prefix_len).ok()?;
    address.peer = other.filter(|ip| *ip != own);
    address.no_prefix_route = flags & AddressFlags::Noprefixroute.bits() != 0;
    Some(address)
}

fn route_of(message: &RouteMessage) -> Option<(u32, LinkRoute)> {
    let ignored = [KERNEL, ROUTE_PROTOCOL];
    let protocol = u8::from(message.header.protocol);
    if message.header.kind != RouteType::Unicast
        || message.header.flags.contains(RouteFlags::Cloned)
        || ignored.contains(&protocol)
    {
        return None;
    }
    let read = route::read(message)?;
    let mut route = LinkRoute {
        dst: read.dst,
        table: read.table,
        metric: 0,
        gateway: read.gateway,
        protocol,
        scope: message.header.scope.into(),
        src: None,
        onlink: message.header.flags.contains(RouteFlags::Onlink),
        metrics: Vec::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::PrefSource(ip) => route.src = route::ip(ip),
            RouteAttribute::Metrics(list) => route.metrics = list.iter().filter_map(metric_of).collect(),
            // Several ways, or a next hop that is an object of its own: not one link's route.
            RouteAttribute::MultiPath(_) | RouteAttribute::NhId(_) | RouteAttribute::Encap(_) => return None,
            _ => {}
        }
    }
    let is_link_local = matches!(route.dst, IpNet::V6(net) if net.addr().is_unicast_link_local());
    (read.link != 0 && route.table != LOCAL_TABLE && !is_link_local).then_some((read.link, route))
}

fn metric_of(metric: &RouteMetric) -> Option<(u16, u32)> {
    let mut bytes = vec![0; metric.value_len()];
    metric.emit_value(&mut bytes);
    Some((metric.kind(), u32::from_ne_bytes(bytes.try_into().ok()?)))
}

/// Carries changes out, in order; bridges are made first, because what follows needs their numbers.
pub(super) fn apply(
    netlink: &mut Netlink,
    network: &InterfaceName,
    changes: &[&LinkChange],
) -> Result<(), HostError> {
    for change in changes {
        if let LinkChange::Create { bridge, stp, mtu } = change {
            create(netlink, network, bridge, *stp, *mtu, first_port(changes, bridge))?;
        }
    }
    let names = changes.iter().flat_map(|change| {
        let master = match change {
            LinkChange::Master { to: Some(bridge), .. } => Some(bridge.as_str()),
            _ => None,
        };
        [Some(change.link()), master].into_iter().flatten()
    });
    let mut found = BTreeMap::new();
    for name in names.collect::<BTreeSet<_>>() {
        let read = link::read_one(netlink, name).map_err(|e| HostError::new("find link", name, e))?;
        if let Some(read) = read {
            found.insert(name, read);
        }
    }
    let mut sent = Vec::new();
    let mut requests = Vec::new();
    for change in changes {
        let Some(this) = found.get(change.link()) else {
            if change.is_removal() {
                continue; // gone with the link
            }
            return Err(HostError::new("change", change.link(), "it is gone"));
        };
        let is_ours =
            this.link.kind == "bridge" && (this.link.alias.is_empty() || this.link.alias == ifalias(network));
        let master = |name: &str| found.get(name).map(|l| l.index);
        let request = match change {
            LinkChange::Create { .. } => None,
            LinkChange::Delete { .. } => is_ours.then(|| link::delete(this.index)),
            change => Some(request(this.index, change, master)?),
        };
        if let Some(request) = request {
            sent.push(*change);
            requests.push(request);
        }
    }
    let answers =
        netlink.batch(requests).map_err(|e| HostError::new("change", "bridges and their ports", e))?;
    for (change, answer) in sent.into_iter().zip(answers) {
        if let Err(refusal) = answer {
            tolerate(change, &refusal)?;
        }
    }
    Ok(())
}

/// The port that gives a new bridge its hardware address: who knows the one of the port reaches the bridge by it.
fn first_port<'c>(changes: &[&'c LinkChange], bridge: &str) -> Option<&'c str> {
    changes.iter().find_map(|change| match change {
        LinkChange::Master { port, to: Some(to), .. } if to == bridge => Some(port.as_str()),
        _ => None,
    })
}

fn create(
    netlink: &mut Netlink,
    network: &InterfaceName,
    bridge: &str,
    stp: bool,
    mtu: Option<u32>,
    port: Option<&str>,
) -> Result<(), HostError> {
    let failed = |e: &dyn std::fmt::Display| HostError::new("create bridge", bridge, e);
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(bridge.into()));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    if let Some(port) = port {
        // Set, it stays, whichever ports come and go.
        message.attributes.extend(hardware_address(netlink, port).map_err(|e| failed(&e))?);
    }
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(vec![stp_state(stp)])),
    ]));
    let requests = vec![
        (RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL),
        link::set_alias(bridge, &ifalias(network)),
    ];
    for answer in netlink.batch(requests).map_err(|e| failed(&e))? {
        answer.map_err(|refusal| {
            let hint = match refusal.errno {
                libc::EPERM => "run as root",
                libc::EOPNOTSUPP => "this kernel has no bridges: load the module (`modprobe bridge`)",
                _ => "",
            };
            failed(&refusal).hint(hint)
        })?;
    }
    Ok(())
}

fn hardware_address(netlink: &mut Netlink, port: &str) -> Result<Option<LinkAttribute>, NetlinkError> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(port.into()));
    let replies = netlink.request(RouteNetlinkMessage::GetLink(message), 0)?;
    Ok(replies.into_iter().find_map(|reply| {
        let RouteNetlinkMessage::NewLink(message) = reply else { return None };
        message.attributes.into_iter().find(|a| matches!(a, LinkAttribute::Address(mac) if mac.len() == 6))
    }))
}

const fn stp_state(on: bool) -> InfoBridge {
    InfoBridge::StpState(if on { BridgeStpState::KernelStp } else { BridgeStpState::Disabled })
}

fn request(
    index: u32,
    change: &LinkChange,
    master: impl Fn(&str) -> Option<u32>,
) -> Result<Request<RouteNetlinkMessage>, HostError> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    Ok(match change {
        LinkChange::Stp { to, .. } => {
            // The kernel takes a bridge's settings as those of a new link.
            message.attributes.push(LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![stp_state(*to)])),
            ]));
            (RouteNetlinkMessage::NewLink(message), 0)
        }
        LinkChange::Mtu { to, .. } => {
            message.attributes.push(LinkAttribute::Mtu(*to));
            (RouteNetlinkMessage::SetLink(message), 0)
        }
        LinkChange::Up { to, .. } => {
            message.header.flags = if *to { LinkFlags::Up } else { LinkFlags::empty() };
            message.header.change_mask = LinkFlags::Up;
            (RouteNetlinkMessage::SetLink(message), 0)
        }
        LinkChange::Master { port, to, .. } => {
            let number = match to {
                None => 0,
                Some(bridge) => master(bridge)
                    .ok_or_else(|| HostError::new("join", format!("{port} to {bridge}"), "it is gone"))?,
            };
            message.attributes.push(LinkAttribute::Controller(number));
            (RouteNetlinkMessage::SetLink(message), 0)
        }
        LinkChange::AddAddress { link, address } => {
            let flags = NLM_F_CREATE | NLM_F_EXCL;
            (RouteNetlinkMessage::NewAddress(address_message(index, link, address)), flags)
        }
        LinkChange::RemoveAddress { link, address } => {
            (RouteNetlinkMessage::DelAddress(address_message(index, link, address)), 0)
        }
        LinkChange::SetRoute { route, .. } => {
            (RouteNetlinkMessage::NewRoute(route_message(index, route)), NLM_F_CREATE | NLM_F_REPLACE)
        }
        LinkChange::RemoveRoute { route, .. } => {
            (RouteNetlinkMessage::DelRoute(route_message(index, route)), 0)
        }
        LinkChange::Create { .. } | LinkChange::Delete { .. } => link::delete(index),
    })
}

fn address_message(index: u32, link: &str, address: &LinkAddress) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.net.prefix_len();
    message.header.scope = AddressScope::from(address.scope);
    message.header.family = family_of(address.net.addr());
    let own = address.net.addr();
    message.attributes =
        vec![AddressAttribute::Local(own), AddressAttribute::Address(address.peer.unwrap_or(own))];
    let mut flags = AddressFlags::empty();
    if address.no_prefix_route {
        flags |= AddressFlags::Noprefixroute;
    }
    if own.is_ipv6() {
        // It is this host's already, on another of its links.
        flags |= AddressFlags::Nodad;
    } else {
        let label = address.label.as_deref().unwrap_or(link);
        message.attributes.push(AddressAttribute::Label(label.into()));
    }
    message.attributes.push(AddressAttribute::Flags(flags));
    message.attributes.extend(address.broadcast.map(AddressAttribute::Broadcast));
    if address.metric != 0 {
        message.attributes.push(AddressAttribute::RoutePriority(address.metric));
    }
    if let Some((preferred, valid)) = address.lifetime {
        let mut info = CacheInfo::default();
        (info.ifa_preferred, info.ifa_valid) = (preferred, valid);
        message.attributes.push(AddressAttribute::CacheInfo(info));
    }
    message
}

fn route_message(index: u32, route: &LinkRoute) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family_of(route.dst.addr());
    message.header.destination_prefix_length = route.dst.prefix_len();
    message.header.table = u8::try_from(route.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.header.protocol = RouteProtocol::from(route.protocol);
    message.header.scope = RouteScope::from(route.scope);
    message.header.kind = RouteType::Unicast;
    if route.onlink {
        message.header.flags = RouteFlags::Onlink;
    }
    message.attributes = vec![
        RouteAttribute::Destination(route.dst.network().into()),
        RouteAttribute::Table(route.table),
        RouteAttribute::Oif(index),
    ];
    if route.metric != 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    message.attributes.extend(route.gateway.map(|ip| RouteAttribute::Gateway(ip.into())));
    message.attributes.extend(route.src.map(|ip| RouteAttribute::PrefSource(ip.into())));
    if !route.metrics.is_empty() {
        let other = |(kind, value): &(u16, u32)| {
            RouteMetric::Other(DefaultNla::new(*kind, value.to_ne_bytes().into()))
        };
        message.attributes.push(RouteAttribute::Metrics(route.metrics.iter().map(other).collect()));
    }
    message
}

/// Forgives what comes to the same: gone already, or there already.
fn tolerate(change: &LinkChange, refusal: &Refusal) -> Result<(), HostError> {
    let gone = [libc::ESRCH, libc::ENOENT, libc::ENODEV, libc::EADDRNOTAVAIL, libc::ENXIO];
    if change.is_removal() && gone.contains(&refusal.errno)
        || matches!(change, LinkChange::AddAddress { .. }) && refusal.errno == libc::EEXIST
    {
        return Ok(());
    }
    let link = change.link();
    let (operation, target) = match change {
        LinkChange::Create { .. } => ("create bridge", link.to_string()),
        LinkChange::Delete { .. } => ("delete bridge", link.to_string()),
        LinkChange::Stp { .. } | LinkChange::Mtu { .. } => ("change", link.to_string()),
        LinkChange::Up { to: true, .. } => ("bring up", link.to_string()),
        LinkChange::Up { to: false, .. } => ("take down", link.to_string()),
        LinkChange::Master { to: Some(bridge), .. } => ("join", format!("{link} to {bridge}")),
        LinkChange::Master { to: None, .. } => ("release", link.to_string()),
        LinkChange::AddAddress { address, .. } => ("add address", format!("{} to {link}", address.net)),
        LinkChange::RemoveAddress { address, .. } => {
            ("remove address", format!("{} from {link}", address.net))
        }
        LinkChange::SetRoute { route, .. } => ("set route", format!("{} by {link}", route.text())),
        LinkChange::RemoveRoute { route, .. } => ("remove route", format!("{} by {link}", route.text())),
    };
    let hint = if refusal.errno == libc::EPERM { "run as root" } else { "" };
    Err(HostError::new(operation, target, refusal).hint(hint))
}
