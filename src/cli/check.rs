//! `check`: is the file sound, who reaches whom, and are the promises kept?

use serde::Serialize;

use super::context::{Context, Loaded};
use super::exit::Exit;
use super::fault::Fault;
use super::paint;
use super::progress::Progress;
use crate::host::docker::Engine;
use crate::model::{Problem, Site, SiteInterface};
use crate::plan::wrong_docker_subnets;
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
    let progress = Progress::of(&ctx.out, "working out who reaches whom");
    match ctx.load_from(folder) {
        Ok(loaded) => answer(ctx, &loaded, progress),
        Err(fault) if ctx.out.json && fault.exit == Exit::Invalid => {
            ctx.out.json(&Invalid { version: 1, classes: [], pairs: [], problems: &fault.problems })?;
            Ok(Exit::Invalid)
        }
        Err(fault) => Err(fault),
    }
}

/// Tells where Docker, on the host that is a node, has another subnet than the file.
fn wrong_here(ctx: &Context, loaded: &Loaded) -> Vec<Problem> {
    let is_docker = |site: &Site| matches!(site.interface, Some(SiteInterface::Docker(_)));
    let here = ctx.this_node(loaded).ok().filter(|node| node.sites.iter().any(is_docker));
    let networks = here.and_then(|_| Engine::here()?.networks());
    here.zip(networks).map_or_else(Vec::new, |(node, networks)| wrong_docker_subnets(node, &networks))
}

fn answer(ctx: &Context, loaded: &Loaded, progress: Progress) -> Result<Exit, Fault> {
    let mut check = reach::check(&loaded.network, ctx.now);
    drop(progress);
    // What the file's reader warned of comes first; what both say is said once.
    let mut problems = loaded.warnings.clone();
    let told: Vec<String> = problems.iter().map(|p| p.code.clone()).collect();
    problems.extend(loaded.folder.exposed_secrets(loaded.network.nodes.keys()));
    let found = check.problems.drain(..).filter(|p| p.is_error() || !told.contains(&p.code));
    problems.extend(loaded.located(found.collect()));
    problems.extend(wrong_here(ctx, loaded));
    let broken = problems.iter().any(Problem::is_error);
    if ctx.out.json {
        check.problems = problems;
        ctx.out.json(&check)?;
    } else {
        // The matrix is the result; problems are told as every command tells them.
        let width = ctx.out.width().unwrap_or(COLUMNS);
        ctx.out.prose(&paint::matrix(&ctx.out, &reach::matrix_text(&check, width)))?;
        for problem in &problems {
            ctx.out.problem(problem);
        }
    }
    Ok(if broken { Exit::No } else { Exit::Done })
}
