//! Links and their addresses, over rtnetlink.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo,
    LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::{Netlink, NetlinkError, Request};
use crate::plan::Link;

/// A link with its number.
#[derive(Debug, Clone)]
pub(super) struct NumberedLink {
    /// The kernel's index.
    pub index: u32,
    /// What `plan` knows of a link.
    pub link: Link,
}

/// Reads every link and its addresses, by name.
pub(super) fn read_all(netlink: &mut Netlink) -> Result<BTreeMap<String, NumberedLink>, NetlinkError> {
    let mut request = LinkMessage::default();
    // Statistics are most of a link's answer and nobody looks at them here.
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let mut links = BTreeMap::new();
    let mut names = BTreeMap::new();
    let mut masters = Vec::new();
    for reply in netlink.dump(&RouteNetlinkMessage::GetLink(request))? {
        let RouteNetlinkMessage::NewLink(message) = reply else { continue };
        let Some((name, link, master)) = read(&message) else { continue };
        names.insert(message.header.index, name.clone());
        if let Some(master) = master {
            masters.push((name.clone(), master));
        }
        links.insert(name, NumberedLink { index: message.header.index, link });
    }
    for (name, master) in masters {
        if let Some(entry) = links.get_mut(&name) {
            entry.link.master = names.get(&master).cloned();
        }
    }
    for reply in netlink.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))? {
        let RouteNetlinkMessage::NewAddress(message) = reply else { continue };
        let entry = names.get(&message.header.index).and_then(|name| links.get_mut(name));
        if let (Some(entry), Some(address)) = (entry, address_of(&message)) {
            entry.link.addresses.push(address);
        }
    }
    Ok(links)
}

/// Reads one link by name, without its addresses and its master's name.
pub(super) fn read_one(netlink: &mut Netlink, name: &str) -> Result<Option<NumberedLink>, NetlinkError> {
    let replies = match netlink.request(RouteNetlinkMessage::GetLink(named(name)), 0) {
        Err(NetlinkError::Refused(r)) if r.errno == libc::ENODEV => return Ok(None),
        other => other?,
    };
    Ok(replies.iter().find_map(|reply| {
        let RouteNetlinkMessage::NewLink(message) = reply else { return None };
        let (_, link, _) = read(message)?;
        Some(NumberedLink { index: message.header.index, link })
    }))
}

fn read(message: &LinkMessage) -> Option<(String, Link, Option<u32>)> {
    let mut link = Link { up: message.header.flags.contains(LinkFlags::Up), ..Link::default() };
    let (mut name, mut master) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::IfAlias(text) => link.alias.clone_from(text),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => master = Some(*index),
            LinkAttribute::LinkInfo(list) => {
                for info in list {
                    if let LinkInfo::Kind(kind) = info {
                        link.kind = kind.to_string();
                    }
                }
            }
            _ => {}
        }
    }
    Some((name?, link, master))
}

fn address_of(message: &AddressMessage) -> Option<IpNet> {
    // Of a point-to-point link the local end is ours; elsewhere there may be no "local" at all.
    let pick = |local: bool| {
        message.attributes.iter().find_map(|a| match a {
            AddressAttribute::Local(ip) if local => Some(*ip),
            AddressAttribute::Address(ip) if !local => Some(*ip),
            _ => None,
        })
    };
    IpNet::new(pick(true).or_else(|| pick(false))?, message.header.prefix_len).ok()
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.into()));
    message
}

/// Makes a link of this kind, down.
pub(super) fn create(name: &str, kind: InfoKind, mtu: u16) -> Request<RouteNetlinkMessage> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Mtu(mtu.into()));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
    (RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Sets the alias of the link with this name.
pub(super) fn set_alias(name: &str, alias: &str) -> Request<RouteNetlinkMessage> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::IfAlias(alias.into()));
    (RouteNetlinkMessage::SetLink(message), 0)
}

/// Keeps a TUN from giving itself a link-local address, where its switch cannot be written.
pub(super) fn set_quiet(name: &str) -> Request<RouteNetlinkMessage> {
    let mut message = named(name);
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]));
    (RouteNetlinkMessage::SetLink(message), 0)
}

/// Sets the MTU.
pub(super) fn set_mtu(index: u32, mtu: u16) -> Request<RouteNetlinkMessage> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Mtu(mtu.into()));
    (RouteNetlinkMessage::SetLink(message), 0)
}

/// Brings the link up.
pub(super) fn set_up(index: u32) -> Request<RouteNetlinkMessage> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    (RouteNetlinkMessage::SetLink(message), 0)
}

/// Takes the link away.
pub(super) fn delete(index: u32) -> Request<RouteNetlinkMessage> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    (RouteNetlinkMessage::DelLink(message), 0)
}

/// Adds an address.
pub(super) fn add_address(index: u32, address: &IpNet) -> Request<RouteNetlinkMessage> {
    let mut message = address_message(index, address);
    if matches!(address, IpNet::V6(_)) {
        // Duplicates are looked for on the wire, and there is none: without this it is unusable for a second.
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    (RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Removes an address.
pub(super) fn remove_address(index: u32, address: &IpNet) -> Request<RouteNetlinkMessage> {
    (RouteNetlinkMessage::DelAddress(address_message(index, address)), 0)
}

fn address_message(index: u32, address: &IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.family = family_of(address.addr());
    message.attributes =
        vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    message
}

/// Returns the address family of an address.
pub(super) const fn family_of(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
