//! Keeps handshakes from eating the processor: MAC1 always, cookies and a share per address under load.
//!
//! A handshake costs several curve multiplications, a cookie one hash. Below the threshold every message with a
//! valid MAC1 is let in; above it, only senders that have proved their address, each at a bounded rate.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use gotatun::noise::TunnResult;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::packet::{Packet, WgKind};
use gotatun::x25519;

use super::core::Remote;

/// Handshake messages within a second from which on cookies are asked for.
pub(super) const LOAD_THRESHOLD: u32 = 500;
/// Handshake messages in one round of the loop, for so long, from which on cookies are asked for as well: a processor
/// that is slow at curves is behind long before the threshold. Rounds that far apart do not follow one another.
const BACKLOG: u32 = 8;
const BACKLOG_TIME: Duration = Duration::from_millis(250);
const BACKLOG_GAP: Duration = Duration::from_millis(500);
/// How long the load is taken to last after it was last seen.
const LOAD_LASTS: Duration = Duration::from_secs(1);
/// What one address may start under load, with a valid cookie: 20 a second after a burst of 5, as the kernel has it.
const SHARE_INTERVAL: Duration = Duration::from_millis(50);
const SHARE_BURST: u32 = 5;

/// What becomes of a handshake message.
pub(super) enum Admission {
    /// It may be worked on.
    Admitted(WgKind),
    /// It is answered with this cookie reply.
    Cookie(Packet),
    /// Its MAC1 is wrong: it was not made for this device.
    Refused,
    /// Its sender has used up its share.
    Throttled,
}

/// The decision over handshake messages.
pub(super) struct Guard {
    /// Checks MAC1 and asks for nothing.
    open: Arc<RateLimiter>,
    /// Asks everyone for a cookie.
    strict: RateLimiter,
    window: Duration,
    seen: u32,
    load_until: Duration,
    /// The round of the last message, how many there were in it, and since when rounds are full of them.
    round: Duration,
    in_round: u32,
    behind_since: Option<Duration>,
    /// When each address may send next, as the time at which its bucket is full again.
    shares: HashMap<IpAddr, Duration>,
}

impl Guard {
    pub(super) fn new(public: &x25519::PublicKey) -> Self {
        Self {
            open: Arc::new(RateLimiter::new(public, u64::MAX)),
            strict: RateLimiter::new(public, 0),
            window: Duration::ZERO,
            seen: 0,
            load_until: Duration::ZERO,
            round: Duration::ZERO,
            in_round: 0,
            behind_since: None,
            shares: HashMap::new(),
        }
    }

    /// The limiter that a `Tunn` holds; it never refuses.
    pub(super) fn limiter(&self) -> Arc<RateLimiter> {
        Arc::clone(&self.open)
    }

    /// Forgets counts of the past. To be called every second or so.
    pub(super) fn tick(&mut self, now: Duration) {
        self.open.try_reset_count();
        self.strict.try_reset_count();
        self.shares.retain(|_, full| *full > now);
        self.shares.shrink_to(1024);
    }

    /// Judges a handshake initiation or response; `is_answer`: it was asked for, and is neither load nor held up by any.
    pub(super) fn admit(
        &mut self,
        message: Packet,
        from: &Remote,
        is_answer: bool,
        now: Duration,
    ) -> Admission {
        // First, and before anything is counted: whoever does not know the public key shall not slow others down.
        let Ok(message) = self.open.verify_packet(from.address, message) else { return Admission::Refused };
        if is_answer {
            return Admission::Admitted(message);
        }
        if now.saturating_sub(self.window) >= Duration::from_secs(1) {
            self.window = now;
            self.seen = 0;
        }
        if self.seen >= LOAD_THRESHOLD || self.is_behind(now) {
            self.load_until = now + LOAD_LASTS;
        }
        self.seen = self.seen.saturating_add(1);
        if now >= self.load_until {
            return Admission::Admitted(message);
        }
        match self.strict.verify_packet(from.address, message.into()) {
            Ok(_) if !self.within_share(from.address.ip(), now) => Admission::Throttled,
            Ok(kind) => Admission::Admitted(kind),
            Err(TunnResult::WriteToNetwork(cookie)) => Admission::Cookie(cookie.into()),
            Err(_) => Admission::Refused,
        }
    }

    /// Tells whether handshakes have filled the loop's rounds for a while; a round is known by its time.
    fn is_behind(&mut self, now: Duration) -> bool {
        if now != self.round {
            if self.in_round < BACKLOG || now.saturating_sub(self.round) > BACKLOG_GAP {
                self.behind_since = None;
            }
            self.round = now;
            self.in_round = 0;
        }
        self.in_round += 1;
        self.in_round >= BACKLOG && now.saturating_sub(*self.behind_since.get_or_insert(now)) >= BACKLOG_TIME
    }

    pub(super) fn within_share(&mut self, address: IpAddr, now: Duration) -> bool {
        // One subscriber has a whole /64 of IPv6 addresses.
        let address = match address {
            IpAddr::V6(a) => Ipv6Addr::from(u128::from(a) & !u128::from(u64::MAX)).into(),
            v4 => v4,
        };
        let full = self.shares.entry(address).or_insert(now);
        let next = (*full).max(now) + SHARE_INTERVAL;
        let allowed = next <= now + SHARE_INTERVAL * SHARE_BURST;
        if allowed {
            *full = next;
        }
        allowed
    }
}
