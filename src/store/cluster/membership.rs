//! What a relay has of its membership beside its network, in `.cluster/`: how the store is reached, its keys, what it believes,
//! the revision that it took last, and how it stands with the store. All of it mode 0600.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::etcd::Access;
use super::record::{Signed, SigningPair};
use super::trust::Trust;
use crate::model::{NodeName, PrivateKey, Problem, Timestamp};
use crate::store::files::{self, StoreError};

const FOLDER: &str = ".cluster";

/// Who this host is in which cluster, and how it reaches the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The relay that this host is.
    pub node: NodeName,
    /// Of a relay that several hosts carry: which of them this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<NodeName>,
    /// How the store is reached.
    #[serde(flatten)]
    pub access: Access,
}

/// A relay's own keys in the cluster.
pub struct MemberKeys {
    /// What is sealed to it opens with this.
    pub sealing: PrivateKey,
    /// It signs with this.
    pub signing: SigningPair,
}

#[derive(Serialize, Deserialize)]
struct KeyTexts {
    sealing_key: PrivateKey,
    signing_key: String,
}

impl Drop for KeyTexts {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.signing_key);
    }
}

/// A revision as it was taken: what it says, and its sealed keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The record.
    pub signed: Signed,
    /// network.toml.
    pub text: Vec<u8>,
    /// The keys that all relays need, encrypted.
    pub sealed: Vec<u8>,
}

/// How a relay stands with the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Since when the store is not reached; `None`: it was, when it was last asked.
    #[serde(default)]
    pub unreachable_since: Option<Timestamp>,
    /// Why it was not.
    #[serde(default)]
    pub unreachable_because: Option<String>,
    /// The newest revision that the store was seen to have.
    #[serde(default)]
    pub seen: Option<u64>,
    /// A revision that is not taken.
    #[serde(default)]
    pub held: Option<Held>,
    /// A revision that was taken and could not be applied to this host.
    #[serde(default)]
    pub not_applied: Option<Held>,
}

/// A revision that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its number; 0: the store has none.
    pub revision: u64,
    /// Why, as a code.
    pub code: String,
    /// Why, in words.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// Since when.
    pub since: Timestamp,
}

/// A relay's folder of its membership.
#[derive(Debug, Clone)]
pub struct Place(PathBuf);

impl Place {
    /// Names it; touches nothing.
    pub fn of(network: &Path) -> Self {
        Self(network.join(FOLDER))
    }

    /// Says whether this host is a member.
    pub fn is_member(&self) -> bool {
        self.0.join("member.json").exists()
    }

    /// Reads who this host is; `None`: no member.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn membership(&self) -> Result<Option<Membership>, StoreError> {
        self.read("member.json")
    }

    /// Reads this host's keys; `None`: it has none.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn keys(&self) -> Result<Option<MemberKeys>, StoreError> {
        let Some(texts) = self.read::<KeyTexts>("keys.json")? else { return Ok(None) };
        let signing = SigningPair::from_text(&texts.signing_key).ok_or_else(|| StoreError::Damaged {
            path: self.0.join("keys.json"),
            why: "its signing key is none".into(),
        })?;
        Ok(Some(MemberKeys { sealing: texts.sealing_key.clone(), signing }))
    }

    /// Returns this host's keys as text, for another host of the same relay; `None`: it has none.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn expose_keys(&self) -> Result<Option<Zeroizing<String>>, StoreError> {
        let Some(texts) = self.read::<KeyTexts>("keys.json")? else { return Ok(None) };
        let json = Zeroizing::new(serde_json::to_vec(&texts).unwrap_or_default());
        Ok(Some(Zeroizing::new(BASE64_STANDARD.encode(&*json))))
    }

    /// Takes what [`Self::expose_keys`] gave; says whether it was that.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn take_keys(&self, text: &str) -> Result<bool, StoreError> {
        let json = BASE64_STANDARD.decode(text).map(Zeroizing::new).ok();
        let texts = json.and_then(|json| serde_json::from_slice::<KeyTexts>(&json).ok());
        let Some(texts) = texts.filter(|texts| SigningPair::from_text(&texts.signing_key).is_some()) else {
            return Ok(false);
        };
        self.write("keys.json", &texts)?;
        Ok(true)
    }

    /// Reads what this host believes; `None`: it took nothing yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn trust(&self) -> Result<Option<Trust>, StoreError> {
        self.read("trust.json")
    }

    /// Reads the revision that was taken last; `None`: none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn taken(&self) -> Result<Option<Taken>, StoreError> {
        let Some(signed) = self.read("taken.json")? else { return Ok(None) };
        let text = files::read_bytes(&self.0.join("taken.toml"))?;
        Ok(Some(Taken {
            signed,
            text,
            sealed: files::read_secret_bytes(&self.0.join("taken.keys"))?.to_vec(),
        }))
    }

    /// Reads how this host stands with the store, as it was last seen.
    pub fn standing(&self) -> Standing {
        self.read("standing.json").ok().flatten().unwrap_or_default()
    }

    /// Writes how it stands, where that is news.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_standing(&self, standing: &Standing) -> Result<(), StoreError> {
        if self.standing() == *standing { Ok(()) } else { self.write("standing.json", standing) }
    }

    /// Writes who this host is.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_membership(&self, membership: &Membership) -> Result<(), StoreError> {
        self.write("member.json", membership)
    }

    /// Writes its keys.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn set_keys(&self, keys: &MemberKeys) -> Result<(), StoreError> {
        let signing_key = keys.signing.expose_text().as_str().to_owned();
        let texts = KeyTexts { sealing_key: keys.sealing.clone(), signing_key };
        self.write("keys.json", &texts)
    }

    /// Writes what was taken. What is believed comes last: until then the revision counts as not taken.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn take(&self, taken: &Taken, trust: &Trust) -> Result<(), StoreError> {
        files::create_private_dir(&self.0)?;
        files::write_atomic(&self.0.join("taken.toml"), 0o600, &taken.text)?;
        files::write_atomic(&self.0.join("taken.keys"), 0o600, &taken.sealed)?;
        self.write("taken.json", &taken.signed)?;
        self.write("trust.json", trust)
    }

    /// Forgets the membership, keys and all.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub fn remove(&self) -> Result<(), StoreError> {
        // Without this one nothing of the rest counts.
        for file in [Some("member.json"), None] {
            let path = file.map_or_else(|| self.0.clone(), |name| self.0.join(name));
            let removed =
                if file.is_some() { std::fs::remove_file(&path) } else { std::fs::remove_dir_all(&path) };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(files::io_error("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let path = self.0.join(name);
        match files::read_secret(&path) {
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                // What serde says may quote what is there, and this may be a key.
                .map_err(|e| StoreError::Damaged {
                    path,
                    why: format!("it cannot be read (line {})", e.line()),
                }),
        }
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        files::create_private_dir(&self.0)?;
        let text = Zeroizing::new(serde_json::to_vec_pretty(value).unwrap_or_default());
        files::write_atomic(&self.0.join(name), 0o600, &text)
    }
}

impl Standing {
    /// Tells what a person should know of it; nothing where all is well.
    pub fn problems(&self, network: &str, now: Timestamp) -> Vec<Problem> {
        let place = format!("network {network}");
        let mut problems = Vec::new();
        if let Some(since) = self.unreachable_since {
            let why = self.unreachable_because.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
            problems.push(Problem::warning(
                "store-unreachable",
                place.clone(),
                format!(
                    "the store is not reached since {since}, for {} s{why}: the network goes on as it was last taken, and nothing can be changed",
                    now.since(since)
                ),
                "`wgrelay cluster status` asks each member; what needs a majority waits until there is one",
            ));
        }
        let held = self.held.iter().chain(&self.not_applied);
        problems
            .extend(held.map(|held| Problem::warning(&held.code, place.clone(), &held.message, &held.hint)));
        problems
    }
}
