//! The thread that follows a cluster's store: it watches the head, looks anew where the watch ends for whatever reason, and lets
//! what was taken be applied. It is there in every agent, because a relay may join while its agent runs.

use std::time::Duration;

use crate::app::{Fault, Followed, Session, apply_copy, note_applied};
use crate::host::agent_process::Runtime;
use crate::host::{HostError, LinuxHost};
use crate::model::InterfaceName;
use crate::store::StoreError;
use crate::store::cluster::etcd::{Client, News};
use crate::store::cluster::{Pulled, Shared};
use crate::store::folder::Folder;

/// How often somebody who is no member looks whether he is one by now.
const JOINED: Duration = Duration::from_secs(2);
/// How often the head is asked for where the watch says nothing: etcd may be cut off without a word.
const ASK: Duration = Duration::from_secs(2);
/// How long a store that is not reached is left alone.
const PAUSE: Duration = Duration::from_millis(500);
/// After so long what could not be applied is tried again.
const AGAIN: u32 = 15;

/// What the thread needs to know.
pub(super) struct Follower<O> {
    pub session: Session,
    pub name: InterfaceName,
    pub runtime: Runtime,
    /// Opens the machine.
    pub open: O,
    /// The revision that the host was last made as.
    applied: Option<u64>,
    /// Rounds since one could not be applied.
    failed: u32,
}

impl<O: Fn() -> Result<LinuxHost, HostError>> Follower<O> {
    pub fn new(session: Session, name: InterfaceName, runtime: Runtime, open: O) -> Self {
        Self { session, name, runtime, open, applied: None, failed: 0 }
    }

    /// Follows as long as the process lives.
    pub fn run(mut self) {
        let folder = Folder::new(&self.session.dir, &self.name);
        let mut told = String::new();
        loop {
            let (followed, pause) = match Shared::of(&folder) {
                Ok(None) => (Ok(()), JOINED),
                // One that ends each watch at once is not asked without a pause.
                Ok(Some(shared)) => (self.follow(&shared), PAUSE),
                Err(error) => (Err(error), JOINED),
            };
            // What goes on is told once.
            let why = followed.err().map(|error| error.to_string()).unwrap_or_default();
            if !why.is_empty() && why != told {
                tracing::warn!("the store of {} is not followed: {why}", self.name);
            }
            told = why;
            std::thread::sleep(pause);
        }
    }

    /// Follows until the watch is over, or this host is no member any more.
    fn follow(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let mut client = shared.client()?;
        let seen_at = self.look(shared, &mut client)?;
        let mut watch = shared.watch_head(&mut client, seen_at.saturating_add(1))?;
        loop {
            let news = client.next(&mut watch, ASK);
            if news == News::Over || !shared.place().is_member() {
                return Ok(());
            }
            self.look(shared, &mut client)?;
        }
    }

    /// Takes and applies what the store has. Returns etcd's revision when it was asked.
    fn look(&mut self, shared: &Shared, client: &mut Client) -> Result<i64, StoreError> {
        let head = shared.head(client)?;
        let taken = shared.place().trust()?.map(|trust| trust.record);
        let is_news = head.signed.as_ref().map(crate::store::cluster::record::Signed::digest) != taken;
        if is_news || shared.place().standing().held.is_some() {
            let lock = shared.folder().lock()?;
            match shared.pull(&lock, client, None)? {
                (_, Pulled::Taken { number, .. }) => tracing::info!("took revision {number} of the store"),
                (_, Pulled::Held(held)) => tracing::debug!("{}", held.message),
                (_, Pulled::Same) => {}
            }
        }
        self.apply(shared)?;
        Ok(head.seen_at)
    }

    fn apply(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let Some(trust) = shared.place().trust()? else { return Ok(()) };
        if self.applied == Some(trust.number) {
            return Ok(());
        }
        if self.failed > 0 && self.failed < AGAIN {
            self.failed += 1;
            return Ok(());
        }
        let folder = shared.folder();
        // What somebody edits here by hand is his to apply.
        let is_copy = folder.read_network().is_ok_and(|text| crate::store::Digest::of(&text) == trust.text);
        if !is_copy {
            return Ok(());
        }
        let session = self.session.later().of_network(&self.name);
        let applied: Result<Followed, Fault> = apply_copy(&session, folder, &self.runtime, &self.open);
        match applied {
            Ok(Followed::NotNow) => {}
            Ok(Followed::Applied(changes)) => {
                (self.applied, self.failed) = (Some(trust.number), 0);
                note_applied(shared, &session, trust.number, None);
                if changes > 0 {
                    tracing::info!("applied revision {} of the store: {changes} changes", trust.number);
                }
            }
            Err(fault) => {
                if self.failed == 0 {
                    tracing::warn!(
                        "revision {} of the store is not applied: {}",
                        trust.number,
                        fault.message
                    );
                }
                self.failed = 1;
                note_applied(shared, &session, trust.number, Some(&fault));
            }
        }
        Ok(())
    }
}
