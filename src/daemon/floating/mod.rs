//! The threads by which a host carries a floating relay, or stands by: one speaks with the store and keeps the fence, the other
//! makes the host as it is to be. What is decided is decided in `floating`.

mod carrier;
mod known;
mod mover;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use self::carrier::Carrier;
pub(super) use self::known::Known;
use super::agent::Looking;
use crate::app::host_of;
use crate::floating::{AGAIN, Answer, Holder, LEASE, Lease, Next, Presence, Seen};
use crate::host::boot_clock::since_boot;
use crate::model::NodeName;
use crate::store::StoreError;
use crate::store::cluster::etcd::{KeyWatch, News};
use crate::store::cluster::{FloatingKeys, Read, Shared};
use crate::store::folder::Folder;

/// How often it is looked whether this host takes part.
const LOOK: Duration = Duration::from_secs(1);
/// How often a host writes that it is there, and after how long without that it is not.
const PRESENT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(7));

/// At most so often it is written where peers are heard.
const SHARED: Duration = Duration::from_secs(2);

/// Where peers were heard last, by public key.
type Endpoints = BTreeMap<String, SocketAddr>;

/// Begins, on threads that end with the process.
pub(super) fn keep(looking: Looking) {
    let work = move || run(&looking);
    if let Err(error) = std::thread::Builder::new().name("floating".into()).spawn(work) {
        tracing::warn!("no thread that carries a floating relay: {error}");
    }
}

fn run(looking: &Looking) {
    let mut told = String::new();
    let mut carrier = None;
    loop {
        let Ok(part) = part(looking) else {
            std::thread::sleep(LOOK);
            continue;
        };
        let Some((relay, host)) = part else {
            if let Some(old) = carrier.take() {
                Carrier::end(&old);
            }
            looking.lease.forget();
            std::thread::sleep(LOOK);
            continue;
        };
        let carrier = carrier.get_or_insert_with(|| Carrier::begin(looking.clone()));
        let ended = Host::begin(looking, &relay, &host, carrier).and_then(Host::serve);
        let why = ended.err().map(|error| error.to_string()).unwrap_or_default();
        if !why.is_empty() && why != told {
            tracing::warn!("the lease of {relay} is not kept: {why}");
        }
        told = why;
        std::thread::sleep(AGAIN);
    }
}

/// A file that cannot be read, or is no network just now, says nothing: what was before goes on.
struct Unknown;

/// Returns the relay and which of its hosts this is, where it takes part: by the network that is applied, and by the one in the folder.
fn part(looking: &Looking) -> Result<Option<(NodeName, NodeName)>, Unknown> {
    let Some(target) = looking.target() else { return Ok(None) };
    let this = target.this();
    if this.floating.is_none() {
        return Ok(None);
    }
    let folder = Folder::new(&looking.session.dir, &looking.name);
    let Some(shared) = Shared::of(&folder).map_err(|_| Unknown)? else { return Ok(None) };
    let Some(host) = host_of(this, Some(shared.member())) else { return Ok(None) };
    let in_file = looking.session.later().load_from(folder).map_err(|_| Unknown)?;
    let is_listed = in_file.network.nodes.get(&this.name).is_some_and(|node| node.hosts.contains(&host));
    Ok(is_listed.then(|| (this.name.clone(), host)))
}

/// Milliseconds since 1970.
fn clock() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn now() -> Result<Duration, StoreError> {
    since_boot().map_err(|e| StoreError::Shared {
        code: "store-setup",
        message: e.to_string(),
        hint: String::new(),
    })
}

struct Host<'a> {
    looking: &'a Looking,
    relay: NodeName,
    host: NodeName,
    carrier: &'a Carrier,
    holder: Holder,
    keys: FloatingKeys,
    watch: Option<KeyWatch>,
    /// When each host was last seen to have written that it is there, and what that was.
    present: BTreeMap<NodeName, (i64, Option<Duration>)>,
    wrote_at: Option<Duration>,
    /// Where peers were heard, as it was written last, and when that was.
    endpoints: (Endpoints, Duration),
    began: Duration,
    looked_at: Duration,
    /// When the store was heard last.
    heard_at: Option<Duration>,
}

impl<'a> Host<'a> {
    fn begin(
        looking: &'a Looking,
        relay: &NodeName,
        host: &NodeName,
        carrier: &'a Carrier,
    ) -> Result<Self, StoreError> {
        let folder = Folder::new(&looking.session.dir, &looking.name);
        let gone = || StoreError::Shared {
            code: "store-setup",
            message: "this host is no member any more".into(),
            hint: String::new(),
        };
        let shared = Shared::of(&folder)?.ok_or_else(gone)?;
        let place = looking.runtime.place();
        let instance = format!("{}/{}", place.boot_id, place.netns);
        let began = now()?;
        Ok(Self {
            looking,
            relay: relay.clone(),
            host: host.clone(),
            carrier,
            holder: Holder::new(host.clone(), instance),
            keys: FloatingKeys::of(&shared, relay)?,
            watch: None,
            present: BTreeMap::new(),
            wrote_at: None,
            endpoints: (Endpoints::new(), Duration::ZERO),
            began,
            looked_at: began,
            heard_at: None,
        })
    }

    /// Goes on until this host takes no part any more.
    fn serve(mut self) -> Result<(), StoreError> {
        loop {
            let at = now()?;
            if at.saturating_sub(self.looked_at) >= LOOK {
                self.looked_at = at;
                let is_other = |part: Option<_>| part != Some((self.relay.clone(), self.host.clone()));
                if part(self.looking).is_ok_and(is_other) {
                    self.carrier.lose();
                    return Ok(());
                }
            }
            let next = self.holder.next(at, clock());
            let holds = self.holder.until(at).is_some();
            // An agent that begins anew asks for what it held before.
            let asks = matches!(&next, Next::Write(_, lease) if !lease.released);
            // A store that is not reached from the beginning on is nobody's permission to go on as before.
            if !holds && !asks && (self.holder.seen().is_some() || at > self.began + LEASE) {
                self.carrier.lose();
            }
            match next {
                Next::Wait(until) => self.wait(until.saturating_sub(at).min(LOOK))?,
                Next::Ask => self.ask()?,
                Next::Write(over, lease) => self.write(over, &lease)?,
            }
            self.tell(now()?);
        }
    }

    fn ask(&mut self) -> Result<(), StoreError> {
        let read = match self.keys.read() {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!("{error}");
                self.watch = None;
                self.holder.unanswered(now()?);
                return Ok(());
            }
        };
        let at = now()?;
        self.heard_at = Some(at);
        self.be_present(at);
        let ready = self.ready(&read, at);
        let is_drained = |host: &NodeName| read.hosts("drained/").any(|(name, _)| name == *host);
        let lease = read.get("holder");
        let seen = Seen {
            revision: lease.map_or(0, |pair| pair.mod_revision),
            lease: lease.and_then(|pair| Lease::parse(&pair.value)),
            // Who holds it and cannot carry it gives it to who can.
            drains: is_drained(&self.host) || self.carrier.is_unable(at),
            other_is_ready: ready.iter().any(|host| !is_drained(host)),
        };
        self.looking.lease.ready(ready);
        if self.holder.until(at).is_some() {
            self.share_endpoints(at);
        } else {
            let endpoints = read.get("endpoints").and_then(|pair| serde_json::from_slice(&pair.value).ok());
            let clock = seen.lease.as_ref().map_or(0, |lease| lease.clock);
            self.carrier.last_known(endpoints.unwrap_or_default(), clock);
        }
        self.holder.saw(seen, at);
        if self.watch.is_none() {
            self.watch = self.keys.watch(read.revision.saturating_add(1)).ok();
        }
        Ok(())
    }

    /// Writes that this host is there. Whether it could is no matter: the next time comes.
    fn be_present(&mut self, at: Duration) {
        if self.carrier.is_unable(at) || self.wrote_at.is_some_and(|last| at.saturating_sub(last) < PRESENT.0)
        {
            return;
        }
        self.wrote_at = Some(at);
        let presence = serde_json::to_vec(&Presence { clock: clock() }).unwrap_or_default();
        let _ = self.keys.put(&format!("standby/{}", self.host), &presence);
    }

    /// Writes where peers are heard, where that is news: whoever takes over calls them there.
    fn share_endpoints(&mut self, at: Duration) {
        if at.saturating_sub(self.endpoints.1) < SHARED {
            return;
        }
        let Some(report) = self.looking.report() else { return };
        let heard = report.peers.iter().filter(|peer| peer.last_handshake.is_some());
        let known: Endpoints =
            heard.filter_map(|peer| Some((peer.public_key.to_string(), peer.endpoint?))).collect();
        if known.is_empty() || known == self.endpoints.0 {
            return;
        }
        let text = serde_json::to_vec(&known).unwrap_or_default();
        if self.keys.put("endpoints", &text).is_ok() {
            self.endpoints = (known, at);
        }
    }

    /// Returns the other hosts that have written of late that they are there.
    fn ready(&mut self, read: &Read, at: Duration) -> Vec<NodeName> {
        for (host, revision) in read.hosts("standby/").filter(|(host, _)| *host != self.host) {
            // The first time it may be years old.
            let known = self.present.entry(host).or_insert((revision, None));
            if known.0 != revision {
                *known = (revision, Some(at));
            }
        }
        let is_there = |last: &Option<Duration>| last.is_some_and(|last| at.saturating_sub(last) < PRESENT.1);
        self.present.iter().filter(|(_, (_, last))| is_there(last)).map(|(host, _)| host.clone()).collect()
    }

    fn write(&mut self, over: i64, lease: &Lease) -> Result<(), StoreError> {
        if lease.released {
            // The next one may begin in the moment in which this is written.
            self.carrier.lose();
        }
        let began = now()?;
        let answer = match self.keys.replace("holder", over, &lease.to_bytes()) {
            Ok(Some(revision)) => Answer::Written(revision),
            Ok(None) => Answer::Refused,
            Err(error) => {
                tracing::debug!("{error}");
                Answer::Unknown
            }
        };
        let at = now()?;
        self.holder.wrote(lease, answer, began, at);
        match (answer, self.holder.until(at)) {
            (Answer::Written(_), Some(until)) => self.carrier.hold(until),
            (Answer::Written(_), None) if lease.released => {
                tracing::info!("{} hands {} over", self.host, self.relay);
            }
            _ => {}
        }
        Ok(())
    }

    fn wait(&mut self, time: Duration) -> Result<(), StoreError> {
        let Some(watch) = &mut self.watch else {
            std::thread::sleep(time.min(AGAIN));
            return Ok(());
        };
        match self.keys.next(watch, time) {
            News::Quiet => {}
            News::Changed => self.holder.news(now()?),
            News::Over => self.watch = None,
        }
        Ok(())
    }

    /// Tells who carries it: this host while it may, another one as long as the store was heard of late.
    fn tell(&self, at: Duration) {
        let is_heard = self.heard_at.is_some_and(|last| at.saturating_sub(last) < LEASE);
        let is_known = |lease: &&Lease| {
            if lease.host == self.host { self.holder.until(at).is_some() } else { is_heard }
        };
        let lease = self.holder.seen().and_then(|seen| seen.lease.as_ref()).filter(|lease| !lease.released);
        self.looking.lease.told(&self.host, lease.filter(is_known));
        if !is_heard {
            self.looking.lease.ready(Vec::new());
        }
    }
}
