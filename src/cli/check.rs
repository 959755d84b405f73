//! `check`: is the file sound?

use serde::Serialize;

use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use crate::model::Problem;

#[derive(Serialize)]
struct Check<'a> {
    version: u32,
    problems: &'a [Problem],
}

/// Checks the network file.
pub fn check(ctx: &Context) -> Result<Exit, Fault> {
    let folder = ctx.folder()?;
    match ctx.load_from(folder) {
        Ok(loaded) => {
            if ctx.out.json {
                ctx.out.json(&Check { version: 1, problems: &loaded.warnings })?;
                return Ok(Exit::Done);
            }
            for warning in &loaded.warnings {
                ctx.out.problem(warning);
            }
            let warnings = match loaded.warnings.len() {
                0 => String::new(),
                1 => ", 1 warning".into(),
                n => format!(", {n} warnings"),
            };
            let (nodes, sites) = (
                loaded.network.nodes.len(),
                loaded.network.nodes.values().map(|n| n.sites.len()).sum::<usize>(),
            );
            ctx.out.result(&format!(
                "{} {}: {nodes} nodes, {sites} sites{warnings}",
                ctx.out.paint(Role::Good, "valid"),
                loaded.folder.network_path().display(),
            ))?;
            Ok(Exit::Done)
        }
        Err(fault) if ctx.out.json && fault.exit == Exit::Invalid => {
            ctx.out.json(&Check { version: 1, problems: &fault.problems })?;
            Ok(Exit::Invalid)
        }
        Err(fault) => Err(fault),
    }
}
