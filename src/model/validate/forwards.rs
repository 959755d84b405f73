//! Rules about `[[forward]]`: who it is on, where it leads, and that no port leads two ways.

use super::{Check, Mark, overlap};
use crate::model::{Forward, Network, Node, PlaceRef, PortSpec, Site, Target};

impl Check<'_> {
    pub(super) fn forwards(&mut self) {
        let network = self.network;
        let mut earlier: Vec<&Forward> = Vec::new();
        for (forward, [on, port, to]) in network.forward.iter().zip(&self.marks.forward) {
            for group in &forward.from {
                if let PlaceRef::Group(name) = group
                    && network.group(name).next().is_none()
                    && self.marks.complete
                {
                    let message = format!("no node is in the group {name:?}");
                    let hint = format!("groups = [\"{name}\"] under the nodes that belong to it");
                    self.error(*port, "unknown-place", message, hint);
                }
            }
            self.forwards_on(forward, *on);
            self.forwards_to(forward, *to);
            if forward.port == PortSpec::Icmp {
                let message = "icmp has no ports that could lead elsewhere".into();
                self.error(*port, "bad-port", message, "port = \"tcp/8080\" or \"udp/53\"");
                continue;
            }
            let range = forward.called();
            if forward.to.port.is_some() && range.first != range.last {
                let message = format!("{} are several ports, and {} names one", forward.port, forward.to);
                self.error(*to, "bad-destination", message, "leave the port out: each leads to its own");
            }
            if forward.on.is_none() && network.relays().nth(1).is_some() {
                let message =
                    format!("{} says not whose port it is, and there are several relays", forward.port);
                self.error(*port, "no-relay", message, "add on = \"NAME\", a relay's");
            }
            let listens = network.relays().find(|r| forward.is_on(r)).and_then(Node::listen_port);
            let is_ours = matches!(forward.port, PortSpec::Udp(_))
                && listens.is_some_and(|p| (range.first..=range.last).contains(&p));
            if is_ours {
                let message = format!("{} is WireGuard's own port", forward.port);
                self.error(*port, "port-taken", message, "another port, or another endpoint for the relay");
            }
            if let Some(other) = earlier.iter().find(|other| clash(network, other, forward)) {
                let message = format!("{} leads to {} already", forward.port, other.to);
                self.error(*port, "port-taken", message, "another port, or callers (`from`) that differ");
            }
            earlier.push(forward);
        }
    }

    fn forwards_on(&mut self, forward: &Forward, mark: Mark) {
        let Some(on) = &forward.on else { return };
        let is_relay = self.network.nodes.get(on).is_some_and(Node::is_relay);
        if !is_relay && self.marks.complete {
            let message = format!("a port can be on a relay, and {on} is none");
            self.error(mark, "unknown-node", message, "leave on out, or name the relay");
        }
    }

    fn forwards_to(&mut self, forward: &Forward, mark: Mark) {
        if !self.marks.complete {
            return;
        }
        match &forward.to.target {
            Target::Node(name) => match self.network.nodes.get(name) {
                Some(node) if forward.is_on(node) => {
                    let message = format!("{name} would lead to itself");
                    self.error(mark, "bad-destination", message, "name another node, or a host in a site");
                }
                Some(_) => {}
                None => {
                    let message = format!("no node is called {name:?}");
                    self.error(
                        mark,
                        "unknown-place",
                        message,
                        "to = \"NODE:PORT\", or \"ADDRESS:PORT\" in a site",
                    );
                }
            },
            Target::Address(ip) => {
                let net = (*ip).into();
                let sites = self.network.nodes.values().flat_map(|n| &n.sites);
                let is_place = sites.map(Site::prefix).any(|s| s.contains(&net));
                let is_node = self.network.nodes.values().any(|n| n.host_prefixes().contains(&net));
                if !is_place && !is_node {
                    let message = format!("{ip} lies in no site, and is no node's address");
                    self.error(mark, "unknown-place", message, "add it as a site of the node it is behind");
                }
            }
        }
    }
}

/// Says whether a packet could be meant by both.
fn clash(network: &Network, a: &Forward, b: &Forward) -> bool {
    let kind = std::mem::discriminant(&a.port) == std::mem::discriminant(&b.port);
    let (x, y) = (a.called(), b.called());
    let callers = match (a.callers(network), b.callers(network)) {
        (Some(a), Some(b)) => a.iter().any(|n| b.iter().any(|m| overlap(*n, *m))),
        _ => true,
    };
    let on = a.on.is_none() || b.on.is_none() || a.on == b.on;
    kind && on && callers && x.first <= y.last && y.first <= x.last
}
