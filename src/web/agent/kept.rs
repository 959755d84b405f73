//! Keys that never leave by the page: of whoever is a relay or this host, or was one. The other half may change the network, and so
//! which role a node has; what its key protected until then it protects still.

use std::collections::BTreeSet;
use std::sync::Mutex;

use crate::app::{Fault, Session, revisions};
use crate::config::Secrets;
use crate::model::{Network, NodeName, PrivateKey};
use crate::store::folder::Folder;
use crate::store::{Contents, Store as _};

/// The public keys of those that stay, as far as they were seen.
#[derive(Debug, Default)]
pub struct Kept(Mutex<BTreeSet<String>>);

/// Says whether a revision that is kept has a node with this public key.
///
/// # Errors
/// The revisions cannot be read.
pub(super) fn is_known(folder: &Folder, public_key: &str) -> Result<bool, Fault> {
    for revision in folder.history()? {
        // One whose files are not there any more cannot be gone back to.
        let Ok((_, contents)) = folder.revision(revision.number) else { continue };
        let Ok(network) = revisions::valid(&contents) else { continue };
        if network.nodes.values().any(|node| node.public_key.to_string() == public_key) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Kept {
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
        let folder = session.folder()?;
        for revision in folder.history()? {
            // One whose files are not there any more says nothing.
            if let Ok((_, contents)) = folder.revision(revision.number) {
                self.note_contents(&contents);
            }
        }
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
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
