//! `lab check --kill NODE`: what `check --without NODE` says, against real packets.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::super::args::Lab as Args;
use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::Fault;
use super::super::interrupt::interruptions;
use super::super::output::Role;
use super::check::{asking, fault};
use super::standing::of_network;
use super::{Described, build, lab_fault};
use crate::app::find_node;
use crate::lab::{
    Comparison, Lab, LabError, Question, compare, questions_without, schedule, sound, topology,
};
use crate::model::{NodeName, Verdict};
use crate::reach;

/// What came of it; serialises as the program's JSON.
#[derive(Serialize)]
struct Killed<'n> {
    version: u32,
    killed: &'n NodeName,
    /// Whether all predictions were right.
    agree: bool,
    at_once: Comparison,
    /// `None`: nobody takes over.
    after_failover: Option<Comparison>,
}

/// Takes a node's host away, and compares what is left with the prediction: at once, and when the others follow the file
/// without that node.
pub(super) fn check(
    ctx: &Context,
    args: &Args,
    described: &Described,
    dead: &NodeName,
    patience: Duration,
) -> Result<Exit, Fault> {
    let network = &described.network;
    if !find_node(network, dead)?.is_active(ctx.now) {
        return Err(Fault::failed(format!("{dead} takes no part: it is disabled, or has expired"), ""));
    }
    if of_network(&network.name).is_some() {
        return Err(Fault::failed(
            format!("a lab of {} stands, and nobody in it is killed", network.name),
            "`wgrelay lab down` removes it; this builds one of its own",
        ));
    }
    let interrupted = interruptions()?;
    let stop = || interrupted.load(Ordering::SeqCst);
    let takes_over = reach::losses(network, std::slice::from_ref(dead), ctx.now)
        .without
        .first()
        .is_some_and(|loss| loss.after_failover.is_some());
    let layout = topology(network, ctx.now).map_err(|e| lab_fault(&e.into()))?;
    let ask = |lab: &Lab, questions: &[Question], act: &[Vec<usize>], seen: &mut [Option<Verdict>]| {
        let _asking = asking(ctx, act.iter().map(Vec::len).sum());
        for (i, verdict) in
            sound(&lab.spaces, questions, &act.to_vec(), patience, &stop).map_err(|e| fault(&e))?
        {
            seen[i] = Some(verdict);
        }
        if stop() { Err(lab_fault(&LabError::Interrupted)) } else { Ok(()) }
    };

    let questions = questions_without(dead, network, &layout, ctx.now);
    let mut seen = vec![None; questions.len()];
    let mut last = None;
    for act in schedule(&questions) {
        drop(last.take());
        let mut lab = build(ctx, args, described, &interrupted)?;
        lab.kill(dead).map_err(|e| lab_fault(&e))?;
        ask(&lab, &questions, &act, &mut seen)?;
        last = Some(lab);
    }
    let at_once = compare(&questions, &seen);

    let mut after_failover = None;
    if let Some(mut lab) = last.filter(|_| takes_over) {
        lab.go_on_without(dead, ctx.now, &stop).map_err(|e| lab_fault(&e))?;
        let network = reach::without(&network.as_written(), dead);
        let questions = questions_without(dead, &network, &layout, ctx.now);
        let mut seen = vec![None; questions.len()];
        // Everybody has spoken by now.
        let awake = (0..questions.len()).filter(|i| questions[*i].idle.is_none()).collect();
        ask(&lab, &questions, &[awake], &mut seen)?;
        after_failover = Some(compare(&questions, &seen));
    }

    let agree = at_once.agree && after_failover.as_ref().is_none_or(|after| after.agree);
    let killed = Killed { version: 1, killed: dead, agree, at_once, after_failover };
    if ctx.out.json {
        ctx.out.json(&killed)?;
    } else {
        let text = text(&killed);
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let role = if agree { Role::Good } else { Role::Bad };
        ctx.out.prose(&format!("{}\n{rest}", ctx.out.paint(role, first)))?;
    }
    Ok(if agree { Exit::Done } else { Exit::No })
}

fn text(killed: &Killed<'_>) -> String {
    let word = if killed.agree { "agree" } else { "disagree" };
    let mut text = format!("lab and check {word} about the network without {}\n", killed.killed);
    let stages = [("at once", Some(&killed.at_once)), ("after failover", killed.after_failover.as_ref())];
    for (when, comparison) in stages {
        let Some(comparison) = comparison else {
            let _ = writeln!(text, "nobody takes over from {}", killed.killed);
            continue;
        };
        let blocked = comparison.pairs.iter().filter(|p| p.observed == Verdict::Blocked).count();
        let said = comparison.text();
        let _ = writeln!(text, "{when}, {blocked} of {} probes blocked: {said}", comparison.pairs.len());
    }
    text.trim_end().to_owned()
}
