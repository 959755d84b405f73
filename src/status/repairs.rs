//! How often the agent had to repair the host in the last minute: often means that somebody else changes it back.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{InterfaceName, Problem, Timestamp};
use crate::plan::Line;

/// What counts as recent, in seconds.
const MINUTE: u64 = 60;
/// From so many in a minute on it is told.
const OFTEN: usize = 10;
/// How many are remembered.
const KEPT: usize = 1000;

/// The repairs of the last minute.
#[derive(Debug, Default)]
pub struct Repairs {
    /// When, and what: the kind and target of each repair's first line.
    recent: VecDeque<(Timestamp, String)>,
}

impl Repairs {
    /// Notes a repair; one that changed nothing is none.
    pub fn note(&mut self, lines: &[Line], now: Timestamp) {
        let Some(line) = lines.first() else { return };
        self.forget_before(now);
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back((now, format!("{} {}", line.kind, line.target)));
    }

    /// Returns how many there were in the last minute.
    pub fn in_a_minute(&mut self, now: Timestamp) -> usize {
        self.forget_before(now);
        self.recent.len()
    }

    /// Tells of them where they are many, with what was repaired most.
    pub fn problem(&mut self, network: &InterfaceName, now: Timestamp) -> Option<Problem> {
        let times = self.in_a_minute(now);
        if times < OFTEN {
            return None;
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, what) in &self.recent {
            *counts.entry(what).or_default() += 1;
        }
        let (what, most) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        Some(Problem::warning(
            "repair-fight",
            format!("network {network}"),
            format!(
                "repaired {times} times in the last minute, {most} times of them {what}: something changes it back"
            ),
            "find out who: `nft monitor`, `ip monitor` and the agent's log show each change as it happens",
        ))
    }

    fn forget_before(&mut self, now: Timestamp) {
        // A clock that was set back makes all of them old as well.
        self.recent.retain(|(at, _)| at.0 <= now.0 && now.since(*at) < MINUTE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_in_a_minute_are_told_and_then_forgotten() {
        let line = |kind: &str| Line { kind: kind.into(), target: "x".into(), from: None, to: None };
        let network = "wg0".parse().unwrap();
        let mut repairs = Repairs::default();
        repairs.note(&[], Timestamp(100));
        for n in 0..9 {
            repairs.note(&[line("nft-table"), line("peer")], Timestamp(100 + n));
        }
        assert_eq!(
            (repairs.in_a_minute(Timestamp(110)), repairs.problem(&network, Timestamp(110))),
            (9, None)
        );
        repairs.note(&[line("peer")], Timestamp(110));
        let told = repairs.problem(&network, Timestamp(111)).unwrap();
        assert_eq!(
            told.message,
            "repaired 10 times in the last minute, 9 times of them nft-table x: something changes it back"
        );
        assert_eq!(repairs.in_a_minute(Timestamp(165)), 4);
        assert_eq!(repairs.problem(&network, Timestamp(165)), None);
        assert_eq!(repairs.in_a_minute(Timestamp(10)), 0, "the clock was set back");
        for _ in 0..5000 {
            repairs.note(&[line("peer")], Timestamp(300));
        }
        assert_eq!(repairs.in_a_minute(Timestamp(300)), KEPT);
    }
}
