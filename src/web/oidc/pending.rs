//! Sign-ins that were begun and are not finished: what the browser has to bring back, what is to come with it, and from where it was
//! begun. Each is good once, for ten minutes; there are so many at most, and whoever begins many pushes out his own.

use std::collections::{BTreeMap, VecDeque};

use zeroize::Zeroizing;

use crate::web::clock::is_within;
use crate::web::secret::{self, Hash};

/// Seconds for which one is good.
pub(super) const GOOD: u64 = 600;
/// So many in all, and so many from one address.
const MOST: usize = 1000;
const OF_ONE: usize = 20;

/// One that was begun.
#[derive(Clone)]
pub(super) struct Pending {
    /// What the provider brings back.
    pub state: Zeroizing<String>,
    /// What has to be in the token.
    pub nonce: Zeroizing<String>,
    /// What only whoever began it can show (RFC 7636).
    pub verifier: Zeroizing<String>,
    /// Where the provider was told to lead back to.
    pub redirect: String,
    /// Where he was going, a path of ours.
    pub next: String,
    /// Whether he has to prove anew who he is.
    pub again: bool,
    /// When it began, in Unix seconds.
    pub begun: u64,
}

struct Held {
    cookie: Hash,
    from: String,
    pending: Pending,
}

/// All of them, the oldest first.
#[derive(Default)]
pub(super) struct Waiting(VecDeque<Held>);

impl Waiting {
    /// Keeps one, by what the browser was given.
    pub(super) fn put(&mut self, cookie: &str, from: String, pending: Pending) {
        let now = pending.begun;
        self.0.retain(|held| is_within(held.pending.begun, GOOD, now));
        if self.count(&from) >= OF_ONE {
            self.forget_one_of(&from);
        } else if self.0.len() >= MOST {
            // Of whoever has most.
            let mut counts = BTreeMap::new();
            self.0.iter().for_each(|held| *counts.entry(held.from.as_str()).or_insert(0) += 1);
            let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(from, _)| from.to_owned());
            self.forget_one_of(&most.unwrap_or_default());
        }
        self.0.push_back(Held { cookie: secret::hash(cookie), from, pending });
    }

    /// Takes the one out that a browser began and comes back from; `None`: it began none such, or that is over.
    pub(super) fn take(&mut self, cookie: &str, state: &str, now: u64) -> Option<Pending> {
        let hashed = secret::hash(cookie);
        let is_it = |held: &Held| held.cookie == hashed && secret::same(&held.pending.state, state);
        let at = self.0.iter().position(is_it)?;
        self.0.remove(at).map(|held| held.pending).filter(|pending| is_within(pending.begun, GOOD, now))
    }

    fn count(&self, from: &str) -> usize {
        self.0.iter().filter(|held| held.from == from).count()
    }

    fn forget_one_of(&mut self, from: &str) {
        if let Some(at) = self.0.iter().position(|held| held.from == from) {
            self.0.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(begun: u64) -> Pending {
        let text = || Zeroizing::new("x".to_owned());
        Pending {
            state: text(),
            nonce: text(),
            verifier: text(),
            redirect: String::new(),
            next: "/".into(),
            again: false,
            begun,
        }
    }

    #[test]
    fn one_is_good_once_and_for_a_while() {
        let mut waiting = Waiting::default();
        waiting.put("a", "::1".into(), pending(1000));
        assert!(waiting.take("b", "x", 1000).is_none());
        assert!(waiting.take("a", "y", 1000).is_none() && waiting.take("a", "", 1000).is_none());
        assert!(waiting.take("a", "x", 1000).is_some() && waiting.take("a", "x", 1000).is_none());
        for now in [1000 + GOOD, 999] {
            waiting.put("a", "::1".into(), pending(1000));
            assert!(waiting.take("a", "x", now).is_none(), "{now}");
        }
    }

    #[test]
    fn strangers_push_out_their_own() {
        let mut waiting = Waiting::default();
        waiting.put("mine", "192.0.2.1".into(), pending(1000));
        for n in 0..100 {
            waiting.put(&n.to_string(), "192.0.2.2".into(), pending(1000));
        }
        assert_eq!(waiting.0.len(), 1 + OF_ONE);
        assert!(waiting.take("0", "x", 1000).is_none() && waiting.take("99", "x", 1000).is_some());
        for n in 0..3 * MOST {
            waiting.put(&n.to_string(), format!("192.0.3.{}", n % 90), pending(1000));
        }
        assert!(waiting.0.len() <= MOST);
        assert!(waiting.take("mine", "x", 1000).is_some());
    }
}
