//! A change on trial that nobody confirmed in time, and that went back: what is told of it afterwards.

use serde::{Deserialize, Serialize};

use super::duration::duration;
use crate::model::{InterfaceName, Problem, Timestamp};

/// When a change was made, and when it went back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// When it was made; `None`: nobody noted it.
    pub made: Option<Timestamp>,
    /// When it went back.
    pub at: Timestamp,
}

impl RolledBack {
    /// Tells of it.
    pub fn problem(&self, network: &InterfaceName, now: Timestamp) -> Problem {
        let made = self.made.map_or_else(String::new, |at| format!(" made {} ago", duration(now.since(at))));
        Problem::warning(
            "went-back",
            format!("network {network}"),
            format!(
                "the change{made} was not confirmed in time, and went back {} ago",
                duration(now.since(self.at))
            ),
            "`wgrelay plan` says what it was; `wgrelay up` makes it again",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_times_are_told() {
        let told = |made| {
            RolledBack { made, at: Timestamp(1120) }.problem(&"wg0".parse().unwrap(), Timestamp(1300)).message
        };
        assert_eq!(
            told(Some(Timestamp(1000))),
            "the change made 5 min ago was not confirmed in time, and went back 3 min ago"
        );
        assert_eq!(told(None), "the change was not confirmed in time, and went back 3 min ago");
    }
}
