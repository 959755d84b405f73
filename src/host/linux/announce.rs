//! Says on a link that an address is here now: gratuitous ARP (RFC 5227, section 2.3), or an unsolicited neighbour advertisement (RFC
//! 4861, section 7.2.6), so that neighbours send to this host at once.
#![expect(unsafe_code, reason = "a packet socket's address is given by a pointer")]

use std::net::IpAddr;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::host::HostError;
use crate::plan::Carried;

const BROADCAST: [u8; 6] = [0xff; 6];
const ETH_P_ARP: u16 = 0x0806;
const ETH_P_IPV6: u16 = 0x86dd;

/// Tells the link, once.
///
/// # Errors
/// The link is gone, or may not be written to.
pub fn announce(carried: &Carried) -> Result<(), HostError> {
    let failed = |e: &dyn std::fmt::Display| HostError::new("announce", carried.address.to_string(), e);
    let path = format!("/sys/class/net/{}/address", carried.link);
    let text = std::fs::read_to_string(&path).map_err(|e| failed(&e))?;
    // A link without such addresses (a tunnel) has no neighbours to tell.
    let Some(mac) = mac(&text) else { return Ok(()) };
    let index = nix::net::if_::if_nametoindex(carried.link.as_str()).map_err(|e| failed(&e))?;
    let frame = frame(carried.address.addr(), mac);
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).map_err(|e| failed(&e))?;
    // SAFETY: all bytes of it may be zero.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = i32::try_from(index).map_err(|e| failed(&e))?;
    to.sll_halen = 6;
    to.sll_addr[..6].copy_from_slice(&frame[..6]);
    // SAFETY: both pointers are of values that live, with their lengths.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            u32::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default(),
        )
    };
    if sent < 0 { Err(failed(&std::io::Error::last_os_error())) } else { Ok(()) }
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> =
        text.trim().split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes?.try_into().ok().filter(|mac| *mac != [0; 6])
}

fn frame(address: IpAddr, mac: [u8; 6]) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => {
            let ethernet = [&BROADCAST[..], &mac, &ETH_P_ARP.to_be_bytes()].concat();
            // Ethernet and IPv4, a request for the very address that asks.
            let arp = [0, 1, 8, 0, 6, 4, 0, 1];
            [&ethernet[..], &arp, &mac, &ip.octets(), &[0; 6], &ip.octets()].concat()
        }
        IpAddr::V6(ip) => {
            let all_nodes = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            let ethernet = [&[0x33, 0x33, 0, 0, 0, 1][..], &mac, &ETH_P_IPV6.to_be_bytes()].concat();
            // Override; with its own link-layer address as an option.
            let mut body = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &ip.octets(), &[2, 1], &mac].concat();
            let pseudo = [&ip.octets()[..], &all_nodes.octets(), &[0, 0, 0, 32, 0, 0, 0, 58], &body].concat();
            let sum: u32 = pseudo.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            let checksum = !(((folded & 0xffff) + (folded >> 16)) as u16);
            body[2..4].copy_from_slice(&checksum.to_be_bytes());
            let header = [0x60, 0, 0, 0, 0, 32, 58, 255];
            [&ethernet[..], &header, &ip.octets(), &all_nodes.octets(), &body].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arp_asks_everybody_for_its_own_address() {
        let frame = frame("198.51.100.10".parse().unwrap(), [2, 0, 0, 0, 0, 7]);
        assert_eq!(frame.len(), 14 + 28);
        assert_eq!(frame[..6], BROADCAST);
        let (sender, target) = (&frame[28..32], &frame[38..42]);
        assert_eq!((sender, target), (&[198, 51, 100, 10][..], &[198, 51, 100, 10][..]));
    }

    #[test]
    fn an_advertisement_adds_up() {
        let frame = frame("2001:db8::10".parse().unwrap(), [2, 0, 0, 0, 0, 7]);
        assert_eq!(frame.len(), 14 + 40 + 32);
        let whole = [&frame[22..54], &[0, 0, 0, 32, 0, 0, 0, 58], &frame[54..]].concat();
        let sum: u32 = whole.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        assert_eq!(frame[54..56], [136, 0]);
    }

    #[test]
    fn a_link_without_addresses_has_no_neighbours() {
        assert_eq!(mac("02:00:00:00:00:07\n"), Some([2, 0, 0, 0, 0, 7]));
        assert_eq!(mac("00:00:00:00:00:00\n"), None);
        assert_eq!(mac("\n"), None);
    }
}
