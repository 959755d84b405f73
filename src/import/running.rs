//! An interface as it runs, and the file that it was made from: what runs counts; names and hooks are the file's.

use std::collections::BTreeSet;

use super::Source;
use super::finding::Findings;
use crate::wgconf::{Document, Key, Peer};

/// Puts what runs into what was read of its file, and tells what differs.
pub(super) fn take_over(source: &mut Source<'_>, running: &Document, told: &mut Findings) {
    let interface = &running.interface;
    let own = &source.reading.document.interface;
    let differs = |told: &mut Findings, place: String, what: &str| {
        told.add(
            "differs-from-running",
            place,
            format!("{what} is not what the interface runs with, which is taken"),
            "",
        );
    };
    let sorted = |list: &[ipnet::IpNet]| list.iter().copied().collect::<BTreeSet<_>>();
    let has_other_addresses = sorted(&own.addresses) != sorted(&interface.addresses);
    if has_other_addresses {
        differs(told, source.place(Key::Address), "Address");
    }
    if own.listen_port.is_some_and(|port| Some(port) != interface.listen_port) {
        differs(told, source.place(Key::ListenPort), "ListenPort");
    }
    let document = &mut source.reading.document;
    document.interface.addresses.clone_from(&interface.addresses);
    document.interface.listen_port = interface.listen_port;
    for (i, peer) in source.reading.document.peers.clone().iter().enumerate() {
        let Some(now) = running.peers.iter().find(|p| p.public_key == peer.public_key) else {
            told.add(
                "not-running",
                source.place_in_peer(i, Key::PublicKey),
                "the interface runs without this peer: it is taken over all the same",
                "if it was taken out for good: `wgrelay remove` it, or `wgrelay disable` it",
            );
            continue;
        };
        let pairs = [
            (Key::AllowedIps, "AllowedIPs", sorted(&peer.allowed_ips) != sorted(&now.allowed_ips)),
            (Key::PresharedKey, "PresharedKey", peer.preshared_key != now.preshared_key),
            (
                Key::PersistentKeepalive,
                "PersistentKeepalive",
                peer.keepalive.unwrap_or(0) != now.keepalive.unwrap_or(0),
            ),
        ];
        for (key, what, _) in pairs.into_iter().filter(|(.., other)| *other) {
            differs(told, source.place_in_peer(i, key), what);
        }
        let merged = Peer {
            preshared_key: now.preshared_key.clone(),
            allowed_ips: now.allowed_ips.clone(),
            keepalive: now.keepalive,
            ..peer.clone()
        };
        source.reading.document.peers[i] = merged;
    }
    for peer in &running.peers {
        if !source.reading.document.peers.iter().any(|p| p.public_key == peer.public_key) {
            told.add(
                "not-in-file",
                format!("{}:1:1", source.name),
                format!(
                    "the interface runs with a peer {} that the file does not have: it is taken over",
                    peer.public_key
                ),
                "",
            );
            // Where it was last heard from is no endpoint of its own.
            source.reading.document.peers.push(Peer { endpoint: None, ..peer.clone() });
        }
    }
}
