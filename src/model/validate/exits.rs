//! By whom spokes leave to the Internet: `via` names a node that lets them out, and a relay has one way there at the most.

use std::collections::BTreeSet;

use super::{Check, Mark, NodeMarks};
use crate::model::via::sends_all_into_tunnel;
use crate::model::{Node, NodeName, Platform, Role, Routes, Timestamp};

impl Check<'_> {
    pub(super) fn exits(&mut self) {
        let named: BTreeSet<&NodeName> = self
            .nodes
            .iter()
            .filter(|(node, _)| !node.is_relay())
            .filter_map(|(node, _)| node.via.as_ref())
            .collect();
        for (node, at) in self.nodes.clone() {
            if node.role == Role::Spoke && at.role.is_some() && node.egress && !named.contains(&node.name) {
                self.warn(
                    at.egress.unwrap_or(at.node),
                    "egress-on-spoke",
                    format!("node {} is a spoke, and no other names it in `via`: nobody leaves by it", node.name),
                    format!(
                        "via = \"{}\" on the spokes that are to; for the hosts of a site, egress belongs on the site",
                        node.name
                    ),
                );
            }
            if let (Some(via), Some(mark)) = (&node.via, at.via) {
                self.exit(node, at, via, mark);
            }
        }
        self.one_way_out();
    }

    fn exit(&mut self, node: &Node, at: &NodeMarks, via: &NodeName, mark: Mark) {
        if node.is_relay() {
            self.error(
                mark,
                "via-of-relay",
                format!(
                    "{} is a relay: what it sends to the Internet itself leaves by its own host",
                    node.name
                ),
                "take the line away; it belongs on spokes",
            );
            return;
        }
        if node.routes == Routes::Split {
            self.error(
                at.routes.unwrap_or(mark),
                "via-and-split",
                format!(
                    "{} leaves by {via}, and routes = \"split\" sends nothing of that into the tunnel",
                    node.name
                ),
                "routes = \"full\", or no `routes` at all: `via` means that",
            );
        }
        let why = match self.network.nodes.get(via) {
            _ if *via == node.name => "itself",
            None if !self.marks.complete => return,
            None => "no node of this file",
            Some(exit) => return self.lets_out(node, exit, mark),
        };
        self.error(
            mark,
            "unknown-exit",
            format!("via of {} names {via}, which is {why}", node.name),
            "the name of a node with egress = true",
        );
    }

    fn lets_out(&mut self, node: &Node, exit: &Node, mark: Mark) {
        if sends_all_into_tunnel(exit) {
            self.error(
                mark,
                "exit-in-tunnel",
                format!(
                    "{} is to leave by {}, which sends everything into the tunnel itself",
                    node.name, exit.name
                ),
                format!("routes = \"split\" under [node.{}], or another exit", exit.name),
            );
        } else if !exit.egress {
            self.warn(
                mark,
                "no-egress",
                format!("node {} leaves to the Internet by {}, which lets nobody out", node.name, exit.name),
                format!("egress = true under [node.{}]", exit.name),
            );
        } else if matches!(exit.platform, Platform::Android | Platform::Ios) {
            self.warn(
                mark,
                "exit-platform",
                format!(
                    "{} is to leave by {}, which runs on {}, whose client does not forward packets",
                    node.name,
                    exit.name,
                    exit.platform.as_str()
                ),
                "make a Linux node the exit",
            );
        }
    }

    /// Two exits behind one relay: its AllowedIPs can give the Internet to one peer alone.
    fn one_way_out(&mut self) {
        // Dates change homes; what the file says without them is judged here, and at any moment one way is taken.
        let now = Timestamp(0);
        for relay in self.network.relays() {
            let mut first: Option<(&NodeName, &NodeName)> = None;
            for (spoke, at) in self.nodes.clone() {
                let Some(mark) = at.via.filter(|_| !spoke.is_relay() && spoke.routes != Routes::Split) else {
                    continue;
                };
                let Some(peer) = self.network.towards_exit(relay, spoke, now) else { continue };
                match first {
                    None => first = Some((&peer.name, &spoke.name)),
                    Some((other, _)) if *other == peer.name => {}
                    Some((other, by)) => {
                        self.error(
                            mark,
                            "several-exits",
                            format!(
                                "relay {} sends what {by} sends to the Internet to {other}, and cannot send that of {} to {}: in its \
                                 AllowedIPs the Internet is one peer's",
                                relay.name, spoke.name, peer.name
                            ),
                            "one exit for all of them, or a second relay that is the home of the other one and its spokes",
                        );
                        break;
                    }
                }
            }
        }
    }
}
