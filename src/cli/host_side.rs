//! What `plan`, `up`, `down`, `status` and `run` share: the target, the runtime folder, the data plane, root.

use std::ffi::OsString;
use std::path::Path;

use super::args::BackendChoice as Typed;
use super::context::{Context, Loaded};
use super::exit::Exit;
use super::fault::Fault;
use super::typed::subcommand;
use crate::app::Failure;
use crate::app::{self, BackendChoice, Refusal, Target};
use crate::host::LinuxHost;
use crate::host::agent_process::Runtime;
use crate::host::join::join;
use crate::model::{InterfaceName, quoted};
use crate::plan::Backend;

impl From<Typed> for BackendChoice {
    fn from(typed: Typed) -> Self {
        match typed {
            Typed::Auto => Self::Auto,
            Typed::Kernel => Self::Only(Backend::Kernel),
            Typed::Embedded => Self::Only(Backend::Embedded),
        }
    }
}

/// Says no where the kernel would say no to everything.
pub fn require_root(ctx: &Context, what: &str) -> Result<(), Fault> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Fault::failed(
        format!("{what} changes interfaces, routes and the firewall, which only root may"),
        as_root(ctx, what),
    ))
}

/// Returns the command that root is to give: this whole line again, where it asks for just that.
#[expect(clippy::disallowed_methods, reason = "the arguments are the command line's to read")]
fn as_root(ctx: &Context, what: &str) -> String {
    let words: Vec<String> = std::env::args_os().skip(1).map(|w| w.to_string_lossy().into_owned()).collect();
    let asked = subcommand(words.iter().map(String::as_str));
    if asked != what.split(' ').next() {
        return format!("`sudo {}`", ctx.out.command(what));
    }
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    // A variable of the environment does not reach root; the rest is in the line.
    format!("`sudo wgrelay {}`", words.join(" "))
}

/// Puts the target together.
pub fn target(ctx: &Context, loaded: &Loaded) -> Result<Target, Fault> {
    let secrets = ctx.load_secrets(loaded)?;
    let node = ctx.this_node(loaded)?;
    if !secrets.private_keys.contains_key(&node.name) {
        return Err(Fault::failed(
            format!("the private key of {} is not in {}", node.name, loaded.folder.secrets_path().display()),
            "add it under [private_keys], or install a bundle that has it",
        ));
    }
    let (dir, text) = (ctx.dir.clone(), loaded.text.clone());
    let target = Target::new(dir, loaded.network.clone(), text, &node.name, &secrets)
        .ok_or_else(|| Fault::failed(format!("there is no node {}", node.name), ""))?;
    // Of a bundle nobody has asked yet: it brings the secrets of this node alone.
    match target.missing(ctx.now).problems {
        none if none.is_empty() => Ok(target),
        problems => Err(Fault::invalid(problems)),
    }
}

/// Reads a network's files and this machine side by side: each takes its time where peers are many.
pub fn beside_machine<T>(
    runtime: &Runtime,
    command: &[String],
    name: &InterfaceName,
    files: impl FnOnce() -> Result<T, Fault>,
) -> Result<(T, LinuxHost), Fault> {
    let (machine, files) = join(|| app::host_ahead(runtime, command, name), files);
    // What is wrong with a file is the reader's to mend, whatever the machine says.
    Ok((files?, machine?))
}

/// Returns the runtime folder of a network.
pub fn runtime(name: &InterfaceName) -> Result<Runtime, Fault> {
    Ok(Runtime::here(name)?)
}

/// Returns what starts an agent for a network.
pub fn agent_command(dir: &Path, network: &InterfaceName) -> Result<Vec<String>, Fault> {
    let fault = |e: &dyn std::fmt::Display| {
        Fault::failed(format!("cannot find this program to start the agent: {e}"), "")
    };
    let program = std::env::current_exe().map_err(|e| fault(&e))?;
    // A program that was replaced while it runs is still there under /proc.
    let program = if program.exists() { program } else { "/proc/self/exe".into() };
    let text = |s: OsString| s.into_string().map_err(|_| fault(&"its path is not UTF-8"));
    let dir = std::path::absolute(dir).map_err(|e| fault(&e))?;
    Ok(vec![
        text(program.into_os_string())?,
        "--dir".into(),
        text(dir.into_os_string())?,
        "--network".into(),
        network.to_string(),
        "run".into(),
    ])
}

/// Tells why an `up` was refused or failed.
pub fn refusal(error: Refusal) -> Fault {
    match error {
        Refusal::Problems(problems) => {
            let message = if problems.iter().filter(|p| p.is_error()).count() == 1 {
                "this host cannot take the network as it is; nothing was changed"
            } else {
                "this host cannot take the network as it is, for more than one reason; nothing was changed"
            };
            Fault { problems, ..Fault::failed(message, "") }
        }
        Refusal::Host(error) => error.into(),
        Refusal::Failure(failure) => failed(failure),
    }
}

fn failed(failure: Failure) -> Fault {
    match failure {
        Failure::Undone { error } => {
            let hint = error.hint.clone();
            Fault::failed(format!("{error}; what had been changed was undone"), hint)
        }
        Failure::Unread(error) => error.into(),
        not @ Failure::NotVerified { .. } => Fault {
            exit: Exit::Undone,
            ..Fault::failed(not, "something else on this host changes it back: `wgrelay plan` shows what")
        },
        stuck @ Failure::Stuck { .. } => Fault::failed(stuck, "`wgrelay down` takes away what is left"),
    }
}
