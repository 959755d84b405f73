//! When the agent looks at its host, and how much it repairs then: what fails is tried again from 0.1 s on, ever more
//! slowly, and what restricts waits for nobody.

use std::time::Duration;

use crate::app::Extent;

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// The host is as it was applied, or nothing was.
    Right,
    /// Another command is at work.
    Busy,
    /// Something could not be repaired.
    Failed {
        /// Why.
        why: String,
        /// Whether all that restricts is in place nevertheless.
        restricted: bool,
    },
}

/// How long the first repetition waits.
const FIRST: Duration = Duration::from_millis(100);
/// The longest that a repetition waits while something that restricts is missing, or may be.
const UNRESTRICTED: Duration = Duration::from_secs(2);
/// The longest otherwise: as long as between two looks of its own accord.
const RESTRICTED: Duration = super::TICK;
/// The longest while another command is at work.
const BUSY: Duration = Duration::from_millis(500);

/// Keeps the time. Moments are durations since any beginning.
#[derive(Debug, Default)]
pub struct Pace {
    failures: u32,
    /// When the whole is tried again; `None`: nothing failed.
    again: Option<Duration>,
}

impl Pace {
    /// Says when to look again without any news; `None`: there is no need to.
    pub const fn next(&self) -> Option<Duration> {
        self.again
    }

    /// Says how much a look at this moment repairs: what a failed repair has changed and undone is news as well, and must not
    /// make it fail without end.
    pub fn extent(&self, now: Duration) -> Extent {
        if self.again.is_some_and(|again| now < again) { Extent::Restrictions } else { Extent::Whole }
    }

    /// Notes what a look came to.
    pub fn looked(&mut self, extent: Extent, outcome: &Looked, now: Duration) {
        let longest = match outcome {
            // It said nothing about the rest, which still waits.
            Looked::Right | Looked::Failed { restricted: true, .. } if extent == Extent::Restrictions => {
                return;
            }
            Looked::Right => {
                *self = Self::default();
                return;
            }
            Looked::Busy => BUSY,
            Looked::Failed { restricted: false, .. } => UNRESTRICTED,
            Looked::Failed { restricted: true, .. } => RESTRICTED,
        };
        let wait = FIRST.saturating_mul(2u32.saturating_pow(self.failures)).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.again = Some(now + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(restricted: bool) -> Looked {
        Looked::Failed { why: "it is so".into(), restricted }
    }

    /// The waits, in milliseconds, of so many looks that all come to the same.
    fn waits(outcome: &Looked, looks: usize) -> Vec<u128> {
        let (mut pace, mut now) = (Pace::default(), Duration::ZERO);
        let mut wait = || {
            pace.looked(pace.extent(now), outcome, now);
            let next = pace.next().expect("it is tried again");
            let waited = next - now;
            now = next;
            waited.as_millis()
        };
        (0..looks).map(|_| wait()).collect()
    }

    #[test]
    fn what_fails_is_tried_again_from_a_tenth_of_a_second_on() {
        assert_eq!(waits(&failed(false), 8), [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
        let waited = waits(&failed(true), 40);
        assert_eq!((&waited[..3], waited[39]), (&[100, 200, 400][..], 30_000));
        assert_eq!(waits(&Looked::Busy, 5), [100, 200, 400, 500, 500]);
    }

    #[test]
    fn restrictions_wait_for_nobody() {
        let second = Duration::from_secs;
        let mut pace = Pace::default();
        assert_eq!((pace.extent(second(0)), pace.next()), (Extent::Whole, None));
        for _ in 0..20 {
            pace.looked(Extent::Whole, &failed(true), second(0));
        }
        let next = pace.next();
        assert_eq!(next, Some(second(30)));
        // News that come meanwhile are looked at, and put nothing off.
        for outcome in [Looked::Right, failed(true)] {
            assert_eq!(pace.extent(second(1)), Extent::Restrictions);
            pace.looked(Extent::Restrictions, &outcome, second(1));
            assert_eq!(pace.next(), next);
        }
        // One that could not restrict is tried again soon.
        pace.looked(Extent::Restrictions, &failed(false), second(2));
        assert_eq!(pace.next(), Some(second(4)));
        assert_eq!(pace.extent(second(4)), Extent::Whole);
        pace.looked(Extent::Whole, &Looked::Right, second(4));
        assert_eq!(pace.next(), None);
    }
}
