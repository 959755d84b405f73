//! `trace`: one packet's path, there and back, and where it ends.

use super::args::Trace as Args;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::paint;
use crate::app::{self, TypedFlow};
use crate::model::Verdict;
use crate::reach::trace_text;

/// Traces a flow.
pub fn trace(ctx: &Context, args: &Args) -> Result<Exit, Fault> {
    let asked =
        TypedFlow { from: args.from.clone(), to: args.to.clone(), port: args.port.clone(), live: args.live };
    let answer = app::trace(ctx, &asked)?;
    if ctx.out.json {
        ctx.out.json(&answer)?;
    } else {
        ctx.out.prose(&paint::trace(&ctx.out, &trace_text(&answer)))?;
    }
    Ok(if answer.verdict == Verdict::Reaches { Exit::Done } else { Exit::No })
}
