//! The gateway's JSON: bytes as base64, 64-bit numbers as text, and what is zero left out.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::EtcdError;

/// A key of etcd's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// Its name.
    pub key: String,
    /// What it holds.
    pub value: Vec<u8>,
    /// The store's revision when it was last written.
    pub mod_revision: i64,
}

/// What a range had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The store's revision.
    pub revision: i64,
    /// The keys, sorted.
    pub pairs: Vec<KeyValue>,
}

/// What must hold for a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The key was last written in that revision; 0: it is not there.
    Written(String, i64),
    /// The key is there.
    There(String),
}

/// A key to write.
#[derive(Debug, Clone)]
pub struct Put<'a> {
    /// Its name.
    pub key: String,
    /// What it is to hold.
    pub value: &'a [u8],
    /// The lease that it ends with; 0: none.
    pub lease: i64,
}

impl Check {
    pub(super) fn compare(&self) -> Value {
        match self {
            Self::Written(key, revision) => json!({
                "key": text_of(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision.to_string(),
            }),
            Self::There(key) => {
                json!({ "key": text_of(key), "target": "VERSION", "result": "GREATER", "version": "0" })
            }
        }
    }
}

impl Put<'_> {
    pub(super) fn request(&self) -> Value {
        let mut put = json!({ "key": text_of(&self.key), "value": BASE64_STANDARD.encode(self.value) });
        if self.lease != 0 {
            put["lease"] = self.lease.to_string().into();
        }
        json!({ "request_put": put })
    }
}

pub(super) fn text_of(text: &str) -> Value {
    BASE64_STANDARD.encode(text).into()
}

/// Reads a 64-bit number; one that is not there is zero.
pub(super) fn number(value: &Value) -> i64 {
    value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_i64()).unwrap_or_default()
}

pub(super) fn seen(answer: &Value) -> Result<Seen, EtcdError> {
    let revision = number(&answer["header"]["revision"]);
    if revision == 0 {
        return Err(EtcdError::Refused("this is no answer of etcd's".into()));
    }
    Ok(Seen { revision, pairs: pairs(&answer["kvs"])? })
}

pub(super) fn pairs(list: &Value) -> Result<Vec<KeyValue>, EtcdError> {
    let wrong = || EtcdError::Refused("a key of its answer cannot be read".into());
    let bytes =
        |value: &Value| BASE64_STANDARD.decode(value.as_str().unwrap_or_default()).map_err(|_| wrong());
    let pair = |pair: &Value| {
        Ok(KeyValue {
            key: String::from_utf8(bytes(&pair["key"])?).map_err(|_| wrong())?,
            value: bytes(&pair["value"])?,
            mod_revision: number(&pair["mod_revision"]),
        })
    };
    list.as_array().map(Vec::as_slice).unwrap_or_default().iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_zero_is_left_out() {
        let answer = json!({ "header": {"revision": "7"}, "kvs": [{"key": "YQ==", "mod_revision": "5"}] });
        let read = seen(&answer).unwrap();
        assert_eq!(read.revision, 7);
        assert_eq!(read.pairs, [KeyValue { key: "a".into(), value: vec![], mod_revision: 5 }]);
        assert_eq!(seen(&json!({ "header": {"revision": "7"} })).unwrap().pairs, []);
        assert!(seen(&json!({ "message": "404 page not found" })).is_err());
        assert!(pairs(&json!([{"key": "?"}])).is_err());
    }

    #[test]
    fn a_key_that_is_not_there_was_written_in_revision_0() {
        let check = Check::Written("a".into(), 0).compare();
        assert_eq!(check["target"], "MOD");
        assert_eq!(check["mod_revision"], "0");
    }
}
