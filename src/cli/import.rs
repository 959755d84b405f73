//! `import`: configurations made by hand, made a network; what was wrong in them is told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;

use super::args::Import;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::lint;
use super::output::Role;
use crate::host::{discover, random};
use crate::import::{File, Imported, Wishes, import as read};
use crate::model::Problem;
use crate::store::Contents;
use crate::store::folder::Folder;
use crate::wgconf::{Decoded, decode};

/// Writes a new network from files.
pub fn import(ctx: &Context, args: &Import) -> Result<Exit, Fault> {
    let relay = args.relay.as_ref();
    // Named twice, it is one file all the same.
    let paths = relay.filter(|r| !args.files.contains(r)).into_iter().chain(&args.files);
    let read_file = |path: &PathBuf| Ok((path.display().to_string(), decode(&lint::read(path)?)));
    let texts: Vec<(String, Decoded)> = paths.map(read_file).collect::<Result<_, Fault>>()?;
    let files: Vec<File<'_>> =
        texts.iter().map(|(name, decoded)| File { name, text: &decoded.text }).collect();
    let docker = docker_networks();
    let relay = relay.map(|path| path.display().to_string());
    let mut preshared_key = random::preshared_key;
    let wishes = Wishes {
        name: ctx.network_name()?,
        relay: relay.as_deref(),
        now: ctx.now,
        docker: &docker,
        preshared_key: &mut preshared_key,
    };
    let mut made = read(&files, wishes).map_err(not_a_network)?;
    made.findings.splice(0..0, texts.iter().filter_map(|(name, decoded)| decoded.warning(name)));

    let folder = Folder::new(&ctx.dir, &made.network.name);
    let count = if files.len() == 1 { "1 file".to_owned() } else { format!("{} files", files.len()) };
    let contents = Contents::new(made.text.as_bytes(), Some(made.secrets.render().as_bytes()));
    folder.create(&contents, ctx.note(format!("imported from {count}")))?;
    tell(ctx, &folder, &made, files.len())?;
    Ok(Exit::Done)
}

/// Docker's networks by subnet; none where no engine answers.
fn docker_networks() -> BTreeMap<IpNet, String> {
    let networks = discover::discover().docker.unwrap_or_default();
    networks.into_iter().flat_map(|(name, n)| n.subnets.into_iter().map(move |s| (s, name.clone()))).collect()
}

fn not_a_network(problems: Vec<Problem>) -> Fault {
    Fault {
        exit: Exit::Invalid,
        problems,
        ..Fault::failed("these files do not make a network; nothing was written", "")
    }
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
