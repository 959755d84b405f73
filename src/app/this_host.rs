//! What `plan`, `up`, `down`, `status` and `run` share: the target, and the network's files read beside this machine.

use std::ffi::OsString;
use std::path::Path;

use super::backend::host_ahead;
use super::fault::Fault;
use super::session::{Loaded, Session};
use super::target::Target;
use crate::host::LinuxHost;
use crate::host::agent_process::Runtime;
use crate::host::join::join;
use crate::model::InterfaceName;

/// Puts the target together.
pub(super) fn target(session: &Session, loaded: &Loaded) -> Result<Target, Fault> {
    let secrets = session.load_secrets(loaded)?;
    let node = session.this_node(loaded)?;
    if !secrets.private_keys.contains_key(&node.name) {
        return Err(Fault::failed(
            format!("the private key of {} is not in {}", node.name, loaded.folder.secrets_path().display()),
            "add it under [private_keys], or install a bundle that has it",
        ));
    }
    super::floating::refuse_unknown_host(node, &loaded.folder)?;
    let (dir, text) = (session.dir.clone(), loaded.text.clone());
    let target = Target::new(dir, loaded.network.clone(), text, &node.name, &secrets)
        .ok_or_else(|| Fault::failed(format!("there is no node {}", node.name), ""))?;
    // Of a bundle nobody has asked yet: it brings the secrets of this node alone.
    match target.missing(session.now).problems {
        none if none.is_empty() => Ok(target),
        problems => Err(Fault::invalid(problems)),
    }
}

/// Reads a network's files and this machine side by side: each takes its time where peers are many.
pub(super) fn read_with_machine<T>(
    runtime: &Runtime,
    command: &[String],
    name: &InterfaceName,
    files: impl FnOnce() -> Result<T, Fault>,
) -> Result<(T, LinuxHost), Fault> {
    let (machine, files) = join(|| host_ahead(runtime, command, name), files);
    // What is wrong with a file is the reader's to mend, whatever the machine says.
    Ok((files?, machine?))
}

/// Returns what starts an agent for a network.
pub(crate) fn agent_command(dir: &Path, network: &InterfaceName) -> Result<Vec<String>, Fault> {
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

/// The network that is meant of those that may have no file any more: the one named, else the only one that is up.
pub fn name_of_what_is_up(session: &Session) -> Result<InterfaceName, Fault> {
    if let Some(name) = session.network_name()? {
        return Ok(name);
    }
    match session.folder() {
        Ok(folder) => Ok(folder.name().clone()),
        Err(fault) => match Runtime::list().as_slice() {
            [only] => Ok(only.clone()),
            _ => Err(fault),
        },
    }
}
