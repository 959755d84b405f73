//! Following the store: what it has becomes this relay's copy, where it is believed, readable and not too much at once.

use super::blobs;
use super::etcd::{Client, EtcdError};
use super::membership::{Held, Standing, Taken};
use super::parts;
use super::record::{Record, Signed};
use super::shared::{Head, Shared, now, read_head, unreached};
use super::trust::{Distrust, Trust};
use super::verdict::{self, Waits};
use crate::config::{Secrets, parse_network};
use crate::model::{Network, NodeName, SigningKey};
use crate::store::files::WriterLock;
use crate::store::{Contents, Digest, Store as _, StoreError};

/// What following came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pulled {
    /// This relay has what the store has.
    Same,
    /// It has it now.
    Taken {
        /// The revision.
        number: u64,
        /// Whether this relay is not in it any more.
        without_this: bool,
    },
    /// It does not take it.
    Held(Held),
}

impl Shared {
    /// Makes this relay's copy what the store has. `accept` is a revision that somebody takes although it waits.
    ///
    /// # Errors
    /// The store is not reached, or the copy cannot be written.
    pub fn pull(
        &self,
        lock: &WriterLock,
        client: &mut Client,
        accept: Option<u64>,
    ) -> Result<(Head, Pulled), StoreError> {
        self.follow(client, accept, Some(lock))
    }

    /// The same, without taking anything: what it would come to is told in the [`super::Standing`].
    ///
    /// # Errors
    /// The store is not reached.
    pub fn weigh(&self, client: &mut Client) -> Result<Pulled, StoreError> {
        self.follow(client, None, None).map(|(_, pulled)| pulled)
    }

    fn follow(
        &self,
        client: &mut Client,
        accept: Option<u64>,
        lock: Option<&WriterLock>,
    ) -> Result<(Head, Pulled), StoreError> {
        let head = read_head(client, &self.keys());
        let pulled = match &head {
            Ok(head) => self.take_head(lock, client, head, accept),
            Err(error) => Err(Failed::Etcd(error.clone())),
        };
        let mut standing = self.place.standing();
        // What waits already has waited since then.
        let since = |standing: &Standing, revision: u64, code: &str| {
            let known = standing.held.as_ref().filter(|held| held.revision == revision && held.code == code);
            known.map_or_else(now, |held| held.since)
        };
        let pulled = match pulled {
            Err(Failed::Etcd(error)) => {
                self.note(Some(&error))?;
                return Err(unreached(&error));
            }
            Err(Failed::Store(error)) => return Err(error),
            Err(Failed::Held { revision, code, message, hint }) => {
                let since = since(&standing, revision, code);
                Pulled::Held(Held { revision, code: code.into(), message, hint, since })
            }
            Ok(pulled) => pulled,
        };
        let head = head.map_err(|error| unreached(&error))?;
        standing.held = match &pulled {
            Pulled::Held(held) => Some(held.clone()),
            Pulled::Same | Pulled::Taken { .. } => None,
        };
        (standing.unreachable_since, standing.unreachable_because) = (None, None);
        standing.seen = head.signed.as_ref().and_then(|signed| Some(signed.unverified().ok()?.number));
        self.place.set_standing(&standing)?;
        Ok((head, pulled))
    }

    fn take_head(
        &self,
        lock: Option<&WriterLock>,
        client: &mut Client,
        head: &Head,
        accept: Option<u64>,
    ) -> Result<Pulled, Failed> {
        let trust = self.place.trust()?.ok_or_else(|| self.no_trust())?;
        let Some(signed) = &head.signed else {
            return Err(Failed::Held {
                revision: 0,
                code: "store-wiped",
                message: format!("the store is empty, and this relay took revision {} already: it was wiped, or is another one", trust.number),
                hint: "the network goes on as it is; `wgrelay cluster create` with the same --etcd writes this relay's copy back".into(),
            });
        };
        let mut believed = self.believed(client, signed, &trust, accept)?;
        let Some(record) = believed.pop() else { return Ok(Pulled::Same) };
        let number = record.number;
        let bad = |why: String| {
            Failed::Held {
            revision: number,
            code: "bad-revision",
            message: format!("revision {number} of the store is not taken: {why}"),
            hint: "`wgrelay cluster status` on the relay that wrote it; the next good revision is taken by itself".into(),
        }
        };
        let blobs_at = self.keys().blobs();
        let text = blobs::read(client, &blobs_at, &record.text)?
            .ok_or_else(|| bad("its text is not there, or not what was signed".into()))?;
        let sealed = blobs::read(client, &blobs_at, &record.keys)?
            .ok_or_else(|| bad("its keys are not there, or not what was signed".into()))?;
        let network = valid(&text, &record, self.folder.name().as_str()).map_err(bad)?;
        let before = self.folder.load()?;
        let waits =
            self.current(&before).map(|current| verdict::judge(&current, &network, &self.member.node));
        let waits = waits.unwrap_or(Ok(())).err();
        if let Some(waits) = waits.as_ref().filter(|_| accept != Some(number)) {
            return Err(Failed::Held {
                revision: number,
                code: waits.code(),
                message: format!("revision {number} of the store waits: {waits}"),
                hint: format!(
                    "`wgrelay up --accept {number}` takes it{}",
                    if matches!(waits, Waits::WithoutThis(_)) {
                        ", and the network down here; `wgrelay cluster leave` keeps the copy"
                    } else {
                        ""
                    }
                ),
            });
        }
        // One that was taken and not noted, because this host went down between the two, is no edit.
        let ours: Vec<&Digest> =
            believed.iter().chain([&record]).map(|r| &r.text).chain([&trust.text]).collect();
        let there = before.network.as_ref().map(|text| Digest::of(text));
        if there.as_ref().is_some_and(|there| !ours.contains(&there)) {
            return Err(Failed::Held {
                revision: number,
                code: "edited-here",
                message: format!(
                    "revision {number} of the store waits: {} was edited here by hand",
                    self.folder.network_path().display()
                ),
                hint: format!(
                    "`wgrelay diff {}` shows that edit, `wgrelay history` keeps it: put the file back, and make the edit again on what the store has",
                    trust.number
                ),
            });
        }
        let without_this = matches!(waits, Some(Waits::WithoutThis(_)));
        let contents = if without_this {
            let none = Secrets::default().render();
            Contents::new(&text, Some(none.as_bytes()))
        } else {
            self.contents(&record, &text, &sealed).map_err(|error| bad(error.to_string()))?
        };
        if let Some(lock) = lock {
            self.folder.take(lock, &contents, number, record.note.clone())?;
            let taken = Taken { signed: signed.clone(), text, sealed };
            self.place.take(&taken, &Trust::after(signed, &record))?;
        }
        Ok(Pulled::Taken { number, without_this })
    }

    /// Returns what follows, the head's record last, where it is believed; none: it was taken already.
    fn believed(
        &self,
        client: &mut Client,
        signed: &Signed,
        trust: &Trust,
        accept: Option<u64>,
    ) -> Result<Vec<Record>, Failed> {
        if signed.digest() == trust.record {
            return Ok(Vec::new());
        }
        let kept = self.kept(client, trust.number + 1)?;
        let why = match trust.follow(signed, &kept) {
            Ok(records) => return Ok(records),
            Err(why) => why,
        };
        let number = signed.unverified().map_or(0, |record| record.number);
        let is_of_ours = signed.verified(&trust.signers).is_ok_and(|record| record.id == trust.id);
        let goes_back = matches!(why, Distrust::Older { .. } | Distrust::Diverged(_)) && is_of_ours;
        if goes_back && accept == Some(number) {
            return Ok(signed.unverified().into_iter().collect());
        }
        let hint = if goes_back {
            format!(
                "the network goes on as it is; `wgrelay up --accept {number}` takes what the store has, `wgrelay cluster create` with the same --etcd writes this relay's copy back"
            )
        } else {
            "the network goes on as it is, and this is never taken: find out who writes to etcd (docs/security.md)".into()
        };
        Err(Failed::Held {
            revision: number,
            code: why.code(),
            message: format!("what the store has is not taken: {why}"),
            hint,
        })
    }

    /// The network that the copy holds, and where its file is gone or cannot be read, the one that was taken last; `None`: there
    /// is neither, so that nothing can be lost.
    fn current(&self, contents: &Contents) -> Option<Network> {
        let of = |text: &[u8]| parse_network(text, "network.toml").value;
        let here = contents.network.as_ref().and_then(|text| of(text));
        here.or_else(|| of(&self.place.taken().ok()??.text))
    }

    /// Puts this relay's files of a revision together.
    pub(super) fn contents(
        &self,
        record: &Record,
        text: &[u8],
        sealed: &[u8],
    ) -> Result<Contents, StoreError> {
        let unopened = |what: &str| {
            StoreError::Shared {
            code: "bad-revision",
            message: format!("{what} of revision {} cannot be opened by this relay", record.number),
            hint: "its keys are sealed to whoever was a relay then; a relay that lost its own lets another one take its `sealing_key` out, and joins again".into(),
        }
        };
        let (sealing, here) = self.private_keys()?;
        let keys: Vec<_> = sealing.iter().chain(&here).collect();
        let common =
            parts::open(record, sealed, &self.member.node, &keys).map_err(|_| unopened("the keys"))?;
        let network = parse_network(text, "network.toml").value;
        let node = network.as_ref().and_then(|network| network.nodes.get(&self.member.node));
        let node = node.ok_or_else(|| unopened("the network"))?;
        let secrets = parts::secrets_of(&common, record, node, sealing.as_ref(), here.as_ref());
        let secrets = secrets.map_err(|_| unopened("this relay's private key"))?;
        Ok(Contents::new(text, Some(secrets.render().as_bytes())))
    }

    fn no_trust(&self) -> StoreError {
        StoreError::Damaged { path: self.folder.path().join(".cluster/trust.json"), why: "it is gone".into() }
    }
}

/// Reads a revision's text, and holds it against its record.
pub(super) fn valid(text: &[u8], record: &Record, name: &str) -> Result<Network, String> {
    let parsed = parse_network(text, "network.toml");
    let Some(network) = parsed.value else {
        let first =
            parsed.problems.iter().find(|p| p.is_error()).map(|p| p.message.clone()).unwrap_or_default();
        return Err(format!("its text is no valid network: {first}"));
    };
    if network.name.as_str() != name || record.network.as_str() != name {
        return Err("it is of another network".into());
    }
    if signers(&network) != record.signers {
        return Err("it says of another who may sign than its text".into());
    }
    Ok(network)
}

/// Returns who may sign what follows a network.
pub(super) fn signers(network: &Network) -> std::collections::BTreeMap<NodeName, SigningKey> {
    let relays = network.nodes.values().filter(|node| node.is_relay());
    relays.filter_map(|node| Some((node.name.clone(), node.signing_key?))).collect()
}

/// Why nothing is taken.
pub(super) enum Failed {
    Etcd(EtcdError),
    Store(StoreError),
    Held { revision: u64, code: &'static str, message: String, hint: String },
}

impl From<EtcdError> for Failed {
    fn from(error: EtcdError) -> Self {
        Self::Etcd(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
