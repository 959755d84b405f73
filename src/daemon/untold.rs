//! What nobody tells of is glanced at each second. A glance is news until a whole look was made of just that sight and found nothing
//! to repair: a fault that is done again right after its repair looks as it did before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The glance of which a look has found that there is nothing to repair, or that it cannot be. Every clone means the same.
#[derive(Debug, Clone, Default)]
pub struct LookedAt {
    sum: Arc<Mutex<Option<u64>>>,
}

impl LookedAt {
    fn lock(&self) -> MutexGuard<'_, Option<u64>> {
        self.sum.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a look: what a glance saw before it began, and whether it changed anything.
    pub fn looked(&self, before: u64, repaired: bool) {
        *self.lock() = (!repaired).then_some(before);
    }

    /// Says whether what a glance sees now has to be looked at.
    pub fn is_news(&self, now: u64) -> bool {
        *self.lock() != Some(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fault_that_is_done_again_before_the_next_glance_is_news() {
        let (right, fault) = (1, 2);
        let known = LookedAt::default();
        assert!(known.is_news(right), "nobody has looked yet");
        known.looked(right, false);
        assert!(!known.is_news(right) && known.is_news(fault));
        // It is repaired, and there again when it is glanced at next.
        known.looked(fault, true);
        assert!(known.is_news(fault));
        known.looked(fault, true);
        assert!(known.is_news(right), "a repair is looked at once more");
        known.looked(right, false);
        assert!(!known.is_news(right));
        // What cannot be repaired is no news each second.
        known.looked(fault, false);
        assert!(!known.is_news(fault));
    }

    /// What happens: somebody changes something, or a second is over. A look comes some time after its glance.
    #[derive(Debug, Clone)]
    enum Step {
        Fault(u64),
        Glance { fault_meanwhile: Option<u64>, fault_afterwards: Option<u64> },
    }

    fn step() -> impl Strategy<Value = Step> {
        let fault = || proptest::option::of(1..4_u64);
        prop_oneof![
            (1..4_u64).prop_map(Step::Fault),
            (fault(), fault()).prop_map(|(fault_meanwhile, fault_afterwards)| Step::Glance {
                fault_meanwhile,
                fault_afterwards
            }),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_when_two_quiet_seconds_make_it_right(steps in proptest::collection::vec(step(), 0..40)) {
            let known = LookedAt::default();
            // 0 is as it should be; every other sight is a fault.
            let mut host = 0;
            let glance = |host: &mut u64, meanwhile: Option<u64>, afterwards: Option<u64>| {
                if known.is_news(*host) {
                    let before = *host;
                    *host = meanwhile.unwrap_or(*host);
                    let repaired = *host != 0;
                    *host = 0;
                    *host = afterwards.unwrap_or(*host);
                    known.looked(before, repaired);
                }
            };
            for step in steps {
                match step {
                    Step::Fault(sight) => host = sight,
                    Step::Glance { fault_meanwhile, fault_afterwards } => glance(&mut host, fault_meanwhile, fault_afterwards),
                }
            }
            glance(&mut host, None, None);
            prop_assert_eq!(host, 0);
            glance(&mut host, None, None);
            prop_assert!(!known.is_news(0), "and then nobody looks any more");
        }
    }
}
