//! `check`: is the file sound, who reaches whom, and are the promises kept?

use serde::Serialize;

use super::context::{Context, Loaded};
use super::exit::Exit;
use super::fault::Fault;
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

/// Checks the network.
pub fn check(ctx: &Context) -> Result<Exit, Fault> {
    let folder = ctx.folder()?;
    match ctx.load_from(folder) {
        Ok(loaded) => answer(ctx, &loaded),
        Err(fault) if ctx.out.json && fault.exit == Exit::Invalid => {
            ctx.out.json(&Invalid { version: 1, classes: [], pairs: [], problems: &fault.problems })?;
            Ok(Exit::Invalid)
        }
        Err(fault) => Err(fault),
    }
}

fn answer(ctx: &Context, loaded: &Loaded) -> Result<Exit, Fault> {
    let mut check = reach::check(&loaded.network, ctx.now);
    // What the file's reader warned of comes first; what both say is said once.
    let mut problems = loaded.warnings.clone();
    let told: Vec<String> = problems.iter().map(|p| p.code.clone()).collect();
    problems.extend(check.problems.drain(..).filter(|p| p.is_error() || !told.contains(&p.code)));
    check.problems = problems;
    if ctx.out.json {
        ctx.out.json(&check)?;
    } else {
        let width = terminal_size::terminal_size().map_or(COLUMNS, |(w, _)| usize::from(w.0));
        ctx.out.result(&reach::matrix_text(&check, width))?;
        for problem in &check.problems {
            ctx.out.problem(problem);
        }
    }
    Ok(if check.is_broken() { Exit::No } else { Exit::Done })
}
