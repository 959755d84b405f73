//! What a relay knows of where spokes are: the newest choice of each, from whomever it hears of it, and no relay that the spoke's own
//! list does not have.

use crate::model::{Attachment, Attachments, Network, NodeName, Timestamp};

/// A number that is this much higher than the one known was made up: a spoke chooses once a second at most, and this is 12 days of it.
/// Whoever could bring any number would end a spoke's choices, as none is higher than the highest.
pub(super) const LEAP: u64 = 1 << 20;

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
    /// by no more than choices can be, and allowed by the network.
    pub fn hear(
        &mut self,
        network: &Network,
        spoke: &NodeName,
        relay: &NodeName,
        epoch: u64,
        now: Timestamp,
    ) -> bool {
        let known = self.spokes.get(spoke).map_or(0, |known| known.epoch);
        let is_newer = epoch > known && epoch - known <= LEAP;
        if !is_newer || !network.may_attach(spoke, relay) {
            return false;
        }
        let moved = self.spokes.get(spoke).is_none_or(|known| known.relay != *relay);
        let since = self.spokes.get(spoke).filter(|_| !moved).map_or(now, |known| known.since);
        self.spokes.insert(spoke.clone(), Attachment { relay: relay.clone(), epoch, since });
        true
    }

    /// Forgets a spoke: it is at home again, as far as anybody knows.
    pub fn forget(&mut self, spoke: &NodeName) {
        self.spokes.remove(spoke);
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

    /// Returns the spokes that are at a relay, and by which choice.
    pub fn at<'a>(&'a self, relay: &'a NodeName) -> impl Iterator<Item = (&'a NodeName, u64)> {
        self.spokes.iter().filter(move |(_, at)| at.relay == *relay).map(|(spoke, at)| (spoke, at.epoch))
    }
}
