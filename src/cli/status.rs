//! `status`: who is online, and whether the host is as it was applied.

use std::collections::BTreeMap;

use super::confirm::look_after;
use super::context::Context;
use super::elsewhere;
use super::exit::Exit;
use super::fault::Fault;
use super::host_side::runtime;
use super::output::{Output, Role};
use super::refused::keeps_down;
use super::table::{Cell, Narrow, table};
use crate::app::{self, Memory, look, standing};
use crate::host::HostError;
use crate::host::LinuxHost;
use crate::host::agent_process::Runtime;
use crate::host::boot_clock::since_boot;
use crate::host::went_back;
use crate::host::wireguard::embedded::ask_status;
use crate::model::{InterfaceName, Problem};
use crate::status::{Health, Inputs, PeerStatus, State, Status, duration, status as judge};
use crate::store::folder::Folder;

/// Shows the status.
pub fn status(ctx: &Context) -> Result<Exit, Fault> {
    let name = network_name(ctx)?;
    is_this_node(ctx, &name)?;
    look_after(ctx, &name)?;
    let told = ask_status(&runtime(&name)?, &ctx.dir);
    if let Some((json, state)) = &told
        && ctx.out.json
        && *state != State::Down
    {
        ctx.out.json_text(json)?;
        return Ok(if *state == State::Up { Exit::Done } else { Exit::No });
    }
    let mut status = understood(ctx, &name, told)?;
    let mut kept_down = Vec::new();
    if status.state == State::Down {
        kept_down = keeps_down(ctx, &name);
        kept_down.retain(|problem| !status.problems.contains(problem));
        status.problems.extend(kept_down.iter().cloned());
    }
    if ctx.out.json {
        ctx.out.json(&status)?;
    } else {
        ctx.out.prose(&text(&ctx.out, &status))?;
        let (first, more) = the_first_of_each(&status.problems);
        for problem in first {
            ctx.out.problem(problem);
        }
        for (code, n) in more {
            ctx.out.say(&format!("{n} more of {code}: `wgrelay status --json` tells each"));
        }
        if status.state == State::Down {
            let when = if kept_down.is_empty() { "" } else { ", once that is put right" };
            let hint = ctx.out.paint_talk(Role::Head, "hint:");
            ctx.out.say(&format!("{hint} `wgrelay up` brings it up{when}"));
        }
    }
    Ok(if status.is_healthy() { Exit::Done } else { Exit::No })
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
pub(super) fn network_name(ctx: &Context) -> Result<InterfaceName, Fault> {
    match ctx.network_name()? {
        Some(name) => Ok(name),
        None => Ok(ctx.folder()?.name().clone()),
    }
}

/// Says no where another node is asked for than the one that this host was brought up as: its peers are not here.
pub(super) fn is_this_node(ctx: &Context, name: &InterfaceName) -> Result<(), Fault> {
    let Some(asked) = ctx.node_as_typed() else { return Ok(()) };
    match runtime(name)?.read_applied(&ctx.dir)? {
        Some(applied) if applied.node != *asked => Err(Fault::usage(
            format!("this host was brought up as {}, and is not {asked}", applied.node),
            format!(
                "leave --node out for this host; `wgrelay --node {} show {asked}` tells of {asked}",
                applied.node
            ),
        )),
        _ => Ok(()),
    }
}

/// Takes the agent's word, which has the network in mind, or looks at the host.
pub(super) fn seen(ctx: &Context, name: &InterfaceName) -> Result<Status, Fault> {
    understood(ctx, name, ask_status(&runtime(name)?, &ctx.dir))
}

fn understood(ctx: &Context, name: &InterfaceName, told: Option<(Vec<u8>, State)>) -> Result<Status, Fault> {
    told.and_then(|(json, _)| serde_json::from_slice(&json).ok()).map_or_else(|| read(ctx, name), Ok)
}

/// Looks at the host, or says what the file alone tells.
fn read(ctx: &Context, name: &InterfaceName) -> Result<Status, Fault> {
    let runtime = runtime(name)?;
    read_with(ctx, name, &runtime, &Memory::default(), || app::host(&runtime, &[]))
}

/// The same in a process that looks again and again.
pub(super) fn read_with(
    ctx: &Context,
    name: &InterfaceName,
    runtime: &Runtime,
    memory: &Memory,
    open: impl FnOnce() -> Result<LinuxHost, HostError> + Send,
) -> Result<Status, Fault> {
    if let Some(mut seen) = look(&ctx.dir, name, runtime, ctx.now, memory, open)? {
        let goes_back_in = match runtime.unconfirmed(&ctx.dir)? {
            Some(trial) => Some(trial.left(since_boot()?)),
            None => None,
        };
        let is_over = goes_back_in.is_some_and(|left| left.is_zero());
        seen.problems
            .extend(runtime.waiter_words().filter(|_| is_over).map(|why| cannot_go_back(name, &why)));
        let node = &seen.network.nodes[&seen.node];
        return Ok(judge(Inputs {
            network: &seen.network,
            node,
            backend: seen.backend,
            report: seen.report.as_ref(),
            drift: seen.drift,
            problems: seen.problems,
            goes_back_in,
            went_back: went_back::read(&Folder::new(&ctx.dir, name)),
            now: ctx.now,
        }));
    }
    // Never applied since this host started: the file tells what would be.
    let loaded = ctx.load_from(Folder::new(&ctx.dir, name))?;
    let node = ctx.this_node(&loaded)?;
    // A kernel that lists no links has no interface of ours either.
    let backend = standing(name).ok().flatten();
    let elsewhere = runtime.applied_elsewhere(&ctx.dir)?;
    let unrecorded = backend.map(|_| match elsewhere {
        Some(dir) => elsewhere::problem(ctx, name, &dir),
        None => no_record(name),
    });
    Ok(judge(Inputs {
        network: &loaded.network,
        node,
        backend,
        report: None,
        drift: Vec::new(),
        problems: unrecorded.into_iter().collect(),
        goes_back_in: None,
        went_back: went_back::read(&loaded.folder),
        now: ctx.now,
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

/// So many problems of a kind are told one by one.
const TOLD: usize = 12;

/// The problems that a person is told, and how many more there are of each kind: thousands of silent sites are one matter.
fn the_first_of_each(problems: &[Problem]) -> (Vec<&Problem>, BTreeMap<&str, usize>) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let told = problems.iter().filter(|problem| {
        let count = seen.entry(&problem.code).or_default();
        *count += 1;
        *count <= TOLD
    });
    let told = told.collect();
    let more = seen.into_iter().filter_map(|(code, n)| Some((code, n.checked_sub(TOLD).filter(|n| *n > 0)?)));
    (told, more.collect())
}

/// The status as a person reads it.
pub(super) fn text(out: &Output, status: &Status) -> String {
    let (role, word) = match status.state {
        State::Up => (Role::Good, "up"),
        State::Down => (Role::Bad, "down"),
        State::Degraded => (Role::Warn, "degraded"),
    };
    let mut text = format!("{} is {}", out.paint(Role::Name, &status.network), out.paint(role, word));
    if let Some(node) = &status.node {
        text += &format!(": node {node}");
    }
    if let Some(backend) = status.backend {
        text += &format!(", {backend} backend");
    }
    let online = status.peers.iter().filter(|p| p.health == Health::Online).count();
    if status.state != State::Down && !status.peers.is_empty() {
        text += &format!(", {online} of {} peers online", status.peers.len());
    }
    text.push('\n');
    if !status.peers.is_empty() {
        let rows: Vec<Vec<Cell>> = status.peers.iter().map(row).collect();
        text += &table(
            out,
            &["PEER", "HEALTH", "HANDSHAKE", "ENDPOINT", "RECEIVED", "SENT", "ALLOWED IPS"],
            &rows,
            Narrow::Leave,
        );
    }
    if !status.drift.is_empty() {
        text += &format!("{} from what was applied:\n", out.paint(Role::Warn, "drift"));
        for drift in &status.drift {
            let line = &drift.line;
            let none = "nothing".to_string();
            text += &format!(
                "  {} {}: is {}, was applied as {}\n",
                line.kind,
                line.target,
                line.from.as_ref().unwrap_or(&none),
                line.to.as_ref().unwrap_or(&none)
            );
        }
    }
    text
}

fn row(peer: &PeerStatus) -> Vec<Cell> {
    let name = peer.name.as_ref().map_or_else(|| format!("{:.8}…", peer.public_key), ToString::to_string);
    let role = match peer.health {
        Health::Online => Role::Good,
        Health::Uncertain => Role::Warn,
        Health::Down => Role::Bad,
        Health::Idle | Health::Never => Role::Dim,
    };
    let age = peer.handshake_age.map_or_else(|| "-".into(), |s| format!("{} ago", duration(s)));
    let mut allowed: Vec<String> = peer.allowed_ips.iter().take(3).map(ToString::to_string).collect();
    if peer.allowed_ips.len() > 3 {
        allowed.push(format!("and {} more", peer.allowed_ips.len() - 3));
    }
    vec![
        Cell::with(Role::Name, name),
        Cell::with(role, peer.health.as_str()),
        Cell::new(age),
        Cell::new(peer.endpoint.map_or_else(|| "-".into(), |e| e.to_string())),
        Cell::new(bytes(peer.rx_bytes)),
        Cell::new(bytes(peer.tx_bytes)),
        Cell::new(allowed.join(", ")),
    ]
}

/// Bytes in units of 1,024, as `wg show` has them.
fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
    }
}
