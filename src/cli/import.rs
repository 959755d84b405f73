//! `import`: configurations made by hand, made a network; what was wrong in them is told.

use std::path::PathBuf;

use super::args::Import;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::lint;
use super::output::Role;
use crate::app;
use crate::import::Imported;
use crate::store::folder::Folder;
use crate::wgconf::{Decoded, decode};

/// Writes a new network from files.
pub fn import(ctx: &Context, args: &Import) -> Result<Exit, Fault> {
    let relay = args.relay.as_ref();
    // Named twice, it is one file all the same.
    let paths = relay.filter(|r| !args.files.contains(r)).into_iter().chain(&args.files);
    let read_file = |path: &PathBuf| Ok((path.display().to_string(), decode(&lint::read(path)?)));
    let texts: Vec<(String, Decoded)> = paths.map(read_file).collect::<Result<_, Fault>>()?;
    let relay = relay.map(|path| path.display().to_string());
    let (folder, made) = app::import(ctx, &texts, relay.as_deref())?;
    tell(ctx, &folder, &made, texts.len())?;
    Ok(Exit::Done)
}

fn tell(ctx: &Context, folder: &Folder, made: &Imported, files: usize) -> Result<(), Fault> {
    let (out, network) = (&ctx.out, &made.network);
    if out.json {
        out.json(&serde_json::json!({
            "version": 1, "network": network.name, "file": folder.network_path().display().to_string(),
            "nodes": network.nodes.keys().collect::<Vec<_>>(), "problems": made.findings,
        }))?;
        return Ok(());
    }
    let count = if files == 1 { "1 file".into() } else { format!("{files} files") };
    let mut text = format!(
        "{} network {} in {} (from {count})\n",
        out.paint(Role::Good, "wrote"),
        out.paint(Role::Name, network.name.as_str()),
        folder.path().display(),
    );
    for node in network.nodes.values() {
        text += &format!("  {}\n", super::init::node_line(node));
    }
    out.prose(&text)?;
    for finding in &made.findings {
        out.problem(finding);
    }
    let next = format!("{}    who reaches whom now, and what to correct", out.command("check"));
    out.say(&format!("{} {next}", out.paint_talk(Role::Head, "next:")));
    Ok(())
}
