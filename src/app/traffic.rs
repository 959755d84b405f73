//! The procedure of `traffic`: what passed between this host and a node, and when the node was there; and how the agent keeps it.

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::session::{Session, find_node};
use crate::model::{Network, NodeName};
use crate::status::{Health, PeerStatus, Status};
use crate::store::StoreError;
use crate::store::folder::Folder;
use crate::store::traffic::{Counted, Look, Traffic, TrafficFile};

/// What is known of a node's traffic, as `traffic --json` prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeTraffic {
    version: u32,
    /// The network.
    pub network: String,
    /// The node.
    pub node: NodeName,
    /// Whether a history is kept of it.
    pub kept: bool,
    /// What there is.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// Tells what passed between this host and a node.
///
/// # Errors
/// There is no such node, or the file cannot be read.
pub fn traffic(session: &Session, name: &NodeName) -> Result<NodeTraffic, Fault> {
    let loaded = session.load_network()?;
    let node = find_node(&loaded.network, name)?;
    let file = if node.history { TrafficFile::open_to_read(&loaded.folder)? } else { None };
    let traffic = file.map(|file| file.of(name, session.now)).transpose()?.unwrap_or_default();
    let network = loaded.folder.name().to_string();
    Ok(NodeTraffic { version: 1, network, node: name.clone(), kept: node.history, traffic })
}

/// Writes down what the counters say now. `device` names the one that counts: one that is made anew has another name; `is_new`: all
/// that it counted is to be counted.
///
/// # Errors
/// The file cannot be written.
pub fn keep_traffic(
    session: &Session,
    folder: &Folder,
    network: &Network,
    status: &Status,
    (device, is_new): (&str, bool),
) -> Result<(), StoreError> {
    let is_kept = |name: &NodeName| network.nodes.get(name).is_some_and(|node| node.history);
    let counted = |peer: &PeerStatus| {
        let node = peer.name.clone().filter(is_kept)?;
        let is_there = matches!(peer.health, Health::Online | Health::Uncertain);
        let began = peer.last_handshake.filter(|_| is_there);
        let (key, session) = (peer.public_key, began.zip(peer.endpoint));
        Some(Counted { node, key, rx: peer.rx_bytes, tx: peer.tx_bytes, session })
    };
    let without = network.nodes.values().filter(|node| !node.history).map(|node| node.name.clone());
    let look = Look {
        at: session.now.0,
        device: device.to_owned(),
        is_new,
        peers: status.peers.iter().filter_map(counted).collect(),
        without: without.collect(),
    };
    TrafficFile::open(folder)?.record(&look)
}
