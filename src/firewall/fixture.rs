//! The small network that tests of these layers share: a relay, what may be behind it, and a spoke.

use super::foreign::ForeignRoute;
use super::foreign::input::Arrival;
use crate::config::parse_network;
use crate::model::{Network, NodeName};

/// The relay, alone.
pub(crate) const RELAY: &str = r#"[network]
name = "wg0"
subnet = "192.168.3.0/24"
[node.wsl]
role = "relay"
address = "192.168.3.1"
endpoint = "192.168.39.45:51820"
public_key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
"#;

/// A site of the node above it.
pub(crate) const SITE: &str = r#"[[node.wsl.site]]
subnet = "172.19.0.0/16"
interface = "br-site"
"#;

/// A spoke.
pub(crate) const SPOKE: &str = r#"[node.docker]
address = "192.168.3.3"
public_key = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
"#;

/// Reads a network that is put together of such parts.
pub(crate) fn network(text: &str) -> Network {
    parse_network(text.as_bytes(), "network.toml").value.expect("a test's network is valid")
}

/// The relay alone, and its name.
pub(crate) fn relay_alone() -> (Network, NodeName) {
    (network(RELAY), "wsl".parse().expect("it is a name"))
}

/// The way out by eth0.
pub(crate) fn uplink() -> ForeignRoute {
    ForeignRoute {
        dst: "0.0.0.0/0".parse().expect("it is a prefix"),
        device: "eth0".into(),
        gateway: None,
        protocol: 3,
        mtu: None,
    }
}

/// Packets that come by eth0, for this address.
pub(crate) fn arrival(address: &str) -> Arrival {
    Arrival {
        link: Some("eth0".into()),
        never: ["lo".into()].into(),
        links: ["lo".into(), "eth0".into(), "eth1".into()].into(),
        addresses: [address.parse().expect("it is an address")].into(),
    }
}
