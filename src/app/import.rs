//! The procedure of `import`: configurations made by hand, made a network.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::fault::{Fault, FaultKind};
use super::live::Live;
use super::session::Session;
use super::take_over::{Predecessor, TakenOver};
use crate::host::{discover, random};
use crate::import::{File, ImportOptions, Imported, import as read};
use crate::model::{InterfaceName, Problem};
use crate::store::Contents;
use crate::store::folder::Folder;
use crate::wgconf::Decoded;

/// What a network is to be made from.
#[derive(Debug)]
pub struct Import {
    /// Files, each with its name.
    pub texts: Vec<(String, Decoded)>,
    /// The one that is the relay's, where it was said.
    pub relay: Option<String>,
    /// An interface of this host that is the relay.
    pub live: Option<InterfaceName>,
    /// Whether ours is to take that interface's place.
    pub take_over: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct ImportedNetwork {
    /// Its folder.
    pub folder: Folder,
    /// What was made, and what was wrong.
    pub made: Imported,
    /// How many files it came from.
    pub files: usize,
    /// What was taken over.
    pub taken_over: Option<TakenOver>,
}

/// Writes a new network from files, or from an interface that runs here; takes its place where that is asked for.
///
/// # Errors
/// The files make no network, or its folder is taken or cannot be written. Ours does not come up: what was there is back.
pub fn import(session: &Session, asked: Import) -> Result<ImportedNetwork, Fault> {
    let Import { mut texts, relay, live, take_over } = asked;
    let live = live.map(|name| Live::read(&name, &mut texts)).transpose()?;
    let files: Vec<File<'_>> =
        texts.iter().map(|(name, decoded)| File { name, text: &decoded.text }).collect();
    let docker = docker_networks();
    let mut preshared_key = random::preshared_key;
    let options = ImportOptions {
        name: session.network_name()?.or_else(|| live.as_ref().map(|l| l.interface.clone())),
        relay: live.as_ref().map(|l| l.file.as_str()).or(relay.as_deref()),
        running: live.as_ref().and_then(|l| Some((l.file.as_str(), l.document.as_ref()?))),
        now: session.now,
        docker: &docker,
        preshared_key: &mut preshared_key,
    };
    let mut made = read(&files, options).map_err(not_a_network)?;
    made.findings.splice(0..0, texts.iter().filter_map(|(name, decoded)| decoded.warning(name)));
    made.findings.extend(live.as_ref().and_then(Live::what_it_does_not_tell));

    let folder = Folder::new(&session.dir, &made.network.name);
    // Before anything is written: who cannot go is not to be left with a network that waits for his place.
    let before = match live.filter(|_| take_over && !folder.exists()) {
        Some(live) => Some(Predecessor::find(&live.interface, live.path.as_deref(), session.now)?),
        None => None,
    };
    let count = if files.len() == 1 { "1 file".to_owned() } else { format!("{} files", files.len()) };
    let contents = Contents::new(made.text.as_bytes(), Some(made.secrets.render().as_bytes()));
    folder.create(&contents, session.note(format!("imported from {count}")))?;
    let files = files.len();
    let taken_over = before.map(|before| before.give_way(session, &folder)).transpose()?;
    Ok(ImportedNetwork { folder, made, files, taken_over })
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
