//! Edits of a node's sites, each under `[[node.NAME.site]]` or in a list of inline tables.

use std::ops::Range;

use ipnet::IpNet;
use toml_edit::{Document, InlineTable, Item, TableLike, Value};

use super::document::EditError;
use super::edits::{Spelling, Splice, Typed, is_of, node_of, read};
use super::layout::{Block, Layout};
use super::render::text;
use super::site_words::SiteWords;
use crate::model::NodeName;

/// A site as it stands in a text.
enum Found<'d> {
    /// Where its header is.
    Table(&'d dyn TableLike, Range<usize>),
    Inline(&'d InlineTable, Range<usize>),
}

impl<'d> Found<'d> {
    fn table(&self) -> &'d dyn TableLike {
        match *self {
            Self::Table(table, _) => table,
            Self::Inline(table, _) => table,
        }
    }
}

impl Typed<'_> {
    /// Says whether a node has a site.
    pub(super) fn has_site(&self, name: &NodeName, subnet: IpNet) -> Result<bool, EditError> {
        Ok(site_of(&read(self.text())?, name, subnet).is_some())
    }

    /// Sets keys of a site, or takes them away with their lines; a site that is not there is added below all that the node has.
    pub(super) fn set_site(&self, name: &NodeName, words: &SiteWords) -> Result<Vec<Splice>, EditError> {
        let document = &read(self.text())?;
        self.table(document, name)?;
        let layout = Layout::of(self.text(), document);
        let what = format!("set site {} of node {name}", words.subnet);
        let Some(site) = site_of(document, name, words.subnet) else {
            return self.add_site(document, &layout, name, words, &what);
        };
        let spelling = match &site {
            Found::Table(_, header) => Spelling::Header(
                block_of(&layout, header)
                    .ok_or_else(|| EditError::ByHand { what: what.clone(), line: self.line(header.start) })?,
            ),
            Found::Inline(_, braces) => Spelling::Inline(braces.clone()),
        };
        let mut edits = Vec::new();
        for (key, value) in &words.keys {
            edits.extend(self.set_in(&what, site.table(), &spelling, &layout, (key, value.as_ref()))?);
        }
        let at = edits.first().map_or(0, |(range, _)| range.start);
        self.checked(edits, &what, at, |d| has(d, name, words))
    }

    fn add_site(
        &self,
        document: &Document<String>,
        layout: &Layout<'_>,
        name: &NodeName,
        words: &SiteWords,
        what: &str,
    ) -> Result<Vec<Splice>, EditError> {
        let mut lines = vec![format!("subnet = {}", text(&words.subnet.to_string()))];
        lines.extend(
            words
                .keys
                .iter()
                .filter_map(|(key, value)| Some(format!("{key} = {}", value.as_ref()?.render()))),
        );
        let listed = sites_of(document, name).and_then(Item::as_array);
        let edit = if let Some(last) = listed.and_then(|list| list.iter().last()).and_then(Value::span) {
            (last.end..last.end, format!(", {{ {} }}", lines.join(", ")))
        } else {
            let own = layout.blocks.iter().rfind(|block| is_of(block, name));
            let line = node_of(document, name).and_then(Item::span).map_or(0, |s| s.start);
            let own = own.filter(|_| listed.is_none());
            let by_hand = || EditError::ByHand { what: what.to_owned(), line: self.line(line) };
            let at = layout.own_end(own.ok_or_else(by_hand)?);
            let newline = layout.newline();
            let header = format!("[[node.{}.site]]", super::render::key_text(name.as_str()));
            (at..at, [&[header], lines.as_slice()].concat().iter().map(|l| format!("{newline}{l}")).collect())
        };
        let at = edit.0.start;
        self.checked(vec![edit], what, at, |d| has(d, name, words))
    }

    /// Removes a site, with the comments right above and below it.
    pub(super) fn remove_site(&self, name: &NodeName, subnet: IpNet) -> Result<Vec<Splice>, EditError> {
        let document = &read(self.text())?;
        self.table(document, name)?;
        let layout = Layout::of(self.text(), document);
        let what = format!("remove site {subnet} of node {name}");
        let cut = match site_of(document, name, subnet) {
            None => return Ok(Vec::new()),
            Some(Found::Inline(_, braces)) => self.inline_entry(braces.start, braces.end),
            Some(Found::Table(_, header)) => layout.cut(
                block_of(&layout, &header)
                    .ok_or_else(|| EditError::ByHand { what: what.clone(), line: self.line(header.start) })?,
            ),
        };
        let at = cut.start;
        self.checked(vec![(cut, String::new())], &what, at, |d| site_of(d, name, subnet).is_none())
    }
}

fn block_of<'l>(layout: &'l Layout<'_>, header: &Range<usize>) -> Option<&'l Block> {
    layout.blocks.iter().find(|block| block.header == *header)
}

fn sites_of<'d>(document: &'d Document<String>, name: &NodeName) -> Option<&'d Item> {
    node_of(document, name)?.as_table_like()?.get("site")
}

fn site_of<'d>(document: &'d Document<String>, name: &NodeName, subnet: IpNet) -> Option<Found<'d>> {
    let is_it = |table: &dyn TableLike| {
        let text = table.get("subnet").and_then(Item::as_str);
        text.and_then(|text| text.parse::<IpNet>().ok()) == Some(subnet)
    };
    match sites_of(document, name)? {
        Item::ArrayOfTables(list) => {
            let table = list.iter().find(|table| is_it(*table))?;
            Some(Found::Table(table, table.span()?))
        }
        Item::Value(Value::Array(list)) => {
            let table = list.iter().filter_map(Value::as_inline_table).find(|table| is_it(*table))?;
            Some(Found::Inline(table, table.span()?))
        }
        _ => None,
    }
}

/// Says whether a text has a site with these keys, and without those that are taken away.
fn has(document: &Document<String>, name: &NodeName, words: &SiteWords) -> bool {
    let is_so = |table: &dyn TableLike| {
        words.keys.iter().all(|(key, value)| table.contains_key(key) == value.is_some())
    };
    site_of(document, name, words.subnet).is_some_and(|site| is_so(site.table()))
}
