//! `lab check`: what the analysis says, against real packets.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::args::Lab as Args;
use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::Fault;
use super::super::interrupt::interruptions;
use super::super::output::Role;
use super::super::progress::Progress;
use super::standing::of_network;
use super::{Described, build, lab_fault};
use crate::config::parse_network;
use crate::lab::{LabError, Question, compare, questions, schedule, sound, topology};
use crate::model::Verdict;

/// Sends packets for every pair, and compares with what the analysis says of it.
pub(super) fn check(
    ctx: &Context,
    args: &Args,
    described: &Described,
    patience: Duration,
) -> Result<Exit, Fault> {
    let (questions, observed) = match of_network(&described.network.name) {
        Some(_) => in_standing(ctx, described, patience)?,
        None => in_new(ctx, args, described, patience)?,
    };
    let comparison = compare(&questions, &observed);
    if ctx.out.json {
        ctx.out.json(&comparison)?;
    } else {
        let role = if comparison.agree { Role::Good } else { Role::Bad };
        let text = comparison.text();
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        ctx.out.prose(&format!("{}\n{rest}", ctx.out.paint(role, first)))?;
    }
    Ok(if comparison.agree { Exit::Done } else { Exit::No })
}

/// The questions, and what came of each; `None`: not asked.
type Answers = (Vec<Question>, Vec<Option<Verdict>>);

pub(super) fn fault(error: &std::io::Error) -> Fault {
    Fault::failed(format!("cannot ask in the lab: {error}"), "")
}

pub(super) fn asking(ctx: &Context, count: usize) -> Progress {
    Progress::of(&ctx.out, format!("{count} packets are sent and followed"))
}

/// Builds a lab for each act, so that every spoke that should be asleep is.
fn in_new(ctx: &Context, args: &Args, described: &Described, patience: Duration) -> Result<Answers, Fault> {
    let interrupted = interruptions()?;
    let stop = || interrupted.load(Ordering::SeqCst);
    let layout = topology(&described.network, ctx.now).map_err(|e| lab_fault(&e.into()))?;
    let questions = questions(&described.network, &layout, ctx.now);
    let mut observed = vec![None; questions.len()];
    for act in schedule(&questions) {
        let lab = build(ctx, args, described, &interrupted)?;
        let _asking = asking(ctx, act.iter().map(Vec::len).sum());
        for (i, seen) in sound(&lab.spaces, &questions, &act, patience, &stop).map_err(|e| fault(&e))? {
            observed[i] = Some(seen);
        }
        if stop() {
            return Err(lab_fault(&LabError::Interrupted));
        }
    }
    Ok((questions, observed))
}

/// Asks in the lab that stands, as it is by now: everybody in it has spoken.
fn in_standing(ctx: &Context, described: &Described, patience: Duration) -> Result<Answers, Fault> {
    let gone = || Fault::failed("the lab that stood has gone away", "");
    let record = of_network(&described.network.name).ok_or_else(gone)?;
    let interrupted = interruptions()?;
    let stop = || interrupted.load(Ordering::SeqCst);
    if record.text != described.text {
        ctx.out
            .say("the lab that stands was built from another file; what is expected is what that file says");
    }
    let parsed = parse_network(record.text.as_bytes(), "the lab's network");
    let network = parsed.value.ok_or_else(|| Fault::invalid(parsed.problems))?;
    let layout = topology(&network, record.now).map_err(|e| lab_fault(&e.into()))?;
    let questions = questions(&network, &layout, record.now);
    let spaces = record.enter().map_err(|e| fault(&e))?;
    let asked: Vec<usize> = (0..questions.len()).filter(|i| questions[*i].idle.is_none()).collect();
    let _asking = asking(ctx, asked.len());
    let mut observed = vec![None; questions.len()];
    for (i, seen) in sound(&spaces, &questions, &vec![asked], patience, &stop).map_err(|e| fault(&e))? {
        observed[i] = Some(seen);
    }
    if stop() {
        return Err(lab_fault(&LabError::Interrupted));
    }
    Ok((questions, observed))
}
