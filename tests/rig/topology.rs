//! The network that must work first: a relay with a Docker bridge, a laptop, and a compute node with VMs behind it.
//!
//! ```text
//!  windows 192.168.39.50 ─┐
//!                      internet 192.168.39.1      container 172.19.0.5 ─┐
//!  relay 192.168.39.45 ───┘                                             │
//!    ├─ br-6a7541fe74a1 172.19.0.1/16 ──────────────────────────────────┤
//!    └─ docker0 172.17.0.1/16 ── eth1 172.17.0.2 (default route) ┐      │
//!                                                              docker   │
//!  vm 192.168.33.71 ── br-ext 192.168.33.1/24, 172.19.0.9/16 ────┴─eth0─┘
//! ```
//!
//! No node forwards anything until somebody tells it to, and the VM knows its own subnet alone.

use super::need::{NAMESPACES, met};
use super::net::{End, bridge, cable, up};
use super::node::Node;

/// The Docker bridge of the relay, named as Docker names one.
pub const BRIDGE: &str = "br-6a7541fe74a1";
/// The relay's address that its clients know.
pub const RELAY: &str = "192.168.39.45";

/// The nodes.
#[derive(Debug)]
pub struct Topology {
    /// What the clients reach the relay through.
    pub internet: Node,
    /// Holds the Docker bridges.
    pub relay: Node,
    /// A laptop: one address, no site.
    pub windows: Node,
    /// The compute node: itself a container on both of the relay's bridges, with a bridge of its own for VMs.
    pub docker: Node,
    /// A VM behind the compute node.
    pub vm: Node,
    /// A container on the relay's bridge.
    pub container: Node,
}

/// Which addresses the nodes have, outside the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4.
    V4,
    /// IPv4, and IPv6 of the same shape: fd00:39::/64, fd00:19::/64, fd00:17::/64, fd00:33::/64.
    Both,
}

impl Topology {
    /// Does that where the machine can; `None`: it cannot, and nobody insists.
    pub fn possible(families: Families) -> Option<Self> {
        met(&NAMESPACES).then(|| Self::new(families))
    }

    /// Makes the nodes and the cables between them.
    pub fn new(families: Families) -> Self {
        let [internet, relay, windows, docker, vm, container] =
            ["internet", "relay", "windows", "docker", "vm", "container"].map(Node::new);
        for node in [&internet, &relay, &windows, &docker, &vm, &container] {
            for key in ["all", "default"] {
                // As the distributions' sysctl files have it: a packet's source must be routable, by whichever link.
                node.set_sysctl(&format!("ipv4/conf/{key}/rp_filter"), "2");
                // An address is ours at once: asking around takes a second, in which snapshots would differ.
                node.set_sysctl(&format!("ipv6/conf/{key}/accept_dad"), "0");
            }
        }
        let end = |node, link| End { node, link };
        cable(end(&relay, "eth0"), end(&internet, "relay"));
        cable(end(&windows, "eth0"), end(&internet, "windows"));
        cable(end(&relay, "veth1"), end(&container, "eth0"));
        cable(end(&relay, "veth2"), end(&docker, "eth0"));
        cable(end(&relay, "veth3"), end(&docker, "eth1"));
        cable(end(&docker, "vnet0"), end(&vm, "eth0"));
        let kept = |addresses: &[&'static str]| -> Vec<&'static str> {
            addresses.iter().copied().filter(|a| families == Families::Both || !a.contains(':')).collect()
        };
        let route = |to4: &str, to6: &str| match families {
            Families::V4 => format!("route add default via {to4}\n"),
            Families::Both => format!("route add default via {to4}\nroute add ::/0 via {to6}\n"),
        };
        internet.ip(&bridge("br0", &["relay", "windows"], &kept(&["192.168.39.1/24", "fd00:39::1/64"])));
        relay.ip(&[
            up("eth0", &kept(&["192.168.39.45/24", "fd00:39::45/64"])),
            bridge(BRIDGE, &["veth1", "veth2"], &kept(&["172.19.0.1/16", "fd00:19::1/64"])),
            bridge("docker0", &["veth3"], &kept(&["172.17.0.1/16", "fd00:17::1/64"])),
            route("192.168.39.1", "fd00:39::1"),
        ]
        .concat());
        windows.ip(&(up("eth0", &kept(&["192.168.39.50/24", "fd00:39::50/64"]))
            + &route("192.168.39.1", "fd00:39::1")));
        container
            .ip(&(up("eth0", &kept(&["172.19.0.5/16", "fd00:19::5/64"]))
                + &route("172.19.0.1", "fd00:19::1")));
        docker.ip(&[
            bridge(
                "br-ext",
                &["eth0", "vnet0"],
                &kept(&["192.168.33.1/24", "172.19.0.9/16", "fd00:33::1/64", "fd00:19::9/64"]),
            ),
            up("eth1", &kept(&["172.17.0.2/16", "fd00:17::2/64"])),
            route("172.17.0.1", "fd00:17::1"),
        ]
        .concat());
        vm.ip(&up("eth0", &kept(&["192.168.33.71/24", "fd00:33::71/64"])));
        for node in [&internet, &relay, &windows, &docker, &vm, &container] {
            carried(node);
        }
        Self { internet, relay, windows, docker, vm, container }
    }
}

/// Waits until each link of a node that is up has its carrier and says so: the kernel tells what hangs on it (a bridge's state,
/// link-local addresses) up to a second after a cable is there, and a snapshot from before would differ by that.
fn carried(node: &Node) {
    for _ in 0..500 {
        let links = node.run(&["ip", "-br", "link"]).ok().stdout;
        let waits = |line: &str| {
            let flags = line.rsplit_once('<').map_or("", |(_, flags)| flags.trim_end_matches(['>', ' ']));
            let is_up = flags.split(',').any(|flag| flag == "UP");
            is_up && (flags.contains("NO-CARRIER") || line.split_whitespace().nth(1) == Some("DOWN"))
        };
        if !links.lines().any(waits) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{}: a link is without carrier: {}", node.name, node.run(&["ip", "-br", "link"]).stdout);
}
