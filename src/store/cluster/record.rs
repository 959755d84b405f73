//! A revision as the store has it: who, when and why, the digests of its text and its sealed keys, and a signature over every
//! byte of that. The texts themselves lie beside it, under their digests.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::model::{InterfaceName, NodeName, SigningKey};
use crate::store::{Digest, Note};

/// What a signature is over, before the record: it is good for nothing else.
const ABOUT: &[u8] = b"wgrelay revision 1\0";
/// The form of a record that this program reads.
pub const FORMAT: u32 = 1;
/// No revision has a greater number: twelve digits are what the store sorts by, and there is always one more.
const MOST: u64 = 999_999_999_999;
/// So much of why something cannot be read is told: it may quote what is there.
const TOLD: usize = 200;

/// One revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The form: see [`FORMAT`].
    pub format: u32,
    /// Which cluster: 32 random hexadecimal digits, made with it.
    pub id: String,
    /// The network.
    pub network: InterfaceName,
    /// Its number: one more than the one before.
    pub number: u64,
    /// The digest of the record before; `None`: it is the first.
    pub previous: Option<Digest>,
    /// Who, when, why.
    #[serde(flatten)]
    pub note: Note,
    /// Of network.toml.
    pub text: Digest,
    /// Of the keys that all relays need, encrypted.
    pub keys: Digest,
    /// The key of that, sealed to each relay.
    pub sealed_to: BTreeMap<NodeName, String>,
    /// The private keys of relays, each sealed to its own.
    pub own: BTreeMap<NodeName, String>,
    /// Who may sign the next: the same keys as in the text.
    pub signers: BTreeMap<NodeName, SigningKey>,
    /// Whose signature this is.
    pub signer: NodeName,
}

/// A record with its signature, as it lies in the store. The record is kept as the bytes that were signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    record: String,
    signature: String,
}

/// The key that a relay signs with.
pub struct SigningPair {
    pkcs8: Zeroizing<Vec<u8>>,
    pair: Ed25519KeyPair,
}

/// Why a record is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// It cannot be read.
    #[error("it is no revision of wgrelay's: {0}")]
    Unreadable(String),
    /// A later wgrelay wrote it.
    #[error("it has form {0}, which this wgrelay does not read")]
    Newer(u32),
    /// Nobody who may has signed it.
    #[error("{0} signed it, and is no relay that may")]
    NotASigner(NodeName),
    /// The signature is not over this.
    #[error("the signature of {0} does not hold")]
    Wrong(NodeName),
}

impl SigningPair {
    /// Makes one; `None`: the system has no randomness.
    pub fn random() -> Option<Self> {
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).ok()?;
        Self::from_pkcs8(document.as_ref())
    }
    /// Reads one; `None`: it is none.
    pub fn from_pkcs8(bytes: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(bytes).ok()?;
        Some(Self { pkcs8: Zeroizing::new(bytes.to_vec()), pair })
    }
    /// Reads the text of one; `None`: it is none.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::from_pkcs8(&Zeroizing::new(BASE64_STANDARD.decode(text).ok()?))
    }
    /// Writes it as text, wiped when dropped.
    pub fn expose_text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64_STANDARD.encode(&self.pkcs8))
    }
    /// Returns the public half.
    pub fn public(&self) -> SigningKey {
        let bytes = self.pair.public_key().as_ref();
        SigningKey::from_bytes(bytes.try_into().expect("an Ed25519 key has 32 bytes"))
    }
}

impl Signed {
    /// Signs a record.
    pub fn new(record: &Record, pair: &SigningPair) -> Self {
        let record = serde_json::to_string(record).expect("a record has no maps but of names");
        let signature = pair.pair.sign(&about(&record));
        Self { record, signature: BASE64_STANDARD.encode(signature.as_ref()) }
    }

    /// Reads one as it lies in the store.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unsigned> {
        serde_json::from_slice(bytes).map_err(|e| unreadable(&e))
    }

    /// What stands for bytes that are none.
    pub(super) fn nothing() -> Self {
        Self { record: String::new(), signature: String::new() }
    }

    /// Writes it as it lies in the store.
    pub fn render(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("two texts")
    }

    /// Returns the digest of what was signed, by which the next one names it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.record.as_bytes())
    }

    /// Reads the record, whoever signed it: for what only tells of it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn unverified(&self) -> Result<Record, Unsigned> {
        let value: serde_json::Value = serde_json::from_str(&self.record).map_err(|e| unreadable(&e))?;
        let format = value["format"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
        if format > FORMAT {
            return Err(Unsigned::Newer(format));
        }
        let record: Record = serde_json::from_str(&self.record).map_err(|e| unreadable(&e))?;
        if record.number > MOST {
            return Err(Unsigned::Unreadable(format!("its number is greater than {MOST}")));
        }
        Ok(record)
    }

    /// Returns the record, where one of these signed it.
    ///
    /// # Errors
    /// None of them did.
    pub fn verified(&self, signers: &BTreeMap<NodeName, SigningKey>) -> Result<Record, Unsigned> {
        let record = self.unverified()?;
        let key = signers.get(&record.signer).ok_or_else(|| Unsigned::NotASigner(record.signer.clone()))?;
        let signature = BASE64_STANDARD.decode(&self.signature).unwrap_or_default();
        UnparsedPublicKey::new(&ED25519, key.as_bytes())
            .verify(&about(&self.record), &signature)
            .map_err(|_| Unsigned::Wrong(record.signer.clone()))?;
        Ok(record)
    }
}

fn unreadable(error: &serde_json::Error) -> Unsigned {
    let told = error.to_string();
    Unsigned::Unreadable(told.chars().take(TOLD).map(|c| if c.is_control() { ' ' } else { c }).collect())
}

fn about(record: &str) -> Vec<u8> {
    [ABOUT, record.as_bytes()].concat()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn record(
        number: u64,
        previous: Option<Digest>,
        signer: &str,
        signers: &[(&str, &SigningPair)],
    ) -> Record {
        Record {
            format: FORMAT,
            id: "a".repeat(32),
            network: "wg0".parse().unwrap(),
            number,
            previous,
            note: Note::default(),
            text: Digest::of(b"text"),
            keys: Digest::of(b"keys"),
            sealed_to: BTreeMap::new(),
            own: BTreeMap::new(),
            signers: signers.iter().map(|(name, pair)| (name.parse().unwrap(), pair.public())).collect(),
            signer: signer.parse().unwrap(),
        }
    }

    #[test]
    fn a_record_is_believed_of_its_signer_alone_and_to_the_byte() {
        let (eu, us) = (SigningPair::random().unwrap(), SigningPair::random().unwrap());
        let signers = BTreeMap::from([("eu".parse().unwrap(), eu.public())]);
        let record = record(1, None, "eu", &[("eu", &eu)]);
        let signed = Signed::new(&record, &eu);
        assert_eq!(Signed::parse(&signed.render()).unwrap().verified(&signers), Ok(record.clone()));
        assert_eq!(Signed::new(&record, &us).verified(&signers), Err(Unsigned::Wrong("eu".parse().unwrap())));
        let other = Record { signer: "us".parse().unwrap(), ..record };
        assert_eq!(
            Signed::new(&other, &us).verified(&signers),
            Err(Unsigned::NotASigner("us".parse().unwrap()))
        );
        let text = String::from_utf8(signed.render()).unwrap();
        for (from, to) in [
            ("\\\"number\\\":1", "\\\"number\\\":2"),
            ("wg0", "wg1"),
            ("\"signature\":\"", "\"signature\":\"A"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            assert!(Signed::parse(changed.as_bytes()).unwrap().verified(&signers).is_err(), "{from}");
        }
    }

    #[test]
    fn a_record_of_a_later_form_is_not_read_as_one_of_ours() {
        let eu = SigningPair::random().unwrap();
        let later = Record { format: 2, ..record(1, None, "eu", &[("eu", &eu)]) };
        assert_eq!(Signed::new(&later, &eu).unverified(), Err(Unsigned::Newer(2)));
    }

    #[test]
    fn a_number_that_nothing_can_follow_is_none_whoever_signed_it() {
        let eu = SigningPair::random().unwrap();
        let signers = BTreeMap::from([("eu".parse().unwrap(), eu.public())]);
        let signed = |number| Signed::new(&record(number, None, "eu", &[("eu", &eu)]), &eu);
        for number in [MOST + 1, u64::MAX - 1, u64::MAX] {
            let told = signed(number).verified(&signers);
            assert!(matches!(told, Err(Unsigned::Unreadable(_))), "{number}");
        }
        assert!(signed(MOST).verified(&signers).is_ok());
    }

    #[test]
    fn why_something_cannot_be_read_is_short_whatever_it_holds() {
        let eu = SigningPair::random().unwrap();
        let text = String::from_utf8(Signed::new(&record(1, None, "eu", &[]), &eu).render()).unwrap();
        let number = format!("\\\"number\\\":\\\"{}\\\"", "x".repeat(100_000));
        let long = text.replacen("\\\"number\\\":1", &number, 1);
        assert_ne!(long, text);
        let Err(Unsigned::Unreadable(told)) = Signed::parse(long.as_bytes()).unwrap().unverified() else {
            panic!("a number of a hundred thousand letters was read")
        };
        assert!(told.chars().count() <= TOLD && !told.contains(char::is_control), "{told:?}");
    }

    #[test]
    fn a_signing_key_comes_back_from_its_text() {
        let pair = SigningPair::random().unwrap();
        let read = SigningPair::from_text(&pair.expose_text()).unwrap();
        assert_eq!(read.public(), pair.public());
        assert!(SigningPair::from_text("AAAA").is_none());
    }
}
