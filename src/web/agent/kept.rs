//! Keys that never leave by the page: of whoever is a relay or this host, or was one. The other half may change the network, and so
//! which role a node has; what its key protected until then it protects still.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use crate::app::{Fault, Session, revisions};
use crate::config::Secrets;
use crate::model::{Network, NodeName, PrivateKey, PublicKey};
use crate::store::folder::Folder;
use crate::store::{Contents, Digests, Store as _};

/// The public keys of those that stay, as far as they were seen, and what was read of revisions: each of them is read once.
#[derive(Debug, Default)]
pub struct Kept {
    stay: Mutex<BTreeSet<String>>,
    known: Mutex<Known>,
}

/// What was read of the revisions that are kept.
#[derive(Debug, Default)]
struct Known {
    /// Those that were read, by number and by what their files are.
    read: Vec<(u64, Digests)>,
    /// Each key that a node had in one of them, and the newest in which it had it.
    newest: HashMap<PublicKey, u64>,
}

impl Known {
    /// Reads what was not read yet, and forgets what is not kept any more.
    fn read(&mut self, folder: &Folder, note: impl Fn(&Contents)) -> Result<(), Fault> {
        let list: Vec<(u64, Digests)> =
            folder.history()?.into_iter().map(|revision| (revision.number, revision.files)).collect();
        let first = list.first().map_or(u64::MAX, |(number, _)| *number);
        // Where revisions were counted anew, a number is another one's.
        if self.read.iter().any(|read| read.0 >= first && !list.contains(read)) {
            *self = Self::default();
        }
        self.read.retain(|(number, _)| *number >= first);
        self.newest.retain(|_, number| *number >= first);
        for one in list {
            if self.read.contains(&one) {
                continue;
            }
            // One whose files are not there any more cannot be gone back to, and says nothing.
            let Ok((_, contents)) = folder.revision(one.0) else { continue };
            note(&contents);
            for node in revisions::valid(&contents).iter().flat_map(|network| network.nodes.values()) {
                let newest = self.newest.entry(node.public_key).or_default();
                *newest = one.0.max(*newest);
            }
            self.read.push(one);
        }
        Ok(())
    }
}

impl Kept {
    /// Says whether a revision that is kept has a node with this public key.
    ///
    /// # Errors
    /// The revisions cannot be read, or this is no key.
    pub(super) fn is_known(&self, folder: &Folder, public_key: &str) -> Result<bool, Fault> {
        let key: PublicKey =
            public_key.parse().map_err(|why| Fault::usage(format!("this is no key: {why}"), ""))?;
        let mut known = self.known();
        known.read(folder, |contents| self.note_contents(contents))?;
        Ok(known.newest.contains_key(&key))
    }

    /// Looks who is a relay, or this host, now: before anything is changed. A network that cannot be read has nobody that was told.
    pub fn look(&self, session: &Session) {
        let Ok(loaded) = session.load_network() else { return };
        let this = session.this_node(&loaded).ok().map(|node| node.name.clone());
        let secrets = session.load_secrets_as_they_are(&loaded).unwrap_or_default();
        self.note(&loaded.network, &secrets, this.as_ref());
    }

    /// Refuses a key that is, or was, a relay's or this host's: now, since this process began, or in a revision that is kept.
    ///
    /// # Errors
    /// It stays; or the revisions cannot be read.
    pub fn may_leave(
        &self,
        session: &Session,
        name: &NodeName,
        key: Option<&PrivateKey>,
    ) -> Result<(), Fault> {
        self.look(session);
        self.known().read(&session.folder()?, |contents| self.note_contents(contents))?;
        let is_kept = key.is_some_and(|key| self.held().contains(&key.public_key().to_string()));
        if !is_kept {
            return Ok(());
        }
        Err(Fault::failed(
            format!(
                "the private key of {name} does not leave by this way: it is, or was, a relay's or this host's"
            ),
            format!(
                "`wgrelay export {name}` on the relay itself; with a new key, `wgrelay rotate {name}`, it may"
            ),
        ))
    }

    fn note_contents(&self, contents: &Contents) {
        let Ok(network) = revisions::valid(contents) else { return };
        let secrets = contents.secrets.as_ref().and_then(|bytes| Secrets::parse(bytes, "secrets.toml").value);
        self.note(&network, &secrets.unwrap_or_default(), None);
    }

    fn note(&self, network: &Network, secrets: &Secrets, this: Option<&NodeName>) {
        let mut held = self.held();
        for node in network.nodes.values().filter(|node| node.is_relay() || Some(&node.name) == this) {
            held.insert(node.public_key.to_string());
            held.extend(secrets.private_keys.get(&node.name).map(|key| key.public_key().to_string()));
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.stay.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{KEPT, Note};

    fn key(n: u8) -> String {
        PrivateKey::from_bytes([n; 32]).public_key().to_string()
    }

    /// Writes a network of a relay and a phone with that key, as a revision.
    fn write(folder: &Folder, n: u8) {
        let text = format!(
            "[network]\nname = \"wg0\"\nsubnet = \"10.0.0.0/24\"\n[node.relay]\nrole = \"relay\"\naddress = \"10.0.0.1\"\n\
             endpoint = \"192.0.2.1:51820\"\npublic_key = \"{}\"\n[node.phone]\naddress = \"10.0.0.2\"\npublic_key = \"{}\"\n",
            key(200),
            key(n)
        );
        // As a bundle leaves it: others' keys are not here.
        let bundle = Some(b"{}".to_vec().into());
        let (contents, note) = (
            Contents { bundle, ..Contents::new(text.as_bytes(), Some(b"[private_keys]\n")) },
            Note::default(),
        );
        if !folder.exists() {
            return folder.create(&contents, note).unwrap();
        }
        let turn = folder.turn().unwrap();
        folder.commit(&turn, &contents, &folder.load().unwrap().digests(), note).unwrap();
    }

    #[test]
    fn a_revision_is_read_once_and_what_is_not_kept_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("wg0");
        let folder = Folder::new(dir.path(), &"wg0".parse().unwrap());
        let kept = Kept::default();
        write(&folder, 1);
        write(&folder, 2);
        let known = |n: u8| kept.is_known(&folder, &key(n)).unwrap();
        assert!(known(1) && known(2) && !known(3));
        // What was read is not read again: it may be gone.
        for entry in std::fs::read_dir(own.join(".history")).unwrap().flatten() {
            if entry.file_name() != "index.json" {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        assert!(known(1) && known(2) && !known(3));
        for n in 3..=KEPT as u8 + 1 {
            write(&folder, n);
        }
        assert!(!known(1) && known(2) && known(KEPT as u8 + 1), "the oldest is not kept any more");
        // Counted anew, as by another store.
        std::fs::remove_file(own.join(".history/index.json")).unwrap();
        write(&folder, 100);
        assert!(
            !known(2) && !known(KEPT as u8) && known(KEPT as u8 + 1) && known(100),
            "what was there, and what came"
        );
        assert!(kept.is_known(&folder, "no key").is_err());
    }
}
