//! A table of the file being read: typed access to its keys that writes down what is wrong and goes on.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;
use toml_edit::{Item, TableLike, Value};

use super::source::Source;
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
    table: &'t dyn TableLike,
    /// What to call it: `node.docker`.
    pub(super) name: String,
    pub(super) mark: Mark,
}

impl<'t> Section<'t> {
    pub(super) fn new(table: &'t dyn TableLike, name: String, mark: Mark) -> Self {
        Self { table, name, mark }
    }

    /// What a problem calls a key: `address of node.docker`, or `format`.
    fn called(&self, key: &str) -> String {
        if self.name.is_empty() { key.into() } else { format!("{key} of {}", self.name) }
    }

    fn key_mark(&self, key: &str) -> Mark {
        let at = self.table.key(key).and_then(toml_edit::Key::span).map(|s| s.start);
        Mark(at.or_else(|| self.table.get(key)?.span().map(|s| s.start)).unwrap_or(self.mark.0))
    }

    /// Says whether the key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|i| !i.is_none())
    }

    /// Tells of every key that is none of these.
    pub(super) fn known(&self, keys: &[&str], source: &mut Source<'_>) {
        for (key, _) in self.table.iter() {
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
        let misspelt = || self.table.iter().any(|(k, _)| k != key && nearest(k, [key]).is_some());
        if !self.has(key) && !source.torn && !misspelt() {
            source.error(self.mark, "missing-key", format!("{} has no {key}", self.name), hint);
        }
    }

    fn wrong_type(&self, key: &str, want: &str, item: &Item, source: &mut Source<'_>) {
        let mark = Mark(item.span().map_or(self.key_mark(key).0, |s| s.start));
        let message = format!("{} must be {want}; this is {}", self.called(key), kind(item.type_name()));
        let hint = match item.as_value() {
            Some(v) if want == TEXT && !v.is_array() && !v.is_inline_table() => {
                format!("{key} = \"{}\"", plain(v))
            }
            Some(Value::String(s))
                if s.value().parse::<i64>().is_ok() || s.value().parse::<bool>().is_ok() =>
            {
                format!("without quotes: {key} = {}", s.value())
            }
            Some(Value::String(s)) if want == LIST => format!("{key} = [\"{}\"]", s.value()),
            _ => String::new(),
        };
        source.error(mark, "wrong-type", message, hint);
    }

    /// Reads a text.
    pub(super) fn text(&self, key: &str, source: &mut Source<'_>) -> Option<At<&'t str>> {
        let item = self.table.get(key)?;
        match item.as_value() {
            Some(value @ Value::String(text)) => Some(At { value: text.value(), mark: mark_of(value) }),
            _ => {
                self.wrong_type(key, TEXT, item, source);
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
        let item = self.table.get(key)?;
        let Some(value @ Value::Integer(number)) = item.as_value() else {
            self.wrong_type(key, "a whole number", item, source);
            return None;
        };
        let (low, high) = (*range.start(), *range.end());
        let n = *number.value();
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
        let item = self.table.get(key)?;
        match item.as_value() {
            Some(value @ Value::Boolean(flag)) => Some(At { value: *flag.value(), mark: mark_of(value) }),
            _ => {
                self.wrong_type(key, "true or false", item, source);
                None
            }
        }
    }

    /// Reads a list of texts; an entry that is none is told and left out.
    pub(super) fn list(&self, key: &str, source: &mut Source<'_>) -> Option<Vec<At<&'t str>>> {
        let item = self.table.get(key)?;
        let Some(array) = item.as_array() else {
            self.wrong_type(key, LIST, item, source);
            return None;
        };
        let mut texts = Vec::new();
        for value in array.iter() {
            match value {
                Value::String(text) => texts.push(At { value: text.value().as_str(), mark: mark_of(value) }),
                other => {
                    let message = format!(
                        "{} is a list of texts; this is {}",
                        self.called(key),
                        kind(other.type_name())
                    );
                    source.error(
                        mark_of(other),
                        "wrong-type",
                        message,
                        format!("write \"{}\"", plain(other)),
                    );
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
        let item = self.table.get(key)?;
        match item.as_table_like() {
            Some(table) => {
                let mark = Mark(item.span().map_or(self.key_mark(key).0, |s| s.start));
                Some(Section::new(table, key.into(), mark))
            }
            None => {
                self.wrong_type(key, "a table", item, source);
                None
            }
        }
    }

    /// Opens every table inside this one, by name, each with the place of its name.
    pub(super) fn tables_by_name(&self, source: &mut Source<'_>) -> Vec<(&'t str, Section<'t>)> {
        let mut all = Vec::new();
        for (key, item) in self.table.iter() {
            match item.as_table_like() {
                Some(table) => {
                    let mark = Mark(item.span().map_or(self.key_mark(key).0, |s| s.start));
                    all.push((key, Section::new(table, format!("{}.{key}", self.name), mark)));
                }
                None => {
                    let hint = format!("[{}.NAME] begins one", self.name);
                    let message =
                        format!("{}.{key} must be a table; this is {}", self.name, kind(item.type_name()));
                    source.error(self.key_mark(key), "wrong-type", message, hint);
                }
            }
        }
        all
    }

    /// Opens a list of tables, as `[[headers]]` or inline.
    pub(super) fn tables(&self, key: &str, source: &mut Source<'_>) -> Vec<Section<'t>> {
        let Some(item) = self.table.get(key) else { return Vec::new() };
        let path = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        let mark =
            |span: Option<std::ops::Range<usize>>| Mark(span.map_or(self.key_mark(key).0, |s| s.start));
        if let Some(tables) = item.as_array_of_tables() {
            return tables.iter().map(|t| Section::new(t, path.clone(), mark(t.span()))).collect();
        }
        let mut sections = Vec::new();
        if let Some(array) = item.as_array() {
            for value in array.iter() {
                match value.as_inline_table() {
                    Some(t) => sections.push(Section::new(t, path.clone(), mark(t.span()))),
                    None => {
                        let message =
                            format!("{path} is a list of tables; this is {}", kind(value.type_name()));
                        source.error(mark_of(value), "wrong-type", message, format!("[[{path}]] begins one"));
                    }
                }
            }
            return sections;
        }
        let message = format!("{path} is a list of tables; this is {}", kind(item.type_name()));
        source.error(
            mark(item.span()),
            "wrong-type",
            message,
            format!("write [[{path}]], with two brackets"),
        );
        // Read it as one all the same: its other faults are worth telling.
        sections.extend(item.as_table_like().map(|t| Section::new(t, path, mark(item.span()))));
        sections
    }

    /// Returns the raw item of a key.
    pub(super) fn item(&self, key: &str) -> Option<&'t Item> {
        self.table.get(key)
    }

    /// Reads the table as names and texts.
    pub(super) fn texts(&self, source: &mut Source<'_>) -> Vec<(At<&'t str>, At<&'t str>)> {
        let mut all = Vec::new();
        for (key, _) in self.table.iter() {
            if let Some(text) = self.text(key, source) {
                all.push((At { value: key, mark: self.key_mark(key) }, text));
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
        "table" | "fwmark" | "saveconfig" => "wgrelay takes care of it; there is no such setting",
        _ => return None,
    })
}

const TEXT: &str = "a text in quotes";
const LIST: &str = "a list of texts";

pub(super) fn mark_of(value: &Value) -> Mark {
    Mark(value.span().map_or(0, |s| s.start))
}

fn kind(type_name: &str) -> &'static str {
    match type_name {
        "string" => "a text",
        "integer" => "a whole number",
        "float" => "a number with a point",
        "boolean" => "true or false",
        "datetime" => "a date",
        "array" => "a list",
        "array of tables" => "a list of tables",
        _ => "a table",
    }
}

/// A value without the blanks and comments around it.
fn plain(value: &Value) -> String {
    value.clone().decorated("", "").to_string()
}
