//! Bare `lab`: built, asked, told, removed.

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::args::Lab as Args;
use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::Fault;
use super::super::interrupt::interruptions;
use super::super::output::{Output, Role};
use super::super::progress::Progress;
use super::super::table::{Cell, Narrow, shorten, table};
use super::{Described, ask, build};
use crate::lab::{Observed, Pair, PlaceKind, Topology};

/// Beyond this many places a matrix no longer fits 80 columns, and only what fails is listed.
const MATRIX_PLACES: usize = 14;

/// Builds, asks, tells and removes.
#[expect(clippy::disallowed_methods, reason = "the time it took is part of the answer")]
pub(super) fn once(ctx: &Context, args: &Args, described: &Described) -> Result<Exit, Fault> {
    let start = Instant::now();
    let interrupted = interruptions()?;
    let lab = build(ctx, args, described, &interrupted)?;
    let asking =
        Progress::of(&ctx.out, format!("{} pairs send pings and call each other", lab.topology.pairs.len()));
    let observed = ask(&lab, &interrupted)?;
    drop(asking);
    let topology = lab.topology.clone();
    let name = lab.network.to_string();
    drop(lab);
    let seconds = start.elapsed().as_secs_f64();
    let answers: Vec<Answer<'_>> =
        topology.pairs.iter().zip(&observed).map(|(p, o)| Answer { pair: p, seen: o }).collect();
    if ctx.out.json {
        ctx.out.json(&json(&topology, &name, &answers, seconds))?;
    } else {
        ctx.out.prose(&text(&ctx.out, &topology, &answers, seconds))?;
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
    let (promised, others): (Vec<&Answer<'_>>, Vec<&Answer<'_>>) =
        answers.iter().partition(|a| a.pair.promised);
    let broken: Vec<&&Answer<'_>> = promised.iter().filter(|a| !a.is_good()).collect();
    let role = if broken.is_empty() { Role::Good } else { Role::Bad };
    let count = format!("{} of {}", promised.len() - broken.len(), promised.len());
    let mut text = format!("{} pairs reach by ping and TCP ({seconds:.1} s)\n", out.paint(role, &count));
    if topology.places.len() <= MATRIX_PLACES {
        text += &matrix(out, topology, answers);
    }
    for answer in broken {
        let (from, to) = (&topology.places[answer.pair.from], &topology.places[answer.pair.to]);
        text += &format!("{} to {}: {}\n", from.name, to.name, out.paint(Role::Bad, &answer.what()));
    }
    if !others.is_empty() {
        let reach = others.iter().filter(|a| a.is_good()).count();
        text += &format!(
            "{} more pairs are not promised, and {reach} of them reach (`wgrelay check` says why)\n",
            others.len()
        );
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
    table(out, &headings, &rows, Narrow::Wrap)
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
