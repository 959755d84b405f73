//! The procedure of `import`: configurations made by hand, made a network.

use std::path::Path;

use zeroize::Zeroizing;

use super::fault::{Fault, FaultKind};
use super::live::Live;
use super::session::Session;
use super::take_over::{Predecessor, TakenOver};
use crate::host::{discover, random};
use crate::import::manager::{self, Relays};
use crate::import::{File, ImportOptions, Imported, import as read};
use crate::model::{InterfaceName, Problem, PublicKey, Timestamp};
use crate::store::Contents;
use crate::store::folder::Folder;
use crate::wgconf::{self, Decoded, decode};

/// What a network is to be made from.
#[derive(Debug)]
pub struct Import {
    /// Files, each with its name: `.conf`s, and stores of managers.
    pub files: Vec<(String, Zeroizing<Vec<u8>>)>,
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
    let Import { files, relay, live, take_over } = asked;
    let Read { mut texts, disabled, expires, findings } = read_files(files, session.now)?;
    let live = live.map(|name| read_live(session, &name, &mut texts)).transpose()?;
    let files: Vec<File<'_>> =
        texts.iter().map(|(name, decoded)| File { name, text: &decoded.text }).collect();
    let docker = discover::discover().docker.unwrap_or_default();
    let mut preshared_key = random::preshared_key;
    let options = ImportOptions {
        name: session.network_name()?.or_else(|| live.as_ref().map(|l| l.interface.clone())),
        relay: live.as_ref().map(|l| l.file.as_str()).or(relay.as_deref()),
        disabled: &disabled,
        expires: &expires,
        running: live.as_ref().and_then(|l| Some((l.file.as_str(), l.document.as_ref()?))),
        now: session.now,
        docker: &docker,
        preshared_key: &mut preshared_key,
    };
    let mut made = read(&files, options).map_err(not_a_network)?;
    made.findings.splice(0..0, texts.iter().filter_map(|(name, decoded)| decoded.warning(name)));
    made.findings.extend(findings);
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

/// Reads an interface. Where there is none, and an import was ended before ours was up, its network is what helps.
fn read_live(
    session: &Session,
    name: &InterfaceName,
    texts: &mut Vec<(String, Decoded)>,
) -> Result<Live, Fault> {
    Live::read(name, texts).map_err(|error| {
        let folder = Folder::new(&session.dir, name);
        let fault = Fault::from(error);
        if !folder.exists() {
            return fault;
        }
        let hint =
            format!("its network is in {} already: `wgrelay up` brings it up", folder.path().display());
        Fault { hint, ..fault }
    })
}

/// What the files say, a manager's store as the files that it would hand out.
#[derive(Default)]
struct Read {
    texts: Vec<(String, Decoded)>,
    disabled: Vec<PublicKey>,
    expires: Vec<(PublicKey, Timestamp)>,
    findings: Vec<Problem>,
}

fn read_files(files: Vec<(String, Zeroizing<Vec<u8>>)>, now: Timestamp) -> Result<Read, Fault> {
    let mut all = Read::default();
    let mut stores = Vec::new();
    for (name, bytes) in files {
        if manager::is_store(&bytes) {
            stores.push((name, bytes));
        } else {
            all.texts.push((name, decode(&bytes)));
        }
    }
    let document = |(name, text): &(String, Decoded)| {
        let stem = Path::new(name).file_stem()?.to_str()?.to_owned();
        Some((stem, wgconf::read(&text.text, name).document))
    };
    let relays: Relays =
        all.texts.iter().filter_map(document).filter(|(_, d)| d.interface.listen_port.is_some()).collect();
    for (name, bytes) in stores {
        let store =
            manager::read(&name, &bytes, &now.to_string(), &relays).map_err(|p| not_a_network(vec![p]))?;
        let has = |text: &str| {
            let key =
                |text: &str| wgconf::read(text, "").document.interface.private_key.map(|k| k.public_key());
            let own = key(text);
            own.is_some() && all.texts.iter().any(|(_, t)| key(&t.text) == own)
        };
        // A file beside it is newer than what the store has of the same key.
        let new: Vec<_> = store.files.into_iter().filter(|(_, text)| !has(text)).collect();
        all.texts.extend(new.into_iter().map(|(name, text)| (name, decode(text.as_bytes()))));
        all.disabled.extend(store.disabled);
        all.expires.extend(store.expires);
        all.findings.extend(store.findings);
    }
    Ok(all)
}

fn not_a_network(problems: Vec<Problem>) -> Fault {
    Fault {
        kind: FaultKind::Invalid,
        problems,
        ..Fault::failed("these files do not make a network; nothing was written", "")
    }
}
