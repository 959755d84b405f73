//! The datagrams that were sent to one relay of late, and what came back: how long an answer takes, and how much is lost.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back is counted.
const WINDOW: Duration = Duration::from_secs(60);
/// What is younger may still be answered.
const UNDECIDED: Duration = Duration::from_secs(1);
/// A repetition waits twice the usual round trip, within these.
const SOONEST: Duration = Duration::from_millis(150);
const LATEST: Duration = Duration::from_millis(400);

/// What was sent to one relay.
#[derive(Debug, Clone, Default)]
pub(super) struct Datagrams {
    sent: VecDeque<Sent>,
    next: u64,
    round_trip: Option<Duration>,
}

#[derive(Debug, Clone)]
struct Sent {
    number: u64,
    at: Duration,
    is_answered: bool,
}

impl Datagrams {
    /// Notes one, and returns its number.
    pub fn send(&mut self, now: Duration) -> u64 {
        self.next += 1;
        while self.sent.front().is_some_and(|sent| now.saturating_sub(sent.at) > WINDOW) {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent { number: self.next, at: now, is_answered: false });
        self.next
    }

    /// Notes an answer. Returns when the datagram was sent; `None`: none of these, or it was answered already.
    pub fn answered(&mut self, number: u64, now: Duration) -> Option<Duration> {
        let sent = self.sent.iter_mut().rev().find(|sent| sent.number == number && !sent.is_answered)?;
        sent.is_answered = true;
        let took = now.saturating_sub(sent.at);
        self.round_trip = Some(self.round_trip.map_or(took, |usual| (usual * 7 + took) / 8));
        Some(sent.at)
    }

    /// How long to wait before another one of the same round.
    pub fn repeat_after(&self) -> Duration {
        self.round_trip.map_or(SOONEST, |usual| (usual * 2).clamp(SOONEST, LATEST))
    }

    /// Says whether next to nothing was lost in the last minute: one in ten at most.
    pub fn is_clean(&self, now: Duration) -> bool {
        let age = |sent: &&Sent| now.saturating_sub(sent.at);
        let decided = self.sent.iter().filter(|sent| (UNDECIDED..=WINDOW).contains(&age(sent)));
        let (all, lost) =
            decided.fold((0, 0), |(all, lost), sent| (all + 1, lost + u32::from(!sent.is_answered)));
        lost * 10 <= all
    }
}
