//! A relay's side: answers spokes, learns from them where they are, and tells the other relays of those that are here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv6Addr;
use std::time::Duration;

use super::{Letters, Told};
use crate::failover::{Known, Message, chunks};
use crate::model::{Attachments, Network, NodeName, Timestamp};

/// How often all is told again, for relays that were away.
const AGAIN: Duration = Duration::from_secs(10);
/// What is new is told twice, so far apart.
const TWICE: Duration = Duration::from_millis(500);
/// A spoke that asked so long ago runs no agent any more.
const ASKS: Duration = Duration::from_secs(15);
/// How often another relay is told that it is to drain, until it does.
const ORDER: Duration = Duration::from_millis(300);

pub(super) struct RelaySide {
    known: Known,
    this: Option<NodeName>,
    /// Of all nodes that may speak.
    names: HashMap<Ipv6Addr, NodeName>,
    /// When each spoke asked last.
    asked: BTreeMap<NodeName, Duration>,
    is_changed: bool,
    /// Spokes to tell others of, once more at that moment.
    tell: BTreeSet<NodeName>,
    tell_again: Option<(Duration, BTreeSet<NodeName>)>,
    all_told: Duration,
    drained: bool,
    ordered: Duration,
}

impl RelaySide {
    pub fn new(attached: Attachments) -> Self {
        Self {
            known: Known::of(attached),
            this: None,
            names: HashMap::new(),
            asked: BTreeMap::new(),
            is_changed: false,
            tell: BTreeSet::new(),
            tell_again: None,
            all_told: Duration::ZERO,
            drained: false,
            ordered: Duration::ZERO,
        }
    }

    /// Takes the network as it is applied now. Returns where spokes are.
    pub fn refresh(
        &mut self,
        network: &Network,
        this: &NodeName,
        now: Timestamp,
        at: Duration,
    ) -> Attachments {
        self.this = Some(this.clone());
        let active = network.nodes.values().filter(|node| node.is_active(now) && node.name != *this);
        self.names = active.map(|node| (node.public_key.link_local(), node.name.clone())).collect();
        self.known.retain(network);
        self.asked.retain(|name, asked| network.nodes.contains_key(name) && at.saturating_sub(*asked) < ASKS);
        self.known.all().clone()
    }

    pub fn heard(
        &mut self,
        network: &Network,
        told: &Told,
        from: Ipv6Addr,
        message: Message,
        now: Timestamp,
        at: Duration,
    ) -> Letters {
        let Some(node) = self.names.get(&from).and_then(|name| network.nodes.get(name)) else {
            return Letters::new();
        };
        let name = node.name.clone();
        match message {
            Message::Probe { number, epoch, at: is_at } if !node.is_relay() => {
                self.asked.insert(name.clone(), at);
                self.hear(network, &name, &is_at, epoch, now);
                let known = self.known.of_spoke(&name);
                let (is_at, epoch) =
                    (known.map(|(relay, _)| relay.clone()), known.map_or(0, |(_, epoch)| epoch));
                vec![(name, Message::Answer { number, epoch, at: is_at, drains: told.drains() })]
            }
            Message::Attached { spokes, drains } if node.is_relay() => {
                told.other_drains(&name, drains);
                for (spoke, relay, epoch) in spokes {
                    // Each relay speaks for itself alone.
                    if relay == name {
                        self.hear(network, &spoke, &relay, epoch, now);
                    }
                }
                Letters::new()
            }
            Message::Drain { drains } if node.is_relay() => {
                tracing::info!("{name} asks this relay to {}", if drains { "drain" } else { "carry again" });
                told.set_drains(drains);
                Letters::new()
            }
            _ => Letters::new(),
        }
    }

    fn hear(&mut self, network: &Network, spoke: &NodeName, relay: &NodeName, epoch: u64, now: Timestamp) {
        let before = self.known.of_spoke(spoke).map(|(relay, _)| relay.clone());
        if !self.known.hear(network, spoke, relay, epoch, now) {
            return;
        }
        if before.as_ref() != Some(relay) {
            tracing::info!("{spoke} is at {relay} now");
        }
        self.is_changed = true;
        if self.this.as_ref() == Some(relay) {
            self.tell.insert(spoke.clone());
        }
    }

    /// Does what is due: what to send, where spokes are if that changed, and when something is due next.
    pub fn poll(
        &mut self,
        network: &Network,
        told: &Told,
        now: Timestamp,
        at: Duration,
    ) -> (Letters, Option<Attachments>, Option<Duration>) {
        let mut letters = Letters::new();
        let Some(this) = self.this.clone() else { return (letters, None, None) };
        let drains = told.drains();
        let has_turned = drains != self.drained;
        self.drained = drains;
        if has_turned && drains {
            letters.extend(self.here(network, now).map(|spoke| (spoke.clone(), Message::Drains)));
        }
        let others: Vec<NodeName> = network
            .relays()
            .filter(|relay| relay.name != this && relay.is_active(now))
            .map(|relay| relay.name.clone())
            .collect();
        let mut tell = std::mem::take(&mut self.tell);
        if !tell.is_empty() {
            self.tell_again = Some((at + TWICE, tell.clone()));
        }
        if let Some((_, again)) = self.tell_again.take_if(|(when, _)| at >= *when) {
            tell.extend(again);
        }
        let is_due = at.saturating_sub(self.all_told) >= AGAIN;
        let here = self.known.told().filter(|(_, relay, _)| *relay == this);
        let here: Vec<_> = here.filter(|(spoke, ..)| is_due || tell.contains(spoke)).collect();
        if is_due || has_turned || !here.is_empty() {
            self.all_told = if is_due { at } else { self.all_told };
            for message in chunks(here, drains) {
                letters.extend(others.iter().map(|other| (other.clone(), message.clone())));
            }
        }
        if at.saturating_sub(self.ordered) >= ORDER {
            self.ordered = at;
            letters
                .extend(told.orders().into_iter().map(|(relay, drains)| (relay, Message::Drain { drains })));
        }
        told.set_here(self.here(network, now).cloned().collect());
        let changed = std::mem::take(&mut self.is_changed) || has_turned;
        let next = self.tell_again.as_ref().map(|(when, _)| *when);
        (letters, changed.then(|| self.known.all().clone()), next)
    }

    /// The spokes here that run wgrelay.
    fn here<'a>(&'a self, network: &'a Network, now: Timestamp) -> impl Iterator<Item = &'a NodeName> {
        let is_here = move |spoke: &NodeName| {
            let known = self.known.of_spoke(spoke).map(|(relay, _)| relay);
            let home = || {
                network
                    .nodes
                    .get(spoke)
                    .and_then(|spoke| network.home_of(spoke, now))
                    .map(|relay| &relay.name)
            };
            known.or_else(home) == self.this.as_ref()
        };
        self.asked.keys().filter(move |spoke| is_here(spoke))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(0);

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    /// Three relays; `a` lists eu and us, `b` us alone.
    fn network() -> Network {
        let mut text = "[network]\nname = \"wg0\"\nsubnet = \"10.0.0.0/24\"\n".to_owned();
        let relay = "role = \"relay\"\nendpoint = \"192.0.2.1:51820\"";
        let nodes = [
            ("eu", relay),
            ("us", relay),
            ("ap", relay),
            ("a", "relays = [\"eu\", \"us\"]"),
            ("b", "relays = [\"us\"]"),
        ];
        for (n, (name, more)) in nodes.into_iter().enumerate() {
            let key = crate::model::PrivateKey::from_random([n as u8 + 1; 32]).public_key();
            text +=
                &format!("[node.{name}]\naddress = \"10.0.0.{}\"\npublic_key = \"{key}\"\n{more}\n", n + 1);
        }
        crate::config::parse_network(text.as_bytes(), "f").value.unwrap()
    }

    /// What ap knows after it heard this from that node.
    fn heard(from: &str, message: Message) -> Vec<(String, String)> {
        let (network, told) = (network(), Told::default());
        let mut side = RelaySide::new(Attachments::new());
        side.refresh(&network, &name("ap"), NOW, Duration::ZERO);
        let from = network.nodes.get(from).map_or(Ipv6Addr::LOCALHOST, |node| node.public_key.link_local());
        side.heard(&network, &told, from, message, NOW, Duration::ZERO);
        assert!(
            !told.drains() || matches!(side.names.get(&from), Some(relay) if network.nodes[relay].is_relay())
        );
        let known = side.known.all().iter();
        known.map(|(spoke, at)| (spoke.to_string(), at.relay.to_string())).collect()
    }

    fn attached(spoke: &str, relay: &str) -> Message {
        Message::Attached { spokes: vec![(name(spoke), name(relay), 7)], drains: false }
    }

    #[test]
    fn each_speaks_for_itself_alone_and_no_list_is_left() {
        let a_at = |relay: &str| vec![("a".to_owned(), relay.to_owned())];
        let probe = |at: &str| Message::Probe { number: 1, epoch: 7, at: name(at) };
        for (from, message, expected) in [
            ("us", attached("a", "us"), a_at("us")),
            ("a", probe("us"), a_at("us")),
            ("a", probe("eu"), a_at("eu")),
            // A relay for another one, or for a spoke that does not list it; a spoke for another one.
            ("eu", attached("a", "us"), vec![]),
            ("eu", attached("b", "eu"), vec![]),
            ("b", attached("a", "us"), vec![]),
            ("a", probe("ap"), vec![]),
            ("a", probe("b"), vec![]),
            ("b", probe("eu"), vec![]),
            ("us", probe("us"), vec![]),
            ("nobody", probe("us"), vec![]),
            ("nobody", attached("a", "us"), vec![]),
            ("a", Message::Drain { drains: true }, vec![]),
        ] {
            assert_eq!(heard(from, message.clone()), expected, "{from} says {message:?}");
        }
    }

    #[test]
    fn what_is_new_is_told_twice_and_all_of_it_again_and_again() {
        let (network, told) = (network(), Told::default());
        let mut side = RelaySide::new(Attachments::new());
        let second = Duration::from_secs;
        side.refresh(&network, &name("us"), NOW, second(20));
        let said = |side: &mut RelaySide, at: Duration| {
            let (letters, changed, _) = side.poll(&network, &told, NOW, at);
            let to = |(to, message): (NodeName, Message)| match message {
                Message::Attached { spokes, .. } => format!("{to} {}", spokes.len()),
                other => panic!("{other:?}"),
            };
            (letters.into_iter().map(to).collect::<Vec<_>>(), changed.is_some())
        };
        assert_eq!(said(&mut side, second(20)), (vec!["eu 0".into(), "ap 0".into()], false));
        let from = network.nodes["a"].public_key.link_local();
        let probe = Message::Probe { number: 1, epoch: 1, at: name("us") };
        let answers = side.heard(&network, &told, from, probe, NOW, second(21));
        let answer = Message::Answer { number: 1, epoch: 1, at: Some(name("us")), drains: false };
        assert_eq!(answers, [(name("a"), answer)]);
        let (one, none) = (vec!["eu 1".to_owned(), "ap 1".to_owned()], Vec::<String>::new());
        assert_eq!(said(&mut side, second(21)), (one.clone(), true));
        assert_eq!(said(&mut side, second(21)), (none.clone(), false));
        assert_eq!(said(&mut side, second(22)), (one.clone(), false));
        assert_eq!(said(&mut side, second(23)), (none, false));
        assert_eq!(said(&mut side, second(31)), (one, false));
    }
}
