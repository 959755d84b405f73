//! News from the kernel for the agent: about links and addresses, and about nftables' rules.

use std::io;

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use nix::libc;

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR` (rtnetlink(7)).
const LINKS: u32 = 0x1 | 0x10 | 0x40 | 0x100;
/// The bit of `NFNLGRP_NFTABLES`, the seventh group (linux/netfilter/nfnetlink.h).
const NFTABLES: u32 = 1 << (7 - 1);
/// Where a netlink message has its type, two bytes.
const TYPE: std::ops::Range<usize> = 4..6;
/// The first of the messages about sets and their elements, of which a busy host has many (linux/netfilter/nf_tables.h).
const NFT_MSG_NEWSET: u16 = 9;

/// A subscription.
pub struct KernelNews {
    socket: Socket,
    filters: bool,
}

impl KernelNews {
    /// Subscribes to links, addresses and routes, in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel gives no socket.
    pub fn of_links() -> io::Result<Self> {
        Self::open(NETLINK_ROUTE, LINKS, false)
    }

    /// Subscribes to nftables' tables, chains and rules, those of iptables-nft among them. Only root may.
    ///
    /// # Errors
    /// The kernel gives no socket, or has no nftables.
    pub fn of_filters() -> io::Result<Self> {
        Self::open(NETLINK_NETFILTER, NFTABLES, true)
    }

    fn open(protocol: isize, groups: u32, filters: bool) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind(&SocketAddr::new(0, groups))?;
        Ok(Self { socket, filters })
    }

    /// Waits until something changed. Which thing does not matter: whoever is told looks at the whole host.
    ///
    /// # Errors
    /// The socket is broken. News that were lost because there were too many count as news.
    pub fn wait(&self) -> io::Result<()> {
        loop {
            let mut buffer = Vec::with_capacity(4096);
            match self.socket.recv(&mut buffer, 0) {
                Err(e) if !matches!(e.raw_os_error(), Some(libc::ENOBUFS | libc::EINTR)) => return Err(e),
                Ok(_) if self.filters && !is_about_rules(&buffer) => {}
                _ => return Ok(()),
            }
        }
    }
}

/// Says whether a message of nftables is about a table, a chain or a rule. Its type's high byte is the subsystem.
fn is_about_rules(message: &[u8]) -> bool {
    let Some(&[low, high]) = message.get(TYPE) else { return false };
    u16::from_ne_bytes([low, high]) & 0xff < NFT_MSG_NEWSET
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_sets_are_no_news() {
        let message = |kind: u16| [&[0; 4][..], &(0x0a00 | kind).to_ne_bytes()].concat();
        assert!(is_about_rules(&message(6)), "NFT_MSG_NEWRULE");
        assert!(is_about_rules(&message(5)), "NFT_MSG_DELCHAIN");
        assert!(!is_about_rules(&message(12)), "NFT_MSG_NEWSETELEM");
        assert!(!is_about_rules(&message(15)), "NFT_MSG_NEWGEN");
        assert!(!is_about_rules(&[]));
    }
}
