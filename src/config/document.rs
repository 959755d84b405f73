//! A network.toml that is edited, and keeps everything else as it was typed: comments, order, quotes, spacing, line endings.
//!
//! What an edit changes is worked out in [`super::edits`], of a large file on the part that it is about ([`super::excerpt`]).

use ipnet::IpNet;

use super::edits::{Splice, Typed, read, spliced};
use super::excerpt::Excerpt;
use super::render::{list, text};
use super::site_words::SiteWords;
use crate::model::{Node, NodeName, PublicKey};

/// Why an edit was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text is not TOML.
    #[error("line {line}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// No such node.
    #[error("there is no node {0}")]
    Unknown(NodeName),
    /// The name is taken.
    #[error("there is a node {0} already")]
    Exists(NodeName),
    /// Rules name the node, and would lose their meaning.
    #[error("node {name} is named by a rule, by relays, by via or by endpoint_of, on line {}", joined(.lines))]
    Mentioned {
        /// The node.
        name: NodeName,
        /// The lines, from 1.
        lines: Vec<usize>,
    },
    /// The file is written in a way that this program does not edit.
    #[error("cannot {what} by itself: the way line {line} is written does not let it")]
    ByHand {
        /// What was to be done.
        what: String,
        /// The line to edit by hand, from 1.
        line: usize,
    },
}

fn joined(lines: &[usize]) -> String {
    lines.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A value to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Flag(bool),
    /// A list of texts.
    List(Vec<String>),
}

impl Setting {
    pub(super) fn render(&self) -> String {
        match self {
            Self::Text(t) => text(t),
            Self::Number(n) => n.to_string(),
            Self::Flag(f) => f.to_string(),
            Self::List(l) => list(l),
        }
    }
}

/// A network.toml being edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDocument {
    text: String,
}

impl std::fmt::Display for NetworkDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl NetworkDocument {
    /// Takes a text; it has to be TOML, and may break any other rule.
    pub fn parse(text: &str) -> Result<Self, EditError> {
        read(text)?;
        Ok(Self { text: text.to_owned() })
    }

    /// Takes a text that was read as a network just now.
    pub fn of_network(text: &str) -> Self {
        Self { text: text.to_owned() }
    }

    /// Returns the text as it stands.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Adds a node below the last one.
    pub fn add_node(&mut self, node: &Node) -> Result<(), EditError> {
        self.edit(&[&node.name], |typed| typed.add_node(node))
    }

    /// Removes a node, with the comments right above and below its tables; refused while a rule names it.
    pub fn remove_node(&mut self, name: &NodeName) -> Result<(), EditError> {
        self.edit(&[name], |typed| typed.remove_node(name))
    }

    /// Switches a node on or off. Switching off and on again gives the text back: the line that the first put right below
    /// the header, the second takes away.
    pub fn set_enabled(&mut self, name: &NodeName, enabled: bool) -> Result<(), EditError> {
        self.edit(&[name], |typed| typed.set_enabled(name, enabled))
    }

    /// Gives a node another public key.
    pub fn set_public_key(&mut self, name: &NodeName, key: &PublicKey) -> Result<(), EditError> {
        self.set_value(name, "public_key", Some(&Setting::Text(key.to_string())))
    }

    /// Sets one of a node's own keys, or takes it away with its line. Whether the value is valid is for a reading of the
    /// whole text to say.
    pub fn set_value(
        &mut self,
        name: &NodeName,
        key: &str,
        value: Option<&Setting>,
    ) -> Result<(), EditError> {
        self.edit(&[name], |typed| typed.set_value(name, key, value))
    }

    /// Sets keys of a site of a node; one that is not there is added below what the node has.
    pub fn set_site(&mut self, name: &NodeName, site: &SiteWords) -> Result<(), EditError> {
        let mut done = self.clone();
        // A line that goes and one that comes may be neighbours: one after the other, where the site is there already.
        let is_there = Typed::of(&self.text).has_site(name, site.subnet)?;
        let each = site.keys.iter().map(|key| SiteWords { keys: vec![key.clone()], ..site.clone() });
        let steps: Vec<SiteWords> = if is_there { each.collect() } else { vec![site.clone()] };
        for step in &steps {
            done.edit(&[name], |typed| typed.set_site(name, step))?;
        }
        *self = done;
        Ok(())
    }

    /// Removes a site of a node, with the comments right above and below it; says whether there was one.
    pub fn remove_site(&mut self, name: &NodeName, subnet: IpNet) -> Result<bool, EditError> {
        let before = self.text.len();
        self.edit(&[name], |typed| typed.remove_site(name, subnet))?;
        Ok(self.text.len() != before)
    }

    /// Sets where a node calls another one, of which it has an endpoint of its own already.
    pub fn set_endpoint_of(
        &mut self,
        name: &NodeName,
        other: &NodeName,
        endpoint: &Setting,
    ) -> Result<(), EditError> {
        let path = ["node", name.as_str(), "endpoint_of"];
        self.edit(&[name, other], |typed| typed.set_at(&path, other.as_str(), Some(endpoint)))
    }

    /// Sets one of the keys of `[network]`, or takes it away with its line.
    pub fn set_network_value(&mut self, key: &str, value: Option<&Setting>) -> Result<(), EditError> {
        self.edit(&[], |typed| typed.set_at(&["network"], key, value))
    }

    /// Gives a node another name, also where rules name it.
    pub fn rename_node(&mut self, old: &NodeName, new: &NodeName) -> Result<(), EditError> {
        self.edit(&[old, new], |typed| typed.rename_node(old, new))
    }

    /// Makes an edit that is about these nodes. What the part of the text does not settle, and what is refused there, is settled by
    /// all of it.
    fn edit(
        &mut self,
        names: &[&NodeName],
        edit: impl Fn(&Typed<'_>) -> Result<Vec<Splice>, EditError>,
    ) -> Result<(), EditError> {
        let of_part = |part: Excerpt| part.placed(edit(&Typed::of(part.text())).ok()?);
        let splices = match Excerpt::about(&self.text, names).and_then(of_part) {
            Some(splices) => splices,
            None => edit(&Typed::of(&self.text))?,
        };
        self.text = spliced(&self.text, &splices);
        Ok(())
    }
}
