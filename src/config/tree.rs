//! What a TOML text says, with the places of it: the form that the rest of this layer reads, whichever reader made it.
//!
//! [`super::plain`] makes it from the TOML that this program writes, without a copy; toml_edit's document becomes one here.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use toml_edit::{Document, Item, TableLike};

/// A table of up to this many keys is searched one by one.
const FEW: usize = 8;

/// A table: its keys in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Table<'t> {
    entries: Vec<Entry<'t>>,
    /// Where each key is, once they are many.
    #[expect(clippy::box_collection, reason = "thousands of small tables have none: 8 bytes instead of 48")]
    by_key: Option<Box<HashMap<Cow<'t, str>, usize>>>,
}

/// A key of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry<'t> {
    pub(super) key: Cow<'t, str>,
    /// Where the key begins, in bytes; `None`: nowhere by itself.
    pub(super) key_at: Option<usize>,
    pub(super) value: Value<'t>,
}

/// What a key has.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value<'t> {
    pub(super) kind: Kind<'t>,
    /// Where it stands, in bytes: of a table its header, of one that a longer header implies that part of it; `None`: nowhere by
    /// itself.
    pub(super) span: Option<Range<usize>>,
}

/// The kinds of values.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind<'t> {
    Text(Cow<'t, str>),
    Number(i64),
    Flag(bool),
    /// A float, which nothing here is.
    Float,
    /// A date or a time, as TOML writes it.
    Date(String),
    List(Vec<Value<'t>>),
    /// `{ … }`.
    Inline(Table<'t>),
    /// `[header]`, or made of dotted keys.
    Table(Table<'t>),
    /// `[[header]]`s.
    Tables(Vec<Value<'t>>),
}

impl<'t> Value<'t> {
    pub(super) fn new(kind: Kind<'t>, span: Range<usize>) -> Self {
        Self { kind, span: Some(span) }
    }

    /// Where it begins, in bytes.
    pub(super) fn at(&self) -> Option<usize> {
        self.span.as_ref().map(|s| s.start)
    }

    /// The table, whichever way it is written.
    pub(super) const fn as_table(&self) -> Option<&Table<'t>> {
        match &self.kind {
            Kind::Table(table) | Kind::Inline(table) => Some(table),
            _ => None,
        }
    }
}

impl PartialEq for Table<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<'t> Table<'t> {
    /// Reads what toml_edit parsed.
    pub(super) fn of(document: &Document<String>) -> Self {
        of_table(document.as_table())
    }

    /// The keys, in the order of the file.
    pub(super) fn entries(&self) -> &[Entry<'t>] {
        &self.entries
    }

    /// Finds a key.
    pub(super) fn get(&self, key: &str) -> Option<&Entry<'t>> {
        self.entries.get(self.position(key)?)
    }

    /// Finds a key's value, to put more into it.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Value<'t>> {
        let position = self.position(key)?;
        self.entries.get_mut(position).map(|e| &mut e.value)
    }

    fn position(&self, key: &str) -> Option<usize> {
        // What stands below a header is mostly of the last one.
        let last = self.entries.len().checked_sub(1)?;
        match (&self.entries[last], &self.by_key) {
            (entry, _) if entry.key == key => Some(last),
            (_, Some(by_key)) => by_key.get(key).copied(),
            (_, None) => self.entries.iter().position(|e| e.key == key),
        }
    }

    /// Adds a key that is not there yet.
    pub(super) fn push(&mut self, entry: Entry<'t>) {
        let count = self.entries.len();
        if let Some(by_key) = &mut self.by_key {
            by_key.insert(entry.key.clone(), count);
        }
        self.entries.push(entry);
        if count == FEW {
            let by_key = self.entries.iter().enumerate().map(|(i, e)| (e.key.clone(), i)).collect();
            self.by_key = Some(Box::new(by_key));
        }
    }
}

fn of_table(table: &dyn TableLike) -> Table<'static> {
    let mut tree = Table::default();
    for (key, item) in table.iter() {
        let Some(value) = of_item(item) else { continue };
        let key_at = table.key(key).and_then(toml_edit::Key::span).map(|s| s.start);
        tree.push(Entry { key: Cow::Owned(key.to_owned()), key_at, value });
    }
    tree
}

/// `None`: there is nothing.
fn of_item(item: &Item) -> Option<Value<'static>> {
    let kind = match item {
        Item::None => return None,
        Item::Value(value) => return Some(of_value(value)),
        Item::Table(table) => Kind::Table(of_table(table)),
        Item::ArrayOfTables(tables) => {
            let table = |t: &toml_edit::Table| Value { kind: Kind::Table(of_table(t)), span: t.span() };
            Kind::Tables(tables.iter().map(table).collect())
        }
    };
    Some(Value { kind, span: item.span() })
}

fn of_value(value: &toml_edit::Value) -> Value<'static> {
    use toml_edit::Value as Toml;
    let kind = match value {
        Toml::String(text) => Kind::Text(Cow::Owned(text.value().clone())),
        Toml::Integer(number) => Kind::Number(*number.value()),
        Toml::Boolean(flag) => Kind::Flag(*flag.value()),
        Toml::Float(_) => Kind::Float,
        Toml::Datetime(date) => Kind::Date(date.value().to_string()),
        Toml::Array(list) => Kind::List(list.iter().map(of_value).collect()),
        Toml::InlineTable(table) => Kind::Inline(of_table(table)),
    };
    Value { kind, span: value.span() }
}
