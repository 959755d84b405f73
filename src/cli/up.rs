//! `up`, `plan`, `down`: this host and the network.

use std::collections::HashMap;

use super::args::{BackendChoice as Typed, PlanArgs, Up};
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::{Output, Role};
use super::root::require_root;
use crate::app::{self, BackendChoice, BringUp, BroughtUp};
use crate::model::{InterfaceName, Network, Node};
use crate::plan::{Backend, Line, Plan};

impl From<Typed> for BackendChoice {
    fn from(typed: Typed) -> Self {
        match typed {
            Typed::Auto => Self::Auto,
            Typed::Kernel => Self::Only(Backend::Kernel),
            Typed::Embedded => Self::Only(Backend::Embedded),
        }
    }
}

/// Makes this host match the network.
pub fn up(ctx: &Context, args: &Up) -> Result<Exit, Fault> {
    require_root(ctx, "up")?;
    if let Some(revision) = args.accept
        && let app::Accepted::TakenDown(taken_down) = app::accept(ctx, revision)?
    {
        ctx.out.say(&format!(
            "this relay is not in revision {revision}; `wgrelay cluster leave` ends its membership"
        ));
        let name = ctx.folder()?.name().clone();
        return told_down(ctx, &name, &taken_down);
    }
    let asked = BringUp {
        bundle: args.bundle.clone(),
        backend: args.backend.into(),
        force: args.force,
        confirm: args.confirm,
    };
    let brought_up = app::bring_up(ctx, &asked)?;
    if ctx.out.json {
        ctx.out.json(&brought_up.json())?;
        return Ok(Exit::Done);
    }
    let BroughtUp { network, node, done, rolls_back_in } = brought_up;
    let degraded = done.problems.iter().any(|p| p.code == "interface-missing");
    let word = if degraded { ctx.out.paint(Role::Warn, "degraded") } else { ctx.out.paint(Role::Good, "up") };
    let what = match done.plan.changes.len() {
        0 => "nothing to change".into(),
        1 => "1 change".into(),
        n => format!("{n} changes"),
    };
    ctx.out.prose(&format!("{network} is {word}: node {node}, {} backend, {what}", done.backend))?;
    for problem in &done.problems {
        ctx.out.problem(problem);
    }
    match (rolls_back_in, args.confirm) {
        // Where the terminal is cut off, it is typed elsewhere: with the folder's whole name.
        (Some(seconds), _) => ctx.out.insist(&format!(
            "{} goes back in {seconds} s; keep it with `{}`",
            ctx.out.paint_talk(Role::Warn, "not confirmed:"),
            ctx.in_folder(ctx.dir.clone()).out.command("confirm")
        )),
        (None, Some(_)) => ctx.out.say("nothing was changed, so nothing waits for a confirmation"),
        (None, None) if app::restart_leaves_down(&network, &done.plan) => ctx
            .out
            .say("a restart of this host leaves it down: `wgrelay service install` brings it back by itself"),
        (None, None) => {}
    }
    Ok(Exit::Done)
}

/// Says what `up` would change.
pub fn plan(ctx: &Context, args: &PlanArgs) -> Result<Exit, Fault> {
    let compared = app::compare_with_host(ctx, args.backend.into())?;
    let app::Compared { loaded, plan, problems, .. } = &compared;
    if ctx.out.json {
        ctx.out.json(&compared.json())?;
    } else {
        ctx.out.prose(&plan_text(&ctx.out, plan, &loaded.network))?;
        for problem in problems {
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
    let name = app::name_of_what_is_up(ctx)?;
    let dir = app::dir_to_take_down(ctx, &name)?;
    let ctx = &if dir == ctx.dir { ctx.clone() } else { ctx.in_folder(dir) };
    let taken_down = app::take_down(ctx, &name)?;
    told_down(ctx, &name, &taken_down)
}

fn told_down(ctx: &Context, name: &InterfaceName, taken_down: &app::TakenDown) -> Result<Exit, Fault> {
    let app::TakenDown { done, remembered } = taken_down;
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
    if let Some(error) = &done.hook {
        ctx.out.say(&format!("{error}: the floating address may still lead here"));
    }
    if let Some(error) = remembered {
        ctx.out.say(&format!("{error}: where {name} comes up with this host, a restart brings it back"));
    }
    Ok(if done.errors.is_empty() { Exit::Done } else { Exit::Failed })
}
