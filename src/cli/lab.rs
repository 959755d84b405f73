//! `lab`: the whole network on this machine, in network namespaces, asked with real packets.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::sys::signal::Signal;

use super::args::{BackendChoice, Lab as Args, LabAction};
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::init::profile_fault;
use super::interrupt::interruptions;
use super::output::{Output, Role};
use super::table::{Cell, shorten, table, wrapped};
use crate::config::parse_network;
use crate::config::profile::{self, ProfileValues};
use crate::host::random;
use crate::lab::standing::{self, Claim, Record};
use crate::lab::{Lab, LabError, Observed, Pair, PlaceKind, Topology, probe};
use crate::model::{Network, nearest};
use crate::plan::Backend;

/// Beyond this many places a matrix no longer fits 80 columns, and only what fails is listed.
const MATRIX_PLACES: usize = 14;

/// Runs `lab` and what is below it.
pub fn lab(ctx: &Context, args: &Args) -> Result<Exit, Fault> {
    if matches!(args.action, None | Some(LabAction::Up)) {
        // What is wrong with the network is told to everybody.
        network(ctx, args)?;
    }
    root()?;
    match &args.action {
        None => all_at_once(ctx, args),
        Some(LabAction::Up) => up(ctx, args),
        Some(LabAction::Hold) => hold(ctx, args),
        Some(LabAction::Exec { place, command }) => exec(ctx, place, command),
        Some(LabAction::Down) => down(ctx),
    }
}

fn root() -> Result<(), Fault> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Fault::failed(
        "lab makes network namespaces, which only root may",
        "sudo wgrelay lab; nothing outside the namespaces is touched",
    ))
}

/// The network to build: the file's, or a profile's.
fn network(ctx: &Context, args: &Args) -> Result<(Network, String), Fault> {
    let Some(name) = &args.profile else {
        let loaded = ctx.load_network()?;
        if let Some(bundle) = loaded.folder.installed_node()? {
            return Err(Fault::failed(
                format!(
                    "this network came here in a bundle for {}, and holds no more than that node needs",
                    bundle.this
                ),
                "run `wgrelay lab` where the bundle was made",
            ));
        }
        return Ok((loaded.network, loaded.text));
    };
    let values = ProfileValues { name: ctx.network_name()?, ..ProfileValues::default() };
    let mut key = |_: &_| random::private_key().public_key();
    let text = profile::instantiate(name, &values, &mut key).map_err(|e| profile_fault(&e))?;
    let parsed = parse_network(text.as_bytes(), "profile");
    let network = parsed.value.ok_or_else(|| Fault::invalid(parsed.problems))?;
    Ok((network, text))
}

fn backend(args: &Args) -> Option<Backend> {
    match args.backend {
        BackendChoice::Auto => None,
        BackendChoice::Kernel => Some(Backend::Kernel),
        BackendChoice::Embedded => Some(Backend::Embedded),
    }
}

fn build(ctx: &Context, args: &Args, interrupted: &AtomicBool) -> Result<Lab, Fault> {
    let (network, text) = network(ctx, args)?;
    let absent: Vec<&str> =
        network.nodes.values().filter(|n| !n.is_active(ctx.now)).map(|n| n.name.as_str()).collect();
    if !absent.is_empty() {
        ctx.out.say(&format!("left out, because disabled or expired: {}", absent.join(", ")));
    }
    let stop = || interrupted.load(Ordering::SeqCst);
    Lab::build(&network, &text, backend(args), ctx.now, &stop).map_err(|e| lab_fault(&e))
}

fn lab_fault(error: &LabError) -> Fault {
    let hint = match error {
        LabError::Failed { cause, .. } if cause.contains("ip(8)") => "install iproute2",
        LabError::Failed { operation: "make a namespace for", .. } => {
            "a container needs CAP_SYS_ADMIN and CAP_NET_ADMIN for this (docker run --privileged)"
        }
        LabError::Up { .. } => "`wgrelay check` may tell why; `wgrelay -v lab` says more",
        _ => "",
    };
    Fault::failed(error, hint)
}

#[expect(clippy::disallowed_methods, reason = "the time it took is part of the answer")]
fn all_at_once(ctx: &Context, args: &Args) -> Result<Exit, Fault> {
    let start = Instant::now();
    let interrupted = interruptions()?;
    let lab = build(ctx, args, &interrupted)?;
    let stop = || interrupted.load(Ordering::SeqCst);
    let observed =
        probe(&lab, &stop).map_err(|e| Fault::failed(format!("cannot ask in the lab: {e}"), ""))?;
    if stop() {
        return Err(lab_fault(&LabError::Interrupted));
    }
    let topology = lab.topology.clone();
    let name = lab.network.to_string();
    drop(lab);
    let seconds = start.elapsed().as_secs_f64();
    let answers: Vec<Answer<'_>> =
        topology.pairs.iter().zip(&observed).map(|(p, o)| Answer { pair: p, seen: o }).collect();
    if ctx.out.json {
        ctx.out.json(&json(&topology, &name, &answers, seconds))?;
    } else {
        ctx.out.result(&text(&ctx.out, &topology, &answers, seconds))?;
    }
    let broken = answers.iter().any(|a| a.pair.promised && !a.is_good());
    Ok(if broken { Exit::No } else { Exit::Done })
}

/// A question and what came of it.
struct Answer<'a> {
    pair: &'a Pair,
    seen: &'a Observed,
}

impl Answer<'_> {
    /// Both got through, and the far end saw the right caller.
    fn is_good(&self) -> bool {
        self.seen.reaches() && self.pair.seen_as.is_none_or(|ip| self.seen.seen_as == Some(ip))
    }

    fn cell(&self) -> Cell {
        match (self.seen.ping.is_some(), self.seen.tcp) {
            (true, true) if self.is_good() => Cell::with(Role::Good, "ok"),
            (true, true) => Cell::with(Role::Bad, "nat"),
            (true, false) => Cell::with(Role::Warn, "ping"),
            (false, true) => Cell::with(Role::Warn, "tcp"),
            (false, false) if self.pair.promised => Cell::with(Role::Bad, "--"),
            (false, false) => Cell::with(Role::Dim, "--"),
        }
    }

    fn what(&self) -> String {
        match (self.seen.ping.is_some(), self.seen.tcp) {
            (true, true) => match self.seen.seen_as {
                Some(ip) => format!("reaches it, which sees {ip}"),
                None => "reaches it".into(),
            },
            (true, false) => "by ping only, not by TCP".into(),
            (false, true) => "by TCP only, not by ping".into(),
            (false, false) => "neither by ping nor by TCP".into(),
        }
    }
}

fn text(out: &Output, topology: &Topology, answers: &[Answer<'_>], seconds: f64) -> String {
    let good = answers.iter().filter(|a| a.is_good()).count();
    let broken: Vec<&Answer<'_>> = answers.iter().filter(|a| a.pair.promised && !a.is_good()).collect();
    let role = if broken.is_empty() { Role::Good } else { Role::Bad };
    let count = format!("{good} of {}", answers.len());
    let mut text = format!("{} pairs reach by ping and TCP ({seconds:.1} s)\n", out.paint(role, &count));
    if topology.places.len() <= MATRIX_PLACES {
        text += &matrix(out, topology, answers);
    }
    for answer in answers.iter().filter(|a| !a.is_good()) {
        let (from, to) = (&topology.places[answer.pair.from], &topology.places[answer.pair.to]);
        let (role, note) =
            if answer.pair.promised { (Role::Bad, "") } else { (Role::Dim, " (not promised)") };
        text += &format!("{} to {}: {}{note}\n", from.name, to.name, out.paint(role, &answer.what()));
    }
    text
}

/// Who asks in the rows, who is asked for in the columns, by number.
fn matrix(out: &Output, topology: &Topology, answers: &[Answer<'_>]) -> String {
    let by_pair: BTreeMap<(usize, usize), &Answer<'_>> =
        answers.iter().map(|a| ((a.pair.from, a.pair.to), a)).collect();
    let numbers: Vec<String> = (1..=topology.places.len()).map(|n| n.to_string()).collect();
    let mut headings = vec!["", "FROM", "ADDRESS"];
    headings.extend(numbers.iter().map(String::as_str));
    let rows: Vec<Vec<Cell>> =
        topology
            .places
            .iter()
            .enumerate()
            .map(|(from, place)| {
                let address = place.address.to_string();
                let name = match &place.kind {
                    PlaceKind::Node | PlaceKind::Internet => place.name.clone(),
                    PlaceKind::HostBehind(node) => format!("behind {node}"),
                    PlaceKind::SecondHome(node) => format!("{node} again"),
                };
                let mut row = vec![
                    Cell::with(Role::Dim, numbers[from].clone()),
                    Cell::with(Role::Name, shorten(&name, 20)),
                    Cell::new(address),
                ];
                row.extend((0..topology.places.len()).map(|to| {
                    by_pair.get(&(from, to)).map_or_else(|| Cell::with(Role::Dim, "."), |a| a.cell())
                }));
                row
            })
            .collect();
    table(out, &headings, &rows)
}

fn json(topology: &Topology, network: &str, answers: &[Answer<'_>], seconds: f64) -> serde_json::Value {
    let pairs: Vec<serde_json::Value> = answers
        .iter()
        .map(|a| {
            serde_json::json!({
                "from": topology.places[a.pair.from].name, "to": topology.places[a.pair.to].name,
                "address": topology.places[a.pair.to].address, "promised": a.pair.promised,
                "ping_ms": a.seen.ping.map(|d| d.as_secs_f64() * 1000.0), "tcp": a.seen.tcp,
                "seen_as": a.seen.seen_as, "reaches": a.is_good(),
            })
        })
        .collect();
    let reached = answers.iter().filter(|a| a.is_good()).count();
    serde_json::json!({
        "version": 1, "network": network, "reached": reached, "asked": answers.len(), "seconds": seconds, "pairs": pairs,
    })
}

/// What the holder tells.
#[derive(serde::Deserialize)]
struct Standing {
    spaces: Vec<String>,
    reached: usize,
    asked: usize,
}

/// Starts the process that holds the lab, and returns when it stands.
fn up(ctx: &Context, args: &Args) -> Result<Exit, Fault> {
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
        let exit = if code == Some(3) { Exit::Invalid } else { Exit::Failed };
        return Err(Fault { exit, ..Fault::failed(said, "") });
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
        "{} wgrelay lab exec {first} -- wgrelay status    at the end: wgrelay lab down",
        ctx.out.paint_talk(Role::Head, "next:")
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
fn hold(ctx: &Context, args: &Args) -> Result<Exit, Fault> {
    let _ = nix::unistd::setsid();
    let interrupted = interruptions()?;
    let (network, _) = network(ctx, args)?;
    let mut claim = Claim::take(&network.name).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Fault::failed(
            format!("a lab of {} stands already", network.name),
            "`wgrelay lab down` removes it",
        ),
        _ => Fault::failed(format!("cannot write below /run/wgrelay-lab: {e}"), ""),
    })?;
    let lab = build(ctx, args, &interrupted)?;
    // Once round, so that whoever comes in finds sessions that stand.
    let stop = || interrupted.load(Ordering::SeqCst);
    let observed =
        probe(&lab, &stop).map_err(|e| Fault::failed(format!("cannot ask in the lab: {e}"), ""))?;
    claim
        .publish(&lab)
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

fn exec(ctx: &Context, place: &str, command: &[String]) -> Result<Exit, Fault> {
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

fn down(ctx: &Context) -> Result<Exit, Fault> {
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
