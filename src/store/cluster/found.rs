//! How a network comes into a store, how a relay joins it, and how it leaves.

use super::blobs;
use super::commit::Draft;
use super::etcd::Client;
use super::membership::{Held, MemberKeys, Membership, Place, Taken};
use super::parts::{self, Before};
use super::pull::{Pulled, valid};
use super::record::{Record, Signed, SigningPair};
use super::shared::{Shared, client, read_head, unreached};
use super::trust::Trust;
use crate::config::{NetworkDocument, Secrets, Setting, parse_network};
use crate::model::{Network, NodeName, PrivateKey, SigningKey};
use crate::store::folder::Folder;
use crate::store::{Contents, Note, Store as _, StoreError};

/// A network that is in the store now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its revision.
    pub revision: u64,
    /// What this relay signs with: for whoever joins without a bundle.
    pub signing_key: SigningKey,
    /// Whether this relay's copy was written back to a store that had lost it.
    pub is_written_back: bool,
}

/// A relay that has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The revision that it took.
    pub revision: u64,
    /// Who signed what it believes, where nothing here told whom to believe: `None`: something did.
    pub believed_at_first_sight: Option<(NodeName, SigningKey)>,
}

fn told(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> StoreError {
    StoreError::Shared { code, message: message.into(), hint: hint.into() }
}

/// Reads the network that is here.
fn network_of(contents: &Contents) -> Result<(Network, Secrets), StoreError> {
    let invalid =
        |what: &str| told("store-refuses", format!("{what} has a fault"), "`wgrelay check` tells each");
    let text = contents.network.as_ref().map(|bytes| bytes.as_slice()).unwrap_or_default();
    let network = parse_network(text, "network.toml").value.ok_or_else(|| invalid("network.toml"))?;
    let secrets = contents.secrets.as_ref().map(|bytes| Secrets::parse(bytes, "secrets.toml").value);
    Ok((network, secrets.unwrap_or_else(|| Some(Secrets::default())).ok_or_else(|| invalid("secrets.toml"))?))
}

fn random_keys(random: impl FnOnce() -> PrivateKey) -> Result<MemberKeys, StoreError> {
    let signing = SigningPair::random()
        .ok_or_else(|| told("store-setup", "the system gives no randomness", "mount /dev"))?;
    Ok(MemberKeys { sealing: random(), signing })
}

/// Writes a relay's keys into a text.
fn with_own_keys(text: &str, node: &NodeName, keys: &MemberKeys) -> Result<String, StoreError> {
    let mut document = NetworkDocument::of_network(text);
    let sealing = Setting::Text(keys.sealing.public_key().to_string());
    let signing = Setting::Text(keys.signing.public().to_string());
    let set = document
        .set_value(node, "sealing_key", Some(&sealing))
        .and_then(|()| document.set_value(node, "signing_key", Some(&signing)));
    set.map_err(|error| {
        told("store-refuses", error.to_string(), "`wgrelay check` tells what is wrong with it")
    })?;
    Ok(document.to_string())
}

impl Shared {
    /// Puts a network into a store that has none of its name; a member's copy, where the store has lost what it took. `random` makes
    /// a private key.
    ///
    /// # Errors
    /// There is one already, it is not reached, or something cannot be written; then this host is no member.
    pub fn create(
        folder: &Folder,
        member: Membership,
        note: Note,
        random: impl FnOnce() -> PrivateKey,
    ) -> Result<Found, StoreError> {
        let lock = folder.lock()?;
        let place = Place::of(folder.path());
        if let Some(old) = Self::of(folder)? {
            return old.write_back(&lock, member, note);
        }
        let before = folder.load()?;
        if before.bundle.is_some() {
            return Err(told(
                "store-refuses",
                "this network came here in a bundle",
                "`wgrelay cluster create` where the bundle was made, and `wgrelay cluster join` here",
            ));
        }
        let (network, _) = network_of(&before)?;
        let this = Self { folder: folder.clone(), place, member };
        let mut client = client(&this.member, Some(network), this.member.node.clone())?;
        let head = read_head(&mut client, &this.keys()).map_err(|error| unreached(&error))?;
        if head.signed.is_some() {
            return Err(told(
                "store-exists",
                format!("there is a network {} in that store already", folder.name()),
                "`wgrelay cluster join` makes this relay a member of it",
            ));
        }
        let keys = match this.place.keys()? {
            Some(keys) => keys,
            None => random_keys(random)?,
        };
        this.place.set_keys(&keys)?;
        let text = String::from_utf8_lossy(before.network.as_ref().map(|b| b.as_slice()).unwrap_or_default())
            .into_owned();
        let text = with_own_keys(&text, &this.member.node, &keys)?;
        let contents = Contents::new(text.as_bytes(), before.secrets.as_ref().map(|bytes| bytes.as_slice()));
        let (with_keys, _) = network_of(&contents)?;
        let draft = Draft::new(&contents, &parts::Common::default(), Some(&with_keys))?;
        let number = folder.next_revision()?;
        let (taken, record) =
            this.publish(&mut client, &head, draft, None, (&keys.signing, number, None), note)?;
        this.adopt(&lock, &taken, &record)?;
        Ok(Found { revision: number, signing_key: keys.signing.public(), is_written_back: false })
    }

    /// Writes a member's copy to a store that was wiped, or put back from a backup that is older.
    fn write_back(
        mut self,
        lock: &crate::store::files::WriterLock,
        member: Membership,
        note: Note,
    ) -> Result<Found, StoreError> {
        self.member.access = member.access;
        let mut client = self.client()?;
        let (head, pulled) = self.pull(lock, &mut client, None)?;
        let is_lost = matches!(&pulled, Pulled::Held(held) if ["store-wiped", "store-older", "store-diverged"].contains(&held.code.as_str()));
        if !is_lost {
            return Err(match pulled {
                Pulled::Held(Held { code: _, message, hint, .. }) => told("store-held", message, hint),
                _ => told(
                    "store-exists",
                    format!("{} is in that store already, and this relay is a member", self.folder.name()),
                    "`wgrelay cluster status` tells how it stands",
                ),
            });
        }
        let gone = || {
            told(
                "store-setup",
                "what this relay took last is gone",
                "`wgrelay cluster leave`, and create it anew",
            )
        };
        let (taken, keys) = (self.place.taken()?.ok_or_else(gone)?, self.place.keys()?.ok_or_else(gone)?);
        let record = taken.signed.unverified().map_err(|_| gone())?;
        let (network, common) = self.opened(&record, &taken)?;
        let draft = Draft::new(&self.folder.load()?, &common, Some(&network))?;
        let in_store = head
            .signed
            .as_ref()
            .and_then(|signed| Some(signed.unverified().ok()?.number))
            .unwrap_or_default();
        let number = record.number.max(in_store) + 1;
        let before = Before { record: &record, sealed: &taken.sealed, common: &common, network: &network };
        let previous = Some(taken.signed.digest());
        let (taken, record) =
            self.publish(&mut client, &head, draft, Some(&before), (&keys.signing, number, previous), note)?;
        self.adopt(lock, &taken, &record)?;
        // What it was held for is over.
        self.pull(lock, &mut client, None)?;
        Ok(Found { revision: number, signing_key: keys.signing.public(), is_written_back: true })
    }

    fn opened(&self, record: &Record, taken: &Taken) -> Result<(Network, parts::Common), StoreError> {
        let (sealing, here) = self.private_keys()?;
        let keys: Vec<_> = sealing.iter().chain(&here).collect();
        let common = parts::open(record, &taken.sealed, &self.member.node, &keys).map_err(|_| {
            told("bad-revision", "this relay cannot open the keys that it took last", "join again")
        })?;
        let network = parse_network(&taken.text, "network.toml").value;
        Ok((
            network.ok_or_else(|| {
                told("bad-revision", "what this relay took last cannot be read", "join again")
            })?,
            common,
        ))
    }

    /// Makes a revision this host's copy, and this host a member.
    fn adopt(
        &self,
        lock: &crate::store::files::WriterLock,
        taken: &Taken,
        record: &Record,
    ) -> Result<(), StoreError> {
        let contents = self.contents(record, &taken.text, &taken.sealed)?;
        self.folder.take(lock, &contents, record.number, record.note.clone())?;
        self.place.take(taken, &Trust::after(&taken.signed, record))?;
        self.place.set_membership(&self.member)
    }

    /// Makes this host a member of a network that is in the store. It believes whoever the network that is here says may sign, or
    /// `trusted`; where nothing says it, who signed what is there.
    ///
    /// # Errors
    /// There is none, it is not signed by whoever is believed, or this host is no relay of it; then it is no member.
    pub fn join(
        folder: &Folder,
        member: Membership,
        trusted: Option<SigningKey>,
        note: &Note,
        random: impl FnOnce() -> PrivateKey,
    ) -> Result<Joined, StoreError> {
        let lock = folder.lock()?;
        if Self::of(folder)?.is_some() {
            return Err(told(
                "store-exists",
                "this relay is a member already",
                "`wgrelay cluster status` tells how it stands; `wgrelay cluster leave` ends it",
            ));
        }
        let (network, secrets) = network_of(&folder.load()?)?;
        let node = member.node.clone();
        let here = secrets.private_keys.get(&node).cloned().ok_or_else(|| {
            told(
                "store-refuses",
                format!("the private key of {node} is not here: nobody can tell that this host is it"),
                format!("`wgrelay export {node} --format bundle --out FILE` on a member, and `wgrelay cluster join --bundle FILE` here"),
            )
        })?;
        let anchors = match trusted {
            Some(key) => vec![key],
            None => network.nodes.values().filter(|n| n.is_relay()).filter_map(|n| n.signing_key).collect(),
        };
        let this = Self { folder: folder.clone(), place: Place::of(folder.path()), member };
        let mut client = client(&this.member, Some(network), node.clone())?;
        let keys = match this.place.keys()? {
            Some(keys) => keys,
            None => random_keys(random)?,
        };
        this.place.set_keys(&keys)?;
        for _ in 0..10 {
            let head = read_head(&mut client, &this.keys()).map_err(|error| unreached(&error))?;
            let signed = head.signed.clone().ok_or_else(|| {
                told(
                    "store-empty",
                    format!("there is no network {} in that store", folder.name()),
                    "`wgrelay cluster create` on the first relay",
                )
            })?;
            let (record, at_first_sight) = this.introduced(&mut client, &signed, &anchors)?;
            match this.join_head(&mut client, &head, &signed, &record, &here, &keys, note.clone()) {
                Err(StoreError::Shared { code: "store-changed", .. }) => {}
                Err(error) => return Err(error),
                Ok((taken, record)) => {
                    this.adopt(&lock, &taken, &record)?;
                    return Ok(Joined { revision: record.number, believed_at_first_sight: at_first_sight });
                }
            }
        }
        Err(told("store-changed", "the network is changed all the time", "try again"))
    }

    /// Returns the head's record where one of these keys, or one that follows from them, signed it; with whom it was believed at
    /// first sight, where there are none.
    fn introduced(
        &self,
        client: &mut Client,
        head: &Signed,
        anchors: &[SigningKey],
    ) -> Result<(Record, Option<(NodeName, SigningKey)>), StoreError> {
        let not = |why: String| {
            told(
                "unsigned-revision",
                format!("what the store has is not believed: {why}"),
                "a bundle that a member exports now says who may sign; `--trust KEY` takes a member's signing key, as its `wgrelay cluster status` has it",
            )
        };
        let record = head.unverified().map_err(|error| not(error.to_string()))?;
        let mut kept = self.kept(client, 0).map_err(|error| unreached(&error))?;
        kept.push(head.clone());
        // From whom is believed to the head, record by record. Who joined with the head signed it with the key that it replaced by it.
        let leads_here = |start: &Signed, is_believed: &dyn Fn(&Record) -> bool| {
            let Ok(first) = start.unverified() else { return false };
            is_believed(&first) && (start == head || Trust::after(start, &first).follow(head, &kept).is_ok())
        };
        let signed_by = |start: &Signed, first: &Record, key: &SigningKey| {
            start.verified(&[(first.signer.clone(), *key)].into()).is_ok()
        };
        let follows = kept.iter().rev().any(|start| {
            leads_here(start, &|first| match anchors {
                [] => first.signers.get(&first.signer).is_some_and(|key| signed_by(start, first, key)),
                known => known.iter().any(|key| signed_by(start, first, key)),
            })
        });
        if !follows {
            return Err(not(format!("{} signed it, and nothing here says that it may", record.signer)));
        }
        let at_first_sight = record.signers.get(&record.signer).filter(|_| anchors.is_empty());
        let at_first_sight = at_first_sight.map(|key| (record.signer.clone(), *key));
        Ok((record, at_first_sight))
    }

    #[expect(clippy::too_many_arguments, reason = "a step of `join` alone")]
    fn join_head(
        &self,
        client: &mut Client,
        head: &super::Head,
        signed: &Signed,
        record: &Record,
        here: &PrivateKey,
        keys: &MemberKeys,
        note: Note,
    ) -> Result<(Taken, Record), StoreError> {
        let node = &self.member.node;
        let bad = |why: String| {
            told(
                "bad-revision",
                format!("revision {} of the store: {why}", record.number),
                "`wgrelay cluster status` on the relay that wrote it",
            )
        };
        let blobs_at = self.keys().blobs();
        let mut text_of = |digest| {
            let read = blobs::read(client, &blobs_at, digest).map_err(|error| unreached(&error))?;
            read.ok_or_else(|| bad("a text is not there, or not what was signed".into()))
        };
        let (text, sealed) = (text_of(&record.text)?, text_of(&record.keys)?);
        let network = valid(&text, record, self.folder.name().as_str()).map_err(bad)?;
        let this = network.nodes.get(node).filter(|n| n.is_relay()).ok_or_else(|| {
            told(
                "not-in-revision",
                format!("{node} is no relay of the network in that store"),
                format!("`wgrelay set {node} role relay` on a member"),
            )
        })?;
        if this.public_key != here.public_key() {
            return Err(told(
                "store-refuses",
                format!("{node} has another key in that store than here"),
                format!("`wgrelay export {node} --format bundle` on a member has what it needs"),
            ));
        }
        let taken = Taken { signed: signed.clone(), text, sealed };
        if this.sealing_key == Some(keys.sealing.public_key()) {
            // It joined, and was ended before it had written so.
            return Ok((taken, record.clone()));
        }
        if this.sealing_key.is_some() && !this.hosts.is_empty() {
            return Err(told(
                "store-refuses",
                format!("{node} joined already, with keys that are not here"),
                format!("`wgrelay export {node} --format bundle` on a host that carries {node} has them"),
            ));
        }
        if this.sealing_key.is_some() {
            return Err(told(
                "store-refuses",
                format!("{node} joined already, with keys that are not here"),
                format!(
                    "where they are lost: `wgrelay set {node} sealing_key --unset` on another member, and join again"
                ),
            ));
        }
        let common = parts::open(record, &taken.sealed, node, &[here])
            .map_err(|_| bad(format!("its keys are not sealed to {node}")))?;
        let first = common.signing_keys.get(node).and_then(|text| SigningPair::from_text(text));
        let first = first.filter(|pair| Some(pair.public()) == this.signing_key);
        let first = first.ok_or_else(|| bad(format!("it has no key that {node} signs with first")))?;
        let text = with_own_keys(&String::from_utf8_lossy(&taken.text), node, keys)?;
        let secrets = parts::secrets_of(&common, record, this, None, Some(here))
            .map_err(|_| bad("this relay's private key does not fit".into()))?;
        let contents = Contents::new(text.as_bytes(), Some(secrets.render().as_bytes()));
        let (with_keys, _) = network_of(&contents)?;
        let draft = Draft::new(&contents, &common, Some(&with_keys))?;
        let before = Before { record, sealed: &taken.sealed, common: &common, network: &network };
        self.publish(
            client,
            head,
            draft,
            Some(&before),
            (&first, record.number + 1, Some(signed.digest())),
            note,
        )
    }

    /// Ends this host's membership. The others are told, where the store is reached and takes it; the copy stays as it is. Returns
    /// why they were not told.
    ///
    /// # Errors
    /// The membership cannot be removed.
    pub fn leave(&self, note: Note) -> Result<Option<StoreError>, StoreError> {
        let untold = self.say_goodbye(note).err();
        let _lock = self.folder.lock()?;
        self.place.remove()?;
        Ok(untold)
    }

    fn say_goodbye(&self, note: Note) -> Result<(), StoreError> {
        let turn = self.turn()?;
        let before = self.folder.load()?;
        let (_, mut secrets) = network_of(&before)?;
        // What only it has stays with it.
        secrets.private_keys.remove(&self.member.node);
        let text = String::from_utf8_lossy(before.network.as_ref().map(|b| b.as_slice()).unwrap_or_default())
            .into_owned();
        let mut document = NetworkDocument::of_network(&text);
        document
            .set_value(&self.member.node, "sealing_key", None)
            .map_err(|error| told("store-refuses", error.to_string(), ""))?;
        let contents = Contents::new(document.to_string().as_bytes(), Some(secrets.render().as_bytes()));
        self.write(&turn, &contents, note).map(drop)
    }
}
