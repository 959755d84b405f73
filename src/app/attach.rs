//! Spokes that went over to another relay: what they have moves to another peer at once, is on record, and then the host is held to it
//! as to everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::hold_as::hold_as;
use super::reconcile::Repair;
use super::session::Session;
use crate::dataplane::{DeviceChange, DeviceReport, PeerChange};
use crate::host::agent_process::Runtime;
use crate::host::runtime::Applied;
use crate::host::{Host, HostError};
use crate::model::{
    Attachments, GivenOver, InterfaceName, Network, Node, PublicKey, Timestamp, claimed_by_spoke,
};

/// Says which prefixes change peers when spokes are where `network` has them. Nothing is added that no peer has, so nobody gets what
/// was left out for a reason; peers that are missing stay so.
pub fn transfer(
    network: &Network,
    this: &Node,
    spokes: &Attachments,
    report: &DeviceReport,
    now: Timestamp,
) -> DeviceChange {
    let is_asked = |net: &IpNet| matches!(net.addr(), IpAddr::V6(ip) if ip.is_unicast_link_local());
    let holders: BTreeMap<IpNet, PublicKey> = report
        .peers
        .iter()
        .flat_map(|peer| peer.allowed_ips.iter().map(|net| (*net, peer.public_key)))
        .collect();
    let mut moved: BTreeMap<PublicKey, BTreeSet<IpNet>> = BTreeMap::new();
    let mut give = |to: PublicKey, nets: &mut dyn Iterator<Item = IpNet>| {
        let held = nets.filter(|net| !is_asked(net) && holders.get(net).is_some_and(|holder| *holder != to));
        moved.entry(to).or_default().extend(held);
    };
    if this.is_relay() {
        for spoke in
            spokes.keys().filter_map(|name| network.nodes.get(name)).filter(|spoke| spoke.is_active(now))
        {
            let Some(home) = network.home_of(spoke, now) else { continue };
            let to = if home.name == this.name { spoke.public_key } else { home.public_key };
            give(to, &mut claimed_by_spoke(spoke).into_iter());
        }
    } else if let Some(home) = network.home_of(this, now) {
        let relays: BTreeSet<PublicKey> =
            network.relays_of(this, now).map(|relay| relay.public_key).collect();
        let of_relays = holders.iter().filter(|(_, holder)| relays.contains(holder));
        give(home.public_key, &mut of_relays.map(|(net, _)| *net));
    }
    let is_there = |key: &PublicKey| report.peers.iter().any(|peer| peer.public_key == *key);
    let moved = moved.into_iter().filter(|(key, nets)| !nets.is_empty() && is_there(key));
    let peers = moved.map(|(key, nets)| PeerChange {
        update_only: true,
        allowed_ips: nets.into_iter().collect(),
        ..PeerChange::new(key)
    });
    DeviceChange { peers: peers.collect(), ..DeviceChange::default() }
}

/// Notes where spokes are, and which sites are given over, and holds this host to it. `None`: nothing is up here.
///
/// # Errors
/// The host or the record cannot be read, or the record not written.
pub(crate) fn attach<H: Host>(
    session: &Session,
    name: &InterfaceName,
    runtime: &Runtime,
    open: impl FnOnce() -> Result<H, HostError>,
    attached: &Attachments,
    given_over: &GivenOver,
    drains: bool,
) -> Result<Option<Repair>, HostError> {
    hold_as(session, name, runtime, open, |applied| Applied {
        attached: attached.clone(),
        given_over: given_over.clone(),
        drains,
        ..applied
    })
}
