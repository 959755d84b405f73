//! What `up` says no to before it changes anything; `status` of a network that is down says it too.

use super::context::{Context, Loaded};
use super::elsewhere;
use super::exit::Exit;
use super::fault::Fault;
use super::host_side::{runtime, target};
use super::output::Role;
use crate::app::{self, BackendChoice, Refusal, Target};
use crate::config::Secrets;
use crate::model::{InterfaceName, Problem, Severity};
use crate::reach;
use crate::store::folder::Folder;

/// Tells what keeps a network down that is down; empty: nothing that is known before it is tried.
pub fn keeps_down(ctx: &Context, name: &InterfaceName) -> Vec<Problem> {
    match would_come_up(ctx, name) {
        Ok(()) => Vec::new(),
        Err(fault) if fault.problems.iter().any(Problem::is_error) => {
            fault.problems.into_iter().filter(Problem::is_error).collect()
        }
        Err(fault) => {
            vec![Problem::error("cannot-come-up", format!("network {name}"), fault.message, fault.hint)]
        }
    }
}

/// Asks in the order in which `up` asks.
fn would_come_up(ctx: &Context, name: &InterfaceName) -> Result<(), Fault> {
    let runtime = runtime(name)?;
    elsewhere::refuse(ctx, name, &runtime)?;
    let loaded = ctx.load_from(Folder::new(&ctx.dir, name))?;
    promises(ctx, &loaded, false)?;
    let target = if nix::unistd::geteuid().is_root() {
        target(ctx, &loaded)?
    } else {
        // Somebody who may not read the secrets, and need not: nothing here depends on them.
        let node = ctx.this_node(&loaded)?.name.clone();
        let (network, text) = (loaded.network.clone(), loaded.text.clone());
        Target::new(ctx.dir.clone(), network, text, &node, &Secrets::default())
            .ok_or_else(|| Fault::failed(format!("there is no node {node}"), ""))?
    };
    let (mut host, backend) =
        app::host_to_look(app::host(&runtime, &[])?, &runtime, name, BackendChoice::Auto)?;
    match app::obstacles(&mut host, &target, &runtime, backend, ctx.now)? {
        none if none.is_empty() => Ok(()),
        problems => Err(super::host_side::refusal(Refusal::Problems(problems))),
    }
}

/// Judges the promises before anything is applied.
pub fn promises(ctx: &Context, loaded: &Loaded, force: bool) -> Result<(), Fault> {
    if loaded.network.expect.is_empty() {
        return Ok(());
    }
    let check = reach::check(&loaded.network, ctx.now);
    let broken = check.problems.into_iter().filter(Problem::is_error);
    let broken = loaded.located(broken.collect());
    if broken.is_empty() {
        return Ok(());
    }
    if force {
        for problem in broken {
            ctx.out.insist_on(&Problem { severity: Severity::Warning, ..problem });
        }
        let word = ctx.out.paint_talk(Role::Warn, "warning:");
        ctx.out.insist(&format!("{word} promises are broken, and --force applies the network all the same"));
        return Ok(());
    }
    let message = "an [[expect]] of the network would be broken; nothing was changed";
    Err(Fault {
        exit: Exit::No,
        problems: broken,
        ..Fault::failed(message, "correct the network, or `wgrelay up --force`")
    })
}
