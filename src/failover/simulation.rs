//! Spokes and relays in virtual time: relays that die, lose and come back, and what becomes of those who are attached to them.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::{Action, Chooser, Known, Message, Situation, Why};
use crate::model::{Network, NodeName, Timestamp};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

/// A generator that needs no crate: xorshift64*.
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn hits(&mut self, percent: u64) -> bool {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % 100 < percent
    }
}

/// How a relay is.
#[derive(Debug, Clone, Copy)]
struct Relay {
    is_alive: bool,
    has_agent: bool,
    /// Of a hundred datagrams, each way.
    loss: u64,
    delay: Duration,
    drains: bool,
}

const WELL: Relay =
    Relay { is_alive: true, has_agent: true, loss: 0, delay: Duration::from_millis(20), drains: false };

/// One spoke with its relays.
struct World {
    now: Duration,
    spoke: Chooser,
    relays: BTreeMap<NodeName, Relay>,
    known: BTreeMap<NodeName, Known>,
    network: Network,
    /// Answers on their way: when each arrives, from whom.
    on_the_way: Vec<(Duration, NodeName, Message)>,
    dice: Dice,
    moves: Vec<(Duration, NodeName, Why)>,
    sent: u64,
    is_busy: bool,
}

const NAMES: [&str; 3] = ["eu", "us", "ap"];

fn network() -> Network {
    let mut text = "[network]\nname = \"wg0\"\nsubnet = \"10.0.0.0/24\"\n".to_owned();
    for (n, node) in NAMES.iter().chain(&["a"]).enumerate() {
        let key = crate::model::PrivateKey::from_random([n as u8 + 1; 32]).public_key();
        text += &format!("[node.{node}]\naddress = \"10.0.0.{}\"\npublic_key = \"{key}\"\n", n + 1);
        text += if *node == "a" { "" } else { "role = \"relay\"\nendpoint = \"192.0.2.1:51820\"\n" };
    }
    crate::config::parse_network(text.as_bytes(), "f").value.unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            now: Duration::ZERO,
            spoke: Chooser::new(NAMES.map(name), None),
            relays: NAMES.map(|relay| (name(relay), WELL)).into(),
            known: NAMES.map(|relay| (name(relay), Known::default())).into(),
            network: network(),
            on_the_way: Vec::new(),
            dice: Dice(seed | 1),
            moves: Vec::new(),
            sent: 0,
            is_busy: true,
        }
    }

    fn set(&mut self, relay: &str, change: impl FnOnce(&mut Relay)) {
        change(self.relays.get_mut(relay).unwrap());
    }

    /// Goes to the next moment at which something happens.
    fn step(&mut self, end: Duration) {
        let sessions: Vec<bool> = NAMES.iter().map(|relay| self.relays[*relay].is_alive).collect();
        let due = self.spoke.next(self.now, Situation { is_busy: self.is_busy, sessions: &sessions });
        let next = self.on_the_way.iter().map(|(at, ..)| *at).chain(due).min().unwrap_or(end).min(end);
        self.now = next.max(self.now + Duration::from_millis(1));
        let arrived: Vec<_> = self.on_the_way.extract_if(.., |(at, ..)| *at <= self.now).collect();
        for (_, from, message) in arrived {
            let Message::Answer { number, epoch, at, drains } = message else { continue };
            self.spoke.heard(&from, number, epoch, at.as_ref(), drains, self.now);
        }
        let situation = Situation { is_busy: self.is_busy, sessions: &sessions };
        for action in self.spoke.poll(self.now, situation) {
            match action {
                Action::Move(to, why) => self.moves.push((self.now, to, why)),
                Action::Send(to, message) => self.send(&to, &message),
            }
        }
        let next = self.spoke.next(self.now, situation);
        assert!(next.is_none_or(|next| next > self.now), "{next:?} at {:?}", self.now);
        assert_eq!(next.is_some(), self.is_busy);
    }

    fn send(&mut self, to: &NodeName, message: &Message) {
        self.sent += 1;
        let relay = self.relays[to];
        let Message::Probe { number, epoch, at } = message else { panic!("{message:?}") };
        if !relay.is_alive || !relay.has_agent || self.dice.hits(relay.loss) {
            return;
        }
        let known = self.known.get_mut(to).unwrap();
        known.hear(&self.network, &name("a"), at, *epoch, Timestamp(self.now.as_secs()));
        if self.dice.hits(relay.loss) {
            return;
        }
        let told = known.of_spoke(&name("a"));
        let (at, epoch) = (told.map(|(relay, _)| relay.clone()), told.map_or(0, |(_, epoch)| epoch));
        let answer = Message::Answer { number: *number, epoch, at, drains: relay.drains };
        self.on_the_way.push((self.now + relay.delay, to.clone(), answer));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step(end);
        }
    }

    fn at(&self) -> &str {
        self.spoke.active().unwrap().as_str()
    }
}

#[test]
fn a_dead_relay_is_left_within_four_seconds_and_come_back_to_after_a_minute() {
    for phase in 0..20 {
        let mut world = World::new(7);
        world.run(seconds(30) + Duration::from_millis(phase * 53));
        assert_eq!((world.at(), world.moves.len()), ("eu", 0));
        let died = world.now;
        world.set("eu", |eu| eu.is_alive = false);
        world.run(seconds(10));
        let (at, to, why) = world.moves[0].clone();
        assert_eq!((to.as_str(), why), ("us", Why::Silent));
        assert!(at - died <= seconds(4), "{:?}", at - died);
        assert_eq!(world.known["us"].of_spoke(&name("a")), Some((&name("us"), 1)));
        assert_eq!(world.known["ap"].of_spoke(&name("a")), Some((&name("us"), 1)));
        let came_back = world.now;
        world.set("eu", |eu| eu.is_alive = true);
        world.run(seconds(120));
        let (at, to, why) = world.moves[1].clone();
        assert_eq!((world.moves.len(), to.as_str(), why), (2, "eu", Why::Preferred));
        assert!((seconds(60)..seconds(70)).contains(&(at - came_back)), "{:?}", at - came_back);
        assert_eq!(world.known["us"].of_spoke(&name("a")), Some((&name("eu"), 2)));
    }
}

#[test]
fn the_next_in_the_list_is_taken_that_answers_and_where_none_does_nothing_moves() {
    let mut world = World::new(1);
    world.run(seconds(20));
    for relay in ["eu", "us"] {
        world.set(relay, |relay| relay.is_alive = false);
    }
    world.run(seconds(10));
    assert_eq!((world.at(), world.moves.len()), ("ap", 1));
    world.set("ap", |ap| ap.is_alive = false);
    world.run(seconds(600));
    assert_eq!((world.at(), world.moves.len()), ("ap", 1));
    // Whoever is there first is taken, and a better one after its minute.
    world.set("us", |us| us.is_alive = true);
    world.run(seconds(10));
    assert_eq!((world.at(), world.moves.len()), ("us", 2));
    world.set("eu", |eu| eu.is_alive = true);
    world.run(seconds(30));
    assert_eq!(world.at(), "us");
    world.run(seconds(60));
    assert_eq!(world.at(), "eu");
}

#[test]
fn a_relay_that_drains_is_left_at_once_and_come_back_to_afterwards() {
    let mut world = World::new(2);
    world.run(seconds(20));
    world.set("eu", |eu| eu.drains = true);
    // It says so with its next answer; in the agent it tells at once.
    world.run(Duration::from_millis(1200));
    assert_eq!(world.moves.last().map(|(_, to, why)| (to.as_str(), *why)), Some(("us", Why::Drains)));
    world.run(seconds(300));
    assert_eq!((world.at(), world.moves.len()), ("us", 1));
    world.set("eu", |eu| eu.drains = false);
    world.run(seconds(55));
    assert_eq!(world.at(), "us");
    world.run(seconds(15));
    assert_eq!(world.at(), "eu");
    // All of them about to go: it stays where it is.
    for relay in NAMES {
        world.set(relay, |relay| relay.drains = true);
    }
    world.run(seconds(60));
    assert_eq!(world.at(), "eu");
}

#[test]
fn a_relay_without_an_agent_is_not_judged_while_its_session_lives() {
    let mut world = World::new(3);
    world.set("eu", |eu| eu.has_agent = false);
    world.run(seconds(600));
    assert_eq!((world.at(), world.moves.len()), ("eu", 0));
    world.set("eu", |eu| eu.is_alive = false);
    world.run(seconds(10));
    assert_eq!(world.at(), "us");
    // Not come back to: nobody can tell that it is well.
    world.set("eu", |eu| eu.is_alive = true);
    world.run(seconds(600));
    assert_eq!(world.at(), "us");
}

#[test]
fn who_has_nothing_to_send_asks_nobody() {
    let mut world = World::new(4);
    world.is_busy = false;
    world.run(seconds(60));
    assert_eq!(world.sent, 0);
    world.set("eu", |eu| eu.is_alive = false);
    world.is_busy = true;
    world.run(seconds(4));
    assert_eq!(world.at(), "us");
    // What was well before a silence is not well because of it.
    world.is_busy = false;
    world.run(seconds(600));
    world.set("eu", |eu| eu.is_alive = true);
    world.is_busy = true;
    world.run(seconds(50));
    assert_eq!(world.at(), "us");
    world.run(seconds(20));
    assert_eq!(world.at(), "eu");
}

#[test]
fn a_third_of_all_packets_lost_makes_nobody_flap() {
    for (loss, most) in [(15, 0), (30, 4)] {
        // All relays lose, and the preferred alone does.
        for lossy in [&NAMES[..], &["eu"]] {
            let mut world = World::new(7919);
            for relay in lossy {
                world.set(relay, |relay| relay.loss = loss);
            }
            world.run(seconds(8 * 3600));
            assert!(world.moves.len() <= most, "{loss} {lossy:?}: {:?}", world.moves);
            let returns = world.moves.iter().filter(|(.., why)| *why == Why::Preferred);
            assert!(returns.count() <= 1, "{:?}", world.moves);
        }
    }
}

#[test]
fn a_relay_that_comes_and_goes_is_waited_for_ever_longer() {
    let mut world = World::new(5);
    // Well for 90 s, away for 10 s, for six hours.
    for _ in 0..216 {
        world.set("eu", |eu| eu.is_alive = true);
        world.run(seconds(90));
        world.set("eu", |eu| eu.is_alive = false);
        world.run(seconds(10));
    }
    assert!(world.moves.len() <= 6, "{:?}", world.moves);
}

#[test]
fn a_spoke_that_began_anew_is_believed_about_where_it_is() {
    let mut world = World::new(6);
    world.run(seconds(20));
    world.set("eu", |eu| eu.is_alive = false);
    world.run(seconds(10));
    world.set("eu", |eu| eu.is_alive = true);
    world.run(seconds(5));
    assert_eq!(world.known["us"].of_spoke(&name("a")), Some((&name("us"), 1)));
    // Its host was started again: it is at home, and has forgotten all choices.
    world.spoke = Chooser::new(NAMES.map(name), None);
    world.run(seconds(8));
    assert_eq!(world.at(), "eu");
    for relay in NAMES {
        assert_eq!(world.known[relay].of_spoke(&name("a")), Some((&name("eu"), 2)), "{relay}");
    }
}

#[test]
fn no_answer_ends_all_choices() {
    let names: Vec<NodeName> = ["eu", "us"].map(|name| name.parse().unwrap()).to_vec();
    let busy = Situation { is_busy: true, sessions: &[true, true] };
    let mut chooser = Chooser::new(names.clone(), None);
    let second = Duration::from_secs;
    for action in chooser.poll(second(1), busy) {
        if let Action::Send(to, Message::Probe { number, .. }) = action {
            chooser.heard(&to, number, u64::MAX, None, false, second(1));
        }
    }
    assert_eq!(chooser.epoch(), 0, "a number that nobody can have come to");
}

#[test]
fn a_list_that_changes_keeps_what_is_known() {
    let mut world = World::new(8);
    world.run(seconds(20));
    world.set("eu", |eu| eu.is_alive = false);
    world.run(seconds(10));
    world.spoke.follow(&["us", "ap"].map(name));
    assert_eq!((world.at(), world.spoke.epoch()), ("us", 1));
    world.spoke.follow(&["ap"].map(name));
    assert_eq!((world.at(), world.spoke.epoch()), ("ap", 2));
    world.spoke.follow(&[]);
    assert_eq!(world.spoke.active(), None);
    assert!(world.spoke.poll(world.now, Situation { is_busy: true, sessions: &[] }).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    /// Whatever happens: who is well is found within five seconds of the last change that matters; nobody comes back before a minute;
    /// each move is a later choice; and what relays know is a relay of the list.
    #[test]
    fn whatever_becomes_of_relays(events in proptest::collection::vec((0usize..3, any::<bool>(), any::<bool>(), 1u64..40), 1..12)) {
        let mut world = World::new(11);
        world.run(seconds(10));
        for (relay, is_alive, drains, time) in events {
            world.set(NAMES[relay], |relay| (relay.is_alive, relay.drains) = (is_alive, drains));
            world.run(seconds(time));
        }
        world.run(seconds(6));
        let active = world.relays[world.at()];
        let any = world.relays.values().any(|relay| relay.is_alive && !relay.drains);
        prop_assert!(!any || active.is_alive && !active.drains, "{:?} {:?}", world.relays, world.moves);
        let mut left = BTreeMap::new();
        let mut at = name("eu");
        for (when, to, why) in &world.moves {
            prop_assert_ne!(&at, to);
            left.insert(at.clone(), *when);
            if *why == Why::Preferred {
                prop_assert!(left.get(to).is_none_or(|left| *when - *left >= seconds(60)), "{:?}", world.moves);
            }
            at = to.clone();
        }
        prop_assert_eq!(world.spoke.epoch(), world.moves.len() as u64);
        for known in world.known.values() {
            if let Some((relay, epoch)) = known.of_spoke(&name("a")) {
                prop_assert!(NAMES.contains(&relay.as_str()) && epoch <= world.spoke.epoch());
            }
        }
    }

    /// What relays hear in whatever order and however often: the newest choice counts, and none that the list forbids.
    #[test]
    fn in_whatever_order_it_is_heard(mut heard in proptest::collection::vec((0usize..5, 1u64..9), 1..30)) {
        let network = network();
        let relays = ["eu", "us", "ap", "a", "nobody"];
        let relay = |n: usize, epoch: u64| if n < 3 { relays[(epoch % 3) as usize] } else { relays[n] };
        let all = |heard: &[(usize, u64)]| {
            let mut known = Known::default();
            for (n, epoch) in heard {
                known.hear(&network, &name("a"), &name(relay(*n, *epoch)), *epoch, Timestamp(0));
            }
            known
        };
        let one = all(&heard);
        let newest = heard.iter().filter(|(n, _)| *n < 3).map(|(_, epoch)| *epoch).max();
        prop_assert_eq!(one.of_spoke(&name("a")).map(|(_, epoch)| epoch), newest);
        heard.reverse();
        prop_assert_eq!(all(&heard), one);
    }
}
