//! `status`: who is online, and whether the host is as it was applied.

use std::collections::BTreeMap;

use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::{Output, Role};
use super::table::{Cell, Narrow, table};
use crate::app::{self, Answer};
use crate::model::Problem;
use crate::status::{ActiveRelay, FloatingStatus, Health, PeerStatus, State, Status, duration};

/// Shows the status.
pub fn status(ctx: &Context) -> Result<Exit, Fault> {
    let (status, kept_down) = match app::status(ctx, ctx.out.json)? {
        Answer::Told { json, state } => {
            ctx.out.json_text(&json)?;
            return Ok(if state == State::Up { Exit::Done } else { Exit::No });
        }
        Answer::Seen { status, kept_down } => (status, kept_down),
    };
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
            let when = if kept_down { ", once that is put right" } else { "" };
            let hint = ctx.out.paint_talk(Role::Head, "hint:");
            ctx.out.say(&format!("{hint} `wgrelay up` brings it up{when}"));
        }
    }
    Ok(if status.is_healthy() { Exit::Done } else { Exit::No })
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
    if let Some(since) = status.store.as_ref().and_then(|store| store.unreachable_since) {
        text += &format!(", {} since {since}", out.paint(Role::Warn, "the store is not reached"));
    }
    text.push('\n');
    if let Some(relay) = &status.relay {
        text += &carried(out, relay);
    }
    if let Some(floating) = &status.floating {
        text += &format!("{}\n", moves(floating));
    }
    if !status.attached.is_empty() {
        let away = status.attached.iter().map(|spoke| format!("{} at {}", spoke.node, spoke.relay));
        text += &format!("away from home: {}\n", away.collect::<Vec<_>>().join(", "));
    }
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

/// Which relay carries this spoke, and how the others are.
fn carried(out: &Output, relay: &ActiveRelay) -> String {
    let mut text = format!("carried by {}", out.paint(Role::Name, relay.name.as_str()));
    if let Some(since) = relay.since {
        text += &format!(" since {since}");
    }
    let others: Vec<String> =
        relay.relays.iter().map(|other| format!("{} {}", other.name, other.state.as_str())).collect();
    if !others.is_empty() {
        text += &format!("; {}", others.join(", "));
    }
    text + "\n"
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
pub fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// Who carries a relay that several hosts can carry.
fn moves(floating: &FloatingStatus) -> String {
    let mut text = format!("{} is carried by ", floating.address.addr());
    text += floating.holder.as_ref().map_or("nobody that is known", |holder| holder.as_str());
    if let Some(since) = floating.since {
        text += &format!(" since {since}");
    }
    if let Some(host) = &floating.host {
        let here = if floating.holder.as_ref() == Some(host) { "this host" } else { "this host stands by" };
        text += &format!("; {here}: {host}");
    }
    if !floating.ready.is_empty() {
        let ready: Vec<&str> = floating.ready.iter().map(crate::model::NodeName::as_str).collect();
        text += &format!("; {} can take over", ready.join(", "));
    }
    text
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
