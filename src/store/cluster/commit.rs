//! Writing a revision: sealed, signed, its texts first, and then its record, where the store still has what it was made from.

use super::blobs::{self, Blob};
use super::etcd::{Check, Client, EtcdError, Put};
use super::membership::Taken;
use super::parts::{self, Before, Common};
use super::pull::{signers, valid};
use super::record::{FORMAT, Record, Signed, SigningPair};
use super::shared::{Keys, Shared, SharedTurn, read_head, unreached};
use super::trust::Trust;
use crate::config::{NetworkDocument, Secrets, parse_network};
use crate::model::Network;
use crate::store::{Contents, Digest, KEPT, Note, StoreError};

/// So often is what no revision has any more looked for: the keys of texts that others are writing must not go each time.
const COLLECT: u64 = 16;
/// etcd takes so many operations as one.
const OPERATIONS: usize = 100;

/// A revision that is to be written.
pub(super) struct Draft {
    pub network: Network,
    pub text: String,
    pub secrets: Secrets,
    pub common: Common,
}

impl Draft {
    /// Makes one of what a host's files hold.
    pub fn new(contents: &Contents, common: &Common, before: Option<&Network>) -> Result<Self, StoreError> {
        let bytes = contents.network.as_ref().map(|bytes| bytes.as_slice()).unwrap_or_default();
        let network = read(bytes)?;
        let secrets = contents.secrets.as_ref().map(|bytes| Secrets::parse(bytes, "secrets.toml").value);
        let secrets = secrets.flatten().ok_or_else(|| refused("its secrets cannot be read"))?;
        let mut common = common.clone();
        let mut document = NetworkDocument::of_network(&String::from_utf8_lossy(bytes));
        parts::with_keys(&mut document, &network, &mut common, before)
            .map_err(|error| refused(&error.to_string()))?;
        let text = document.to_string();
        let network = read(text.as_bytes())?;
        let common = parts::common_of(&secrets, &network, common.signing_keys);
        Ok(Self { network, text, secrets, common })
    }
}

fn read(text: &[u8]) -> Result<Network, StoreError> {
    parse_network(text, "network.toml").value.ok_or_else(|| refused("it is no valid network"))
}

fn refused(why: &str) -> StoreError {
    StoreError::Shared {
        code: "store-refuses",
        message: format!("the store takes whole networks alone: {why}"),
        hint: "`wgrelay check` tells each fault".into(),
    }
}

impl Shared {
    /// Writes contents as the next revision, and takes it. Returns its number; `None`: nothing differs.
    pub(super) fn write(
        &self,
        turn: &SharedTurn,
        contents: &Contents,
        note: Note,
    ) -> Result<Option<u64>, StoreError> {
        let gone = |what: &str| StoreError::Damaged {
            path: self.folder.path().join(".cluster"),
            why: format!("{what} is gone"),
        };
        let taken = self.place.taken()?.ok_or_else(|| gone("what was taken last"))?;
        let keys = self.place.keys()?.ok_or_else(|| gone("this relay's key"))?;
        let record = taken.signed.unverified().map_err(|e| gone(&e.to_string()))?;
        let network = read(&taken.text)?;
        let (sealing, here) = self.private_keys()?;
        let own: Vec<_> = sealing.iter().chain(&here).collect();
        let common =
            parts::open(&record, &taken.sealed, &self.member.node, &own).map_err(|_| StoreError::Shared {
                code: "bad-revision",
                message: format!("the keys of revision {} cannot be opened by this relay", record.number),
                hint: "`wgrelay cluster status` tells whether it has joined".into(),
            })?;
        let draft = Draft::new(contents, &common, Some(&network))?;
        self.refuse_lost_keys(&draft, &network)?;
        let old = parts::secrets_of(
            &common,
            &record,
            &network.nodes[&self.member.node],
            sealing.as_ref(),
            here.as_ref(),
        );
        if draft.text.as_bytes() == taken.text && old.is_ok_and(|old| old == draft.secrets) {
            return Ok(None);
        }
        let before = Before { record: &record, sealed: &taken.sealed, common: &common, network: &network };
        let number = record.number + 1;
        let signed_by = Some(taken.signed.digest());
        self.publish(
            &mut turn.client(),
            &turn.head,
            draft,
            Some(&before),
            (&keys.signing, number, signed_by),
            note,
        )
        .and_then(|(written, record)| {
            let own = self.contents(&record, &written.text, &written.sealed)?;
            self.folder.take(&turn.lock, &own, number, record.note.clone())?;
            self.place.take(&written, &Trust::after(&written.signed, &record))?;
            Ok(Some(number))
        })
    }

    /// Refuses to give a relay another key that nobody could tell it: only it has its private key.
    fn refuse_lost_keys(&self, draft: &Draft, before: &Network) -> Result<(), StoreError> {
        let is_lost = |node: &&crate::model::Node| {
            let old = before.nodes.get(&node.name);
            node.is_relay()
                && node.sealing_key.is_some()
                && node.name == self.member.node
                && old.is_some_and(|old| old.public_key != node.public_key)
                && !draft.secrets.private_keys.contains_key(&node.name)
        };
        match draft.network.nodes.values().find(is_lost) {
            None => Ok(()),
            Some(node) => Err(StoreError::Shared {
                code: "store-refuses",
                message: format!("{} would get a key whose private half is not here", node.name),
                hint: format!("`wgrelay rotate {}` on that relay itself", node.name),
            }),
        }
    }

    /// Writes a draft where the store's head is still this one, and returns it as it was written.
    pub(super) fn publish(
        &self,
        client: &mut Client,
        head: &super::Head,
        draft: Draft,
        before: Option<&Before<'_>>,
        (pair, number, previous): (&SigningPair, u64, Option<Digest>),
        note: Note,
    ) -> Result<(Taken, Record), StoreError> {
        let id = match before {
            Some(before) => before.record.id.clone(),
            None => new_id(),
        };
        let sealed = parts::seal(&draft.network, &draft.secrets, &draft.common, &id, before);
        let folder = self.keys().blobs();
        let (text, keys) = (Blob::new(&folder, draft.text.as_bytes()), Blob::new(&folder, &sealed.common));
        let record = Record {
            format: FORMAT,
            id,
            network: self.folder.name().clone(),
            number,
            previous,
            note,
            text: text.digest().clone(),
            keys: keys.digest().clone(),
            sealed_to: sealed.sealed_to,
            own: sealed.own,
            signers: signers(&draft.network),
            signer: self.member.node.clone(),
        };
        valid(draft.text.as_bytes(), &record, self.folder.name().as_str()).map_err(|why| refused(&why))?;
        let signed = Signed::new(&record, pair);
        swap(client, &self.keys(), head.mod_revision, number, &signed, &[&text, &keys])?
            .then_some(())
            .ok_or_else(|| StoreError::Shared {
                code: "store-changed",
                message: "another relay changed the network meanwhile; nothing was changed".into(),
                hint: "give the command again: it is then for what the store has now".into(),
            })?;
        if number.is_multiple_of(COLLECT) {
            // What stays too long is found the next time.
            let _ = collect(client, &self.keys());
        }
        Ok((Taken { signed, text: draft.text.into_bytes(), sealed: sealed.common }, record))
    }
}

fn new_id() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("this relay's keys were made of the same");
    Digest::of(&bytes).as_str()[..32].to_owned()
}

/// Replaces the head. Returns whether it is this one now: also where a member did what was asked and did not say so.
fn swap(
    client: &mut Client,
    keys: &Keys,
    written: i64,
    number: u64,
    signed: &Signed,
    texts: &[&Blob],
) -> Result<bool, StoreError> {
    let value = signed.render();
    let mut outcome = Err(EtcdError::Unreachable(String::new()));
    for _ in 0..3 {
        for text in texts {
            text.write(client).map_err(|error| unreached(&error))?;
        }
        let mut checks = vec![Check::Written(keys.head(), written)];
        checks.extend(texts.iter().flat_map(|text| text.checks()));
        let puts = [keys.head(), keys.revision(number)].map(|key| Put { key, value: &value, lease: 0 });
        let old = number.checked_sub(KEPT as u64).map(|old| keys.revision(old));
        outcome = client.transact(&checks, &puts, old.as_slice()).map(|(done, _)| done);
        if outcome == Ok(true) {
            return Ok(true);
        }
        let head = read_head(client, keys).map_err(|_| unknown(number))?;
        if head.signed.as_ref() == Some(signed) {
            return Ok(true);
        }
        if head.mod_revision != written {
            return Ok(false);
        }
        // The head is as it was: a text was taken for one that nobody has, or no majority did it.
    }
    match outcome {
        Ok(_) => Ok(false),
        Err(EtcdError::Unreachable(_)) => Err(unknown(number)),
        Err(error) => Err(unreached(&error)),
    }
}

/// What was asked for may have been done, or be done yet.
fn unknown(number: u64) -> StoreError {
    StoreError::Shared {
        code: "store-unreachable",
        message: format!(
            "the store did not answer: it is not known whether revision {number} is in it; this relay goes on as it was"
        ),
        hint: "once it is reached again, `wgrelay history` tells; the edit is there whole or not at all"
            .into(),
    }
}

/// Removes texts that no revision has.
fn collect(client: &mut Client, keys: &Keys) -> Result<(), EtcdError> {
    let end = keys.revision(u64::MAX >> 24);
    let kept = client.range(&keys.revisions(), Some(&end))?.pairs;
    let records = kept.iter().filter_map(|pair| Signed::parse(&pair.value).ok()?.unverified().ok());
    let used: std::collections::BTreeSet<Digest> =
        records.flat_map(|record| [record.text, record.keys]).collect();
    let folder = keys.blobs();
    let end = format!("{}0", folder.trim_end_matches('/'));
    let all = client.names(&folder, &end)?.pairs;
    let unused: Vec<String> = all
        .into_iter()
        .map(|pair| pair.key)
        .filter(|key| !blobs::digest_in(&folder, key).is_some_and(|digest| used.contains(&digest)))
        .collect();
    for some in unused.chunks(OPERATIONS) {
        client.transact(&[], &[], some)?;
    }
    Ok(())
}
