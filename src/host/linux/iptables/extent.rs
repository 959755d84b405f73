//! How much iptables-legacy keeps, asked of the kernel in some microseconds: it announces no change, and its programs take a
//! process and all of a table for each look.

use std::ffi::{c_int, c_uint};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::{legacy_families, legacy_tables};
use crate::firewall::Family;

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO` of linux/netfilter_ipv4/ip_tables.h and its twin.
const GET_INFO: c_int = 64;

/// `struct ipt_getinfo`, which is `struct ip6t_getinfo`, too.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
struct Info {
    name: [u8; 32],
    valid_hooks: c_uint,
    /// Where the rules of each hook begin, in bytes, and where its policy stands.
    hook_entry: [c_uint; 5],
    underflow: [c_uint; 5],
    entries: c_uint,
    size: c_uint,
}

/// Returns the number of rules and the bytes of each table that there is, by family. Two that differ: a rule came or went. One
/// that was replaced by another of its size is not told.
pub fn legacy_extent() -> Vec<(Family, String, u32, u32)> {
    let tables =
        legacy_families().into_iter().flat_map(|f| legacy_tables(f).into_iter().map(move |t| (f, t)));
    tables
        .filter_map(|(family, table)| info(family, &table).map(|i| (family, table, i.entries, i.size)))
        .collect()
}

/// `None`: there is no such table, or nobody may ask.
#[expect(unsafe_code, reason = "a socket option of the kernel's that no crate has")]
fn info(family: Family, table: &str) -> Option<Info> {
    let (domain, level) = match family {
        Family::V4 => (AddressFamily::Inet, libc::IPPROTO_IP),
        Family::V6 => (AddressFamily::Inet6, libc::IPPROTO_IPV6),
    };
    let mut info = Info::default();
    // A name and the zero behind it.
    info.name.get_mut(..table.len()).filter(|_| table.len() < 32)?.copy_from_slice(table.as_bytes());
    let asking = socket(domain, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw).ok()?;
    let mut length = libc::socklen_t::try_from(size_of::<Info>()).ok()?;
    // SAFETY: the descriptor is open for as long as `asking`; the kernel writes at most `length` bytes into `info`, which is as
    // long as that and made of integers alone, and the length that it wrote into `length`.
    let done = unsafe {
        libc::getsockopt(asking.as_raw_fd(), level, GET_INFO, (&raw mut info).cast(), &raw mut length)
    };
    (done == 0).then_some(info)
}
