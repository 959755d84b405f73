//! The socket by which agents ask each other inside their sessions: at the interface's link-local address, by that interface alone.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use ipnet::{IpNet, Ipv6Net};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::sys::socket::{setsockopt, sockopt::BindToDevice};

use super::link;
use super::netlink::{Netlink, NetlinkError};
use super::sysctl;
use crate::host::HostError;
use crate::model::InterfaceName;

/// A socket and the interface that it is bound to.
#[derive(Debug)]
pub struct LinkLocal {
    /// The socket.
    pub socket: UdpSocket,
    /// The interface's number.
    pub index: u32,
}

/// Returns the number of the interface; `None`: there is none.
pub fn index_of(name: &InterfaceName) -> Option<u32> {
    nix::net::if_::if_nametoindex(name.as_str()).ok()
}

/// Says whether the socket's address is still there; somebody may have taken it off.
pub fn has_address(link: &LinkLocal) -> bool {
    let Ok(SocketAddr::V6(own)) = link.socket.local_addr() else { return false };
    // Anybody may ask for a port that the kernel chooses.
    UdpSocket::bind(SocketAddrV6::new(*own.ip(), 0, 0, link.index)).is_ok()
}

/// Receives a datagram that is there already.
///
/// # Errors
/// As `recv_from`; `WouldBlock`: there is none.
pub fn receive_now(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    socket.set_nonblocking(true)?;
    let received = socket.recv_from(buffer);
    socket.set_nonblocking(false)?;
    received
}

/// Takes that address off again, where it is.
///
/// # Errors
/// The kernel refuses.
pub fn close(name: &InterfaceName, own: Ipv6Addr) -> Result<(), HostError> {
    let failed = |e: &dyn std::fmt::Display| HostError::new("remove address", own.to_string(), e);
    let Some(index) = index_of(name) else { return Ok(()) };
    let mut netlink = Netlink::open(NETLINK_ROUTE).map_err(|e| failed(&e))?;
    let net = Ipv6Net::new(own, 64).map_err(|e| failed(&e))?;
    match netlink.batch(vec![link::remove_address(index, &IpNet::V6(net))]).map_err(|e| failed(&e))?.pop() {
        // Without IPv6 there is none.
        Some(Err(refusal))
            if ![libc::EADDRNOTAVAIL, libc::ENODEV, libc::EACCES, libc::EOPNOTSUPP]
                .contains(&refusal.errno) =>
        {
            Err(failed(&NetlinkError::Refused(refusal)))
        }
        _ => Ok(()),
    }
}

/// Gives the interface its link-local address, where it has it not, and opens the socket there. An interface with such an address
/// would take routes from whoever advertises himself as a router; in a tunnel nobody is one, so it hears none.
///
/// # Errors
/// There is no such interface, it has no IPv6, or somebody has the port.
pub fn open(name: &InterfaceName, own: Ipv6Addr, port: u16) -> Result<LinkLocal, HostError> {
    let failed = |e: &dyn std::fmt::Display| HostError::new("ask other agents by", name.to_string(), e);
    if sysctl::read(&format!("net/ipv6/conf/{name}/disable_ipv6")).ok().flatten().as_deref() == Some("1") {
        let hint = format!("net.ipv6.conf.{name}.disable_ipv6 = 0; link-local addresses are enough");
        return Err(failed(&"IPv6 is off on the interface").hint(hint));
    }
    let index = index_of(name).ok_or_else(|| failed(&"there is no such interface"))?;
    for switch in ["accept_ra", "accept_redirects"] {
        sysctl::write(&format!("net/ipv6/conf/{name}/{switch}"), "0")?;
    }
    let mut netlink = Netlink::open(NETLINK_ROUTE).map_err(|e| failed(&e))?;
    let net = Ipv6Net::new(own, 64).map_err(|e| failed(&e))?;
    match netlink.batch(vec![link::add_address(index, &IpNet::V6(net))]).map_err(|e| failed(&e))?.pop() {
        Some(Err(refusal)) if refusal.errno != libc::EEXIST => {
            return Err(failed(&NetlinkError::Refused(refusal)));
        }
        _ => {}
    }
    let socket = UdpSocket::bind(SocketAddrV6::new(own, port, 0, index)).map_err(|e| match e.kind() {
        // A unit from before there were several relays.
        io::ErrorKind::PermissionDenied => failed(&format!("port {port}: {e}"))
            .hint("`wgrelay service install` anew gives its unit the right to that port"),
        _ => failed(&e),
    })?;
    setsockopt(&socket, BindToDevice, &name.as_str().into()).map_err(|e| failed(&e))?;
    Ok(LinkLocal { socket, index })
}
