//! What is done with the revisions of a network: telling two apart, going back to one, and keeping one in a file.

use std::collections::BTreeMap;

use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use crate::config::{Secrets, parse_network};
use crate::model::{InterfaceName, Network, Problem};
use crate::store::folder::Folder;
use crate::store::{Contents, NetworkStore, Note, Revision, Store as _, StoreError};

/// The revisions of a network; serialises as the program's JSON.
#[derive(Debug, Serialize)]
pub struct History {
    /// The version of this form: 1.
    pub version: u32,
    /// The network.
    pub network: InterfaceName,
    /// Whether the files were edited by hand since the last.
    pub edited: bool,
    /// The oldest first.
    pub revisions: Vec<ListedRevision>,
}

/// A revision of a history.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct ListedRevision {
    pub revision: u64,
    pub at: u64,
    pub uid: Option<u32>,
    pub user: Option<String>,
    pub command: Option<String>,
    pub why: String,
    pub current: bool,
}

/// Lists the revisions that are kept.
///
/// # Errors
/// They cannot be read.
pub fn history(folder: &Folder) -> Result<History, StoreError> {
    let (list, now) = (NetworkStore::of(folder)?.history()?, folder.load()?.digests());
    // The newest that says what the files say: an older one may say the same.
    let current = list.iter().rev().find(|r| r.files == now).map(|r| r.number);
    let listed = |r: Revision| ListedRevision {
        revision: r.number,
        at: r.note.at,
        uid: r.note.uid,
        user: r.note.user,
        command: r.note.command,
        why: r.note.why,
        current: Some(r.number) == current,
    };
    let revisions = list.into_iter().map(listed).collect();
    Ok(History { version: 1, network: folder.name().clone(), edited: current.is_none(), revisions })
}

/// What differs between two revisions, of which network; serialises as the program's JSON.
#[derive(Debug, Serialize)]
pub struct Compared {
    version: u32,
    network: InterfaceName,
    from: u64,
    to: Option<u64>,
    lines: Vec<DiffLine>,
    keys: Vec<KeyChange>,
}

/// Compares a revision with another one; `None`: with the network as it is now.
///
/// # Errors
/// One of them is not kept.
pub fn compare(folder: &Folder, from: u64, to: Option<u64>) -> Result<Compared, StoreError> {
    let store = NetworkStore::of(folder)?;
    let (_, old) = store.revision(from)?;
    let new = match to {
        Some(number) => store.revision(number)?.1,
        None => store.load()?,
    };
    let Difference { network: lines, keys } = difference(&old, &new);
    Ok(Compared { version: 1, network: folder.name().clone(), from, to, lines, keys })
}

impl Compared {
    /// Returns the difference alone.
    pub fn into_difference(self) -> Difference {
        Difference { network: self.lines, keys: self.keys }
    }
}

/// What differs between two revisions. Keys are told by their owner, never by value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Lines of network.toml that went or came, with those around them.
    pub network: Vec<DiffLine>,
    /// Whose keys differ.
    pub keys: Vec<KeyChange>,
}

/// A line of a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiffLine {
    /// `-` it went, `+` it came, ` ` it stands beside one that did, `@` where it is.
    pub sign: char,
    /// The line, without its end.
    pub text: String,
}

/// A key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// Whose: `docker`, or `wsl and docker` of a preshared key.
    pub of: String,
    /// `private` or `preshared`.
    pub kind: &'static str,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
}

impl Difference {
    /// Says whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.network.is_empty() && self.keys.is_empty()
    }
}

/// Compares two revisions.
pub fn difference(from: &Contents, to: &Contents) -> Difference {
    let (old, new) = (text_of(from), text_of(to));
    let texts = TextDiff::from_lines(old.as_str(), new.as_str());
    let mut network = Vec::new();
    for hunk in texts.unified_diff().context_radius(2).iter_hunks() {
        network.push(DiffLine { sign: '@', text: hunk.header().to_string() });
        network.extend(hunk.iter_changes().map(|change| DiffLine {
            sign: match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            },
            text: change.value().trim_end_matches(['\n', '\r']).to_owned(),
        }));
    }
    Difference { network, keys: keys(&secrets_of(from), &secrets_of(to)) }
}

fn text_of(contents: &Contents) -> String {
    contents.network.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

fn secrets_of(contents: &Contents) -> Secrets {
    let parsed = contents.secrets.as_ref().map(|bytes| Secrets::parse(bytes, "secrets.toml").value);
    parsed.flatten().unwrap_or_default()
}

fn keys(from: &Secrets, to: &Secrets) -> Vec<KeyChange> {
    let mut changes = compared("private", &private(from), &private(to));
    changes.extend(compared("preshared", &preshared(from), &preshared(to)));
    changes
}

fn private(secrets: &Secrets) -> BTreeMap<String, &crate::model::PrivateKey> {
    secrets.private_keys.iter().map(|(name, key)| (name.to_string(), key)).collect()
}

fn preshared(secrets: &Secrets) -> BTreeMap<String, &crate::model::PresharedKey> {
    let each =
        secrets.preshared_keys.iter().flat_map(|(relay, spokes)| spokes.iter().map(move |s| (relay, s)));
    each.map(|(relay, (spoke, key))| (format!("{relay} and {spoke}"), key)).collect()
}

fn compared<K: PartialEq>(
    kind: &'static str,
    from: &BTreeMap<String, &K>,
    to: &BTreeMap<String, &K>,
) -> Vec<KeyChange> {
    let names: std::collections::BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let change = |name: &String| match (from.get(name), to.get(name)) {
        (None, Some(_)) => Some("added"),
        (Some(_), None) => Some("removed"),
        (Some(old), Some(new)) if old != new => Some("changed"),
        _ => None,
    };
    names.into_iter().filter_map(|of| Some(KeyChange { of: of.clone(), kind, change: change(of)? })).collect()
}

/// Why a network is not what a revision, or a file, holds.
#[derive(Debug, thiserror::Error)]
pub enum NotRestored {
    /// The place of the network said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it holds is no valid network, or its keys do not fit.
    #[error("it holds no network that is valid now; nothing was changed")]
    Invalid(Vec<Problem>),
    /// The file is none that `backup` wrote, or not whole.
    #[error("{0}; nothing was changed")]
    NotABackup(String),
}

/// Makes the network what a revision holds, keys included; a new revision says so. `None`: it is that already.
///
/// # Errors
/// The revision is not kept, is not valid now, or cannot be written; then nothing was changed.
pub fn revert(folder: &Folder, number: u64, note: Note) -> Result<Option<u64>, NotRestored> {
    let store = NetworkStore::of(folder)?;
    let turn = store.turn()?;
    let (_, contents) = store.revision(number)?;
    valid(&contents)?;
    let expected = store.load()?.digests();
    Ok(store.commit(&turn, &contents, &expected, note)?)
}

/// Makes a network what a backup holds; one that is not there is made. Returns the new revision; `None`: it is that already.
///
/// # Errors
/// It cannot be written; then nothing was changed.
pub fn restore(folder: &Folder, contents: &Contents, note: Note) -> Result<Option<u64>, NotRestored> {
    if !folder.exists() {
        folder.create(contents, note)?;
        return Ok(Some(1));
    }
    let store = NetworkStore::of(folder)?;
    let turn = store.turn()?;
    let expected = store.load()?.digests();
    Ok(store.commit(&turn, contents, &expected, note)?)
}

/// Returns the network that contents hold, with keys that fit it.
///
/// # Errors
/// Its problems.
pub fn valid(contents: &Contents) -> Result<Network, NotRestored> {
    let bytes = contents.network.as_ref().map(|bytes| bytes.as_slice()).unwrap_or_default();
    let parsed = parse_network(bytes, "network.toml");
    let Some(network) = parsed.value else { return Err(NotRestored::Invalid(parsed.problems)) };
    let secrets = contents.secrets.as_ref().map(|bytes| bytes.as_slice()).unwrap_or_default();
    // A bundle brings one node's secrets only.
    let fits = match contents.bundle {
        Some(_) => Secrets::parse(secrets, "secrets.toml"),
        None => Secrets::parse_for(secrets, "secrets.toml", &network),
    };
    if fits.value.is_none() { Err(NotRestored::Invalid(fits.problems)) } else { Ok(network) }
}

/// Says whose network contents hold, checked.
///
/// # Errors
/// As [`valid`].
pub fn name_of(contents: &Contents) -> Result<InterfaceName, NotRestored> {
    let name = valid(contents)?.name;
    name.as_str().parse().map_err(|e| NotRestored::NotABackup(format!("{name}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_by_their_owner() {
        let of = |text: &str| Contents::new(b"a\nb\nc\n", Some(text.as_bytes()));
        let key = |n: u8| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [n; 32]);
        let old = format!("[private_keys]\nwsl = \"{}\"\nphone = \"{}\"\n", key(64), key(72));
        let new = format!("[private_keys]\nwsl = \"{}\"\nlaptop = \"{}\"\n", key(80), key(88));
        let found = difference(&of(&old), &of(&new));
        let told: Vec<String> =
            found.keys.iter().map(|k| format!("{} {} {}", k.kind, k.of, k.change)).collect();
        assert_eq!(told, ["private laptop added", "private phone removed", "private wsl changed"]);
        assert!(found.network.is_empty());
        let shown = format!("{found:?}");
        assert!(!shown.contains(&key(64)) && !shown.contains(&key(80)), "{shown}");
        assert!(difference(&of(&old), &of(&old)).is_empty());
    }

    #[test]
    fn lines_are_told_with_those_around_them() {
        let of = |text: &str| Contents::new(text.as_bytes(), None);
        let found = difference(&of("1\n2\n3\n4\n5\n6\n7\n"), &of("1\n2\n3\nfour\n5\n6\n7\n"));
        let lines: Vec<String> = found.network.iter().map(|l| format!("{}{}", l.sign, l.text)).collect();
        assert_eq!(lines, ["@@@ -2,5 +2,5 @@", " 2", " 3", "-4", "+four", " 5", " 6"]);
    }
}
