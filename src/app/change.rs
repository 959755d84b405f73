//! The procedure of a change that is looked at before it is saved: what it says, and which pairs it opens and closes.

use serde::{Deserialize, Serialize};

use super::compare::compare_edited;
use super::edit::{Edited, Saving, edit, expected, revision_of};
use super::fault::Fault;
use super::node_edits::{NewNode, add_node, enable_node, expire_node, remove_node, rename_node, rotate_node};
use super::revisions::{DiffLine, Difference, KeyChange, difference, valid};
use super::session::{Loaded, Session};
use crate::config::{NetworkDocument, Secrets};
use crate::model::{NodeName, Problem, PublicKey, Timestamp};
use crate::plan::Line;
use crate::reach::{self, ChangedPairs, changed_pairs};
use crate::store::{Contents, Store as _};

/// A change of the network. It is data, so that it may come from anywhere; every name in it is parsed before it is used.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// A spoke comes, with its keys.
    Add {
        /// Its name.
        name: String,
        /// What it runs on; unset: linux.
        platform: Option<String>,
        /// Its tunnel address; unset: the lowest free one.
        address: Option<String>,
        /// Subnets behind it, as `CIDR` or `CIDR@IFACE`.
        #[serde(default)]
        sites: Vec<String>,
        /// Its public key; unset: a pair is made here.
        public_key: Option<String>,
    },
    /// A node goes.
    Remove {
        /// The node.
        name: String,
    },
    /// A node gets another name.
    Rename {
        /// The node.
        name: String,
        /// The other name.
        to: String,
    },
    /// A node takes part again.
    Enable {
        /// The node.
        name: String,
    },
    /// A node takes no part.
    Disable {
        /// The node.
        name: String,
    },
    /// A node takes part until then.
    Expire {
        /// The node.
        name: String,
        /// When, as RFC 3339; unset: never.
        at: Option<String>,
    },
    /// A node gets new keys.
    Rotate {
        /// The node.
        name: String,
        /// Its new public key; unset: a pair is made here.
        public_key: Option<String>,
    },
    /// network.toml becomes this text.
    Text {
        /// All of it.
        text: String,
    },
    /// The network becomes what a revision holds.
    Revert {
        /// Its number.
        revision: u64,
    },
}

/// What a change would do, or did; serialises as the program's JSON.
#[derive(Debug, Serialize)]
pub struct Changed {
    /// The version of this form: 1.
    pub version: u32,
    /// What was done, in a sentence.
    pub said: String,
    /// Whether it was only worked out.
    pub dry_run: bool,
    /// What network.toml says now; of a change that was only worked out, what it is to be saved against.
    pub revision: String,
    /// Lines of network.toml that differ.
    pub lines: Vec<DiffLine>,
    /// Whose keys differ.
    pub keys: Vec<KeyChange>,
    /// The pairs that it opens and closes.
    #[serde(flatten)]
    pub pairs: ChangedPairs,
    /// Warnings that are new, and promises that it breaks.
    pub problems: Vec<Problem>,
    /// What `up` would change on this host then; `None`: it was saved, or that is not known.
    pub plan: Option<Vec<Line>>,
    /// Why it is not known.
    pub plan_unknown: Option<String>,
}

/// Makes a change, or works out what it would do.
///
/// # Errors
/// It is refused, or cannot be written; then nothing was changed.
pub fn change(session: &Session, change: &Change, saving: Saving<'_>) -> Result<Changed, Fault> {
    let edited = match change {
        Change::Revert { revision } => revert(session, *revision, saving)?,
        // What mends the secrets must not need them to be right.
        Change::Rotate { .. } | Change::Text { .. } => {
            edit(session, saving, Session::load_secrets_as_they_are, |l, d, s| make(change, l, d, s))?
        }
        _ => edit(session, saving, Session::load_secrets, |l, d, s| make(change, l, d, s))?,
    };
    let plan = saving.dry_run.then(|| compare_edited(&session.settled(), &edited));
    let mut changed = changed(session.now, edited, saving);
    match plan {
        Some(Ok(lines)) => changed.plan = Some(lines),
        Some(Err(why)) => changed.plan_unknown = Some(why.message),
        None => {}
    }
    Ok(changed)
}

fn make(
    change: &Change,
    loaded: &Loaded,
    document: &mut NetworkDocument,
    secrets: &mut Secrets,
) -> Result<String, Fault> {
    match change {
        Change::Add { name, platform, address, sites, public_key } => {
            let address = address.as_deref().map(|text| parsed::<std::net::Ipv4Addr>("address", text));
            let asked = NewNode {
                name: node_name(name)?,
                platform: platform.clone().unwrap_or_else(|| "linux".into()),
                sites: sites.clone(),
                address: address.transpose()?,
                public_key: key(public_key.as_deref())?,
            };
            let node = add_node(loaded, document, secrets, &asked)?;
            Ok(format!("added {} at {}", node.name, node.address))
        }
        Change::Remove { name } => {
            remove_node(loaded, document, secrets, &node_name(name)?)?;
            Ok(format!("removed {name}"))
        }
        Change::Rename { name, to } => {
            rename_node(loaded, document, secrets, &node_name(name)?, &node_name(to)?)?;
            Ok(format!("renamed {name} to {to}"))
        }
        Change::Enable { name } | Change::Disable { name } => {
            let enabled = matches!(change, Change::Enable { .. });
            let already =
                if enable_node(loaded, document, &node_name(name)?, enabled)? { "" } else { " already" };
            Ok(format!("{} {name}{already}", if enabled { "enabled" } else { "disabled" }))
        }
        Change::Expire { name, at } => {
            expire_node(loaded, document, &node_name(name)?, at.as_deref())?;
            Ok(at
                .as_ref()
                .map_or_else(|| format!("{name} expires no more"), |at| format!("{name} expires at {at}")))
        }
        Change::Rotate { name, public_key } => {
            rotate_node(loaded, document, secrets, &node_name(name)?, key(public_key.as_deref())?)?;
            Ok(format!("rotated the keys of {name}"))
        }
        Change::Text { text } => {
            *document = NetworkDocument::of_network(text);
            Ok("edited network.toml".into())
        }
        // It is no edit of what is there.
        Change::Revert { revision } => {
            Err(Fault::usage(format!("revision {revision} is reverted to whole"), ""))
        }
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(what: &str, text: &str) -> Result<T, Fault> {
    text.parse().map_err(|why| Fault::usage(format!("{what} {text:?}: {why}"), ""))
}

fn node_name(text: &str) -> Result<NodeName, Fault> {
    parsed("node", text)
}

fn key(text: Option<&str>) -> Result<Option<PublicKey>, Fault> {
    // What is no public key may be a private one: it is not repeated.
    let parse = |text: &str| {
        text.parse().map_err(|_| Fault::usage("this is no public key", "44 characters of base64"))
    };
    text.map(parse).transpose()
}

fn revert(session: &Session, number: u64, saving: Saving<'_>) -> Result<Edited, Fault> {
    let folder = session.folder()?;
    let (store, turn) = session.turn(&folder)?;
    let before = folder.load()?;
    let text = |contents: &Contents| contents.network.as_ref().map(|b| b.to_vec()).unwrap_or_default();
    expected(&saving, &text(&before))?;
    let (_, after) = store.revision(number)?;
    let network = valid(&after)?;
    // One that cannot be read reached nobody that could be told.
    let network_before = valid(&before).unwrap_or_else(|_| network.clone());
    let said = format!("reverted to revision {number}");
    if !saving.dry_run {
        store.commit(&turn, &after, &before.digests(), session.note(said.clone()))?;
    }
    Ok(Edited { said, network_before, network, before, after, warnings: Vec::new() })
}

fn changed(now: Timestamp, edited: Edited, saving: Saving<'_>) -> Changed {
    let (before, after) = (reach::check(&edited.network_before, now), reach::check(&edited.network, now));
    let Difference { network: lines, keys } = difference(&edited.before, &edited.after);
    let shown = if saving.dry_run { &edited.before } else { &edited.after };
    let mut problems = edited.warnings;
    problems.extend(after.problems.iter().filter(|p| p.is_error()).cloned());
    Changed {
        version: 1,
        said: edited.said,
        dry_run: saving.dry_run,
        revision: revision_of(shown.network.as_ref().map(|bytes| bytes.as_slice()).unwrap_or_default()),
        lines,
        keys,
        pairs: changed_pairs(&before, &after),
        problems,
        plan: None,
        plan_unknown: None,
    }
}
