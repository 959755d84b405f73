//! One peer: its settings, its sessions, and what it counts.
//!
//! `gotatun::noise::Tunn` holds the noise protocol and its timers. It is made when first needed, since it costs a
//! curve multiplication and 15 kB: a peer that never speaks has none. Persistent keepalives are driven from here,
//! as `Tunn` stops them for good when a handshake has failed for 90 s.

use std::time::Duration;

use bytes::BytesMut;
use gotatun::noise::Tunn;
use gotatun::noise::index_table::IndexTable;
use gotatun::packet::{Packet, WgKind};
use zeroize::Zeroizing;

use super::core::{Datagram, Outbox, Remote};
use super::initiation::Stamp;
use crate::model::{PresharedKey, PublicKey};

/// How long a handshake is tried (the WireGuard paper, section 6.1).
const REKEY_ATTEMPT_TIME: Duration = Duration::from_secs(90);

/// How many messages are taken for the answer to an initiation: it, and some copies.
const ANSWERS: u8 = 3;

/// Names a peer inside one core. Used again after the peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PeerId(pub(super) u32);

/// A peer of a device.
pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) key: PublicKey,
    pub(super) preshared_key: Option<PresharedKey>,
    pub(super) endpoint: Option<Remote>,
    /// Persistent keepalive in seconds; 0 is off.
    pub(super) keepalive: u16,
    /// When an authenticated message last went either way.
    pub(super) traversed: Duration,
    pub(super) last_handshake: Option<Duration>,
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
    pub(super) tunn: Option<Box<Tunn>>,
    /// Receiver indices that lead to this peer, some of which may be over.
    pub(super) indices: Vec<u32>,
    /// The session that we answered and the peer has not yet used; its handshake is not complete before.
    pub(super) unconfirmed: Option<u32>,
    /// The other side's index of the session that we last sent in.
    pub(super) sending: Option<u32>,
    /// When its last handshake was begun, by its own clock.
    pub(super) stamp: Stamp,
    /// The secret of both static keys, once there is a `Tunn`.
    pub(super) shared: Zeroizing<[u8; 32]>,
    /// How many messages are yet taken for the answer to our last initiation.
    answers: u8,
    /// Whether its key is a point of low order, with which no secret can be shared.
    pub(super) low_order: bool,
    /// Since when a handshake has been tried.
    attempt_since: Option<Duration>,
    /// Whether packets wait for a session.
    queued: bool,
}

impl Peer {
    pub(super) fn new(id: PeerId, key: PublicKey) -> Self {
        Self {
            id,
            key,
            preshared_key: None,
            endpoint: None,
            keepalive: 0,
            traversed: Duration::ZERO,
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            tunn: None,
            indices: Vec::new(),
            unconfirmed: None,
            sending: None,
            stamp: [0; 12],
            shared: Zeroizing::default(),
            answers: 0,
            low_order: false,
            attempt_since: None,
            queued: false,
        }
    }

    /// Forgets every session, as when the device gets another private key.
    pub(super) fn end_sessions(&mut self) {
        self.wipe();
        self.tunn = None;
        self.unconfirmed = None;
        self.attempt_since = None;
        self.queued = false;
    }

    /// Overwrites the copy of the preshared key that its `Tunn` has, and does not wipe itself.
    fn wipe(&mut self) {
        if let Some(tunn) = &mut self.tunn {
            tunn.set_preshared_key(Some([0; 32]));
            // Nothing reads it any more, which is no reason to leave the write out.
            std::hint::black_box(&mut **tunn);
        }
    }

    /// Sends one packet of the interface, in `packet`, through the present session, or keeps it for the next one.
    pub(super) fn send(&mut self, packet: BytesMut, ecn: u8, now: Duration, out: &mut Outbox) {
        let Some(tunn) = &mut self.tunn else { return };
        match tunn.encapsulate_with_session(Packet::from_bytes(packet)) {
            Ok(message) => self.emit(message.into(), ecn, now, out),
            Err(packet) => {
                // It may wait for seconds: a copy of its own size, so that it does not pin the shared buffer.
                let waiting = Packet::copy_from(&packet[..]);
                self.queued = true;
                if let Some(message) = tunn.handle_outgoing_packet(waiting, None) {
                    self.emit(message, 0, now, out);
                }
            }
        }
    }

    /// Sends an empty message if there is a session, and starts a handshake otherwise.
    pub(super) fn send_keepalive(&mut self, now: Duration, out: &mut Outbox) {
        if self.endpoint.is_none() {
            return;
        }
        self.traversed = now;
        let Some(tunn) = &mut self.tunn else { return };
        let message = match tunn.encapsulate_with_session(Packet::default()) {
            Ok(message) => Some(message.into()),
            Err(_) => tunn.format_handshake_initiation(false).map(Into::into),
        };
        if let Some(message) = message {
            self.emit(message, 0, now, out);
        }
    }

    /// Starts a handshake anew, though one may be under way: its messages went to another address.
    pub(super) fn restart_handshake(&mut self, now: Duration, out: &mut Outbox) {
        if let (Some(tunn), Some(_)) = (&mut self.tunn, &self.endpoint)
            && let Some(message) = tunn.format_handshake_initiation(true)
        {
            self.emit(message.into(), 0, now, out);
        }
    }

    /// Takes note of where an authenticated message came from.
    pub(super) fn learn_endpoint(&mut self, from: Remote, out: &mut Outbox) {
        if self.endpoint.is_none_or(|known| known.address != from.address) {
            out.learned.push(self.id);
        }
        self.endpoint = Some(from);
    }

    /// Says whether a message may be the answer to our initiation, of which there are few: whoever sees its index can send as many
    /// as he likes.
    pub(super) const fn takes_answer(&mut self) -> bool {
        let takes = self.answers > 0 && self.attempt_since.is_some();
        self.answers = self.answers.saturating_sub(1);
        takes
    }

    /// Whether a handshake of ours is waiting for its answer.
    pub(super) const fn is_handshaking(&self) -> bool {
        self.attempt_since.is_some()
    }

    /// Sends what waited for a session. Only to be called when there is one.
    pub(super) fn flush(&mut self, mtu: u16, now: Duration, out: &mut Outbox) {
        if !std::mem::take(&mut self.queued) {
            return;
        }
        let Some(tunn) = &mut self.tunn else { return };
        let mut mtu = gotatun::tun::MtuWatcher::new(mtu);
        let messages: Vec<WgKind> = tunn.get_queued_packets(&mut mtu).collect();
        for message in messages {
            self.emit(message, 0, now, out);
        }
    }

    /// Tells that a session is now in use by both sides.
    pub(super) const fn handshake_complete(&mut self, unix: Duration) {
        self.last_handshake = Some(unix);
        self.attempt_since = None;
        self.unconfirmed = None;
    }

    /// Lets time pass: rekey, retransmission, keepalives, expiry.
    pub(super) fn tick(&mut self, now: Duration, out: &mut Outbox) {
        let Some(tunn) = &mut self.tunn else { return };
        match tunn.update_timers() {
            Ok(Some(message)) => {
                if self.attempt_since.is_some() && matches!(message, WgKind::HandshakeInit(_)) {
                    // No answer came: the address that we sent from may be the reason.
                    self.forget_local();
                }
                self.emit(message, 0, now, out);
            }
            Ok(None) => {}
            Err(_expired) => {
                self.queued = false;
                // Keys of 540 s ago have been wiped. That must not end a handshake which has just begun.
                if let Some(since) = self.attempt_since.take()
                    && now.saturating_sub(since) < REKEY_ATTEMPT_TIME
                    && let Some(message) = tunn.format_handshake_initiation(false)
                {
                    self.emit(message.into(), 0, now, out);
                }
            }
        }
        if self.keepalive != 0
            && now.saturating_sub(self.traversed) >= Duration::from_secs(self.keepalive.into())
        {
            self.send_keepalive(now, out);
        }
    }

    /// Lets the kernel choose the source address again.
    pub(super) const fn forget_local(&mut self) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.local = None;
        }
    }

    /// Takes note of a message for the network, and hands it out if the peer has an address.
    pub(super) fn emit(&mut self, message: WgKind, ecn: u8, now: Duration, out: &mut Outbox) {
        match &message {
            WgKind::HandshakeInit(m) => {
                let index = m.sender_idx.get();
                self.learn_index(index, out);
                self.attempt_since.get_or_insert(now);
                self.answers = ANSWERS;
            }
            WgKind::HandshakeResp(m) => {
                let index = m.sender_idx.get();
                self.learn_index(index, out);
                self.unconfirmed = Some(index);
            }
            WgKind::Data(m) => self.sending = Some(m.header.receiver_idx.get()),
            WgKind::CookieReply(_) => {}
        }
        self.traversed = now;
        let Some(to) = self.endpoint else { return };
        let message = Packet::from(message);
        self.tx_bytes += message.len() as u64;
        out.datagrams.push(Datagram { peer: Some(self.id), to, ecn, message });
    }

    fn learn_index(&mut self, index: u32, out: &mut Outbox) {
        self.indices.push(index);
        out.new_indices.push((index, self.id));
    }

    /// Takes out the indices that no session has any more, if there are many, and returns them.
    pub(super) fn stale_indices(&mut self, table: &IndexTable) -> Vec<u32> {
        // Eight sessions and two handshakes can be alive at once.
        if self.indices.len() <= 16 {
            return Vec::new();
        }
        let (alive, stale) = self.indices.drain(..).partition(|i| table.in_use(*i));
        self.indices = alive;
        stale
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.wipe();
    }
}
