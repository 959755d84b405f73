//! What the agent of a cluster's relay does beside its repairs: takes what the store has, and applies what was taken. It neither
//! shares what was edited here by hand nor takes what waits.

use super::fault::Fault;
use super::preflight::promises;
use super::session::Session;
use super::this_host::target;
use super::up::up;
use crate::host::agent_process::Runtime;
use crate::host::boot_config;
use crate::host::configuration::Configuration;
use crate::host::{HostError, LinuxHost};
use crate::model::Problem;
use crate::store::cluster::{Held, Place, Shared, Standing};
use crate::store::folder::Folder;

/// What applying came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Followed {
    /// The network is not up here, or a change of it waits for its confirmation.
    NotNow,
    /// The host is as the copy says; how many changes that took.
    Applied(usize),
}

/// Makes this host as its copy of the network says. `open` opens the machine.
///
/// # Errors
/// It was refused, or failed and was undone; the host is held to what was applied before.
pub(crate) fn apply_copy(
    session: &Session,
    folder: &Folder,
    runtime: &Runtime,
    open: impl FnOnce() -> Result<LinuxHost, HostError>,
) -> Result<Followed, Fault> {
    let on_host = runtime.lock_to_apply()?;
    let applied = runtime.read_applied(&session.dir)?;
    let Some(applied) = applied.filter(|applied| !applied.configuration.network_text.is_empty()) else {
        return Ok(Followed::NotNow);
    };
    if runtime.unconfirmed(&session.dir)?.is_some() {
        return Ok(Followed::NotNow);
    }
    let target = {
        let _read = folder.lock_to_apply()?;
        let loaded = session.load_from(folder.clone())?;
        promises(session, &loaded, false)?;
        target(session, &loaded)?
    };
    let backend = applied.configuration.backend;
    let before = boot_config::kept(folder);
    let configuration =
        Configuration { node: target.node.clone(), backend, network_text: target.text.to_string() };
    boot_config::write(&configuration, folder)?;
    let mut host = open()?;
    match up(&mut host, &target, runtime, backend, session.now, &on_host) {
        Ok(done) => Ok(Followed::Applied(done.plan.changes.len())),
        Err(refusal) => {
            let fault = Fault::from(refusal);
            boot_config::put_back(before.as_deref(), folder)?;
            Err(fault)
        }
    }
}

/// Keeps for `status` whether a revision that was taken could be applied here.
pub(crate) fn note_applied(shared: &Shared, session: &Session, revision: u64, failed: Option<&Fault>) {
    let standing = shared.place().standing();
    let not_applied = failed.map(|fault| {
        let first = fault.problems.iter().find(|problem| problem.is_error());
        let why = first.map_or_else(|| fault.sentence(), |problem| problem.message.clone());
        let known = standing.not_applied.as_ref().filter(|old| old.revision == revision);
        Held {
            revision,
            code: "not-applied".into(),
            message: format!(
                "revision {revision} of the store is here, and cannot be applied to this host: {why}"
            ),
            hint: "the host is held to what was applied before; `wgrelay plan` tells all of it".into(),
            since: known.map_or(session.now, |old| old.since),
        }
    });
    if let Err(error) = shared.place().set_standing(&Standing { not_applied, ..standing }) {
        tracing::warn!("{error}");
    }
}

/// Tells how a network stands with its store, as it was last seen; nothing where it has none.
pub(super) fn standing_of(folder: &Folder) -> Option<Standing> {
    let place = Place::of(folder.path());
    place.is_member().then(|| place.standing())
}

/// Tells that nobody follows the store here.
pub(super) fn not_followed(folder: &Folder) -> Problem {
    Problem::warning(
        "not-followed",
        format!("network {}", folder.name()),
        "the network is in a shared store, and no agent follows it here: what others change is taken by the next `up`",
        "`wgrelay service install`, or `wgrelay run`",
    )
}
