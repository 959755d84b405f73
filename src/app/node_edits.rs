//! The edits of nodes, one each for every shell: add, remove, rename, enable, disable, expire, rotate.

use super::fault::Fault;
use super::session::{Loaded, find_node};
use crate::config::{NetworkDocument, Secrets, Setting, SiteWords};
use crate::host::random;
use crate::model::{
    Exhausted, Network, Node, NodeName, Platform, PublicKey, Role, nearest, next_address, next_address6,
};

/// A spoke to add, as typed.
#[derive(Debug, Clone)]
pub struct NewNode {
    /// Its name.
    pub name: NodeName,
    /// What it runs on, by name.
    pub platform: String,
    /// Subnets behind it, as [`SiteWords`] reads them.
    pub sites: Vec<String>,
    /// Its tunnel address; `None`: the lowest free one.
    pub address: Option<std::net::Ipv4Addr>,
    /// Its public key; `None`: a key pair is made.
    pub public_key: Option<PublicKey>,
}

/// Adds a spoke, with its keys, and returns it.
///
/// # Errors
/// The name is taken, no address is free, or something of it is none.
pub fn add_node(
    loaded: &Loaded,
    document: &mut NetworkDocument,
    secrets: &mut Secrets,
    asked: &NewNode,
) -> Result<Node, Fault> {
    if loaded.network.nodes.contains_key(&asked.name) {
        return Err(Fault::failed(
            format!("there is a node {} already", asked.name),
            format!("`wgrelay show {0}` has it; `wgrelay remove {0}` takes it away", asked.name),
        ));
    }
    let node = new_node(&loaded.network, asked, secrets)?;
    document.add_node(&node)?;
    Ok(node)
}

fn new_node(network: &Network, asked: &NewNode, secrets: &mut Secrets) -> Result<Node, Fault> {
    let full = |e: Exhausted| Fault::failed(e, "remove a node, or give the network a larger `subnet`");
    let address = match asked.address {
        Some(a) => a,
        None => next_address(network).map_err(full)?,
    };
    let platform =
        Platform::ALL.iter().find(|(name, _)| *name == asked.platform).map(|(_, p)| *p).ok_or_else(|| {
            let names: Vec<&str> = Platform::ALL.iter().map(|(n, _)| *n).collect();
            let near = nearest(&asked.platform, names.iter().copied());
            let hint =
                near.map_or_else(|| format!("use {}", names.join(", ")), |n| format!("did you mean {n}?"));
            Fault::usage(format!("there is no platform {:?}", asked.platform), hint)
        })?;
    let public_key = match asked.public_key {
        Some(key) => no_secret(key, secrets)?,
        None => {
            let private = random::private_key();
            let public = private.public_key();
            secrets.private_keys.insert(asked.name.clone(), private);
            public
        }
    };
    let mut node = Node::new(asked.name.clone(), Role::Spoke, address, public_key);
    node.platform = platform;
    node.address6 = next_address6(network, address).transpose().map_err(full)?;
    let sites = SiteWords::read(&asked.sites)?;
    node.sites = sites.iter().map(SiteWords::site).collect::<Result<_, _>>()?;
    if network.preshared_keys {
        for relay in network.relays() {
            let keys = secrets.preshared_keys.entry(relay.name.clone()).or_default();
            keys.insert(asked.name.clone(), random::preshared_key());
        }
    }
    Ok(node)
}

/// Refuses a public key that is a secret of this network: it would be shown to whoever reads the network.
fn no_secret(key: PublicKey, secrets: &Secrets) -> Result<PublicKey, Fault> {
    if secrets.hold(key.as_bytes()) {
        return Err(Fault::usage(
            "--public-key was given a private or preshared key of this network",
            "`wgrelay pubkey` computes the public key of a private one",
        ));
    }
    Ok(key)
}

/// Removes a node and its keys.
///
/// # Errors
/// There is none, it is the only relay, or rules name it.
pub fn remove_node(
    loaded: &Loaded,
    document: &mut NetworkDocument,
    secrets: &mut Secrets,
    name: &NodeName,
) -> Result<(), Fault> {
    let node = find_node(&loaded.network, name)?;
    if node.is_relay() && loaded.network.relays().count() == 1 {
        return Err(Fault::failed(
            format!("{name} is the relay, and a network needs one"),
            "edit the file where the relay is to be another one",
        ));
    }
    document.remove_node(name)?;
    secrets.remove(name);
    Ok(())
}

/// Gives a node another name, also where rules name it.
///
/// # Errors
/// There is none, or the new name is taken.
pub fn rename_node(
    loaded: &Loaded,
    document: &mut NetworkDocument,
    secrets: &mut Secrets,
    old: &NodeName,
    new: &NodeName,
) -> Result<(), Fault> {
    find_node(&loaded.network, old)?;
    document.rename_node(old, new)?;
    secrets.rename(old, new);
    Ok(())
}

/// Enables or disables a node; says whether that changes anything.
///
/// # Errors
/// There is none.
pub fn enable_node(
    loaded: &Loaded,
    document: &mut NetworkDocument,
    name: &NodeName,
    enabled: bool,
) -> Result<bool, Fault> {
    let node = find_node(&loaded.network, name)?;
    if node.enabled == enabled {
        return Ok(false);
    }
    document.set_enabled(name, enabled)?;
    Ok(true)
}

/// Sets when a node stops to take part, as RFC 3339; `None`: never.
///
/// # Errors
/// There is none.
pub fn expire_node(
    loaded: &Loaded,
    document: &mut NetworkDocument,
    name: &NodeName,
    at: Option<&str>,
) -> Result<(), Fault> {
    find_node(&loaded.network, name)?;
    let at = at.map(|text| Setting::Text(text.to_owned()));
    document.set_value(name, "expires", at.as_ref())?;
    Ok(())
}

/// Gives a node a new key pair, and new preshared keys with its peers. Returns who has to be exported again.
///
/// # Errors
/// There is none, or its private key is not here.
pub fn rotate_node<'n>(
    loaded: &'n Loaded,
    document: &mut NetworkDocument,
    secrets: &mut Secrets,
    name: &NodeName,
    public_key: Option<PublicKey>,
) -> Result<Vec<&'n Node>, Fault> {
    let node = find_node(&loaded.network, name)?;
    if let [one, ..] = node.hosts.as_slice() {
        return Err(Fault::failed(
            format!("{name} is carried by several hosts, and a new private key would be on this one alone"),
            format!(
                "`wgrelay cluster leave` on all of them but {one}, hosts and floating out of the file, and then anew"
            ),
        ));
    }
    let public_key = match public_key {
        Some(key) => {
            let key = no_secret(key, secrets)?;
            secrets.private_keys.remove(&node.name);
            key
        }
        // A node that keeps its private key to itself has to make the new one itself, too.
        None if !secrets.private_keys.contains_key(&node.name) => {
            return Err(Fault::failed(
                format!("the private key of {} is not here, so a new one would never get there", node.name),
                "make one on that node with `wgrelay genkey`, and give its public key with --public-key",
            ));
        }
        None => {
            let private = random::private_key();
            let public = private.public_key();
            secrets.private_keys.insert(node.name.clone(), private);
            public
        }
    };
    document.set_public_key(&node.name, &public_key)?;
    if loaded.network.preshared_keys {
        for other in peers(&loaded.network, node) {
            let (relay, spoke) = if node.is_relay() { (node, other) } else { (other, node) };
            secrets.set_preshared_key(&relay.name, &spoke.name, random::preshared_key());
        }
    }
    Ok(if node.is_relay() { peers(&loaded.network, node) } else { vec![node] })
}

/// What was rotated of what relays know of others.
#[derive(Debug)]
pub struct RotatedShared<'n> {
    /// How many nodes have a new key pair.
    pub pairs: usize,
    /// How many preshared keys are new.
    pub preshared: usize,
    /// Who made its private key itself, and keeps it.
    pub kept: Vec<&'n NodeName>,
    /// Who has to be exported again.
    pub to_export: Vec<&'n Node>,
}

impl RotatedShared<'_> {
    /// Says it in words.
    pub fn said(&self) -> String {
        format!("all that relays know of others: {} key pairs, {} preshared keys", self.pairs, self.preshared)
    }
}

/// Gives every spoke whose private key is kept here a new key pair, and every pair a new preshared key: what a relay that was stolen
/// knew of others opens nothing any more. Relays keep their own keys, which nobody else knows.
///
/// # Errors
/// The text cannot be edited.
pub fn rotate_shared<'n>(
    loaded: &'n Loaded,
    document: &mut NetworkDocument,
    secrets: &mut Secrets,
) -> Result<RotatedShared<'n>, Fault> {
    let network = &loaded.network;
    let mut done = RotatedShared { pairs: 0, preshared: 0, kept: Vec::new(), to_export: Vec::new() };
    for node in network.nodes.values().filter(|node| !node.is_relay()) {
        if secrets.private_keys.contains_key(&node.name) {
            let private = random::private_key();
            document.set_public_key(&node.name, &private.public_key())?;
            secrets.private_keys.insert(node.name.clone(), private);
            done.pairs += 1;
        } else {
            done.kept.push(&node.name);
        }
        done.to_export.push(node);
    }
    if network.preshared_keys {
        for (relay, other) in network.key_pairs() {
            secrets.set_preshared_key(&relay.name, &other.name, random::preshared_key());
            done.preshared += 1;
        }
    }
    Ok(done)
}

/// The nodes that a node shares keys with: of every pair one is a relay.
fn peers<'n>(network: &'n Network, node: &Node) -> Vec<&'n Node> {
    network
        .nodes
        .values()
        .filter(|other| other.name != node.name && (other.is_relay() || node.is_relay()))
        .collect()
}
