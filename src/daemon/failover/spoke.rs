//! A spoke's side: asks, chooses, and has its device follow.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::{Letters, Told};
use crate::app::Target;
use crate::dataplane::DeviceReport;
use crate::failover::{Action, Busy, Chooser, Message, Situation, Why};
use crate::model::{Attachment, Attachments, Network, Node, NodeName, Timestamp};
use crate::status::{ActiveRelay, RelayAnswers, RelayState};

/// A session that began longer ago is over (`REJECT_AFTER_TIME`).
const SESSION: u64 = 180;

pub(super) struct SpokeSide {
    chooser: Chooser,
    this: NodeName,
    busy: Busy,
    is_busy: bool,
    sessions: Vec<bool>,
    /// Since when the relay in use is, and why.
    since: Timestamp,
    why: Option<Why>,
    preferred: Option<NodeName>,
}

impl SpokeSide {
    pub fn new(target: &Target, attached: &Attachments, now: Timestamp) -> Self {
        let this = target.this();
        let known = attached.get(&this.name);
        let relays = target.network.relays_of(this, now).map(|relay| relay.name.clone());
        Self {
            chooser: Chooser::new(relays, known.map(|at| (&at.relay, at.epoch))),
            this: this.name.clone(),
            busy: Busy::default(),
            is_busy: true,
            sessions: Vec::new(),
            since: known.map_or(now, |at| at.since),
            why: None,
            preferred: None,
        }
    }

    /// Takes the network as it is applied now, and how its sessions are. Returns where this spoke is.
    pub fn refresh(
        &mut self,
        target: &Target,
        report: Option<&DeviceReport>,
        now: Timestamp,
        at: Duration,
    ) -> Attachments {
        let (network, this) = (&target.network, target.this());
        let relays: Vec<&Node> = network.relays_of(this, now).collect();
        let names: Vec<NodeName> = relays.iter().map(|relay| relay.name.clone()).collect();
        let before = self.chooser.active().cloned();
        self.chooser.follow(&names);
        if self.chooser.active() != before.as_ref() {
            self.since = now;
        }
        self.preferred = names.into_iter().next();
        let peer = |relay: &&Node| report?.peers.iter().find(|peer| peer.public_key == relay.public_key);
        let is_alive = |relay: &&Node| {
            peer(relay)
                .and_then(|peer| peer.last_handshake)
                .is_some_and(|last| now.since(Timestamp(last.seconds)) < SESSION)
        };
        self.sessions = relays.iter().map(is_alive).collect();
        let bytes = relays.iter().filter_map(peer).map(|peer| peer.rx_bytes + peer.tx_bytes).sum();
        let passes = self.busy.look(bytes, at);
        self.is_busy = passes || network.keepalive_of(this).is_some();
        self.state()
    }

    fn state(&self) -> Attachments {
        let Some(relay) = self.chooser.active().filter(|_| self.chooser.epoch() > 0) else {
            return Attachments::new();
        };
        let attachment = Attachment { relay: relay.clone(), epoch: self.chooser.epoch(), since: self.since };
        [(self.this.clone(), attachment)].into()
    }

    /// Does what is due: what to send, where this spoke is if that changed, and when something is due next.
    pub fn poll(&mut self, now: Timestamp, at: Duration) -> (Letters, Option<Attachments>, Option<Duration>) {
        let situation = Situation { is_busy: self.is_busy, sessions: &self.sessions };
        let before = self.chooser.active().cloned();
        let mut letters = Letters::new();
        let mut moved = false;
        for action in self.chooser.poll(at, situation) {
            match action {
                Action::Send(to, message) => {
                    self.busy.asked(message.to_bytes().len());
                    letters.push((to, message));
                }
                Action::Move(to, why) => {
                    let from = before.as_ref().map(ToString::to_string).unwrap_or_default();
                    match why {
                        Why::Silent => tracing::warn!("{from} does not answer: {to} carries from now on"),
                        Why::Drains => tracing::info!("{from} is about to go: {to} carries from now on"),
                        Why::Preferred => tracing::info!("{to} is well again, and carries instead of {from}"),
                    }
                    (self.since, self.why, moved) = (now, Some(why), true);
                }
            }
        }
        let next = self.chooser.next(at, situation);
        (letters, moved.then(|| self.state()), next)
    }

    pub fn heard(&mut self, network: &Network, from: Ipv6Addr, message: Message, at: Duration) -> Letters {
        let relay = network.relays().find(|relay| relay.public_key.link_local() == from);
        match (relay, message) {
            (Some(relay), Message::Answer { number, epoch, at: is_at, drains }) => {
                self.chooser.heard(&relay.name, number, epoch, is_at.as_ref(), drains, at);
            }
            (Some(relay), Message::Drains) => self.chooser.drained(&relay.name),
            _ => {}
        }
        Letters::new()
    }

    /// Tells `status` how it is.
    pub fn tell(&self, told: &Told, at: Duration) {
        let (Some(name), Some(preferred)) = (self.chooser.active(), &self.preferred) else { return };
        let drains: Vec<&NodeName> = self.chooser.drains().collect();
        let relays = self.chooser.answers(at).map(|(name, answers)| RelayAnswers {
            name: name.clone(),
            state: match answers {
                _ if drains.contains(&name) => RelayState::Drains,
                Some(true) => RelayState::Answers,
                Some(false) => RelayState::Silent,
                None => RelayState::Unknown,
            },
        });
        told.set_active(ActiveRelay {
            name: name.clone(),
            since: Some(self.since),
            preferred: preferred.clone(),
            relays: relays.collect(),
        });
    }
}
