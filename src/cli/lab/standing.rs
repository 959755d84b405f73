//! `lab up`, `exec`, `down`: a lab that stands, held by a process of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;

use super::super::args::Lab as Args;
use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::{Fault, FaultKind};
use super::super::interrupt::interruptions;
use super::super::output::Role;
use super::super::table::wrapped;
use super::{Described, ask, backend, build};
use crate::lab::standing::{self, Claim, Record};
use crate::model::{InterfaceName, nearest};

/// What the holder tells.
#[derive(serde::Deserialize)]
struct Standing {
    spaces: Vec<String>,
    reached: usize,
    asked: usize,
}

/// Starts the process that holds the lab, and returns when it stands.
pub(super) fn up(ctx: &Context, args: &Args) -> Result<Exit, Fault> {
    let interrupted = interruptions()?;
    let mut command = holder(ctx, args);
    let mut child =
        command.spawn().map_err(|e| Fault::failed(format!("cannot start the lab's process: {e}"), ""))?;
    let stdout = child.stdout.take().map(BufReader::new);
    let id = child.id();
    // The holder tells when it stands; a Ctrl-C here is passed on to it, as it is in a session of its own.
    let done = Arc::new(AtomicBool::new(false));
    let (watch, flag) = (Arc::clone(&done), Arc::clone(&interrupted));
    let watcher =
        std::thread::Builder::new().name("pass-on".into()).spawn(move || pass_on(id, &watch, &flag))?;
    let mut line = String::new();
    if let Some(mut stdout) = stdout {
        let _ = stdout.read_line(&mut line);
    }
    done.store(true, Ordering::SeqCst);
    let _ = watcher.join();
    if line.trim().is_empty() {
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        let code = child.wait().ok().and_then(|s| s.code());
        let said = said.trim().trim_start_matches("error: ");
        let kind = if code == Some(3) { FaultKind::Invalid } else { FaultKind::Failed };
        return Err(Fault { kind, ..Fault::failed(said, "") });
    }
    if ctx.out.json {
        ctx.out.result(line.trim())?;
        return Ok(Exit::Done);
    }
    let told: Standing = serde_json::from_str(&line)
        .map_err(|e| Fault::failed(format!("the lab's process said {:?}: {e}", line.trim()), ""))?;
    let Standing { spaces: names, reached, asked } = &told;
    ctx.out.result(&format!(
        "the lab {}: {reached} of {asked} pairs reach\n  {}",
        ctx.out.paint(Role::Good, "stands"),
        wrapped(names, ctx.out.width().map(|w| w.saturating_sub(2))).join("\n  ")
    ))?;
    let first = names.get(1).map_or("NODE", String::as_str);
    ctx.out.say(&format!(
        "{} {} -- wgrelay status    at the end: {}",
        ctx.out.paint_talk(Role::Head, "next:"),
        ctx.out.command(&format!("lab exec {first}")),
        ctx.out.command("lab down"),
    ));
    Ok(Exit::Done)
}

fn pass_on(id: u32, done: &AtomicBool, interrupted: &AtomicBool) {
    while !done.load(Ordering::SeqCst) {
        if interrupted.load(Ordering::SeqCst) {
            // The child is not waited for yet, so the pid is its own.
            if let Ok(pid) = i32::try_from(id) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM);
            }
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "a look at a flag now and then")]
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[expect(clippy::disallowed_methods, reason = "the lab's holder is this program once more")]
fn holder(ctx: &Context, args: &Args) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new("/proc/self/exe");
    command.arg("--dir").arg(&ctx.dir);
    if let Ok(Some(name)) = ctx.network_name() {
        command.args(["--network", name.as_str()]);
    }
    command.arg("lab");
    if let Some(profile) = &args.profile {
        command.args(["--profile", profile]);
    }
    if let Some(backend) = backend(args) {
        command.args(["--backend", &backend.to_string()]);
    }
    command.arg("hold").process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Builds a lab and holds it until a signal comes.
pub(super) fn hold(ctx: &Context, args: &Args, described: &Described) -> Result<Exit, Fault> {
    let _ = nix::unistd::setsid();
    let interrupted = interruptions()?;
    let mut claim = Claim::take(&described.network.name).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Fault::failed(
            format!("a lab of {} stands already", described.network.name),
            "`wgrelay lab down` removes it",
        ),
        _ => Fault::failed(format!("cannot write below /run/wgrelay-lab: {e}"), ""),
    })?;
    let lab = build(ctx, args, described, &interrupted)?;
    // Once round, so that whoever comes in finds sessions that stand.
    let observed = ask(&lab, &interrupted)?;
    claim
        .publish(&lab, &described.text, ctx.now)
        .map_err(|e| Fault::failed(format!("cannot tell how to get into the lab: {e}"), ""))?;
    let places: Vec<&str> = lab.topology.spaces.iter().map(|s| s.name.as_str()).collect();
    let reached = observed.iter().filter(|o| o.reaches()).count();
    let line = serde_json::json!({
        "version": 1, "network": lab.network, "spaces": places, "reached": reached, "asked": observed.len(),
    });
    ctx.out.result(&line.to_string())?;
    while !interrupted.load(Ordering::SeqCst) {
        #[expect(clippy::disallowed_methods, reason = "nothing to do but wait for a signal")]
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(lab);
    Ok(Exit::Done)
}

/// The lab of this network, if one stands.
pub(super) fn of_network(name: &InterfaceName) -> Option<Record> {
    standing::list().into_iter().find(|r| r.network == *name)
}

/// The lab that is meant: of the network named, else the only one.
fn standing(ctx: &Context) -> Result<Record, Fault> {
    let mut labs = standing::list();
    if let Some(name) = ctx.network_name()? {
        labs.retain(|r| r.network == name);
    }
    match labs.len() {
        1 => Ok(labs.remove(0)),
        0 => Err(Fault::failed("no lab stands", "`wgrelay lab up` builds one and leaves it")),
        n => Err(Fault::usage(format!("{n} labs stand"), "say which one with --network NAME")),
    }
}

/// Becomes a program in a place of the lab.
pub(super) fn exec(ctx: &Context, place: &str, command: &[String]) -> Result<Exit, Fault> {
    let record = standing(ctx)?;
    let names = || record.spaces.iter().map(|d| d.name.as_str());
    let Some(door) = record.spaces.iter().find(|d| d.name == place) else {
        let hint = nearest(place, names()).map_or_else(
            || format!("there are {}", names().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean {near}?"),
        );
        return Err(Fault::usage(format!("the lab has no place {place}"), hint));
    };
    let error = record.exec(door, command);
    Err(Fault::failed(format!("cannot run {} in {place}: {error}", command.join(" ")), ""))
}

/// Takes the lab away.
pub(super) fn down(ctx: &Context) -> Result<Exit, Fault> {
    let record = standing(ctx)?;
    record.end().map_err(|e| Fault::failed(format!("cannot end the lab of {}: {e}", record.network), ""))?;
    if ctx.out.json {
        ctx.out.json(
            &serde_json::json!({"version": 1, "network": record.network, "removed": record.spaces.len()}),
        )?;
    } else {
        ctx.out.result(&format!("the lab of {} is {}", record.network, ctx.out.paint(Role::Good, "gone")))?;
    }
    Ok(Exit::Done)
}
