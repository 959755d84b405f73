//! The procedure of `import`: configurations made by hand, made a network.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::fault::{Fault, FaultKind};
use super::session::Session;
use crate::host::{discover, random};
use crate::import::{File, Imported, Wishes, import as read};
use crate::model::Problem;
use crate::store::Contents;
use crate::store::folder::Folder;
use crate::wgconf::Decoded;

/// Writes a new network from files, each with its name; `relay` names the one that is the relay's, where it was said.
///
/// # Errors
/// The files make no network, or its folder is taken or cannot be written.
pub fn import(
    session: &Session,
    texts: &[(String, Decoded)],
    relay: Option<&str>,
) -> Result<(Folder, Imported), Fault> {
    let files: Vec<File<'_>> =
        texts.iter().map(|(name, decoded)| File { name, text: &decoded.text }).collect();
    let docker = docker_networks();
    let mut preshared_key = random::preshared_key;
    let wishes = Wishes {
        name: session.network_name()?,
        relay,
        now: session.now,
        docker: &docker,
        preshared_key: &mut preshared_key,
    };
    let mut made = read(&files, wishes).map_err(not_a_network)?;
    made.findings.splice(0..0, texts.iter().filter_map(|(name, decoded)| decoded.warning(name)));

    let folder = Folder::new(&session.dir, &made.network.name);
    let count = if files.len() == 1 { "1 file".to_owned() } else { format!("{} files", files.len()) };
    let contents = Contents::new(made.text.as_bytes(), Some(made.secrets.render().as_bytes()));
    folder.create(&contents, session.note(format!("imported from {count}")))?;
    Ok((folder, made))
}

/// Docker's networks by subnet; none where no engine answers.
fn docker_networks() -> BTreeMap<IpNet, String> {
    let networks = discover::discover().docker.unwrap_or_default();
    networks.into_iter().flat_map(|(name, n)| n.subnets.into_iter().map(move |s| (s, name.clone()))).collect()
}

fn not_a_network(problems: Vec<Problem>) -> Fault {
    Fault {
        kind: FaultKind::Invalid,
        problems,
        ..Fault::failed("these files do not make a network; nothing was written", "")
    }
}
