//! News from the kernel for the agent: about links, addresses, routes, policy rules and forwarding, and about nftables' rules.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use nix::libc;

pub use super::last_author::LastAuthor;
use crate::plan::ROUTE_PROTOCOL;

/// The bit of a group of `NETLINK_ROUTE` (linux/rtnetlink.h).
const fn bit(group: u32) -> u32 {
    1 << (group - 1)
}
/// `RTNLGRP_LINK`; of IPv4 and IPv6 `_IFADDR`, `_ROUTE`, `_RULE`, and `_NETCONF`, which tells of forwarding.
const GROUPS: [u32; 9] = [1, 5, 7, 8, 9, 11, 19, 24, 25];
/// The bit of `NFNLGRP_NFTABLES`, the seventh group (linux/netfilter/nfnetlink.h).
const NFTABLES: u32 = bit(7);
/// The longest that the kernel sends at once: what one transaction of nftables changes comes together.
const LONGEST: usize = 64 << 10;
/// The first of the messages about sets and their elements, of which a busy host has many (linux/netfilter/nf_tables.h).
const NFT_MSG_NEWSET: u16 = 9;
/// Those that tell of an element, of any set.
const NFT_MSG_ELEMENTS: [u16; 2] = [12, 14];
/// The attribute with the table's name, in messages of every kind.
const NFTA_TABLE: u16 = 1;
/// The headers of a netlink message, and of netfilter's within.
pub(super) const HEADER: usize = 16;
pub(super) const NETFILTER_HEADER: usize = 4;

/// `RTM_NEWROUTE` and `RTM_DELROUTE` (linux/rtnetlink.h), the length of `struct rtmsg`, and its attribute with the destination.
const ROUTES: [u16; 2] = [24, 25];
const RTMSG: usize = 12;
const RTA_DST: u16 = 1;

/// Says whether a route of somebody else's to this prefix may matter.
pub type Concern = Arc<dyn Fn(IpNet) -> bool + Send + Sync>;

/// A subscription.
pub struct NetlinkMonitor {
    socket: Socket,
    about: About,
}

enum About {
    /// Links, and those routes that matter.
    Links(Concern),
    /// Filters, and our table in them, with who changed it.
    Filters(String, LastAuthor),
}

impl NetlinkMonitor {
    /// Subscribes to links, addresses, routes, policy rules and forwarding, in the calling thread's network namespace. Of the
    /// routes that are not ours it tells of those that `concern` says yes to.
    ///
    /// # Errors
    /// The kernel gives no socket.
    pub fn of_links(concern: Concern) -> io::Result<Self> {
        let groups = GROUPS.iter().fold(0, |bits, group| bits | bit(*group));
        Self::open(NETLINK_ROUTE, groups, About::Links(concern))
    }

    /// Subscribes to nftables' tables, chains and rules, those of iptables-nft among them, and to the elements of sets in one
    /// table. Only root may.
    ///
    /// # Errors
    /// The kernel gives no socket, or has no nftables.
    pub fn of_filters(table: String, author: LastAuthor) -> io::Result<Self> {
        Self::open(NETLINK_NETFILTER, NFTABLES, About::Filters(table, author))
    }

    fn open(protocol: isize, groups: u32, about: About) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind(&SocketAddr::new(0, groups))?;
        Ok(Self { socket, about })
    }

    /// Waits until something changed. Which thing does not matter: whoever is told looks at the whole host.
    ///
    /// # Errors
    /// The socket is broken. News that were lost because there were too many count as news.
    pub fn wait(&self) -> io::Result<()> {
        loop {
            let mut buffer = Vec::with_capacity(LONGEST);
            match self.socket.recv(&mut buffer, 0) {
                Err(e) if !matches!(e.raw_os_error(), Some(libc::ENOBUFS | libc::EINTR)) => return Err(e),
                Ok(_) => {
                    self.about.hear(&buffer);
                    if self.about.is_told_in(&buffer) {
                        return Ok(());
                    }
                }
                Err(_) => {
                    self.about.miss();
                    return Ok(());
                }
            }
        }
    }
}

impl About {
    fn hear(&self, told: &[u8]) {
        if let Self::Filters(table, author) = self {
            author.hear(told, table);
        }
    }

    fn miss(&self) {
        if let Self::Filters(_, author) = self {
            author.miss();
        }
    }

    fn is_told_in(&self, messages: &[u8]) -> bool {
        match self {
            Self::Links(concern) => any(messages, |message| is_link_news(message, concern)),
            Self::Filters(table, _) => concerns(messages, table),
        }
    }
}

/// Says whether messages of nftables tell of a table, a chain or a rule, or of an element in a set of this table.
fn concerns(messages: &[u8], table: &str) -> bool {
    any(messages, |message| is_news(message, table))
}

/// Says whether any of some messages is news.
fn any(mut messages: &[u8], is_news: impl Fn(&[u8]) -> bool) -> bool {
    while let Some(length) = u32_at(messages) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < HEADER {
            break;
        }
        // One that does not fit was cut: what was in the rest is not known.
        let Some(message) = messages.get(..length) else { return true };
        if is_news(message) {
            return true;
        }
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

/// Everything is but somebody else's route that does not matter.
fn is_link_news(message: &[u8], concern: &Concern) -> bool {
    if !u16_at(&message[4..]).is_some_and(|kind| ROUTES.contains(&kind)) {
        return true;
    }
    let protocol = message.get(HEADER + 5);
    protocol == Some(&ROUTE_PROTOCOL) || destination(&message[HEADER..]).is_none_or(|net| concern(net))
}

/// Where a route leads; `None`: that is not said, or not understood.
fn destination(route: &[u8]) -> Option<IpNet> {
    let length = *route.get(1)?;
    let value = attribute(route.get(RTMSG..)?, RTA_DST)?;
    let address = match route.first().copied().map(i32::from)? {
        libc::AF_INET => IpAddr::from(<[u8; 4]>::try_from(value).ok()?),
        libc::AF_INET6 => IpAddr::from(<[u8; 16]>::try_from(value).ok()?),
        _ => return None,
    };
    IpNet::new(address, length).ok()
}

/// Returns the whole ones of some messages.
pub(super) fn messages(mut told: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(told)?).ok()?;
        let message = told.get(..length).filter(|message| message.len() >= HEADER)?;
        told = told.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn is_news(message: &[u8], table: &str) -> bool {
    // The high byte is the subsystem.
    let kind = u16_at(&message[4..]).unwrap_or_default() & 0xff;
    if kind < NFT_MSG_NEWSET {
        return true;
    }
    NFT_MSG_ELEMENTS.contains(&kind) && table_of(&message[HEADER..]) == Some(table.as_bytes())
}

/// Returns the table that a message of netfilter names.
pub(super) fn table_of(body: &[u8]) -> Option<&[u8]> {
    attribute(body.get(NETFILTER_HEADER..)?, NFTA_TABLE)?.split(|byte| *byte == 0).next()
}

pub(super) fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (length, kind) = (usize::from(u16_at(attributes)?), u16_at(attributes.get(2..)?)?);
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

pub(super) fn u16_at(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|word| u16::from_ne_bytes(*word))
}

fn u32_at(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, table: &str) -> Vec<u8> {
        let mut name = table.as_bytes().to_vec();
        name.push(0);
        let mut body = vec![1, 0, 0, 0];
        body.extend(u16::try_from(name.len() + 4).unwrap().to_ne_bytes());
        body.extend(NFTA_TABLE.to_ne_bytes());
        body.extend(name);
        let length = HEADER + body.len();
        let mut message = u32::try_from(length).unwrap().to_ne_bytes().to_vec();
        message.extend((0x0a00 | kind).to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message.resize(length.next_multiple_of(4), 0);
        message
    }

    fn route(kind: u16, protocol: u8, to: Option<&str>) -> Vec<u8> {
        let net: Option<IpNet> = to.map(|net| net.parse().unwrap());
        let v6 = net.is_some_and(|net| net.addr().is_ipv6());
        let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
        let mut body =
            vec![family as u8, net.map_or(0, |n| n.prefix_len()), 0, 0, 254, protocol, 0, 1, 0, 0, 0, 0];
        // RTA_TABLE, then RTA_DST.
        body.extend([8, 0, 15, 0, 254, 0, 0, 0]);
        let octets = match net.map(|net| net.addr()) {
            Some(IpAddr::V4(ip)) => ip.octets().to_vec(),
            Some(IpAddr::V6(ip)) => ip.octets().to_vec(),
            None => Vec::new(),
        };
        if !octets.is_empty() {
            body.extend(u16::try_from(octets.len() + 4).unwrap().to_ne_bytes());
            body.extend(RTA_DST.to_ne_bytes());
            body.extend(octets);
        }
        let mut message = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message
    }

    #[test]
    fn routes_of_others_that_lead_elsewhere_are_no_news() {
        const BIRD: u8 = 12;
        let ours: IpNet = "10.20.0.0/16".parse().unwrap();
        let about = About::Links(Arc::new(move |net| net.prefix_len() == 0 || ours.contains(&net)));
        let news = |messages: &[Vec<u8>]| about.is_told_in(&messages.concat());
        for kind in ROUTES {
            assert!(!news(&[route(kind, BIRD, Some("172.30.1.0/24"))]));
            assert!(!news(&[route(kind, BIRD, Some("2001:db8::/32"))]));
            assert!(news(&[route(kind, BIRD, Some("10.20.3.0/24"))]));
            assert!(news(&[route(kind, ROUTE_PROTOCOL, Some("172.30.1.0/24"))]), "one of ours");
            assert!(news(&[route(kind, BIRD, None)]), "a default route names no destination");
            let both = [route(kind, BIRD, Some("172.30.1.0/24")), route(kind, BIRD, Some("10.20.3.0/24"))];
            assert!(news(&both));
        }
        assert!(news(&[route(16, BIRD, Some("172.30.1.0/24"))]), "RTM_NEWLINK");
        let cut = route(ROUTES[0], BIRD, Some("172.30.1.0/24"));
        for end in 16..cut.len() {
            let mut part = cut[..end].to_vec();
            assert!(news(&[part.clone()]), "what was cut may be news");
            part[..4].copy_from_slice(&u32::try_from(end).unwrap().to_ne_bytes());
            news(&[part]);
        }
    }

    #[test]
    fn elements_of_others_sets_are_no_news() {
        let news = |messages: &[Vec<u8>]| concerns(&messages.concat(), "wgrelay-wg0");
        assert!(news(&[message(6, "filter")]), "NFT_MSG_NEWRULE");
        assert!(news(&[message(5, "filter")]), "NFT_MSG_DELCHAIN");
        assert!(!news(&[message(12, "blocklist")]), "NFT_MSG_NEWSETELEM");
        assert!(!news(&[message(15, "filter")]), "NFT_MSG_NEWGEN");
        assert!(news(&[message(12, "wgrelay-wg0")]), "one of ours is added");
        assert!(news(&[message(14, "wgrelay-wg0")]), "one of ours is taken away");
        assert!(!news(&[message(14, "wgrelay-wg01")]));
        // A transaction's messages come in one piece.
        assert!(news(&[message(12, "blocklist"), message(14, "wgrelay-wg0"), message(15, "x")]));
        assert!(news(&[message(14, "blocklist"), message(8, "filter")]));
        assert!(!news(&[message(14, "blocklist"), message(12, "blocklist"), message(15, "x")]));
        let cut = [message(12, "blocklist"), message(12, "wgrelay-wg0")].concat();
        assert!(concerns(&cut[..cut.len() - 8], "wgrelay-wg0"), "what is not known may be news");
        assert!(!news(&[]));
        // Whatever is in there, it is read to its end.
        for n in 0..u8::MAX {
            let mut broken = message(12, "blocklist");
            for at in [0, 4, 20, 22] {
                broken[at] = n;
                concerns(&broken, "wgrelay-wg0");
            }
        }
    }
}
