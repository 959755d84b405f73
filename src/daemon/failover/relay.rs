//! A relay's side: answers spokes, learns from them where they are, and tells the other relays of those that are here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv6Addr;
use std::time::Duration;

use super::{Letters, Told};
use crate::failover::{Known, Message, chunks};
use crate::model::{Attachments, Network, Node, NodeName, Timestamp};

/// How often all is told again, for relays that were away.
const AGAIN: Duration = Duration::from_secs(10);
/// A relay that was not heard for so long was away, or has begun anew.
const AWAY: Duration = Duration::from_secs(15);
/// What is new is told twice, so far apart.
const TWICE: Duration = Duration::from_millis(500);
/// A spoke that asked so long ago runs no agent any more.
const ASKS: Duration = Duration::from_secs(15);
/// How often another relay is told that it is to drain, until it does.
const ORDER: Duration = Duration::from_millis(300);
/// Nobody has said for so long that a spoke is away from home, though it would ask each second if it had an agent: it has none any more.
const UNCONFIRMED: Duration = Duration::from_secs(60);
/// A spoke's choice is followed once in so long: what is refused comes again with its next probe.
const CHOICE: Duration = Duration::from_secs(1);

pub(super) struct RelaySide {
    known: Known,
    this: Option<NodeName>,
    /// Of all nodes that may speak.
    names: HashMap<Ipv6Addr, NodeName>,
    /// When each spoke asked last.
    asked: BTreeMap<NodeName, Duration>,
    /// When somebody said last where a spoke is that has left home.
    confirmed: BTreeMap<NodeName, Duration>,
    /// When a spoke's choice was followed last.
    followed: BTreeMap<NodeName, Duration>,
    is_changed: bool,
    /// Spokes to tell others of, once more at that moment.
    tell: BTreeSet<NodeName>,
    tell_again: Option<(Duration, BTreeSet<NodeName>)>,
    all_told: Duration,
    drained: bool,
    ordered: Duration,
    /// When each other relay was heard last.
    heard_at: BTreeMap<NodeName, Duration>,
    /// Relays that were away, or began anew: they are told all at once.
    greet: BTreeSet<NodeName>,
}

impl RelaySide {
    pub fn new(attached: Attachments) -> Self {
        Self {
            known: Known::of(attached),
            this: None,
            names: HashMap::new(),
            asked: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            followed: BTreeMap::new(),
            is_changed: false,
            tell: BTreeSet::new(),
            tell_again: None,
            all_told: Duration::ZERO,
            drained: false,
            ordered: Duration::ZERO,
            heard_at: BTreeMap::new(),
            greet: BTreeSet::new(),
        }
    }

    /// Returns which relay this is; `None`: it has not been told.
    pub const fn this(&self) -> Option<&NodeName> {
        self.this.as_ref()
    }

    /// Returns where spokes are.
    pub const fn attached(&self) -> &Attachments {
        self.known.all()
    }

    /// Returns who speaks from an address.
    pub fn speaker(&self, from: &Ipv6Addr) -> Option<&NodeName> {
        self.names.get(from)
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
        self.names = network.nodes.get(this).map_or_else(HashMap::new, |this| speakers(network, this, now));
        self.known.retain(network);
        self.asked.retain(|name, asked| network.nodes.contains_key(name) && at.saturating_sub(*asked) < ASKS);
        self.followed.retain(|_, followed| at.saturating_sub(*followed) < CHOICE);
        self.forget_unconfirmed(network, at);
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
                self.hear(network, &name, (&is_at, epoch), now, at);
                let known = self.known.of_spoke(&name);
                let (is_at, epoch) =
                    (known.map(|(relay, _)| relay.clone()), known.map_or(0, |(_, epoch)| epoch));
                vec![(name, Message::Answer { number, epoch, at: is_at, drains: told.drains() })]
            }
            Message::Attached { spokes, drains } if node.is_relay() => {
                told.other_drains(&name, drains);
                let before = self.heard_at.insert(name.clone(), at);
                if before.is_none_or(|before| at.saturating_sub(before) > AWAY) {
                    self.greet.insert(name.clone());
                }
                for (spoke, relay, epoch) in spokes {
                    // Each relay speaks for itself alone.
                    if relay == name {
                        self.hear(network, &spoke, (&relay, epoch), now, at);
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

    fn hear(
        &mut self,
        network: &Network,
        spoke: &NodeName,
        (relay, epoch): (&NodeName, u64),
        now: Timestamp,
        at: Duration,
    ) {
        let known = self.known.of_spoke(spoke).map(|(relay, epoch)| (relay.clone(), epoch));
        if known.as_ref().is_some_and(|known| *known == (relay.clone(), epoch)) {
            self.confirmed.insert(spoke.clone(), at);
        }
        let moves = known.is_none_or(|(known, _)| known != *relay);
        if moves && self.followed.get(spoke).is_some_and(|followed| at.saturating_sub(*followed) < CHOICE) {
            return;
        }
        if !self.known.hear(network, spoke, relay, epoch, now) {
            return;
        }
        self.confirmed.insert(spoke.clone(), at);
        if moves {
            self.followed.insert(spoke.clone(), at);
            tracing::info!("{spoke} is at {relay} now");
        }
        self.is_changed = true;
        if self.this.as_ref() == Some(relay) {
            self.tell.insert(spoke.clone());
        }
    }

    /// Who left home, and would ask each second if it had an agent, is at home again once nobody confirms that it is away: its agent
    /// is gone, and what it runs now does as its file says.
    fn forget_unconfirmed(&mut self, network: &Network, at: Duration) {
        for spoke in self.known.all().keys().cloned().collect::<Vec<_>>() {
            let asks = network.nodes.get(&spoke).is_some_and(|spoke| network.keepalive_of(spoke).is_some());
            let confirmed = *self.confirmed.entry(spoke.clone()).or_insert(at);
            if asks && at.saturating_sub(confirmed) > UNCONFIRMED {
                tracing::info!("nobody says any more where {spoke} is: it is taken to be at home");
                self.known.forget(&spoke);
                self.is_changed = true;
            }
        }
        let known = &self.known;
        self.confirmed.retain(|spoke, _| known.of_spoke(spoke).is_some());
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
        let again = self.tell_again.take_if(|(when, _)| at >= *when);
        if !tell.is_empty() {
            self.tell_again
                .get_or_insert_with(|| (at + TWICE, BTreeSet::new()))
                .1
                .extend(tell.iter().cloned());
        }
        tell.extend(again.into_iter().flat_map(|(_, again)| again));
        let is_due = at.saturating_sub(self.all_told) >= AGAIN;
        let greet = std::mem::take(&mut self.greet);
        if !greet.is_empty() && !is_due {
            let all = self.known.at(&this).map(|(spoke, epoch)| (spoke.clone(), this.clone(), epoch));
            for message in chunks(all, drains) {
                let to = others.iter().filter(|other| greet.contains(*other));
                letters.extend(to.map(|other| (other.clone(), message.clone())));
            }
        }
        let here = self.known.at(&this).filter(|(spoke, _)| is_due || tell.contains(*spoke));
        let here: Vec<_> = here.map(|(spoke, epoch)| (spoke.clone(), this.clone(), epoch)).collect();
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

/// Who may speak to a relay, by address: those whose address WireGuard takes from their own session alone.
fn speakers(network: &Network, this: &Node, now: Timestamp) -> HashMap<Ipv6Addr, NodeName> {
    let others = network.nodes.values().filter(|node| node.is_active(now) && node.name != this.name);
    let speak = others.filter(|node| {
        network.probe_each_other(this, node, now) && (node.is_relay() || node.relays.contains(&this.name))
    });
    speak.map(|node| (node.public_key.link_local(), node.name.clone())).collect()
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

    /// What ap knows after it heard this from that relay, or us from that spoke.
    fn heard(from: &str, message: Message) -> Vec<(String, String)> {
        let is_spoke = ["a", "b"].contains(&from);
        heard_by(if is_spoke { "us" } else { "ap" }, from, message)
    }

    fn heard_by(this: &str, from: &str, message: Message) -> Vec<(String, String)> {
        let (network, told) = (network(), Told::default());
        let mut side = RelaySide::new(Attachments::new());
        side.refresh(&network, &name(this), NOW, Duration::ZERO);
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
            // No number that no choice of a spoke can have: nothing newer could ever be heard of again.
            (
                "us",
                Message::Attached { spokes: vec![(name("a"), name("us"), u64::MAX)], drains: false },
                vec![],
            ),
            ("a", Message::Probe { number: 1, epoch: u64::MAX, at: name("us") }, vec![]),
            ("nobody", probe("us"), vec![]),
            ("nobody", attached("a", "us"), vec![]),
            ("a", Message::Drain { drains: true }, vec![]),
        ] {
            assert_eq!(heard(from, message.clone()), expected, "{from} says {message:?}");
        }
    }

    #[test]
    fn who_has_no_session_of_its_own_here_says_nothing() {
        // ap is in nobody's list: what comes from a's address comes from another session, such as that of an exit.
        let probe = Message::Probe { number: 1, epoch: 7, at: name("us") };
        assert_eq!(heard_by("ap", "a", probe.clone()), []);
        assert_eq!(heard_by("eu", "a", probe), [("a".to_owned(), "us".to_owned())]);
    }

    #[test]
    fn who_is_not_heard_of_any_more_is_at_home() {
        let (mut network, told) = (network(), Told::default());
        let mut side = RelaySide::new(Attachments::new());
        let second = Duration::from_secs;
        let from = network.nodes["us"].public_key.link_local();
        let is_at = |side: &mut RelaySide, network: &Network, at: u64| {
            side.refresh(network, &name("eu"), NOW, second(at)).get(&name("a")).map(|at| at.relay.to_string())
        };
        is_at(&mut side, &network, 100);
        side.heard(&network, &told, from, attached("a", "us"), NOW, second(100));
        assert_eq!(is_at(&mut side, &network, 150), Some("us".into()));
        side.heard(&network, &told, from, attached("a", "us"), NOW, second(150));
        assert_eq!(is_at(&mut side, &network, 209), Some("us".into()), "it was said again");
        // One that asks only when something passes may well be silent.
        network.nodes.get_mut("a").unwrap().keepalive = Some(0);
        assert_eq!(is_at(&mut side, &network, 1000), Some("us".into()));
        network.nodes.get_mut("a").unwrap().keepalive = None;
        assert_eq!(is_at(&mut side, &network, 1001), None);
        let (_, changed, _) = side.poll(&network, &told, NOW, second(1001));
        assert_eq!(changed, Some(Attachments::new()));
        // On record from before: as long as for news.
        let mut side = RelaySide::new(
            [(name("a"), crate::model::Attachment { relay: name("us"), epoch: 7, since: NOW })].into(),
        );
        assert_eq!(is_at(&mut side, &network, 5), Some("us".into()));
        assert_eq!(is_at(&mut side, &network, 64), Some("us".into()));
        assert_eq!(is_at(&mut side, &network, 66), None);
    }

    #[test]
    fn a_spoke_that_is_now_here_now_there_is_followed_once_a_second() {
        let (network, told) = (network(), Told::default());
        let mut side = RelaySide::new(Attachments::new());
        side.refresh(&network, &name("us"), NOW, Duration::from_secs(10));
        let from = network.nodes["a"].public_key.link_local();
        let mut moves = 0;
        for n in 1..=100_u64 {
            let at = name(if n % 2 == 0 { "eu" } else { "us" });
            let before = side.known.all().clone();
            let now = Duration::from_millis(10_000 + n * 10);
            side.heard(&network, &told, from, Message::Probe { number: n, epoch: n, at }, NOW, now);
            let relay = |all: &Attachments| all.get(&name("a")).map(|at| at.relay.clone());
            moves += usize::from(relay(&before) != relay(side.known.all()));
        }
        assert_eq!(moves, 1);
        let probe = Message::Probe { number: 101, epoch: 101, at: name("eu") };
        side.heard(&network, &told, from, probe, NOW, Duration::from_secs(12));
        assert_eq!(side.known.of_spoke(&name("a")).map(|(relay, _)| relay.to_string()), Some("eu".into()));
    }

    #[test]
    fn a_relay_that_was_away_is_told_all_at_once() {
        let (network, told) = (network(), Told::default());
        let second = Duration::from_secs;
        let mut side = RelaySide::new(
            [(name("a"), crate::model::Attachment { relay: name("us"), epoch: 7, since: NOW })].into(),
        );
        side.refresh(&network, &name("us"), NOW, second(20));
        side.poll(&network, &told, NOW, second(20));
        let from = network.nodes["eu"].public_key.link_local();
        let mut told_to = |said: bool, at: u64| {
            if said {
                let nothing = Message::Attached { spokes: vec![], drains: false };
                side.heard(&network, &told, from, nothing, NOW, second(at));
            }
            let (letters, ..) = side.poll(&network, &told, NOW, second(at));
            letters.into_iter().map(|(to, message)| (to.to_string(), message)).collect::<Vec<_>>()
        };
        let all = Message::Attached { spokes: vec![(name("a"), name("us"), 7)], drains: false };
        assert_eq!(told_to(true, 21), [("eu".to_owned(), all.clone())], "it begins");
        assert_eq!(told_to(true, 22), [], "it is known");
        assert_eq!(told_to(false, 31).len(), 2, "all of them, every ten seconds");
        assert_eq!(told_to(true, 38), [("eu".to_owned(), all)], "it was away");
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
