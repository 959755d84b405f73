//! What pages show: the JSON of the procedures as types, and the frame around each page.
//!
//! They are read from the same JSON that `--json` prints, so that page, API and command line cannot tell different things.

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::status::Status;

/// Who looks at a page, and what every page has around it.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// The network's name; empty before login.
    pub network: String,
    /// Who signed in; `None`: nobody yet.
    pub user: Option<String>,
    /// What that person may do.
    pub role: Role,
    /// What forms send back as `csrf`.
    pub csrf: String,
    /// Path of this page, to mark it in the menu: `/nodes`.
    pub path: String,
    /// The language asked for: `en` or `zh`.
    pub language: Language,
    /// What was done just now, told once on top.
    pub notice: Option<String>,
}

/// What somebody may do; each may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    #[default]
    Viewer,
    /// Change the network, and take keys out.
    Operator,
    /// Say who may what.
    Admin,
}

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Chinese.
    Chinese,
}

/// `list --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct List {
    /// The network.
    pub network: String,
    /// Its nodes, by name.
    pub nodes: Vec<ListedNode>,
}

/// A node of `list --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct ListedNode {
    /// Its name.
    pub name: String,
    /// `relay` or `spoke`.
    pub role: String,
    /// What it runs on.
    pub platform: String,
    /// Its tunnel address.
    pub address: String,
    /// The same of IPv6.
    pub address6: Option<String>,
    /// Whether it takes part.
    pub enabled: bool,
    /// When it stops to, as RFC 3339.
    pub expires: Option<String>,
    /// Where a relay is called.
    pub endpoint: Option<String>,
    /// Its public key.
    pub public_key: String,
    /// Prefixes of its sites.
    pub sites: Vec<String>,
}

/// A problem, as everywhere in JSON.
#[derive(Debug, Clone, Deserialize)]
pub struct Problem {
    /// Its code.
    pub code: String,
    /// `error` or `warning`.
    pub severity: String,
    /// `FILE:LINE:COLUMN`, or what it is about.
    #[serde(rename = "where")]
    pub place: String,
    /// The sentence.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

/// `check --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Check {
    /// Places that have the same answers; pairs are over the first of each.
    pub classes: Vec<Vec<String>>,
    /// Who reaches whom.
    pub pairs: Vec<Pair>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// A pair of `check --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Pair {
    /// Where it starts.
    pub from: String,
    /// Where it is to end.
    pub to: String,
    /// `reaches` or `blocked`.
    pub verdict: String,
    /// `"all"`, or a list.
    pub ports: Value,
    /// Why not.
    pub reason: Option<Reason>,
}

/// Why a packet does not get through.
#[derive(Debug, Clone, Deserialize)]
pub struct Reason {
    /// A code of docs/reasons.md.
    pub code: String,
    /// The node where it ends.
    pub node: Option<String>,
    /// The sentence.
    pub message: String,
    /// What to do.
    pub fix: String,
}

/// `trace --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Trace {
    /// Where it starts.
    pub from: String,
    /// Where it is to end.
    pub to: String,
    /// `reaches` or `blocked`.
    pub verdict: String,
    /// Why not.
    pub reason: Option<Reason>,
    /// The way there.
    pub forward: Vec<Hop>,
    /// The way back.
    pub reply: Vec<Hop>,
}

/// A step of a packet.
#[derive(Debug, Clone, Deserialize)]
pub struct Hop {
    /// The node that it is on.
    pub node: String,
    /// What happens to it.
    pub step: String,
    /// In words.
    pub detail: String,
    /// Source then.
    pub src: String,
    /// Destination then.
    pub dst: String,
}

/// `plan --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Plan {
    /// The node that this host is.
    pub node: String,
    /// What `up` would change.
    pub changes: Vec<Line>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// A line of a plan: `from` alone goes, `to` alone comes.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    /// What kind of thing.
    pub kind: String,
    /// Which.
    pub target: String,
    /// What it was.
    pub from: Option<String>,
    /// What it is to be.
    pub to: Option<String>,
}

/// `history --json`, the oldest first.
#[derive(Debug, Clone, Deserialize)]
pub struct History {
    /// Whether the files were edited by hand since the last.
    pub edited: bool,
    /// What is kept.
    pub revisions: Vec<Revision>,
}

/// A revision.
#[derive(Debug, Clone, Deserialize)]
pub struct Revision {
    /// Its number.
    pub revision: u64,
    /// When, in Unix seconds.
    pub at: u64,
    /// By whom.
    pub user: Option<String>,
    /// By what command, or by whom on the page.
    pub command: Option<String>,
    /// Why.
    pub why: String,
    /// Whether it is what the files say now.
    pub current: bool,
}

/// `diff --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Diff {
    /// The revision that is compared.
    pub from: u64,
    /// With which; `None`: as it is now.
    pub to: Option<u64>,
    /// Lines that went (`-`), came (`+`), stand (` `), or say where (`@`).
    pub lines: Vec<DiffLine>,
    /// Whose keys differ.
    pub keys: Vec<KeyChange>,
}

/// A line of a difference.
#[derive(Debug, Clone, Deserialize)]
pub struct DiffLine {
    /// `-`, `+`, ` ` or `@`.
    pub sign: char,
    /// The line.
    pub text: String,
}

/// A key that differs; never its value.
#[derive(Debug, Clone, Deserialize)]
pub struct KeyChange {
    /// Whose.
    pub of: String,
    /// `private` or `preshared`.
    pub kind: String,
    /// `added`, `removed` or `changed`.
    pub change: String,
}

/// The network's file.
#[derive(Debug, Clone, Deserialize)]
pub struct NetworkFile {
    /// Its text.
    pub text: String,
    /// What it is saved against: a digest, sent back as `if_match`.
    pub revision: String,
}

/// What a change would do, or did: shown before anything is saved.
#[derive(Debug, Clone, Deserialize)]
pub struct Changed {
    /// In a sentence.
    pub said: String,
    /// Whether it is only shown.
    pub dry_run: bool,
    /// What it is to be saved against.
    pub revision: String,
    /// Lines of network.toml, as in [`Diff`].
    pub lines: Vec<DiffLine>,
    /// Whose keys differ.
    pub keys: Vec<KeyChange>,
    /// Pairs that reach each other then and did not.
    pub opens: Vec<ChangedPair>,
    /// Pairs that do not any more.
    pub closes: Vec<ChangedPair>,
    /// What is wrong with it then; errors forbid to save it.
    pub problems: Vec<Problem>,
}

/// A pair that a change opens or closes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangedPair {
    /// Where it starts.
    pub from: String,
    /// Where it is to end.
    pub to: String,
    /// Which ports: `"all"`, or a list.
    pub ports: Value,
}
