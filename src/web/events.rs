//! What tells a page that something changed: one look at the network for all who listen, a number that is another after each change,
//! and so many who may listen at once. What changed the page asks for itself, as it does without.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use serde::de::DeserializeOwned;

use super::Web;
use super::answer::Asked;
use super::ask::{Ask, Reply};
use super::caller::Caller;
use super::clock::is_within;
use super::procedure::{Procedure, Refused};
use super::view::{NetworkFile, Role, Shown, Status};

/// So many may listen at once.
const MOST: usize = 64;
/// And so many as one user.
const OF_ONE: usize = 8;
/// Seconds between two looks at the network, however many listen.
pub const EVERY: u64 = 5;
/// Numbers that are kept of a look, so that naming nodes fills no memory.
const KEPT: usize = 128;

/// What somebody listens for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Everything.
    Network,
    /// A node.
    Node(String),
}

/// Who listens, and what was seen last.
#[derive(Debug, Default)]
pub struct Events {
    listeners: Arc<Mutex<HashMap<String, usize>>>,
    /// Held by whoever looks.
    looks: Mutex<()>,
    /// Held for no look.
    seen: Mutex<Option<Arc<Seen>>>,
}

/// What was seen at a time, in Unix seconds, and the numbers that came of it: one look serves all topics.
#[derive(Debug)]
pub(super) struct Seen {
    at: u64,
    revision: Result<String, String>,
    status: Result<Status, String>,
    numbers: Mutex<HashMap<Topic, u64>>,
}

/// Somebody who listens, for as long as this lives.
#[derive(Debug)]
pub struct Listening {
    /// For what.
    pub topic: Topic,
    who: String,
    listeners: Arc<Mutex<HashMap<String, usize>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Events {
    /// Lets one more listen.
    ///
    /// # Errors
    /// 503: there are as many as may.
    pub fn enter(&self, who: &str, topic: Topic) -> Result<Arc<Listening>, Refused> {
        let mut listeners = locked(&self.listeners);
        let own = listeners.get(who).copied().unwrap_or_default();
        if own >= OF_ONE || listeners.values().sum::<usize>() >= MOST {
            return Err(Refused::new(503, "as many listen as may", "the page asks again by itself"));
        }
        listeners.insert(who.to_owned(), own + 1);
        let listeners = Arc::clone(&self.listeners);
        Ok(Arc::new(Listening { topic, who: who.to_owned(), listeners }))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listeners = locked(&self.listeners);
        match listeners.get_mut(&self.who) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(listeners.remove(&self.who)),
        }
    }
}

impl Web {
    /// Returns a number that is another once something changed; `None`: whoever asked may not look any more.
    pub fn news(&self, asked: &Asked, topic: &Topic, now: u64) -> Option<u64> {
        let cookie = asked.cookie(self.cookie_name(asked.header("host")))?;
        let (user, _) = self.database.look_at_session(cookie, now).ok()??;
        if user.role < Role::Viewer {
            return None;
        }
        Some(self.seen(now).number(topic))
    }

    /// Returns what was seen last; looks where that is too long ago. Whoever comes while somebody looks takes what was seen before, and
    /// waits for that one where nothing was.
    pub(super) fn seen(&self, now: u64) -> Arc<Seen> {
        let last = || locked(&self.events.seen).clone();
        let is_new = |seen: &Arc<Seen>| is_within(seen.at, EVERY, now);
        let before = last();
        if let Some(seen) = before.clone().filter(is_new) {
            return seen;
        }
        let _looks = match (self.events.looks.try_lock(), before) {
            (Ok(looks), _) => looks,
            (Err(TryLockError::WouldBlock), Some(before)) => return before,
            (Err(_), _) => locked(&self.events.looks),
        };
        if let Some(seen) = last().filter(is_new) {
            return seen;
        }
        let file: Result<NetworkFile, String> = self.told(&Procedure::NetworkFile);
        let revision = file.map(|file| file.revision);
        let status = self.told(&Procedure::Status);
        let seen = Arc::new(Seen { at: now, revision, status, numbers: Mutex::default() });
        *locked(&self.events.seen) = Some(Arc::clone(&seen));
        seen
    }

    pub(super) fn told<T: DeserializeOwned>(&self, procedure: &Procedure) -> Result<T, String> {
        let told = self.agent.call(procedure).map_err(|refused| refused.message)?;
        serde_json::from_value(told).map_err(|error| error.to_string())
    }
}

impl Seen {
    /// Returns the file's revision, or why it is not known.
    pub(super) fn revision(&self) -> Result<&str, &str> {
        self.revision.as_deref().map_err(String::as_str)
    }

    /// Returns how this host is; `None`: that is not known.
    pub(super) fn status(&self) -> Option<&Status> {
        self.status.as_ref().ok()
    }

    /// Returns the number of a topic.
    fn number(&self, topic: &Topic) -> u64 {
        let mut numbers = locked(&self.numbers);
        if let Some(number) = numbers.get(topic) {
            return *number;
        }
        let number = self.counted(topic);
        if numbers.len() < KEPT {
            numbers.insert(topic.clone(), number);
        }
        number
    }

    /// Makes a number of what a topic is about. Ages are left out: they are another every second, and nothing changed.
    fn counted(&self, topic: &Topic) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.revision.hash(&mut hasher);
        match &self.status {
            Err(error) => error.hash(&mut hasher),
            Ok(status) => match topic {
                Topic::Network => {
                    let peers: Vec<_> =
                        status.peers.iter().map(|peer| (&peer.public_key, peer.health)).collect();
                    let goes_back = status.rolls_back_in.is_some();
                    let seen = (status.state, peers, &status.drift, &status.problems, goes_back);
                    format!("{seen:?}").hash(&mut hasher);
                }
                Topic::Node(node) => {
                    let is_it = |name: &str| name == node;
                    let peer = status
                        .peers
                        .iter()
                        .find(|peer| peer.name.as_ref().is_some_and(|n| is_it(n.as_str())));
                    let told = |peer: &crate::status::PeerStatus| {
                        let (health, endpoint) = (peer.health, peer.endpoint);
                        format!(
                            "{health:?} {endpoint:?} {:?} {} {}",
                            peer.last_handshake, peer.rx_bytes, peer.tx_bytes
                        )
                    };
                    (status.state.to_string(), peer.map(told)).hash(&mut hasher);
                }
            },
        }
        hasher.finish()
    }
}

/// Whoever did not sign in asks again by himself.
fn signed_in(ask: &Ask<'_>) -> Result<(), Refused> {
    match ask.caller {
        Caller::Node(_) => Err(Refused::new(503, "who signed in is told", "the page asks again by itself")),
        _ => Ok(()),
    }
}

/// Tells when something of the network changed.
pub fn network(ask: &Ask<'_>) -> Result<Reply, Refused> {
    signed_in(ask)?;
    Ok(Reply::events(ask.web.events.enter(&ask.caller.name(), Topic::Network)?))
}

/// Tells when something of a node did.
pub fn node(ask: &Ask<'_>) -> Result<Reply, Refused> {
    signed_in(ask)?;
    let shown: Shown = ask.call(&Procedure::Show { node: ask.fields.required("node").to_owned() })?;
    Ok(Reply::events(ask.web.events.enter(&ask.caller.name(), Topic::Node(shown.name))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_listen_and_whoever_leaves_makes_room() {
        let events = Events::default();
        let of_anna: Vec<_> = (0..OF_ONE).map(|_| events.enter("anna", Topic::Network).unwrap()).collect();
        assert_eq!(events.enter("anna", Topic::Node("phone".into())).unwrap_err().status, 503);
        let others: Vec<_> = (0..MOST - OF_ONE)
            .map(|n| events.enter(&format!("u{}", n / OF_ONE), Topic::Network).unwrap())
            .collect();
        assert_eq!(events.enter("otto", Topic::Network).unwrap_err().status, 503);
        drop(others);
        assert!(events.enter("otto", Topic::Network).is_ok());
        drop(of_anna);
        assert!(events.enter("anna", Topic::Network).is_ok());
        assert!(locked(&events.listeners).is_empty());
    }

    /// Counts what it is asked.
    struct Counting(std::sync::atomic::AtomicUsize);

    impl crate::web::procedure::Agent for Arc<Counting> {
        fn call(&self, _: &Procedure) -> Result<serde_json::Value, Refused> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Err(Refused::new(502, "nobody is there", ""))
        }
    }

    #[test]
    fn a_clock_that_is_set_back_stops_no_look() {
        let asked = Arc::new(Counting(0.into()));
        let database = crate::web::Database::in_memory().unwrap();
        let web = Web::new(
            Box::new(Arc::clone(&asked)),
            database,
            crate::web::guard::Place::default(),
            "wg0".into(),
        );
        let looks = |now: u64| {
            let before = asked.0.load(std::sync::atomic::Ordering::SeqCst);
            web.seen(now);
            (asked.0.load(std::sync::atomic::Ordering::SeqCst) - before) / 2
        };
        assert_eq!((looks(1_000_000), looks(1_000_000 + EVERY - 1), looks(1_000_000 + EVERY)), (1, 0, 1));
        // Half an hour, and to 1970, as where the clock's battery is dead.
        for back in [998_200, 7] {
            assert_eq!((looks(back), looks(back + EVERY - 1), looks(back + EVERY)), (1, 0, 1), "{back}");
        }
    }
}
