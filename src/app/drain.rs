//! The procedures of `drain` and `undrain`: ask the agent, and tell where spokes went.

use std::collections::BTreeMap;

use serde::Serialize;

use super::fault::Fault;
use super::floating::{HandedOver, carried_by, drain_host};
use super::session::{Session, find_node};
use super::this_host::name_of_what_is_up;
use crate::config::reread_network;
use crate::host::agent_process::Runtime;
use crate::host::runtime::Applied;
use crate::host::wireguard::embedded::ask_to_drain;
use crate::model::{Network, NodeName};

/// What became of a relay's spokes.
#[derive(Debug, Serialize)]
pub struct Drained {
    /// Always 1.
    pub version: u32,
    /// The relay.
    pub relay: NodeName,
    /// Whether it drains now.
    pub drains: bool,
    /// Who left it, and for which relay.
    pub went: Vec<Went>,
    /// Who is there still.
    pub stay: Vec<NodeName>,
}

/// A spoke that went over.
#[derive(Debug, Serialize)]
pub struct Went {
    /// The spoke.
    pub node: NodeName,
    /// Where it is now.
    pub relay: NodeName,
}

/// What became of what was asked for.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum DrainOutcome {
    /// Spokes left a relay, or may come again.
    Relay(Drained),
    /// A host handed its relay over, or may carry it again.
    Host(HandedOver),
}

/// Has spokes leave a relay, or a host hand its relay over; or has them carry again.
///
/// # Errors
/// Nothing is up here, this host is no relay, there is no such relay or host, or it does not answer.
pub fn drain(session: &Session, named: &NodeName, drains: bool) -> Result<DrainOutcome, Fault> {
    if let Ok(loaded) = session.load_network()
        && let Some(relay) = carried_by(&loaded.network, named)
    {
        return drain_host(session, &loaded.folder, relay, named, drains).map(DrainOutcome::Host);
    }
    drain_relay(session, named, drains).map(DrainOutcome::Relay)
}

fn drain_relay(session: &Session, relay: &NodeName, drains: bool) -> Result<Drained, Fault> {
    let name = name_of_what_is_up(session)?;
    let runtime = Runtime::here(&name)?;
    let before = read(session, &runtime)?;
    if !before.network.nodes[&before.this].is_relay() {
        return Err(Fault::failed(
            format!("this host is {}, and no relay of {name}", before.this),
            format!("say it on {relay}, or on another relay"),
        ));
    }
    if !find_node(&before.network, relay)?.is_relay() {
        return Err(Fault::usage(format!("{relay} is no relay"), "spokes leave a relay, and nothing else"));
    }
    if drains && (!before.network.failover || before.network.relays().nth(1).is_none()) {
        return Err(Fault::failed(
            format!(
                "no spoke of {name} can leave {relay}: there is no other relay, or failover = false in network.toml"
            ),
            "packets pass as before",
        ));
    }
    ask_to_drain(&runtime, relay, drains)?;
    let after = read(session, &runtime)?;
    let at = |found: &Found| -> BTreeMap<NodeName, NodeName> {
        let active = found.network.spokes().filter(|spoke| spoke.is_active(session.now));
        let placed = active.filter_map(|spoke| {
            Some((spoke.name.clone(), found.network.home_of(spoke, session.now)?.name.clone()))
        });
        placed.collect()
    };
    let (was, is) = (at(&before), at(&after));
    let left = was.iter().filter(|(_, at)| drains && *at == relay).filter_map(|(spoke, _)| {
        let now = is.get(spoke).filter(|now| *now != relay)?;
        Some(Went { node: spoke.clone(), relay: now.clone() })
    });
    let stay = is.iter().filter(|(_, at)| drains && *at == relay).map(|(spoke, _)| spoke.clone());
    Ok(Drained { version: 1, relay: relay.clone(), drains, went: left.collect(), stay: stay.collect() })
}

struct Found {
    network: Network,
    this: NodeName,
}

/// Reads the network that is applied, with spokes where they are.
fn read(session: &Session, runtime: &Runtime) -> Result<Found, Fault> {
    let nothing = || Fault::failed("nothing is up here", "`wgrelay up` brings it up");
    let applied: Applied = runtime.read_applied(&session.dir)?.ok_or_else(nothing)?;
    let mut network = reread_network(&applied.configuration.network_text).ok_or_else(nothing)?;
    network.attach(&applied.attached);
    let this = applied.configuration.node;
    if !network.nodes.contains_key(&this) {
        return Err(nothing());
    }
    Ok(Found { network, this })
}
