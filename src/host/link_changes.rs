//! News from the kernel about links and addresses, for the agent.

use std::io;

use nix::libc;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR` (rtnetlink(7)).
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100;

/// A subscription.
pub struct LinkChanges(Socket);

impl LinkChanges {
    /// Subscribes, in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel gives no socket.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        Ok(Self(socket))
    }

    /// Waits until something changed. Which thing does not matter: whoever is told looks at the whole host.
    ///
    /// # Errors
    /// The socket is broken. News that were lost because there were too many count as news.
    pub fn wait(&self) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(4096);
        match self.0.recv(&mut buffer, 0) {
            Err(e) if !matches!(e.raw_os_error(), Some(libc::ENOBUFS | libc::EINTR)) => Err(e),
            _ => Ok(()),
        }
    }
}
