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

#[derive(Debug)]
struct Repair {
    at: Timestamp,
    /// The kind and target of its first line.
    what: String,
    /// The process whose change it was, as `NAME (process NUMBER)`, where that is known.
    after: Option<String>,
}

/// What stands for a process that nobody knows.
const UNKNOWN: &str = "unknown";

/// The repairs of the last minute.
#[derive(Debug, Default)]
pub struct Repairs {
    /// Each.
    recent: VecDeque<Repair>,
}

impl Repairs {
    /// Notes a repair, and the process after whose change it was; one that changed nothing is none.
    pub fn note(&mut self, lines: &[Line], after: Option<String>, now: Timestamp) {
        let Some(line) = lines.first() else { return };
        self.forget_before(now);
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(Repair { at: now, what: format!("{} {}", line.kind, line.target), after });
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
        for repair in &self.recent {
            *counts.entry(&repair.what).or_default() += 1;
        }
        let (what, most) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let last =
            self.recent.iter().rev().filter(|repair| repair.what == what).find_map(|r| r.after.as_deref());
        let who = last.map_or_else(
            || "something changes it back, and the kernel does not say who".to_string(),
            |process| format!("it is changed back by {process}"),
        );
        Some(Problem::warning(
            "repair-fight",
            format!("network {network}"),
            format!("repaired {times} times in the last minute, {most} times of them {what}: {who}"),
            "`nft monitor`, `ip monitor` and the agent's log show each change as it happens",
        ))
    }

    /// Returns after whose changes they were, by the process's name, with how often; its number may be another each time.
    pub fn others(&mut self, now: Timestamp) -> BTreeMap<String, usize> {
        self.forget_before(now);
        let mut counts = BTreeMap::new();
        for repair in &self.recent {
            let name = repair.after.as_deref().and_then(|process| process.split(" (process ").next());
            *counts.entry(name.unwrap_or(UNKNOWN).to_string()).or_default() += 1;
        }
        counts
    }

    fn forget_before(&mut self, now: Timestamp) {
        // A clock that was set back makes all of them old as well.
        self.recent.retain(|r| r.at.0 <= now.0 && now.since(r.at) < MINUTE);
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
        repairs.note(&[], None, Timestamp(100));
        for n in 0..9 {
            let after = (n > 1).then(|| format!("nft (process {n})"));
            repairs.note(&[line("nft-table"), line("peer")], after, Timestamp(100 + n));
        }
        assert_eq!(
            (repairs.in_a_minute(Timestamp(110)), repairs.problem(&network, Timestamp(110))),
            (9, None)
        );
        repairs.note(&[line("peer")], None, Timestamp(110));
        let told = repairs.problem(&network, Timestamp(111)).unwrap();
        assert_eq!(
            told.message,
            "repaired 10 times in the last minute, 9 times of them nft-table x: \
             it is changed back by nft (process 8)"
        );
        let others = repairs.others(Timestamp(111));
        assert_eq!(others, [("nft".to_string(), 7), ("unknown".to_string(), 3)].into());
        assert_eq!(repairs.in_a_minute(Timestamp(165)), 4);
        assert_eq!(repairs.problem(&network, Timestamp(165)), None);
        assert_eq!(repairs.in_a_minute(Timestamp(10)), 0, "the clock was set back");
        for _ in 0..5000 {
            repairs.note(&[line("peer")], None, Timestamp(300));
        }
        assert_eq!(repairs.in_a_minute(Timestamp(300)), KEPT);
    }
}
