//! How a WireGuard interface is made and set, whichever data plane stands behind it.

pub mod embedded;
mod kernel;
pub mod running;

use std::collections::BTreeMap;

pub use kernel::{KernelWireGuard, probe as kernel_probe};

use crate::dataplane::{DeviceChange, DeviceReport, PeerChange};
use crate::host::HostError;
use crate::model::{InterfaceName, PublicKey};
use crate::plan::{Change, Peer};

/// A data plane's side of one interface. Links, addresses and routes are not its business.
pub trait WireGuard {
    /// Makes the interface: down, without addresses and peers. One of that name, whoever made it, is an error.
    fn create(&mut self, name: &InterfaceName, mtu: u16) -> Result<(), HostError>;
    /// Changes what the change names and nothing else: sessions of other peers, and of peers changed in
    /// place, live on.
    fn configure(&mut self, name: &InterfaceName, change: &DeviceChange) -> Result<(), HostError>;
    /// Reads the interface, keys included; `None`: there is none, or nobody stands behind it.
    fn report(&mut self, name: &InterfaceName) -> Result<Option<DeviceReport>, HostError>;
    /// Takes the interface away; one that is gone already is no error.
    fn delete(&mut self, name: &InterfaceName) -> Result<(), HostError>;
}

/// Says that a UDP port cannot be bound, and how to find out why.
pub(super) fn port_taken(port: u16) -> HostError {
    HostError::new("bind UDP port", port.to_string(), "somebody on this host holds it already").hint(format!(
        "see who: `ss -ulpn 'sport = :{port}'` (kernel WireGuard has no process: `wg show all listen-port`); \
         or set another listen_port"
    ))
}

/// Joins neighbouring [`Change::Configure`] and [`Change::Peer`] into one change of the device.
pub(super) fn device_change(changes: &[Change]) -> DeviceChange {
    let mut device = DeviceChange::default();
    for change in changes {
        match change {
            Change::Configure { private_key, listen_port, fwmark } => {
                device.private_key = private_key.clone().or(device.private_key);
                device.listen_port = listen_port.map(|(_, to)| to.unwrap_or(0)).or(device.listen_port);
                device.fwmark = fwmark.map(|(_, to)| to).or(device.fwmark);
            }
            Change::Peer { key, from, to } => {
                device.peers.push(peer_change(*key, from.as_deref(), to.as_deref()));
            }
            _ => {}
        }
    }
    device
}

/// Says what turns one state of a peer into another, and nothing more.
fn peer_change(key: PublicKey, from: Option<&Peer>, to: Option<&Peer>) -> PeerChange {
    let mut change = PeerChange::new(key);
    let Some(to) = to else {
        change.remove = true;
        return change;
    };
    let keepalive = to.keepalive.unwrap_or(0);
    let Some(from) = from else {
        change.preshared_key = Some(to.preshared_key.clone());
        change.endpoint = to.endpoint;
        change.keepalive = Some(keepalive);
        change.replace_allowed_ips = true;
        change.allowed_ips = to.allowed_ips.iter().copied().collect();
        return change;
    };
    // A peer that somebody removed meanwhile must not come back half made.
    change.update_only = true;
    if from.preshared_key != to.preshared_key {
        change.preshared_key = Some(to.preshared_key.clone());
    }
    if from.endpoint != to.endpoint {
        change.endpoint = to.endpoint;
    }
    if from.keepalive != to.keepalive {
        change.keepalive = Some(keepalive);
    }
    // Kernels before 6.16 cannot take a single prefix away.
    change.replace_allowed_ips = !from.allowed_ips.is_subset(&to.allowed_ips);
    change.allowed_ips = if change.replace_allowed_ips {
        to.allowed_ips.iter().copied().collect()
    } else {
        to.allowed_ips.difference(&from.allowed_ips).copied().collect()
    };
    change
}

/// Reads a report as configuration. Endpoints are what was given when the peers were last applied, since a
/// report cannot tell a given endpoint from a learned one; `None` where nothing is known.
pub(super) fn configured(
    report: &DeviceReport,
    applied: Option<&BTreeMap<PublicKey, Peer>>,
) -> BTreeMap<PublicKey, Peer> {
    let peer = |p: &crate::dataplane::PeerReport| Peer {
        preshared_key: p.preshared_key.clone().filter(|k| k.expose() != &[0; crate::model::KEY_LEN]),
        // A peer that lost its endpoint was made anew by somebody.
        endpoint: p.endpoint.and_then(|_| applied?.get(&p.public_key)?.endpoint),
        keepalive: (p.keepalive != 0).then_some(p.keepalive),
        allowed_ips: p.allowed_ips.iter().copied().collect(),
    };
    report.peers.iter().map(|p| (p.public_key, peer(p))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PresharedKey;

    fn peer(allowed: &[&str]) -> Peer {
        Peer {
            preshared_key: Some(PresharedKey::from_bytes([1; 32])),
            endpoint: Some("192.0.2.1:51820".parse().unwrap()),
            keepalive: Some(25),
            allowed_ips: allowed.iter().map(|a| a.parse().unwrap()).collect(),
        }
    }
    const KEY: PublicKey = PublicKey::from_bytes([7; 32]);

    #[test]
    fn only_what_differs_is_sent() {
        let (one, two) = (peer(&["10.0.0.1/32"]), peer(&["10.0.0.1/32", "10.1.0.0/16"]));
        let added = peer_change(KEY, Some(&one), Some(&two));
        let expected = PeerChange {
            update_only: true,
            allowed_ips: vec!["10.1.0.0/16".parse().unwrap()],
            ..PeerChange::new(KEY)
        };
        assert_eq!(added, expected);
        let removed = peer_change(KEY, Some(&two), Some(&one));
        assert!(removed.replace_allowed_ips);
        assert_eq!(removed.allowed_ips, ["10.0.0.1/32".parse().unwrap()]);
    }

    #[test]
    fn none_clears_what_was_set() {
        let bare = Peer { preshared_key: None, keepalive: None, ..peer(&[]) };
        let change = peer_change(KEY, Some(&peer(&[])), Some(&bare));
        assert_eq!((change.preshared_key, change.keepalive), (Some(None), Some(0)));
        assert!(peer_change(KEY, Some(&bare), None).remove);
    }

    #[test]
    fn a_learned_endpoint_is_not_configuration() {
        let report = DeviceReport {
            peers: vec![crate::dataplane::PeerReport {
                public_key: KEY,
                preshared_key: Some(PresharedKey::from_bytes([0; 32])),
                endpoint: Some("203.0.113.9:4000".parse().unwrap()),
                keepalive: 0,
                allowed_ips: vec![],
                last_handshake: None,
                rx_bytes: 0,
                tx_bytes: 0,
                send_error: None,
            }],
            ..DeviceReport::default()
        };
        let none = &configured(&report, None)[&KEY];
        assert_eq!((none.endpoint, none.preshared_key.is_none(), none.keepalive), (None, true, None));
        let applied = BTreeMap::from([(KEY, peer(&[]))]);
        assert_eq!(configured(&report, Some(&applied))[&KEY].endpoint, peer(&[]).endpoint);
    }
}
