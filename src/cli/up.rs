//! `up`, `plan`, `down`: this host and the network.

use std::collections::HashMap;
use std::path::Path;

use super::args::{PlanArgs, Up};
use super::confirm::{Trial, make_right};
use super::context::{Context, Loaded};
use super::elsewhere;
use super::exit::Exit;
use super::fault::Fault;
use super::host_side::{agent_command, beside_machine, refusal, require_root, runtime, target};
use super::output::{Output, Role};
use super::progress::Progress;
use super::refused::promises;
use super::service;
use crate::app::{self, BackendChoice};
use crate::config::Bundle;
use crate::host::Host;
use crate::host::agent_process::Runtime;
use crate::host::host_lock::HostLock;
use crate::host::last_up::LastUp;
use crate::host::went_back;
use crate::host::wireguard::embedded::is_outdated;
use crate::model::{InterfaceName, Network, Node};
use crate::plan::{Backend, Line, Plan, ifalias};
use crate::store::InstalledBundle;
use crate::store::files;
use crate::store::folder::Folder;

/// Makes this host match the network.
pub fn up(ctx: &Context, args: &Up) -> Result<Exit, Fault> {
    require_root(ctx, "up")?;
    let folder = match &args.bundle {
        Some(file) => install(ctx, file)?,
        None => ctx.folder()?,
    };
    elsewhere::refuse(ctx, folder.name(), &runtime(folder.name())?)?;
    let name = folder.name().clone();
    let name = &name;
    let runtime = runtime(name)?;
    let on_host = lock_host(ctx, name, &runtime)?;
    make_right(ctx, name, &runtime, &on_host)?;
    let command = agent_command(&ctx.dir, name)?;
    let ((loaded, target), host) = beside_machine(&runtime, &command, name, || {
        // Nobody writes while it is read; from then on they may, and what they write is the next `up`'s.
        let _read = ctx.lock_to_apply(&folder)?;
        let loaded = tell_warnings(ctx, ctx.load_from(folder)?);
        promises(ctx, &loaded, args.force)?;
        let target = target(ctx, &loaded)?;
        Ok((loaded, target))
    })?;
    let (mut host, backend) = app::host_for(host, &runtime, &command, &ctx.dir, name, args.backend.into())?;
    if backend == Backend::Embedded && is_outdated(&runtime) {
        // Not where the network could not come up again.
        app::plan(&mut host, &target, &runtime, backend, ctx.now).map_err(refusal)?;
        if app::end_outdated(name, &runtime)? {
            ctx.out.say("another version's agent carried the packets; this one's takes over");
            host = app::host_ahead(&runtime, &command, name)?;
        }
    }
    let systemd = service::waiting(&runtime, name);
    let last = service::last_up(&target, backend);
    let work = Progress::of(&ctx.out, format!("bringing up {name}: {} nodes", loaded.network.nodes.len()));
    let trial =
        args.confirm.map(|seconds| Trial::begin(ctx, name, &runtime, &mut host, seconds)).transpose()?;
    let before = LastUp::kept(&loaded.folder);
    let put_back = |fault: Fault| {
        if let Err(error) = LastUp::put_back(before.as_deref(), &loaded.folder) {
            ctx.out.error(&error.to_string(), &error.hint());
        }
        if let Some(Err(error)) = trial.as_ref().map(Trial::call_off) {
            error.tell(&ctx.out);
        }
        fault
    };
    let (done, waits) = match systemd.filter(|_| backend == Backend::Embedded) {
        // The unit's agent carries the packets, so it is the one that brings the network up.
        Some(systemd) => {
            let (plan, problems) = app::plan(&mut host, &target, &runtime, backend, ctx.now)
                .map_err(|error| put_back(refusal(error)))?;
            remember(&last, &loaded.folder).map_err(put_back)?;
            drop(on_host);
            systemd.start(name).map_err(|error| put_back(error.into()))?;
            let _lock = lock_host(ctx, name, &runtime)?;
            if trial.is_some() {
                // A restart brings back what was kept.
                LastUp::put_back(before.as_deref(), &loaded.folder)?;
            }
            let waits = conclude(ctx, &runtime, trial.as_ref(), &plan)?;
            (app::Up { plan, backend, problems }, waits)
        }
        None => {
            if trial.is_none() {
                remember(&last, &loaded.folder)?;
            }
            let done = app::up(&mut host, &target, &runtime, backend, ctx.now, &on_host)
                .map_err(|error| put_back(refusal(error)))?;
            let waits = conclude(ctx, &runtime, trial.as_ref(), &done.plan)?;
            drop(on_host);
            if let Some(systemd) = systemd {
                systemd.start(name)?;
            }
            (done, waits)
        }
    };
    // Whether it stays or goes back, it is the last change now.
    went_back::forget(&loaded.folder);
    drop(work);
    if ctx.out.json {
        ctx.out.json(&serde_json::json!({
            "version": 1, "network": loaded.network.name, "node": target.node, "backend": backend,
            "state": if done.problems.is_empty() { "up" } else { "degraded" },
            "changes": done.plan.lines(), "problems": done.problems, "goes_back_in": waits,
        }))?;
        return Ok(Exit::Done);
    }
    let degraded = done.problems.iter().any(|p| p.code == "interface-missing");
    let word = if degraded { ctx.out.paint(Role::Warn, "degraded") } else { ctx.out.paint(Role::Good, "up") };
    let what = match done.plan.changes.len() {
        0 => "nothing to change".into(),
        1 => "1 change".into(),
        n => format!("{n} changes"),
    };
    ctx.out.prose(&format!(
        "{} is {word}: node {}, {backend} backend, {what}",
        loaded.network.name, target.node
    ))?;
    for problem in &done.problems {
        ctx.out.problem(problem);
    }
    match (waits, args.confirm) {
        // Where the terminal is cut off, it is typed elsewhere: with the folder's whole name.
        (Some(seconds), _) => ctx.out.insist(&format!(
            "{} goes back in {seconds} s; keep it with `{}`",
            ctx.out.paint_talk(Role::Warn, "not confirmed:"),
            ctx.in_folder(ctx.dir.clone()).out.command("confirm")
        )),
        (None, Some(_)) => ctx.out.say("nothing was changed, so nothing waits for a confirmation"),
        (None, None) => service::tell_of_restarts(ctx, name, &done.plan),
    }
    Ok(Exit::Done)
}

/// Takes the right to change the network on this host. Whoever had it may have brought up another folder's network.
fn lock_host(ctx: &Context, name: &InterfaceName, runtime: &Runtime) -> Result<HostLock, Fault> {
    let work = Progress::of(&ctx.out, format!("waiting for another command that is changing {name}"));
    let lock = runtime.lock_to_apply()?;
    drop(work);
    elsewhere::refuse(ctx, name, runtime)?;
    Ok(lock)
}

/// Lets a trial's time begin, and returns its seconds; an `up` without a condition keeps what it did and what waited.
fn conclude(
    ctx: &Context,
    runtime: &Runtime,
    trial: Option<&Trial>,
    plan: &Plan,
) -> Result<Option<u64>, Fault> {
    if let Some(trial) = trial {
        return trial.begin_waiting(plan);
    }
    if runtime.unconfirmed(&ctx.dir)?.is_some() {
        ctx.out.say("the change that waited for a confirmation is kept");
    }
    runtime.end_trial()?;
    Ok(None)
}

/// Writes for a restart of the host what is to be applied, before it is: a disk that is full or read-only is told while
/// nothing is changed, and where the power fails in between, the restart does what was asked for.
fn remember(last: &LastUp, folder: &Folder) -> Result<(), Fault> {
    last.write(folder).map_err(|e| Fault::failed(format!("{e}; nothing was changed"), e.hint()))
}

fn tell_warnings(ctx: &Context, loaded: Loaded) -> Loaded {
    for warning in &loaded.warnings {
        ctx.out.problem(warning);
    }
    loaded
}

/// Installs a bundle: the network as this node needs it, and its secrets.
fn install(ctx: &Context, file: &Path) -> Result<Folder, Fault> {
    let bytes = files::read_secret(file)?;
    let parsed = Bundle::parse(bytes.as_bytes(), &file.display().to_string());
    let Some(bundle) = parsed.value else { return Err(Fault::invalid(parsed.problems)) };
    let folder = Folder::new(&ctx.dir, &bundle.network.name);
    if folder.exists() && folder.installed_node()?.is_none() {
        return Err(Fault::failed(
            format!("{} holds a network that did not come in a bundle", folder.path().display()),
            "it is kept: use another --dir, or remove that folder first",
        ));
    }
    elsewhere::refuse(ctx, &bundle.network.name, &runtime(&bundle.network.name)?)?;
    refuse_foreign(&bundle.network.name)?;
    let secrets = bundle.secrets.render();
    let mark = InstalledBundle { this: bundle.this.clone(), made_from: bundle.made_from.clone() };
    let note = ctx.note(format!("installed the bundle of {}", bundle.this));
    folder.install(&bundle.network_text, &secrets, &mark, note)?;
    Ok(folder)
}

/// Says no before anything is installed where an interface of the network's name is somebody else's.
fn refuse_foreign(name: &InterfaceName) -> Result<(), Fault> {
    let runtime = runtime(name)?;
    let mut host = app::host(&runtime, &[])?;
    let facts = host.facts(&Default::default(), &Default::default())?;
    match facts.links.get(name.as_str()) {
        Some(link) if link.alias != ifalias(name) && runtime.agent_pid().is_none() => Err(Fault::failed(
            format!(
                "the bundle's network is {name}, and this host has an interface {name} that wgrelay did not make"
            ),
            "nothing was installed: release that interface, or give the network another name where the bundle is made",
        )),
        _ => Ok(()),
    }
}

/// Says what `up` would change.
pub fn plan(ctx: &Context, args: &PlanArgs) -> Result<Exit, Fault> {
    let work = Progress::of(&ctx.out, "comparing this host with the network");
    let folder = ctx.folder()?;
    let name = folder.name().clone();
    let runtime = runtime(&name)?;
    elsewhere::refuse(ctx, &name, &runtime)?;
    let ((loaded, target), host) = beside_machine(&runtime, &[], &name, || {
        let loaded = tell_warnings(ctx, ctx.load_from(folder)?);
        let target = target(ctx, &loaded)?;
        Ok((loaded, target))
    })?;
    let choice: BackendChoice = args.backend.into();
    let (mut host, backend) = app::host_to_look(host, &runtime, &name, choice)?;
    let (plan, problems) = app::plan(&mut host, &target, &runtime, backend, ctx.now).map_err(refusal)?;
    drop(work);
    if ctx.out.json {
        ctx.out.json(&serde_json::json!({
            "version": 1, "node": target.node, "backend": backend, "changes": plan.lines(), "problems": problems,
        }))?;
    } else {
        ctx.out.prose(&plan_text(&ctx.out, &plan, &loaded.network))?;
        for problem in &problems {
            ctx.out.problem(problem);
        }
    }
    Ok(if args.check && !plan.is_empty() { Exit::No } else { Exit::Done })
}

fn plan_text(out: &Output, plan: &Plan, network: &Network) -> String {
    if plan.is_empty() {
        return format!("nothing to change: {} is as the file says", network.name);
    }
    let count = if plan.changes.len() == 1 {
        "1 change".to_string()
    } else {
        format!("{} changes", plan.changes.len())
    };
    let mut text = format!("{count} to make for {}\n", network.name);
    let by_key: HashMap<String, &Node> =
        network.nodes.values().map(|n| (n.public_key.to_string(), n)).collect();
    for mut line in plan.lines() {
        // A key says little at eleven at night.
        if let Some(node) = by_key.get(&line.target).filter(|_| line.kind == "peer") {
            line.target = format!("{} ({:.8}…)", node.name, line.target);
        }
        text += &line_text(out, &line);
        text.push('\n');
    }
    text
}

fn line_text(out: &Output, line: &Line) -> String {
    let head = format!("{:<10} {}", line.kind, line.target);
    match (&line.from, &line.to) {
        (None, Some(to)) => format!("{} {head}  {to}", out.paint(Role::Good, "+")),
        (Some(from), None) => format!("{} {head}  {from}", out.paint(Role::Bad, "-")),
        (Some(from), Some(to)) => format!("{} {head}  {from} -> {to}", out.paint(Role::Warn, "~")),
        (None, None) => format!("{} {head}", out.paint(Role::Warn, "~")),
    }
}

/// Takes away what wgrelay made.
pub fn down(ctx: &Context) -> Result<Exit, Fault> {
    require_root(ctx, "down")?;
    let name = name_of_what_is_up(ctx)?;
    let runtime = runtime(&name)?;
    let ctx = &elsewhere::to_take_down(ctx, &name, &runtime)?;
    let folder = Folder::new(&ctx.dir, &name);
    let on_host = runtime.lock_to_apply()?;
    let mut host = app::host(&runtime, &[])?;
    let work = Progress::of(&ctx.out, format!("taking down {name}"));
    let done = app::down(&mut host, &ctx.dir, &name, &runtime, &on_host)?;
    drop(work);
    let forgotten = LastUp::forget(&folder);
    went_back::forget(&folder);
    if ctx.out.json {
        let errors: Vec<String> = done.errors.iter().map(ToString::to_string).collect();
        ctx.out.json(&serde_json::json!({
            "version": 1, "network": name, "changes": done.plan.lines(), "errors": errors,
        }))?;
    } else if done.errors.is_empty() {
        let what = match done.plan.changes.len() {
            0 => "it was down already".into(),
            1 => "1 change".into(),
            n => format!("{n} changes"),
        };
        ctx.out.prose(&format!("{name} is down: {what}"))?;
    }
    for error in &done.errors {
        ctx.out.error(&error.to_string(), &error.hint);
    }
    if let Err(error) = forgotten {
        ctx.out.say(&format!("{error}: where {name} comes up with this host, a restart brings it back"));
    }
    Ok(if done.errors.is_empty() { Exit::Done } else { Exit::Failed })
}

/// The network that is meant of those that may have no file any more: the one named, else the only one that is up.
pub(super) fn name_of_what_is_up(ctx: &Context) -> Result<InterfaceName, Fault> {
    if let Some(name) = ctx.network_name()? {
        return Ok(name);
    }
    match ctx.folder() {
        Ok(folder) => Ok(folder.name().clone()),
        Err(fault) => match Runtime::list().as_slice() {
            [only] => Ok(only.clone()),
            _ => Err(fault),
        },
    }
}
