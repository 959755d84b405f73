//! `lab check`: what the analysis says, against real packets.

use super::super::args::Lab as Args;
use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::Fault;
use super::super::interrupt::interruptions;
use super::super::output::Role;
use super::super::progress::Progress;
use super::{Described, build, lab_fault};
use crate::lab::{LabError, compare, questions, sound};

/// Sends packets for every pair, and compares with what the analysis says of it.
pub(super) fn check(ctx: &Context, args: &Args, described: &Described) -> Result<Exit, Fault> {
    let interrupted = interruptions()?;
    let lab = build(ctx, args, described, &interrupted)?;
    let stop = || interrupted.load(std::sync::atomic::Ordering::SeqCst);
    let questions = questions(&lab.layout, &lab.topology, ctx.now);
    let asking = Progress::of(&ctx.out, format!("{} packets are sent and followed", questions.len()));
    let observed = sound(&lab, &questions, &stop)
        .map_err(|e| Fault::failed(format!("cannot ask in the lab: {e}"), ""))?;
    drop(asking);
    if stop() {
        return Err(lab_fault(&LabError::Interrupted));
    }
    drop(lab);
    let comparison = compare(&questions, &observed);
    if ctx.out.json {
        ctx.out.json(&comparison)?;
    } else {
        let role = if comparison.agree { Role::Good } else { Role::Bad };
        let text = comparison.text();
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        ctx.out.result(&format!("{}\n{rest}", ctx.out.paint(role, first)))?;
    }
    Ok(if comparison.agree { Exit::Done } else { Exit::No })
}
