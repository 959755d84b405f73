//! What this machine tells about itself, for `init` to guess from: addresses, Docker's networks, WSL's mode.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::model::{DEFAULT_PORT, Endpoint, EndpointHost};
use crate::plan::{DockerContainer, DockerNetwork, WslMode};

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    /// The address that the default route leaves with.
    pub address: Option<IpAddr>,
    /// Docker's networks; `None`: no engine answers.
    pub docker: Option<BTreeMap<String, DockerNetwork>>,
    /// The containers that run there.
    pub containers: Vec<DockerContainer>,
    /// WSL's networking mode; `None`: not WSL.
    pub wsl: Option<WslMode>,
}

impl Discovery {
    /// Returns the likeliest endpoint.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.address.map(|ip| Endpoint { host: EndpointHost::Ip(ip), port: DEFAULT_PORT })
    }
    /// Says whether an address is this machine's.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        self.address == Some(ip)
    }
}

/// Looks around. Whatever cannot be told is left out.
pub fn discover() -> Discovery {
    let engine = super::docker::Engine::here();
    Discovery {
        address: outgoing_address(),
        containers: engine.as_ref().and_then(super::docker::Engine::containers).unwrap_or_default(),
        docker: engine.and_then(|e| e.networks()),
        wsl: super::facts::wsl(),
    }
}

/// The source address of a route to the Internet: connecting a UDP socket asks the routing table and sends nothing.
fn outgoing_address() -> Option<IpAddr> {
    // Addresses of the documentation blocks (RFC 5737, RFC 3849): nobody is there.
    [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")].iter().find_map(|(any, far)| {
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(far.parse::<SocketAddr>().ok()?).ok()?;
        let ip = socket.local_addr().ok()?.ip();
        (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
    })
}
