//! What a relay knows of where spokes are: the newest choice of each, from whomever it hears of it, and no relay that the spoke's own
//! list does not have.

use crate::model::{Attachment, Attachments, Network, NodeName, Timestamp};

/// Where spokes are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    spokes: Attachments,
}

impl Known {
    /// Begins with what was known before.
    pub const fn of(spokes: Attachments) -> Self {
        Self { spokes }
    }

    /// Hears that a spoke is at a relay by its choice `epoch`. Returns whether that is news: a choice that is newer than the one known,
    /// and allowed by the network.
    pub fn hear(
        &mut self,
        network: &Network,
        spoke: &NodeName,
        relay: &NodeName,
        epoch: u64,
        now: Timestamp,
    ) -> bool {
        let is_newer = epoch > self.spokes.get(spoke).map_or(0, |known| known.epoch);
        if !is_newer || !network.may_attach(spoke, relay) {
            return false;
        }
        let moved = self.spokes.get(spoke).is_none_or(|known| known.relay != *relay);
        let since = self.spokes.get(spoke).filter(|_| !moved).map_or(now, |known| known.since);
        self.spokes.insert(spoke.clone(), Attachment { relay: relay.clone(), epoch, since });
        true
    }

    /// Forgets who is no spoke of the network any more, or may not be where he was. Returns whether there was anybody.
    pub fn retain(&mut self, network: &Network) -> bool {
        let before = self.spokes.len();
        self.spokes.retain(|spoke, at| network.may_attach(spoke, &at.relay));
        self.spokes.len() != before
    }

    /// Returns the choice that is known of a spoke: relay and epoch; `None`: it never made one.
    pub fn of_spoke(&self, spoke: &NodeName) -> Option<(&NodeName, u64)> {
        self.spokes.get(spoke).map(|at| (&at.relay, at.epoch))
    }

    /// Returns all of them.
    pub const fn all(&self) -> &Attachments {
        &self.spokes
    }

    /// Returns them as relays tell each other.
    pub fn told(&self) -> impl Iterator<Item = (NodeName, NodeName, u64)> + '_ {
        self.spokes.iter().map(|(spoke, at)| (spoke.clone(), at.relay.clone(), at.epoch))
    }
}
