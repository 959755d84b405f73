//! A file's bytes: what can be wrong with all of it, and the place of an offset in it.

use std::cell::OnceCell;

use toml_edit::Document;

use super::plain;
use super::tree::{Table, Value};
use super::withheld::without_text;
use crate::model::validate::Mark;
use crate::model::{Problem, Severity, could_be_key, masked};

/// The largest file that is read, in bytes. 100,000 nodes with a site each take 15 MB, so this is room for several times as
/// many, and a file given by mistake (an image, a log) is refused before it costs memory.
pub const MAX_BYTES: usize = 64 << 20;

/// How many syntax errors of one file are told: each costs another reading, and a later one is seldom news.
const MAX_SYNTAX_ERRORS: usize = 20;

/// How many problems of one severity are told: nobody reads more, and a large file of something else has one on every line.
const MAX_PROBLEMS: usize = 1000;

/// What a file holds, and what is wrong with it.
#[derive(Debug, Clone)]
pub struct Parsed<T> {
    /// The content; `None` where any problem is an error.
    pub value: Option<T>,
    /// Errors and warnings, in the order of the file.
    pub problems: Vec<Problem>,
}

impl<T> Parsed<T> {
    /// Says whether the file cannot be used.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }
}

/// What a file may hold, and so what may be said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Nothing secret: its texts are quoted, all but what could be a key that was pasted there.
    NoKeys,
    /// Keys: nothing of it is quoted, whatever it seems to be.
    Keys,
}

/// A file being read: its name, where its lines start, and the problems so far.
pub(super) struct Source<'s> {
    file: &'s str,
    holds: Holds,
    text: &'s str,
    /// Where each line begins, once somebody asks.
    lines: OnceCell<Vec<usize>>,
    found: Vec<(usize, Problem)>,
    /// How many warnings and errors there were.
    told: [usize; 2],
    /// Whether something was lost to a syntax error, so that nothing may be called missing.
    pub(super) torn: bool,
}

impl<'s> Source<'s> {
    /// Takes a file; `Err` holds the fault where it cannot be text of ours at all.
    pub(super) fn new(bytes: &'s [u8], file: &'s str, holds: Holds) -> Result<Self, Problem> {
        let whole = format!("{file}:1:1");
        if bytes.len() > MAX_BYTES {
            let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", bytes.len());
            return Err(Problem::error("too-large", whole, message, "is this the right file?"));
        }
        // A byte-order mark is what Windows editors begin a file with; it is no part of the text.
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => {
                let good = String::from_utf8_lossy(&bytes[..e.valid_up_to()]).into_owned();
                let place = Source::over(file, &good, holds).place(e.valid_up_to());
                let hint = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
                    "this is UTF-16: save it as UTF-8"
                } else {
                    "save it as UTF-8"
                };
                return Err(Problem::error("not-utf8", place, "this byte is not UTF-8 text", hint));
            }
        };
        Ok(Self::over(file, text, holds))
    }

    fn over(file: &'s str, text: &'s str, holds: Holds) -> Self {
        Self { file, holds, text, lines: OnceCell::new(), found: Vec::new(), told: [0; 2], torn: false }
    }

    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let starts = self.text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
            std::iter::once(0).chain(starts).collect()
        })
    }

    /// Returns `FILE:LINE:COLUMN`, both from 1, columns in characters.
    pub(super) fn place(&self, offset: usize) -> String {
        let lines = self.lines();
        let line = lines.partition_point(|start| *start <= offset);
        let start = lines[line.saturating_sub(1)];
        let column = self.text.get(start..offset.min(self.text.len())).map_or(0, |t| t.chars().count()) + 1;
        format!("{}:{line}:{column}", self.file)
    }

    /// Returns a value as it is typed in the file.
    pub(super) fn typed(&self, value: &Value<'_>) -> &'s str {
        value.span.as_ref().and_then(|span| self.text.get(span.clone())).unwrap_or_default()
    }

    /// Tells a fault in words that may quote the file, as far as what it holds allows.
    pub(super) fn add(&mut self, severity: Severity, at: Mark, code: &str, message: &str, hint: &str) {
        let (message, hint) = match self.holds {
            Holds::NoKeys => (masked(message), masked(hint)),
            Holds::Keys => without_text(code),
        };
        let problem = match severity {
            Severity::Error => Problem::error(code, "", message, hint),
            Severity::Warning => Problem::warning(code, "", message, hint),
        };
        self.put(at, problem);
    }

    /// Tells an error in words of which none is from the file.
    pub(super) fn error_in_own_words(
        &mut self,
        at: Mark,
        code: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.put(at, Problem::error(code, "", message, hint));
    }

    pub(super) fn error(
        &mut self,
        at: Mark,
        code: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Error, at, code, &message.into(), &hint.into());
    }

    /// Tells a problem that names what was read out of the file: names and prefixes, and no keys where the file holds some.
    pub(super) fn tell(&mut self, at: Mark, problem: Problem) {
        let withheld = could_be_key(&problem.message) || could_be_key(&problem.hint);
        if self.holds == Holds::NoKeys || withheld {
            return self.add(problem.severity, at, &problem.code, &problem.message, &problem.hint);
        }
        self.put(at, problem);
    }

    /// Tells a problem as it is: it quotes nothing of the file that may not be quoted.
    pub(super) fn put(&mut self, at: Mark, problem: Problem) {
        let told = &mut self.told[usize::from(problem.is_error())];
        *told += 1;
        if *told <= MAX_PROBLEMS {
            self.found.push((at.0, problem));
        }
    }

    /// Says whether no error has been found so far.
    pub(super) fn is_sound(&self) -> bool {
        self.told[1] == 0
    }

    /// Returns the problems with their places, in the order of the file.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Parsed<T> {
        self.found.sort();
        self.found.dedup();
        let found = std::mem::take(&mut self.found);
        let problems: Vec<Problem> =
            found.into_iter().map(|(at, p)| Problem { place: self.place(at), ..p }).collect();
        let value = value.filter(|_| !problems.iter().any(Problem::is_error));
        Parsed { value, problems }
    }

    /// Parses the text as TOML. A line that cannot be read is told, blanked out and left behind, so that what follows is
    /// still checked; `None`: nothing could be read.
    pub(super) fn document(&mut self) -> Option<Table<'s>> {
        if self.text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#')) {
            self.error(
                Mark(0),
                "empty-file",
                "the file is empty",
                "`wgrelay history` lists what it was, and `wgrelay revert REV` brings it back",
            );
            return None;
        }
        if let Some(table) = plain::read(self.text) {
            return Some(table);
        }
        let mut text = self.text.to_owned();
        for _ in 0..MAX_SYNTAX_ERRORS {
            let fault = match Document::parse(text.clone()) {
                Ok(document) => return Some(Table::of(&document)),
                Err(fault) => fault,
            };
            self.torn = true;
            let at = fault.span().map_or(0, |s| s.start).min(text.len());
            if let Some(list) = self.open_list(&text, at, fault.message()) {
                let hint = "a list ends with \"]\"; its entries have commas between them";
                self.error(
                    Mark(list.start),
                    "syntax",
                    "not TOML: the list that begins here does not end",
                    hint,
                );
                let line = self.lines_at(&text, list.start).start;
                text.replace_range(
                    line..list.end,
                    &text[line..list.end].chars().map(blanked).collect::<String>(),
                );
                continue;
            }
            let lines = self.lines_at(&text, at);
            let line = &text[lines.clone()];
            if line.trim().is_empty() {
                self.error(Mark(at), "syntax", format!("not TOML: {}", fault.message()), "");
                return None;
            }
            let (code, message, hint) = explain(fault.message(), line, &text[at..]);
            self.error(Mark(at), code, message, hint);
            // A table header goes with its body, or its keys would seem to belong to the table before.
            let end = if line.trim_start().starts_with('[') {
                self.next_header(&text, lines.end)
            } else {
                lines.end
            };
            let blank: String = text[lines.start..end].chars().map(blanked).collect();
            text.replace_range(lines.start..end, &blank);
        }
        None
    }

    /// From the bracket of a list that was never closed to the line where the parser noticed: it takes the lines after the
    /// list for its entries.
    fn open_list(&self, text: &str, at: usize, message: &str) -> Option<std::ops::Range<usize>> {
        if !message.contains("array") {
            return None;
        }
        let noticed = self.lines().partition_point(|start| *start <= at).saturating_sub(1);
        let bounds = |line: usize| {
            self.lines()[line]..self.lines().get(line + 1).map_or(text.len(), |next| next.saturating_sub(1))
        };
        let begins = |line: &str| {
            let value = line.split_once('=').filter(|(key, _)| !key.trim_start().starts_with('#'))?.1;
            (value.trim_start().starts_with('[') && value.matches('[').count() > value.matches(']').count())
                .then(|| line.len() - value.trim_start().len())
        };
        let (first, column) = (0..=noticed).rev().find_map(|l| Some((l, begins(&text[bounds(l)])?)))?;
        // The list's own entries go with it; the first line that is no entry is another fault, or none.
        let entry =
            |line: &str| line.trim_start().starts_with(['"', '\'', ']', ',']) || line.trim().is_empty();
        let last = (first + 1..=noticed).take_while(|l| entry(&text[bounds(*l)])).last().unwrap_or(first);
        Some(bounds(first).start + column..bounds(last).end)
    }

    /// The line around an offset; an error at the very start of a line, or at the end, is about the line before.
    fn lines_at(&self, text: &str, at: usize) -> std::ops::Range<usize> {
        let mut line = self.lines().partition_point(|start| *start <= at).saturating_sub(1);
        let bounds = |line: usize| {
            self.lines()[line]..self.lines().get(line + 1).map_or(text.len(), |next| next.saturating_sub(1))
        };
        while line > 0 && text[bounds(line)].trim().is_empty() {
            line -= 1;
        }
        bounds(line)
    }

    fn next_header(&self, text: &str, from: usize) -> usize {
        let after = self.lines().iter().filter(|start| **start > from);
        after
            .copied()
            .find(|start| text[*start..].trim_start_matches([' ', '\t']).starts_with('['))
            .unwrap_or(text.len())
    }
}

/// A blank of the same length in bytes, so that every other place in the text stays what it was.
fn blanked(c: char) -> char {
    // Only ASCII has a blank of the same length; other characters stand in a comment as well as anywhere.
    if c == '\n' || c == '\r' || !c.is_ascii() { c } else { ' ' }
}

fn explain(message: &str, line: &str, rest: &str) -> (&'static str, String, String) {
    let line = line.trim();
    if message.starts_with("duplicate key") {
        let what = if line.starts_with('[') {
            format!("the table {line} is there twice")
        } else {
            let name = line.split(['=', ' ']).next().unwrap_or(line);
            format!("{name} is set twice")
        };
        return ("duplicate-name", what, "one of the two must go".into());
    }
    let value = line.split_once('=').map(|(_, v)| v.trim());
    let bare = |v: &str| v.starts_with(|c: char| c.is_ascii_alphanumeric());
    if let Some(v) = value.filter(|v| bare(v) && !v.contains('"')) {
        let v = v.split('#').next().unwrap_or(v).trim();
        return ("syntax", format!("not TOML: the text {v} has no quotes"), format!("write \"{v}\""));
    }
    let header = line.split('#').next().unwrap_or(line).trim_end();
    let hint = match value {
        _ if header.starts_with("[[") && !header.ends_with("]]") => {
            "a table of a list is [[name]], with two brackets at its end"
        }
        _ if header.starts_with('[') && !header.ends_with(']') => {
            "a table is [name], with a bracket at its end"
        }
        Some("") => "a value is missing after \"=\"",
        None if line.contains(':') && !line.starts_with('[') => "write key = \"value\", with \"=\"",
        None if !line.starts_with('[') => "a line is key = value, [table] or # comment",
        _ if message.contains("string") && !rest.trim_start().starts_with('"') => {
            "a text begins and ends with a double quote, on one line"
        }
        _ => "",
    };
    ("syntax", format!("not TOML: {message}"), hint.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_network;

    fn codes(bytes: &[u8]) -> Vec<String> {
        parse_network(bytes, "f").problems.into_iter().map(|p| format!("{} {}", p.place, p.code)).collect()
    }

    #[test]
    fn a_large_file_is_refused_unread() {
        assert_eq!(codes(&vec![b'a'; MAX_BYTES + 1]), ["f:1:1 too-large"]);
        assert_eq!(codes(&vec![b'#'; MAX_BYTES]), ["f:1:1 empty-file"]);
    }

    #[test]
    fn other_files_are_told_from_ours_without_a_flood() {
        // A log, a binary, brackets without end, and a key on each of many lines.
        assert_eq!(codes("one line of words\n".repeat(50_000).as_bytes()).len(), MAX_SYNTAX_ERRORS);
        assert_eq!(codes(b"\x7fELF\x02\x01\x01\0\xff"), ["f:1:9 not-utf8"]);
        assert_eq!(codes(b"\0\0\0\0"), ["f:1:5 syntax"]);
        assert!(!codes(format!("a = {}", "[".repeat(100_000)).as_bytes()).is_empty());
        assert!(!codes(format!("a{} = 1", ".a".repeat(100_000)).as_bytes()).is_empty());
        let keys: String = (0..20_000).map(|i| format!("k{i} = 1\n")).collect();
        assert_eq!(codes(keys.as_bytes()).len(), MAX_PROBLEMS);
    }

    #[test]
    fn places_count_characters() {
        let source = Source::new("a = \"é\" x\r\nb\n".as_bytes(), "f", Holds::NoKeys).unwrap();
        assert_eq!(source.place(0), "f:1:1");
        assert_eq!(source.place(9), "f:1:9");
        assert_eq!(source.place(12), "f:2:1");
        assert_eq!(source.place(14), "f:3:1");
    }
}
