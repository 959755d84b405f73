//! What tells a page that something changed: one look at the network for all who listen, a number that is another after each change,
//! and so many who may listen at once. What changed the page asks for itself, as it does without.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;

use super::Web;
use super::answer::Asked;
use super::ask::{Ask, Reply};
use super::procedure::{Procedure, Refused};
use super::view::{NetworkFile, Role, Shown, Status};

/// So many may listen at once.
const MOST: usize = 64;
/// And so many as one user.
const OF_ONE: usize = 8;
/// Seconds between two looks at the network, however many listen.
pub const EVERY: u64 = 5;
/// Looks that are kept, so that naming nodes fills no memory.
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
    seen: Mutex<HashMap<Topic, (u64, u64)>>,
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
        // Whoever comes while somebody looks waits for what that one sees.
        let mut seen = locked(&self.events.seen);
        if let Some((at, news)) = seen.get(topic)
            && now < at + EVERY
        {
            return Some(*news);
        }
        let news = self.look(topic);
        if seen.len() >= KEPT {
            seen.clear();
        }
        seen.insert(topic.clone(), (now, news));
        Some(news)
    }

    /// Looks at what a topic is about. Ages are left out: they are another every second, and nothing changed.
    fn look(&self, topic: &Topic) -> u64 {
        let mut hasher = DefaultHasher::new();
        let file: Result<NetworkFile, String> = self.told(&Procedure::NetworkFile);
        file.map(|file| file.revision).hash(&mut hasher);
        match self.told::<Status>(&Procedure::Status) {
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

    fn told<T: DeserializeOwned>(&self, procedure: &Procedure) -> Result<T, String> {
        let told = self.agent.call(procedure).map_err(|refused| refused.message)?;
        serde_json::from_value(told).map_err(|error| error.to_string())
    }
}

/// Tells when something of the network changed.
pub fn network(ask: &Ask<'_>) -> Result<Reply, Refused> {
    Ok(Reply::events(ask.web.events.enter(&ask.caller.name(), Topic::Network)?))
}

/// Tells when something of a node did.
pub fn node(ask: &Ask<'_>) -> Result<Reply, Refused> {
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
}
