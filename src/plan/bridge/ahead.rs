//! How a host will look once its node's bridges stand: what everything else of the plan is made from.

use std::borrow::Cow;

use ipnet::IpNet;

use super::super::{Facts, ForeignRoute, Link, MAIN_TABLE};
use super::Links;
use super::wanted::is_ports;
use crate::model::{Bridge, Node};

/// `RTPROT_KERNEL`
const KERNEL: u8 = 2;

/// Returns the facts with the node's bridges in them, with their addresses and with the routes that move to them.
pub(in super::super) fn ahead<'f>(node: &Node, facts: &'f Facts) -> Cow<'f, Facts> {
    if node.bridges.is_empty() {
        return Cow::Borrowed(facts);
    }
    let mut facts = facts.clone();
    for bridge in &node.bridges {
        stand(bridge, &mut facts);
    }
    Cow::Owned(facts)
}

/// Returns the facts without the bridges that are there no more when what is not wanted has got back what it had.
pub fn behind(node: &Node, facts: &Facts, saved_sysctls: &Links) -> Facts {
    let mut facts = facts.clone();
    let is_wanted = |name: &str| {
        let is = |b: &Bridge| b.name.as_str() == name || b.ports.iter().any(|port| port == name);
        node.bridges.iter().any(is)
    };
    for (name, before) in saved_sysctls.iter().filter(|(name, _)| !is_wanted(name)) {
        facts.routes.retain(|r| r.device != *name);
        let (Some(before), Some(link)) = (before, facts.links.get_mut(name)) else {
            facts.links.remove(name);
            continue;
        };
        link.master.clone_from(&before.master);
        link.addresses.retain(is_link_local);
        link.addresses.extend(before.addresses.iter().map(|a| a.net));
        let by =
            |dst, gateway, protocol| ForeignRoute { dst, device: name.clone(), gateway, protocol, mtu: None };
        facts.routes.extend(before.addresses.iter().map(|a| by(a.net.trunc(), None, KERNEL)));
        let main = before.routes.iter().filter(|r| r.table == MAIN_TABLE);
        facts.routes.extend(main.map(|r| by(r.dst, r.gateway, r.protocol)));
    }
    facts
}

fn stand(bridge: &Bridge, facts: &mut Facts) {
    let name = bridge.name.as_str();
    let ports: Vec<String> = bridge
        .ports
        .iter()
        .filter(|port| facts.links.get(*port).is_some_and(|link| is_ports(bridge, link)))
        .cloned()
        .collect();
    let mut left = Vec::new();
    for port in &ports {
        let Some(link) = facts.links.get_mut(port) else { continue };
        link.master = Some(name.into());
        link.up = true;
        let all = std::mem::take(&mut link.addresses);
        let (own, moved) = all.into_iter().partition(is_link_local);
        link.addresses = own;
        left.extend::<Vec<IpNet>>(moved);
    }
    let mut addresses = bridge.addresses.clone();
    addresses.extend(left.into_iter().filter(|a| !has_family(bridge, a)));
    let link = facts.links.entry(name.into()).or_insert_with(|| Link {
        kind: "bridge".into(),
        mtu: bridge.mtu.map_or(1500, u32::from),
        ..Link::default()
    });
    link.up = true;
    for address in addresses {
        if !link.addresses.contains(&address) {
            link.addresses.push(address);
        }
    }
    let addresses = link.addresses.clone();
    let on_a_port = |route: &ForeignRoute| ports.contains(&route.device);
    let moved: Vec<ForeignRoute> = facts.routes.iter().filter(|r| on_a_port(r)).cloned().collect();
    facts.routes.retain(|r| !on_a_port(r) || is_link_local(&r.dst));
    let attached = addresses.iter().map(|a| ForeignRoute {
        dst: a.trunc(),
        device: name.into(),
        gateway: None,
        protocol: KERNEL,
        mtu: None,
    });
    let kept = moved
        .into_iter()
        .filter(|r| r.protocol != KERNEL)
        .filter(|r| r.gateway.is_none_or(|gateway| addresses.iter().any(|a| a.contains(&gateway))));
    let new: Vec<ForeignRoute> =
        attached.chain(kept.map(|r| ForeignRoute { device: name.into(), ..r })).collect();
    for route in new {
        if !facts.routes.contains(&route) {
            facts.routes.push(route);
        }
    }
}

/// Says whether the table gives the bridge addresses of this one's family.
pub(super) fn has_family(bridge: &Bridge, address: &IpNet) -> bool {
    bridge
        .addresses
        .iter()
        .any(|own| matches!((own, address), (IpNet::V4(_), IpNet::V4(_)) | (IpNet::V6(_), IpNet::V6(_))))
}

fn is_link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local())
}
