//! `export`: a node's file, for its client, as a QR code, or as a bundle.

use std::io::IsTerminal as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use zeroize::Zeroizing;

use super::args::{Export, Format};
use super::context::Context;
use super::exit::Exit;
use super::fault::{Fault, FaultKind};
use super::output::Role;
use super::{export_all, export_format};
use crate::app::{Loaded, find_node};
use crate::config::{Bundle, MemberKeysText, Secrets};
use crate::export::qr::{Code, QrError, Style};
use crate::export::{ExportError, Exported, Hooks, Keys, node_conf_of};
use crate::firewall::hooks_of;
use crate::model::{Derivation, Network, Node, NodeName, Problem, Timestamp};
use crate::store::cluster::Place;
use crate::store::files::StoreError;
use crate::store::folder::write_private;
use crate::wgconf::{self, Client, lint_name};

/// Exports one node, or all.
pub fn export(ctx: &Context, args: &Export) -> Result<Exit, Fault> {
    let mut loaded = ctx.load_network()?;
    if let (Some(name), Some(relay)) = (&args.name, &args.relay) {
        at_home_on(&mut loaded.network, name, relay, ctx.now)?;
    }
    if let Some(list) = export_format::list(args.format) {
        return export_format::export_list(ctx, &loaded.network, list, args);
    }
    if args.all && !export_format::is_for_all(args.format) {
        return Err(Fault::usage(
            format!("--all does not go with --format {}", args.format.name()),
            "export each node by its name",
        ));
    }
    if let (Format::PowerShell, Some(name)) = (args.format, &args.name) {
        return export_format::powershell_script(ctx, &loaded.network, name, args);
    }
    let secrets = ctx.load_secrets(&loaded)?;
    if args.all {
        return export_all::all(ctx, &loaded, &secrets, args);
    }
    let Some(name) = &args.name else { return Err(Fault::usage("which node?", "wgrelay export NAME")) };
    let node = find_node(&loaded.network, name)?;
    if let Some(client) = export_format::client(args.format) {
        // A program of its own kind runs no hooks.
        let derivation = Derivation::of(&loaded.network, ctx.now);
        let exported = conf_with(&loaded.network, &derivation, &secrets, node, &Hooks::default(), ctx.now)
            .map_err(|f| explained(&loaded, node, f))?;
        return export_format::export_client(ctx, &loaded.network, node, &exported, client, args);
    }
    let made = match args.format {
        Format::Compose | Format::Quadlet => {
            export_format::container_file(ctx, &loaded.network, &secrets, node, args)
        }
        _ => one(ctx, &loaded, &secrets, node, args),
    };
    made.map_err(|fault| explained(&loaded, node, fault))
}

/// Puts a relay first in a spoke's list.
fn at_home_on(network: &mut Network, name: &NodeName, relay: &NodeName, now: Timestamp) -> Result<(), Fault> {
    let is_relay = |name| Ok::<bool, Fault>(find_node(network, name)?.is_relay());
    if is_relay(name)? {
        return Err(Fault::usage(format!("--relay is for spokes, and {name} is a relay"), "leave it out"));
    }
    if !is_relay(relay)? {
        let relays: Vec<String> = network.relays().map(|r| r.name.to_string()).collect();
        return Err(Fault::usage(format!("{relay} is no relay"), format!("there is {}", relays.join(", "))));
    }
    if !find_node(network, relay)?.is_active(now) {
        return Err(Fault::failed(
            format!("{relay} takes no part in the network: it would answer nobody"),
            format!("`wgrelay enable {relay}`, or correct its `expires`"),
        ));
    }
    let spoke = find_node(network, name)?;
    if !spoke.relays.is_empty() && !spoke.relays.contains(relay) {
        return Err(Fault::failed(
            format!("{name} does not list {relay} among its relays, which would not know it"),
            format!("`wgrelay set {name} relays …`, with {relay} among them"),
        ));
    }
    if let Some(spoke) = network.nodes.get_mut(name) {
        spoke.relays.retain(|listed| listed != relay);
        spoke.relays.insert(0, relay.clone());
    }
    Ok(())
}

/// On a host that came with a bundle, keys of other nodes are missing by design, and new ones would help nobody.
fn explained(loaded: &Loaded, node: &Node, fault: Fault) -> Fault {
    match loaded.snapshot.installed_bundle() {
        Ok(Some(bundle)) if bundle.this != node.name && fault.kind == FaultKind::Failed => Fault {
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
pub(super) fn name_problem(node: &Node, out: Option<&Path>) -> Option<Problem> {
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
    let out = args.out.as_deref();
    let (exported, mut problems) = match args.format {
        Format::Bundle => (None, Vec::new()),
        _ => {
            let exported = conf(&loaded.network, secrets, node, ctx.now)?;
            let problems = exported.problems.clone();
            (Some(exported), problems)
        }
    };
    let made = match (args.format, &exported) {
        (Format::Bundle, _) | (_, None) => {
            let place = Place::of(loaded.folder.path());
            let is_own =
                !node.hosts.is_empty() && place.membership()?.is_some_and(|member| member.node == node.name);
            // For another host of this very relay.
            let keys = if is_own { place.expose_keys()? } else { None };
            Made::text("bundle", bundle_with(&loaded.network, secrets, node, keys.map(MemberKeysText))?)
        }
        (Format::Qr, Some(exported)) => Made::text("QR code", qr(ctx, out, exported, node)?),
        (Format::Svg, Some(exported)) => Made::text("picture", code(exported, node)?.svg()),
        (Format::Png, Some(exported)) => {
            if is_stdout(out) && !ctx.out.json && std::io::stdout().is_terminal() {
                let hint =
                    format!("--format qr draws the code here; --out {}.png writes the picture", node.name);
                return Err(Fault::usage("a picture is nothing for a terminal", hint));
            }
            Made { what: "picture", content: Content::Bytes(code(exported, node)?.png()) }
        }
        // The formats of other programs are `export_format`'s.
        (_, Some(exported)) => {
            problems.extend(name_problem(node, out));
            Made::text("configuration", exported.text())
        }
    };
    if !ctx.out.json {
        for problem in &problems {
            ctx.out.problem(problem);
        }
    }
    write(ctx, out, &made, args.format, node, &problems)
}

/// What was made of a node.
struct Made {
    what: &'static str,
    content: Content,
}

enum Content {
    Text(Zeroizing<String>),
    Bytes(Zeroizing<Vec<u8>>),
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Printed<'a> {
    content: Option<&'a str>,
    content_base64: Option<&'a str>,
    file: Option<String>,
    format: &'a str,
    node: &'a NodeName,
    problems: &'a [Problem],
    version: u32,
}

impl Made {
    const fn text(what: &'static str, text: Zeroizing<String>) -> Self {
        Self { what, content: Content::Text(text) }
    }
    fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Text(text) => text.as_bytes(),
            Content::Bytes(bytes) => bytes,
        }
    }
}

fn conf(network: &Network, secrets: &Secrets, node: &Node, now: Timestamp) -> Result<Exported, Fault> {
    conf_of(network, &Derivation::of(network, now), secrets, node, now)
}

pub(super) fn conf_of(
    network: &Network,
    derivation: &Derivation,
    secrets: &Secrets,
    node: &Node,
    now: Timestamp,
) -> Result<Exported, Fault> {
    conf_with(network, derivation, secrets, node, &hooks_of(network, derivation, node, now), now)
}

fn conf_with(
    network: &Network,
    derivation: &Derivation,
    secrets: &Secrets,
    node: &Node,
    hooks: &Hooks,
    now: Timestamp,
) -> Result<Exported, Fault> {
    let preshared = |relay: &NodeName, spoke: &NodeName| secrets.preshared_key(relay, spoke).cloned();
    let keys = Keys { private_key: secrets.private_keys.get(&node.name), preshared_key: &preshared };
    node_conf_of(network, derivation, keys, node, hooks, now).map_err(|e| Fault::failed(&e, e.hint()))
}

pub(super) fn bundle(network: &Network, secrets: &Secrets, node: &Node) -> Result<Zeroizing<String>, Fault> {
    bundle_with(network, secrets, node, None)
}

fn bundle_with(
    network: &Network,
    secrets: &Secrets,
    node: &Node,
    member_keys: Option<MemberKeysText>,
) -> Result<Zeroizing<String>, Fault> {
    let made = Bundle::make(network, secrets, &node.name)
        .ok_or_else(|| Fault::usage(format!("there is no node {}", node.name), ""))?;
    if made.secrets.private_keys.is_empty() {
        return Err(Fault::failed(
            format!("the private key of {} is not stored here, and a bundle holds one", node.name),
            "use --format conf and fill the key in there",
        ));
    }
    if made.secrets.private_keys.get(&node.name).is_some_and(|key| key.public_key() != node.public_key) {
        let wrong = ExportError::WrongPrivateKey { node: node.name.clone() };
        return Err(Fault::failed(&wrong, wrong.hint()));
    }
    Ok(Bundle { member_keys, ..made }.render())
}

fn code(exported: &Exported, node: &Node) -> Result<Code, Fault> {
    if !exported.complete {
        return Err(Fault::failed(
            format!("a QR code of {} would lack its private key, which is not stored here", node.name),
            "use --format conf and fill the key in there",
        ));
    }
    Code::new(&exported.short_text()).map_err(|e| Fault::failed(e, too_long_hint(e, exported)))
}

/// Says what makes a text too long for a code: hooks, where they are most of it, else AllowedIPs.
pub(super) fn too_long_hint(error: QrError, exported: &Exported) -> String {
    let interface = &exported.document.interface;
    let lines = [&interface.pre_up, &interface.post_up, &interface.pre_down, &interface.post_down];
    let lines = lines.into_iter().flatten().map(wgconf::Hook::as_str);
    let hooks: usize = lines.chain(exported.document.script.iter().map(String::as_str)).map(str::len).sum();
    match error {
        QrError::TooLong { bytes, .. } if 2 * hooks > bytes => format!(
            "{hooks} of them are its PreUp, PostUp and PostDown and their script, which no app that scans codes runs: use --format \
             conf for wg-quick, or --format bundle for `wgrelay up` on it"
        ),
        _ => error.hint().into(),
    }
}

pub(super) fn qr_fault(error: &QrError) -> Fault {
    Fault::failed(error, error.hint())
}

fn qr(
    ctx: &Context,
    out: Option<&Path>,
    exported: &Exported,
    node: &Node,
) -> Result<Zeroizing<String>, Fault> {
    let code = code(exported, node)?;
    // The colours are no decoration: without them, a light terminal shows the code the wrong way round.
    let shown = is_stdout(out) && std::io::stdout().is_terminal();
    let style = if (shown || ctx.out.colored()) && !ctx.out.json { Style::Colour } else { Style::Plain };
    // Into a file, and for a program, there is no terminal to be too small.
    let size = if is_stdout(out) && !ctx.out.json {
        terminal_size::terminal_size().map(|(w, h)| (w.0, h.0))
    } else {
        None
    };
    code.terminal(style, size).map_err(|e| qr_fault(&e))
}

/// Says whether the result goes to standard output: no file was named, or "-".
pub(super) fn is_stdout(out: Option<&Path>) -> bool {
    out.is_none_or(|path| path == Path::new("-"))
}

/// Writes to the file that was named, mode 0600, or to standard output.
fn write(
    ctx: &Context,
    out: Option<&Path>,
    made: &Made,
    format: Format,
    node: &Node,
    problems: &[Problem],
) -> Result<Exit, Fault> {
    let file = out.filter(|_| !is_stdout(out));
    if let Some(path) = file {
        write_private(path, made.bytes()).map_err(out_fault)?;
    }
    if ctx.out.json {
        let (content, base64) = match (&made.content, file) {
            // What is in the file is not printed, too.
            (_, Some(_)) => (None, None),
            (Content::Text(text), None) => (Some(text.as_str()), None),
            (Content::Bytes(bytes), None) => (None, Some(Zeroizing::new(STANDARD.encode(bytes)))),
        };
        ctx.out.secret_json(&Printed {
            content,
            content_base64: base64.as_ref().map(|text| text.as_str()),
            file: file.map(|f| f.display().to_string()),
            format: format.name(),
            node: &node.name,
            problems,
            version: 1,
        })?;
    } else if let Some(path) = file {
        ctx.out.say(&format!(
            "{} the {} of {} to {} (mode 0600: it holds a private key)",
            ctx.out.paint_talk(Role::Good, "wrote"),
            made.what,
            node.name,
            path.display()
        ));
    } else {
        ctx.out.bytes(made.bytes())?;
    }
    Ok(Exit::Done)
}

/// A fault of the place that --out names.
pub(super) fn out_fault(error: StoreError) -> Fault {
    Fault { hint: error.hint_about("--out"), ..Fault::from(error) }
}
