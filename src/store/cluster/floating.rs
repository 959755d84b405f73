//! What hosts of a floating relay have in the store beside the network: `holder`, who carries it; `standby/HOST`, that a host is
//! there; `drained/HOST`, that one is to hand over. None of it is signed, and none of it is secret.

use std::time::Duration;

use super::etcd::{Check, Client, EtcdError, KeyValue, KeyWatch, News, Put};
use super::shared::{Shared, unreached};
use crate::model::NodeName;
use crate::store::StoreError;

/// Each member of etcd may take so long: a lease is three seconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// The keys of one relay, and a client of its own.
pub struct FloatingKeys {
    client: Client,
    prefix: String,
}

/// What there is.
pub struct Read {
    /// The store's revision.
    pub revision: i64,
    /// The keys, without what is before their names.
    pub pairs: Vec<KeyValue>,
}

impl Read {
    /// Finds a key.
    pub fn get(&self, name: &str) -> Option<&KeyValue> {
        self.pairs.iter().find(|pair| pair.key == name)
    }

    /// Returns the hosts that have a key below this one, with when it was written.
    pub fn hosts(&self, below: &str) -> impl Iterator<Item = (NodeName, i64)> {
        let named =
            move |pair: &KeyValue| Some((pair.key.strip_prefix(below)?.parse().ok()?, pair.mod_revision));
        self.pairs.iter().filter_map(named)
    }
}

impl FloatingKeys {
    /// Makes a client for a relay of this member's network.
    ///
    /// # Errors
    /// What is needed to ask cannot be read.
    pub fn of(shared: &Shared, relay: &NodeName) -> Result<Self, StoreError> {
        Ok(Self { client: shared.client()?.hasty(PATIENCE), prefix: shared.keys().floating(relay) })
    }

    fn end(&self) -> String {
        // What follows '/' in ASCII.
        format!("{}0", self.prefix.trim_end_matches('/'))
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// The store is not reached.
    pub fn read(&mut self) -> Result<Read, StoreError> {
        let seen = self.client.range(&self.prefix, Some(&self.end())).map_err(|error| unreached(&error))?;
        let own =
            |pair: KeyValue| Some(KeyValue { key: pair.key.strip_prefix(&self.prefix)?.to_owned(), ..pair });
        Ok(Read { revision: seen.revision, pairs: seen.pairs.into_iter().filter_map(own).collect() })
    }

    /// Writes a key in place of what was written to it in that revision. Returns the revision that it has now; `None`: it was
    /// written meanwhile.
    ///
    /// # Errors
    /// The store is not reached, and may have written it all the same.
    pub fn replace(&mut self, name: &str, over: i64, value: &[u8]) -> Result<Option<i64>, EtcdError> {
        let key = format!("{}{name}", self.prefix);
        let check = Check::Written(key.clone(), over);
        let (is_done, revision) = self.client.transact(&[check], &[Put { key, value, lease: 0 }], &[])?;
        Ok(is_done.then_some(revision))
    }

    /// Writes a key, whatever it has.
    ///
    /// # Errors
    /// The store is not reached.
    pub fn put(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let put = Put { key: format!("{}{name}", self.prefix), value, lease: 0 };
        self.client.transact(&[], &[put], &[]).map(drop).map_err(|error| unreached(&error))
    }

    /// Removes a key.
    ///
    /// # Errors
    /// The store is not reached.
    pub fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        let key = format!("{}{name}", self.prefix);
        self.client.transact(&[], &[], &[key]).map(drop).map_err(|error| unreached(&error))
    }

    /// Watches one of them from a revision on.
    ///
    /// # Errors
    /// The store is not reached.
    pub fn watch(&mut self, from: i64) -> Result<KeyWatch, StoreError> {
        let end = self.end();
        self.client.watch_range(&self.prefix, Some(&end), from).map_err(|error| unreached(&error))
    }

    /// Waits for what a watch has to tell.
    pub fn next(&mut self, watch: &mut KeyWatch, within: Duration) -> News {
        self.client.next(watch, within)
    }
}
