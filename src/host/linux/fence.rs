//! The floating address on this host: on its link behind its fence, which is closed until somebody says until when it is open.

use std::time::{Duration, SystemTime};

use super::netlink::{Netlink, NetlinkError};
use super::{link, nft};
use crate::firewall::{Fence, fence_name, fence_removed};
use crate::host::HostError;
use crate::model::InterfaceName;
use crate::plan::Carried;

fn fence(network: &InterfaceName, carried: &Carried) -> Fence {
    Fence { network: network.clone(), address: carried.address.addr(), port: carried.port }
}

/// Opens the fence for so long from now on.
///
/// # Errors
/// It is not there, or nft cannot.
pub fn open(network: &InterfaceName, carried: &Carried, left: Duration) -> Result<(), HostError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // nft knows seconds alone: rather too early than too late.
    let until = (now + left).as_secs();
    nft::send_text("open the fence of", &fence_name(network), &fence(network, carried).opened(left, until))
}

/// Closes the fence.
///
/// # Errors
/// It is not there, or nft cannot.
pub fn shut(network: &InterfaceName, carried: &Carried) -> Result<(), HostError> {
    nft::send_text("close the fence of", &fence_name(network), &fence(network, carried).shut())
}

/// Loads it anew, closed, and marks it: nft lists rules in other words than it took.
fn load(fence: &Fence) -> Result<(), HostError> {
    let name = fence_name(&fence.network);
    nft::send_text("load the fence of", &name, &fence.closed())?;
    let mut marks = String::new();
    for family in fence.families() {
        let listing = nft::rules(family, Some(&name))?.unwrap_or_default();
        if !fence.is_as_loaded(family, &listing) {
            return Err(HostError::new(
                "load the fence of",
                &name,
                "somebody changed it while it was loaded",
            ));
        }
        marks += &fence.marked(family, &listing);
    }
    nft::send_text("mark the fence of", &name, &marks)
}

/// Puts the address on its link behind a closed fence, or takes it off, and then the fence.
pub(super) fn apply(
    netlink: &mut Netlink,
    network: &InterfaceName,
    from: Option<&Carried>,
    to: Option<&Carried>,
) -> Result<(), HostError> {
    // What moves to another link or address is fenced anew: not for a moment is it open.
    if let Some(to) = to {
        load(&fence(network, to))?;
    }
    if let Some(from) =
        from.filter(|from| to.is_none_or(|to| (&to.link, to.address) != (&from.link, from.address)))
        && let Some(index) = index(netlink, from)?
    {
        let gone = [libc::EADDRNOTAVAIL, libc::ENODEV];
        change(netlink, from, link::remove_address(index, &from.address), &gone, "remove address")?;
    }
    match to {
        Some(to) => {
            let index = index(netlink, to)?.ok_or_else(|| {
                HostError::new("add address", to.address.to_string(), format!("{} is gone", to.link))
            })?;
            change(netlink, to, link::add_address(index, &to.address), &[libc::EEXIST], "add address")
        }
        None => nft::send_text("remove the fence of", &fence_name(network), &fence_removed(network)),
    }
}

fn index(netlink: &mut Netlink, carried: &Carried) -> Result<Option<u32>, HostError> {
    let found = link::read_one(netlink, &carried.link);
    Ok(found.map_err(|e| HostError::new("find interface", &carried.link, e))?.map(|found| found.index))
}

fn change(
    netlink: &mut Netlink,
    carried: &Carried,
    request: super::netlink::Request<netlink_packet_route::RouteNetlinkMessage>,
    forgiven: &[i32],
    operation: &'static str,
) -> Result<(), HostError> {
    let failed = |e: NetlinkError| HostError::new(operation, carried.address.to_string(), e);
    match netlink.batch(vec![request]).map_err(failed)?.pop() {
        Some(Err(refusal)) if !forgiven.contains(&refusal.errno) => {
            Err(failed(NetlinkError::Refused(refusal)))
        }
        _ => Ok(()),
    }
}

/// Says whether what was applied is there: address and fence. Half of it has no port, and so is never as it should be.
pub(super) fn observe(
    netlink: &mut Netlink,
    network: &InterfaceName,
    applied: Option<&Carried>,
) -> Result<Option<Carried>, HostError> {
    let Some(applied) = applied else { return Ok(None) };
    let links = link::read_all(netlink).map_err(|e| HostError::new("list", "links", e))?;
    let has = links.get(&applied.link).is_some_and(|found| found.link.addresses.contains(&applied.address));
    let (name, fence) = (fence_name(network), fence(network, applied));
    let (mut is_there, mut is_whole) = (false, true);
    for family in fence.families() {
        let listing = nft::rules(family, Some(&name))?;
        is_there |= listing.is_some();
        is_whole &= listing.is_some_and(|listing| fence.is_whole(&listing));
    }
    let left_of_it = Carried { port: 0, ..applied.clone() };
    Ok(match (has, is_there) {
        (true, _) if is_whole => Some(applied.clone()),
        (false, false) => None,
        _ => Some(left_of_it),
    })
}
