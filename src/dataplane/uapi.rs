//! The text that `wg(8)` speaks with a device (www.wireguard.com/xplatform, "Configuration Protocol").
//!
//! Only text in and values out: a request is parsed whole before any of it is applied, and whatever is wrong with
//! it ends in an errno.

use std::fmt::Write as _;
use std::net::SocketAddr;

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::device::{DeviceChange, DeviceReport, PeerChange};
use crate::model::{KEY_LEN, PresharedKey, PrivateKey, PublicKey};

/// The most that a request may hold: 5,000 peers with dozens of prefixes each.
pub(super) const MAX_REQUEST: usize = 16 << 20;

/// Why a request failed, as the number that ends the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errno {
    /// EPERM: the kernel refused, as it does a firewall mark without CAP_NET_ADMIN.
    NotPermitted,
    /// EIO: anything else.
    Io,
    /// EINVAL: an unknown key, or a value that is none.
    Invalid,
    /// EPROTO: neither `get=1` nor `set=1`.
    Protocol,
    /// EADDRINUSE: another socket has the port.
    PortInUse,
}

impl Errno {
    /// The negative number that `wg(8)` expects of a userspace device.
    const fn code(self) -> i32 {
        match self {
            Self::NotPermitted => -1,
            Self::Io => -5,
            Self::Invalid => -22,
            Self::Protocol => -71,
            Self::PortInUse => -98,
        }
    }
}

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Get,
    Set(DeviceChange),
}

/// Takes the first whole request out of what a client has sent: its length in bytes and what it says.
///
/// `None` means that more has to come. The first `scanned` bytes are known to hold no end of a request.
pub(super) fn next_request(received: &[u8], scanned: usize) -> Option<(usize, Result<Request, Errno>)> {
    const GET: &[u8] = b"get=1\n";
    const SET: &[u8] = b"set=1\n";
    let known = |op: &[u8]| received.starts_with(op) || op.starts_with(received);
    if !known(GET) && !known(SET) {
        return Some((received.len(), Err(Errno::Protocol)));
    }
    // The end may lie across the two.
    let skipped = scanned.saturating_sub(1).min(received.len());
    let end = skipped + received[skipped..].windows(2).position(|w| w == b"\n\n")?;
    let request = &received[..=end];
    let parsed = if let Some(body) = request.strip_prefix(GET) {
        if body.is_empty() { Ok(Request::Get) } else { Err(Errno::Invalid) }
    } else {
        std::str::from_utf8(&request[SET.len()..])
            .map_err(|_| Errno::Invalid)
            .and_then(parse_set)
            .map(Request::Set)
    };
    Some((end + 2, parsed))
}

fn parse_set(body: &str) -> Result<DeviceChange, Errno> {
    let mut change = DeviceChange::default();
    for line in body.lines() {
        let (key, value) = line.split_once('=').ok_or(Errno::Invalid)?;
        if key == "public_key" {
            change.peers.push(PeerChange::new(PublicKey::from_bytes(*hex_key(value)?)));
        } else if let Some(peer) = change.peers.last() {
            // A prefix taken away after others were added: the same peer once more, so that the order holds.
            if key == "allowed_ip" && value.starts_with('-') && !peer.allowed_ips.is_empty() {
                let again = PeerChange { update_only: true, ..PeerChange::new(peer.public_key) };
                change.peers.push(again);
            }
            let peer = change.peers.last_mut().expect("there is a peer");
            parse_peer_line(peer, key, value)?;
        } else {
            parse_device_line(&mut change, key, value)?;
        }
    }
    Ok(change)
}

fn parse_device_line(change: &mut DeviceChange, key: &str, value: &str) -> Result<(), Errno> {
    match key {
        // Shown later in the form in which it is used, as the kernel does; zeroes are no key.
        "private_key" => {
            let bytes = hex_key(value)?;
            let none = *bytes == [0; KEY_LEN];
            change.private_key =
                Some(if none { PrivateKey::from_bytes(*bytes) } else { PrivateKey::from_random(*bytes) });
        }
        "listen_port" => change.listen_port = Some(number(value)?),
        "fwmark" if value.is_empty() => change.fwmark = Some(0),
        "fwmark" => change.fwmark = Some(number(value)?),
        "replace_peers" => change.replace_peers = yes(value)?,
        _ => return Err(Errno::Invalid),
    }
    Ok(())
}

fn parse_peer_line(peer: &mut PeerChange, key: &str, value: &str) -> Result<(), Errno> {
    match key {
        "remove" => peer.remove = yes(value)?,
        "update_only" => peer.update_only = yes(value)?,
        "preshared_key" => {
            let bytes = hex_key(value)?;
            peer.preshared_key = Some((*bytes != [0; KEY_LEN]).then(|| PresharedKey::from_bytes(*bytes)));
        }
        "endpoint" => peer.endpoint = Some(endpoint(value)?),
        "persistent_keepalive_interval" => peer.keepalive = Some(number(value)?),
        "replace_allowed_ips" => {
            peer.replace_allowed_ips = yes(value)?;
            // It clears what came before it, in this request too.
            peer.allowed_ips.clear();
            peer.remove_allowed_ips.clear();
        }
        "allowed_ip" => match value.strip_prefix('-') {
            Some(prefix) => peer.remove_allowed_ips.push(prefix_of(prefix)?),
            None => peer.allowed_ips.push(prefix_of(value.strip_prefix('+').unwrap_or(value))?),
        },
        "protocol_version" if value == "1" => {}
        _ => return Err(Errno::Invalid),
    }
    Ok(())
}

fn yes(value: &str) -> Result<bool, Errno> {
    if value == "true" { Ok(true) } else { Err(Errno::Invalid) }
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, Errno> {
    if !value.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Errno::Invalid);
    }
    value.parse().map_err(|_| Errno::Invalid)
}

fn endpoint(value: &str) -> Result<SocketAddr, Errno> {
    let address: SocketAddr = value.parse().map_err(|_| Errno::Invalid)?;
    Ok(match address {
        SocketAddr::V6(a) => match a.ip().to_ipv4_mapped() {
            Some(v4) => (v4, a.port()).into(),
            None => address,
        },
        SocketAddr::V4(_) => address,
    })
}

fn prefix_of(value: &str) -> Result<IpNet, Errno> {
    let prefix: IpNet = value.parse().map_err(|_| Errno::Invalid)?;
    Ok(prefix.trunc())
}

fn hex_key(value: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, Errno> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    let (pairs, rest) = value.as_bytes().as_chunks::<2>();
    if pairs.len() != KEY_LEN || !rest.is_empty() {
        return Err(Errno::Invalid);
    }
    for (byte, pair) in key.iter_mut().zip(pairs) {
        let digit = |c: u8| char::from(c).to_digit(16).ok_or(Errno::Invalid);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Ok(key)
}

/// Writes the answer to a request that returns nothing but success or failure.
pub(super) fn render_outcome(outcome: Result<(), Errno>) -> String {
    format!("errno={}\n\n", outcome.map_or_else(Errno::code, |()| 0))
}

/// Writes the answer to `get=1`.
pub(super) fn render_get(report: &DeviceReport) -> Zeroizing<String> {
    // Sized so that it seldom moves: what it leaves behind when it does is not wiped.
    let mut text = Zeroizing::new(String::with_capacity(256 + report.peers.len() * 512));
    let t = &mut *text;
    if let Some(key) = &report.private_key {
        push_hex(t, "private_key", key.expose());
    }
    if report.listen_port != 0 {
        push(t, "listen_port", report.listen_port);
    }
    if report.fwmark != 0 {
        push(t, "fwmark", report.fwmark);
    }
    for peer in &report.peers {
        push_hex(t, "public_key", peer.public_key.as_bytes());
        if let Some(key) = &peer.preshared_key {
            push_hex(t, "preshared_key", key.expose());
        }
        push(t, "protocol_version", 1);
        if let Some(endpoint) = peer.endpoint {
            push(t, "endpoint", endpoint);
        }
        let (seconds, nanos) = peer.last_handshake.map_or((0, 0), |h| (h.seconds, h.nanos));
        push(t, "last_handshake_time_sec", seconds);
        push(t, "last_handshake_time_nsec", nanos);
        push(t, "tx_bytes", peer.tx_bytes);
        push(t, "rx_bytes", peer.rx_bytes);
        push(t, "persistent_keepalive_interval", peer.keepalive);
        for prefix in &peer.allowed_ips {
            push(t, "allowed_ip", prefix);
        }
    }
    t.push_str("errno=0\n\n");
    text
}

fn push(text: &mut String, key: &str, value: impl std::fmt::Display) {
    writeln!(text, "{key}={value}").expect("writing to a string cannot fail");
}

fn push_hex(text: &mut String, key: &str, bytes: &[u8; KEY_LEN]) {
    text.push_str(key);
    text.push('=');
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(nibble.into(), 16).expect("a nibble is below 16"));
        }
    }
    text.push('\n');
}

#[cfg(test)]
#[path = "uapi_tests.rs"]
mod tests;
