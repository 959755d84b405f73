//! What happened, from what was seen one look after another. A state counts once it has held for a while, so that what comes and goes
//! tells nobody anything; and what could not be looked at has not changed.

use std::collections::BTreeMap;

use serde::Serialize;

/// Seconds for which a state has to hold.
const SETTLE: u64 = 30;
/// Of a node whose session is gone altogether, as after a restart of this host: it may come yet.
const GONE: u64 = 300;

/// What somebody can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// A node is there.
    NodeOnline,
    /// A node that is to be there is not.
    NodeOffline,
    /// This host is not as it was made, or is again.
    Drift,
    /// An `[[expect]]` does not hold, or does again.
    BrokenPromise,
    /// Somebody tried to sign in, and was not let in.
    FailedLogin,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::NodeOnline, Self::NodeOffline, Self::Drift, Self::BrokenPromise, Self::FailedLogin];

    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodeOnline => "node-online",
            Self::NodeOffline => "node-offline",
            Self::Drift => "drift",
            Self::BrokenPromise => "broken-promise",
            Self::FailedLogin => "failed-login",
        }
    }

    /// Reads it by its name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == name)
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// What kind of thing.
    pub event: Topic,
    /// When it was seen, in Unix seconds.
    pub at: u64,
    /// The node, the promise, what drifted, or the account.
    pub about: String,
    /// In a sentence.
    pub message: String,
    /// Whether it is over: drift that was repaired, a promise that holds again.
    pub over: bool,
}

/// How a node is, as far as that says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is there.
    Online,
    /// It is to be there, and is silent.
    Offline,
    /// There is no session with it at all.
    Gone,
    /// It is silent, as it may be: a phone asleep.
    Quiet,
}

/// What one look saw; `None`: that could not be looked at.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Every node that this host has a session with, or is to have.
    pub nodes: Option<BTreeMap<String, Presence>>,
    /// What differs on this host, in words.
    pub drift: Option<BTreeMap<String, String>>,
    /// Promises that do not hold, and why.
    pub promises: Option<BTreeMap<String, String>>,
}

/// What was told last, and what may become an event.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    nodes: Option<BTreeMap<String, bool>>,
    wrong: BTreeMap<(Topic, String), String>,
    /// What differs from what was told, and since when.
    unsettled: BTreeMap<(Topic, String), u64>,
}

impl Watch {
    /// Takes a look in, at a time in Unix seconds, and returns what happened. The first look at nodes says how things are, and is no event.
    pub fn look(&mut self, seen: &Observed, now: u64) -> Vec<Event> {
        let mut events = Vec::new();
        let mut holding = BTreeMap::new();
        // What a look could not see is as unsettled as it was.
        let is_seen = |topic: Topic| match topic {
            Topic::NodeOnline | Topic::NodeOffline => seen.nodes.is_some(),
            Topic::Drift => seen.drift.is_some(),
            Topic::BrokenPromise => seen.promises.is_some(),
            Topic::FailedLogin => true,
        };
        holding.extend(
            self.unsettled.iter().filter(|((topic, _), _)| !is_seen(*topic)).map(|(k, v)| (k.clone(), *v)),
        );
        if let Some(nodes) = &seen.nodes {
            self.look_at_nodes(nodes, now, &mut holding, &mut events);
        }
        for (topic, wrong) in [(Topic::Drift, &seen.drift), (Topic::BrokenPromise, &seen.promises)] {
            if let Some(wrong) = wrong {
                self.look_at_wrongs(topic, wrong, now, &mut holding, &mut events);
            }
        }
        self.unsettled = holding;
        events
    }

    /// Says whether something has differed for long enough; notes since when it does.
    fn holds(
        &self,
        key: (Topic, String),
        seconds: u64,
        now: u64,
        holding: &mut BTreeMap<(Topic, String), u64>,
    ) -> bool {
        // By a clock that was set back since, it holds from now on.
        let since = self.unsettled.get(&key).copied().unwrap_or(now).min(now);
        if now >= since + seconds {
            return true;
        }
        holding.insert(key, since);
        false
    }

    fn look_at_nodes(
        &mut self,
        nodes: &BTreeMap<String, Presence>,
        now: u64,
        holding: &mut BTreeMap<(Topic, String), u64>,
        events: &mut Vec<Event>,
    ) {
        let Some(mut told) = self.nodes.take() else {
            let told = nodes.iter().filter_map(|(name, presence)| match presence {
                Presence::Online => Some((name.clone(), true)),
                Presence::Offline => Some((name.clone(), false)),
                Presence::Gone | Presence::Quiet => None,
            });
            self.nodes = Some(told.collect());
            return;
        };
        // Whoever is no peer any more was taken out, and is not missing.
        told.retain(|name, _| nodes.contains_key(name));
        for (name, presence) in nodes {
            let before = told.get(name).copied();
            let (topic, seconds, message) = match (presence, before) {
                (Presence::Online, Some(true)) | (Presence::Offline | Presence::Gone, Some(false)) => {
                    continue;
                }
                (Presence::Quiet, _) | (Presence::Gone, None) => continue,
                (Presence::Offline, None) => {
                    told.insert(name.clone(), false);
                    continue;
                }
                (Presence::Online, _) => (Topic::NodeOnline, SETTLE, format!("{name} is online")),
                (Presence::Offline, _) => {
                    (Topic::NodeOffline, SETTLE, format!("{name} is offline: it does not answer"))
                }
                (Presence::Gone, _) => {
                    (Topic::NodeOffline, GONE, format!("{name} is offline: it has not come back"))
                }
            };
            if self.holds((topic, name.clone()), seconds, now, holding) {
                told.insert(name.clone(), topic == Topic::NodeOnline);
                events.push(Event { event: topic, at: now, about: name.clone(), message, over: false });
            }
        }
        self.nodes = Some(told);
    }

    fn look_at_wrongs(
        &mut self,
        topic: Topic,
        wrong: &BTreeMap<String, String>,
        now: u64,
        holding: &mut BTreeMap<(Topic, String), u64>,
        events: &mut Vec<Event>,
    ) {
        let told: Vec<String> =
            self.wrong.keys().filter(|(own, _)| *own == topic).map(|(_, about)| about.clone()).collect();
        let begins = wrong.iter().filter(|(about, _)| !told.contains(about));
        for (about, message) in begins.map(|(about, message)| (about.clone(), message.clone())) {
            if self.holds((topic, about.clone()), SETTLE, now, holding) {
                self.wrong.insert((topic, about.clone()), message.clone());
                events.push(Event { event: topic, at: now, about, message, over: false });
            }
        }
        for about in told.into_iter().filter(|about| !wrong.contains_key(about)) {
            let key = (topic, about.clone());
            if self.holds(key.clone(), SETTLE, now, holding) {
                let before = self.wrong.remove(&key).unwrap_or_default();
                events.push(Event {
                    event: topic,
                    at: now,
                    about,
                    message: format!("over: {before}"),
                    over: true,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(of: &[(&str, Presence)]) -> Observed {
        let nodes = of.iter().map(|(name, is)| ((*name).to_owned(), *is)).collect();
        Observed { nodes: Some(nodes), ..Observed::default() }
    }

    fn told(events: &[Event]) -> Vec<String> {
        events
            .iter()
            .map(|e| format!("{} {}{}", e.event.as_str(), e.about, if e.over { " over" } else { "" }))
            .collect()
    }

    #[test]
    fn a_node_that_goes_and_comes_is_told_once_each_and_one_that_flaps_is_not() {
        use Presence::{Offline, Online};
        let mut watch = Watch::default();
        assert!(
            watch.look(&nodes(&[("a", Online), ("b", Offline)]), 0).is_empty(),
            "how things are is no event"
        );
        for at in (5..605).step_by(5) {
            let is = if at % 10 == 0 { Online } else { Offline };
            assert!(watch.look(&nodes(&[("a", is), ("b", Offline)]), at).is_empty(), "{at}");
        }
        assert!(watch.look(&nodes(&[("a", Offline), ("b", Offline)]), 605).is_empty());
        assert!(watch.look(&nodes(&[("a", Offline), ("b", Offline)]), 634).is_empty());
        assert_eq!(told(&watch.look(&nodes(&[("a", Offline), ("b", Online)]), 635)), ["node-offline a"]);
        assert_eq!(told(&watch.look(&nodes(&[("a", Offline), ("b", Online)]), 665)), ["node-online b"]);
        assert!(watch.look(&nodes(&[("a", Offline), ("b", Online)]), 700).is_empty());
    }

    #[test]
    fn what_cannot_be_looked_at_has_not_changed_and_what_was_taken_out_is_not_missing() {
        use Presence::{Gone, Offline, Online, Quiet};
        let mut watch = Watch::default();
        watch.look(&nodes(&[("a", Online), ("b", Online)]), 0);
        assert!(watch.look(&nodes(&[("a", Offline), ("b", Online)]), 10).is_empty());
        for at in [20, 100, 1000] {
            assert!(watch.look(&Observed::default(), at).is_empty(), "nobody looked");
        }
        assert_eq!(told(&watch.look(&nodes(&[("a", Offline)]), 1001)), ["node-offline a"], "b was removed");
        // A phone that sleeps and wakes is neither missing nor back.
        let mut watch = Watch::default();
        watch.look(&nodes(&[("phone", Online)]), 0);
        for (at, is) in [(100, Quiet), (900, Quiet), (1000, Online), (1100, Online)] {
            assert!(watch.look(&nodes(&[("phone", is)]), at).is_empty(), "{at}");
        }
        // After a restart of this host nobody has a session; whoever comes within some minutes was not away.
        let mut watch = Watch::default();
        watch.look(&nodes(&[("a", Online), ("b", Online)]), 0);
        assert!(watch.look(&nodes(&[("a", Gone), ("b", Gone)]), 100).is_empty());
        assert!(watch.look(&nodes(&[("a", Online), ("b", Gone)]), 200).is_empty());
        assert_eq!(told(&watch.look(&nodes(&[("a", Online), ("b", Gone)]), 400)), ["node-offline b"]);
        // One that nobody knew yet is told of when it comes.
        assert!(watch.look(&nodes(&[("a", Online), ("b", Gone), ("c", Gone)]), 410).is_empty());
        watch.look(&nodes(&[("a", Online), ("b", Gone), ("c", Online)]), 420);
        assert_eq!(
            told(&watch.look(&nodes(&[("a", Online), ("b", Gone), ("c", Online)]), 450)),
            ["node-online c"]
        );
    }

    #[test]
    fn what_is_wrong_is_told_when_it_begins_and_when_it_is_over() {
        let wrong = |of: &[&str]| {
            let drift = of.iter().map(|about| ((*about).to_owned(), format!("{about} differs"))).collect();
            Observed { drift: Some(drift), promises: Some(BTreeMap::new()), ..Observed::default() }
        };
        let mut watch = Watch::default();
        assert!(watch.look(&wrong(&["table"]), 0).is_empty());
        assert!(watch.look(&wrong(&[]), 1).is_empty(), "the agent repaired it");
        assert!(watch.look(&wrong(&["route"]), 40).is_empty());
        assert_eq!(told(&watch.look(&wrong(&["route"]), 70)), ["drift route"]);
        assert!(watch.look(&wrong(&[]), 80).is_empty());
        let over = watch.look(&wrong(&[]), 110);
        assert_eq!(
            (told(&over), over[0].message.as_str()),
            (vec!["drift route over".into()], "over: route differs")
        );
    }

    #[test]
    fn by_a_clock_that_is_set_back_a_state_holds_from_then_on() {
        use Presence::{Offline, Online};
        let mut watch = Watch::default();
        watch.look(&nodes(&[("a", Online)]), 900_000);
        assert!(watch.look(&nodes(&[("a", Offline)]), 900_005).is_empty());
        assert!(watch.look(&nodes(&[("a", Offline)]), 1_000).is_empty());
        assert!(watch.look(&nodes(&[("a", Offline)]), 1_000 + SETTLE - 1).is_empty());
        assert_eq!(told(&watch.look(&nodes(&[("a", Offline)]), 1_000 + SETTLE)), ["node-offline a"]);
    }
}
