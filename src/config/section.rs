//! A table of the file being read: typed access to its keys that writes down what is wrong and goes on.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;

use super::source::Source;
use super::tree::{Kind, Table, Value};
use crate::model::nearest;
use crate::model::validate::Mark;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) mark: Mark,
}

/// One table, whether it has a header, is inline or is made of dotted keys.
pub(super) struct Section<'t> {
    table: &'t Table<'t>,
    /// What to call it: `node.docker`.
    pub(super) name: String,
    pub(super) mark: Mark,
}

impl<'t> Section<'t> {
    pub(super) fn new(table: &'t Table<'t>, name: String, mark: Mark) -> Self {
        Self { table, name, mark }
    }

    /// What a problem calls a key: `address of node.docker`, or `format`.
    fn called(&self, key: &str) -> String {
        if self.name.is_empty() { key.into() } else { format!("{key} of {}", self.name) }
    }

    fn key_mark(&self, key: &str) -> Mark {
        let entry = self.table.get(key);
        Mark(entry.and_then(|e| e.key_at.or(e.value.at())).unwrap_or(self.mark.0))
    }

    /// Says whether the key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// Tells of every key that is none of these.
    pub(super) fn known(&self, keys: &[&str], source: &mut Source<'_>) {
        for entry in self.table.entries() {
            let key = &*entry.key;
            if keys.contains(&key) {
                continue;
            }
            let hint = match (elsewhere(key), nearest(key, keys.iter().copied())) {
                (Some(hint), _) => hint.into(),
                (_, Some(near)) => format!("did you mean {near}?"),
                _ => format!("known here: {}", keys.join(", ")),
            };
            let inside = if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) };
            source.error(self.key_mark(key), "unknown-key", format!("there is no key {key}{inside}"), hint);
        }
    }

    /// Tells of a key that has to be there and is not.
    pub(super) fn required(&self, key: &str, hint: &str, source: &mut Source<'_>) {
        // In a torn file the key may stand in the line that could not be read; a misspelt one is told as unknown.
        let misspelt =
            || self.table.entries().iter().any(|e| e.key != key && nearest(&e.key, [key]).is_some());
        if !self.has(key) && !source.torn && !misspelt() {
            source.error(self.mark, "missing-key", format!("{} has no {key}", self.name), hint);
        }
    }

    fn wrong_type(&self, key: &str, want: &str, value: &Value<'_>, source: &mut Source<'_>) {
        let mark = Mark(value.at().unwrap_or(self.key_mark(key).0));
        let message = format!("{} must be {want}; this is {}", self.called(key), kind(value));
        let hint = match &value.kind {
            Kind::List(_) | Kind::Inline(_) | Kind::Table(_) | Kind::Tables(_) => String::new(),
            _ if want == TEXT => format!("{key} = \"{}\"", source.typed(value)),
            Kind::Text(text) if text.parse::<i64>().is_ok() || text.parse::<bool>().is_ok() => {
                format!("without quotes: {key} = {text}")
            }
            Kind::Text(text) if want == LIST => format!("{key} = [\"{text}\"]"),
            _ => String::new(),
        };
        source.error(mark, "wrong-type", message, hint);
    }

    /// Reads a text.
    pub(super) fn text(&self, key: &str, source: &mut Source<'_>) -> Option<At<&'t str>> {
        self.text_of(key, &self.table.get(key)?.value, source)
    }

    fn text_of(&self, key: &str, value: &'t Value<'t>, source: &mut Source<'_>) -> Option<At<&'t str>> {
        match &value.kind {
            Kind::Text(text) => Some(At { value: &**text, mark: mark_of(value) }),
            _ => {
                self.wrong_type(key, TEXT, value, source);
                None
            }
        }
    }

    /// Reads a whole number in a range; `unit` says what is counted.
    pub(super) fn number<N: TryFrom<i64> + Display + Copy>(
        &self,
        key: &str,
        range: RangeInclusive<N>,
        unit: &str,
        source: &mut Source<'_>,
    ) -> Option<At<N>>
    where
        i64: From<N>,
    {
        let value = &self.table.get(key)?.value;
        let Kind::Number(n) = value.kind else {
            self.wrong_type(key, "a whole number", value, source);
            return None;
        };
        let (low, high) = (*range.start(), *range.end());
        match N::try_from(n) {
            Ok(fits) if (i64::from(low)..=i64::from(high)).contains(&n) => {
                Some(At { value: fits, mark: mark_of(value) })
            }
            _ => {
                let message = format!("{n} cannot be {}", self.called(key));
                source.error(mark_of(value), "out-of-range", message, format!("use {low} to {high}{unit}"));
                None
            }
        }
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(&self, key: &str, source: &mut Source<'_>) -> Option<At<bool>> {
        let value = &self.table.get(key)?.value;
        match value.kind {
            Kind::Flag(flag) => Some(At { value: flag, mark: mark_of(value) }),
            _ => {
                self.wrong_type(key, "true or false", value, source);
                None
            }
        }
    }

    /// Reads a flag that may be one word as well: `None` is that word.
    pub(super) fn flag_or(&self, key: &str, word: &str, source: &mut Source<'_>) -> Option<At<Option<bool>>> {
        let value = &self.table.get(key)?.value;
        match &value.kind {
            Kind::Flag(flag) => Some(At { value: Some(*flag), mark: mark_of(value) }),
            Kind::Text(text) if **text == *word => Some(At { value: None, mark: mark_of(value) }),
            _ => {
                self.wrong_type(key, &format!("true, false or {word:?}"), value, source);
                None
            }
        }
    }

    /// Reads a list of texts; an entry that is none is told and left out.
    pub(super) fn list(&self, key: &str, source: &mut Source<'_>) -> Option<Vec<At<&'t str>>> {
        let value = &self.table.get(key)?.value;
        let Kind::List(list) = &value.kind else {
            self.wrong_type(key, LIST, value, source);
            return None;
        };
        let mut texts = Vec::new();
        for value in list {
            match &value.kind {
                Kind::Text(text) => texts.push(At { value: &**text, mark: mark_of(value) }),
                _ => {
                    let message = format!("{} is a list of texts; this is {}", self.called(key), kind(value));
                    let hint = format!("write \"{}\"", source.typed(value));
                    source.error(mark_of(value), "wrong-type", message, hint);
                }
            }
        }
        Some(texts)
    }

    /// Reads a text as a `T`, with `code` for a fault.
    pub(super) fn parsed<T>(&self, key: &str, code: &str, source: &mut Source<'_>) -> Option<At<T>>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text(key, source)?;
        match text.value.parse() {
            Ok(value) => Some(At { value, mark: text.mark }),
            Err(why) => {
                let message = format!("{} is not valid: {why}", self.called(key));
                let trimmed = text.value.trim();
                let hint = match trimmed.parse::<T>() {
                    Ok(_) => "take the blanks around it away".to_owned(),
                    Err(_) => String::new(),
                };
                source.error(text.mark, code, message, hint);
                None
            }
        }
    }

    /// Reads a text that must be one of these words.
    pub(super) fn word<T: Copy>(
        &self,
        key: &str,
        words: &[(&'static str, T)],
        source: &mut Source<'_>,
    ) -> Option<At<T>> {
        let text = self.text(key, source)?;
        if let Some((_, value)) = words.iter().find(|(w, _)| *w == text.value) {
            return Some(At { value: *value, mark: text.mark });
        }
        let known: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
        let hint = match nearest(text.value, known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("one of \"{}\"", known.join("\", \"")),
        };
        source.error(
            text.mark,
            "unknown-word",
            format!("{:?} cannot be {}", text.value, self.called(key)),
            hint,
        );
        None
    }

    /// Reads a prefix whose host bits are zero.
    pub(super) fn prefix(&self, key: &str, source: &mut Source<'_>) -> Option<At<IpNet>> {
        let text = self.text(key, source)?;
        self.prefix_of(key, &text, source)
    }

    /// Checks a text of this section as a prefix whose host bits are zero.
    pub(super) fn prefix_of(&self, key: &str, text: &At<&str>, source: &mut Source<'_>) -> Option<At<IpNet>> {
        let fault = |source: &mut Source<'_>, code: &str, hint: String| {
            source.error(text.mark, code, format!("{:?} cannot be {}", text.value, self.called(key)), hint);
            None
        };
        match text.value.parse::<IpNet>() {
            Ok(net) if net.trunc() == net => Some(At { value: net, mark: text.mark }),
            Ok(net) => fault(
                source,
                "host-bits",
                format!("the bits after /{} must be zero: write {}", net.prefix_len(), net.trunc()),
            ),
            Err(_) => {
                let hint = match text.value.parse::<std::net::IpAddr>() {
                    Ok(ip @ std::net::IpAddr::V4(_)) => format!(
                        "a prefix length is missing: one address is {ip}/32, a network such as {ip}/24 has zero host bits"
                    ),
                    Ok(ip) => format!("a prefix length is missing: one address is {ip}/128"),
                    Err(_) => "write ADDRESS/LENGTH, such as 192.168.33.0/24".into(),
                };
                fault(source, "bad-prefix", hint)
            }
        }
    }

    /// Reads an address of one host, and says so where a prefix length is attached.
    pub(super) fn address<A: FromStr + Display>(
        &self,
        key: &str,
        example: &str,
        source: &mut Source<'_>,
    ) -> Option<At<A>> {
        let text = self.text(key, source)?;
        if let Ok(value) = text.value.parse() {
            return Some(At { value, mark: text.mark });
        }
        let bare = text.value.split_once('/').map_or(text.value, |(a, _)| a).trim();
        let hint = match bare.parse::<A>() {
            Ok(ip) if text.value.contains('/') => {
                let length = text.value.split_once('/').map_or("", |(_, l)| l);
                format!("write it without /{length}: \"{ip}\"")
            }
            Ok(ip) => format!("write \"{ip}\""),
            Err(_) => format!("write an address such as {example}"),
        };
        source.error(
            text.mark,
            "bad-address",
            format!("{:?} cannot be {}", text.value, self.called(key)),
            hint,
        );
        None
    }

    /// Opens a table inside this one.
    pub(super) fn table(&self, key: &str, source: &mut Source<'_>) -> Option<Section<'t>> {
        let value = &self.table.get(key)?.value;
        match value.as_table() {
            Some(table) => {
                let mark = Mark(value.at().unwrap_or(self.key_mark(key).0));
                Some(Section::new(table, key.into(), mark))
            }
            None => {
                self.wrong_type(key, "a table", value, source);
                None
            }
        }
    }

    /// Opens every table inside this one, by name, each with the place of its name.
    pub(super) fn tables_by_name(&self, source: &mut Source<'_>) -> Vec<(&'t str, Section<'t>)> {
        let mut all = Vec::new();
        for entry in self.table.entries() {
            let (key, value) = (&*entry.key, &entry.value);
            match value.as_table() {
                Some(table) => {
                    let mark = Mark(value.at().unwrap_or(self.key_mark(key).0));
                    all.push((key, Section::new(table, format!("{}.{key}", self.name), mark)));
                }
                None => {
                    let hint = format!("[{}.NAME] begins one", self.name);
                    let message = format!("{}.{key} must be a table; this is {}", self.name, kind(value));
                    source.error(self.key_mark(key), "wrong-type", message, hint);
                }
            }
        }
        all
    }

    /// Opens a list of tables, as `[[headers]]` or inline.
    pub(super) fn tables(&self, key: &str, source: &mut Source<'_>) -> Vec<Section<'t>> {
        let Some(entry) = self.table.get(key) else { return Vec::new() };
        let path = || if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        let mark = |value: &Value<'_>| Mark(value.at().unwrap_or(self.key_mark(key).0));
        let open = |value: &'t Value<'t>| Some(Section::new(value.as_table()?, path(), mark(value)));
        match &entry.value.kind {
            Kind::Tables(tables) => tables.iter().filter_map(open).collect(),
            Kind::List(values) => {
                for value in values.iter().filter(|v| v.as_table().is_none()) {
                    let message = format!("{} is a list of tables; this is {}", path(), kind(value));
                    source.error(mark_of(value), "wrong-type", message, format!("[[{}]] begins one", path()));
                }
                values.iter().filter_map(open).collect()
            }
            _ => {
                let value = &entry.value;
                let message = format!("{} is a list of tables; this is {}", path(), kind(value));
                let hint = format!("write [[{}]], with two brackets", path());
                source.error(mark(value), "wrong-type", message, hint);
                // Read it as one all the same: its other faults are worth telling.
                open(value).into_iter().collect()
            }
        }
    }

    /// Returns what a key has, whatever it is.
    pub(super) fn value(&self, key: &str) -> Option<&'t Value<'t>> {
        self.table.get(key).map(|e| &e.value)
    }

    /// Reads the table as names and texts.
    pub(super) fn texts(&self, source: &mut Source<'_>) -> Vec<(At<&'t str>, At<&'t str>)> {
        let mut all = Vec::new();
        for entry in self.table.entries() {
            if let Some(text) = self.text_of(&entry.key, &entry.value, source) {
                all.push((At { value: &*entry.key, mark: self.key_mark(&entry.key) }, text));
            }
        }
        all
    }
}

/// What `wg(8)` and `wg-quick(8)` call a key says where it went.
fn elsewhere(key: &str) -> Option<&'static str> {
    Some(match key.to_ascii_lowercase().replace(['_', '-'], "").as_str() {
        "allowedips" => "AllowedIPs are derived: from sites, local and routes",
        "privatekey" => "private keys are kept in secrets.toml, not here",
        "presharedkey" => {
            "preshared keys are kept in secrets.toml; preshared_keys = true or false says whether there are any"
        }
        "persistentkeepalive" => "did you mean keepalive?",
        "postup" | "postdown" | "preup" | "predown" => {
            "wgrelay sets up firewall and routes itself; there are no hooks"
        }
        "table" | "saveconfig" => "wgrelay takes care of it; there is no such setting",
        _ => return None,
    })
}

const TEXT: &str = "a text in quotes";
const LIST: &str = "a list of texts";

pub(super) fn mark_of(value: &Value<'_>) -> Mark {
    Mark(value.at().unwrap_or(0))
}

const fn kind(value: &Value<'_>) -> &'static str {
    match value.kind {
        Kind::Text(_) => "a text",
        Kind::Number(_) => "a whole number",
        Kind::Float => "a number with a point",
        Kind::Flag(_) => "true or false",
        Kind::Date(_) => "a date",
        Kind::List(_) => "a list",
        Kind::Tables(_) => "a list of tables",
        Kind::Inline(_) | Kind::Table(_) => "a table",
    }
}
