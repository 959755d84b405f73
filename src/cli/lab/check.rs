//! `lab check`: what the analysis says, against real packets.

use super::super::args::Lab as Args;
use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::Fault;
use super::super::interrupt::interruptions;
use super::super::output::{Output, Role};
use super::super::table::{Cell, table};
use super::{Described, ask, build};
use crate::lab::probe::PORT;
use crate::lab::{Pair, every_pair, is_quiet, predict};
use crate::model::Verdict;

/// One answer of `lab check`.
#[derive(serde::Serialize)]
struct Compared<'t> {
    from: &'t str,
    to: &'t str,
    port: String,
    predicted: Verdict,
    observed: Verdict,
}

#[derive(serde::Serialize)]
struct Comparison<'t> {
    version: u32,
    pairs: Vec<Compared<'t>>,
    agree: bool,
}

/// Asks everybody for everybody, and compares with what the analysis says.
pub(super) fn check(ctx: &Context, args: &Args, described: &Described) -> Result<Exit, Fault> {
    let interrupted = interruptions()?;
    let mut lab = build(ctx, args, described, &interrupted)?;
    let (quiet, others): (Vec<Pair>, Vec<Pair>) =
        every_pair(&lab.topology).into_iter().partition(|p| is_quiet(&lab.layout, &lab.topology, p));
    let mut observed = Vec::new();
    for round in [&others, &quiet] {
        lab.topology.pairs.clone_from(round);
        observed.extend(ask(&lab, &interrupted)?);
    }
    lab.topology.pairs = [others, quiet].concat();
    let predicted = predict(&lab.layout, &lab.topology, ctx.now);
    let topology = lab.topology.clone();
    drop(lab);
    let verdict = |reaches: bool| if reaches { Verdict::Reaches } else { Verdict::Blocked };
    let mut pairs = Vec::new();
    for ((pair, said), seen) in topology.pairs.iter().zip(&predicted).zip(&observed) {
        let (from, to) = (topology.places[pair.from].name.as_str(), topology.places[pair.to].name.as_str());
        let ping = verdict(seen.ping.is_some());
        pairs.push(Compared { from, to, port: "icmp".into(), predicted: said.ping, observed: ping });
        let tcp = verdict(seen.tcp);
        pairs.push(Compared { from, to, port: format!("tcp/{PORT}"), predicted: said.tcp, observed: tcp });
    }
    let agree = pairs.iter().all(|p| p.predicted == p.observed);
    let answer = Comparison { version: 1, pairs, agree };
    if ctx.out.json {
        ctx.out.json(&answer)?;
    } else {
        ctx.out.result(&comparison_text(&ctx.out, &answer))?;
    }
    Ok(if agree { Exit::Done } else { Exit::No })
}

fn comparison_text(out: &Output, answer: &Comparison<'_>) -> String {
    let differing: Vec<&Compared<'_>> = answer.pairs.iter().filter(|p| p.predicted != p.observed).collect();
    let reached = answer.pairs.iter().filter(|p| p.observed == Verdict::Reaches).count();
    let total = answer.pairs.len();
    let role = if answer.agree { Role::Good } else { Role::Bad };
    let count = format!("{} of {total}", total - differing.len());
    let mut text = format!(
        "{} predictions are right: {reached} reach, {} are blocked\n",
        out.paint(role, &count),
        total - reached
    );
    if !differing.is_empty() {
        let rows: Vec<Vec<Cell>> = differing
            .iter()
            .map(|p| {
                vec![
                    Cell::with(Role::Name, p.from),
                    Cell::with(Role::Name, p.to),
                    Cell::new(p.port.as_str()),
                    Cell::new(p.predicted.to_string()),
                    Cell::with(Role::Bad, p.observed.to_string()),
                ]
            })
            .collect();
        text += &table(out, &["FROM", "TO", "PORT", "PREDICTED", "OBSERVED"], &rows);
    }
    text
}
