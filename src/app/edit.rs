//! Edits of a network: read under the lock, changed in memory, checked whole, and written as one revision or not at all.

use zeroize::Zeroizing;

use super::event::Event;
use super::fault::{Fault, FaultKind};
use super::session::{Loaded, Session};
use crate::config::{EditError, NetworkDocument, NoSite, Secrets, parse_network};
use crate::host::random;
use crate::model::{Network, Node, NodeName, Problem};
use crate::store::{Contents, Digest, Store as _};

/// How an edit is saved.
#[derive(Debug, Clone, Copy, Default)]
pub struct Saving<'a> {
    /// Whether it is only worked out, and nothing written.
    pub dry_run: bool,
    /// The digest of the network.toml that it is meant for, as [`revision_of`] gives it; `None`: whatever is there.
    pub expects: Option<&'a str>,
}

/// An edit that was made, or worked out.
pub struct Edited {
    /// What was done, in a sentence or more.
    pub said: String,
    /// The network before.
    pub network_before: Network,
    /// The network after.
    pub network: Network,
    /// The files before.
    pub before: Contents,
    /// The files after.
    pub after: Contents,
    /// Warnings that the file did not have before.
    pub warnings: Vec<Problem>,
}

/// Names what a network.toml says, for whoever edits what he read: its digest.
pub fn revision_of(text: &[u8]) -> String {
    Digest::of(text).as_str().to_owned()
}

/// Refuses an edit that is meant for another text than the one that is there.
pub(super) fn expected(saving: &Saving<'_>, text: &[u8]) -> Result<(), Fault> {
    match saving.expects {
        Some(expected) if expected != revision_of(text) => Err(Fault {
            kind: FaultKind::Conflict,
            ..Fault::failed(
                "somebody changed the network meanwhile",
                "look at it as it is now, and make the change again",
            )
            .unchanged()
        }),
        _ => Ok(()),
    }
}

/// Edits the network. `read` reads the secrets: what mends them must not need them to be right. `change` says what it did.
///
/// # Errors
/// The change is refused, the network would not be valid with it, or it cannot be written; then nothing was changed.
pub fn edit(
    session: &Session,
    saving: Saving<'_>,
    read: impl FnOnce(&Session, &Loaded) -> Result<Secrets, Fault>,
    change: impl FnOnce(&Loaded, &mut NetworkDocument, &mut Secrets) -> Result<String, Fault>,
) -> Result<Edited, Fault> {
    let folder = session.folder()?;
    let (store, turn) = session.turn(&folder)?;
    // What the file is warned of is told when it is known what is left of it.
    let loaded = session.load_from(session.folder()?)?;
    let mut document = NetworkDocument::of_network(&loaded.text);
    let worked = || {
        if let Some(bundle) = loaded.snapshot.installed_bundle()? {
            return Err(Fault::failed(
                format!("this network came here in a bundle for {}", bundle.this),
                "change it where the bundle was made, export it again, and `wgrelay up --bundle` it here",
            ));
        }
        expected(&saving, loaded.text.as_bytes())?;
        let secrets_before = read(session, &loaded)?;
        let mut secrets = secrets_before.clone();
        let said = change(&loaded, &mut document, &mut secrets)?;
        Ok((secrets_before, secrets, said))
    };
    let warn_of = |left: &dyn Fn(&Problem) -> bool| {
        loaded.warnings.iter().filter(|warning| left(warning)).for_each(|warning| session.warn(warning));
    };
    let (secrets_before, mut secrets, said) = worked().inspect_err(|_| warn_of(&|_| true))?;
    let text = document.to_string();
    let before = loaded.snapshot.contents()?;
    if text == loaded.text && secrets == secrets_before {
        warn_of(&|_| true);
        let (network, after) = (loaded.network.clone(), before.clone());
        return Ok(Edited {
            said,
            network_before: loaded.network,
            network,
            before,
            after,
            warnings: Vec::new(),
        });
    }
    let file = loaded.folder.network_path().display().to_string();
    let parsed = parse_network(text.as_bytes(), &file);
    let Some(network) = parsed.value else {
        warn_of(&|_| true);
        let problems: Vec<Problem> = parsed.problems.into_iter().filter(Problem::is_error).collect();
        return Err(Fault {
            problems,
            ..Fault::failed("the network would not be valid any more", "").unchanged()
        });
    };
    for (relay, other) in new_pairs(&loaded.network, &network) {
        if secrets.preshared_key(&relay, &other).is_none() {
            secrets.set_preshared_key(&relay, &other, random::preshared_key());
        }
    }
    let same = |a: &Problem, b: &Problem| a.code == b.code && a.message == b.message;
    // What this edit mended is so no more; what is about other files stays.
    let of_text = format!("{file}:");
    warn_of(&|w| !w.place.starts_with(&of_text) || parsed.problems.iter().any(|p| same(p, w)));
    let told = |p: &Problem| loaded.warnings.iter().any(|w| same(w, p));
    let warnings: Vec<Problem> = parsed.problems.iter().filter(|p| !told(p)).cloned().collect();
    let mut after = Contents { network: Some(Zeroizing::new(text.into_bytes())), ..before.clone() };
    if secrets != secrets_before {
        after.secrets = Some(Zeroizing::new(secrets.render().as_bytes().to_vec()));
    }
    if !saving.dry_run {
        for warning in &warnings {
            session.tell(Event::Problem(warning.clone()));
        }
        let why = anstream::adapter::strip_str(said.lines().next().unwrap_or_default()).to_string();
        store.commit(&turn, &after, &before.digests(), session.note(why))?;
    }
    Ok(Edited { said, network_before: loaded.network, network, before, after, warnings })
}

impl Edited {
    /// Says whether network.toml differs.
    pub fn changes_network(&self) -> bool {
        self.before.network != self.after.network
    }
}

/// The pairs that share a preshared key since a node became a relay: it and every other node.
fn new_pairs(before: &Network, after: &Network) -> Vec<(NodeName, NodeName)> {
    let was_relay = |node: &Node| before.nodes.get(&node.name).is_some_and(Node::is_relay);
    if !after.preshared_keys || after.relays().all(was_relay) {
        return Vec::new();
    }
    let pairs =
        after.key_pairs().filter(|(relay, other)| !was_relay(relay) || other.is_relay() && !was_relay(other));
    pairs.map(|(relay, other)| (relay.name.clone(), other.name.clone())).collect()
}

impl From<EditError> for Fault {
    fn from(error: EditError) -> Self {
        let hint = match &error {
            EditError::Mentioned { .. } => "change or remove those rules first",
            EditError::Exists(_) => "`wgrelay list` has the names in use",
            EditError::ByHand { .. } => "edit the file by hand there",
            _ => "",
        };
        Self::failed(error, hint)
    }
}

impl From<NoSite> for Fault {
    fn from(no: NoSite) -> Self {
        Self::usage(no.message, no.hint)
    }
}
