//! `export`: a node's file, for its client, as a QR code, or as a bundle.

use std::io::IsTerminal as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::args::{Export, Format};
use super::context::{Context, Loaded, find_node};
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use super::progress::Progress;
use crate::conf::{Client, lint_name};
use crate::config::{Bundle, Secrets};
use crate::export::qr::{Code, QrError, Style};
use crate::export::{Exported, Keys, node_conf};
use crate::host::batch::Batch;
use crate::host::folder::write_private;
use crate::host::store::create_private_dir;
use crate::model::{Network, Node, NodeName, Problem, Timestamp};
use crate::plan::firewall::hooks;

/// Exports one node, or all.
pub fn export(ctx: &Context, args: &Export) -> Result<Exit, Fault> {
    let loaded = ctx.load_network()?;
    let secrets = ctx.load_secrets(&loaded)?;
    if args.all {
        return all(ctx, &loaded, &secrets, args);
    }
    let Some(name) = &args.name else { return Err(Fault::usage("which node?", "wgrelay export NAME")) };
    let node = find_node(&loaded.network, name)?;
    one(ctx, &loaded, &secrets, node, args).map_err(|fault| explained(&loaded, node, fault))
}

/// On a host that came with a bundle, keys of other nodes are missing by design, and new ones would help nobody.
fn explained(loaded: &Loaded, node: &Node, fault: Fault) -> Fault {
    match loaded.folder.installed_node() {
        Ok(Some(bundle)) if bundle.this != node.name && fault.exit == Exit::Failed => Fault {
            hint: format!(
                "this host came with a bundle, which holds the keys of {} alone: export {} where the bundle was made",
                bundle.this, node.name
            ),
            ..fault
        },
        _ => fault,
    }
}

/// Tells where the client of a node would refuse the file by its name.
fn name_problem(node: &Node, out: Option<&Path>) -> Option<Problem> {
    let client = Client::of(node.platform);
    let file = out.filter(|path| path.extension().is_some_and(|e| e == "conf"));
    match file {
        Some(path) => {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            lint_name(&stem, &path.display().to_string(), client)
        }
        // Where it goes elsewhere, its name is somebody else's matter.
        None => None,
    }
}

fn one(ctx: &Context, loaded: &Loaded, secrets: &Secrets, node: &Node, args: &Export) -> Result<Exit, Fault> {
    if args.format == Format::Bundle {
        let bundle = bundle(&loaded.network, secrets, node)?;
        return write(ctx, args.out.as_deref(), bundle.as_bytes(), "bundle", node);
    }
    let exported = conf(&loaded.network, secrets, node, ctx.now)?;
    for problem in &exported.problems {
        ctx.out.problem(problem);
    }
    match args.format {
        Format::Conf | Format::Bundle => {
            if let Some(problem) = name_problem(node, args.out.as_deref()) {
                ctx.out.problem(&problem);
            }
            write(ctx, args.out.as_deref(), exported.text().as_bytes(), "configuration", node)
        }
        Format::Qr => qr(ctx, args, &exported, node),
        Format::Png => {
            if is_stdout(args.out.as_deref()) && std::io::stdout().is_terminal() {
                let hint =
                    format!("--format qr draws the code here; --out {}.png writes the picture", node.name);
                return Err(Fault::usage("a picture is nothing for a terminal", hint));
            }
            let code = code(&exported, node)?;
            write(ctx, args.out.as_deref(), &code.png(), "picture", node)
        }
        Format::Svg => {
            let code = code(&exported, node)?;
            write(ctx, args.out.as_deref(), code.svg().as_bytes(), "picture", node)
        }
    }
}

fn conf(network: &Network, secrets: &Secrets, node: &Node, now: Timestamp) -> Result<Exported, Fault> {
    let preshared = |relay: &NodeName, spoke: &NodeName| secrets.preshared_key(relay, spoke).cloned();
    let keys = Keys { private_key: secrets.private_keys.get(&node.name), preshared_key: &preshared };
    node_conf(network, keys, node, &hooks(network, node, now), now).map_err(|e| Fault::failed(&e, e.hint()))
}

fn bundle(network: &Network, secrets: &Secrets, node: &Node) -> Result<Zeroizing<String>, Fault> {
    let made = Bundle::make(network, secrets, &node.name)
        .ok_or_else(|| Fault::usage(format!("there is no node {}", node.name), ""))?;
    if made.secrets.private_keys.is_empty() {
        return Err(Fault::failed(
            format!("the private key of {} is not stored here, and a bundle holds one", node.name),
            "use --format conf and fill the key in there",
        ));
    }
    Ok(made.render())
}

fn code(exported: &Exported, node: &Node) -> Result<Code, Fault> {
    if !exported.complete {
        return Err(Fault::failed(
            format!("a QR code of {} would lack its private key, which is not stored here", node.name),
            "use --format conf and fill the key in there",
        ));
    }
    Code::new(&exported.short_text()).map_err(|e| qr_fault(&e))
}

fn qr_fault(error: &QrError) -> Fault {
    Fault::failed(error, error.hint())
}

fn qr(ctx: &Context, args: &Export, exported: &Exported, node: &Node) -> Result<Exit, Fault> {
    let code = code(exported, node)?;
    let style = if ctx.out.colored() { Style::Colour } else { Style::Plain };
    // Into a file there is no terminal to be too small.
    let size = if !is_stdout(args.out.as_deref()) {
        None
    } else {
        terminal_size::terminal_size().map(|(w, h)| (w.0, h.0))
    };
    let text = code.terminal(style, size).map_err(|e| qr_fault(&e))?;
    write(ctx, args.out.as_deref(), text.as_bytes(), "QR code", node)
}

/// Says whether the result goes to standard output: no file was named, or "-".
fn is_stdout(out: Option<&Path>) -> bool {
    out.is_none_or(|path| path == Path::new("-"))
}

/// Writes to the file that was named, mode 0600, or to standard output.
fn write(ctx: &Context, out: Option<&Path>, bytes: &[u8], what: &str, node: &Node) -> Result<Exit, Fault> {
    match out.filter(|_| !is_stdout(out)) {
        None => ctx.out.bytes(bytes)?,
        Some(path) => {
            write_private(path, bytes)?;
            ctx.out.say(&format!(
                "{} the {what} of {} to {} (mode 0600: it holds a private key)",
                ctx.out.paint_talk(Role::Good, "wrote"),
                node.name,
                path.display()
            ));
        }
    }
    Ok(Exit::Done)
}

fn all(ctx: &Context, loaded: &Loaded, secrets: &Secrets, args: &Export) -> Result<Exit, Fault> {
    let Some(dir) = args.out.as_ref().filter(|_| !is_stdout(args.out.as_deref())) else {
        return Err(Fault::usage(
            "--all needs --out DIR: one file for each node",
            "wgrelay export --all --out DIR",
        ));
    };
    create_private_dir(dir)?;
    let network = &loaded.network;
    let jobs: Vec<&Node> = network.nodes.values().collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let workers =
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(jobs.len().max(1));
    let progress = Progress::of_many(&ctx.out, "writing files", jobs.len());
    let files = Batch::new(dir);
    let work = || -> Result<Vec<Problem>, Fault> {
        let mut problems = Vec::new();
        while let Some(node) = jobs.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            problems.extend(one_of_all(network, secrets, node, &files, args.format, ctx.now)?);
            progress.one();
        }
        Ok(problems)
    };
    // Encoding QR codes is nearly all of the time, and each is its own.
    let results: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    drop(progress);
    let mut problems = Vec::new();
    for result in results {
        problems
            .extend(result.unwrap_or_else(|_| Err(Fault::failed("a worker of the export ended badly", "")))?);
    }
    files.finish()?;
    for problem in problems {
        ctx.out.problem(&problem);
    }
    ctx.out.say(&format!(
        "{} {} files to {} (mode 0600: they hold private keys)",
        ctx.out.paint_talk(Role::Good, "wrote"),
        jobs.len(),
        dir.display()
    ));
    Ok(Exit::Done)
}

fn one_of_all(
    network: &Network,
    secrets: &Secrets,
    node: &Node,
    files: &Batch,
    format: Format,
    now: Timestamp,
) -> Result<Vec<Problem>, Fault> {
    let write =
        |extension: &str, content: &[u8]| files.write(&format!("{}.{extension}", node.name), 0o600, content);
    if format == Format::Bundle {
        write("bundle", bundle(network, secrets, node)?.as_bytes())?;
        return Ok(Vec::new());
    }
    let exported = conf(network, secrets, node, now)?;
    let mut problems = exported.problems.clone();
    write("conf", exported.text().as_bytes())?;
    problems.extend(name_problem(node, Some(&files.folder().join(format!("{}.conf", node.name)))));
    if format == Format::Conf || node.is_relay() || !exported.complete {
        return Ok(problems);
    }
    match Code::new(&exported.short_text()) {
        Ok(code) => match format {
            Format::Svg => write("svg", code.svg().as_bytes())?,
            Format::Qr => {
                let text = code.terminal(Style::Plain, None).map_err(|e| qr_fault(&e))?;
                write("txt", text.as_bytes())?;
            }
            _ => write("png", &code.png())?,
        },
        // One node's list of prefixes is too long for a code; its .conf is there all the same.
        Err(e) => problems.push(Problem::warning(
            "qr-too-long",
            format!("node.{}", node.name),
            format!("no code for {}: {e}", node.name),
            e.hint(),
        )),
    }
    Ok(problems)
}
