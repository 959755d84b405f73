//! The procedures of `cluster`: a network comes into a store, relays join and leave, and how one of them stands.

use std::path::PathBuf;

use serde::Serialize;

use super::bring_up::install_bundle;
use super::fault::Fault;
use super::floating::known_host;
use super::session::Session;
use super::take_down::{TakenDown, take_down};
use crate::config::parse_network;
use crate::host::random;
use crate::model::{InterfaceName, Node, NodeName, SigningKey};
use crate::store::cluster::etcd::{Access, Endpoint};
use crate::store::cluster::{Found, Held, Joined, Membership, Pulled, Shared, underlay};
use crate::store::folder::{Folder, settled};
use crate::store::{Store as _, StoreError};

/// How a store is to be reached, as typed.
#[derive(Debug, Clone, Default)]
pub struct StoreAccess {
    /// etcd's members, with commas between.
    pub etcd: String,
    /// Who signed their certificates.
    pub ca: Option<PathBuf>,
    /// This relay's certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Who signs in.
    pub user: Option<String>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// Which of a relay's `hosts` this is.
    pub host: Option<NodeName>,
}

/// What came of `create`; serialises as the program's JSON.
#[derive(Debug, Serialize)]
pub struct ClusterCreated {
    /// The version of this form: 1.
    pub version: u32,
    /// The network.
    pub network: InterfaceName,
    /// The relay that this host is.
    pub node: NodeName,
    /// The revision that is in the store.
    pub revision: u64,
    /// What this relay signs with.
    pub signing_key: SigningKey,
    /// Whether a store that had lost it has this relay's copy again.
    pub written_back: bool,
    /// The other relays, which may join.
    pub others: Vec<NodeName>,
}

/// What came of `join`; serialises as the program's JSON.
#[derive(Debug, Serialize)]
pub struct ClusterJoined {
    /// The version of this form: 1.
    pub version: u32,
    /// The network.
    pub network: InterfaceName,
    /// The relay that this host is.
    pub node: NodeName,
    /// The revision that is here.
    pub revision: u64,
    /// Whose signature was believed because nothing here said whose to believe; `null`: something did.
    pub believed: Option<NodeName>,
    /// The key of that one.
    pub believed_key: Option<SigningKey>,
}

/// What came of `leave`.
#[derive(Debug)]
pub struct ClusterLeft {
    /// The network.
    pub network: InterfaceName,
    /// The relay that this host is.
    pub node: NodeName,
    /// Why the others were not told; `None`: they were.
    pub untold: Option<StoreError>,
}

/// How this relay stands; serialises as the program's JSON.
#[derive(Debug, Serialize)]
pub struct ClusterStatus {
    /// The version of this form: 1.
    pub version: u32,
    /// The network.
    pub network: InterfaceName,
    /// The relay that this host is.
    pub node: NodeName,
    /// Which cluster; `null`: nothing was taken.
    pub id: Option<String>,
    /// The revision that is here.
    pub revision: Option<u64>,
    /// The revision that the store has; `null`: not known.
    pub store_revision: Option<u64>,
    /// Each member of etcd.
    pub endpoints: Vec<EndpointStatus>,
    /// Since when the store is not reached, in Unix seconds; `null`: it is.
    pub unreachable_since: Option<u64>,
    /// A revision that is not taken; `null`: none.
    pub held: Option<Held>,
    /// A revision that was taken and could not be applied here; `null`: none.
    pub not_applied: Option<Held>,
    /// The relays.
    pub relays: Vec<MemberStatus>,
}

/// How a member of etcd answers.
#[derive(Debug, Serialize)]
pub struct EndpointStatus {
    /// Which one.
    pub endpoint: Endpoint,
    /// Whether it answers with a majority behind it.
    pub reachable: bool,
    /// Why not.
    pub error: Option<String>,
}

/// How a relay takes part.
#[derive(Debug, Serialize)]
pub struct MemberStatus {
    /// Which one.
    pub name: NodeName,
    /// Whether it has joined.
    pub joined: bool,
    /// What it signs with.
    pub signing_key: Option<SigningKey>,
}

impl ClusterStatus {
    /// Says whether this relay has what the store has.
    pub const fn is_well(&self) -> bool {
        self.unreachable_since.is_none() && self.held.is_none() && self.not_applied.is_none()
    }
}

fn access(asked: &StoreAccess) -> Result<Access, Fault> {
    let endpoints =
        Endpoint::list(&asked.etcd).map_err(|e| Fault::usage(e, "with commas between several"))?;
    // An agent starts elsewhere.
    let absolute = |path: &Option<PathBuf>| path.clone().map(settled);
    Ok(Access {
        endpoints,
        ca: absolute(&asked.ca),
        cert: absolute(&asked.cert),
        key: absolute(&asked.key),
        user: asked.user.clone(),
        password_file: absolute(&asked.password_file),
    })
}

/// Puts who this host is and how it reaches the store together; refuses a store inside the tunnel.
fn membership(session: &Session, asked: &StoreAccess) -> Result<Membership, Fault> {
    let loaded = session.load_network()?;
    let node = session.this_node(&loaded)?;
    if !node.is_relay() {
        return Err(Fault::failed(
            format!("{} is no relay, and only relays keep a store", node.name),
            "`wgrelay cluster` is for the relays of a network",
        ));
    }
    let access = access(asked)?;
    for endpoint in &access.endpoints {
        let inside = endpoint.ip().and_then(|ip| underlay::forbidden(&loaded.network, &node.name, ip, None));
        if let Some(why) = inside {
            return Err(Fault::failed(
                format!("{endpoint}: {why}"),
                "where the tunnel is down, the store could not be reached to bring it up",
            ));
        }
    }
    if let Some(host) = &asked.host {
        known_host(node, host)?;
    }
    if node.floating.is_some() && asked.host.is_none() {
        let hosts: Vec<&str> = node.hosts.iter().map(NodeName::as_str).collect();
        return Err(Fault::usage(
            format!("{} is carried by several hosts: which one is this?", node.name),
            format!("say it with --host, and one of {}", hosts.join(", ")),
        ));
    }
    Ok(Membership { node: node.name.clone(), host: asked.host.clone(), access })
}

/// Puts the network into a store.
///
/// # Errors
/// There is one already, it is not reached, or it is inside the tunnel; then this host is no member.
pub fn cluster_create(session: &Session, asked: &StoreAccess) -> Result<ClusterCreated, Fault> {
    let folder = session.folder()?;
    let member = membership(session, asked)?;
    let node = member.node.clone();
    let note = session.note(format!("{node} put the network into a shared store"));
    let Found { revision, signing_key, is_written_back } =
        Shared::create(&folder, member, note, random::private_key)?;
    let network = session.load_from(folder.clone())?.network;
    let others = network.relays().filter(|relay| relay.name != node && relay.sealing_key.is_none());
    let others = others.map(|relay| relay.name.clone()).collect();
    let network = folder.name().clone();
    Ok(ClusterCreated {
        version: 1,
        network,
        node,
        revision,
        signing_key,
        written_back: is_written_back,
        others,
    })
}

/// Makes this host a member.
///
/// # Errors
/// There is no network, it is not believed, or this host is no relay of it; then it is no member.
pub fn cluster_join(
    session: &Session,
    asked: &StoreAccess,
    bundle: Option<&std::path::Path>,
    trust: Option<SigningKey>,
) -> Result<ClusterJoined, Fault> {
    let folder = match bundle {
        Some(file) => install_bundle(session, file)?,
        None => session.folder()?,
    };
    let session = &session.of_network(folder.name());
    let member = membership(session, asked)?;
    let node = member.node.clone();
    let note = session.note(format!("{node} joined the cluster"));
    let Joined { revision, believed_at_first_sight } =
        Shared::join(&folder, member, trust, &note, random::private_key)?;
    let (believed, believed_key) = believed_at_first_sight.unzip();
    Ok(ClusterJoined { version: 1, network: folder.name().clone(), node, revision, believed, believed_key })
}

fn shared(session: &Session) -> Result<Shared, Fault> {
    let folder = session.folder()?;
    Shared::of(&folder)?.ok_or_else(|| {
        Fault::failed(
            format!("the network {} is in its folder here, and in no shared store", folder.name()),
            "`wgrelay cluster create` puts it into one, `wgrelay cluster join` makes this relay a member of one",
        )
    })
}

/// Ends this host's membership; its copy stays.
///
/// # Errors
/// It is none.
pub fn cluster_leave(session: &Session) -> Result<ClusterLeft, Fault> {
    let shared = shared(session)?;
    let node = shared.member().node.clone();
    let untold = shared.leave(session.note(format!("{node} left the cluster")))?;
    Ok(ClusterLeft { network: shared.folder().name().clone(), node, untold })
}

/// Asks the store, and tells how this relay stands with it. What the store has is not taken by this.
///
/// # Errors
/// This host is no member, or what it has of it cannot be read.
pub fn cluster_status(session: &Session) -> Result<ClusterStatus, Fault> {
    let shared = shared(session)?;
    let folder = shared.folder().clone();
    let mut client = shared.client()?;
    let asked = client.each();
    let head = shared.head(&mut client).ok();
    let in_store = head.as_ref().map(|head| head.signed.as_ref().and_then(|s| s.unverified().ok()));
    let trust = shared.place().trust()?;
    let revision = trust.as_ref().map(|trust| trust.number);
    // What nobody has looked at yet is looked at now.
    let behind = head.as_ref().is_some_and(|head| {
        head.signed.as_ref().map(crate::store::cluster::record::Signed::digest)
            != trust.as_ref().map(|t| t.record.clone())
    });
    if behind {
        let _told_in_the_standing = shared.weigh(&mut client);
    }
    let standing = shared.place().standing();
    let text = folder.read_network().unwrap_or_default();
    let network = parse_network(&text, "network.toml").value;
    let relays = network.iter().flat_map(|network| network.nodes.values().filter(|node| node.is_relay()));
    let endpoints = asked.into_iter().map(|(endpoint, answer)| EndpointStatus {
        endpoint,
        reachable: answer.is_ok(),
        error: answer.err().map(|error| error.to_string()),
    });
    Ok(ClusterStatus {
        version: 1,
        network: folder.name().clone(),
        node: shared.member().node.clone(),
        id: trust.map(|trust| trust.id),
        revision,
        store_revision: in_store.map_or(standing.seen, |record| record.map(|record| record.number)),
        endpoints: endpoints.collect(),
        unreachable_since: standing.unreachable_since.map(|at| at.0),
        held: standing.held,
        not_applied: standing.not_applied,
        relays: relays.map(member).collect(),
    })
}

fn member(node: &Node) -> MemberStatus {
    MemberStatus {
        name: node.name.clone(),
        joined: node.sealing_key.is_some(),
        signing_key: node.signing_key,
    }
}

/// What `up` does first on a member: takes what the store has, or shares what was edited here by hand. Where the store is not
/// reached, or has what is not taken, the network that is here is brought up as it is.
///
/// # Errors
/// The file was edited here, and the store does not take that.
pub(super) fn before_up(session: &Session, folder: &Folder) -> Result<(), Fault> {
    let Some(shared) = Shared::of(folder)? else { return Ok(()) };
    if is_edited(&shared)? {
        return share_edit(session, &shared);
    }
    let pulled = {
        let lock = folder.lock()?;
        shared.client().and_then(|mut client| shared.pull(&lock, &mut client, None))
    };
    if let Err(error) = pulled.as_ref().map_err(ToString::to_string) {
        tracing::debug!("goes on with this relay's copy: {error}");
    }
    let network = folder.name().to_string();
    shared
        .place()
        .standing()
        .problems(&network, session.now)
        .iter()
        .for_each(|problem| session.warn(problem));
    Ok(())
}

/// What taking a revision that waited came to.
#[derive(Debug)]
pub enum Accepted {
    /// It is this relay's copy now.
    Taken,
    /// This relay is not in it: the network was taken down here.
    TakenDown(Box<TakenDown>),
}

/// Takes a revision that waits in the store, because somebody says so.
///
/// # Errors
/// The store has another one, or this one is never taken; then nothing was changed.
pub fn accept(session: &Session, revision: u64) -> Result<Accepted, Fault> {
    let shared = shared(session)?;
    let folder = shared.folder().clone();
    let (head, pulled) = {
        let lock = folder.lock()?;
        shared.pull(&lock, &mut shared.client()?, Some(revision))?
    };
    let number = head.signed.as_ref().and_then(|signed| Some(signed.unverified().ok()?.number));
    if number != Some(revision) {
        let has = number.map_or_else(|| "is empty".into(), |number| format!("has revision {number}"));
        return Err(Fault::usage(
            format!("--accept {revision}: the store {has}"),
            "`wgrelay cluster status` tells what waits",
        ));
    }
    match pulled {
        Pulled::Held(held) => Err(Fault::failed(held.message, held.hint)),
        Pulled::Taken { without_this: true, .. } => {
            Ok(Accepted::TakenDown(Box::new(take_down(session, folder.name())?)))
        }
        Pulled::Taken { .. } | Pulled::Same => Ok(Accepted::Taken),
    }
}

/// Says whether network.toml is not what was taken last.
fn is_edited(shared: &Shared) -> Result<bool, Fault> {
    let text = shared.folder().read_network()?;
    Ok(shared.place().taken()?.is_some_and(|taken| taken.text != text))
}

fn share_edit(session: &Session, shared: &Shared) -> Result<(), Fault> {
    let folder = shared.folder();
    // What is wrong with the file is told as `up` tells it.
    session.load_from(folder.clone())?;
    let shown = |error: StoreError| {
        let fault = Fault::from(error);
        let file = folder.network_path();
        let message =
            format!("{} was edited here by hand, and is not shared: {}", file.display(), fault.message);
        Fault { message, ..fault }
    };
    let turn = shared.turn().map_err(shown)?;
    let contents = folder.load()?;
    let note = session.note("edited by hand");
    shared.commit(&turn, &contents, &contents.digests(), note).map_err(shown)?;
    Ok(())
}
