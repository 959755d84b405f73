//! The procedure of `status`: who is online, and whether the host is as it was applied.

use super::backend::{host, standing};
use super::commit_confirm::look_after;
use super::fault::Fault;
use super::floating::floating_status;
use super::follow::{not_followed, standing_of};
use super::look::look;
use super::other_dir;
use super::preflight::keeps_down;
use super::session::Session;
use super::target_cache::TargetCache;
use crate::host::agent_process::Runtime;
use crate::host::boot_clock::since_boot;
use crate::host::wireguard::embedded::ask_status;
use crate::host::{HostError, LinuxHost, rolled_back};
use crate::model::{InterfaceName, Problem};
use crate::status::{
    ActiveRelay, AttachedSpoke, GivenSite, Inputs, State, Status, StoreStatus, drains, status as judge,
};
use crate::store::cluster::Place;
use crate::store::folder::Folder;

/// What is known of a network on this host.
#[derive(Debug)]
pub enum Answer {
    /// The agent's answer, as the JSON that it made.
    Told {
        /// A [`Status`].
        json: Vec<u8>,
        /// What it says.
        state: State,
    },
    /// A look at the host. `kept_down`: what its problems say keeps the network from coming up.
    Seen {
        /// What was seen.
        status: Box<Status>,
        /// Whether something keeps it down.
        kept_down: bool,
    },
}

/// Asks the agent, or looks at the host, once a change on trial that nobody waits for was seen to. `as_json`: the agent's JSON will do.
///
/// # Errors
/// The host, or the network, cannot be read.
pub fn status(session: &Session, as_json: bool) -> Result<Answer, Fault> {
    let name = network_name(session)?;
    is_this_node(session, &name)?;
    look_after(session, &name)?;
    let told = ask_status(&Runtime::here(&name)?, &session.dir);
    let told = match told {
        Some((json, state)) if as_json && state != State::Down => return Ok(Answer::Told { json, state }),
        other => other,
    };
    let mut status = understood(session, &name, told)?;
    let mut kept_down = Vec::new();
    if status.state == State::Down {
        kept_down = keeps_down(session, &name);
        kept_down.retain(|problem| !status.problems.contains(problem));
        status.problems.extend(kept_down.iter().cloned());
    }
    Ok(Answer::Seen { status: Box::new(status), kept_down: !kept_down.is_empty() })
}

/// Looks again, for a picture that is drawn again and again.
///
/// # Errors
/// The host, or the network, cannot be read.
pub fn status_again(session: &Session) -> Result<Status, Fault> {
    seen(session, &network_name(session)?)
}

/// Refuses where the status of this host is not what was asked for.
///
/// # Errors
/// Another node is asked for than the one that this host was brought up as.
pub fn status_is_of_this_node(session: &Session) -> Result<(), Fault> {
    is_this_node(session, &network_name(session)?)
}

fn cannot_go_back(name: &InterfaceName, why: &str) -> Problem {
    Problem::error(
        "cannot-go-back",
        format!("network {name}"),
        format!("the change was not confirmed, and cannot go back: {why}"),
        "make that right: it is tried again every few seconds; `wgrelay down` takes all of it away",
    )
}

/// The network that is meant.
fn network_name(session: &Session) -> Result<InterfaceName, Fault> {
    match session.network_name()? {
        Some(name) => Ok(name),
        None => Ok(session.folder()?.name().clone()),
    }
}

/// Refuses where another node is asked for than the one that this host was brought up as: its peers are not here.
fn is_this_node(session: &Session, name: &InterfaceName) -> Result<(), Fault> {
    let Some(asked) = session.node_as_typed() else { return Ok(()) };
    match Runtime::here(name)?.read_applied(&session.dir)? {
        Some(applied) if applied.configuration.node != *asked => Err(Fault::usage(
            format!("this host was brought up as {}, and is not {asked}", applied.configuration.node),
            format!(
                "leave --node out for this host; `wgrelay --node {} show {asked}` tells of {asked}",
                applied.configuration.node
            ),
        )),
        _ => Ok(()),
    }
}

/// Takes the agent's word, which has the network in mind, or looks at the host.
pub(super) fn seen(session: &Session, name: &InterfaceName) -> Result<Status, Fault> {
    understood(session, name, ask_status(&Runtime::here(name)?, &session.dir))
}

fn understood(
    session: &Session,
    name: &InterfaceName,
    told: Option<(Vec<u8>, State)>,
) -> Result<Status, Fault> {
    told.and_then(|(json, _)| serde_json::from_slice(&json).ok()).map_or_else(|| read(session, name), Ok)
}

/// Looks at the host, or says what the file alone tells.
fn read(session: &Session, name: &InterfaceName) -> Result<Status, Fault> {
    let runtime = Runtime::here(name)?;
    read_status(session, name, &runtime, &TargetCache::default(), || host(&runtime, &[]))
}

/// The same in a process that looks again and again.
pub(crate) fn read_status(
    session: &Session,
    name: &InterfaceName,
    runtime: &Runtime,
    cache: &TargetCache,
    open: impl FnOnce() -> Result<LinuxHost, HostError> + Send,
) -> Result<Status, Fault> {
    let mut status = read_of_host(session, name, runtime, cache, open)?;
    let folder = Folder::new(&session.dir, name);
    if let Some(standing) = standing_of(&folder) {
        status.problems.extend(standing.problems(name.as_str(), session.now));
        if status.state != State::Down && runtime.agent_pid().is_none() {
            status.problems.push(not_followed(&folder));
        }
        let held = standing.held.as_ref().or(standing.not_applied.as_ref());
        status.store = Some(StoreStatus {
            revision: Place::of(folder.path()).trust()?.map(|trust| trust.number),
            store_revision: standing.seen,
            unreachable_since: standing.unreachable_since,
            held: held.map(|held| held.revision),
        });
    }
    Ok(status)
}

fn read_of_host(
    session: &Session,
    name: &InterfaceName,
    runtime: &Runtime,
    cache: &TargetCache,
    open: impl FnOnce() -> Result<LinuxHost, HostError> + Send,
) -> Result<Status, Fault> {
    if let Some(mut seen) = look(&session.dir, name, runtime, session.now, cache, open)? {
        let rolls_back_in = match runtime.unconfirmed(&session.dir)? {
            Some(pending) => Some(pending.left(since_boot()?)),
            None => None,
        };
        seen.problems.extend(cache.broken_promises(&seen.network, session.now));
        let is_over = rolls_back_in.is_some_and(|left| left.is_zero());
        seen.problems
            .extend(runtime.waiter_words().filter(|_| is_over).map(|why| cannot_go_back(name, &why)));
        let node = &seen.network.nodes[&seen.node];
        let attached = &seen.applied.attached;
        let relay = ActiveRelay::of(&seen.network, node, attached, session.now);
        seen.problems.extend(relay.as_ref().and_then(ActiveRelay::problem));
        seen.problems.extend(seen.applied.drains.then(|| drains(&seen.node)));
        let attached = if node.is_relay() {
            AttachedSpoke::all(&seen.network, attached, session.now)
        } else {
            Vec::new()
        };
        let given_over = GivenSite::all(&seen.network, &seen.applied.given_over, session.now);
        let judged = judge(Inputs {
            network: &seen.network,
            node,
            backend: seen.backend,
            report: seen.report.as_ref(),
            drift: seen.drift,
            stands_by: node.floating.is_some() && !seen.applied.carries,
            problems: seen.problems,
            rolls_back_in,
            rolled_back: rolled_back::read(&Folder::new(&session.dir, name)),
            now: session.now,
        });
        let floating = floating_status(node, &Folder::new(&session.dir, name), seen.applied.carries);
        return Ok(Status { relay, attached, given_over, drains: seen.applied.drains, floating, ..judged });
    }
    // Never applied since this host started: the file tells what would be.
    let loaded = session.load_from(Folder::new(&session.dir, name))?;
    let node = session.this_node(&loaded)?;
    // A kernel that lists no links has no interface of ours either.
    let backend = standing(name).ok().flatten();
    let other_dir = runtime.applied_from_other_dir(&session.dir)?;
    let unrecorded = backend.map(|_| match other_dir {
        Some(dir) => other_dir::problem(session, name, &dir),
        None => no_record(name),
    });
    Ok(judge(Inputs {
        network: &loaded.network,
        node,
        backend,
        report: None,
        drift: Vec::new(),
        stands_by: false,
        problems: unrecorded.into_iter().collect(),
        rolls_back_in: None,
        rolled_back: rolled_back::read(&loaded.folder),
        now: session.now,
    }))
}

fn no_record(name: &InterfaceName) -> Problem {
    Problem::warning(
        "no-record",
        format!("interface {name}"),
        format!(
            "the interface {name} stands, and the record of what was applied is missing: who is online is not told"
        ),
        "run `wgrelay up` again",
    )
}
