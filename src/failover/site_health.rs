//! Whether a site still answers the node that carries it, by rounds of probes: any answer of any host counts. One that fell silent
//! has to be well for a minute before it counts again, and longer each time it falls silent again within the hour.

use std::time::Duration;

/// How often it is asked.
pub const ROUND: Duration = Duration::from_secs(1);
/// How long an answer is waited for, and how often it is asked within a round.
pub const PATIENCE: Duration = Duration::from_millis(300);
/// See [`PATIENCE`].
pub const TRIES: u32 = 3;
/// So many rounds in a row without any answer, and it is silent.
const SILENT: u32 = 3;
/// How long one that was silent has to be well, and the longest that this grows to.
const WELL: Duration = Duration::from_secs(60);
const WELL_AT_MOST: Duration = Duration::from_secs(3600);
/// A round that came so late says nothing of what was between: whoever was stopped begins anew.
const LATE: Duration = Duration::from_secs(15);

/// What is known of a site here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Nobody has asked long enough.
    Unknown,
    /// It answers.
    Answers,
    /// It does not, or not for long enough again.
    Silent,
}

/// One site.
#[derive(Debug, Clone)]
pub struct SiteHealth {
    health: Health,
    missed: u32,
    well_since: Option<Duration>,
    well_for: Duration,
    /// When it last counted as well again.
    returned: Option<Duration>,
    last: Option<Duration>,
}

impl Default for SiteHealth {
    fn default() -> Self {
        Self {
            health: Health::Unknown,
            missed: 0,
            well_since: None,
            well_for: WELL,
            returned: None,
            last: None,
        }
    }
}

impl SiteHealth {
    /// Returns what is known.
    pub const fn health(&self) -> Health {
        self.health
    }

    /// Takes note of a round: whether anybody answered, when it began and when it was over. Returns whether the health changed.
    pub fn round(&mut self, answered: bool, began: Duration, at: Duration) -> bool {
        let before = self.health;
        if self.last.is_some_and(|last| began.saturating_sub(last) > LATE) {
            (self.missed, self.well_since) = (0, None);
        }
        self.last = Some(at);
        if answered {
            self.missed = 0;
            let since = *self.well_since.get_or_insert(at);
            let is_back = self.health == Health::Silent && at.saturating_sub(since) >= self.well_for;
            if is_back {
                self.returned = Some(at);
            }
            if is_back || self.health == Health::Unknown {
                self.health = Health::Answers;
            }
        } else {
            self.missed = self.missed.saturating_add(1);
            self.well_since = None;
            if self.missed >= SILENT && self.health != Health::Silent {
                self.health = Health::Silent;
                let soon = self.returned.is_some_and(|then| at.saturating_sub(then) < WELL_AT_MOST);
                self.well_for = if soon { (self.well_for * 2).min(WELL_AT_MOST) } else { WELL };
            }
        }
        self.health != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it is after rounds, each a second after the one before, from that moment on.
    fn rounds(site: &mut SiteHealth, from: &mut Duration, answered: bool, number: u32) -> Health {
        for _ in 0..number {
            *from += ROUND;
            site.round(answered, *from, *from);
        }
        site.health()
    }

    #[test]
    fn one_that_falls_silent_counts_again_after_a_minute() {
        let (mut site, mut at) = (SiteHealth::default(), Duration::ZERO);
        assert_eq!(rounds(&mut site, &mut at, true, 1), Health::Answers);
        assert_eq!(rounds(&mut site, &mut at, false, 2), Health::Answers, "two rounds may be lost");
        assert_eq!(rounds(&mut site, &mut at, true, 1), Health::Answers);
        assert_eq!(rounds(&mut site, &mut at, false, 3), Health::Silent);
        assert_eq!(rounds(&mut site, &mut at, true, 60), Health::Silent);
        assert_eq!(rounds(&mut site, &mut at, true, 1), Health::Answers, "a minute after the first answer");
    }

    #[test]
    fn one_that_comes_and_goes_has_to_be_well_for_longer_each_time() {
        let (mut site, mut at) = (SiteHealth::default(), Duration::ZERO);
        let mut needed = Vec::new();
        for _ in 0..9 {
            rounds(&mut site, &mut at, false, 3);
            let began = at;
            while site.health() == Health::Silent {
                rounds(&mut site, &mut at, true, 1);
            }
            needed.push((at - began).as_secs() / 60);
        }
        assert_eq!(needed, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        // After an hour of being well it is as any other.
        rounds(&mut site, &mut at, true, 4_000);
        rounds(&mut site, &mut at, false, 3);
        assert_eq!(rounds(&mut site, &mut at, true, 61), Health::Answers);
    }

    #[test]
    fn one_that_never_answered_is_silent_too_and_who_was_stopped_begins_anew() {
        let (mut site, mut at) = (SiteHealth::default(), Duration::ZERO);
        assert_eq!(rounds(&mut site, &mut at, false, 2), Health::Unknown);
        assert_eq!(rounds(&mut site, &mut at, false, 1), Health::Silent);
        let (mut site, mut at) = (SiteHealth::default(), Duration::ZERO);
        rounds(&mut site, &mut at, true, 5);
        rounds(&mut site, &mut at, false, 2);
        at += LATE;
        assert_eq!(rounds(&mut site, &mut at, false, 1), Health::Answers, "one round after a pause is one");
        assert_eq!(rounds(&mut site, &mut at, false, 2), Health::Silent);
    }

    #[test]
    fn rounds_that_take_long_are_rounds_all_the_same() {
        let mut site = SiteHealth::default();
        let long = LATE + ROUND;
        for round in 0..3 {
            site.round(false, long * round, long * (round + 1));
        }
        assert_eq!(site.health(), Health::Silent);
    }

    #[test]
    fn where_a_third_of_all_rounds_is_lost_it_hardly_ever_moves() {
        // Each round asks three times; where a third of all rounds fails nonetheless, a site hardly ever comes back, and so does not move.
        for seed in 1..20_u64 {
            let (mut site, mut at, mut state, mut moves) = (SiteHealth::default(), Duration::ZERO, seed, 0);
            while at < Duration::from_secs(86_400) {
                at += ROUND;
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                moves += u32::from(site.round((state >> 33) % 3 != 0, at, at) && at > ROUND * 3);
            }
            assert!(moves <= 4, "seed {seed}: {moves} times a day");
        }
    }
}
