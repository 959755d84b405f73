//! A relay that several hosts carry, on one of them: what it is to be while it carries the relay and while another one does, and how
//! it hands over.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::fault::Fault;
use super::hold_as::hold_as;
use super::look::recorded_target;
use super::reconcile::Repair;
use super::session::Session;
use super::target::Target;
use crate::floating::{HOOK_LIMIT, HookCall, Lease, Moved};
use crate::host::agent_process::Runtime;
use crate::host::boot_clock::{pause, since_boot};
use crate::host::runtime::Applied;
use crate::host::{Host, HostError, floating_hook};
use crate::model::{InterfaceName, Network, Node, NodeName, Problem, Timestamp};
use crate::plan::{Backend, Carried, Facts, HostState, Wanted, carried, standing_by, wanted};
use crate::status::FloatingStatus;
use crate::store::cluster::{FloatingKeys, Membership, Place, Shared};
use crate::store::folder::Folder;

/// Computes what this host should be. Of a relay that another host carries nothing is here.
pub(super) fn wanted_here(
    target: &Target,
    applied: Option<&Applied>,
    backend: Backend,
    facts: &Facts,
    now: Timestamp,
) -> Wanted {
    let this = target.this();
    let whole = || wanted(&target.network, this, &target.keys, backend, facts, now);
    match carried(this, facts) {
        None => whole(),
        Some(Ok(carried)) if applied.is_some_and(|applied| applied.carries) => {
            let mut wanted = whole();
            wanted.state.carried = Some(carried);
            wanted
        }
        Some(_) => standing_by(this, facts),
    }
}

/// Says whether a host is to have nothing of a relay that others can carry.
pub(super) fn stands_by(target: &Target, wanted: &HostState) -> bool {
    target.this().floating.is_some() && wanted.device.is_none()
}

fn membership(folder: &Folder) -> Result<Option<Membership>, Fault> {
    Ok(Place::of(folder.path()).membership()?)
}

/// Returns which of a relay's hosts this is; `None`: none of them.
pub(crate) fn host_of(node: &Node, member: Option<&Membership>) -> Option<NodeName> {
    let host = member.filter(|member| member.node == node.name)?.host.clone()?;
    node.hosts.contains(&host).then_some(host)
}

/// Refuses a floating relay where nobody says which host is to carry it, and a host that is none of a relay's.
pub(super) fn refuse_unknown_host(node: &Node, folder: &Folder) -> Result<(), Fault> {
    let member = membership(folder)?;
    let refused = |code: &str, message: String, hint: String| {
        let place = folder.network_path().display().to_string();
        Err(Fault::invalid(vec![Problem::error(code, place, message, hint)]))
    };
    let list = || node.hosts.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
    let named = member.as_ref().and_then(|member| member.host.as_ref());
    match (&node.floating, &member, named) {
        (None, _, Some(host)) => refused(
            "unknown-host",
            format!("this host is {host}, and {} is not carried by several hosts any more", node.name),
            format!("`wgrelay cluster leave` where it is no relay; hosts = [\"{host}\", …] where it is to be one of them"),
        ),
        (None, _, None) => Ok(()),
        (Some(_), None, _) => refused(
            "floating-without-cluster",
            format!("{} is carried by {}, one at a time, and no shared store says which", node.name, list()),
            "`wgrelay cluster create --host HOST` on one of them, `wgrelay cluster join --host HOST` on the others".into(),
        ),
        (Some(_), Some(_), Some(host)) if node.hosts.contains(host) => Ok(()),
        (Some(_), Some(_), host) => refused(
            "unknown-host",
            match host {
                Some(host) => format!("this host is {host}, and {} is carried by {}", node.name, list()),
                None => format!("{} is carried by {}, and this host is none of them", node.name, list()),
            },
            format!("`wgrelay cluster host HOST`, with one of {}", list()),
        ),
    }
}

/// Notes which of a relay's hosts this is.
///
/// # Errors
/// It is no member, or the relay has no such host.
pub fn cluster_host(session: &Session, host: &NodeName) -> Result<NodeName, Fault> {
    let loaded = session.load_network()?;
    let node = session.this_node(&loaded)?;
    let member = membership(&loaded.folder)?.ok_or_else(|| {
        Fault::failed(
            "this host is no member of a cluster",
            "`wgrelay cluster create`, or `wgrelay cluster join`",
        )
    })?;
    known_host(node, host)?;
    let place = Place::of(loaded.folder.path());
    place.set_membership(&Membership { host: Some(host.clone()), ..member })?;
    Ok(node.name.clone())
}

/// Refuses a name that is none of a relay's hosts.
pub(super) fn known_host(node: &Node, host: &NodeName) -> Result<(), Fault> {
    if node.hosts.contains(host) {
        return Ok(());
    }
    let hint = match node.hosts.as_slice() {
        [] => format!("{} has no `hosts`", node.name),
        hosts => format!("there are {}", hosts.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")),
    };
    Err(Fault::usage(format!("{host} is no host of {}", node.name), hint))
}

/// Notes whether this host carries the relay, and makes it so. Returns what it carries; `None`: nothing.
///
/// # Errors
/// The host or the record cannot be read, or the record not written, or what is to be here cannot be.
pub(crate) fn carry<H: Host>(
    session: &Session,
    name: &InterfaceName,
    runtime: &Runtime,
    open: impl FnOnce() -> Result<H, HostError>,
    carries: bool,
) -> Result<Option<Carried>, HostError> {
    let held = hold_as(session, name, runtime, open, |applied| Applied { carries, ..applied })?;
    let Some(Repair { failed, .. }) = held else { return Ok(None) };
    match failed {
        Some(error) => Err(error),
        None => Ok(runtime.read_applied(&session.dir)?.and_then(|applied| applied.state.carried)),
    }
}

/// Returns what this host's own command for a floating address is told; `None`: the relay has none.
pub(crate) fn hook_call(moved: Moved, relay: &Node, folder: &Folder) -> Option<HookCall> {
    Some(HookCall {
        moved,
        address: relay.floating?.addr(),
        network: folder.name().clone(),
        relay: relay.name.clone(),
        host: host_of(relay, membership(folder).ok().flatten().as_ref()),
    })
}

/// Tells that command that the address is given up, where what was applied here had it.
pub(super) fn released(dir: &Path, network: &InterfaceName, applied: &Applied) -> Result<(), HostError> {
    if !applied.carries {
        return Ok(());
    }
    let folder = Folder::new(dir, network);
    let Some(path) = floating_hook::find(folder.path())? else { return Ok(()) };
    let target = recorded_target(dir, &folder, applied)?;
    match hook_call(Moved::Release, target.this(), &folder) {
        Some(call) => floating_hook::run(&path, &call, HOOK_LIMIT, || false),
        None => Ok(()),
    }
}

/// Tells of a floating relay what this host knows without its agent.
pub(super) fn floating_status(node: &Node, folder: &Folder, carries: bool) -> Option<FloatingStatus> {
    let address = node.floating?;
    let host = host_of(node, membership(folder).ok().flatten().as_ref());
    let holder = host.clone().filter(|_| carries);
    Some(FloatingStatus { address, host, holder, since: None, term: None, ready: Vec::new() })
}

/// What `drain HOST` and `undrain HOST` came to.
#[derive(Debug, Serialize)]
pub struct HandedOver {
    /// Always 1.
    pub version: u32,
    /// The host.
    pub host: NodeName,
    /// The relay that it can carry.
    pub relay: NodeName,
    /// Whether it drains now.
    pub drains: bool,
    /// Who carries the relay; `null`: nobody.
    pub holder: Option<NodeName>,
}

/// Finds the relay that a host can carry.
pub(super) fn carried_by<'n>(network: &'n Network, host: &NodeName) -> Option<&'n Node> {
    network.relays().find(|relay| relay.hosts.contains(host))
}

/// Has a host hand its relay over, or take it again where that is needed.
///
/// # Errors
/// This is no member of the cluster, the store is not reached, or no other host takes over; then all is as it was.
pub fn drain_host(
    session: &Session,
    folder: &Folder,
    relay: &Node,
    host: &NodeName,
    drains: bool,
) -> Result<HandedOver, Fault> {
    /// Longer than a host needs that has to wait for a lease.
    const WITHIN: Duration = Duration::from_secs(6);
    let shared = Shared::of(folder)?.ok_or_else(|| {
        Fault::failed(
            "this host is no member of the cluster",
            format!("say it on a relay of {}", folder.name()),
        )
    })?;
    let mut keys = FloatingKeys::of(&shared, &relay.name)?;
    let mark = format!("drained/{host}");
    if drains {
        keys.put(&mark, session.now.0.to_string().as_bytes())?;
    } else {
        keys.remove(&mark)?;
    }
    let began = since_boot()?;
    loop {
        let read = keys.read()?;
        let lease =
            read.get("holder").and_then(|pair| Lease::parse(&pair.value)).filter(|lease| !lease.released);
        let holder = lease.map(|lease| lease.host);
        if !drains || holder.as_ref().is_some_and(|holder| holder != host) {
            return Ok(HandedOver {
                version: 1,
                host: host.clone(),
                relay: relay.name.clone(),
                drains,
                holder,
            });
        }
        if since_boot()?.saturating_sub(began) > WITHIN {
            keys.remove(&mark)?;
            return Err(Fault::failed(
                format!("no other host of {} stands by: {host} goes on", relay.name),
                "`wgrelay status` on another host tells whether it does",
            ));
        }
        pause(Duration::from_millis(20));
    }
}
