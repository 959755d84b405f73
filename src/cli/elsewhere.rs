//! A network that is up here from another folder than the one that is meant: two folders may hold a network of one name,
//! and the interface of that name belongs to one of them.

use std::path::Path;

use super::context::Context;
use super::fault::Fault;
use crate::host::agent_process::Runtime;
use crate::model::{InterfaceName, Problem, quoted};

/// Says no where a network of this name is up from another folder.
pub fn refuse(ctx: &Context, name: &InterfaceName, runtime: &Runtime) -> Result<(), Fault> {
    match runtime.applied_elsewhere(&ctx.dir)? {
        None => Ok(()),
        Some(dir) => Err(Fault::failed(
            format!("{}; nothing was changed", told(name, &dir, &ctx.dir)),
            format!("{} first, where this one is to take its place", command(&dir, name, "down")),
        )),
    }
}

/// Returns the context for taking a network down: the folder that it is up from, where none was named. Where another was
/// named, it is somebody else's network that is meant, and stays.
pub fn to_take_down(ctx: &Context, name: &InterfaceName, runtime: &Runtime) -> Result<Context, Fault> {
    match runtime.applied_elsewhere(&ctx.dir)? {
        None => Ok(ctx.clone()),
        Some(dir) if !ctx.dir_is_named => Ok(ctx.in_folder(dir)),
        Some(dir) => Err(Fault::failed(
            format!("{}; nothing was taken down", told(name, &dir, &ctx.dir)),
            format!("{} takes it down", command(&dir, name, "down")),
        )),
    }
}

/// Tells of it in a status.
pub fn problem(ctx: &Context, name: &InterfaceName, dir: &Path) -> Problem {
    Problem::warning(
        "up-elsewhere",
        format!("interface {name}"),
        format!("{}: who is online is not told", told(name, dir, &ctx.dir)),
        format!("{} tells it", command(dir, name, "status")),
    )
}

fn told(name: &InterfaceName, from: &Path, this: &Path) -> String {
    format!("{name} was brought up from the folder {}, not from {}", from.display(), this.display())
}

fn command(dir: &Path, name: &InterfaceName, command: &str) -> String {
    format!("`wgrelay --dir {} --network {name} {command}`", quoted(&dir.display().to_string()))
}
