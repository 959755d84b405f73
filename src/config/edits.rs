//! What edits of a network.toml change: ranges of its text, and what takes their place.
//!
//! The text is spliced at the places that the parser reports, never printed anew, and every edit is read back before it
//! counts: what cannot be edited safely (a node inside one inline table of all nodes) is refused, with its line.

use std::ops::Range;

use toml_edit::{Document, Item, TableLike, Value};

use super::document::{EditError, Setting};
use super::layout::{Block, Layout, key_path, lines_of};
use super::render::{key_text, render_node};
use crate::model::{Node, NodeName};

/// What takes the place of a range.
pub(super) type Splice = (Range<usize>, String);

/// How a node's own keys are written.
pub(super) enum Spelling<'d> {
    /// Under `[node.NAME]`.
    Header(&'d Block),
    /// `NAME = { … }`; where the braces are.
    Inline(Range<usize>),
    /// `NAME.key = …`; how many keys there are in the path to the table.
    Dotted(usize),
}

/// A text whose edits are worked out.
pub(super) struct Typed<'t> {
    text: &'t str,
}

impl<'t> Typed<'t> {
    pub(super) const fn of(text: &'t str) -> Self {
        Self { text }
    }

    pub(super) const fn text(&self) -> &'t str {
        self.text
    }

    /// Adds a node below the last one.
    pub(super) fn add_node(&self, node: &Node) -> Result<Vec<Splice>, EditError> {
        let document = read(self.text)?;
        if node_of(&document, &node.name).is_some() {
            return Err(EditError::Exists(node.name.clone()));
        }
        let layout = Layout::of(self.text, &document);
        let under =
            |table: &str| layout.blocks.iter().rev().find(|b| b.path.first().is_some_and(|p| p == table));
        let last =
            under("node").or_else(|| under("network")).unwrap_or(&layout.blocks[layout.blocks.len() - 1]);
        let at = layout.own_end(last);
        let newline = layout.newline();
        let mut insert = String::new();
        if at > 0 {
            insert.push_str(newline);
            insert.push_str(newline);
        }
        insert.push_str(&render_node(node).trim_end().replace('\n', newline));
        let name = node.name.clone();
        self.checked(vec![(at..at, insert)], &format!("add node {name}"), at, |d| node_of(d, &name).is_some())
    }

    /// Removes a node, with the comments right above and below its tables; refused while a rule names it.
    pub(super) fn remove_node(&self, name: &NodeName) -> Result<Vec<Splice>, EditError> {
        let document = read(self.text)?;
        let item = node_of(&document, name).ok_or_else(|| EditError::Unknown(name.clone()))?;
        let mentions = mentions(&document, name);
        if !mentions.is_empty() {
            let lines = mentions.iter().map(|s| self.line(s.start)).collect();
            return Err(EditError::Mentioned { name: name.clone(), lines });
        }
        let layout = Layout::of(self.text, &document);
        let mut cuts: Vec<Range<usize>> =
            layout.blocks.iter().filter(|b| is_of(b, name)).map(|b| layout.cut(b)).collect();
        for line in own_lines(&document, item, name, &layout) {
            cuts.push(layout.line_start(line.start)..layout.next_line(line.end));
        }
        let at = cuts.first().map_or(0, |c| c.start);
        let edits = cuts.into_iter().map(|c| (c, String::new())).collect();
        self.checked(edits, &format!("remove node {name}"), at, |d| node_of(d, name).is_none())
    }

    /// Switches a node on or off. Switching off and on again gives the text back: the line that the first put right below
    /// the header, the second takes away.
    pub(super) fn set_enabled(&self, name: &NodeName, enabled: bool) -> Result<Vec<Splice>, EditError> {
        let document = read(self.text)?;
        let table = self.table(&document, name)?;
        let now = table.get("enabled").and_then(Item::as_bool);
        if now == Some(enabled) || (enabled && !table.contains_key("enabled")) {
            return Ok(Vec::new());
        }
        if enabled && self.is_our_line(&document, table, name) {
            return self.set_value(name, "enabled", None);
        }
        self.set_value(name, "enabled", Some(&Setting::Flag(enabled)))
    }

    /// Sets one of a node's own keys, or takes it away with its line. Whether the value is valid is for a reading of the
    /// whole text to say.
    pub(super) fn set_value(
        &self,
        name: &NodeName,
        key: &str,
        value: Option<&Setting>,
    ) -> Result<Vec<Splice>, EditError> {
        let document = read(self.text)?;
        self.table(&document, name)?;
        self.set_at(&["node", name.as_str()], key, value)
    }

    /// Sets a key of the table at a path, or takes it away with its line.
    pub(super) fn set_at(
        &self,
        path: &[&str],
        key: &str,
        value: Option<&Setting>,
    ) -> Result<Vec<Splice>, EditError> {
        let document = &read(self.text)?;
        let what = format!("set {key} of {}", path.join("."));
        let by_hand = || EditError::ByHand { what: what.clone(), line: self.line(0) };
        let table = item_at(document, path).and_then(Item::as_table_like).ok_or_else(by_hand)?;
        let layout = Layout::of(self.text, document);
        let spelling = spelling(document, path, &layout);
        let Some(edit) = self.set_in(&what, table, &spelling, &layout, (key, value))? else {
            return Ok(Vec::new());
        };
        let at = edit.0.start;
        let wanted = value.is_some();
        self.checked(vec![edit], &what, at, |d| {
            item_at(d, path).and_then(Item::as_table_like).is_some_and(|t| t.contains_key(key) == wanted)
        })
    }

    /// What sets a key of a table, or takes it away with its line; `None`: nothing does, it is not there.
    pub(super) fn set_in(
        &self,
        what: &str,
        table: &dyn TableLike,
        spelling: &Spelling<'_>,
        layout: &Layout<'_>,
        (key, value): (&str, Option<&Setting>),
    ) -> Result<Option<Splice>, EditError> {
        let old = table.get(key).filter(|i| !i.is_none());
        let start = table.key(key).and_then(toml_edit::Key::span).map_or(0, |s| s.start);
        let by_hand = || EditError::ByHand { what: what.to_owned(), line: self.line(start) };
        let old_span = || old.and_then(Item::as_value).and_then(Value::span).ok_or_else(by_hand);
        Ok(Some(match (old, value) {
            (None, None) => return Ok(None),
            (Some(_), Some(value)) => (old_span()?, value.render()),
            (Some(_), None) => {
                let span = old_span()?;
                let cut = match spelling {
                    Spelling::Inline(_) => self.inline_entry(start, span.end),
                    _ => layout.line_start(start)..layout.next_line(span.end),
                };
                (cut, String::new())
            }
            (None, Some(value)) => {
                let assign = format!("{} = {}", key_text(key), value.render());
                self.insertion(table, spelling, layout, &assign, key == "enabled")
            }
        }))
    }

    /// Gives a node another name, also where rules name it.
    pub(super) fn rename_node(&self, old: &NodeName, new: &NodeName) -> Result<Vec<Splice>, EditError> {
        let document = read(self.text)?;
        let item = node_of(&document, old).ok_or_else(|| EditError::Unknown(old.clone()))?;
        if old == new {
            return Ok(Vec::new());
        }
        if node_of(&document, new).is_some() {
            return Err(EditError::Exists(new.clone()));
        }
        let layout = Layout::of(self.text, &document);
        let mut edits = Vec::new();
        let mut rename = |from: usize, depth: usize| {
            if let Some((_, span)) = key_path(&self.text[from..]).get(depth) {
                edits.push((from + span.start..from + span.end, key_text(new.as_str())));
            }
        };
        for block in layout.blocks.iter().filter(|b| is_of(b, old)) {
            let brackets = self.text[block.header.clone()].chars().take_while(|c| *c == '[').count();
            rename(block.header.start + brackets, 1);
        }
        for line in own_lines(&document, item, old, &layout) {
            // Under [node] the name is the first key of the line, before any header the second.
            let depth = 1 - layout.block_at(line.start).path.len().min(1);
            rename(layout.line_start(line.start), depth);
        }
        for span in mentions(&document, old) {
            // As `docker`, or as a part of `docker:443` and `lan:docker`.
            let renamed = self.text[span.clone()].replacen(old.as_str(), new.as_str(), 1);
            edits.push((span.clone(), renamed));
        }
        let at = edits.first().map_or(0, |(r, _)| r.start);
        self.checked(edits, &format!("rename node {old}"), at, |d| {
            node_of(d, old).is_none() && node_of(d, new).is_some() && mentions(d, old).is_empty()
        })
    }

    pub(super) fn table<'d>(
        &self,
        document: &'d Document<String>,
        name: &NodeName,
    ) -> Result<&'d dyn TableLike, EditError> {
        let item = node_of(document, name).ok_or_else(|| EditError::Unknown(name.clone()))?;
        let line = self.line(item.span().map_or(0, |s| s.start));
        item.as_table_like().ok_or_else(|| EditError::ByHand { what: format!("edit node {name}"), line })
    }

    /// Says whether `enabled = false` stands where [`Self::set_enabled`] puts it, with nothing beside it.
    fn is_our_line(&self, document: &Document<String>, table: &dyn TableLike, name: &NodeName) -> bool {
        let Some(key) = table.key("enabled").and_then(toml_edit::Key::span) else { return false };
        let layout = Layout::of(self.text, document);
        let line = &self.text[layout.line_start(key.start)..layout.line_end(key.start)];
        let first = lines_of(table).first().is_some_and(|(span, _)| *span == key);
        match spelling(document, &["node", name.as_str()], &layout) {
            Spelling::Header(block) => {
                let below = layout.next_line(layout.line_end(block.header.end));
                line.trim_start() == "enabled = false" && below == layout.line_start(key.start)
            }
            Spelling::Inline(braces) => {
                first && self.text[braces.start + 1..].starts_with(" enabled = false,")
            }
            Spelling::Dotted(_) => first && line.ends_with("enabled = false"),
        }
    }

    /// Where and how a new `key = value` goes in.
    fn insertion(
        &self,
        table: &dyn TableLike,
        spelling: &Spelling<'_>,
        layout: &Layout<'_>,
        assign: &str,
        first: bool,
    ) -> (Range<usize>, String) {
        let newline = layout.newline();
        let lines = lines_of(table);
        let indent = |offset: usize| {
            let line = &self.text[layout.line_start(offset)..offset];
            line[..line.len() - line.trim_start().len()].to_owned()
        };
        match spelling {
            Spelling::Header(block) => {
                let below_header = layout.line_end(block.header.end);
                // A node's own lines may also stand under a second header, as dotted keys; this block's are meant.
                let last = lines.iter().rfind(|(k, _)| layout.block_at(k.start).header == block.header);
                let last = last.filter(|_| !first);
                let at = last.and_then(|(_, v)| v.span()).map_or(below_header, |s| layout.line_end(s.end));
                let blanks = lines.first().map_or_else(String::new, |(k, _)| indent(k.start));
                (at..at, format!("{newline}{blanks}{assign}"))
            }
            Spelling::Inline(braces) => match lines.last().and_then(|(_, v)| v.span()) {
                Some(last) if !first => (last.end..last.end, format!(", {assign}")),
                Some(_) => (braces.start + 1..braces.start + 1, format!(" {assign},")),
                None => (braces.start + 1..braces.end - 1, format!(" {assign} ")),
            },
            Spelling::Dotted(depth) => {
                let Some((key, value)) = (if first { lines.first() } else { lines.last() }) else {
                    return (self.text.len()..self.text.len(), String::new());
                };
                let start = layout.line_start(key.start);
                // The keys before the last one of that line, as they are typed there.
                let parents = depth.saturating_sub(layout.block_at(start).path.len());
                let keys = key_path(&self.text[start..]);
                let prefix = keys.get(parents).map_or("", |(_, span)| &self.text[start..start + span.start]);
                if first {
                    return (start..start, format!("{prefix}{assign}{newline}"));
                }
                let end = value.span().map_or(key.end, |s| s.end);
                let end = layout.line_end(end);
                (end..end, format!("{newline}{prefix}{assign}"))
            }
        }
    }

    /// The range of an entry of an inline table with one of its commas.
    pub(super) fn inline_entry(&self, key: usize, end: usize) -> Range<usize> {
        let before = self.text[..key].trim_end();
        let after = &self.text[end..];
        let comma = after.len() - after.trim_start().len();
        if after.trim_start().starts_with(',') {
            return before.len()..end + comma + 1;
        }
        let start = if before.ends_with(',') { before.len() - 1 } else { key };
        start..end
    }

    pub(super) fn line(&self, offset: usize) -> usize {
        self.text[..offset.min(self.text.len())].bytes().filter(|b| *b == b'\n').count() + 1
    }

    /// Returns the edits in order, if the outcome is TOML and `holds`.
    pub(super) fn checked(
        &self,
        mut edits: Vec<Splice>,
        what: &str,
        at: usize,
        holds: impl Fn(&Document<String>) -> bool,
    ) -> Result<Vec<Splice>, EditError> {
        edits.sort_by_key(|(range, _)| (range.start, range.end));
        match Document::parse(spliced(self.text, &edits)) {
            Ok(document) if holds(&document) => Ok(edits),
            _ => Err(EditError::ByHand { what: what.to_owned(), line: self.line(at) }),
        }
    }
}

/// Makes edits, which are in order.
pub(super) fn spliced(text: &str, edits: &[Splice]) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    let mut done = 0;
    for (range, insert) in edits {
        out.push_str(&text[done..range.start.max(done)]);
        out.push_str(insert);
        done = done.max(range.end);
    }
    out.push_str(&text[done..]);
    out
}

pub(super) fn read(text: &str) -> Result<Document<String>, EditError> {
    Document::parse(text.to_owned()).map_err(|fault| {
        let at = fault.span().map_or(0, |s| s.start).min(text.len());
        let line = text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
        EditError::Syntax { line, message: fault.message().to_owned() }
    })
}

fn item_at<'d>(document: &'d Document<String>, path: &[&str]) -> Option<&'d Item> {
    let (last, parents) = path.split_last()?;
    let mut table: &dyn TableLike = document.as_table();
    for key in parents {
        table = table.get(key)?.as_table_like()?;
    }
    table.get(last)
}

pub(super) fn node_of<'d>(document: &'d Document<String>, name: &NodeName) -> Option<&'d Item> {
    item_at(document, &["node", name.as_str()])
}

pub(super) fn is_of(block: &Block, name: &NodeName) -> bool {
    block.path.len() >= 2 && block.path[0] == "node" && block.path[1] == name.as_str()
}

fn spelling<'l>(document: &Document<String>, path: &[&str], layout: &'l Layout<'_>) -> Spelling<'l> {
    if let Some(block) = layout.blocks.iter().find(|b| b.path == path) {
        return Spelling::Header(block);
    }
    match item_at(document, path) {
        Some(Item::Value(Value::InlineTable(table))) => Spelling::Inline(table.span().unwrap_or_default()),
        _ => Spelling::Dotted(path.len()),
    }
}

/// The lines of a node that stand outside its own blocks: dotted keys, or one inline table. Each from its last key to its end.
fn own_lines(
    document: &Document<String>,
    item: &Item,
    name: &NodeName,
    layout: &Layout<'_>,
) -> Vec<Range<usize>> {
    let span = |key: Range<usize>, value: &Value| key.start..value.span().map_or(key.end, |s| s.end);
    let mut lines = Vec::new();
    match item {
        Item::Value(value) => {
            let nodes = document.as_table().get("node").and_then(Item::as_table);
            lines.extend(
                nodes
                    .and_then(|t| t.key(name.as_str()))
                    .and_then(toml_edit::Key::span)
                    .map(|k| span(k, value)),
            );
        }
        Item::Table(table) => lines.extend(lines_of(table).into_iter().map(|(k, v)| span(k, v))),
        _ => {}
    }
    lines.retain(|l| !is_of(layout.block_at(l.start), name));
    lines
}

/// Where rules name a node: the spans of the texts, quotes included.
fn mentions(document: &Document<String>, name: &NodeName) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for rules in ["allow", "expect", "forward"] {
        let item = document.as_table().get(rules);
        let mut tables: Vec<&dyn TableLike> = Vec::new();
        if let Some(list) = item.and_then(Item::as_array_of_tables) {
            tables.extend(list.iter().map(|t| t as &dyn TableLike));
        }
        if let Some(list) = item.and_then(Item::as_array) {
            tables.extend(list.iter().filter_map(|v| v.as_inline_table()).map(|t| t as &dyn TableLike));
        }
        for end in tables.iter().flat_map(|t| ["from", "to", "on"].map(|k| t.get(k))).flatten() {
            let texts: Vec<&Value> = match end.as_value() {
                Some(Value::Array(list)) => list.iter().collect(),
                Some(value) => vec![value],
                None => Vec::new(),
            };
            let is_named = |text: &str| {
                let whole = text.strip_prefix("lan:").unwrap_or(text);
                let part = text.split_once(':').filter(|_| rules == "forward").map(|(who, _)| who);
                whole == name.as_str() || part == Some(name.as_str())
            };
            let named = texts.into_iter().filter(|v| v.as_str().is_some_and(is_named));
            found.extend(named.filter_map(Value::span));
        }
    }
    let nodes = document.as_table().get("node").and_then(Item::as_table_like);
    for node in nodes.into_iter().flat_map(TableLike::iter).filter_map(|(_, item)| item.as_table_like()) {
        let listed = node.get("relays").and_then(Item::as_array).into_iter().flatten();
        found.extend(listed.filter(|v| v.as_str() == Some(name.as_str())).filter_map(Value::span));
        let via = node.get("via").and_then(Item::as_value).filter(|v| v.as_str() == Some(name.as_str()));
        found.extend(via.and_then(Value::span));
        let called = node.get("endpoint_of").and_then(Item::as_table_like);
        found.extend(called.and_then(|t| t.key(name.as_str())).and_then(toml_edit::Key::span));
    }
    found.sort_by_key(|s| s.start);
    found
}
