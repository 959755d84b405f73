//! What may be asked of a device and what it tells: changes in, reports out.
//!
//! A [`DeviceChange`] has the meaning of one `wg set` or UAPI `set=1`; a [`DeviceReport`] that of `wg show dump`.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{PresharedKey, PrivateKey, PublicKey, Timestamp};

/// A change to a device. `None` everywhere means "leave alone".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceChange {
    /// The device's own key; 32 zero bytes take the key away. The key it already has changes nothing.
    pub private_key: Option<PrivateKey>,
    /// The UDP port; 0 lets the kernel choose one.
    pub listen_port: Option<u16>,
    /// The mark that outgoing datagrams carry; 0 is none.
    pub fwmark: Option<u32>,
    /// Whether all present peers go before `peers` are applied. Their sessions end.
    pub replace_peers: bool,
    /// Peers to add, change or remove, in this order.
    pub peers: Vec<PeerChange>,
}

/// A change to one peer, in the order: remove, or create; keys and endpoint; replace; take away; add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerChange {
    /// Which peer.
    pub public_key: PublicKey,
    /// Whether the peer goes; nothing else is looked at then.
    #[serde(default)]
    pub remove: bool,
    /// Whether a peer that is not there stays so.
    #[serde(default)]
    pub update_only: bool,
    /// `Some(None)` takes the preshared key away. Present sessions stay; the next handshake uses it.
    #[serde(default, with = "nested")]
    pub preshared_key: Option<Option<PresharedKey>>,
    /// Where to send to until an authenticated datagram comes from elsewhere.
    #[serde(default)]
    pub endpoint: Option<SocketAddr>,
    /// Persistent keepalive in seconds; 0 is off.
    #[serde(default)]
    pub keepalive: Option<u16>,
    /// Whether the present AllowedIPs go before `allowed_ips` are added.
    #[serde(default)]
    pub replace_allowed_ips: bool,
    /// Prefixes to add; one that another peer has moves to this one.
    #[serde(default)]
    pub allowed_ips: Vec<IpNet>,
    /// Prefixes to take away, where this peer has them.
    #[serde(default)]
    pub remove_allowed_ips: Vec<IpNet>,
}

impl PeerChange {
    /// Makes a change that only creates the peer where it is missing.
    pub const fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
            remove_allowed_ips: Vec::new(),
        }
    }
}

/// `Option<Option<T>>` over JSON: an absent field is `None`, `null` is `Some(None)`.
mod nested {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::option_option, reason = "the three states are the field's meaning")]
    pub(super) fn serialize<T: Serialize, S: Serializer>(
        v: &Option<Option<T>>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        // The outer level travels as a list of at most one value, since `null` could not tell the two apart.
        v.as_slice().serialize(s)
    }

    #[expect(clippy::option_option, reason = "the three states are the field's meaning")]
    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Option<T>>, D::Error> {
        Ok(Vec::deserialize(d)?.pop())
    }
}

/// A device as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// The device's own key, if it has one.
    pub private_key: Option<PrivateKey>,
    /// The public key that belongs to it.
    pub public_key: Option<PublicKey>,
    /// The bound UDP port; 0 before the first socket.
    pub listen_port: u16,
    /// The mark of outgoing datagrams; 0 is none.
    pub fwmark: u32,
    /// Every peer, by public key.
    pub peers: Vec<PeerReport>,
    /// What was dropped, and why.
    #[serde(default)]
    pub dropped: Dropped,
}

/// A peer as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    /// Which peer.
    pub public_key: PublicKey,
    /// The preshared key, if there is one.
    pub preshared_key: Option<PresharedKey>,
    /// Where the next datagram would go, learned or configured.
    pub endpoint: Option<SocketAddr>,
    /// Persistent keepalive in seconds; 0 is off.
    pub keepalive: u16,
    /// Its AllowedIPs, sorted.
    pub allowed_ips: Vec<IpNet>,
    /// When the last handshake was completed.
    pub last_handshake: Option<HandshakeTime>,
    /// Bytes of authenticated WireGuard messages received, handshakes included.
    pub rx_bytes: u64,
    /// Bytes of WireGuard messages sent, handshakes included.
    pub tx_bytes: u64,
    /// What the kernel answered when it last refused a datagram to that endpoint (`errno`), until it takes one; `None`: it takes
    /// them, or nobody can tell.
    #[serde(default)]
    pub send_error: Option<i32>,
}

/// A wall-clock time with the precision that UAPI reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HandshakeTime {
    /// Whole seconds since 1970-01-01T00:00:00Z.
    pub seconds: u64,
    /// The rest, 0 to 999,999,999.
    pub nanos: u32,
}

impl From<Duration> for HandshakeTime {
    fn from(since_epoch: Duration) -> Self {
        Self { seconds: since_epoch.as_secs(), nanos: since_epoch.subsec_nanos() }
    }
}

impl From<HandshakeTime> for Timestamp {
    fn from(time: HandshakeTime) -> Self {
        Self(time.seconds)
    }
}

/// Counts of what a device dropped since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dropped {
    /// Datagrams that are no WireGuard message, or belong to no session and no peer.
    pub stray: u64,
    /// Messages that failed authentication or were seen before.
    pub refused: u64,
    /// Handshakes answered with a cookie, or beyond one address's share, under load.
    pub throttled: u64,
    /// Decrypted packets whose source is not among the sender's AllowedIPs, or that are no IP packet.
    pub bad_source: u64,
    /// Packets from the interface that no peer takes, or whose peer has no endpoint.
    pub unroutable: u64,
}
