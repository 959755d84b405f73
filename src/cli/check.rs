//! `check`: is the file sound, who reaches whom, and are the promises kept?

use serde::Serialize;

use super::args::Check;
use super::context::Context;
use super::exit::Exit;
use super::fault::{Fault, FaultKind};
use super::paint;
use crate::app;
use crate::model::Problem;
use crate::reach;

/// The answer for a file that cannot be used.
#[derive(Serialize)]
struct Invalid<'a> {
    version: u32,
    classes: [(); 0],
    pairs: [(); 0],
    problems: &'a [Problem],
}

/// Columns of a result that goes to no terminal.
const COLUMNS: usize = 100;

/// Checks the network, or tells what the death of nodes takes away.
pub fn check(ctx: &Context, args: &Check) -> Result<Exit, Fault> {
    match &args.without {
        Some(node) => without(ctx, node),
        None => whole(ctx),
    }
}

fn without(ctx: &Context, node: &str) -> Result<Exit, Fault> {
    let losses = app::losses(ctx, node)?;
    if ctx.out.json {
        ctx.out.json(&losses)?;
    } else {
        ctx.out.prose(&reach::losses_text(&losses))?;
    }
    Ok(Exit::Done)
}

fn whole(ctx: &Context) -> Result<Exit, Fault> {
    let mut check = match app::check(ctx) {
        Err(fault) if ctx.out.json && fault.kind == FaultKind::Invalid => {
            ctx.out.json(&Invalid { version: 1, classes: [], pairs: [], problems: &fault.problems })?;
            return Ok(Exit::Invalid);
        }
        other => other?,
    };
    let broken = check.problems.iter().any(Problem::is_error);
    if ctx.out.json {
        ctx.out.json(&check)?;
    } else {
        let problems = std::mem::take(&mut check.problems);
        // The matrix is the result; problems are told as every command tells them.
        let width = ctx.out.width().unwrap_or(COLUMNS);
        let mut text = reach::matrix_text(&check, width);
        // The first line speaks of the file; what this host has otherwise must not stand below it alone.
        if problems.iter().any(|p| p.code == app::NOT_HERE) {
            let end = text.find('\n').unwrap_or(text.len());
            text.insert_str(end, " by the file, and not on this host: see below");
        }
        ctx.out.prose(&paint::matrix(&ctx.out, &text))?;
        for problem in &problems {
            ctx.out.problem(problem);
        }
    }
    Ok(if broken { Exit::No } else { Exit::Done })
}
