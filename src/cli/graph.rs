//! `graph`: the network as a picture.

use super::args::{Graph, GraphFormat};
use super::context::Context;
use super::exit::Exit;
use super::export::{is_stdout, out_fault};
use super::fault::Fault;
use super::output::Role;
use super::progress::Progress;
use crate::export::graph::{diagram, mermaid, svg};
use crate::reach;
use crate::store::folder::write_private;

/// Draws the network.
pub fn graph(ctx: &Context, args: &Graph) -> Result<Exit, Fault> {
    let loaded = ctx.load_network()?;
    let progress = Progress::of(&ctx.out, "working out who reaches whom");
    let check = reach::check(&loaded.network, ctx.now);
    drop(progress);
    let picture = diagram(&loaded.network, &check, ctx.now);
    let (name, text) = match args.format {
        GraphFormat::Svg => ("svg", svg(&picture)),
        GraphFormat::Mermaid => ("mermaid", mermaid(&picture)),
    };
    let file = args.out.as_deref().filter(|path| !is_stdout(Some(path)));
    if let Some(path) = file {
        write_private(path, text.as_bytes()).map_err(out_fault)?;
    }
    if ctx.out.json {
        ctx.out.json(&serde_json::json!({
            "version": 1, "network": loaded.network.name, "format": name, "answer": picture.answer,
            "content": file.is_none().then_some(&text), "file": file.map(|path| path.display().to_string()),
        }))?;
    } else if let Some(path) = file {
        let wrote = ctx.out.paint_talk(Role::Good, "wrote");
        ctx.out.say(&format!("{wrote} {}: {}", path.display(), picture.answer));
    } else {
        ctx.out.result(&text)?;
    }
    Ok(Exit::Done)
}
