//! A network's secrets as the store has them: which all relays need, and which one relay alone. All of them get the keys of
//! spokes, because each may export and rotate them, and the preshared keys; a relay's own private key goes to nobody else once it
//! has joined. Until then the others keep it for it, with the key that its first signature is made with.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::record::{Record, SigningPair};
use super::sealing::{self, ContentKey, NotOpened};
use crate::config::{EditError, NetworkDocument, Secrets, Setting};
use crate::model::{Network, Node, NodeName, PrivateKey, PublicKey};

/// What all relays need.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Common {
    /// Private keys of spokes and of relays that have not joined, and every preshared key.
    pub secrets: Secrets,
    /// The keys that relays which have not joined sign with when they do, as text.
    pub signing_keys: BTreeMap<NodeName, Zeroizing<String>>,
}

#[derive(Serialize, Deserialize)]
struct Plain<'a> {
    #[serde(borrow)]
    secrets: std::borrow::Cow<'a, str>,
    signing_keys: BTreeMap<NodeName, String>,
}

impl Drop for Plain<'_> {
    fn drop(&mut self) {
        self.signing_keys.values_mut().for_each(zeroize::Zeroize::zeroize);
        if let std::borrow::Cow::Owned(text) = &mut self.secrets {
            zeroize::Zeroize::zeroize(text);
        }
    }
}

/// A revision's secrets, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The common part, encrypted.
    pub common: Vec<u8>,
    /// Its key, sealed to each relay.
    pub sealed_to: BTreeMap<NodeName, String>,
    /// The private keys of relays, each sealed to its own.
    pub own: BTreeMap<NodeName, String>,
}

/// What the revision before had, for what stays as it is.
pub struct Before<'a> {
    /// The record.
    pub record: &'a Record,
    /// The common part, encrypted.
    pub sealed: &'a [u8],
    /// And open.
    pub common: &'a Common,
    /// Its network.
    pub network: &'a Network,
}

/// Returns what a relay's keys are sealed to: its own sealing key, or, until it has joined, its WireGuard key.
pub fn sealed_to(node: &Node) -> &PublicKey {
    node.sealing_key.as_ref().unwrap_or(&node.public_key)
}

/// Gives relays that have not joined a key to sign their first revision with, and puts back keys of joined ones that an edit or
/// an older text would take away or change. Whoever takes a relay's `sealing_key` out and nothing else lets it join anew.
///
/// # Errors
/// The text cannot be edited.
pub fn with_keys(
    document: &mut NetworkDocument,
    network: &Network,
    common: &mut Common,
    before: Option<&Network>,
) -> Result<(), EditError> {
    let text = |key: &dyn std::fmt::Display| Some(Setting::Text(key.to_string()));
    common.signing_keys.retain(|name, _| network.nodes.get(name).is_some_and(Node::is_relay));
    for node in network.nodes.values() {
        let name = &node.name;
        if !node.is_relay() {
            for key in ["sealing_key", "signing_key"] {
                document.set_value(name, key, None)?;
            }
            continue;
        }
        let old = before.and_then(|before| before.nodes.get(name)).filter(|old| old.is_relay());
        let joined = old.and_then(|old| Some((old.sealing_key?, old.signing_key?)));
        let joins_anew =
            node.sealing_key.is_none() && joined.is_some_and(|(_, key)| Some(key) == node.signing_key);
        match joined.filter(|_| !joins_anew) {
            Some((sealing, signing)) => {
                document.set_value(name, "sealing_key", text(&sealing).as_ref())?;
                document.set_value(name, "signing_key", text(&signing).as_ref())?;
                common.signing_keys.remove(name);
            }
            None => {
                let known = common.signing_keys.get(name).and_then(|text| SigningPair::from_text(text));
                let Some(pair) = known.or_else(SigningPair::random) else { continue };
                common.signing_keys.insert(name.clone(), pair.expose_text());
                document.set_value(name, "sealing_key", None)?;
                document.set_value(name, "signing_key", text(&pair.public()).as_ref())?;
            }
        }
    }
    Ok(())
}

/// Returns what of a host's secrets all relays need.
pub fn common_of(
    secrets: &Secrets,
    network: &Network,
    signing_keys: BTreeMap<NodeName, Zeroizing<String>>,
) -> Common {
    let mut secrets = secrets.clone();
    secrets
        .private_keys
        .retain(|name, _| network.nodes.get(name).is_some_and(|node| node.sealing_key.is_none()));
    // Of nodes that somebody took out by hand, too.
    for others in secrets.preshared_keys.values_mut() {
        others.retain(|name, _| network.nodes.contains_key(name));
    }
    secrets.preshared_keys.retain(|name, others| network.nodes.contains_key(name) && !others.is_empty());
    Common { secrets, signing_keys }
}

/// Seals a revision's secrets. What did not change is taken over as it is: it need not be written again.
pub fn seal(
    network: &Network,
    secrets: &Secrets,
    common: &Common,
    id: &str,
    before: Option<&Before<'_>>,
) -> Sealed {
    let relays = || network.nodes.values().filter(|node| node.is_relay());
    let recipients = |network: &Network| -> BTreeMap<NodeName, PublicKey> {
        network.nodes.values().filter(|n| n.is_relay()).map(|n| (n.name.clone(), *sealed_to(n))).collect()
    };
    let same =
        before.filter(|before| before.common == common && recipients(before.network) == recipients(network));
    let (common, to) = match same {
        Some(before) => (before.sealed.to_vec(), before.record.sealed_to.clone()),
        None => {
            let key = ContentKey::random();
            let to = relays().map(|n| (n.name.clone(), BASE64_STANDARD.encode(key.seal_to(sealed_to(n)))));
            (key.encrypt(&common.render(), about(id).as_bytes()), to.collect())
        }
    };
    let own = relays().filter(|node| node.sealing_key.is_some()).filter_map(|node| {
        let old = before.and_then(|before| {
            Some((before.network.nodes.get(&node.name)?, before.record.own.get(&node.name)?))
        });
        let stays =
            old.filter(|(old, _)| old.public_key == node.public_key && old.sealing_key == node.sealing_key);
        let sealed = match (stays, secrets.private_keys.get(&node.name)) {
            (Some((_, sealed)), _) => sealed.clone(),
            (None, Some(key)) => BASE64_STANDARD.encode(sealing::seal(key.expose(), sealed_to(node))),
            // It made its key itself.
            (None, None) => return None,
        };
        Some((node.name.clone(), sealed))
    });
    Sealed { common, sealed_to: to, own: own.collect() }
}

/// Opens the common part with one of these keys.
///
/// # Errors
/// It is sealed to none of them.
pub fn open(
    record: &Record,
    sealed: &[u8],
    this: &NodeName,
    keys: &[&PrivateKey],
) -> Result<Common, NotOpened> {
    let to = record.sealed_to.get(this).ok_or(NotOpened)?;
    let to = BASE64_STANDARD.decode(to).map_err(|_| NotOpened)?;
    let key = ContentKey::open(&to, keys.iter().copied())?;
    Common::parse(&key.decrypt(sealed, about(&record.id).as_bytes())?)
}

/// Puts a host's secrets together: the common part, and its own private key, which is in the revision or already here.
///
/// # Errors
/// Its private key is neither.
pub fn secrets_of(
    common: &Common,
    record: &Record,
    node: &Node,
    sealing: Option<&PrivateKey>,
    here: Option<&PrivateKey>,
) -> Result<Secrets, NotOpened> {
    let mut secrets = common.secrets.clone();
    if secrets.private_keys.contains_key(&node.name) {
        return Ok(secrets);
    }
    let sealed = record.own.get(&node.name).and_then(|text| BASE64_STANDARD.decode(text).ok());
    let own = sealed.and_then(|sealed| {
        let bytes = sealing::open(&sealed, sealing).ok()?;
        Some(PrivateKey::from_bytes(bytes.as_slice().try_into().ok()?))
    });
    let fits = |key: &PrivateKey| key.public_key() == node.public_key;
    let key = own.filter(fits).or_else(|| here.filter(|key| fits(key)).cloned()).ok_or(NotOpened)?;
    secrets.private_keys.insert(node.name.clone(), key);
    Ok(secrets)
}

fn about(id: &str) -> String {
    format!("wgrelay keys 1 {id}")
}

impl Common {
    fn render(&self) -> Zeroizing<Vec<u8>> {
        let text = self.secrets.render();
        let keys = self.signing_keys.iter().map(|(name, key)| (name.clone(), key.as_str().to_owned()));
        let plain = Plain { secrets: text.as_str().into(), signing_keys: keys.collect() };
        let mut out = Zeroizing::new(Vec::with_capacity(text.len() * 2 + 4096));
        serde_json::to_writer(&mut *out, &plain).expect("texts, to memory");
        out
    }

    fn parse(bytes: &[u8]) -> Result<Self, NotOpened> {
        let plain: Plain<'_> = serde_json::from_slice(bytes).map_err(|_| NotOpened)?;
        let secrets = Secrets::parse(plain.secrets.as_bytes(), "the store").value.ok_or(NotOpened)?;
        let keys = plain.signing_keys.iter().map(|(name, key)| (name.clone(), Zeroizing::new(key.clone())));
        Ok(Self { secrets, signing_keys: keys.collect() })
    }
}
