//! The store of a member: edits go to etcd first, by compare-and-swap on its head, and then into the folder. One relay edits at a
//! time, by a key under a lease; where that lease ended meanwhile, the comparison still holds.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use super::blobs;
use super::etcd::{Check, Client, EtcdError, Put};
use super::membership::{Membership, Place};
use super::pull::Pulled;
use super::record::{Record, Signed};
use super::trust::Trust;
use super::underlay;
use crate::config::{Secrets, parse_network};
use crate::model::{InterfaceName, Network, NodeName, PrivateKey, Timestamp};
use crate::store::files::WriterLock;
use crate::store::folder::{Folder, LOCK_WITHIN};
use crate::store::{Contents, Digests, Note, Revision, Store, StoreError, Watch};

/// Seconds after which the turn of a relay that died is over.
const TURN: u32 = 10;

/// The store of a member.
pub struct Shared {
    pub(super) folder: Folder,
    pub(super) place: Place,
    pub(super) member: Membership,
}

/// The right to change the network: this host's lock, and the store's.
pub struct SharedTurn {
    pub(super) lock: WriterLock,
    pub(super) client: Mutex<Client>,
    lease: i64,
    /// The head that the edit is for.
    pub(super) head: Head,
}

/// What the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// When the head was last written; 0: there is none.
    pub mod_revision: i64,
    /// etcd's own revision when it was read.
    pub seen_at: i64,
    /// The head; `None`: there is none.
    pub signed: Option<Signed>,
}

/// Where a network is in etcd.
#[derive(Debug, Clone)]
pub(super) struct Keys(String);

impl Keys {
    pub fn of(network: &InterfaceName) -> Self {
        Self(format!("/wgrelay/{network}/"))
    }
    pub fn head(&self) -> String {
        format!("{}head", self.0)
    }
    pub fn turn(&self) -> String {
        format!("{}turn", self.0)
    }
    pub fn floating(&self, relay: &NodeName) -> String {
        format!("{}floating/{relay}/", self.0)
    }
    pub fn revisions(&self) -> String {
        format!("{}revisions/", self.0)
    }
    pub fn revision(&self, number: u64) -> String {
        format!("{}{number:012}", self.revisions())
    }
    pub fn blobs(&self) -> String {
        format!("{}blobs/", self.0)
    }
}

pub(super) fn now() -> Timestamp {
    SystemTime::now().into()
}

/// Tells of a store that does not answer, or says no.
pub(super) fn unreached(error: &EtcdError) -> StoreError {
    let (code, hint) = match error {
        EtcdError::Unreachable(_) => (
            "store-unreachable",
            "nothing was changed, and the network goes on as it is; `wgrelay cluster status` asks each member",
        ),
        EtcdError::Refused(_) => (
            "store-refuses",
            "has this user, or this certificate, the right to read and write below /wgrelay/?",
        ),
        EtcdError::Setup(_) => ("store-setup", "`wgrelay cluster leave`, and join again with what is right"),
    };
    StoreError::Shared { code, message: error.to_string(), hint: hint.into() }
}

impl Shared {
    /// Finds out whether this host is a member; asks nobody.
    ///
    /// # Errors
    /// Its membership is there and cannot be read.
    pub fn of(folder: &Folder) -> Result<Option<Self>, StoreError> {
        let place = Place::of(folder.path());
        let member = place.membership()?;
        Ok(member.map(|member| Self { folder: folder.clone(), place, member }))
    }

    /// Returns the folder that is the copy.
    pub const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Returns where the membership is.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Returns who this host is.
    pub const fn member(&self) -> &Membership {
        &self.member
    }

    pub(super) fn keys(&self) -> Keys {
        Keys::of(self.folder.name())
    }

    /// Makes a client that does not go through the tunnel.
    ///
    /// # Errors
    /// What is needed to ask cannot be read.
    pub fn client(&self) -> Result<Client, StoreError> {
        let network = self.folder.read_network().ok();
        let network = network.and_then(|text| parse_network(&text, "network.toml").value);
        let this = self.member.node.clone();
        client(&self.member, network, this)
    }

    /// Reads the store's head.
    ///
    /// # Errors
    /// It is not reached; how long it was not is kept.
    pub fn head(&self, client: &mut Client) -> Result<Head, StoreError> {
        let read = read_head(client, &self.keys());
        self.note(read.as_ref().err())?;
        read.map_err(|error| unreached(&error))
    }

    /// Reads the records that the store keeps, from a number on; nobody has looked who signed them.
    pub(super) fn kept(&self, client: &mut Client, from: u64) -> Result<Vec<Signed>, EtcdError> {
        let keys = self.keys();
        let pairs = client.range(&keys.revision(from), Some(&keys.revision(u64::MAX >> 24)))?.pairs;
        let named = pairs.iter().filter_map(|pair| Some((pair, Signed::parse(&pair.value).ok()?)));
        // What lies under another's number is none.
        let is_there = |key: &str, signed: &Signed| {
            signed.unverified().is_ok_and(|record| key == keys.revision(record.number))
        };
        Ok(named.filter(|(pair, signed)| is_there(&pair.key, signed)).map(|(_, signed)| signed).collect())
    }

    /// Returns the records that are this relay's past, and those that follow from it: whoever writes to the store makes none.
    fn known(&self, client: &mut Client, trust: &Trust) -> Result<Vec<Record>, EtcdError> {
        let head = read_head(client, &self.keys())?.signed;
        let kept = self.kept(client, 0)?;
        let mut known = trust.past(&kept);
        known.extend(head.and_then(|head| trust.follow(&head, &kept).ok()).unwrap_or_default());
        Ok(known)
    }

    /// Keeps how this host stands with the store.
    pub(super) fn note(&self, error: Option<&EtcdError>) -> Result<(), StoreError> {
        let mut standing = self.place.standing();
        match error {
            Some(error) => {
                standing.unreachable_since.get_or_insert_with(now);
                standing.unreachable_because.get_or_insert_with(|| error.to_string());
            }
            None => (standing.unreachable_since, standing.unreachable_because) = (None, None),
        }
        self.place.set_standing(&standing)
    }

    /// Waits for news of the head: a change, or that time. Returns what is to be looked at.
    ///
    /// # Errors
    /// It is not reached.
    pub fn watch_head(&self, client: &mut Client, from: i64) -> Result<super::etcd::KeyWatch, StoreError> {
        client.watch(&self.keys().head(), from).map_err(|error| unreached(&error))
    }

    /// Returns the private keys that something may be sealed to here, and this relay's own WireGuard key among them.
    pub(super) fn private_keys(&self) -> Result<(Option<PrivateKey>, Option<PrivateKey>), StoreError> {
        let sealing = self.place.keys()?.map(|keys| keys.sealing);
        let secrets = self.folder.read_secrets().ok();
        let secrets = secrets.and_then(|text| Secrets::parse(text.as_bytes(), "secrets.toml").value);
        Ok((sealing, secrets.and_then(|secrets| secrets.private_keys.get(&self.member.node).cloned())))
    }

    /// Takes the turn in the store, waiting for another relay's.
    fn take_turn(&self, client: &mut Client) -> Result<i64, StoreError> {
        let lease = client.grant(TURN).map_err(|error| unreached(&error))?;
        let key = self.keys().turn();
        let who = format!("{} (process {})", self.member.node, std::process::id());
        let end = Instant::now() + LOCK_WITHIN;
        let mut pause = Duration::from_millis(10);
        loop {
            let put = Put { key: key.clone(), value: who.as_bytes(), lease };
            let taken = client.transact(&[Check::Written(key.clone(), 0)], &[put], &[]);
            let (taken, _) = taken.map_err(|error| unreached(&error))?;
            let holder = if taken {
                None
            } else {
                client.range(&key, None).map_err(|error| unreached(&error))?.pairs.pop()
            };
            let holder = holder.map(|pair| String::from_utf8_lossy(&pair.value).into_owned());
            match holder {
                None if taken => return Ok(lease),
                // One that had no answer may have been heard all the same.
                Some(holder) if holder == who => return Ok(lease),
                Some(holder) if Instant::now() > end => {
                    let _ = client.revoke(lease);
                    return Err(StoreError::Shared {
                        code: "store-busy",
                        message: format!("{holder} is changing the network, and takes too long"),
                        hint: format!("one that died is forgotten after {TURN} s: try again"),
                    });
                }
                _ => {}
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

pub(super) fn client(
    member: &Membership,
    network: Option<Network>,
    this: NodeName,
) -> Result<Client, StoreError> {
    let forbidden =
        move |peer: IpAddr, own: Option<IpAddr>| underlay::forbidden(network.as_ref()?, &this, peer, own);
    Client::new(&member.access, forbidden).map_err(|error| unreached(&error))
}

pub(super) fn read_head(client: &mut Client, keys: &Keys) -> Result<Head, EtcdError> {
    let seen = client.range(&keys.head(), None)?;
    let pair = seen.pairs.into_iter().next();
    let mod_revision = pair.as_ref().map_or(0, |pair| pair.mod_revision);
    // What cannot be read is there all the same, and is not believed.
    let signed = pair.map(|pair| Signed::parse(&pair.value).unwrap_or_else(|_| Signed::nothing()));
    Ok(Head { mod_revision, seen_at: seen.revision, signed })
}

impl SharedTurn {
    pub(super) fn client(&self) -> MutexGuard<'_, Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SharedTurn {
    fn drop(&mut self) {
        // One that is not heard ends by itself.
        let lease = self.lease;
        let _ = self.client().revoke(lease);
    }
}

impl Store for Shared {
    type Turn = SharedTurn;

    fn turn(&self) -> Result<SharedTurn, StoreError> {
        let lock = self.folder.lock()?;
        let mut client = self.client()?;
        // Without a majority nobody is kept waiting for a lease.
        self.head(&mut client)?;
        let lease = self.take_turn(&mut client)?;
        let mut turn = SharedTurn {
            lock,
            client: Mutex::new(client),
            lease,
            head: Head { mod_revision: 0, seen_at: 0, signed: None },
        };
        let (head, pulled) = self.pull(&turn.lock, &mut turn.client(), None)?;
        turn.head = head;
        match pulled {
            Pulled::Same | Pulled::Taken { .. } => Ok(turn),
            Pulled::Held(held) => Err(StoreError::Shared {
                code: "store-held",
                message: format!(
                    "nothing is changed while the store has what this relay does not take: {}",
                    held.message
                ),
                hint: held.hint,
            }),
        }
    }

    fn load(&self) -> Result<Contents, StoreError> {
        self.folder.load()
    }

    fn commit(
        &self,
        turn: &SharedTurn,
        contents: &Contents,
        expected: &Digests,
        note: Note,
    ) -> Result<Option<u64>, StoreError> {
        // Somebody may have edited by hand, who asks for no lock.
        if self.folder.load()?.digests() != *expected {
            return Err(StoreError::Conflict { path: self.folder.network_path() });
        }
        self.write(turn, contents, note)
    }

    fn watch(&self) -> Watch {
        self.folder.watch()
    }

    /// As the store has it, as far as it is this relay's past or follows from it; where there is none of that, as this relay's
    /// copy has it.
    fn history(&self) -> Result<Vec<Revision>, StoreError> {
        let (own, now) = (self.folder.history()?, self.folder.load()?.digests());
        let Some(trust) = self.place.trust()? else { return Ok(own) };
        let mut known = self.known(&mut self.client()?, &trust).unwrap_or_default();
        if known.is_empty() {
            return Ok(own);
        }
        known.sort_by_key(|record| record.number);
        let list = known.into_iter().map(|record| {
            let copied =
                own.iter().find(|revision| revision.number == record.number).map(|r| r.files.clone());
            // The copy's digests of secrets are its own; what was taken last is what is there, unless somebody edited it.
            let files = match copied {
                Some(files) => files,
                None if record.number == trust.number && now.network() == Some(&record.text) => now.clone(),
                None => Digests::of_network(record.text.clone()),
            };
            Revision { number: record.number, note: record.note, files }
        });
        Ok(list.collect())
    }

    /// Of this relay's copy, else of the store, as far as its keys are sealed to this relay.
    fn revision(&self, number: u64) -> Result<(Revision, Contents), StoreError> {
        match self.folder.revision(number) {
            Err(StoreError::NoRevision { .. }) => {}
            other => return other,
        }
        let list = self.history()?;
        let kept = list.first().zip(list.last()).map(|(first, last)| (first.number, last.number));
        let none = || StoreError::NoRevision { number, kept };
        let told = |error: EtcdError| unreached(&error);
        let trust = self.place.trust()?.ok_or_else(none)?;
        let mut client = self.client()?;
        let keys = self.keys();
        let known = self.known(&mut client, &trust).map_err(told)?;
        let record = known.into_iter().find(|record| record.number == number).ok_or_else(none)?;
        let text = blobs::read(&mut client, &keys.blobs(), &record.text).map_err(told)?.ok_or_else(none)?;
        let sealed = blobs::read(&mut client, &keys.blobs(), &record.keys).map_err(told)?.ok_or_else(none)?;
        let contents = self.contents(&record, &text, &sealed)?;
        Ok((Revision { number, note: record.note, files: contents.digests() }, contents))
    }
}
