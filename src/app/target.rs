//! What is to be applied: a network, the node that this host is, and that node's secrets.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Secrets;
use crate::host::runtime::Applied;
use crate::model::{EndpointHost, Network, Node, NodeName, Problem, Timestamp};
use crate::plan::{HostState, Keys, Missing};
use crate::store::folder::Folder;

/// A network, a node of it, and where they come from. A clone is cheap.
#[derive(Debug, Clone)]
pub struct Target {
    /// The folder that holds the folders of networks.
    pub dir: PathBuf,
    /// The network.
    pub network: Arc<Network>,
    /// The text that it was read from.
    pub text: Arc<str>,
    /// The node that this host is.
    pub node: NodeName,
    /// That node's secrets.
    pub keys: Arc<Keys>,
    /// Whether the secrets may be newer than the network: keys that a device has stay as they are then.
    pub keys_may_be_newer: bool,
    /// Why there are no keys, where the secrets cannot be read.
    pub unread: Option<Arc<Problem>>,
}

impl Target {
    /// Puts a target together; `None`: the network has no such node.
    pub fn new(
        dir: PathBuf,
        network: impl Into<Arc<Network>>,
        text: impl Into<Arc<str>>,
        node: &NodeName,
        secrets: &Secrets,
    ) -> Option<Self> {
        let network = network.into();
        let this = network.nodes.get(node)?;
        let keys = Arc::new(keys(&network, this, secrets));
        let (text, node) = (text.into(), node.clone());
        Some(Self { dir, text, node, keys, network, keys_may_be_newer: false, unread: None })
    }

    /// Returns the node that this host is.
    pub fn this(&self) -> &Node {
        // `new` found it, and nobody takes it out again.
        &self.network.nodes[&self.node]
    }

    /// Returns it with the spokes where they were last known to be, and the sites with who carries them now.
    pub fn with_attached(&self, applied: Option<&Applied>) -> Cow<'_, Self> {
        let moves = |applied: &&Applied| !applied.attached.is_empty() || !applied.given_over.is_empty();
        let Some(applied) = applied.filter(moves) else { return Cow::Borrowed(self) };
        let mut network = Network::clone(&self.network);
        network.attach(&applied.attached);
        if !applied.given_over.is_empty() {
            network.give_over(&applied.given_over, |node| node.enabled);
        }
        Cow::Owned(Self { network: Arc::new(network), ..self.clone() })
    }

    /// Says whether the folder has a newer network than the one that was applied, which waits for `up`.
    #[must_use]
    pub fn pending_in(self, folder: &Folder, applied: &Applied) -> Self {
        let is_pending =
            folder.read_network().is_ok_and(|bytes| bytes != applied.configuration.network_text.as_bytes());
        Self { keys_may_be_newer: is_pending, ..self }
    }

    /// Says what the network asks for and the secrets do not have. Nothing is said of those that may belong to a newer network.
    pub fn missing(&self, now: Timestamp) -> Missing {
        let file = Folder::new(&self.dir, &self.network.name).secrets_path();
        let mut missing = self.keys.missing(&self.network, self.this(), now, &file.display().to_string());
        match &self.unread {
            Some(why) => missing.problems = vec![Problem::clone(why)],
            None if self.keys_may_be_newer => missing.problems.clear(),
            None => {}
        }
        missing
    }

    /// Leaves the keys of a device alone where those of the target may belong to a newer network (`rotate` without `up`), or
    /// are not there. A preshared key that somebody took off a peer comes back all the same.
    pub fn keep_keys(&self, wanted: &mut HostState, observed: &HostState, missing: &Missing) {
        missing.keep(wanted, observed);
        let (true, Some(wanted), Some(observed)) =
            (self.keys_may_be_newer, &mut wanted.device, &observed.device)
        else {
            return;
        };
        wanted.private_key = None;
        for (key, peer) in &mut wanted.peers {
            if let Some(there) = observed.peers.get(key).filter(|there| there.preshared_key.is_some()) {
                peer.preshared_key.clone_from(&there.preshared_key);
            }
        }
    }

    /// Returns the names that have to be resolved: endpoints of the peers.
    pub fn names(&self) -> BTreeSet<String> {
        let peers = self.network.nodes.values().filter(|n| n.name != self.node);
        peers
            .filter_map(|n| match &self.this().calls(n)?.host {
                EndpointHost::Name(name) => Some(name.clone()),
                EndpointHost::Ip(_) => None,
            })
            .collect()
    }
}

fn keys(network: &Network, node: &Node, secrets: &Secrets) -> Keys {
    let others = network.nodes.values().filter(|n| n.name != node.name && (n.is_relay() || node.is_relay()));
    let preshared_keys = others
        .filter_map(|other| {
            let (relay, spoke) = if node.is_relay() { (node, other) } else { (other, node) };
            Some((other.name.clone(), secrets.preshared_key(&relay.name, &spoke.name)?.clone()))
        })
        .collect();
    Keys { private_key: secrets.private_keys.get(&node.name).cloned(), preshared_keys }
}
