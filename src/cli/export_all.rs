//! `export --all`: a file for each node into one folder, and a page that says which is whose.

use super::args::{Export, Format};
use super::context::Context;
use super::exit::Exit;
use super::export::{bundle, conf_of, is_stdout, name_problem, out_fault, qr_fault, too_long_hint};
use super::fault::Fault;
use super::output::Role;
use super::progress::Progress;
use crate::app::Loaded;
use crate::config::Secrets;
use crate::export::qr::{Code, Style};
use crate::export::{Entry, MOST_CODES, index_page};
use crate::model::{Derivation, Network, Node, NodeName, Platform, Problem, Timestamp};
use crate::store::batch::Batch;
use crate::store::files::create_private_dir;

/// The page among the files; no node can be called so, as its files have an extension of their own.
const INDEX: &str = "index.html";

/// How the files of nodes end.
const ENDS: [&str; 5] = ["conf", "bundle", "png", "svg", "txt"];
/// So many files that were left are named.
const MOST_LEFT: usize = 5;

/// Writes the files of all nodes.
pub(super) fn all(ctx: &Context, loaded: &Loaded, secrets: &Secrets, args: &Export) -> Result<Exit, Fault> {
    let Some(dir) = args.out.as_ref().filter(|_| !is_stdout(args.out.as_deref())) else {
        return Err(Fault::usage(
            "--all needs --out DIR: one file for each node",
            "wgrelay export --all --out DIR",
        ));
    };
    create_private_dir(dir).map_err(out_fault)?;
    let network = &loaded.network;
    let jobs: Vec<&Node> = network.nodes.values().collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let workers =
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(jobs.len().max(1));
    let progress = Progress::of_many(&ctx.out, "writing files", jobs.len());
    let files = Batch::new(dir).map_err(out_fault)?;
    let derivation = Derivation::of(network, ctx.now);
    let work = || -> Result<Told<'_>, Fault> {
        let mut told = Told::default();
        while let Some(node) = jobs.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            told.extend(one_of_all(network, &derivation, secrets, node, &files, args.format, ctx.now)?);
            progress.one();
        }
        Ok(told)
    };
    // Encoding QR codes is nearly all of the time, and each is its own.
    let results: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    drop(progress);
    let mut told = Told::default();
    for result in results {
        told.extend(result.unwrap_or_else(|_| Err(Fault::failed("a worker of the export ended badly", "")))?);
    }
    told.entries.sort_by_key(|entry| &entry.node.name);
    let page = index_page(network, &told.entries, ctx.now);
    files.write(INDEX, 0o600, page.as_bytes()).map_err(out_fault)?;
    let written = files.finish().map_err(|e| Fault { message: e.to_string(), ..out_fault(e.error) })?;
    told.without_code.sort();
    told.problems.extend(left_over(dir, network));
    if ctx.out.json {
        let without: Vec<_> = told
            .without_code
            .iter()
            .map(|(node, why)| serde_json::json!({"node": node, "reason": why}))
            .collect();
        ctx.out.json(&serde_json::json!({
            "version": 1, "folder": dir.display().to_string(), "files": written, "without_code": without, "problems": told.problems,
        }))?;
        return Ok(Exit::Done);
    }
    let count = written.len();
    for problem in told.problems {
        ctx.out.problem(&problem);
    }
    ctx.out.say(&format!(
        "{} {count} files to {} (mode 0600: they hold private keys)",
        ctx.out.paint_talk(Role::Good, "wrote"),
        dir.display()
    ));
    for (node, why) in told.without_code {
        ctx.out.say(&format!("{node} has its .conf alone: {why}"));
    }
    Ok(Exit::Done)
}

/// Tells of files in the folder that no node is called by: those of an earlier export, of nodes that are gone. Nothing is removed,
/// as they may be somebody's own.
#[expect(clippy::disallowed_methods, reason = "the folder is named on the command line")]
fn left_over(dir: &std::path::Path, network: &Network) -> Option<Problem> {
    let is_node = |stem: &str| stem.parse().is_ok_and(|name: NodeName| network.nodes.contains_key(&name));
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.rsplit_once('.').is_some_and(|(stem, end)| ENDS.contains(&end) && !is_node(stem)))
        .collect();
    names.sort();
    let shown = names.iter().take(MOST_LEFT).cloned().collect::<Vec<_>>().join(", ");
    let list = match names.len() {
        0 => return None,
        1 => format!("{shown} is no node's, and not"),
        n if n > MOST_LEFT => format!("{shown} and {} more are no node's, and not", n - MOST_LEFT),
        _ => format!("{shown} are no node's, and not"),
    };
    Some(Problem::warning(
        "left-over-file",
        dir.display().to_string(),
        format!("{list} of this export: a file of a node that was removed or renamed holds its private key"),
        "remove what is left of earlier exports",
    ))
}

/// What is to be said of files that were written.
#[derive(Default)]
struct Told<'n> {
    problems: Vec<Problem>,
    /// Nodes that got no code, and why.
    without_code: Vec<(NodeName, &'static str)>,
    /// What the page says of them.
    entries: Vec<Entry<'n>>,
}

impl Told<'_> {
    fn extend(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.without_code.extend(other.without_code);
        self.entries.extend(other.entries);
    }
}

fn one_of_all<'n>(
    network: &Network,
    derivation: &Derivation,
    secrets: &Secrets,
    node: &'n Node,
    files: &Batch,
    format: Format,
    now: Timestamp,
) -> Result<Told<'n>, Fault> {
    let mut told = Told::default();
    let write = |extension: &str, content: &[u8]| {
        files.write(&format!("{}.{extension}", node.name), 0o600, content).map_err(out_fault)
    };
    if format == Format::Bundle {
        write("bundle", bundle(network, secrets, node)?.as_bytes())?;
        told.entries.push(Entry { node, file: format!("{}.bundle", node.name), code: None });
        return Ok(told);
    }
    let others = !node.is_relay() && network.relays().any(|relay| relay.is_active(now));
    if others && derivation.home_of(network, node).is_none() {
        // The others get theirs.
        told.problems.push(Problem::warning(
            "no-relay",
            format!("node.{}", node.name),
            format!("no file for {}: none of the relays that it may use takes part", node.name),
            format!("enable one of them, or give {0} another: `wgrelay set {0} relays …`", node.name),
        ));
        return Ok(told);
    }
    let exported = conf_of(network, derivation, secrets, node, now)?;
    told.problems.extend(exported.problems.iter().cloned());
    write("conf", exported.text().as_bytes())?;
    let name = name_problem(node, Some(&files.folder().join(format!("{}.conf", node.name))));
    told.problems.extend(name);
    let scans = matches!(node.platform, Platform::Android | Platform::Ios) && !node.is_relay();
    let is_shown = scans && exported.complete && network.nodes.len() <= MOST_CODES;
    let code = is_shown.then(|| Code::new(&exported.short_text()).ok()).flatten();
    let code = code.map(|code| code.svg());
    told.entries.push(Entry { node, file: format!("{}.conf", node.name), code });
    if format == Format::Conf {
        return Ok(told);
    }
    if node.is_relay() {
        told.without_code.push((node.name.clone(), "a relay is no client of an app that scans codes"));
        return Ok(told);
    }
    if !exported.complete {
        told.without_code
            .push((node.name.clone(), "a code would lack its private key, which is not stored here"));
        return Ok(told);
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
        Err(e) => told.problems.push(Problem::warning(
            "qr-too-long",
            format!("node.{}", node.name),
            format!("no code for {}: {e}", node.name),
            too_long_hint(e, &exported),
        )),
    }
    Ok(told)
}
