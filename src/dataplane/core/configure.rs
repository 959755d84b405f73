//! Changes to a device and reports of it: what `wg set` and `wg show` mean, applied without ending a session.

use gotatun::x25519;

use super::super::device::{DeviceChange, DeviceReport, PeerChange, PeerReport};
use super::super::guard::Guard;
use super::super::peer::{Peer, PeerId};
use super::{Core, Identity, Moment, Outbox, Remote};
use crate::model::{KEY_LEN, PrivateKey, PublicKey};

impl Core {
    /// Applies a change. Sessions of peers that stay go on, unless the private key becomes another one.
    pub(in crate::dataplane) fn apply(&mut self, change: &DeviceChange, now: Moment, out: &mut Outbox) {
        let rekeyed = change.private_key.as_ref().is_some_and(|key| self.set_private_key(key, out));
        if let Some(mark) = change.fwmark {
            self.fwmark = mark;
        }
        if change.replace_peers {
            let all: Vec<PublicKey> = self.by_key.keys().copied().collect();
            for key in all {
                self.remove_peer(&key, out);
            }
        }
        for peer in &change.peers {
            self.apply_peer(peer, now, out);
        }
        if rekeyed {
            self.greet(now, out);
        }
        self.call(now, out);
        self.settle(out);
    }

    /// Speaks to every peer that has a keepalive and has not been spoken to, as after a new private key.
    fn greet(&mut self, now: Moment, out: &mut Outbox) {
        let waiting: Vec<PeerId> = self
            .peers
            .iter()
            .flatten()
            .filter(|p| p.keepalive != 0 && p.endpoint.is_some() && p.tunn.is_none())
            .map(|p| p.id)
            .collect();
        for id in waiting {
            if let Some(peer) = self.ready(id) {
                peer.send_keepalive(now.boot, out);
            }
        }
    }

    /// Takes this key, and tells whether it is another one than before.
    fn set_private_key(&mut self, key: &PrivateKey, out: &mut Outbox) -> bool {
        let before = self.identity.as_ref().map(|i| &i.private_key);
        let none = *key.expose() == [0; KEY_LEN];
        if before.map_or(none, |before| before == key) {
            return false;
        }
        for peer in self.peers.iter_mut().flatten() {
            peer.end_sessions();
        }
        if none {
            self.identity = None;
            return true;
        }
        let secret = x25519::StaticSecret::from(*key.expose());
        let public = x25519::PublicKey::from(&secret);
        let public_key = PublicKey::from_bytes(public.to_bytes());
        self.identity = Some(Identity {
            private_key: key.clone(),
            public_key,
            secret,
            public,
            guard: Guard::new(&public),
        });
        // A device is not its own peer.
        self.remove_peer(&public_key, out);
        true
    }

    fn apply_peer(&mut self, change: &PeerChange, now: Moment, out: &mut Outbox) {
        if change.remove {
            self.remove_peer(&change.public_key, out);
            return;
        }
        if self.identity.as_ref().is_some_and(|i| i.public_key == change.public_key) {
            return;
        }
        let id = match self.by_key.get(&change.public_key) {
            Some(id) => *id,
            None if change.update_only => return,
            None => self.add_peer(change.public_key),
        };
        // Called in its turn.
        let is_to_be_called = self.to_call.back() == Some(&id);
        if change.replace_allowed_ips {
            self.allowed_ips.remove_peer(id);
        }
        for prefix in &change.remove_allowed_ips {
            self.allowed_ips.remove(*prefix, id);
        }
        for prefix in &change.allowed_ips {
            self.allowed_ips.insert(*prefix, id);
        }
        let peer = self.peer_mut(id).expect("the peer was just found or made");
        if let Some(key) = &change.preshared_key {
            // Zeroes are no key: the protocol mixes the same in for both.
            peer.preshared_key = key.clone().filter(|k| *k.expose() != [0; KEY_LEN]);
            if let Some(tunn) = &mut peer.tunn {
                tunn.set_preshared_key(peer.preshared_key.as_ref().map(|k| *k.expose()));
            }
        }
        let mut speak = false;
        if let Some(address) = change.endpoint {
            let is_known = peer.endpoint.is_some_and(|e| e.address == address);
            if !is_known {
                peer.endpoint = Some(Remote { address, local: None });
            }
            // A call that waits for an answer is made again: it may have been made while nothing could leave this host.
            speak = !is_known || peer.is_handshaking();
        }
        if let Some(seconds) = change.keepalive {
            speak |= peer.keepalive == 0 && !is_to_be_called;
            peer.keepalive = seconds;
        }
        // As the kernel does: a peer with a keepalive is spoken to at once, not after the first interval.
        if speak && peer.endpoint.is_some() {
            let (keepalive, handshaking) = (peer.keepalive != 0, peer.is_handshaking());
            if let Some(peer) = self.ready(id).filter(|_| keepalive || handshaking) {
                if handshaking {
                    peer.restart_handshake(now.boot, out);
                } else {
                    peer.send_keepalive(now.boot, out);
                }
            }
        }
    }

    fn add_peer(&mut self, key: PublicKey) -> PeerId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.peers.push(None);
            PeerId(u32::try_from(self.peers.len() - 1).expect("fewer than 2^32 peers fit in memory"))
        });
        let mut peer = Peer::new(id, key);
        if let Some(known) = self.remembered.remove(&key) {
            peer.stamp = known.stamp;
            peer.endpoint = known.endpoint.map(|address| Remote { address, local: None });
            if peer.endpoint.is_some() {
                self.to_call.push_back(id);
            }
        }
        self.peers[id.0 as usize] = Some(peer);
        self.by_key.insert(key, id);
        id
    }

    fn remove_peer(&mut self, key: &PublicKey, out: &mut Outbox) {
        out.forgotten.push(*key);
        self.remembered.remove(key);
        let Some(id) = self.by_key.remove(key) else { return };
        self.allowed_ips.remove_peer(id);
        if let Some(peer) = self.peers[id.0 as usize].take() {
            self.forget_indices(id, &peer.indices);
        }
        self.free.push(id);
    }

    /// Describes the device and its peers.
    pub(in crate::dataplane) fn report(&self) -> DeviceReport {
        let mut peers: Vec<PeerReport> = self.peers.iter().flatten().map(|p| self.report_peer(p)).collect();
        peers.sort_by_key(|p| p.public_key);
        DeviceReport {
            private_key: self.identity.as_ref().map(|i| i.private_key.clone()),
            public_key: self.identity.as_ref().map(|i| i.public_key),
            listen_port: 0,
            fwmark: self.fwmark,
            peers,
            dropped: self.dropped,
        }
    }

    fn report_peer(&self, peer: &Peer) -> PeerReport {
        PeerReport {
            public_key: peer.key,
            preshared_key: peer.preshared_key.clone(),
            endpoint: peer.endpoint.map(|e| e.address),
            keepalive: peer.keepalive,
            allowed_ips: self.allowed_ips.of(peer.id).collect(),
            last_handshake: peer.last_handshake.map(Into::into),
            rx_bytes: peer.rx_bytes,
            tx_bytes: peer.tx_bytes,
            send_error: None,
        }
    }
}
