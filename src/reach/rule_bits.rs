//! Which rules of the policy speak of two nodes.
//!
//! A rule accepts, and nothing else does what it does; so two nodes of the same shape fare by the rules that name the one as
//! the start and the other as the end, however many rules name either of them beside others.

/// A set of rules by number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn of(rules: impl Iterator<Item = usize>, count: usize) -> Self {
        let mut words = vec![0; count.div_ceil(64)];
        for rule in rules {
            words[rule / 64] |= 1 << (rule % 64);
        }
        Self(words)
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    fn both(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    /// How many, and the first of them.
    fn count(&self, other: &Self) -> (u32, usize) {
        let mut found = (0, 0);
        for (at, (a, b)) in self.0.iter().zip(&other.0).enumerate() {
            let word = a & b;
            if word != 0 && found.0 == 0 {
                found.1 = at * 64 + word.trailing_zeros() as usize;
            }
            found.0 += word.count_ones();
        }
        found
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = usize> {
        let bits = |(at, word): (usize, &u64)| {
            let word = *word;
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        };
        self.0.iter().enumerate().flat_map(bits)
    }
}

/// The rules that name one address of a node, or one of its sites, as start and as end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub from: Bits,
    pub to: Bits,
}

/// How rules name a node.
#[derive(Debug, Clone)]
pub(super) enum Ruled {
    /// Each of its addresses alike, and it has no sites.
    Alike(Named),
    /// Each of these by itself.
    Each(Vec<Named>),
}

/// The rules between two nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Relation {
    /// None.
    Nothing,
    /// Only those that speak of the other direction: the two know of each other, and this one may not start a flow.
    Back,
    /// This one alone.
    One(usize),
    /// Several.
    Several(Bits),
    /// These between each part of the one and each of the other, there and back.
    Parts(Vec<Bits>),
}

impl Ruled {
    fn parts(&self) -> &[Named] {
        match self {
            Self::Alike(named) => std::slice::from_ref(named),
            Self::Each(parts) => parts,
        }
    }

    /// The rules between this node and another.
    pub(super) fn relation(&self, to: &Self) -> Relation {
        let (Self::Alike(a), Self::Alike(b)) = (self, to) else { return self.by_parts(to) };
        match a.from.count(&b.to) {
            (0, _) if b.from.meets(&a.to) => Relation::Back,
            (0, _) => Relation::Nothing,
            (1, rule) => Relation::One(rule),
            _ => Relation::Several(a.from.both(&b.to)),
        }
    }

    fn by_parts(&self, to: &Self) -> Relation {
        let pairs = self.parts().iter().flat_map(|a| to.parts().iter().map(move |b| (a, b)));
        let all: Vec<Bits> = pairs.flat_map(|(a, b)| [a.from.both(&b.to), b.from.both(&a.to)]).collect();
        if all.iter().all(Bits::is_empty) { Relation::Nothing } else { Relation::Parts(all) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(from: &[usize], to: &[usize]) -> Named {
        let bits = |list: &[usize]| Bits::of(list.iter().copied(), 130);
        Named { from: bits(from), to: bits(to) }
    }

    #[test]
    fn relations() {
        let a = Ruled::Alike(named(&[0, 64, 129], &[5]));
        let to = |list: &[usize]| Ruled::Alike(named(&[], list));
        assert_eq!(a.relation(&to(&[1, 63])), Relation::Nothing);
        assert_eq!(a.relation(&to(&[129])), Relation::One(129));
        assert_eq!(to(&[129]).relation(&a), Relation::Back);
        let Relation::Several(both) = a.relation(&to(&[0, 1, 64])) else { panic!("two rules") };
        assert_eq!(both.rules().collect::<Vec<_>>(), [0, 64]);
        let each = Ruled::Each(vec![named(&[], &[]), named(&[], &[64])]);
        assert!(matches!(a.relation(&each), Relation::Parts(all) if all.len() == 4));
    }
}
