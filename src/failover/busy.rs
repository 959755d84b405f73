//! Whether something passes on a spoke that keeps nothing open: what agents ask each other is no reason to go on asking.

use std::time::Duration;

/// So long after the last packet the relays are still asked.
const LINGER: Duration = Duration::from_secs(10);
/// What a handshake, keepalives and a repetition may add, in bytes.
const AROUND: u64 = 600;

/// The counters of the sessions with relays, as they were seen last.
#[derive(Debug, Clone, Copy, Default)]
pub struct Busy {
    bytes: Option<u64>,
    own: u64,
    until: Duration,
}

impl Busy {
    /// Notes a datagram of so many bytes that this agent sent: with its answer it comes back in the counters.
    pub const fn asked(&mut self, bytes: usize) {
        // IPv6 and UDP, filled up to 16, and WireGuard's 32; once there and once back.
        self.own += 2 * ((bytes as u64 + 48).next_multiple_of(16) + 32 + 64);
    }

    /// Takes the sum of the counters, and says whether something else passes.
    pub fn look(&mut self, bytes: u64, now: Duration) -> bool {
        let more = self.bytes.map_or(0, |before| bytes.saturating_sub(before));
        if more > self.own + if self.own > 0 { AROUND } else { 0 } {
            self.until = now + LINGER;
        }
        (self.bytes, self.own) = (Some(bytes), 0);
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_keeps_nobody_busy_and_a_packet_does() {
        let second = Duration::from_secs;
        let mut busy = Busy::default();
        assert!(!busy.look(5_000, second(1)), "what passed before is over");
        assert!(!busy.look(5_000, second(2)));
        assert!(busy.look(5_100, second(3)), "a ping");
        // From here on nothing but probes of 60 bytes and their answers of 70, three relays.
        let mut bytes = 5_100;
        for now in 4..30 {
            for _ in 0..3 {
                busy.asked(60);
                bytes += (60 + 48_u64).next_multiple_of(16) + 32 + (70 + 48_u64).next_multiple_of(16) + 32;
            }
            assert_eq!(busy.look(bytes, second(now)), now < 13, "{now}");
        }
        // A download beside the probes.
        busy.asked(60);
        assert!(busy.look(bytes + 50_000, second(31)));
    }
}
