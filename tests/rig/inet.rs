//! The smallest Internet: a relay and a spoke on two links of it, a server elsewhere, and a site behind the spoke.
//!
//! ```text
//!  relay eth0 203.0.113.10 ── 203.0.113.1 inet 198.51.100.1 ── 198.51.100.20 eth0 spoke
//!                              192.0.2.80 (a server)              ├─ eth1 192.168.16.65/26 ── host 192.168.16.77
//!                                                                 └─ eth2 192.168.16.1/24 ─── wide 192.168.16.5
//! ```

use super::need::{NAMESPACES, met};
use super::net::{End, cable, up};
use super::node::Node;

/// A server outside of everything.
pub const SERVER: &str = "192.0.2.80";

/// The nodes.
#[derive(Debug)]
pub struct Inet {
    /// The router between all.
    pub inet: Node,
    /// The relay's host.
    pub relay: Node,
    /// A spoke's.
    pub spoke: Node,
    /// Behind the spoke's eth1, which is its gateway.
    pub host: Node,
    /// Behind the spoke's eth2.
    pub wide: Node,
}

impl Inet {
    /// Makes it where the machine can; `None`: it cannot, and nobody insists.
    pub fn possible() -> Option<Self> {
        if !met(&NAMESPACES) {
            return None;
        }
        let [inet, relay, spoke, host, wide] = ["inet", "relay", "spoke", "host", "wide"].map(Node::new);
        for node in [&inet, &relay, &spoke, &host, &wide] {
            for key in ["all", "default"] {
                node.set_sysctl(&format!("ipv4/conf/{key}/rp_filter"), "0");
                node.set_sysctl(&format!("ipv6/conf/{key}/accept_dad"), "0");
            }
        }
        let end = |node, link| End { node, link };
        cable(end(&relay, "eth0"), end(&inet, "to-relay"));
        cable(end(&spoke, "eth0"), end(&inet, "to-spoke"));
        cable(end(&spoke, "eth1"), end(&host, "eth0"));
        cable(end(&spoke, "eth2"), end(&wide, "eth0"));
        inet.ip(&[
            up("to-relay", &["203.0.113.1/24"]),
            up("to-spoke", &["198.51.100.1/24"]),
            format!("addr add {SERVER}/32 dev lo\n"),
        ]
        .concat());
        inet.set_sysctl("ipv4/ip_forward", "1");
        relay.ip(&(up("eth0", &["203.0.113.10/24"]) + "route add default via 203.0.113.1\n"));
        spoke.ip(&[
            up("eth0", &["198.51.100.20/24"]),
            up("eth1", &["192.168.16.65/26"]),
            up("eth2", &["192.168.16.1/24"]),
            "route add default via 198.51.100.1\n".into(),
        ]
        .concat());
        host.ip(&(up("eth0", &["192.168.16.77/26"]) + "route add default via 192.168.16.65\n"));
        wide.ip(&up("eth0", &["192.168.16.5/24"]));
        Some(Self { inet, relay, spoke, host, wide })
    }
}
