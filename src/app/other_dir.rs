//! A network that is up here from another folder than the one that is meant: two folders may hold a network of one name,
//! and the interface of that name belongs to one of them.

use std::path::{Path, PathBuf};

use super::fault::Fault;
use super::session::Session;
use crate::host::agent_process::Runtime;
use crate::model::{InterfaceName, Problem, quoted};

/// Refuses where a network of this name is up from another folder.
pub(crate) fn refuse(session: &Session, name: &InterfaceName, runtime: &Runtime) -> Result<(), Fault> {
    match runtime.applied_from_other_dir(&session.dir)? {
        None => Ok(()),
        Some(dir) => Err(Fault::failed(
            format!("{}; nothing was changed", told(name, &dir, &session.dir)),
            format!("{} first, where this one is to take its place", command(&dir, name, "down")),
        )),
    }
}

/// Returns the folder whose network is to be taken down: the one that it is up from, where none was named. Where another was
/// named, it is somebody else's network that is meant, and stays.
///
/// # Errors
/// It is up from another folder than the one that was named.
pub fn dir_to_take_down(session: &Session, name: &InterfaceName) -> Result<PathBuf, Fault> {
    match Runtime::here(name)?.applied_from_other_dir(&session.dir)? {
        None => Ok(session.dir.clone()),
        Some(dir) if !session.dir_is_named => Ok(dir),
        Some(dir) => Err(Fault::failed(
            format!("{}; nothing was taken down", told(name, &dir, &session.dir)),
            format!("{} takes it down", command(&dir, name, "down")),
        )),
    }
}

/// Tells of it in a status.
pub(super) fn problem(session: &Session, name: &InterfaceName, dir: &Path) -> Problem {
    Problem::warning(
        "up-elsewhere",
        format!("interface {name}"),
        format!("{}: who is online is not told", told(name, dir, &session.dir)),
        format!("{} tells it", command(dir, name, "status")),
    )
}

fn told(name: &InterfaceName, from: &Path, this: &Path) -> String {
    format!("{name} was brought up from the folder {}, not from {}", from.display(), this.display())
}

fn command(dir: &Path, name: &InterfaceName, command: &str) -> String {
    format!("`wgrelay --dir {} --network {name} {command}`", quoted(&dir.display().to_string()))
}
