//! A quick reader of plain TOML: what this program writes itself, and most people. Each line is a comment, a header, or
//! one key with a text without escapes, a whole number, `true`, `false`, or a list of such texts.
//!
//! It knows no faults: at anything else, right or wrong, it gives up, and toml_edit reads the file. What it reads it reads
//! as toml_edit does, places included (a test holds the two together), at a tenth of the time for thousands of nodes.

use std::borrow::Cow;
use std::ops::Range;

use super::tree::{Entry, Kind, Table, Value};

/// The most parts that a header's path may have: ours have three. Deeper ones are for toml_edit to refuse.
const MAX_DEPTH: usize = 8;

/// A header's parts with their places.
type Path<'t> = Vec<(&'t str, Range<usize>)>;

/// A `[header]` or `[[header]]`, and where it stands.
struct Header<'t> {
    path: Path<'t>,
    is_list: bool,
    span: Range<usize>,
}

/// Reads a text; `None`: it is not plain.
pub(super) fn read(text: &str) -> Option<Table<'_>> {
    let mut root = Table::default();
    let mut header: Option<Header<'_>> = None;
    let mut block = Table::default();
    for line in lines(text) {
        match line.first() {
            None => {}
            Some(b'#') => line.rest_is_empty()?,
            Some(b'[') => {
                place(&mut root, header.take(), std::mem::take(&mut block))?;
                header = Some(line.header()?);
            }
            Some(_) => {
                let entry = line.assignment()?;
                if block.get(&entry.key).is_some() {
                    return None;
                }
                block.push(entry);
            }
        }
    }
    place(&mut root, header, block)?;
    Some(root)
}

/// Finds a text's headers: the path of each, and where it begins. The first is what stands before any. `None`: it is not plain; what
/// is found may be no TOML all the same, as nothing is held against another header.
pub(super) fn headers(text: &str) -> Option<Vec<(Vec<&str>, usize)>> {
    let mut found = vec![(Vec::new(), 0)];
    for line in lines(text) {
        match line.first() {
            None => {}
            Some(b'#') => line.rest_is_empty()?,
            Some(b'[') => {
                let Header { path, span, .. } = line.header()?;
                found.push((path.into_iter().map(|(key, _)| key).collect(), span.start));
            }
            Some(_) => drop(line.assignment()?),
        }
    }
    Some(found)
}

/// The lines of a text, each from its first character that is no blank.
fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start >= text.len() {
            return None;
        }
        let (end, next) = match text[start..].find('\n') {
            Some(length) => (start + length, start + length + 1),
            None => (text.len(), text.len()),
        };
        // A carriage return ends a line together with what follows it, and nothing by itself.
        let has_return = next > end && text[start..end].ends_with('\r');
        let line = Line { text: &text[..end - usize::from(has_return)], at: start };
        start = next;
        Some(line.skip_blanks())
    })
}

/// Puts a header's keys where they belong. A table that is there already may be a fault: that is not for here to say.
fn place<'t>(root: &mut Table<'t>, header: Option<Header<'t>>, block: Table<'t>) -> Option<()> {
    let Some(Header { mut path, is_list, span }) = header else {
        *root = block;
        return Some(());
    };
    let (last, last_at) = path.pop()?;
    let mut table = root;
    for (key, at) in path {
        if table.get(key).is_none() {
            let key_at = Some(at.start);
            let value = Value::new(Kind::Table(Table::default()), at);
            table.push(Entry { key: Cow::Borrowed(key), key_at, value });
        }
        table = match &mut table.get_mut(key)?.kind {
            Kind::Table(inner) => inner,
            Kind::Tables(list) => match &mut list.last_mut()?.kind {
                Kind::Table(inner) => inner,
                _ => return None,
            },
            _ => return None,
        };
    }
    let value = Value::new(Kind::Table(block), span);
    let new = match (table.get_mut(last), is_list) {
        (None, false) => value,
        (None, true) => Value { span: value.span.clone(), kind: Kind::Tables(vec![value]) },
        (Some(Value { kind: Kind::Tables(list), span: Some(all) }), true) => {
            all.end = value.span.as_ref().map_or(all.end, |s| s.end);
            list.push(value);
            return Some(());
        }
        _ => return None,
    };
    table.push(Entry { key: Cow::Borrowed(last), key_at: Some(last_at.start), value: new });
    Some(())
}

/// What is left of a line.
#[derive(Clone, Copy)]
struct Line<'t> {
    /// The text to the end of the line.
    text: &'t str,
    /// How far it is read, in bytes from the start of the text.
    at: usize,
}

impl<'t> Line<'t> {
    fn first(self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(self) -> &'t [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn past(self, bytes: usize) -> Self {
        Self { at: self.at + bytes, ..self }
    }

    fn skip_blanks(self) -> Self {
        let blanks = self.rest().iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        self.past(blanks)
    }

    /// Reads one character that has to be there.
    fn expect(self, byte: u8) -> Option<Self> {
        (self.first() == Some(byte)).then(|| self.past(1))
    }

    /// Agrees where nothing follows but blanks and a comment.
    fn rest_is_empty(self) -> Option<()> {
        let rest = self.skip_blanks().rest();
        match rest.first() {
            None => Some(()),
            Some(b'#') if rest.iter().all(|b| is_allowed(*b)) => Some(()),
            Some(_) => None,
        }
    }

    /// Reads a key of one part, bare or in double quotes.
    fn key(self) -> Option<(&'t str, Self)> {
        if self.first() == Some(b'"') {
            return self.quoted();
        }
        let is_bare = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        let length = self.rest().iter().take_while(is_bare).count();
        (length > 0).then(|| (&self.text[self.at..self.at + length], self.past(length)))
    }

    /// Reads a text in double quotes, without escapes.
    fn quoted(self) -> Option<(&'t str, Self)> {
        let inside = self.expect(b'"')?;
        let length = inside.rest().iter().position(|b| *b == b'"' || *b == b'\\' || !is_allowed(*b))?;
        let after = inside.past(length).expect(b'"')?;
        // Three quotes begin a text of several lines.
        if length == 0 && after.first() == Some(b'"') {
            return None;
        }
        Some((&self.text[inside.at..inside.at + length], after))
    }

    fn header(self) -> Option<Header<'t>> {
        let mut line = self.expect(b'[')?;
        let is_list = line.first() == Some(b'[');
        if is_list {
            line = line.past(1);
        }
        let mut path = Path::new();
        loop {
            line = line.skip_blanks();
            let at = line.at;
            let (key, after) = line.key()?;
            path.push((key, at..after.at));
            line = after.skip_blanks();
            match line.first() {
                Some(b'.') if path.len() < MAX_DEPTH => line = line.past(1),
                _ => break,
            }
        }
        line = line.expect(b']')?;
        if is_list {
            line = line.expect(b']')?;
        }
        line.rest_is_empty()?;
        Some(Header { path, is_list, span: self.at..line.at })
    }

    fn assignment(self) -> Option<Entry<'t>> {
        let (key, line) = self.key()?;
        let line = line.skip_blanks().expect(b'=')?.skip_blanks();
        let (value, line) = line.value()?;
        line.rest_is_empty()?;
        Some(Entry { key: Cow::Borrowed(key), key_at: Some(self.at), value })
    }

    fn value(self) -> Option<(Value<'t>, Self)> {
        let (kind, after) = match self.first()? {
            b'"' => {
                let (text, after) = self.quoted()?;
                (Kind::Text(Cow::Borrowed(text)), after)
            }
            b'[' => self.list()?,
            b't' | b'f' | b'0'..=b'9' => self.word()?,
            _ => return None,
        };
        Some((Value::new(kind, self.at..after.at), after))
    }

    /// Reads `true`, `false` or a whole number without signs, bases and points.
    fn word(self) -> Option<(Kind<'t>, Self)> {
        let length = self.rest().iter().take_while(|b| !matches!(b, b' ' | b'\t' | b'#')).count();
        let word = &self.text[self.at..self.at + length];
        let kind = match word {
            "true" => Kind::Flag(true),
            "false" => Kind::Flag(false),
            // A leading zero is no number in TOML.
            _ if word.bytes().all(|b| b.is_ascii_digit()) && (length == 1 || !word.starts_with('0')) => {
                Kind::Number(word.parse().ok()?)
            }
            _ => return None,
        };
        Some((kind, self.past(length)))
    }

    /// Reads a list of texts on one line.
    fn list(self) -> Option<(Kind<'t>, Self)> {
        let mut line = self.expect(b'[')?.skip_blanks();
        let mut texts = Vec::new();
        while line.first()? != b']' {
            let (text, after) = line.quoted()?;
            texts.push(Value::new(Kind::Text(Cow::Borrowed(text)), line.at..after.at));
            line = after.skip_blanks();
            match line.first()? {
                b',' => line = line.past(1).skip_blanks(),
                b']' => {}
                _ => return None,
            }
        }
        Some((Kind::List(texts), line.past(1)))
    }
}

/// What may stand in a text and in a comment: no control characters but the tab.
const fn is_allowed(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use toml_edit::Document;

    use super::*;

    /// What the quick reader reads, toml_edit reads the same way.
    fn agrees(text: &str) -> bool {
        let Some(table) = read(text) else { return false };
        match Document::parse(text.to_owned()) {
            Ok(document) => assert_eq!(Table::of(&document), table, "{text}"),
            Err(fault) => panic!("read, and not TOML: {fault}\n{text}"),
        }
        true
    }

    #[test]
    fn what_is_plain_is_read() {
        for text in [
            "",
            "\n\n",
            "format = 1\n",
            "a = \"\" # none\n\tb\t=\ttrue\t\n",
            "a = [ ]\nb = [\"x\", \"y\" ,]\nc = [\"x\"]",
            "[a] # one\r\nx = 1\r\n[a.b]\r\n[a.b.\"c.d\"]\r\n[[a.l]]\r\n[[a.l]]\r\nx = 0\r\n[a.l.m]\r\n",
            "[ a . \"b\" ]\n[[ a.c ]]\n[[a.c.d]]\n",
            "\"a b\" = \"é\" # ü\n",
        ] {
            assert!(agrees(text), "{text:?}");
        }
        for name in crate::config::profile::names() {
            assert!(agrees(crate::config::profile::text(name).unwrap()), "{name}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left() {
        for text in [
            "a.b = 1",
            "a = 'x'",
            "a = \"\"\"x\"\"\"",
            "a = \"\\n\"",
            "a = 01",
            "a = -1",
            "a = 1_0",
            "a = 1.0",
            "a = {}",
            "a = [\"x\"",
            "a = [\"x\" \"y\"]",
            "a = [,]",
            "a = 1 2",
            "a = tru",
            "a =",
            "a",
            "= 1",
            "a = 1\na = 2",
            "[a]\n[a]",
            "[a.b]\n[a]",
            "[[a]]\n[a]",
            "[a]\n[[a]]",
            "a = 1\n[a]",
            "a = 1\n[a.b]",
            "a = [\"x\"]\n[[a]]",
            "[a",
            "[a]]",
            "[[a]",
            "[]",
            "[a.]",
            "[a] b",
            "a = \"\u{1}\"",
            "# \u{7f}",
            "a = 1\rb = 2",
            "a = 1\r",
            "a = 1979-05-27",
            "a = 99999999999999999999",
            "\u{feff}a = 1",
            "é = 1",
        ] {
            assert!(read(text).is_none(), "{text:?}");
        }
        assert!(read(&format!("[{}a]", "a.".repeat(100_000))).is_none());
    }

    /// A line, right or wrong, of words that meet each other often.
    fn line() -> impl Strategy<Value = String> {
        let key =
            || prop::sample::select(vec!["a", "b", "node", "\"a\"", "\"b.c\"", "c-d", "e_1", "'a'", "a.b"]);
        let value = prop::sample::select(vec![
            "1",
            "0",
            "42",
            "007",
            "-1",
            "1.5",
            "true",
            "false",
            "\"\"",
            "\"x\"",
            "\"é #\"",
            "\"\\t\"",
            "'x'",
            "[]",
            "[\"x\"]",
            "[\"x\", \"y\",]",
            "[ \"x\" , \"y\" ]",
            "[1]",
            "[[\"x\"]]",
            "{ a = 1 }",
            "\"\"\"x\"\"\"",
            "2027-01-31",
            "\"x",
        ]);
        let path = || prop::collection::vec(key(), 1..4).prop_map(|keys| keys.join("."));
        let end =
            || prop::sample::select(vec!["\n", "\n", "\n", "\r\n", "  \n", " # x\n", "#\r\n", "\r", " ", ""]);
        prop_oneof![
            4 => (key(), value, end()).prop_map(|(k, v, e)| format!("{k} = {v}{e}")),
            2 => (path(), end()).prop_map(|(p, e)| format!("[{p}]{e}")),
            2 => (path(), end()).prop_map(|(p, e)| format!("[[{p}]]{e}")),
            1 => end().prop_map(str::to_owned),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        #[test]
        fn both_readers_agree(lines in prop::collection::vec(line(), 0..8)) {
            agrees(&lines.concat());
        }

        #[test]
        fn both_readers_agree_on_damaged_files(
            edits in prop::collection::vec((0.0..1.0, 0..4_usize, prop::sample::select(r#"[]="\.#, x1'{}"#.chars().chain(['\n', '\r', '\t', '\u{1}']).collect::<Vec<_>>())), 0..3),
        ) {
            let mut text: Vec<char> = include_str!("../../profiles/wsl-docker.toml").chars().collect();
            for (place, cut, put) in edits {
                let at = (place * text.len() as f64) as usize;
                text.splice(at..(at + cut).min(text.len()), [put]);
            }
            agrees(&text.into_iter().collect::<String>());
        }
    }
}
