//! What a change of the network opens and closes: the pairs of places whose answers differ before and after it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::check::Check;
use super::judge::Ports;
use super::place::Place;
use crate::model::Verdict;

/// So many pairs are told each way; the rest are counted.
const TOLD: usize = 500;

/// The pairs that a change opens or closes. Of places that have the same answers before and after, the first speaks for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ChangedPairs {
    /// Something gets there and back that did not.
    pub opens: Vec<ChangedPair>,
    /// Something does not any more.
    pub closes: Vec<ChangedPair>,
    /// How many more pairs there are than are told.
    pub unlisted: usize,
}

/// A pair whose answer differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedPair {
    /// Where the flow starts.
    pub from: String,
    /// Where it goes.
    pub to: String,
    /// What is new in it, or lost.
    pub ports: Ports,
}

/// The answers of one check, by class.
struct Answers<'c> {
    class_of: BTreeMap<String, usize>,
    ports: BTreeMap<(usize, usize, Option<bool>), &'c Ports>,
}

impl<'c> Answers<'c> {
    fn of(check: &'c Check) -> Self {
        let mut class_of = BTreeMap::new();
        for (index, class) in check.classes.iter().enumerate() {
            class_of.extend(class.iter().map(|place| (place.to_string(), index)));
        }
        // Whoever stands outside is in no class of the matrix.
        let outside = check.outside.iter().flat_map(|pair| [&pair.from, &pair.to]);
        for place in outside.map(Place::to_string) {
            let next = class_of.len() + check.classes.len();
            class_of.entry(place).or_insert(next);
        }
        let reaching = check.pairs.iter().chain(&check.outside).filter(|p| p.verdict == Verdict::Reaches);
        let ports = reaching.filter_map(|pair| {
            let (from, to) = (class_of.get(&pair.from.to_string())?, class_of.get(&pair.to.to_string())?);
            Some(((*from, *to, pair.same_node), &pair.ports))
        });
        let ports = ports.collect();
        Self { class_of, ports }
    }
}

/// Compares the answers before and after a change.
pub fn changed_pairs(before: &Check, after: &Check) -> ChangedPairs {
    let (old, new) = (Answers::of(before), Answers::of(after));
    // Places that were told together and still are: the first of each speaks, and a second for pairs inside.
    let mut groups: BTreeMap<(Option<usize>, Option<usize>), Vec<&str>> = BTreeMap::new();
    let names: std::collections::BTreeSet<&String> = old.class_of.keys().chain(new.class_of.keys()).collect();
    for name in names {
        let key = (old.class_of.get(name).copied(), new.class_of.get(name).copied());
        let members = groups.entry(key).or_default();
        if members.len() < 2 {
            members.push(name);
        }
    }
    let mut changed = ChangedPairs::default();
    for (a, from) in &groups {
        for (b, to) in &groups {
            let pair = if a == b { from.first().zip(from.get(1)) } else { from.first().zip(to.first()) };
            let Some((from, to)) = pair else { continue };
            for same_node in [None, Some(true), Some(false)] {
                let of = |answers: &Answers<'_>, a: Option<usize>, b: Option<usize>| {
                    answers.ports.get(&(a?, b?, same_node)).map(|ports| Ports::clone(ports))
                };
                let (was, is) = (of(&old, a.0, b.0), of(&new, a.1, b.1));
                changed.add(from, to, was.as_ref(), is.as_ref());
            }
        }
    }
    changed
}

impl ChangedPairs {
    fn add(&mut self, from: &str, to: &str, was: Option<&Ports>, is: Option<&Ports>) {
        let lists = [(&mut self.opens, gained(was, is)), (&mut self.closes, gained(is, was))];
        for (list, ports) in lists {
            match ports {
                None => {}
                Some(_) if list.len() == TOLD => self.unlisted += 1,
                Some(ports) => list.push(ChangedPair { from: from.into(), to: to.into(), ports }),
            }
        }
    }
}

/// What the second has that the first lacks.
fn gained(first: Option<&Ports>, second: Option<&Ports>) -> Option<Ports> {
    match (first, second?) {
        (None, all) => Some(all.clone()),
        (Some(Ports::All), _) => None,
        (Some(Ports::Some(_)), Ports::All) => Some(Ports::All),
        (Some(Ports::Some(had)), Ports::Some(has)) => {
            let new: Vec<_> = has.iter().filter(|port| !had.contains(port)).copied().collect();
            (!new.is_empty()).then_some(Ports::Some(new))
        }
    }
}
