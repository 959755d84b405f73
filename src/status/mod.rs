//! From what was observed to what a person wants to know: who is online, and whether the host is as applied.

mod active_relay;
mod duration;
mod given_site;
mod health;
mod metrics;
mod repairs;
mod rolled_back;
mod send_error;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use active_relay::{ActiveRelay, AttachedSpoke, RelayAnswers, RelayState, drains};
pub use duration::duration;
pub use given_site::GivenSite;
pub use health::{Health, health};
pub use metrics::metrics;
pub use repairs::Repairs;
pub use rolled_back::RolledBack;

use crate::dataplane::DeviceReport;
use crate::model::{Network, Node, NodeName, Problem, PublicKey, Timestamp};
use crate::plan::{Backend, Line};

/// The state of a network on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The interface is there and all that was wanted with it.
    Up,
    /// There is no interface.
    Down,
    /// Up, but a site is missing, something drifted, or a node with sites is away.
    Degraded,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Degraded => "degraded",
        })
    }
}

/// One peer of this host. Times are Unix seconds, ages seconds; unknown is `null`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The node; `None`: a peer on the interface that the network does not know.
    pub name: Option<NodeName>,
    /// Its key.
    pub public_key: PublicKey,
    /// Where it was last heard, or is to be reached.
    pub endpoint: Option<SocketAddr>,
    /// When the last handshake was completed.
    pub last_handshake: Option<u64>,
    /// How long ago that is.
    pub handshake_age: Option<u64>,
    /// What follows from it.
    pub health: Health,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Its AllowedIPs.
    pub allowed_ips: Vec<IpNet>,
    /// Whether this host depends on it: it is a relay, or has sites.
    pub matters: bool,
    /// Whether the session is kept warm and carries nothing: the spoke is attached to another relay.
    #[serde(default)]
    pub standby: bool,
    /// Why this host's kernel refuses to send to its endpoint; `null`: it does not, or nobody can tell.
    #[serde(default)]
    pub send_error: Option<String>,
}

/// A difference between what was applied and what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// Kind, target, what is, what should be.
    #[serde(flatten)]
    pub line: Line,
}

/// How the network stands with the store that it shares with other relays, as this host saw it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// The revision that is here; `null`: none was taken.
    pub revision: Option<u64>,
    /// The newest that the store was seen to have; `null`: it is empty, or was never seen.
    pub store_revision: Option<u64>,
    /// Since when it is not reached; `null`: it is.
    pub unreachable_since: Option<Timestamp>,
    /// The revision that is not taken, or could not be applied; `null`: none. Why is among the problems.
    pub held: Option<u64>,
}

/// What `status` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Always 1.
    pub version: u32,
    /// The network.
    pub network: String,
    /// The node that this host is.
    pub node: Option<NodeName>,
    /// The data plane; `null` while down.
    pub backend: Option<Backend>,
    /// In one word.
    pub state: State,
    /// Peers by name.
    pub peers: Vec<PeerStatus>,
    /// What differs from what was applied.
    pub drift: Vec<Drift>,
    /// What is wrong or pending.
    pub problems: Vec<Problem>,
    /// Seconds until the host goes back to what it was before the last `up --confirm`; `null`: nothing waits.
    #[serde(rename = "goes_back_in")]
    pub rolls_back_in: Option<u64>,
    /// When the last change that nobody confirmed went back, until the next `up` or `down`; `null`: none did.
    #[serde(rename = "went_back_at")]
    pub rolled_back_at: Option<Timestamp>,
    /// How often the agent repaired this host in the last minute; `null`: no agent told.
    #[serde(default)]
    pub repairs_in_a_minute: Option<usize>,
    /// After whose changes, and how often, by the process's name; `unknown`: the kernel does not tell.
    #[serde(default)]
    pub repaired_after: BTreeMap<String, usize>,
    /// How it stands with the store of a cluster; `null`: it is in none.
    #[serde(default)]
    pub store: Option<StoreStatus>,
    /// On a spoke that may use several relays: the one that carries it; `null` elsewhere.
    #[serde(default)]
    pub relay: Option<ActiveRelay>,
    /// On a relay: the spokes of the network that are not at their home relay.
    #[serde(default)]
    pub attached: Vec<AttachedSpoke>,
    /// On a relay: sites that one has given over to another, because they do not answer there.
    #[serde(default)]
    pub given_over: Vec<GivenSite>,
    /// On a relay: whether spokes are asked to leave it.
    #[serde(default)]
    pub drains: bool,
    /// While it drains: the spokes here that can leave, and have not yet.
    #[serde(default)]
    pub to_leave: Vec<NodeName>,
    /// On a relay that several hosts carry: who does; `null` elsewhere.
    #[serde(default)]
    pub floating: Option<FloatingStatus>,
}

/// Who carries a relay that several hosts can carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingStatus {
    /// The address that goes with it.
    pub address: IpNet,
    /// This host.
    pub host: Option<NodeName>,
    /// Who carries it; `null`: nobody, or it is not known.
    pub holder: Option<NodeName>,
    /// Since when, by that host's clock; `null`: not known.
    pub since: Option<Timestamp>,
    /// How often it was taken: it grows each time. `null`: not known.
    pub term: Option<u64>,
    /// Who else is there and could take over.
    pub ready: Vec<NodeName>,
}

impl Status {
    /// Says whether all that matters is as it should be (exit code 0, else 4).
    pub fn is_healthy(&self) -> bool {
        self.state == State::Up
    }
}

/// What a status is made from.
pub struct Inputs<'a> {
    /// The network last applied, else the file's.
    pub network: &'a Network,
    /// The node that this host is.
    pub node: &'a Node,
    /// The data plane in use.
    pub backend: Option<Backend>,
    /// The interface's telemetry; `None`: there is no interface.
    pub report: Option<&'a DeviceReport>,
    /// What would have to change for the host to be as applied.
    pub drift: Vec<Line>,
    /// Whether another host carries this relay: then nothing of it is to be here.
    pub stands_by: bool,
    /// What is known to be wrong, pending or missing.
    pub problems: Vec<Problem>,
    /// How long a change still waits for its confirmation; `None`: none does.
    pub rolls_back_in: Option<Duration>,
    /// The change that went back since the last `up`; `None`: none did.
    pub rolled_back: Option<RolledBack>,
    /// The time of the observation.
    pub now: Timestamp,
}

/// Judges an observation.
pub fn status(inputs: Inputs<'_>) -> Status {
    let Inputs {
        network,
        node,
        backend,
        report,
        drift,
        stands_by,
        mut problems,
        rolls_back_in,
        rolled_back,
        now,
    } = inputs;
    let by_key: HashMap<PublicKey, &Node> = network.nodes.values().map(|n| (n.public_key, n)).collect();
    let judged = |peer| peer_status(network, node, &by_key, peer, now);
    let mut peers: Vec<PeerStatus> = report.into_iter().flat_map(|r| &r.peers).map(judged).collect();
    peers.sort_by(|a, b| (&a.name, a.public_key).cmp(&(&b.name, b.public_key)));
    for peer in &peers {
        match &peer.send_error {
            Some(error) => problems.push(send_error::problem(peer, error)),
            None if peer.matters && peer.health.is_away() => problems.push(away(peer)),
            None => {}
        }
    }
    // A second that has begun still counts: the last one is told as 1.
    let rolls_back_in = rolls_back_in.map(|left| left.as_millis().div_ceil(1000) as u64);
    if !problems.iter().any(|p| p.code == "cannot-go-back") {
        problems.extend(rolls_back_in.map(|left| not_confirmed(network, left)));
    }
    problems.extend(rolled_back.map(|change| change.problem(&network.name, now)));
    let missing = problems.iter().any(|p| p.is_error() || is_degrading(&p.code));
    let stands = problems.iter().any(|p| matches!(p.code.as_str(), "no-record" | "up-elsewhere"));
    let state = match report {
        None if stands || (stands_by && (missing || !drift.is_empty())) => State::Degraded,
        None if stands_by => State::Up,
        None => State::Down,
        Some(_) if missing || !drift.is_empty() => State::Degraded,
        Some(_) => State::Up,
    };
    let drift = drift.into_iter().map(|line| Drift { line }).collect();
    Status {
        version: 1,
        network: network.name.to_string(),
        node: Some(node.name.clone()),
        backend,
        state,
        peers,
        drift,
        problems,
        rolls_back_in,
        rolled_back_at: rolled_back.map(|change| change.at),
        repairs_in_a_minute: None,
        repaired_after: BTreeMap::new(),
        store: None,
        relay: None,
        attached: Vec::new(),
        given_over: Vec::new(),
        drains: false,
        to_leave: Vec::new(),
        floating: None,
    }
}

fn not_confirmed(network: &Network, left: u64) -> Problem {
    let when = if left == 0 { "now".into() } else { format!("in {left} s") };
    Problem::warning(
        "not-confirmed",
        format!("network {}", network.name),
        format!("not confirmed: goes back {when}"),
        "keep it with `wgrelay confirm`",
    )
}

/// Warnings that make a network degraded, as every error does; the rest (a newer file, a name that did not resolve yet) are
/// told only.
fn is_degrading(code: &str) -> bool {
    matches!(
        code,
        "wsl-kernel-deaf"
            | "interface-missing"
            | "overlap"
            | "policy-rule"
            | "peer-away"
            | "send-error"
            | "agent-away"
    )
}

impl PeerStatus {
    fn called(&self) -> String {
        self.name.as_ref().map_or_else(|| self.public_key.to_string(), ToString::to_string)
    }
}

fn away(peer: &PeerStatus) -> Problem {
    let name = peer.called();
    let (message, hint) = match (peer.health, peer.endpoint) {
        (Health::Never, None) => (
            format!("{name} has never been heard"),
            format!("start it there; this side cannot: it knows no endpoint of {name}"),
        ),
        (Health::Never, Some(endpoint)) => (
            format!("{name} has never answered at {endpoint}"),
            "check that the address and the UDP port are right and open, and that both sides have each other's keys".into(),
        ),
        _ => (
            format!("{name} has been silent for {} s", peer.handshake_age.unwrap_or_default()),
            "check that it is running and has a network".into(),
        ),
    };
    Problem::warning("peer-away", format!("peer {name}"), message, hint)
}

fn peer_status(
    network: &Network,
    here: &Node,
    by_key: &HashMap<PublicKey, &Node>,
    peer: &crate::dataplane::PeerReport,
    now: Timestamp,
) -> PeerStatus {
    let node = by_key.get(&peer.public_key).copied();
    let last = peer.last_handshake.map(|t| t.seconds);
    let age = last.map(|t| now.since(Timestamp(t)));
    // The side with the keepalive keeps the session alive: the spoke's own, whichever side looks.
    let spoke = if here.is_relay() { node } else { Some(here) };
    let standby = node.is_some_and(|node| network.stands_by(here, node, now));
    let has_keepalive = peer.keepalive > 0 || spoke.is_some_and(|n| network.keepalive_of(n).is_some());
    PeerStatus {
        name: node.map(|n| n.name.clone()),
        public_key: peer.public_key,
        endpoint: peer.endpoint,
        last_handshake: last,
        handshake_age: age,
        health: health(age, has_keepalive),
        rx_bytes: peer.rx_bytes,
        tx_bytes: peer.tx_bytes,
        allowed_ips: peer.allowed_ips.clone(),
        matters: !standby && node.is_some_and(|n| n.is_relay() || n.has_sites()),
        standby,
        send_error: peer.send_error.map(send_error::words),
    }
}
