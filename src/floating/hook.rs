//! When the command is run that moves an address by a cloud's own means: when this host takes the relay, and when it gives it up.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::model::{InterfaceName, NodeName};

/// How long one may run.
pub const LIMIT: Duration = Duration::from_secs(10);
/// What failed is run again after so long, twice as long each time, and at most after so long.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How often it is run while this host carries the relay: a call of the host before may arrive late, and takes the address back.
const ANEW: Duration = Duration::from_secs(60);
/// A host whose command has failed for so long, and of late, cannot carry the relay.
const UNABLE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// What happened, and the command's first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// This host carries the relay.
    Take,
    /// It does not.
    Release,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Take => "take",
            Self::Release => "release",
        })
    }
}

/// What a command is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookCall {
    /// What happened.
    pub moved: Moved,
    /// The floating address.
    pub address: IpAddr,
    /// The network.
    pub network: InterfaceName,
    /// The relay.
    pub relay: NodeName,
    /// This host; `None`: it is none of the relay's any more.
    pub host: Option<NodeName>,
}

/// When to run it. Moments are of the host's clock since it started.
#[derive(Debug, Clone, Default)]
pub struct Hook {
    wanted: Option<Moved>,
    /// When it is to be run; `None`: not again.
    due: Option<Duration>,
    tries: u32,
    /// What is wanted was done once: later runs only repeat it.
    is_done: bool,
    /// Since when, and when last, the address could not be taken; giving it up forgets nothing of that.
    failed: Option<(Duration, Duration)>,
}

impl Hook {
    /// Says what happened; what is known already changes nothing.
    pub fn is(&mut self, moved: Moved, at: Duration) {
        if self.wanted != Some(moved) {
            *self =
                Self { wanted: Some(moved), due: Some(at), tries: 0, is_done: false, failed: self.failed };
        }
    }

    /// Says whether a command that was started for this is for nothing by now.
    pub fn is_past(&self, moved: Moved) -> bool {
        self.wanted != Some(moved)
    }

    /// Returns what to run and from when on; `None`: nothing.
    pub fn next(&self) -> Option<(Moved, Duration)> {
        Some((self.wanted?, self.due?))
    }

    /// Takes note of how one ended.
    pub fn ended(&mut self, moved: Moved, is_done: bool, at: Duration) {
        if self.is_past(moved) {
            return;
        }
        if is_done {
            (self.tries, self.is_done) = (0, true);
            self.due = None;
            if moved == Moved::Take {
                (self.due, self.failed) = (Some(at + ANEW), None);
            }
            return;
        }
        let pause = AGAIN.0.saturating_mul(1_u32.checked_shl(self.tries).unwrap_or(u32::MAX)).min(AGAIN.1);
        self.tries = self.tries.saturating_add(1);
        self.due = Some(at + pause);
        // The address is here: that it could not be taken once more is told, and is no reason to give it up.
        if moved == Moved::Take && !self.is_done {
            let of_late = self.failed.filter(|(_, last)| at.saturating_sub(*last) < UNABLE.1);
            self.failed = Some((of_late.map_or(at, |(first, _)| first), at));
        }
    }

    /// Says whether the address could not be brought here, for some time and not long ago. That holds on after it was given up:
    /// two hosts that both cannot would else hand it to each other every few seconds.
    pub fn is_unable(&self, at: Duration) -> bool {
        self.failed.is_some_and(|(first, last)| {
            last.saturating_sub(first) >= UNABLE.0 && at.saturating_sub(last) < UNABLE.1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn taken(at: Duration) -> Hook {
        let mut hook = Hook::default();
        hook.is(Moved::Take, at);
        hook
    }

    #[test]
    fn each_change_is_told_once_and_what_is_known_not_again() {
        let mut hook = taken(S);
        assert_eq!(hook.next(), Some((Moved::Take, S)));
        hook.ended(Moved::Take, true, S * 2);
        hook.is(Moved::Take, S * 3);
        assert_eq!(hook.next(), Some((Moved::Take, S * 2 + ANEW)), "later again, for calls that arrive late");
        hook.is(Moved::Release, S * 4);
        assert_eq!(hook.next(), Some((Moved::Release, S * 4)));
        hook.ended(Moved::Release, true, S * 5);
        assert_eq!(hook.next(), None);
    }

    #[test]
    fn what_fails_is_run_again_ever_more_rarely() {
        let mut hook = taken(S);
        let mut pauses = Vec::new();
        let mut at = S;
        for _ in 0..40 {
            hook.ended(Moved::Take, false, at);
            let (_, due) = hook.next().unwrap();
            pauses.push((due - at).as_secs());
            at = due;
        }
        assert_eq!(pauses[..7], [1, 2, 4, 8, 16, 30, 30]);
        assert!(pauses[7..].iter().all(|pause| *pause == 30));
    }

    #[test]
    fn one_that_ends_after_the_next_change_says_nothing_of_it() {
        let mut hook = taken(S);
        hook.is(Moved::Release, S * 2);
        assert!(hook.is_past(Moved::Take));
        hook.ended(Moved::Take, false, S * 3);
        assert_eq!(hook.next(), Some((Moved::Release, S * 2)));
        assert!(!hook.is_unable(S * 3));
    }

    #[test]
    fn a_host_to_which_the_address_cannot_be_brought_gives_it_to_another_one() {
        let mut hook = taken(S);
        hook.ended(Moved::Take, false, S);
        assert!(!hook.is_unable(S), "once is nothing");
        hook.ended(Moved::Take, false, S * 4);
        assert!(hook.is_unable(S * 4) && hook.is_unable(S * 63) && !hook.is_unable(S * 64));
        hook.ended(Moved::Take, true, S * 5);
        assert!(!hook.is_unable(S * 5));
        // It is no reason to stay away that the address could not be given up.
        hook.is(Moved::Release, S * 6);
        hook.ended(Moved::Release, false, S * 6);
        hook.ended(Moved::Release, false, S * 9);
        assert!(!hook.is_unable(S * 9));
    }

    #[test]
    fn a_repeat_that_fails_takes_nothing_from_a_host_that_has_the_address() {
        let mut hook = taken(S);
        hook.ended(Moved::Take, true, S * 2);
        for at in [62, 65, 80, 110, 140] {
            hook.ended(Moved::Take, false, S * at);
            assert!(!hook.is_unable(S * at));
        }
        // Given up and taken anew, it has to be brought here anew.
        hook.is(Moved::Release, S * 150);
        hook.is(Moved::Take, S * 160);
        hook.ended(Moved::Take, false, S * 160);
        hook.ended(Moved::Take, false, S * 163);
        assert!(hook.is_unable(S * 163));
    }

    #[test]
    fn two_hosts_that_both_cannot_exchange_it_rarely() {
        // As the lease does: who cannot carry gives it to another one that counts as able, and to nobody else.
        let mut hosts = [Hook::default(), Hook::default()];
        let (mut holder, mut moves) = (0, 0);
        hosts[0].is(Moved::Take, S);
        for second in 1..600 {
            let at = S * second;
            for hook in &mut hosts {
                if let Some((moved, due)) = hook.next()
                    && due <= at
                {
                    hook.ended(moved, moved == Moved::Release, at);
                }
            }
            if hosts[holder].is_unable(at) && !hosts[1 - holder].is_unable(at) {
                hosts[holder].is(Moved::Release, at);
                holder = 1 - holder;
                hosts[holder].is(Moved::Take, at);
                moves += 1;
            }
        }
        assert!((2..=20).contains(&moves), "{moves} times in ten minutes");
        // One failure long ago is no reason not to try it for as long as anybody.
        let mut hook = taken(S);
        hook.ended(Moved::Take, false, S);
        hook.is(Moved::Release, S * 2);
        hook.is(Moved::Take, S * 500);
        hook.ended(Moved::Take, false, S * 500);
        assert!(!hook.is_unable(S * 501));
    }
}
