//! What a relay believes of the store: the revision that it took last, and who may sign the next. A revision is believed where
//! one follows from the other, record by record; what the store says of itself is believed of nobody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::{Record, Signed, Unsigned};
use crate::model::{NodeName, SigningKey};
use crate::store::Digest;

/// What was taken last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// Which cluster.
    pub id: String,
    /// The revision's number.
    pub number: u64,
    /// The digest of its record.
    pub record: Digest,
    /// The digest of its network.toml.
    pub text: Digest,
    /// Who may sign the next.
    pub signers: BTreeMap<NodeName, SigningKey>,
}

/// Why what the store has is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Not signed by whoever may.
    #[error("revision {number}: {why}")]
    Unsigned {
        /// Which one.
        number: u64,
        /// Why not.
        why: Unsigned,
    },
    /// Another cluster's.
    #[error("the store holds another cluster's network of this name")]
    Foreign,
    /// The store went back in time.
    #[error(
        "the store is at revision {store}, and this relay took {taken} already: it was restored from a backup, or tampered with"
    )]
    Older {
        /// What the store has.
        store: u64,
        /// What was taken.
        taken: u64,
    },
    /// The same numbers, with something else in them.
    #[error(
        "revision {0} of the store does not follow from what this relay took: it was restored from a backup and changed, or tampered with"
    )]
    Diverged(u64),
}

impl Distrust {
    /// Returns its problem's code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unsigned { .. } => "unsigned-revision",
            Self::Foreign => "foreign-store",
            Self::Older { .. } => "store-older",
            Self::Diverged(_) => "store-diverged",
        }
    }
}

impl Trust {
    /// Returns what is believed after a record was taken.
    pub fn after(signed: &Signed, record: &Record) -> Self {
        Self {
            id: record.id.clone(),
            number: record.number,
            record: signed.digest(),
            text: record.text.clone(),
            signers: record.signers.clone(),
        }
    }

    /// Returns what of the kept records this relay's own past is, the newest first: what was taken last, the one that it names as
    /// the one before, and so on, as far as the store has them. What names none of these was never taken by anybody here.
    pub fn past(&self, kept: &[Signed]) -> Vec<Record> {
        let by_digest: BTreeMap<Digest, &Signed> =
            kept.iter().map(|signed| (signed.digest(), signed)).collect();
        let mut past = Vec::new();
        let mut next = Some(self.record.clone());
        while let Some(record) = next.and_then(|digest| by_digest.get(&digest)?.unverified().ok()) {
            next = record.previous.clone();
            past.push(record);
        }
        past
    }

    /// Follows the store from what was taken to its head: `kept` are the records that it keeps, in any order, the head among them.
    /// Returns each one that follows, the head last; none: the head is what was taken. A relay that was away longer than the store
    /// keeps follows where the oldest that is kept was signed by somebody whom it knows.
    ///
    /// # Errors
    /// The head does not follow.
    pub fn follow(&self, head: &Signed, kept: &[Signed]) -> Result<Vec<Record>, Distrust> {
        let unsigned = |number, why| Distrust::Unsigned { number, why };
        let last = head.unverified().map_err(|why| unsigned(0, why))?;
        if last.id != self.id {
            return Err(Distrust::Foreign);
        }
        if last.number < self.number {
            return Err(Distrust::Older { store: last.number, taken: self.number });
        }
        if last.number == self.number {
            return if head.digest() == self.record {
                Ok(Vec::new())
            } else {
                Err(Distrust::Diverged(last.number))
            };
        }
        let mut chain: Vec<(u64, &Signed)> = kept
            .iter()
            .chain([head])
            .filter_map(|signed| Some((signed.unverified().ok()?.number, signed)))
            .filter(|(number, _)| (self.number + 1..=last.number).contains(number))
            .collect();
        chain.sort_by_key(|(number, _)| *number);
        chain.dedup_by_key(|(number, _)| *number);
        let mut believed = self.clone();
        let mut followed = Vec::new();
        for (number, signed) in chain {
            let record = signed.verified(&believed.signers).map_err(|why| unsigned(number, why))?;
            let follows = record.previous.as_ref() == Some(&believed.record);
            if number == believed.number + 1 && !follows || record.id != self.id {
                return Err(Distrust::Diverged(number));
            }
            believed = Self::after(signed, &record);
            followed.push(record);
        }
        if believed.record != head.digest() {
            return Err(Distrust::Diverged(last.number));
        }
        Ok(followed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::SigningPair;
    use super::super::record::tests::record;
    use super::*;

    struct Chain {
        pairs: Vec<SigningPair>,
        signed: Vec<Signed>,
    }

    /// Five relays; each revision is signed by one of those before, and says who may sign the next: all that are in `sets`.
    fn chain(sets: &[Vec<usize>]) -> Chain {
        let pairs: Vec<SigningPair> = (0..5).map(|_| SigningPair::random().unwrap()).collect();
        let names = ["a", "b", "c", "d", "e"];
        let mut signed: Vec<Signed> = Vec::new();
        for (n, set) in sets.iter().enumerate() {
            let signer = if n == 0 { set[0] } else { sets[n - 1][n % sets[n - 1].len()] };
            let signers: Vec<(&str, &SigningPair)> = set.iter().map(|i| (names[*i], &pairs[*i])).collect();
            let previous = signed.last().map(Signed::digest);
            let record = record(n as u64 + 1, previous, names[signer], &signers);
            signed.push(Signed::new(&record, &pairs[signer]));
        }
        Chain { pairs, signed }
    }

    fn trust(signed: &Signed) -> Trust {
        Trust::after(signed, &signed.unverified().unwrap())
    }

    proptest! {
        #[test]
        fn every_later_head_follows_from_every_earlier_one(
            sets in prop::collection::vec(prop::collection::btree_set(0_usize..5, 1..4), 2..8),
            from in 0_usize..6,
        ) {
            let sets: Vec<Vec<usize>> = sets.into_iter().map(|set| set.into_iter().collect()).collect();
            let made = chain(&sets);
            let from = from.min(sets.len() - 1);
            let head = made.signed.last().unwrap();
            let followed = trust(&made.signed[from]).follow(head, &made.signed);
            let expected = (from + 1 < sets.len()).then_some(sets.len() as u64);
            prop_assert_eq!(followed.map(|records| records.last().map(|r| r.number)), Ok(expected));
            // The other way round it went back in time.
            if from + 1 < sets.len() {
                let back = trust(head).follow(&made.signed[from], &made.signed);
                prop_assert_eq!(back.unwrap_err().code(), "store-older");
            }
        }

        #[test]
        fn whoever_was_taken_out_signs_nothing_more(after in 1_usize..4) {
            let mut sets = vec![vec![0, 1]];
            sets.extend(std::iter::repeat_n(vec![0], after));
            let made = chain(&sets);
            let last = made.signed.last().unwrap();
            let by_b = record(after as u64 + 2, Some(last.digest()), "b", &[("b", &made.pairs[1])]);
            let forged = Signed::new(&by_b, &made.pairs[1]);
            let followed = trust(last).follow(&forged, &made.signed);
            prop_assert_eq!(followed.unwrap_err().code(), "unsigned-revision");
        }
    }

    #[test]
    fn the_past_is_what_names_itself_and_nothing_beside_it() {
        let made = chain(&[vec![0], vec![0], vec![0], vec![0]]);
        let key = &made.pairs[0];
        let numbers = |kept: &[Signed]| {
            trust(&made.signed[2]).past(kept).iter().map(|record| record.number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&made.signed), [3, 2, 1]);
        // One that is forged, and one that a member signed and no revision follows from: neither was taken.
        let other = record(1, None, "a", &[("a", key), ("b", key)]);
        for forged in [Signed::new(&other, key), Signed::new(&other, &made.pairs[1])] {
            let kept = [&[forged], &made.signed[1..]].concat();
            assert_eq!(numbers(&kept), [3, 2]);
        }
        assert_eq!(numbers(&[made.signed[3].clone()]), [0; 0]);
    }

    #[test]
    fn another_history_of_the_same_length_is_told() {
        let made = chain(&[vec![0], vec![0], vec![0]]);
        let own = trust(&made.signed[1]);
        let key = &made.pairs[0];
        let second =
            Signed::new(&record(2, Some(made.signed[0].digest()), "a", &[("a", key), ("b", key)]), key);
        assert_eq!(own.follow(&second, &[]), Err(Distrust::Diverged(2)));
        let third = Signed::new(&record(3, Some(second.digest()), "a", &[("a", key)]), key);
        assert_eq!(own.follow(&third, &[second]), Err(Distrust::Diverged(3)));
        let mut foreign = record(3, Some(made.signed[1].digest()), "a", &[("a", key)]);
        foreign.id = "b".repeat(32);
        assert_eq!(own.follow(&Signed::new(&foreign, key), &[]), Err(Distrust::Foreign));
    }

    #[test]
    fn who_was_away_longer_than_is_kept_believes_those_whom_he_knows() {
        let made = chain(&[vec![0, 1], vec![0, 1], vec![0, 1], vec![0, 1], vec![0, 1]]);
        let own = trust(&made.signed[0]);
        let kept = &made.signed[3..];
        assert_eq!(own.follow(&made.signed[4], kept).unwrap().last().unwrap().number, 5);
        // Of a gap whose signer he never heard of he believes nothing.
        let made = chain(&[vec![0], vec![1], vec![2], vec![3], vec![4]]);
        let followed = trust(&made.signed[0]).follow(&made.signed[4], &made.signed[3..]);
        assert_eq!(followed.unwrap_err().code(), "unsigned-revision");
    }
}
