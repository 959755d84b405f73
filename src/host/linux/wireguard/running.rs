//! An interface that somebody else made, as it runs: the kernel's by netlink, a program's (wireguard-go, boringtun) by its UAPI socket.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlink_sys::protocols::NETLINK_ROUTE;
use zeroize::Zeroizing;

use super::{KernelWireGuard, WireGuard as _};
use crate::dataplane::{DeviceChange, DeviceReport, HandshakeTime, PeerChange, PeerReport};
use crate::host::HostError;
use crate::host::linux::link;
use crate::host::linux::netlink::Netlink;
use crate::model::{InterfaceName, KEY_LEN, PresharedKey, PrivateKey, PublicKey};
use crate::plan::ifalias;
use crate::store::unix_socket::connect_within;

/// Where programs put their sockets.
const SOCKETS: &str = "/run/wireguard";
/// How long a program may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The largest answer that is read: 50,000 peers take some 20 MiB.
const MAX_ANSWER: u64 = 64 << 20;

/// An interface that runs.
#[derive(Debug)]
pub struct Running {
    /// Its keys and peers, endpoints as they are by now.
    pub report: DeviceReport,
    /// Its addresses with prefix lengths.
    pub addresses: Vec<IpNet>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether the kernel carries its packets; else a program does.
    pub is_kernels: bool,
    /// Whether it is an interface of wgrelay's own.
    pub is_ours: bool,
}

/// Reads an interface, keys included; `None`: there is none of that name.
///
/// # Errors
/// It is no WireGuard interface, or nobody says what is in it.
pub fn running(name: &InterfaceName) -> Result<Option<Running>, HostError> {
    let failed = |cause: String| HostError::new("read interface", name.as_str(), cause);
    let mut netlink = Netlink::open(NETLINK_ROUTE).map_err(|e| failed(e.to_string()))?;
    let mut links = link::read_all(&mut netlink).map_err(|e| failed(e.to_string()))?;
    let Some(found) = links.remove(name.as_str()).map(|l| l.link) else { return Ok(None) };
    let is_kernels = found.kind == "wireguard";
    let report = if is_kernels {
        KernelWireGuard::open()?.report(name)?.ok_or_else(|| failed("it went away".into()))?
    } else {
        let answer = converse(name, "get=1\n\n").map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                failed("it is no WireGuard interface: no program answers for it in /run/wireguard".into())
            }
            _ => failed(e.to_string()),
        })?;
        parse(&answer).map_err(failed)?
    };
    let is_ours = found.alias == ifalias(name);
    Ok(Some(Running { report, addresses: found.addresses, mtu: found.mtu, is_kernels, is_ours }))
}

/// Calls peers at these addresses: each gets its endpoint, and a keepalive for a moment, which makes a handshake begin at once.
///
/// # Errors
/// There is no such interface, or it cannot be set.
pub fn call_peers(
    name: &InterfaceName,
    endpoints: &BTreeMap<PublicKey, SocketAddr>,
) -> Result<(), HostError> {
    let Some(now) = running(name)? else {
        return Err(HostError::new("call the peers of", name.as_str(), "there is no such interface"));
    };
    let known = now.report.peers.iter().filter_map(|p| Some((p, *endpoints.get(&p.public_key)?)));
    let calls = known.map(|(peer, endpoint)| {
        let call = PeerChange {
            update_only: true,
            endpoint: Some(endpoint),
            keepalive: Some(0),
            ..PeerChange::new(peer.public_key)
        };
        (call, peer.keepalive)
    });
    let (mut off, mut on, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for (call, keepalive) in calls {
        on.push(PeerChange { keepalive: Some(1), endpoint: None, ..call.clone() });
        back.push(PeerChange { keepalive: Some(keepalive), endpoint: None, ..call.clone() });
        off.push(call);
    }
    // Only from none to some makes a keepalive go out at once.
    for peers in [off, on, back] {
        let change = DeviceChange { peers, ..DeviceChange::default() };
        if now.is_kernels {
            KernelWireGuard::open()?.configure(name, &change)?;
            continue;
        }
        let failed = |cause: String| HostError::new("configure interface", name.as_str(), cause);
        let answer = converse(name, &set(&change)).map_err(|e| failed(e.to_string()))?;
        match answer.lines().find_map(|l| l.strip_prefix("errno=")) {
            Some("0") => {}
            other => {
                return Err(failed(format!(
                    "the program behind it answered errno {}",
                    other.unwrap_or("none")
                )));
            }
        }
    }
    Ok(())
}

/// Waits until these peers have a session, and counts those that have one.
///
/// # Errors
/// The interface cannot be read.
pub fn await_peers(name: &InterfaceName, peers: &[PublicKey], limit: Duration) -> Result<usize, HostError> {
    let began = Instant::now();
    loop {
        let report = running(name)?.map(|r| r.report).unwrap_or_default();
        let has_session = |key: &&PublicKey| {
            report.peers.iter().any(|p| p.public_key == **key && p.last_handshake.is_some())
        };
        let count = peers.iter().filter(has_session).count();
        if count == peers.len() || began.elapsed() > limit {
            return Ok(count);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes what `call_peers` changes as a request.
fn set(change: &DeviceChange) -> String {
    let hex = |key: &PublicKey| key.as_bytes().iter().map(|b| format!("{b:02x}")).collect::<String>();
    let mut text = String::from("set=1\n");
    for peer in &change.peers {
        text += &format!("public_key={}\nupdate_only=true\n", hex(&peer.public_key));
        text += &peer.endpoint.map(|e| format!("endpoint={e}\n")).unwrap_or_default();
        text += &peer.keepalive.map(|k| format!("persistent_keepalive_interval={k}\n")).unwrap_or_default();
    }
    text + "\n"
}

/// Asks the program behind an interface; its answer ends with an empty line.
fn converse(name: &InterfaceName, request: &str) -> io::Result<Zeroizing<String>> {
    let socket = PathBuf::from(SOCKETS).join(format!("{name}.sock"));
    let mut stream = connect_within(&socket, ANSWER_WITHIN)?;
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut piece) = (Zeroizing::new(Vec::new()), Zeroizing::new(vec![0; 64 << 10]));
    while !answer.ends_with(b"\n\n") {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&piece[..length]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        if answer.len() as u64 > MAX_ANSWER {
            return Err(io::Error::other("its answer is longer than any"));
        }
    }
    let text = String::from_utf8(std::mem::take(&mut *answer))
        .map_err(|_| io::Error::other("its answer is no text"))?;
    Ok(Zeroizing::new(text))
}

/// Reads the answer to `get=1` (wireguard.com/xplatform): what a program of another version adds is passed over.
fn parse(text: &str) -> Result<DeviceReport, String> {
    let mut report = DeviceReport::default();
    let bad = |key: &str| format!("what it says of {key} makes no sense");
    for line in text.lines().filter(|l| !l.is_empty()) {
        let (key, value) = line.split_once('=').ok_or("its answer is no list of keys and values")?;
        let number = || value.parse::<u64>().map_err(|_| bad(key));
        if key == "errno" {
            return if value == "0" { Ok(report) } else { Err(format!("it answers errno {value}")) };
        }
        if key == "public_key" {
            report.peers.push(PeerReport {
                public_key: PublicKey::from_bytes(*key_of(value).ok_or_else(|| bad(key))?),
                preshared_key: None,
                endpoint: None,
                keepalive: 0,
                allowed_ips: Vec::new(),
                last_handshake: None,
                rx_bytes: 0,
                tx_bytes: 0,
                send_error: None,
            });
            continue;
        }
        let Some(peer) = report.peers.last_mut() else {
            match key {
                "private_key" => {
                    let own = PrivateKey::from_bytes(*key_of(value).ok_or_else(|| bad(key))?);
                    report.public_key = Some(own.public_key());
                    report.private_key = Some(own);
                }
                "listen_port" => report.listen_port = u16::try_from(number()?).map_err(|_| bad(key))?,
                "fwmark" => report.fwmark = u32::try_from(number()?).map_err(|_| bad(key))?,
                _ => {}
            }
            continue;
        };
        match key {
            "preshared_key" => {
                let key = key_of(value).ok_or_else(|| bad(key))?;
                // None is told as zeros.
                peer.preshared_key = (*key != [0; KEY_LEN]).then(|| PresharedKey::from_bytes(*key));
            }
            "endpoint" => peer.endpoint = Some(value.parse().map_err(|_| bad(key))?),
            "persistent_keepalive_interval" => {
                peer.keepalive = u16::try_from(number()?).map_err(|_| bad(key))?;
            }
            "allowed_ip" => peer.allowed_ips.push(value.parse::<IpNet>().map_err(|_| bad(key))?.trunc()),
            "last_handshake_time_sec" => {
                peer.last_handshake = Some(number()?)
                    .filter(|s| *s > 0)
                    .map(|seconds| HandshakeTime::from(Duration::from_secs(seconds)));
            }
            "rx_bytes" => peer.rx_bytes = number()?,
            "tx_bytes" => peer.tx_bytes = number()?,
            _ => {}
        }
    }
    Err("its answer has no end".into())
}

fn key_of(hex: &str) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != KEY_LEN || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(pairs) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_of_its_interface() {
        let (own, peer, psk) = ("01".repeat(32), "ab".repeat(32), "07".repeat(32));
        let text = format!(
            "private_key={own}\nlisten_port=51820\nfwmark=7\npublic_key={peer}\npreshared_key={psk}\nprotocol_version=1\n\
             endpoint=[2001:db8::1]:4000\nlast_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=1\nrx_bytes=2\n\
             persistent_keepalive_interval=25\nallowed_ip=10.8.0.2/32\nallowed_ip=192.168.7.9/24\nnews=1\nerrno=0\n\n"
        );
        let report = parse(&text).unwrap();
        assert_eq!((report.listen_port, report.fwmark, report.peers.len()), (51820, 7, 1));
        let found = &report.peers[0];
        assert!(
            report.public_key.is_some() && found.preshared_key.is_some() && found.last_handshake.is_some()
        );
        assert_eq!((found.endpoint, found.keepalive), (Some("[2001:db8::1]:4000".parse().unwrap()), 25));
        assert_eq!(
            found.allowed_ips,
            ["10.8.0.2/32".parse().unwrap(), "192.168.7.0/24".parse::<IpNet>().unwrap()]
        );
        // Zeros are no preshared key.
        let zeros = text.replace(&psk, &"00".repeat(32));
        assert!(parse(&zeros).unwrap().peers[0].preshared_key.is_none());
        for (from, to) in [
            ("errno=0\n\n", ""),
            ("=51820", "=99999"),
            ("errno=0", "errno=1"),
            (own.as_str(), "0x"),
            ("fwmark=7", "fwmark"),
        ] {
            assert!(parse(&text.replace(from, to)).is_err(), "{from} -> {to}");
        }
    }

    #[test]
    fn a_call_is_no_new_peer() {
        let change = PeerChange {
            endpoint: Some("192.0.2.1:9".parse().unwrap()),
            keepalive: Some(0),
            ..PeerChange::new(PublicKey::from_bytes([0xab; 32]))
        };
        let text = set(&DeviceChange { peers: vec![change], ..DeviceChange::default() });
        let key = "ab".repeat(32);
        let expected = format!(
            "set=1\npublic_key={key}\nupdate_only=true\nendpoint=192.0.2.1:9\npersistent_keepalive_interval=0\n\n"
        );
        assert_eq!(text, expected);
    }
}
