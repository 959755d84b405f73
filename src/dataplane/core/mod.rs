//! The device without its effects: datagrams and packets in, datagrams and packets out.
//!
//! It opens no socket and starts no thread. Times are told by the caller; only `gotatun::noise::Tunn` reads the clock
//! since boot, sleep included, for its own timers, which is why [`Core::tick`] takes the time and yet cannot be hurried.

mod configure;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use gotatun::noise::index_table::IndexTable;
use gotatun::noise::{Tunn, TunnResult};
use gotatun::packet::{Packet, WgKind};
use gotatun::x25519;

use super::allowed_ips::AllowedIps;
use super::device::Dropped;
use super::guard::{Admission, Guard};
use super::initiation::{self, Initiation};
use super::memory::Remembered;
use super::packet;
use super::peer::{Peer, PeerId};
use crate::model::{PrivateKey, PublicKey};

/// Where a datagram came from, or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) address: SocketAddr,
    /// Our own address that the datagram came to; answers leave from it. `None` lets the kernel choose.
    pub(super) local: Option<IpAddr>,
}

/// A moment, told by the caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Moment {
    /// Since boot, suspension included.
    pub(super) boot: Duration,
    /// Since the Unix epoch.
    pub(super) unix: Duration,
}

/// A WireGuard message for the network.
pub(super) struct Datagram {
    /// Whom it is for; none for a cookie reply.
    pub(super) peer: Option<PeerId>,
    pub(super) to: Remote,
    /// The ECN bits of its outer header.
    pub(super) ecn: u8,
    pub(super) message: Packet,
}

/// What the core wants done. The caller empties it.
#[derive(Default)]
pub(super) struct Outbox {
    /// For the network.
    pub(super) datagrams: Vec<Datagram>,
    /// For the interface: whole IP packets.
    pub(super) packets: Vec<Packet>,
    /// Receiver indices handed out, on their way into the core's own map.
    pub(super) new_indices: Vec<(u32, PeerId)>,
    /// Peers of which there is news to remember.
    pub(super) learned: Vec<PeerId>,
    /// Peers that were taken away.
    pub(super) forgotten: Vec<PublicKey>,
}

struct Identity {
    private_key: PrivateKey,
    public_key: PublicKey,
    secret: x25519::StaticSecret,
    public: x25519::PublicKey,
    guard: Guard,
}

/// A device.
pub(super) struct Core {
    identity: Option<Identity>,
    indices: IndexTable,
    peers: Vec<Option<Peer>>,
    free: Vec<PeerId>,
    by_key: HashMap<PublicKey, PeerId>,
    by_index: HashMap<u32, PeerId>,
    allowed_ips: AllowedIps,
    fwmark: u32,
    mtu: u16,
    dropped: Dropped,
    next_slice: usize,
    /// When the last turn was; much later, the host has slept.
    last_turn: Duration,
    /// Where packets are put together before they are encrypted.
    scratch: BytesMut,
    /// What the device before knew of peers that this one does not have yet.
    remembered: HashMap<PublicKey, Remembered>,
    /// Those that are to be called, because they may take the device before to be still there.
    to_call: VecDeque<PeerId>,
    /// Until when calls have been made, at their pace.
    called_until: Duration,
}

/// How often each peer's timers are looked at. The protocol's own jitter is a third of a second.
const TICK: Duration = Duration::from_millis(250);
/// Peers in one turn: about a quarter of a millisecond.
const PEERS_PER_TICK: usize = 512;
/// A gap between two turns that only a host's sleep makes. Sessions may be over then, and nothing may be sent in them.
const SLEPT: Duration = Duration::from_secs(10);
/// How fast peers are called that the device before knew, and how many at once: a thousand spokes are a second, and an answer
/// takes each side a few curve multiplications.
const CALL_INTERVAL: Duration = Duration::from_millis(1);
const CALLS_AT_ONCE: u32 = 64;
/// How often there are calls to make, while there are some.
const CALL_TICK: Duration = Duration::from_millis(16);
/// Space for a few dozen packets before the buffer starts over.
const SCRATCH: usize = 65536;

impl Core {
    /// Makes a device without key and peers for an interface of this MTU in bytes.
    pub(super) fn new(mtu: u16) -> Self {
        Self {
            identity: None,
            indices: IndexTable::from_os_rng(),
            peers: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            by_index: HashMap::new(),
            allowed_ips: AllowedIps::default(),
            fwmark: 0,
            mtu,
            dropped: Dropped::default(),
            next_slice: 0,
            last_turn: Duration::ZERO,
            scratch: BytesMut::with_capacity(SCRATCH),
            remembered: HashMap::new(),
            to_call: VecDeque::new(),
            called_until: Duration::ZERO,
        }
    }

    /// Goes on with what the device before knew of its peers: each is called when it is configured, and its handshakes of before
    /// are refused.
    pub(super) fn remember(&mut self, known: HashMap<PublicKey, Remembered>) {
        self.remembered = known;
    }

    /// Returns what the device after this one should know of a peer.
    pub(super) fn memory_of(&self, id: PeerId) -> Option<(PublicKey, Remembered)> {
        let peer = self.peer(id)?;
        Some((peer.key, Remembered { endpoint: peer.endpoint.map(|e| e.address), stamp: peer.stamp }))
    }

    /// Takes note of the interface's MTU, which bounds padding.
    pub(super) const fn set_mtu(&mut self, mtu: u16) {
        self.mtu = mtu;
    }

    /// The mark of outgoing datagrams; 0 is none.
    pub(super) const fn fwmark(&self) -> u32 {
        self.fwmark
    }

    /// Finds the peer that a packet from the interface goes to; only one that can be sent to.
    pub(super) fn route(&mut self, packet: &[u8]) -> Option<PeerId> {
        let found = packet::destination(packet)
            .and_then(|to| self.allowed_ips.lookup(to))
            .filter(|id| self.peer(*id).is_some_and(|p| p.endpoint.is_some()))
            .filter(|id| !self.goes_round(*id, packet));
        if found.is_none() {
            self.dropped.unroutable += 1;
        }
        found.filter(|_| self.identity.is_some())
    }

    /// Tells whether a packet is a datagram that this device has sent to this very peer: where the peer's endpoint is
    /// among its own AllowedIPs, each would be wrapped again, for ever.
    fn goes_round(&self, to: PeerId, packet: &[u8]) -> bool {
        let Some((address, message)) = packet::udp(packet) else { return false };
        let Some(peer) = self.peer(to) else { return false };
        if peer.endpoint.is_none_or(|e| (e.address.ip(), e.address.port()) != (address.ip(), address.port()))
        {
            return false;
        }
        match message.first_chunk::<8>() {
            Some([4, 0, 0, 0, index @ ..]) => peer.sending == Some(u32::from_le_bytes(*index)),
            Some([1 | 2, 0, 0, 0, index @ ..]) => self.by_index.get(&u32::from_le_bytes(*index)) == Some(&to),
            _ => false,
        }
    }

    /// Sends a packet, given as headers and payload, to the peer that [`Core::route`] named.
    pub(super) fn send(&mut self, to: PeerId, headers: &[u8], payload: &[u8], now: Moment, out: &mut Outbox) {
        let length = headers.len() + payload.len();
        // Padded to 16 bytes within the MTU; a packet above it goes as it is.
        let padded = length.next_multiple_of(16).min(self.mtu.into()).max(length);
        if self.scratch.capacity() < padded && !self.scratch.try_reclaim(SCRATCH) {
            self.scratch = BytesMut::with_capacity(SCRATCH.max(padded));
        }
        self.scratch.extend_from_slice(headers);
        self.scratch.extend_from_slice(payload);
        self.scratch.resize(padded, 0);
        let plain = self.scratch.split();
        let ecn = packet::outer_ecn(headers);
        if let Some(peer) = self.ready(to) {
            peer.send(plain, ecn, now.boot, out);
            self.settle(out);
        }
    }

    /// Takes a datagram from the network; `ecn` are the ECN bits of its outer header.
    pub(super) fn receive(
        &mut self,
        datagram: BytesMut,
        from: Remote,
        ecn: u8,
        now: Moment,
        out: &mut Outbox,
    ) {
        // Type and three zero bytes, then a length that fits: nothing else costs any work.
        match (datagram.first_chunk(), datagram.len()) {
            (Some([4, 0, 0, 0]), 32..) => self.receive_data(datagram, from, ecn, now, out),
            (Some([1 | 2, 0, 0, 0]), 92 | 148) => self.receive_handshake(datagram, from, now, out),
            (Some([3, 0, 0, 0]), 64) => self.receive_cookie(datagram),
            _ => self.dropped.stray += 1,
        }
        self.settle(out);
    }

    fn receive_data(&mut self, datagram: BytesMut, from: Remote, ecn: u8, now: Moment, out: &mut Outbox) {
        let length = datagram.len();
        let index = u32::from_le_bytes([datagram[4], datagram[5], datagram[6], datagram[7]]);
        let Some(peer) = self
            .by_index
            .get(&index)
            .and_then(|id| self.peers.get_mut(id.0 as usize))
            .and_then(Option::as_mut)
        else {
            self.dropped.stray += 1;
            return;
        };
        let Some(tunn) = &mut peer.tunn else { return };
        let Ok(message) = Packet::from_bytes(datagram).try_into_wg() else { return };
        let TunnResult::WriteToTunnel(mut packet) = tunn.handle_incoming_packet(message) else {
            self.dropped.refused += 1;
            return;
        };
        peer.traversed = now.boot;
        peer.learn_endpoint(from, out);
        if peer.unconfirmed == Some(index) {
            peer.handshake_complete(now.unix);
        }
        peer.flush(self.mtu, now.boot, out);
        if packet.is_empty() {
            peer.rx_bytes += length as u64;
            return;
        }
        let id = peer.id;
        let genuine = packet::source(&packet).is_some_and(|s| self.allowed_ips.lookup(s) == Some(id));
        match packet::total_length(&packet) {
            Some(total) if genuine => {
                peer.rx_bytes += length as u64;
                packet.truncate(total);
                if packet::merge_ecn(packet.buf_mut(), ecn) {
                    out.packets.push(packet);
                }
            }
            _ => self.dropped.bad_source += 1,
        }
    }

    fn receive_handshake(&mut self, datagram: BytesMut, from: Remote, now: Moment, out: &mut Outbox) {
        let length = datagram.len() as u64;
        let initiation: Option<[u8; initiation::LENGTH]> = (*datagram).try_into().ok();
        let is_answer = initiation.is_none() && self.is_awaited(&datagram);
        let Some(identity) = &mut self.identity else { return };
        let message = match identity.guard.admit(Packet::from_bytes(datagram), &from, is_answer, now.boot) {
            Admission::Admitted(message) => message,
            Admission::Cookie(message) => {
                self.dropped.throttled += 1;
                out.datagrams.push(Datagram { peer: None, to: from, ecn: 0, message });
                return;
            }
            Admission::Throttled => {
                self.dropped.throttled += 1;
                return;
            }
            Admission::Refused => {
                self.dropped.refused += 1;
                return;
            }
        };
        let opened = initiation.and_then(|m| Initiation::open(&m, &identity.secret, &identity.public));
        let sender = match (&message, &opened) {
            (WgKind::HandshakeInit(_), Some(opened)) => self.by_key.get(&opened.sender),
            (WgKind::HandshakeResp(response), _) => self.by_index.get(&response.receiver_idx.get()),
            _ => None,
        };
        let Some(id) = sender.copied() else {
            self.dropped.stray += 1;
            return;
        };
        let mtu = self.mtu;
        let Some(peer) = self.ready(id) else { return };
        let stamp = match opened.map(|opened| opened.time(&peer.shared)) {
            // Of before this device, which its `Tunn` cannot know.
            Some(stamp) if stamp.is_none_or(|stamp| stamp <= peer.stamp) => {
                self.dropped.refused += 1;
                return;
            }
            other => other.flatten(),
        };
        let tunn = peer.tunn.as_mut().expect("a ready peer has a Tunn");
        match tunn.handle_incoming_packet(message) {
            TunnResult::WriteToNetwork(answer) => {
                peer.learn_endpoint(from, out);
                if let Some(stamp) = stamp {
                    peer.stamp = stamp;
                    out.learned.push(id);
                }
                peer.rx_bytes += length;
                let initiator = matches!(answer, WgKind::Data(_));
                peer.emit(answer, 0, now.boot, out);
                if initiator {
                    peer.handshake_complete(now.unix);
                    peer.flush(mtu, now.boot, out);
                }
            }
            _ => self.dropped.refused += 1,
        }
    }

    /// Says whether a message is the answer to a handshake that this device has begun, or one of the few that may yet be.
    fn is_awaited(&mut self, response: &[u8]) -> bool {
        let Some(index) = response.get(8..12).and_then(<[u8]>::first_chunk) else { return false };
        let id = self.by_index.get(&u32::from_le_bytes(*index)).copied();
        id.and_then(|id| self.peer_mut(id)).is_some_and(Peer::takes_answer)
    }

    fn receive_cookie(&mut self, datagram: BytesMut) {
        let index = u32::from_le_bytes([datagram[4], datagram[5], datagram[6], datagram[7]]);
        let Some(id) = self.by_index.get(&index).copied() else {
            self.dropped.stray += 1;
            return;
        };
        if let Some(tunn) = self.peer_mut(id).and_then(|p| p.tunn.as_mut())
            && let Ok(message) = Packet::from_bytes(datagram).try_into_wg()
            && !matches!(tunn.handle_incoming_packet(message), TunnResult::Done)
        {
            self.dropped.refused += 1;
        }
    }

    /// Lets time pass for some of the peers, and returns after what time to call again: each peer's turn comes every
    /// [`TICK`], and no turn holds packets up for long.
    pub(super) fn tick(&mut self, now: Moment, out: &mut Outbox) -> Duration {
        let Some(identity) = &mut self.identity else { return TICK };
        identity.guard.tick(now.boot);
        let slices = self.peers.len().div_ceil(PEERS_PER_TICK).max(1);
        self.next_slice = (self.next_slice + 1) % slices;
        let slept = now.boot.saturating_sub(self.last_turn) > SLEPT;
        self.last_turn = now.boot;
        let (skipped, taken) =
            if slept { (0, usize::MAX) } else { (self.next_slice * PEERS_PER_TICK, PEERS_PER_TICK) };
        let turn = self.peers.iter_mut().skip(skipped).take(taken);
        for peer in turn.flatten() {
            peer.tick(now.boot, out);
        }
        self.call(now, out);
        self.settle(out);
        let turn = TICK / u32::try_from(slices).unwrap_or(u32::MAX);
        if self.to_call.is_empty() { turn } else { turn.min(CALL_TICK) }
    }

    /// Calls peers that the device before knew, as many as are due: whoever only listens would hear nothing until he speaks, and
    /// whoever speaks goes on in a session that is over.
    fn call(&mut self, now: Moment, out: &mut Outbox) {
        if self.identity.is_none() {
            return;
        }
        let first = now.boot.saturating_sub(CALL_INTERVAL * CALLS_AT_ONCE);
        self.called_until = self.called_until.max(first);
        while self.called_until < now.boot
            && let Some(id) = self.to_call.pop_front()
        {
            if let Some(peer) = self.ready(id).filter(|p| p.last_handshake.is_none() && !p.is_handshaking()) {
                peer.send_keepalive(now.boot, out);
                self.called_until += CALL_INTERVAL;
            }
        }
    }

    /// Tells that a datagram could not leave from the address that its peer is answered from.
    pub(super) fn forget_local(&mut self, id: PeerId) {
        if let Some(peer) = self.peer_mut(id) {
            peer.forget_local();
        }
    }

    /// Lets the kernel choose every source address again, as after another port or mark.
    pub(super) fn forget_locals(&mut self) {
        self.peers.iter_mut().flatten().for_each(Peer::forget_local);
    }

    /// Returns a peer that has what it takes to speak: the device a key, the peer a `Tunn`.
    fn ready(&mut self, id: PeerId) -> Option<&mut Peer> {
        let identity = self.identity.as_ref()?;
        let peer = self.peers.get_mut(id.0 as usize)?.as_mut().filter(|p| !p.low_order)?;
        if peer.tunn.is_none() {
            let public = x25519::PublicKey::from(*peer.key.as_bytes());
            let shared = identity.secret.diffie_hellman(&public);
            peer.low_order |= !shared.was_contributory();
            if peer.low_order {
                return None;
            }
            peer.shared.copy_from_slice(shared.as_bytes());
            peer.tunn = Some(Box::new(Tunn::new(
                identity.secret.clone(),
                x25519::PublicKey::from(*peer.key.as_bytes()),
                peer.preshared_key.as_ref().map(|k| *k.expose()),
                None,
                self.indices.clone(),
                identity.guard.limiter(),
            )));
        }
        Some(peer)
    }

    fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(id.0 as usize)?.as_ref()
    }

    fn peer_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(id.0 as usize)?.as_mut()
    }

    /// Makes new sessions findable by their index.
    fn settle(&mut self, out: &mut Outbox) {
        for (index, id) in out.new_indices.drain(..) {
            self.by_index.insert(index, id);
            if let Some(peer) = self.peers.get_mut(id.0 as usize).and_then(Option::as_mut) {
                let stale = peer.stale_indices(&self.indices);
                self.forget_indices(id, &stale);
            }
        }
    }

    fn forget_indices(&mut self, id: PeerId, indices: &[u32]) {
        for index in indices {
            // An index that came free may by now lead to another peer.
            if self.by_index.get(index) == Some(&id) {
                self.by_index.remove(index);
            }
        }
    }
}

#[cfg(test)]
mod clock_tests;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod time_tests;
