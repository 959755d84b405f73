//! `import`: configurations made by hand, made a network; what was wrong in them is told.

use super::args::Import;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::import_folder;
use super::output::Role;
use super::root::require_root;
use crate::app::{self, ImportedNetwork, Resumed, TakenOver};
use crate::model::InterfaceName;

/// Writes a new network from files, or from an interface that runs here.
pub fn import(ctx: &Context, args: &Import) -> Result<Exit, Fault> {
    if args.take_over {
        require_root(ctx, "import --take-over")?;
    }
    let relay = args.relay.as_ref();
    // Named twice, it is one file all the same.
    let paths = relay.filter(|r| !args.files.contains(r)).into_iter().chain(&args.files);
    let mut files = Vec::new();
    for path in paths.map(|path| import_folder::files(path)).collect::<Result<Vec<_>, Fault>>()?.concat() {
        files.push((path.display().to_string(), import_folder::read(&path)?));
    }
    let asked = app::Import {
        files,
        relay: relay.map(|path| path.display().to_string()),
        live: interface(args)?,
        take_over: args.take_over,
    };
    tell(ctx, &app::import(ctx, asked)?)?;
    Ok(Exit::Done)
}

/// The interface that is meant: the one that was named; to take over, else the one that the relay's file is called after.
fn interface(args: &Import) -> Result<Option<InterfaceName>, Fault> {
    if args.live.is_some() || !args.take_over {
        return Ok(args.live.clone());
    }
    let file = args.relay.as_ref().or_else(|| args.files.first());
    let stem = file.and_then(|f| f.file_stem()?.to_str()?.parse().ok());
    stem.map(Some).ok_or_else(|| {
        Fault::usage(
            "nothing says which interface is to be taken over",
            "name it: `wgrelay import --live wg0 --take-over`",
        )
    })
}

fn tell(ctx: &Context, new: &ImportedNetwork) -> Result<(), Fault> {
    let ImportedNetwork { folder, made, files, taken_over } = new;
    let (out, network) = (&ctx.out, &made.network);
    if out.json {
        let taken = |t: &TakenOver| {
            serde_json::json!({
                "backend": t.brought_up.done.backend, "online_before": t.resumed.before, "online_again": t.resumed.again, "unit": t.unit,
            })
        };
        out.json(&serde_json::json!({
            "version": 1, "network": network.name, "file": folder.network_path().display().to_string(),
            "nodes": network.nodes.keys().collect::<Vec<_>>(), "problems": made.findings,
            "taken_over": taken_over.as_ref().map(taken),
        }))?;
        return Ok(());
    }
    let count = if *files == 1 { "1 file".into() } else { format!("{files} files") };
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
    if let Some(taken) = taken_over {
        return tell_taken_over(ctx, taken);
    }
    let next = format!("{}    who reaches whom now, and what to correct", out.command("check"));
    out.say(&format!("{} {next}", out.paint_talk(Role::Head, "next:")));
    Ok(())
}

fn tell_taken_over(ctx: &Context, taken: &TakenOver) -> Result<(), Fault> {
    let TakenOver { brought_up, resumed: Resumed { before, again }, unit } = taken;
    let word = ctx.out.paint(if again == before { Role::Good } else { Role::Warn }, "taken over");
    let network = &brought_up.network;
    ctx.out.prose(&match before {
        0 => {
            format!("{network} is {word}: no peer had a session; each is called where it was last heard from")
        }
        _ => format!("{network} is {word}: {again} of {before} peers that had a session have one again"),
    })?;
    for problem in &brought_up.done.problems {
        ctx.out.problem(problem);
    }
    if again < before {
        ctx.out.say("`wgrelay status` tells who is missing; a peer behind NAT comes back when it speaks");
    }
    if let Some(unit) = unit {
        ctx.out.say(&format!("it comes up with this host: {unit} instead of wg-quick's unit"));
    }
    Ok(())
}
