//! What pages show: the JSON of the procedures as types, and the frame around each page.
//!
//! They are read from the same JSON that `--json` prints, so that page, API and command line cannot tell different things.

mod people;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use people::{AuditEntry, Device, People, Session, Token, User, Waiting};

pub use crate::status::Status;

/// Who looks at a page, and what every page has around it.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// The network's name; empty before login.
    pub network: String,
    /// Who signed in; `None`: nobody yet.
    pub user: Option<String>,
    /// The node that looks without having signed in, since it comes through the tunnel.
    pub by_tunnel: Option<String>,
    /// What that person may do.
    pub role: Role,
    /// Whether that person may have devices of his own.
    pub has_devices: bool,
    /// Whether that person signs in by a provider, and has no password here.
    pub by_provider: bool,
    /// Whether that person proved of late who he is: then keys leave.
    pub is_proved: bool,
    /// What the provider is called by which one signs in; `None`: there is none.
    pub provider: Option<String>,
    /// What forms send back as `csrf`.
    pub csrf: String,
    /// Path of this page, to mark it in the menu: `/nodes`.
    pub path: String,
    /// What its address says behind the question mark, but for the language; empty where nothing.
    pub query: String,
    /// The language asked for: `en` or `zh`.
    pub language: Language,
    /// What is told on top.
    pub notices: Vec<Notice>,
    /// What every path begins with, such as `/wg`; empty at the root.
    pub base: String,
}

/// What is told on top of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Something was done.
    Done(String),
    /// Something was not.
    Failed(String),
    /// A change goes back in so many seconds unless it is confirmed.
    GoesBack(u64),
}

/// What somebody may do; each may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Add devices of his own, and take their files out; see nothing else.
    #[default]
    Owner,
    /// Look.
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
    /// Whether the file has it switched on.
    pub enabled: bool,
    /// Whether it takes part now: enabled and not expired.
    #[serde(rename = "active")]
    pub is_active: bool,
    /// When it stops to, as RFC 3339.
    pub expires: Option<String>,
    /// Where a relay is called.
    pub endpoint: Option<String>,
    /// Its public key.
    pub public_key: String,
    /// Prefixes of its sites.
    pub sites: Vec<String>,
    /// What it belongs to.
    #[serde(default)]
    pub groups: Vec<String>,
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

impl From<&crate::model::Problem> for Problem {
    fn from(problem: &crate::model::Problem) -> Self {
        Self {
            code: problem.code.clone(),
            severity: if problem.is_error() { "error" } else { "warning" }.into(),
            place: problem.place.clone(),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        }
    }
}

/// `check --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Check {
    /// Places that have the same answers; pairs are over the first of each.
    pub classes: Vec<Vec<String>>,
    /// Who reaches whom.
    pub pairs: Vec<Pair>,
    /// What is blocked beside these pairs, where they are too many.
    #[serde(default)]
    pub unlisted: Vec<Unlisted>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Pairs of `check --json` that are counted and not listed.
#[derive(Debug, Clone, Deserialize)]
pub struct Unlisted {
    /// Why they are blocked: a code.
    pub reason: String,
    /// How many they are.
    pub count: usize,
    /// One of them.
    pub example: [String; 2],
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
    /// Whether the pair speaks of places of one node, or of two; `None`: it does not matter.
    #[serde(default)]
    pub same_node: Option<bool>,
}

impl Check {
    /// Returns how many pairs of places are blocked, and how many there are.
    pub fn counts(&self) -> (usize, usize) {
        let unlisted: usize = self.unlisted.iter().map(|group| group.count).sum();
        (self.count(|pair| pair.verdict != "reaches") + unlisted, self.count(|_| true) + unlisted)
    }

    /// Counts the pairs of places of which something holds. A pair of classes stands for all their members.
    pub fn count(&self, holds: impl Fn(&Pair) -> bool) -> usize {
        let mut class_of: HashMap<&str, (usize, usize)> = HashMap::new();
        for (n, class) in self.classes.iter().enumerate() {
            for place in class.iter().take(2) {
                class_of.insert(place, (n, class.len()));
            }
        }
        let weight = |pair: &Pair| match (class_of.get(pair.from.as_str()), class_of.get(pair.to.as_str())) {
            (Some((_, size)), _) if pair.same_node == Some(true) => *size,
            (Some((a, size)), Some((b, _))) if a == b || pair.same_node == Some(false) => size * (size - 1),
            (Some((_, a)), Some((_, b))) => a * b,
            _ => 1,
        };
        self.pairs.iter().filter(|pair| holds(pair)).map(weight).sum()
    }
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
    /// What was followed, as `[[allow]]` writes it.
    #[serde(default)]
    pub port: Option<String>,
    /// What is worth knowing and blocks nothing.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Why the verdict is not certain; empty: it is.
    #[serde(default)]
    pub uncertain: Vec<String>,
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
    /// How many more pairs there are than are told.
    #[serde(default)]
    pub unlisted: usize,
    /// What is wrong with it then; errors forbid to save it.
    pub problems: Vec<Problem>,
    /// What `up` would change on this host then; `None`: that is not known.
    #[serde(default)]
    pub plan: Option<Vec<Line>>,
    /// Why it is not known.
    #[serde(default)]
    pub plan_unknown: Option<String>,
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

/// A change after which a blocked pair was found to reach: what the form of it sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mend {
    /// Names and values of the form's fields.
    pub fields: Vec<(String, String)>,
}

/// `show --json`: a node, and what the network makes of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// `relay` or `spoke`.
    pub role: String,
    /// What it runs on.
    pub platform: String,
    /// Whether the file has it switched on.
    pub enabled: bool,
    /// Whether it takes part now: enabled and not expired.
    pub active: bool,
    /// When it stops to, as RFC 3339.
    pub expires: Option<String>,
    /// Its tunnel address.
    pub address: String,
    /// The same of IPv6.
    pub address6: Option<String>,
    /// Where it is called.
    pub endpoint: Option<String>,
    /// Its public key.
    pub public_key: String,
    /// `split`, `full`, or prefixes.
    pub routes: Vec<String>,
    /// Name servers and search domains.
    pub dns: Vec<String>,
    /// In bytes.
    pub mtu: u16,
    /// In seconds; `None`: none.
    pub keepalive: Option<u16>,
    /// UDP; `None`: the kernel's choice.
    pub listen_port: Option<u16>,
    /// What it is attached to itself.
    pub local: Vec<String>,
    /// Subnets behind it.
    pub sites: Vec<ShownSite>,
    /// AllowedIPs of each of its peers.
    pub allowed_ips: Vec<ShownPeer>,
    /// Rules of `[[allow]]` about it.
    pub rules: Vec<String>,
    /// What it belongs to.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// A site of `show --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct ShownSite {
    /// The prefix.
    pub subnet: String,
    /// The prefix under which the others see it.
    pub alias: Option<String>,
    /// All that the file has of it, in a line.
    #[serde(default)]
    pub typed: String,
    /// The link, or `docker:NETWORK`.
    pub interface: Option<String>,
    /// Whether what enters it gets the node's address.
    pub masqueraded: bool,
    /// Whether its hosts go out by the node.
    pub egress: bool,
}

/// A peer of `show --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct ShownPeer {
    /// Its name.
    pub peer: String,
    /// What goes to it, and may come from it.
    pub allowed_ips: Vec<String>,
}

/// `doctor --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Doctor {
    /// The answer in a line.
    #[serde(default)]
    pub answer: String,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// A finding of `doctor --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Finding {
    /// Its code.
    pub code: String,
    /// `ok`, `warning` or `error`.
    pub verdict: String,
    /// The sentence.
    pub message: String,
    /// What to do; may be empty.
    pub fix: String,
}

/// What `export` of the half that has rights answers: a node's file, with its keys.
#[derive(Deserialize)]
pub struct Exported {
    /// The node.
    pub node: String,
    /// The configuration.
    pub content: String,
    /// Whether its private key is in it.
    pub complete: bool,
    /// The code; `None`: it would not fit, or the key is not there.
    pub svg: Option<String>,
}
