//! Times that were noted by a clock which somebody may set back since: what lies in the future holds for nothing, so that nobody waits
//! for it, and nothing lasts longer for it.

/// Says whether less than so many seconds passed since a time.
pub(in crate::web) const fn is_within(since: u64, seconds: u64, now: u64) -> bool {
    since <= now && now - since < seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_future_holds_for_nothing() {
        assert!(is_within(100, 5, 100) && is_within(100, 5, 104) && !is_within(100, 5, 105));
        assert!(!is_within(100, 5, 99) && !is_within(u64::MAX, 5, 0) && !is_within(0, 5, u64::MAX));
    }
}
