//! What waits to be sent to one place. It is bounded, whatever happens; a message that does not arrive is tried again, later each
//! time, and given up in the end; and what comes meanwhile goes together in the next.

use std::collections::VecDeque;

use super::event::{Event, Topic};

/// So many events wait; of more, only the number is kept.
const WAIT: usize = 200;
/// Of these so many that strangers bring about: they push out nothing else.
const OF_STRANGERS: usize = 50;
/// So many are in one message.
const EACH: usize = 100;
/// Seconds between two messages to one place: what happens meanwhile is in the second.
const GAP: u64 = 30;
/// Seconds after which a message is tried again: so many times.
const AGAIN: [u64; 7] = [10, 30, 90, 300, 900, 1800, 3600];

/// A message that is on its way: the same one until it arrives or is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// Its number, the same each time it is tried.
    pub id: String,
    /// What it tells; none: it was asked for, to see whether it arrives.
    pub events: Vec<Event>,
    /// How many there were besides.
    pub unlisted: u64,
    tried: usize,
    due: u64,
}

/// What waits.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    waiting: VecDeque<Event>,
    unlisted: u64,
    sending: Option<Sending>,
    is_test_wanted: bool,
    quiet_until: u64,
}

impl Queue {
    /// Takes one in.
    pub fn push(&mut self, event: Event) {
        let is_strangers = |event: &Event| event.event == Topic::FailedLogin;
        let of_strangers = self.waiting.iter().filter(|event| is_strangers(event)).count();
        let others = self.waiting.len() - of_strangers;
        let is_full =
            if is_strangers(&event) { of_strangers >= OF_STRANGERS } else { others >= WAIT - OF_STRANGERS };
        if is_full {
            self.unlisted = self.unlisted.saturating_add(1);
        } else {
            self.waiting.push_back(event);
        }
    }

    /// Somebody wants to see whether a message arrives.
    pub fn want_test(&mut self) {
        self.is_test_wanted = true;
        // Nor does he want to wait until one is tried again.
        if let Some(sending) = &mut self.sending {
            sending.due = 0;
        }
    }

    /// Returns what is to be sent now, in Unix seconds. `id`: the number of a message that begins.
    pub fn due(&mut self, now: u64, id: impl FnOnce() -> String) -> Option<Sending> {
        self.keep_up(now);
        if self.sending.is_none() {
            let has_news = !self.waiting.is_empty() && now >= self.quiet_until;
            if !has_news && !self.is_test_wanted {
                return None;
            }
            let count = if has_news { self.waiting.len().min(EACH) } else { 0 };
            let events: Vec<Event> = self.waiting.drain(..count).collect();
            let unlisted = if has_news { std::mem::take(&mut self.unlisted) } else { 0 };
            self.is_test_wanted = false;
            self.sending = Some(Sending { id: id(), events, unlisted, tried: 0, due: now });
        }
        self.sending.clone().filter(|sending| now >= sending.due)
    }

    /// Has nothing wait for longer than it was to: by a clock that was set back since, its time would be far away.
    fn keep_up(&mut self, now: u64) {
        self.quiet_until = self.quiet_until.min(now.saturating_add(GAP));
        if let Some(sending) = &mut self.sending {
            let wait = sending.tried.checked_sub(1).and_then(|tried| AGAIN.get(tried)).copied().unwrap_or(0);
            sending.due = sending.due.min(now.saturating_add(wait));
        }
    }

    /// It arrived.
    pub fn arrived(&mut self, now: u64) {
        // What was only to be seen keeps nothing back.
        if self.sending.take().is_some_and(|sending| !sending.events.is_empty()) {
            self.quiet_until = now + GAP;
        }
    }

    /// It did not; `true`: it is given up, and what it told is lost.
    pub fn failed(&mut self, now: u64) -> bool {
        let Some(sending) = &mut self.sending else { return false };
        match AGAIN.get(sending.tried) {
            // What was only to be seen is seen.
            Some(seconds) if !sending.events.is_empty() => {
                (sending.due, sending.tried) = (now + seconds, sending.tried + 1);
                false
            }
            _ => {
                let lost = sending.events.len() as u64 + sending.unlisted;
                self.unlisted = self.unlisted.saturating_add(lost);
                self.sending = None;
                self.quiet_until = now + GAP;
                lost > 0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event: Topic, n: usize) -> Event {
        Event { event, at: 1, about: n.to_string(), message: String::new(), over: false }
    }

    #[test]
    fn a_message_is_tried_again_later_each_time_and_given_up() {
        let mut queue = Queue::default();
        queue.push(event(Topic::Drift, 1));
        let (mut now, mut tries, mut waits) = (1000, 0, Vec::new());
        loop {
            let sending = queue.due(now, || format!("message {now}")).unwrap();
            assert_eq!(sending.id, "message 1000", "it stays the same one");
            tries += 1;
            // What happens meanwhile waits behind it.
            queue.push(event(Topic::NodeOffline, tries));
            if queue.failed(now) {
                break;
            }
            let until = (now..).find(|at| queue.due(*at, String::new).is_some()).unwrap();
            waits.push(until - now);
            now = until;
        }
        assert_eq!((tries, waits.as_slice()), (AGAIN.len() + 1, &AGAIN[..]));
        assert!(queue.due(now + 1, String::new).is_none());
        let next = queue.due(now + GAP, || "next".into()).unwrap();
        assert_eq!(
            (next.id.as_str(), next.events.len(), next.unlisted),
            ("next", tries, 1),
            "it says what was lost"
        );
        queue.arrived(now + GAP);
        assert!(queue.due(u64::MAX, String::new).is_none());
    }

    #[test]
    fn it_is_bounded_and_strangers_push_nothing_out() {
        let mut queue = Queue::default();
        for n in 0..10_000 {
            queue.push(event(Topic::FailedLogin, n));
        }
        for n in 0..10_000 {
            queue.push(event(Topic::NodeOffline, n));
        }
        assert_eq!(queue.waiting.len(), WAIT);
        let first = queue.due(10, || "1".into()).unwrap();
        assert_eq!((first.events.len(), first.unlisted), (EACH, 20_000 - WAIT as u64));
        queue.arrived(10);
        queue.push(event(Topic::Drift, 1));
        assert!(queue.due(10 + GAP - 1, String::new).is_none(), "not each by itself");
        let second = queue.due(10 + GAP, || "2".into()).unwrap();
        assert_eq!(second.events.len(), EACH);
        assert!(second.events.iter().any(|event| event.event == Topic::NodeOffline));
    }

    #[test]
    fn whether_one_arrives_is_seen_at_once_and_not_tried_again() {
        let mut queue = Queue::default();
        queue.want_test();
        assert!(queue.due(5, || "1".into()).unwrap().events.is_empty());
        assert!(!queue.failed(5) && queue.due(1000, String::new).is_none());
        queue.push(event(Topic::Drift, 1));
        queue.due(1000, || "2".into()).unwrap();
        queue.failed(1000);
        assert!(queue.due(1001, String::new).is_none());
        queue.want_test();
        assert_eq!(queue.due(1001, String::new).unwrap().id, "2");
    }

    #[test]
    fn by_a_clock_that_is_set_back_nothing_waits_for_longer() {
        let mut queue = Queue::default();
        queue.push(event(Topic::Drift, 1));
        queue.due(900_000, || "1".into()).unwrap();
        queue.arrived(900_000);
        queue.push(event(Topic::Drift, 2));
        assert!(queue.due(10, String::new).is_none());
        assert_eq!(queue.due(10 + GAP, || "2".into()).unwrap().id, "2");
        // One that is tried again.
        let mut queue = Queue::default();
        queue.push(event(Topic::Drift, 1));
        for tried in 0..3 {
            queue.due(900_000 + 1000 * tried, || "1".into()).unwrap();
            queue.failed(900_000 + 1000 * tried);
        }
        assert!(queue.due(10, String::new).is_none());
        assert!(queue.due(10 + AGAIN[2] - 1, String::new).is_none());
        assert!(queue.due(10 + AGAIN[2], String::new).is_some());
    }
}
