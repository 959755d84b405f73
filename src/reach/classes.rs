//! Places with the same answers, found without asking for every pair.
//!
//! Nodes that differ in nothing but their names, keys and addresses fare alike. So one walk stands for all pairs of two such
//! kinds, and the classes are then compared by their answers, exactly. Where a policy narrows, a node may reach its own site and
//! no other's: such a kind is a class all the same, with two answers, one for places of the same node.

use std::collections::HashMap;

use super::cause::Code;
use super::flow::{Probe, join};
use super::judge::{Judgement, PathFamily, Ports, judge};
use super::kinds::{Kinds, Slot, kinds};
use super::matrix::asks;
use super::place::Place;
use super::rule_bits::{Bits, Relation};
use super::world::World;

/// Places with the same answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    /// By their numbers, in order.
    pub places: Vec<usize>,
    /// The kind of node whose places these are, where it matters to another class of that kind whether a place is on the
    /// same node. The n-th place of one such class and the n-th of another are then on one node.
    pub own: Option<usize>,
    /// The group of its first place.
    group: usize,
}

impl Class {
    /// Returns the pairs that tell how places of this class fare with those of another, each with whether it speaks of places
    /// of one node alone, or of different ones; `None`: that does not matter.
    pub(super) fn pairs(&self, to: &Self) -> Vec<(usize, usize, Option<bool>)> {
        let Some(from) = self.places.first().copied() else { return Vec::new() };
        let second = to.places.get(1).copied();
        if std::ptr::eq(self, to) {
            return second.map(|to| (from, to, None)).into_iter().collect();
        }
        let first = to.places.first().copied();
        if self.own.is_none() || self.own != to.own {
            return first.map(|to| (from, to, None)).into_iter().collect();
        }
        let same = first.map(|to| (from, to, Some(true)));
        same.into_iter().chain(second.map(|to| (from, to, Some(false)))).collect()
    }
}

/// Sorts places by their answers.
pub(super) fn classes(asked: &mut Asked<'_>) -> Vec<Class> {
    let groups = asked.groups();
    let table = asked.table(&groups);
    let merged = merge(&groups, &table);
    asked.group_of = vec![0; asked.places.len()];
    for (number, group) in groups.iter().enumerate() {
        group.places.iter().for_each(|place| asked.group_of[*place] = number);
    }
    asked.table = table;
    merged
        .into_iter()
        .map(|class| {
            let own = class.first().and_then(|g| groups[*g].own);
            let mut places: Vec<usize> =
                class.into_iter().flat_map(|g| groups[g].places.iter().copied()).collect();
            places.sort_unstable();
            let first = places.first().map(|place| asked.group_of[*place]);
            Class { places, own, group: first.unwrap_or_default() }
        })
        .collect()
}

/// The places of a slot, by number.
struct Group {
    places: Vec<usize>,
    /// As in [`Class`].
    own: Option<usize>,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Answer {
    pub ports: Ports,
    pub families: Vec<PathFamily>,
    /// Why nothing reaches; `None`: something does.
    pub code: Option<Code>,
}

/// What decides a pair's answer.
#[derive(PartialEq, Eq, Hash)]
enum Question {
    /// The kinds of the two, and whether the places are of one node.
    Kinds(Slot, Slot, bool),
    /// The shapes of two nodes, their places there, and the rules between them.
    Shapes((usize, usize), (usize, usize), Relation),
}

/// The answers that were asked for, each as a number: equal numbers, equal answers.
pub(super) struct Asked<'a> {
    world: &'a World,
    probes: &'a [Probe],
    places: &'a [Place],
    kinds: Kinds,
    known: HashMap<Question, u32>,
    numbers: HashMap<Answer, u32>,
    answers: Vec<Answer>,
    /// For each place its group, and the answers between groups, once they are known.
    group_of: Vec<usize>,
    table: Vec<Vec<u32>>,
    /// How many pairs were walked.
    walked: usize,
}

/// No question at all.
const NONE: u32 = u32::MAX;

impl<'a> Asked<'a> {
    pub(super) fn of(world: &'a World, probes: &'a [Probe], places: &'a [Place]) -> Self {
        Self {
            world,
            probes,
            places,
            kinds: kinds(world, places),
            known: HashMap::new(),
            numbers: HashMap::new(),
            answers: Vec::new(),
            group_of: Vec::new(),
            table: Vec::new(),
            walked: 0,
        }
    }

    /// Returns what comes of the first places of two classes that fare alike on one node and on two; `None` as below.
    pub(super) fn told_of_classes(&self, from: &Class, to: &Class) -> Option<&Answer> {
        self.answers.get(self.table[from.group][to.group] as usize)
    }

    /// Returns what comes of a pair of places; `None`: it is no question of this network.
    pub(super) fn told(&mut self, from: usize, to: usize) -> Option<&Answer> {
        let number = self.answer(from, to);
        self.answers.get(number as usize)
    }

    #[cfg(test)]
    pub(super) const fn walked(&self) -> usize {
        self.walked
    }

    fn answer(&mut self, from: usize, to: usize) -> u32 {
        if from == to || !asks(self.world, &self.places[from], &self.places[to]) {
            return NONE;
        }
        let question = self.question(from, to);
        if let Some(known) = self.known.get(&question) {
            return *known;
        }
        let sum = match &question {
            Question::Shapes(a, b, Relation::Several(rules)) => self.sum(*a, *b, rules),
            _ => None,
        };
        let answer = sum.unwrap_or_else(|| self.walk(from, to));
        let next = self.answers.len() as u32;
        let number = *self.numbers.entry(answer).or_insert_with_key(|answer| {
            self.answers.push(answer.clone());
            next
        });
        self.known.insert(question, number);
        number
    }

    fn question(&self, from: usize, to: usize) -> Question {
        let ((unit, a), (other, b)) = (self.kinds.of[from], self.kinds.of[to]);
        let same = unit == other;
        match (&self.kinds.shapes[a.kind], &self.kinds.shapes[b.kind]) {
            (Some((shape, ruled)), Some((other, by))) if !same => {
                Question::Shapes((*shape, a.index), (*other, b.index), ruled.relation(by))
            }
            _ => Question::Kinds(a, b, same),
        }
    }

    fn walk(&mut self, from: usize, to: usize) -> Answer {
        self.walked += 1;
        let judgement = judge(self.world, self.probes, &self.places[from], &self.places[to]);
        let Judgement { ports, families, death } = judgement;
        Answer { ports, families, code: death.map(|d| d.code(self.world)) }
    }

    /// What several rules let pass is what each of them does; `None`: that is not known of each.
    fn sum(&self, from: (usize, usize), to: (usize, usize), rules: &Bits) -> Option<Answer> {
        let (mut open, mut families) = (Vec::new(), Vec::new());
        for rule in rules.rules() {
            let number = self.known.get(&Question::Shapes(from, to, Relation::One(rule)))?;
            let Answer { ports, families: found, code: None } = &self.answers[*number as usize] else {
                return None;
            };
            families.extend(found.iter().copied());
            match ports {
                Ports::All => open.extend(self.probes.iter().map(|p| p.spec)),
                Ports::Some(list) => open.extend(list.iter().copied()),
            }
        }
        families.sort_unstable();
        families.dedup();
        let ports = join(open);
        // Whether everything passes is a question to each family.
        let ports = match ports == join(self.probes.iter().map(|p| p.spec)) {
            true if families.len() == 1 => Ports::All,
            true => return None,
            false => Ports::Some(ports),
        };
        Some(Answer { ports, families, code: None })
    }

    /// Puts the places of each slot together.
    fn groups(&mut self) -> Vec<Group> {
        let mut by_slot: HashMap<Slot, Vec<usize>> = HashMap::new();
        let mut order = Vec::new();
        for (place, (_, slot)) in self.kinds.of.iter().enumerate() {
            let list = by_slot.entry(*slot).or_default();
            if list.is_empty() {
                order.push(*slot);
            }
            list.push(place);
        }
        let mut groups = Vec::new();
        for slot in order {
            let places = by_slot.remove(&slot).unwrap_or_default();
            let own = (places.len() > 1 && !self.is_uniform(slot)).then_some(slot.kind);
            groups.push(Group { places, own });
        }
        groups
    }

    fn is_uniform(&mut self, slot: Slot) -> bool {
        let (first, second) = match self.kinds.members[slot.kind].as_slice() {
            [first, second, ..] => (*first, *second),
            _ => return true,
        };
        (0..=self.kinds.last[slot.kind]).filter(|i| *i != slot.index).all(|i| {
            let here = first + slot.index;
            self.answer(here, first + i) == self.answer(here, second + i)
                && self.answer(first + i, here) == self.answer(second + i, here)
        })
    }

    /// The answers between the first members of groups, on different nodes where that matters; on the diagonal, from the
    /// first to the second member.
    fn table(&mut self, groups: &[Group]) -> Vec<Vec<u32>> {
        let mut table = vec![vec![NONE; groups.len()]; groups.len()];
        let mut later = Vec::new();
        for (i, from) in groups.iter().enumerate() {
            for (j, to) in groups.iter().enumerate() {
                let beside = i == j || from.own.is_some() && from.own == to.own;
                let to = if beside { to.places.get(1) } else { to.places.first() };
                let Some(to) = to.copied() else { continue };
                let from = from.places[0];
                // What each rule does by itself comes first, and what several do is the sum.
                match self.question(from, to) {
                    Question::Shapes(.., Relation::Several(_)) => later.push((i, j, from, to)),
                    _ => table[i][j] = self.answer(from, to),
                }
            }
        }
        for (i, j, from, to) in later {
            table[i][j] = self.answer(from, to);
        }
        table
    }
}

/// What a group answers, as one number for the sum of all its answers, and the share of each in it.
struct Sums<'t> {
    table: &'t [Vec<u32>],
    all: Vec<u64>,
}

impl<'t> Sums<'t> {
    fn of(table: &'t [Vec<u32>]) -> Self {
        let mut sums = Self { table, all: vec![0; table.len()] };
        for group in 0..table.len() {
            sums.all[group] = (0..table.len()).fold(0, |sum, x| sum.wrapping_add(sums.share(group, x)));
        }
        sums
    }

    fn share(&self, group: usize, with: usize) -> u64 {
        let (to, from) = (u64::from(self.table[group][with]), u64::from(self.table[with][group]));
        // Any mixing will do (here splitmix64's): equal sums are compared answer by answer afterwards.
        let mut x = (to << 32 | from).wrapping_add((with as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// Says whether two groups answer alike to all others.
    fn are_alike(&self, a: usize, b: usize) -> bool {
        let rest = |group: usize, other: usize| {
            self.all[group].wrapping_sub(self.share(group, group)).wrapping_sub(self.share(group, other))
        };
        rest(a, b) == rest(b, a)
            && (0..self.table.len())
                .filter(|x| *x != a && *x != b)
                .all(|x| self.table[a][x] == self.table[b][x] && self.table[x][a] == self.table[x][b])
    }
}

/// Joins groups that answer alike to all others, among themselves and within.
fn merge(groups: &[Group], table: &[Vec<u32>]) -> Vec<Vec<usize>> {
    let sums = Sums::of(table);
    let mut classes: Vec<(Vec<usize>, u32)> = Vec::new();
    for group in 0..groups.len() {
        let inner = table[group][group];
        let fits = |(members, within): &(Vec<usize>, u32)| {
            let first = members[0];
            // What has two answers is like nothing else.
            if groups[group].own.is_some() || groups[first].own.is_some() {
                return false;
            }
            let between = table[group][first];
            // A group of one has nothing within.
            let alike = |a: u32| a == NONE || a == between;
            table[first][group] == between && alike(inner) && alike(*within) && sums.are_alike(group, first)
        };
        match classes.iter().position(fits) {
            Some(at) => {
                let between = table[group][classes[at].0[0]];
                classes[at].0.push(group);
                classes[at].1 = between;
            }
            None => classes.push((vec![group], inner)),
        }
    }
    classes.into_iter().map(|(members, _)| members).collect()
}
