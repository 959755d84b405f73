//! Rules about `[[allow]]` and `[[expect]]`: the places they name have to be there.

use ipnet::IpNet;

use super::{Check, Mark, overlap};
use crate::model::{Node, NodeName, PlaceRef, PrefixMap, nearest};

impl<'n> Check<'n> {
    pub(super) fn policy(&mut self, sites: &PrefixMap<&'n Node>) {
        let network = self.network;
        let egress = network.nodes.values().any(|n| n.egress || n.sites.iter().any(|s| s.egress));
        for (rule, marks) in network.allow.iter().zip(&self.marks.allow) {
            for (place, mark) in rule.from.iter().chain(&rule.to).zip(marks) {
                self.place(place, *mark, sites, egress);
            }
            let is_outside = |place: &PlaceRef| matches!(place, PlaceRef::Internet | PlaceRef::Lan(_));
            let from_outside = rule.from.iter().zip(marks).filter(|(place, _)| is_outside(place));
            for (_, mark) in from_outside {
                self.warn(
                    *mark,
                    "from-internet",
                    "`wgrelay up` refuses this: no flow comes from outside by a rule of [[allow]]".into(),
                    "[[forward]] lets a port of the relay lead into the network",
                );
            }
        }
        for (promise, [from, to]) in network.expect.iter().zip(&self.marks.expect) {
            // From outside one can be kept out without any egress.
            self.place(&promise.from, *from, sites, true);
            self.place(&promise.to, *to, sites, egress);
        }
    }

    pub(super) fn place(&mut self, place: &PlaceRef, mark: Mark, sites: &PrefixMap<&'n Node>, egress: bool) {
        let prefix = match place {
            PlaceRef::Any => return,
            PlaceRef::Internet => {
                if !egress && self.marks.complete {
                    self.warn(
                        mark,
                        "no-egress",
                        "no node lets anything out to the Internet".into(),
                        "set egress = true on the relay or on a site",
                    );
                }
                return;
            }
            PlaceRef::Group(name) => {
                if self.network.group(name).next().is_none() && self.marks.complete {
                    let groups = self.network.nodes.values().flat_map(|n| &n.groups).map(NodeName::as_str);
                    let hint = nearest(name.as_str(), groups).map_or_else(
                        || format!("groups = [\"{name}\"] under the nodes that belong to it"),
                        |n| format!("did you mean \"@{n}\"?"),
                    );
                    self.error(mark, "unknown-place", format!("no node is in the group {name:?}"), hint);
                }
                return;
            }
            PlaceRef::Node(name) | PlaceRef::Lan(name) => {
                if !self.network.nodes.contains_key(name) && self.marks.complete {
                    // A suggestion looks at every name: worth it for some mistakes, not for thousands.
                    let near = (self.found.len() < 100)
                        .then(|| {
                            let names = self.network.nodes.keys().map(NodeName::as_str);
                            nearest(name.as_str(), names.chain(["internet"]))
                        })
                        .flatten();
                    let hint = near.map_or_else(
                        || "a place is a node, a site's subnet, an address, \"*\" or \"internet\"".into(),
                        |n| format!("did you mean {n:?}?"),
                    );
                    self.error(mark, "unknown-place", format!("no node is called {name:?}"), hint);
                }
                return;
            }
            PlaceRef::Prefix(net) => *net,
            PlaceRef::Address(ip) => IpNet::from(*ip),
        };
        let known = self.tunnels().any(|t| overlap(t, prefix)) || sites.overlapping(prefix).is_some();
        if !known && self.marks.complete && prefix.prefix_len() > 0 {
            let mut aliased = self.network.nodes.values().flat_map(Node::aliases);
            let alias = aliased.find(|(site, _)| overlap(site.subnet, prefix));
            let hint = alias.map_or_else(
                || "add it as a site of the node it is behind".into(),
                |(site, alias)| format!("the network knows {} as {alias}: write that", site.subnet),
            );
            self.warn(
                mark,
                "unknown-place",
                format!("{place} lies in no site, nor in the tunnel subnet"),
                hint,
            );
        }
    }
}
