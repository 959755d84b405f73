//! The spoke's side: asks each relay of its list whether it is well, leaves one that does not answer, or is about to go, for the best
//! that does, and comes back to a better one that has been well for a minute. One that was left again soon after waits longer each time.

use std::time::Duration;

use super::datagrams::Datagrams;
use super::known::LEAP;
use super::message::Message;
use crate::model::NodeName;

/// How often the relay in use is asked, and all of them while it does not answer.
const OFTEN: Duration = Duration::from_secs(1);
/// How often one that stands by is asked.
const SELDOM: Duration = Duration::from_secs(5);
/// How long an answer is waited for; the probe is repeated meanwhile.
const PATIENCE: Duration = Duration::from_millis(800);
/// Datagrams of one probe at most.
const REPEATED: u8 = 5;
/// So many probes in a row without an answer, and a relay is silent.
const SILENT: u32 = 3;
/// An answer that is older says nothing of now.
const FRESH: Duration = Duration::from_secs(3);
/// How long a better relay has to be well, and the longest that this grows to.
const WELL: Duration = Duration::from_secs(60);
const WELL_AT_MOST: Duration = Duration::from_secs(3600);
/// Whoever was not asked for so long is judged anew.
const FORGOTTEN: Duration = Duration::from_secs(15);

/// What is known besides what relays answer.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// Whether something passes, or is kept open: otherwise nobody is asked.
    pub is_busy: bool,
    /// Of each relay, whether its last handshake still counts: one whose agent never answered, and whose session lives, is well.
    pub sessions: &'a [bool],
}

/// Why a spoke goes elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The relay does not answer.
    Silent,
    /// The relay said that it is about to go.
    Drains,
    /// A better one is well again.
    Preferred,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this to a relay.
    Send(NodeName, Message),
    /// From now on this relay carries all.
    Move(NodeName, Why),
}

/// The state machine of one spoke.
#[derive(Debug, Clone)]
pub struct Chooser {
    /// By preference.
    relays: Vec<Watched>,
    active: usize,
    epoch: u64,
}

#[derive(Debug, Clone)]
struct Watched {
    name: NodeName,
    datagrams: Datagrams,
    round: Option<Round>,
    /// When it was last asked.
    asked: Option<Duration>,
    answered: Option<Duration>,
    missed: u32,
    well_since: Option<Duration>,
    drains: bool,
    /// How long it has to be well before it is come back to.
    well_for: Duration,
    /// When it was come back to.
    returned: Option<Duration>,
}

/// A probe that waits for its answer.
#[derive(Debug, Clone, Copy)]
struct Round {
    began: Duration,
    last: Duration,
    count: u8,
}

impl Watched {
    fn new(name: NodeName) -> Self {
        Self {
            name,
            datagrams: Datagrams::default(),
            round: None,
            asked: None,
            answered: None,
            missed: 0,
            well_since: None,
            drains: false,
            well_for: WELL,
            returned: None,
        }
    }

    fn is_fresh(&self, now: Duration) -> bool {
        self.missed == 0 && !self.drains && self.answered.is_some_and(|at| now.saturating_sub(at) <= FRESH)
    }

    fn was_well(&self, now: Duration) -> bool {
        let long = self.well_since.is_some_and(|since| now.saturating_sub(since) >= self.well_for);
        long && self.is_fresh(now) && self.datagrams.is_clean(now)
    }

    /// It is left because it is silent. One that was come back to within the hour has to be well for longer next time.
    fn left(&mut self, now: Duration) {
        let soon = self.returned.is_some_and(|at| now.saturating_sub(at) < WELL_AT_MOST);
        self.well_for = if soon { (self.well_for * 2).min(WELL_AT_MOST) } else { WELL };
    }
}

impl Chooser {
    /// Begins at a relay of the list, by the choice that was made last; where the list does not have it, at the first.
    pub fn new(relays: impl IntoIterator<Item = NodeName>, at: Option<(&NodeName, u64)>) -> Self {
        let relays: Vec<Watched> = relays.into_iter().map(Watched::new).collect();
        let active = at.and_then(|(name, _)| relays.iter().position(|relay| relay.name == *name));
        Self { relays, active: active.unwrap_or(0), epoch: at.map_or(0, |(_, epoch)| epoch) }
    }

    /// Takes another list; what is known of the relays that both have stays. Where the one in use is gone, the first carries.
    pub fn follow(&mut self, names: &[NodeName]) {
        if self.relays.iter().map(|relay| &relay.name).eq(names) {
            return;
        }
        let active = self.active().cloned();
        let mut known = std::mem::take(&mut self.relays);
        let of = |name: &NodeName| known.iter().position(|relay| relay.name == *name);
        let places: Vec<_> = names.iter().map(|name| (name, of(name))).collect();
        let found = places.into_iter().map(|(name, place)| {
            place.map_or_else(|| Watched::new(name.clone()), |place| known[place].clone())
        });
        self.relays = found.collect();
        known.clear();
        let place = self.relays.iter().position(|relay| Some(&relay.name) == active.as_ref());
        if place.is_none() {
            self.epoch = self.epoch.saturating_add(1);
        }
        self.active = place.unwrap_or(0);
    }

    /// Returns the relay that carries; `None`: the list is empty.
    pub fn active(&self) -> Option<&NodeName> {
        self.relays.get(self.active).map(|relay| &relay.name)
    }

    /// Returns how manyth choice that is; 0: none was ever made.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the relays by preference, and whether each answers; `None`: it was not asked of late, or never answered.
    pub fn answers(&self, now: Duration) -> impl Iterator<Item = (&NodeName, Option<bool>)> {
        self.relays.iter().map(move |relay| {
            let asked = relay.asked.is_some_and(|at| now.saturating_sub(at) < FORGOTTEN);
            let known = asked && relay.answered.is_some();
            (&relay.name, known.then_some(relay.missed < SILENT))
        })
    }

    /// Returns the relays that said that they are about to go.
    pub fn drains(&self) -> impl Iterator<Item = &NodeName> {
        self.relays.iter().filter(|relay| relay.drains).map(|relay| &relay.name)
    }

    /// Takes a relay's answer.
    pub fn heard(
        &mut self,
        from: &NodeName,
        number: u64,
        epoch: u64,
        at: Option<&NodeName>,
        drains: bool,
        now: Duration,
    ) {
        let is_here = at.is_some() && at == self.active();
        let Some(relay) = self.relays.iter_mut().find(|relay| relay.name == *from) else { return };
        let Some(sent) = relay.datagrams.answered(number, now) else { return };
        (relay.drains, relay.answered) = (drains, Some(now));
        if now.saturating_sub(sent) <= FRESH {
            relay.missed = 0;
        }
        if relay.round.is_some_and(|round| round.began <= sent) {
            relay.round = None;
            relay.well_since.get_or_insert(now);
        }
        if drains {
            relay.well_since = None;
        }
        if epoch > self.epoch && epoch - self.epoch <= LEAP {
            // What was chosen before this agent began is older than where it is now.
            self.epoch = if is_here { epoch } else { epoch.saturating_add(1) };
            self.ask_all();
        }
    }

    /// Hears from a relay that it is about to go, before it is asked.
    pub fn drained(&mut self, from: &NodeName) {
        if let Some(relay) = self.relays.iter_mut().find(|relay| relay.name == *from && !relay.drains) {
            (relay.drains, relay.well_since) = (true, None);
            self.ask_all();
        }
    }

    /// Says what is to be done at that moment.
    pub fn poll(&mut self, now: Duration, situation: Situation<'_>) -> Vec<Action> {
        self.close_rounds(now);
        let mut actions = Vec::new();
        if let Some((place, why)) = self.choice(now, situation) {
            self.go(place, why, now);
            actions.push(Action::Move(self.relays[place].name.clone(), why));
        }
        if situation.is_busy {
            self.ask(now, &mut actions);
        }
        actions
    }

    /// Returns when something is to be done next; `None`: not before something passes.
    pub fn next(&self, now: Duration, situation: Situation<'_>) -> Option<Duration> {
        let due = |place: usize| {
            let relay = &self.relays[place];
            match relay.round {
                Some(round) if round.count < REPEATED => {
                    (round.last + relay.datagrams.repeat_after()).min(round.began + PATIENCE)
                }
                Some(round) => round.began + PATIENCE,
                None => relay.asked.map_or(now, |asked| asked + self.period(place)),
            }
        };
        (0..self.relays.len()).filter(|_| situation.is_busy).map(due).min()
    }

    fn period(&self, place: usize) -> Duration {
        let Some(active) = self.relays.get(self.active) else { return SELDOM };
        let is_better = place < self.active && self.relays[place].missed < SILENT;
        if place == self.active || active.missed > 0 || active.drains || is_better { OFTEN } else { SELDOM }
    }

    fn close_rounds(&mut self, now: Duration) {
        let mut first = false;
        for (place, relay) in self.relays.iter_mut().enumerate() {
            if relay.round.is_some_and(|round| now.saturating_sub(round.began) >= PATIENCE) {
                relay.round = None;
                relay.missed = relay.missed.saturating_add(1);
                relay.well_since = None;
                first |= place == self.active && relay.missed == 1;
            }
        }
        if first {
            self.ask_all();
        }
    }

    /// Has everybody who is not being asked asked at once.
    fn ask_all(&mut self) {
        let idle = self.relays.iter_mut().filter(|relay| relay.round.is_none());
        idle.for_each(|relay| relay.asked = relay.asked.map(|asked| asked.saturating_sub(SELDOM)));
    }

    fn ask(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Some(at) = self.active().cloned() else { return };
        for place in 0..self.relays.len() {
            let period = self.period(place);
            let relay = &mut self.relays[place];
            let round = match relay.round {
                Some(round) => {
                    if round.count >= REPEATED
                        || now.saturating_sub(round.last) < relay.datagrams.repeat_after()
                    {
                        continue;
                    }
                    Round { last: now, count: round.count + 1, ..round }
                }
                None => {
                    if relay.asked.is_some_and(|asked| now.saturating_sub(asked) < period) {
                        continue;
                    }
                    if relay.asked.is_none_or(|asked| now.saturating_sub(asked) > FORGOTTEN) {
                        (relay.missed, relay.well_since) = (0, None);
                    }
                    relay.asked = Some(now);
                    Round { began: now, last: now, count: 1 }
                }
            };
            relay.round = Some(round);
            let number = relay.datagrams.send(now);
            let probe = Message::Probe { number, epoch: self.epoch, at: at.clone() };
            actions.push(Action::Send(relay.name.clone(), probe));
        }
    }

    fn choice(&self, now: Duration, situation: Situation<'_>) -> Option<(usize, Why)> {
        let active = self.relays.get(self.active)?;
        // Of one whose agent never said a word only its session tells.
        let has_session = situation.sessions.get(self.active).copied().unwrap_or(false);
        let is_silent = active.missed >= SILENT && (active.answered.is_some() || !has_session);
        let best =
            || (0..self.relays.len()).find(|&place| place != self.active && self.relays[place].is_fresh(now));
        if is_silent {
            return Some((best()?, Why::Silent));
        }
        if active.drains {
            return Some((best()?, Why::Drains));
        }
        let better = (0..self.active).find(|&place| self.relays[place].was_well(now))?;
        Some((better, Why::Preferred))
    }

    fn go(&mut self, place: usize, why: Why, now: Duration) {
        if why == Why::Silent {
            self.relays[self.active].left(now);
        }
        self.relays[place].returned = (why == Why::Preferred).then_some(now);
        self.active = place;
        self.epoch = self.epoch.saturating_add(1);
        // All of them hear of it now.
        for relay in &mut self.relays {
            (relay.round, relay.asked) = (None, relay.asked.map(|asked| asked.saturating_sub(SELDOM)));
        }
    }
}
