//! The kernel's WireGuard: links over rtnetlink, settings over generic netlink in batches.
//!
//! defguard_wireguard_rs reads (it joins a peer whose AllowedIPs come in several messages). It does not write here:
//! its link comes up at once, before any rule protects it, and each peer costs it a socket and one unsplit message.

use std::net::IpAddr;
use std::time::UNIX_EPOCH;

use defguard_wireguard_rs::{Kernel, WGApi, WireguardInterfaceApi as _};
use ipnet::IpNet;
use netlink_packet_core::Nla as _;
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::InfoKind;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute, WireguardCmd,
    WireguardDeviceFlags, WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};
use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};

use super::WireGuard;
use crate::dataplane::{DeviceChange, DeviceReport, HandshakeTime, PeerChange, PeerReport};
use crate::host::HostError;
use crate::host::linux::link;
use crate::host::linux::netlink::{Netlink, NetlinkError, Refusal};
use crate::model::{InterfaceName, KEY_LEN, PresharedKey, PrivateKey, PublicKey};
use crate::plan::ifalias;

/// Bytes of peers in one message; an attribute's length has 16 bits, and the batch adds headers.
const MESSAGE_BYTES: usize = 24 * 1024;
/// Prefixes of one peer in one message: at most 20 kB, 40 bytes for one of IPv6.
const MESSAGE_PREFIXES: usize = 500;

/// The kernel's WireGuard in the network namespace of the thread that opened it.
pub struct KernelWireGuard {
    route: Netlink,
    /// The generic socket and the family's number, once the module is known to be there.
    generic: Option<(Netlink, u16)>,
}

impl KernelWireGuard {
    /// Opens the sockets; asks for no privilege and no module yet.
    pub fn open() -> Result<Self, HostError> {
        let route = Netlink::open(NETLINK_ROUTE).map_err(|e| HostError::new("open", "netlink socket", e))?;
        Ok(Self { route, generic: None })
    }

    fn generic(&mut self) -> Result<&mut (Netlink, u16), NetlinkError> {
        if self.generic.is_none() {
            let mut netlink = Netlink::open(NETLINK_GENERIC)?;
            let request = GenlCtrl {
                cmd: GenlCtrlCmd::GetFamily,
                nlas: vec![GenlCtrlAttrs::FamilyName("wireguard".into())],
            };
            let replies = netlink.request(GenlMessage::from_payload(request), 0)?;
            let number = replies.iter().flat_map(|r| &r.payload.nlas).find_map(|nla| match nla {
                GenlCtrlAttrs::FamilyId(number) => Some(*number),
                _ => None,
            });
            let number =
                number.ok_or_else(|| NetlinkError::Unreadable("a family without a number".into()))?;
            self.generic = Some((netlink, number));
        }
        Ok(self.generic.as_mut().expect("it was set above where it was missing"))
    }
}

/// Says whether a kernel WireGuard interface can be made here and now: makes one and takes it away again.
/// Also `false` without the privilege to try.
pub fn probe() -> bool {
    let Ok(mut netlink) = Netlink::open(NETLINK_ROUTE) else { return false };
    // Unique among processes of one namespace, and the interfaces of people do not begin so.
    let name = format!("wgr?{:08x}", std::process::id());
    let made = netlink.batch(vec![link::create(&name, InfoKind::Wireguard, 1420)]);
    if !matches!(made.as_deref(), Ok([Ok(())])) {
        return false;
    }
    if let Ok(Some(found)) = link::read_one(&mut netlink, &name) {
        let _ = netlink.batch(vec![link::delete(found.index)]);
    }
    true
}

impl WireGuard for KernelWireGuard {
    fn create(&mut self, name: &InterfaceName, mtu: u16) -> Result<(), HostError> {
        let failed = |cause: String| HostError::new("create interface", name.as_str(), cause);
        // The alias goes in the same datagram: a process that dies in between would leave a link that nobody owns.
        let requests: Vec<(RouteNetlinkMessage, u16)> = vec![
            link::create(name.as_str(), InfoKind::Wireguard, mtu),
            link::set_alias(name.as_str(), &ifalias(name)),
        ];
        // An existing link must not get our alias.
        if let Some(found) =
            link::read_one(&mut self.route, name.as_str()).map_err(|e| failed(e.to_string()))?
        {
            let kind = found.link.kind;
            return Err(failed(format!("there is an interface of this name already, of kind {kind:?}"))
                .hint(format!("see `ip -d link show {name}`; if wg-quick made it, `wg-quick down {name}`")));
        }
        let answers = self.route.batch(requests).map_err(|e| failed(e.to_string()))?;
        match answers.into_iter().find_map(Result::err) {
            None => Ok(()),
            Some(refusal) => Err(failed(refusal.to_string()).hint(create_hint(&refusal))),
        }
    }

    fn configure(&mut self, name: &InterfaceName, change: &DeviceChange) -> Result<(), HostError> {
        let failed = |cause: String| HostError::new("configure interface", name.as_str(), cause);
        let (netlink, family) = self.generic().map_err(|e| failed(e.to_string()))?;
        let requests = messages(name, change)
            .into_iter()
            .map(|payload| {
                let mut message = GenlMessage::from_payload(payload);
                message.set_resolved_family_id(*family);
                (message, 0)
            })
            .collect();
        let answers = netlink.batch(requests).map_err(|e| failed(e.to_string()))?;
        match answers.into_iter().find_map(Result::err) {
            None => Ok(()),
            Some(refusal) if refusal.errno == libc::EADDRINUSE => {
                Err(super::port_taken(change.listen_port.unwrap_or(0)))
            }
            Some(refusal) => Err(failed(refusal.to_string()).hint(create_hint(&refusal))),
        }
    }

    fn report(&mut self, name: &InterfaceName) -> Result<Option<DeviceReport>, HostError> {
        let failed = |cause: String| HostError::new("read interface", name.as_str(), cause);
        let found = link::read_one(&mut self.route, name.as_str()).map_err(|e| failed(e.to_string()))?;
        if found.is_none_or(|f| f.link.kind != "wireguard") {
            return Ok(None);
        }
        let api = WGApi::<Kernel>::new(name.as_str()).map_err(|e| failed(e.to_string()))?;
        let host = api
            .read_interface_data()
            .map_err(|e| failed(e.to_string()).hint("reading keys takes CAP_NET_ADMIN: run as root"))?;
        let private_key = host.private_key.as_ref().map(|k| PrivateKey::from_bytes(k.as_array()));
        let mut peers: Vec<PeerReport> = host.peers.values().map(peer_report).collect();
        peers.sort_by_key(|p| p.public_key);
        Ok(Some(DeviceReport {
            public_key: private_key.as_ref().map(PrivateKey::public_key),
            private_key,
            listen_port: host.listen_port,
            fwmark: host.fwmark.unwrap_or(0),
            peers,
            ..DeviceReport::default()
        }))
    }

    fn delete(&mut self, name: &InterfaceName) -> Result<(), HostError> {
        let failed = |cause: String| HostError::new("delete interface", name.as_str(), cause);
        let found = link::read_one(&mut self.route, name.as_str()).map_err(|e| failed(e.to_string()))?;
        let Some(found) = found else { return Ok(()) };
        let answers = self.route.batch(vec![link::delete(found.index)]).map_err(|e| failed(e.to_string()))?;
        match answers.into_iter().find_map(Result::err) {
            Some(refusal) if refusal.errno != libc::ENODEV => Err(failed(refusal.to_string())),
            _ => Ok(()),
        }
    }
}

fn create_hint(refusal: &Refusal) -> &'static str {
    match refusal.errno {
        libc::EOPNOTSUPP => {
            "this kernel has no WireGuard: load it (`modprobe wireguard`), or use --backend embedded"
        }
        libc::EPERM => "run as root",
        _ => "",
    }
}

fn peer_report(peer: &defguard_wireguard_rs::peer::Peer) -> PeerReport {
    let mut allowed_ips: Vec<IpNet> =
        peer.allowed_ips.iter().filter_map(|a| IpNet::new(a.address, a.cidr).ok()).collect();
    allowed_ips.sort();
    let since_epoch = peer.last_handshake.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    PeerReport {
        public_key: PublicKey::from_bytes(peer.public_key.as_array()),
        // The kernel reports "none" as zeros.
        preshared_key: peer
            .preshared_key
            .as_ref()
            .map(|k| PresharedKey::from_bytes(k.as_array()))
            .filter(|k| k.expose() != &[0; KEY_LEN]),
        endpoint: peer.endpoint,
        keepalive: peer.persistent_keepalive_interval.unwrap_or(0),
        allowed_ips,
        last_handshake: since_epoch.filter(|d| !d.is_zero()).map(HandshakeTime::from),
        rx_bytes: peer.rx_bytes,
        tx_bytes: peer.tx_bytes,
        send_error: None,
    }
}

/// Writes a change as messages of a bounded size: many peers in one, a peer with many prefixes in several.
fn messages(name: &InterfaceName, change: &DeviceChange) -> Vec<WireguardMessage> {
    let mut messages = Vec::new();
    let mut device = vec![WireguardAttribute::IfName(name.to_string())];
    if let Some(key) = &change.private_key {
        device.push(WireguardAttribute::PrivateKey(*key.expose()));
    }
    device.extend(change.listen_port.map(WireguardAttribute::ListenPort));
    device.extend(change.fwmark.map(WireguardAttribute::Fwmark));
    if change.replace_peers {
        device.push(WireguardAttribute::Flags(WireguardDeviceFlags::ReplacePeers));
    }
    let (mut peers, mut size) = (Vec::new(), 0);
    for peer in change.peers.iter().flat_map(parts) {
        let length = peer.buffer_length();
        if size + length > MESSAGE_BYTES && !peers.is_empty() {
            device.push(WireguardAttribute::Peers(std::mem::take(&mut peers)));
            messages.push(message(std::mem::replace(
                &mut device,
                vec![WireguardAttribute::IfName(name.to_string())],
            )));
            size = 0;
        }
        size += length;
        peers.push(peer);
    }
    if !peers.is_empty() {
        device.push(WireguardAttribute::Peers(peers));
    }
    if device.len() > 1 {
        messages.push(message(device));
    }
    messages
}

const fn message(attributes: Vec<WireguardAttribute>) -> WireguardMessage {
    WireguardMessage { cmd: WireguardCmd::SetDevice, attributes }
}

/// Length of an attribute with its header, padded.
trait Length {
    fn buffer_length(&self) -> usize;
}

impl Length for WireguardPeer {
    fn buffer_length(&self) -> usize {
        4 + self.value_len().next_multiple_of(4)
    }
}

/// Writes one peer as one attribute, or as several where it has many prefixes.
fn parts(change: &PeerChange) -> Vec<WireguardPeer> {
    let key = || WireguardPeerAttribute::PublicKey(*change.public_key.as_bytes());
    if change.remove {
        return vec![WireguardPeer(vec![key(), WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe)])];
    }
    let mut first = vec![key()];
    let mut flags = WireguardPeerFlags::empty();
    flags.set(WireguardPeerFlags::UpdateOnly, change.update_only);
    flags.set(WireguardPeerFlags::ReplaceAllowedIps, change.replace_allowed_ips);
    if !flags.is_empty() {
        first.push(WireguardPeerAttribute::Flags(flags));
    }
    if let Some(psk) = &change.preshared_key {
        // Zeros are how the kernel is told to have none.
        let bytes = psk.as_ref().map_or([0; KEY_LEN], |k| *k.expose());
        first.push(WireguardPeerAttribute::PresharedKey(bytes));
    }
    first.extend(change.endpoint.map(WireguardPeerAttribute::Endpoint));
    first.extend(change.keepalive.map(WireguardPeerAttribute::PersistentKeepalive));
    let mut chunks = change.allowed_ips.chunks(MESSAGE_PREFIXES);
    first.extend(chunks.next().map(allowed_ips));
    let mut parts = vec![WireguardPeer(first)];
    parts.extend(chunks.map(|chunk| {
        let flags = WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly);
        WireguardPeer(vec![key(), flags, allowed_ips(chunk)])
    }));
    parts
}

fn allowed_ips(nets: &[IpNet]) -> WireguardPeerAttribute {
    let one = |net: &IpNet| {
        let family = match net.addr() {
            IpAddr::V4(_) => WireguardAddressFamily::Ipv4,
            IpAddr::V6(_) => WireguardAddressFamily::Ipv6,
        };
        WireguardAllowedIp(vec![
            WireguardAllowedIpAttr::Family(family),
            WireguardAllowedIpAttr::IpAddr(net.network()),
            WireguardAllowedIpAttr::Cidr(net.prefix_len()),
        ])
    };
    WireguardPeerAttribute::AllowedIps(nets.iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::Emitable as _;

    fn peer(number: u32, prefixes: u32) -> PeerChange {
        let mut key = [0; KEY_LEN];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let net = |i: u32| IpNet::new(IpAddr::from((0x0a00_0000 + i).to_be_bytes()), 32).unwrap();
        PeerChange {
            replace_allowed_ips: true,
            allowed_ips: (0..prefixes).map(net).collect(),
            ..PeerChange::new(PublicKey::from_bytes(key))
        }
    }

    #[test]
    fn messages_stay_small_and_lose_nothing() {
        let name: InterfaceName = "wg0".parse().unwrap();
        let change = DeviceChange {
            listen_port: Some(51820),
            peers: (0..700).map(|n| peer(n, 1)).chain([peer(1000, 5000)]).collect(),
            ..DeviceChange::default()
        };
        let messages = messages(&name, &change);
        assert!(messages.len() > 5, "{}", messages.len());
        let (mut peers, mut prefixes, mut replacing) = (0, 0, 0);
        for message in &messages {
            assert!(message.buffer_len() < 60_000, "{}", message.buffer_len());
            assert!(matches!(&message.attributes[0], WireguardAttribute::IfName(n) if n == "wg0"));
            for list in message.attributes.iter().filter_map(|a| match a {
                WireguardAttribute::Peers(list) => Some(list),
                _ => None,
            }) {
                peers += list.len();
                for attribute in list.iter().flat_map(|p| &p.0) {
                    match attribute {
                        WireguardPeerAttribute::AllowedIps(list) => prefixes += list.len(),
                        WireguardPeerAttribute::Flags(f)
                            if f.contains(WireguardPeerFlags::ReplaceAllowedIps) =>
                        {
                            replacing += 1;
                        }
                        _ => {}
                    }
                }
            }
        }
        // The peer with many prefixes takes ten attributes, of which the first alone replaces.
        assert_eq!((peers, prefixes, replacing), (710, 5700, 701));
    }

    #[test]
    fn nothing_to_say_is_no_message() {
        assert!(messages(&"wg0".parse().unwrap(), &DeviceChange::default()).is_empty());
    }
}
