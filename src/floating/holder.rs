//! One host's part in carrying a floating relay. The lease is a key of the store that its holder writes again and again, each time
//! in place of what it wrote before (compare and swap). Whoever has seen the same writing for the whole lease, by its own clock and
//! from the moment it was told of it, may write in its place. The holder counts from before it asked, and a margin less: so its own time
//! is over before anybody's wait is, whatever the network, the store and the processes do, as long as clocks run alike within a sixth.

use std::time::Duration;

use super::record::Lease;
use super::{AGAIN, LEASE, MARGIN, RENEW};
use crate::model::NodeName;

/// What the store had when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When the lease was last written; 0: never.
    pub revision: i64,
    /// What it says; `None`: nothing that can be read.
    pub lease: Option<Lease>,
    /// Whether this host is to hand over.
    pub drains: bool,
    /// Whether another host stands by that may take over.
    pub other_is_ready: bool,
}

/// What became of a writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was written, as this revision.
    Written(i64),
    /// Somebody else's is there.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The store is to be asked.
    Ask,
    /// This is to be written in place of that revision. Where it releases, the fence is to be closed first.
    Write(i64, Lease),
    /// Nothing before that moment, or news of the store.
    Wait(Duration),
}

/// One host.
#[derive(Debug, Clone)]
pub struct Holder {
    host: NodeName,
    instance: String,
    /// What was seen last, and when it was first seen so.
    seen: Option<(Seen, Duration)>,
    /// Until when it carries the relay; `None`: it does not.
    until: Option<Duration>,
    /// When it is next to ask or write.
    due: Duration,
    /// When its lease is to be written again.
    renew_at: Duration,
    /// The store is to be asked before anything is written.
    is_news: bool,
}

impl Holder {
    /// Begins, knowing nothing.
    pub const fn new(host: NodeName, instance: String) -> Self {
        Self {
            host,
            instance,
            seen: None,
            until: None,
            due: Duration::ZERO,
            renew_at: Duration::ZERO,
            is_news: true,
        }
    }

    /// Returns until when this host carries the relay; `None`: it does not.
    pub fn until(&self, at: Duration) -> Option<Duration> {
        self.until.filter(|until| at < *until)
    }

    /// Returns what was seen last.
    pub fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref().map(|(seen, _)| seen)
    }

    fn is_own(&self, lease: &Lease) -> bool {
        lease.host == self.host && lease.instance == self.instance
    }

    /// Says what is to be done. `clock` is in milliseconds since 1970.
    pub fn next(&mut self, at: Duration, clock: u64) -> Next {
        if self.until.is_some_and(|until| at >= until) {
            // Somebody may have it by now.
            (self.until, self.is_news) = (None, true);
        }
        if at < self.due {
            return Next::Wait(self.due);
        }
        let (false, Some((seen, since))) = (self.is_news, &self.seen) else { return Next::Ask };
        let own = seen.lease.as_ref().filter(|lease| self.is_own(lease) && !lease.released);
        let hands_over = seen.drains && seen.other_is_ready;
        match own {
            // It was looked what is new, and that is nothing to write for.
            Some(_) if self.until.is_some() && at < self.renew_at && !hands_over => {
                (self.is_news, self.due) = (true, self.renew_at);
                Next::Wait(self.due)
            }
            Some(lease) => {
                let released = hands_over;
                if released {
                    // Not one packet more, whatever becomes of the writing.
                    self.until = None;
                }
                Next::Write(seen.revision, Lease { clock: clock.max(lease.clock), released, ..lease.clone() })
            }
            None => {
                let is_free = seen.lease.as_ref().is_none_or(|lease| lease.released);
                // Who drains is the last to take it, and takes it all the same.
                let waits = if is_free && !seen.drains { Duration::ZERO } else { LEASE };
                let waits = if hands_over { LEASE * 2 } else { waits };
                let free_at = *since + waits;
                if at < free_at {
                    self.is_news = true;
                    self.due = free_at.min(at + RENEW);
                    return Next::Wait(self.due);
                }
                let old = seen.lease.as_ref();
                let lease = Lease {
                    host: self.host.clone(),
                    instance: self.instance.clone(),
                    term: old.map_or(1, |old| old.term.saturating_add(1)),
                    since: clock / 1000,
                    // A clock that is behind makes nobody's younger.
                    clock: clock.max(old.map_or(0, |old| old.clock)),
                    released: false,
                };
                Next::Write(seen.revision, lease)
            }
        }
    }

    /// Takes note of what the store had; `at` is when it was told.
    pub fn saw(&mut self, seen: Seen, at: Duration) {
        let since = match &self.seen {
            Some((old, since)) if old.revision == seen.revision => *since,
            _ => at,
        };
        let is_own = seen.lease.as_ref().is_some_and(|lease| self.is_own(lease) && !lease.released);
        if !is_own {
            self.until = None;
        }
        self.seen = Some((seen, since));
        self.is_news = false;
        // One that holds renews when that is due; whoever does not looks at once whether it may take it.
        if self.until.is_none() {
            self.due = at;
        }
    }

    /// The store does not answer.
    pub fn unanswered(&mut self, at: Duration) {
        self.is_news = true;
        self.due = at + AGAIN;
    }

    /// Takes note of what became of a writing that was begun at `began`.
    pub fn wrote(&mut self, lease: &Lease, answer: Answer, began: Duration, at: Duration) {
        match answer {
            Answer::Written(revision) => {
                self.until = (!lease.released).then_some(began + LEASE - MARGIN);
                if let Some((seen, since)) = &mut self.seen {
                    (seen.revision, seen.lease, *since) = (revision, Some(lease.clone()), at);
                }
                self.renew_at = began + RENEW;
                self.due = if lease.released { at + RENEW } else { self.renew_at };
                self.is_news = true;
            }
            // It may be its own, asked for twice. Until that is known its time runs as it did.
            Answer::Refused => (self.is_news, self.due) = (true, at),
            Answer::Unknown => self.unanswered(at),
        }
    }

    /// The store has news.
    pub fn news(&mut self, at: Duration) {
        self.is_news = true;
        self.due = self.due.min(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn holder(name: &str) -> Holder {
        Holder::new(name.parse().unwrap(), "boot".into())
    }

    fn seen(revision: i64, lease: Option<Lease>) -> Seen {
        Seen { revision, lease, drains: false, other_is_ready: true }
    }

    fn taken(holder: &mut Holder, at: Duration) -> Lease {
        match holder.next(at, 1_000) {
            Next::Write(_, lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nobody_has_it_and_the_first_takes_it_at_once() {
        let mut a = holder("eu-a");
        assert_eq!(a.next(S, 0), Next::Ask);
        a.saw(seen(0, None), S);
        let lease = taken(&mut a, S);
        a.wrote(&lease, Answer::Written(5), S, S + AGAIN);
        assert_eq!(a.until(S * 3), Some(S + LEASE - MARGIN));
        assert_eq!(a.until(S + LEASE - MARGIN), None, "its own time is over by its own clock");
    }

    #[test]
    fn whoever_waits_counts_from_the_moment_it_was_told() {
        let mut a = holder("eu-a");
        a.saw(seen(0, None), S);
        let lease = taken(&mut a, S);
        let mut b = holder("eu-b");
        b.saw(seen(5, Some(lease.clone())), S * 10);
        assert!(matches!(b.next(S * 10, 0), Next::Wait(_)));
        b.saw(seen(5, Some(lease)), S * 10 + LEASE - AGAIN);
        assert!(matches!(b.next(S * 10 + LEASE - AGAIN, 0), Next::Wait(_)));
        b.news(S * 10 + LEASE);
        assert_eq!(b.next(S * 10 + LEASE, 0), Next::Ask, "it looks once more before it takes");
    }

    #[test]
    fn who_lost_it_carries_nothing_from_that_moment_on() {
        let mut a = holder("eu-a");
        a.saw(seen(0, None), S);
        let lease = taken(&mut a, S);
        a.wrote(&lease, Answer::Written(5), S, S);
        let of_b = Lease { host: "eu-b".parse().unwrap(), term: 2, ..lease };
        a.saw(seen(6, Some(of_b)), S + AGAIN);
        assert_eq!(a.until(S + AGAIN), None);
    }

    #[test]
    fn who_drains_gives_it_up_only_where_another_one_is_ready() {
        let mut a = holder("eu-a");
        a.saw(seen(0, None), S);
        let lease = taken(&mut a, S);
        a.wrote(&lease, Answer::Written(5), S, S);
        let alone = Seen { drains: true, other_is_ready: false, ..seen(5, Some(lease.clone())) };
        a.saw(alone, S * 2);
        assert!(!taken(&mut a, S * 2).released);
        a.saw(Seen { drains: true, ..seen(5, Some(lease)) }, S * 2);
        let lease = taken(&mut a, S * 2);
        assert!(lease.released);
        a.wrote(&lease, Answer::Written(6), S * 2, S * 2);
        assert_eq!(a.until(S * 2), None);
    }

    #[test]
    fn news_are_looked_at_and_nothing_is_written_for_them() {
        let mut a = holder("eu-a");
        a.saw(seen(0, None), S);
        let lease = taken(&mut a, S);
        a.wrote(&lease, Answer::Written(5), S, S);
        a.news(S + AGAIN);
        assert_eq!(a.next(S + AGAIN, 0), Next::Ask);
        a.saw(seen(5, Some(lease)), S + AGAIN);
        assert_eq!(a.next(S + AGAIN, 0), Next::Wait(S + RENEW));
        assert_eq!(a.next(S + RENEW, 0), Next::Ask);
    }

    #[test]
    fn a_machine_of_the_same_name_is_another_one() {
        let mut a = holder("eu-a");
        a.saw(seen(0, None), S);
        let lease = taken(&mut a, S);
        let mut twin = Holder::new("eu-a".parse().unwrap(), "another boot".into());
        twin.saw(seen(5, Some(lease)), S);
        assert!(matches!(twin.next(S, 0), Next::Wait(_)));
    }
}
