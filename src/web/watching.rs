//! Keeps an eye on the network for those who are to be told: looks, keeps what happened for each of them, and says what is to be sent
//! now. Where nobody is to be told, it looks at nothing.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::Web;
use super::database::{FailedLogins, NOBODY};
use super::notify::event::Watch;
use super::notify::queue::Sending;
use super::notify::{Event, Queue, Reach, Target, Topic, observed, plain};
use super::procedure::{Procedure, Refused};
use super::secret;
use super::view::{Check, NetworkFile};
use crate::config::parse_network;
use crate::model::Site;

/// Seconds after which promises are looked at again, though the file is the same: nodes expire.
const CHECK: u64 = 300;
/// And where they could not be looked at.
const CHECK_AGAIN: u64 = 60;

/// What was seen, and what waits.
#[derive(Default)]
pub struct Watching {
    allowed: Vec<IpNet>,
    watch: Watch,
    queues: BTreeMap<String, Queue>,
    /// The newest entry of the audit that was looked at; `None`: none was, since nobody was to be told.
    entry: Option<i64>,
    /// The file that was looked at; `None`: none could be.
    revision: Option<String>,
    tunnel: Option<Vec<IpNet>>,
    check: Option<Check>,
    check_due: u64,
}

/// A message that is to be sent now.
#[derive(Debug, Clone)]
pub struct Due {
    /// To whom.
    pub target: Target,
    /// What.
    pub sending: Sending,
}

impl Watching {
    /// Begins. `allowed`: the addresses that messages may go to, whatever they are.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed, ..Self::default() }
    }

    /// Returns where messages may go; `None`: where the tunnel is was never known, and nobody may be sent to.
    pub fn reach(&self) -> Option<Reach> {
        Some(Reach { allowed: self.allowed.clone(), tunnel: self.tunnel.clone()? })
    }

    /// Looks, and returns what is to be sent now, in Unix seconds.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn look(&mut self, web: &Web, now: u64) -> Result<Vec<Due>, Refused> {
        let targets: Vec<Target> = web.database.targets()?.into_iter().map(|row| row.target).collect();
        if targets.is_empty() {
            *self = Self::new(std::mem::take(&mut self.allowed));
            return Ok(Vec::new());
        }
        self.queues.retain(|name, _| targets.iter().any(|target| target.name == *name));
        for event in self.events(web, &targets, now)? {
            for target in targets.iter().filter(|target| target.topics.contains(&event.event)) {
                self.queues.entry(target.name.clone()).or_default().push(event.clone());
            }
        }
        for name in web.database.wanted_tests()? {
            self.queues.entry(name).or_default().want_test();
        }
        let mut due = Vec::new();
        for target in targets {
            let Some(queue) = self.queues.get_mut(&target.name) else { continue };
            let id = format!("msg_{}", secret::make()?.as_str());
            due.extend(queue.due(now, || id).map(|sending| Due { target, sending }));
        }
        Ok(due)
    }

    /// Takes in how a message ended.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn ended(
        &mut self,
        web: &Web,
        name: &str,
        result: &Result<(), String>,
        now: u64,
    ) -> Result<(), Refused> {
        let failure = match (result, self.queues.get_mut(name)) {
            (Ok(()), queue) => {
                if let Some(queue) = queue {
                    queue.arrived(now);
                }
                None
            }
            (Err(why), queue) => {
                let is_given_up = queue.is_some_and(|queue| queue.failed(now));
                Some(if is_given_up { format!("{why}; given up") } else { why.clone() })
            }
        };
        web.database.note_sent(name, failure.as_deref().map(plain).as_deref(), now)
    }

    fn events(&mut self, web: &Web, targets: &[Target], now: u64) -> Result<Vec<Event>, Refused> {
        let wants = |topic: Topic| targets.iter().any(|target| target.topics.contains(&topic));
        let looks = Topic::ALL.into_iter().any(|topic| topic != Topic::FailedLogin && wants(topic));
        // First what may fail: what was seen is told once, and would be lost.
        let newest = web.database.newest_entry()?;
        let after = self.entry.unwrap_or(newest);
        let failed = if newest > after { web.database.failed_logins(after, newest)? } else { Vec::new() };
        self.entry = Some(newest);
        let mut events = Vec::new();
        let seen = web.seen(now);
        self.read_file(web, seen.revision().ok(), now);
        if looks {
            if wants(Topic::BrokenPromise) && (now >= self.check_due || self.check_due > now + CHECK) {
                self.check = web.told(&Procedure::Check).ok();
                self.check_due = now + if self.check.is_some() { CHECK } else { CHECK_AGAIN };
            }
            events = self.watch.look(&observed(seen.status(), self.check.as_ref()), now);
        }
        events.extend(failed.into_iter().map(|failed| not_let_in(failed, now)));
        Ok(events)
    }

    /// Reads the network's file where it is another: where the tunnel is, and that promises are to be looked at again.
    fn read_file(&mut self, web: &Web, revision: Option<&str>, now: u64) {
        let Some(revision) = revision.filter(|now| self.revision.as_deref() != Some(now)) else { return };
        self.check_due = now;
        self.check = None;
        let Ok(file) = web.told::<NetworkFile>(&Procedure::NetworkFile) else { return };
        self.revision = Some(revision.to_owned());
        // Of a file that makes no sense nothing follows, and what was known before still holds.
        let Some(network) = parse_network(file.text.as_bytes(), "network.toml").value else { return };
        let sites = network.nodes.values().flat_map(|node| node.sites.iter().map(Site::prefix));
        let tunnel = [Some(IpNet::V4(network.subnet)), network.subnet6.map(IpNet::V6)];
        self.tunnel = Some(tunnel.into_iter().flatten().chain(sites).collect());
    }
}

fn not_let_in(failed: FailedLogins, now: u64) -> Event {
    let FailedLogins { who, address, count } = failed;
    let account = if who == NOBODY { "an account that there is not".into() } else { who.clone() };
    let times = if count == 1 { "once".into() } else { format!("{count} times") };
    let message = format!("{address} tried to sign in as {account}, {times}, and was not let in");
    Event { event: Topic::FailedLogin, at: now, about: who, message, over: false }
}
