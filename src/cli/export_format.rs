//! `export` for programs that read something else than a `.conf`: one file or several, and lists of all nodes.

use serde::Serialize;

use super::args::{Export, Format};
use super::context::Context;
use super::exit::Exit;
use super::export::{is_stdout, out_fault};
use super::fault::Fault;
use super::output::Role;
use crate::app::find_node;
use crate::config::Secrets;
use crate::export::Exported;
use crate::export::format::{
    ClientFormat, Files, ListFormat, NamedFile, PowerShell, client_files, compose, list_file, powershell,
    quadlet,
};
use crate::model::{Network, Node, NodeName, Platform, Problem};
use crate::store::batch::Batch;
use crate::store::files::create_private_dir;
use crate::store::folder::write_private;

/// Returns the program that a format is for, where it brings up an interface.
pub(super) const fn client(format: Format) -> Option<ClientFormat> {
    Some(match format {
        Format::NetworkManager => ClientFormat::NetworkManager,
        Format::Networkd => ClientFormat::Networkd,
        Format::Uci => ClientFormat::Uci,
        Format::Mikrotik => ClientFormat::Mikrotik,
        Format::Nix => ClientFormat::Nix,
        _ => return None,
    })
}

/// Returns the list that a format is.
pub(super) const fn list(format: Format) -> Option<ListFormat> {
    Some(match format {
        Format::Prometheus => ListFormat::Prometheus,
        Format::Ansible => ListFormat::Ansible,
        _ => return None,
    })
}

/// Says whether `--all` writes it, a file a node.
pub(super) const fn is_for_all(format: Format) -> bool {
    client(format).is_none() && !matches!(format, Format::PowerShell | Format::Compose | Format::Quadlet)
}

/// Exports a list of all nodes.
pub(super) fn export_list(
    ctx: &Context,
    network: &Network,
    format: ListFormat,
    args: &Export,
) -> Result<Exit, Fault> {
    if args.name.is_some() {
        return Err(Fault::usage(
            format!("--format {} is a list of all nodes and takes none", args.format.name()),
            "leave the node out",
        ));
    }
    let files = vec![list_file(format, network, ctx.now)];
    write(ctx, &Files { files, problems: Vec::new() }, None, args)
}

/// Exports a node's configuration for a program.
pub(super) fn export_client(
    ctx: &Context,
    network: &Network,
    node: &Node,
    exported: &Exported,
    format: ClientFormat,
    args: &Export,
) -> Result<Exit, Fault> {
    let mut made = client_files(format, network, node, exported);
    made.problems.splice(0..0, exported.problems.iter().cloned());
    write(ctx, &made, Some(&node.name), args)
}

/// Exports the script for Windows' administrator.
pub(super) fn powershell_script(
    ctx: &Context,
    network: &Network,
    name: &NodeName,
    args: &Export,
) -> Result<Exit, Fault> {
    let node = find_node(network, name)?;
    if node.platform != Platform::Windows {
        return Err(Fault::usage(
            format!("{name} is no Windows node: its platform is {}", node.platform.as_str()),
            "name the node that is the PC on which the relay's WSL runs",
        ));
    }
    let relay = network
        .relays()
        .find(|relay| relay.is_active(ctx.now))
        .ok_or_else(|| Fault::failed(format!("{} has no relay that is enabled", network.name), ""))?;
    let distribution = distribution();
    if distribution.is_none() {
        ctx.out.say(&format!(
            "{} which distribution of WSL {} runs in is not known here (sudo drops WSL_DISTRO_NAME): the script holds the default one",
            ctx.out.paint_talk(Role::Warn, "check:"),
            relay.name
        ));
    }
    let asked = PowerShell { network, node, relay, distribution: distribution.as_deref() };
    write(ctx, &Files { files: vec![powershell(&asked)], problems: Vec::new() }, Some(name), args)
}

/// Exports what runs a node in a container: a compose file, or a unit of Podman's. Where it goes to a file, the bundle that it mounts
/// goes beside it.
pub(super) fn container_file(
    ctx: &Context,
    network: &Network,
    secrets: &Secrets,
    node: &Node,
    args: &Export,
) -> Result<Exit, Fault> {
    let runs = match args.format {
        Format::Quadlet => matches!(node.platform, Platform::Docker | Platform::Linux),
        _ => node.platform == Platform::Docker,
    };
    if !runs {
        return Err(Fault::usage(
            format!("{} runs in no container: its platform is {}", node.name, node.platform.as_str()),
            format!("`wgrelay set {} platform docker` where it does", node.name),
        ));
    }
    let bundle = format!("{}.bundle", node.name);
    let program =
        std::env::current_exe().map_or_else(|_| "/usr/bin/wgrelay".into(), |path| path.display().to_string());
    let file = match args.format {
        Format::Quadlet => quadlet(network, node, &program, &bundle),
        _ => compose(network, node, &program, &bundle),
    };
    let made = Files { files: vec![file], problems: Vec::new() };
    if let Some(out) = args.out.as_deref().filter(|path| !is_stdout(Some(path))) {
        let beside = out.with_file_name(&bundle);
        write_private(&beside, super::export::bundle(network, secrets, node)?.as_bytes())
            .map_err(out_fault)?;
        ctx.out.say(&format!(
            "{} the bundle of {} to {} (mode 0600: it holds a private key)",
            ctx.out.paint_talk(Role::Good, "wrote"),
            node.name,
            beside.display()
        ));
    }
    write(ctx, &made, Some(&node.name), args)
}

/// Which of WSL's distributions this is, where it is one.
#[expect(clippy::disallowed_methods, reason = "the environment is the command line's to read")]
fn distribution() -> Option<String> {
    std::env::var("WSL_DISTRO_NAME").ok().filter(|name| !name.is_empty())
}

#[derive(Serialize)]
struct PrintedFile<'a> {
    name: &'a str,
    content: Option<&'a str>,
    file: Option<String>,
}

#[derive(Serialize)]
struct Printed<'a> {
    version: u32,
    node: Option<&'a NodeName>,
    format: &'a str,
    files: Vec<PrintedFile<'a>>,
    problems: &'a [Problem],
}

/// The mode of one of several files: beside the one with the key, others are for a program that runs as a user of its own.
const fn mode(file: &NamedFile) -> u32 {
    if file.secret { 0o600 } else { 0o644 }
}

/// Writes one file to the file that was named, several into the folder, or all to standard output.
fn write(ctx: &Context, made: &Files, node: Option<&NodeName>, args: &Export) -> Result<Exit, Fault> {
    let out = args.out.as_deref().filter(|path| !is_stdout(Some(path)));
    let places: Vec<Option<String>> = made
        .files
        .iter()
        .map(|file| {
            let single = made.files.len() == 1;
            out.map(|path| if single { path.into() } else { path.join(&file.name) })
                .map(|path| path.display().to_string())
        })
        .collect();
    match (out, made.files.as_slice()) {
        (Some(path), [file]) => write_private(path, file.text.as_bytes()).map_err(out_fault)?,
        (Some(dir), files) => {
            create_private_dir(dir).map_err(out_fault)?;
            let batch = Batch::new(dir).map_err(out_fault)?;
            for file in files {
                batch.write(&file.name, mode(file), file.text.as_bytes()).map_err(out_fault)?;
            }
            batch.finish().map_err(|e| Fault { message: e.to_string(), ..out_fault(e.error) })?;
        }
        (None, _) => {}
    }
    if ctx.out.json {
        let files = made
            .files
            .iter()
            .zip(&places)
            .map(|(file, place)| PrintedFile {
                name: &file.name,
                // What is in the file is not printed, too.
                content: place.is_none().then(|| file.text.as_str()),
                file: place.clone(),
            })
            .collect();
        let format = args.format.name();
        ctx.out.secret_json(&Printed { version: 1, node, format, files, problems: &made.problems })?;
        return Ok(Exit::Done);
    }
    for problem in &made.problems {
        ctx.out.problem(problem);
    }
    for (file, place) in made.files.iter().zip(&places) {
        let Some(place) = place else {
            if made.files.len() > 1 {
                ctx.out.bytes(format!("# {}\n", file.name).as_bytes())?;
            }
            ctx.out.bytes(file.text.as_bytes())?;
            continue;
        };
        let why = match (file.secret, made.files.len()) {
            (true, _) => "mode 0600: it holds a key",
            (false, 1) => "mode 0600",
            (false, _) => "mode 0644",
        };
        ctx.out.say(&format!("{} {place} ({why})", ctx.out.paint_talk(Role::Good, "wrote")));
    }
    Ok(Exit::Done)
}
