//! The files that make up a revision of a network, and what is in them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::files::{self, NETWORK_FILE, SECRETS_FILE, StoreError};
use super::owned;
use crate::model::NodeName;

/// What an installed bundle says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledBundle {
    /// The node that this host is.
    pub this: NodeName,
    /// The state of the network that the bundle was made from.
    pub made_from: String,
}

/// A file of a revision. Secrets come first where they are replaced one after the other: keys too many do no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// secrets.toml
    Secrets,
    /// For which node a bundle was installed.
    Bundle,
    /// network.toml
    Network,
}

impl Part {
    /// All of them, in the order in which they are replaced.
    pub(crate) const ALL: [Self; 3] = [Self::Secrets, Self::Bundle, Self::Network];

    /// Returns the file's name.
    pub(crate) const fn file_name(self) -> &'static str {
        match self {
            Self::Secrets => SECRETS_FILE,
            Self::Bundle => ".bundle.json",
            Self::Network => NETWORK_FILE,
        }
    }

    /// Returns its mode: the network holds public keys only, and the folder is closed anyway.
    pub(crate) const fn mode(self) -> u32 {
        match self {
            Self::Network => 0o644,
            Self::Secrets | Self::Bundle => 0o600,
        }
    }

    /// Returns where it is: a network file that is a link to one kept elsewhere stays one.
    pub(crate) fn path(self, folder: &Path) -> PathBuf {
        let path = folder.join(self.file_name());
        match self {
            Self::Network => std::fs::canonicalize(&path).unwrap_or(path),
            Self::Secrets | Self::Bundle => path,
        }
    }

    /// Reads it as it is; `None`: it is not there.
    pub(crate) fn read(self, folder: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let path = folder.join(self.file_name());
        let read = match self {
            Self::Network => files::read_bytes(&path).map(Zeroizing::new),
            Self::Secrets => files::read_secret(&path).map(|text| Zeroizing::new(text.as_bytes().to_vec())),
            Self::Bundle => {
                return Ok(owned::read_own(&path)?.map(|text| Zeroizing::new(text.into_bytes())));
            }
        };
        match read {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }
}

/// The SHA-256 of a file, as 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest(String);

impl Digest {
    /// Takes it of a file's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in digest(&SHA256, bytes).as_ref() {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }
    /// Returns its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        // It is a file's name, too: nothing else may pass.
        let is_one = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_one { Ok(Self(text)) } else { Err("a digest is 64 hexadecimal digits") }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.12}…", self.0)
    }
}

/// The digests of a revision's files: two revisions with the same say the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Of network.toml; `None`: it is not there. So the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secrets: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bundle: Option<Digest>,
}

impl Digests {
    /// Of a network.toml of which nothing else is known.
    pub(crate) fn of_network(network: Digest) -> Self {
        Self { network: Some(network), ..Self::default() }
    }
    /// Returns network.toml's.
    pub(crate) const fn network(&self) -> Option<&Digest> {
        self.network.as_ref()
    }
    pub(crate) fn get(&self, part: Part) -> Option<&Digest> {
        match part {
            Part::Secrets => self.secrets.as_ref(),
            Part::Bundle => self.bundle.as_ref(),
            Part::Network => self.network.as_ref(),
        }
    }
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Digest> {
        Part::ALL.into_iter().filter_map(|part| self.get(part))
    }
}

/// What a revision holds. Secrets never print.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// network.toml as written, UTF-8 or not; `None`: there is no network.
    pub network: Option<Zeroizing<Vec<u8>>>,
    /// secrets.toml as written; `None`: there is none.
    pub secrets: Option<Zeroizing<Vec<u8>>>,
    /// The mark of an installed bundle; `None`: the network came in none.
    pub bundle: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digests().fmt(f)
    }
}

impl Contents {
    /// Puts them together, without the mark of a bundle.
    pub fn new(network: &[u8], secrets: Option<&[u8]>) -> Self {
        let held = |bytes: &[u8]| Zeroizing::new(bytes.to_vec());
        Self { network: Some(held(network)), secrets: secrets.map(held), bundle: None }
    }

    /// Reads what is in a folder. The caller keeps writers out, or it may be of two revisions.
    pub(crate) fn read(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            network: Part::Network.read(folder)?,
            secrets: Part::Secrets.read(folder)?,
            bundle: Part::Bundle.read(folder)?,
        })
    }

    pub(crate) fn get(&self, part: Part) -> Option<&Zeroizing<Vec<u8>>> {
        match part {
            Part::Secrets => self.secrets.as_ref(),
            Part::Bundle => self.bundle.as_ref(),
            Part::Network => self.network.as_ref(),
        }
    }

    pub(crate) fn put(&mut self, part: Part, bytes: Option<Zeroizing<Vec<u8>>>) {
        match part {
            Part::Secrets => self.secrets = bytes,
            Part::Bundle => self.bundle = bytes,
            Part::Network => self.network = bytes,
        }
    }

    /// Returns the digests: the identity of what this says.
    pub fn digests(&self) -> Digests {
        let of = |part| self.get(part).map(|bytes| Digest::of(bytes));
        Digests { network: of(Part::Network), secrets: of(Part::Secrets), bundle: of(Part::Bundle) }
    }
}
