//! Whether a text that the store has is taken here by itself. One that takes away more than a fifth of the nodes, or this one,
//! waits for somebody who says so: it may be a mistake, or a store that was put back from long ago.

use crate::model::{Network, Node, NodeName};

/// Why a text waits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Waits {
    /// It has no such node, or it is no relay there.
    #[error("it has no relay {0}, which is this host")]
    WithoutThis(NodeName),
    /// It takes too many away.
    #[error("it takes away {gone} of {all} nodes")]
    TooMany {
        /// How many.
        gone: usize,
        /// Of how many.
        all: usize,
    },
}

impl Waits {
    /// Returns its problem's code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::WithoutThis(_) => "not-in-revision",
            Self::TooMany { .. } => "mass-removal",
        }
    }
}

/// Judges a text that is to replace another one. One node may always go: that is what `remove` does in a small network. Whoever
/// has another name or another key is not gone.
///
/// # Errors
/// Why it waits.
pub fn judge(now: &Network, next: &Network, this: &NodeName) -> Result<(), Waits> {
    if !next.nodes.get(this).is_some_and(Node::is_relay) {
        return Err(Waits::WithoutThis(this.clone()));
    }
    let keys: std::collections::HashSet<_> = next.nodes.values().map(|node| node.public_key).collect();
    let is_gone = |node: &&Node| !next.nodes.contains_key(&node.name) && !keys.contains(&node.public_key);
    let (gone, all) = (now.nodes.values().filter(is_gone).count(), now.nodes.len());
    if gone > 1 && gone * 5 > all { Err(Waits::TooMany { gone, all }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::parse_network;

    fn network(nodes: impl Iterator<Item = usize>) -> Network {
        let mut text =
            String::from("[network]\nname = \"wg0\"\nsubnet = \"10.0.0.0/24\"\npreshared_keys = false\n");
        for n in nodes {
            let key = crate::model::PrivateKey::from_random([n as u8 + 1; 32]).public_key();
            let role = if n == 0 { "role = \"relay\"\nendpoint = \"192.0.2.1:1\"\n" } else { "" };
            text += &format!("[node.n{n}]\n{role}address = \"10.0.0.{}\"\npublic_key = \"{key}\"\n", n + 1);
        }
        let parsed = parse_network(text.as_bytes(), "f");
        parsed.value.unwrap_or_else(|| panic!("{:?}", parsed.problems))
    }

    proptest! {
        #[test]
        fn more_than_a_fifth_waits_and_no_less(all in 1_usize..40, gone in 0_usize..40) {
            let gone = gone.min(all - 1);
            let (before, after) = (network(0..all), network(0..all - gone));
            let judged = judge(&before, &after, &"n0".parse().unwrap());
            let waits = gone > 1 && gone * 5 > all;
            prop_assert_eq!(judged, if waits { Err(Waits::TooMany { gone, all }) } else { Ok(()) });
            // Nodes that come are no danger.
            prop_assert_eq!(judge(&after, &before, &"n0".parse().unwrap()), Ok(()));
        }
    }

    #[test]
    fn a_text_without_this_relay_waits() {
        let (before, after) = (network(0..5), network(0..4));
        let waits = judge(&before, &after, &"n4".parse().unwrap()).unwrap_err();
        assert_eq!(waits.code(), "not-in-revision");
        // A spoke keeps no store.
        assert!(judge(&before, &before, &"n4".parse().unwrap()).is_err());
    }

    #[test]
    fn a_new_name_or_a_new_key_is_nobody_gone() {
        let before = network(0..5);
        let mut after = before.clone();
        for name in ["n1", "n2", "n3"] {
            let mut node = after.nodes.remove(&name.parse::<NodeName>().unwrap()).unwrap();
            node.name = format!("new-{name}").parse().unwrap();
            after.nodes.insert(node.name.clone(), node);
        }
        let rekeyed = after.nodes.get_mut(&"n4".parse::<NodeName>().unwrap()).unwrap();
        rekeyed.public_key = crate::model::PrivateKey::from_random([99; 32]).public_key();
        assert_eq!(judge(&before, &after, &"n0".parse().unwrap()), Ok(()));
    }
}
