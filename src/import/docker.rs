//! What Docker's engine on this host says of the bridges and subnets that the relay's file names. A bridge is called after its network's
//! id, so that the engine alone tells what is behind it.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::finding::Findings;
use super::hooks::Hooks;
use super::routes::is_private;
use super::{Source, relay};
use crate::firewall::foreign::docker::DockerNetwork;
use crate::model::NodeName;
use crate::wgconf::Key;

/// Docker's networks by name; none where no engine answers, or on another host than the file's.
#[derive(Clone, Copy)]
pub(super) struct Engine<'d>(pub &'d BTreeMap<String, DockerNetwork>);

impl<'d> Engine<'d> {
    /// The network that has this subnet.
    pub(super) fn of_subnet(self, net: &IpNet) -> Option<&'d str> {
        self.0
            .iter()
            .find(|(_, n)| n.subnets.iter().any(|s| s.trunc() == *net))
            .map(|(name, _)| name.as_str())
    }

    /// The network behind this bridge.
    pub(super) fn of_bridge(self, link: &str) -> Option<(&'d str, &'d DockerNetwork)> {
        self.0.iter().find(|(_, n)| n.bridge == link).map(|(name, n)| (name.as_str(), n))
    }

    /// What is behind the bridges that hooks masquerade or carry to, where no site is behind that bridge: no client's file has to name it.
    pub(super) fn unnamed(self, hooks: &Hooks, sites: &[IpNet]) -> Vec<(IpNet, &'d str, &'d str)> {
        let mut found = Vec::new();
        for link in hooks.links() {
            let Some((name, network)) = self.of_bridge(link) else { continue };
            if sites.iter().any(|net| hooks.link_of(net) == Some(link) || self.of_subnet(net) == Some(name)) {
                continue;
            }
            let subnets = network.subnets.iter().map(IpNet::trunc).filter(is_private);
            found.extend(subnets.map(|net| (net, name, network.bridge.as_str())));
        }
        found
    }
}

/// Tells of a site whose prefix is not the one of the Docker network behind the bridge that its hooks name.
pub(super) fn told_otherwise(
    source: &Source<'_>,
    node: &NodeName,
    (net, link): (IpNet, &str),
    engine: Engine<'_>,
    told: &mut Findings,
) {
    let Some((name, network)) = engine.of_bridge(link) else { return };
    if network.subnets.is_empty() || network.subnets.iter().any(|s| s.contains(&net)) {
        return;
    }
    let there: Vec<String> = network.subnets.iter().map(|s| s.trunc().to_string()).collect();
    let there = there.join(", ");
    told.add(
        "docker-subnet",
        source.place(Key::PostUp),
        format!("{link} is the bridge of Docker's network {name}, which is {there} here and not {net}, as the clients' files say"),
        format!("subnet = \"{there}\" under that [[node.{node}.site]], if this is the relay's host; then `wgrelay export` again"),
    );
}

/// Tells of a site that the engine alone knows of.
pub(super) fn added(source: &Source<'_>, (net, name, link): (IpNet, &str, &str), told: &mut Findings) {
    told.add(
        "docker-site",
        source.place(Key::PostUp),
        format!("{link} is the bridge of Docker's network {name}: {net} is behind it, which no client's file says"),
        "a client whose AllowedIPs lack it is as it was until they are widened; remove the site where nobody is to get there",
    );
}

/// Whether a link is called as Docker calls a network's bridge: after the first twelve digits of its id.
pub(super) fn is_named_by_id(link: &str) -> bool {
    link.strip_prefix("br-").is_some_and(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The sites behind the relay: those that files name, and those that the engine knows besides.
pub(super) fn with_unnamed(
    source: &Source<'_>,
    node: &NodeName,
    mut nets: Vec<IpNet>,
    claimed: &[IpNet],
    engine: Engine<'_>,
    told: &mut Findings,
) -> Vec<crate::model::Site> {
    let hooks = &source.hooks;
    for net in &nets {
        if let Some(link) = hooks.link_of(net) {
            told_otherwise(source, node, (*net, link), engine, told);
        }
    }
    let meets = |net: &IpNet, others: &[IpNet]| others.iter().any(|o| o.contains(net) || net.contains(o));
    // A tunnel of one family carries no other.
    let families = |net: &IpNet| claimed.iter().any(|c| c.addr().is_ipv6() == net.addr().is_ipv6());
    for new in engine.unnamed(hooks, &nets).into_iter().filter(|(net, ..)| families(net)) {
        if !meets(&new.0, &nets) && !meets(&new.0, claimed) {
            added(source, new, told);
            nets.push(new.0);
        }
    }
    nets.sort();
    nets.iter().map(|net| relay::site(*net, hooks, engine)).collect()
}
