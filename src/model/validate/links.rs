//! Rules about a node's links: the interfaces of its sites, and its bridges.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::{Check, NodeMarks, SiteMarks, overlap, usable_host};
use crate::model::{InterfaceName, Nat, Node, Platform, Site, SiteInterface};

impl<'n> Check<'n> {
    pub(super) fn site_link(&mut self, node: &Node, site: &Site, at: &SiteMarks) {
        if let (Some(mark), Some(SiteInterface::Link(link))) = (at.interface, &site.interface) {
            if let Some(why) = bad_link(link, node.platform) {
                self.error(
                    mark,
                    "bad-interface",
                    format!("{link:?} cannot be an interface of node {}: {why}", node.name),
                    "ip link shows the names; a Docker network is docker:NAME",
                );
            } else if *link == self.network.name.as_str() && self.marks.name.is_some() {
                self.error(
                    mark,
                    "bad-interface",
                    format!(
                        "{link} is the tunnel itself: a site of node {} lies behind another interface",
                        node.name
                    ),
                    "ip route get ADDRESS shows which",
                );
            }
        }
        if let (Some(mark), Some(_), Some(a)) = (at.address, at.subnet, site.address) {
            if !site.subnet.contains(&a) {
                self.error(
                    mark,
                    "address-outside",
                    format!("{a} of node {} is outside its site {}", node.name, site.subnet),
                    "write the node's own address there, or leave it out",
                );
            } else if !usable_host(site.subnet, a) {
                self.error(
                    mark,
                    "bad-address",
                    format!("{a} is the network or broadcast address of site {}", site.subnet),
                    "",
                );
            }
        }
        if let Some(mark) = at.nat
            && site.gateway
            && site.nat == Nat::Masquerade
            && !self.has_second_homes(node, site)
        {
            self.warn(
                mark,
                "needless-nat",
                format!(
                    "hosts of site {} have node {} as their gateway: masquerading only hides who calls",
                    site.subnet, node.name
                ),
                "nat = \"none\" lets them see the sender",
            );
        }
    }

    /// Says whether hosts of a site may have another way out than this node: containers, and other nodes that are attached.
    /// They answer by it, unless the caller is this node.
    fn has_second_homes(&self, node: &Node, site: &Site) -> bool {
        let is_docker = matches!(site.interface, Some(SiteInterface::Docker(_)));
        is_docker || self.attached.others_touch(&node.name, site.subnet)
    }

    pub(super) fn bridges(&mut self, node: &'n Node, at: &NodeMarks) {
        let mut names: HashSet<&str> = HashSet::new();
        let mut addresses: HashMap<IpAddr, &InterfaceName> = HashMap::new();
        let mut ports: HashMap<&str, &InterfaceName> = HashMap::new();
        for (bridge, at) in node.bridges.iter().zip(&at.bridges) {
            if let Some(mark) = at.name {
                if !names.insert(bridge.name.as_str()) {
                    self.error(
                        mark,
                        "duplicate-bridge",
                        format!("node {} has two bridges {}", node.name, bridge.name),
                        "put their addresses and ports into one",
                    );
                }
                if bridge.name == self.network.name && self.marks.name.is_some() {
                    self.error(
                        mark,
                        "bad-interface",
                        format!(
                            "bridge {} of node {} has the name of the tunnel's interface",
                            bridge.name, node.name
                        ),
                        "give it another name",
                    );
                }
            }
            for (address, mark) in bridge.addresses.iter().zip(&at.addresses) {
                if !usable_host(*address, address.addr()) {
                    self.error(
                        *mark,
                        "bad-address",
                        format!("{address} on bridge {} is the network or broadcast address", bridge.name),
                        "write a host's address with its prefix length, such as 192.168.33.1/24",
                    );
                } else if let Some(tunnel) = self.tunnels().find(|t| overlap(*t, address.trunc())) {
                    self.error(
                        *mark,
                        "bridge-in-tunnel",
                        format!(
                            "{address} on bridge {} of node {} overlaps the tunnel subnet {tunnel}",
                            bridge.name, node.name
                        ),
                        "use another network on the bridge, or for the tunnel",
                    );
                }
                if let Some(other) = addresses.insert(address.addr(), &bridge.name) {
                    self.error(
                        *mark,
                        "duplicate-address",
                        format!(
                            "{} is on bridge {} and on bridge {other} of node {}",
                            address.addr(),
                            bridge.name,
                            node.name
                        ),
                        "an address belongs on one link",
                    );
                }
            }
            for (port, mark) in bridge.ports.iter().zip(&at.ports) {
                if let Some(why) = bad_link(port, Platform::Linux) {
                    self.error(
                        *mark,
                        "bad-interface",
                        format!("{port:?} cannot be a port of bridge {}: {why}", bridge.name),
                        "ip link shows the names",
                    );
                } else if *port == bridge.name.as_str() || *port == self.network.name.as_str() {
                    self.error(
                        *mark,
                        "bad-interface",
                        format!("{port} cannot be a port of bridge {}", bridge.name),
                        "a port is another link of the host, such as eth0",
                    );
                } else if let Some(other) = ports.insert(port, &bridge.name) {
                    self.error(
                        *mark,
                        "duplicate-port",
                        format!("{port} is a port of bridge {} and of bridge {other}", bridge.name),
                        "a link is a port of one bridge",
                    );
                }
            }
        }
    }
}

/// Tells why a text is not the name of a link; Windows and macOS have names with spaces.
fn bad_link(name: &str, platform: Platform) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if matches!(platform, Platform::Windows | Platform::Macos) {
        return None;
    }
    if name.len() > 15 {
        Some("it is longer than 15 bytes")
    } else if name.contains('/') || name.contains(char::is_whitespace) || name.contains(char::is_control) {
        Some("a \"/\" or a space cannot be in it")
    } else if !name.chars().all(|c| c.is_alphanumeric() || "_.-:@+=,~".contains(c)) {
        // The kernel takes nearly anything; a shell that runs an exported file's hooks must not.
        Some("only letters, digits and _ . - : @ + = , ~ can be in it")
    } else if matches!(name, "." | ".." | "all" | "default") {
        Some("the kernel keeps that name for itself")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_nothing_for_a_shell_to_run() {
        for bad in ["a;reboot", "$(id)", "a`b`", "a|b", "a&b", "a'b", "a\"b", "a>b", "a#b", "a%i"] {
            assert!(bad_link(bad, Platform::Linux).is_some(), "{bad}");
        }
        for good in ["br-ext", "eth0.100", "eth0:1", "wlp2s0", "br-6a7541fe74a1", "veth@x"] {
            assert!(bad_link(good, Platform::Docker).is_none(), "{good}");
        }
    }

    #[test]
    fn link_names() {
        assert_eq!(bad_link("br-6a7541fe74a1", Platform::Linux), None);
        assert!(bad_link("br-6a7541fe74a1x", Platform::Linux).is_some());
        assert!(bad_link("a/b", Platform::Docker).is_some());
        assert_eq!(bad_link("Ethernet 2", Platform::Windows), None);
    }
}
