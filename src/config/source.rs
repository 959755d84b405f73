//! A file's bytes: what can be wrong with all of it, and the place of an offset in it.

use toml_edit::Document;

use crate::model::validate::Mark;
use crate::model::{Problem, Severity};

/// The largest file that is read, in bytes. 5,000 nodes with preshared keys take about 1 MB, so this is room for several times
/// as many, and a file given by mistake (an image, a log) is refused before it costs memory.
pub const MAX_BYTES: usize = 8 << 20;

/// How many syntax errors of one file are told: each costs another reading, and a later one is seldom news.
const MAX_SYNTAX_ERRORS: usize = 20;

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

/// A file being read: its name, where its lines start, and the problems so far.
pub(super) struct Source<'s> {
    file: &'s str,
    text: String,
    lines: Vec<usize>,
    found: Vec<(usize, Problem)>,
    /// Whether something was lost to a syntax error, so that nothing may be called missing.
    pub(super) torn: bool,
}

impl<'s> Source<'s> {
    /// Takes a file; `Err` holds the fault where it cannot be text of ours at all.
    pub(super) fn new(bytes: &[u8], file: &'s str) -> Result<Self, Problem> {
        let whole = format!("{file}:1:1");
        if bytes.len() > MAX_BYTES {
            let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", bytes.len());
            return Err(Problem::error("too-large", whole, message, "is this the right file?"));
        }
        // A byte-order mark is what Windows editors begin a file with; it is no part of the text.
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(e) => {
                let good = String::from_utf8_lossy(&bytes[..e.valid_up_to()]).into_owned();
                let place = Self::over(file, good).place(e.valid_up_to());
                let hint = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
                    "this is UTF-16: save it as UTF-8"
                } else {
                    "save it as UTF-8"
                };
                return Err(Problem::error("not-utf8", place, "this byte is not UTF-8 text", hint));
            }
        };
        Ok(Self::over(file, text))
    }

    fn over(file: &'s str, text: String) -> Self {
        let lines = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1));
        let lines = lines.collect();
        Self { file, text, lines, found: Vec::new(), torn: false }
    }

    /// Returns `FILE:LINE:COLUMN`, both from 1, columns in characters.
    pub(super) fn place(&self, offset: usize) -> String {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines[line.saturating_sub(1)];
        let column = self.text.get(start..offset.min(self.text.len())).map_or(0, |t| t.chars().count()) + 1;
        format!("{}:{line}:{column}", self.file)
    }

    pub(super) fn add(&mut self, severity: Severity, at: Mark, code: &str, message: String, hint: String) {
        let problem = match severity {
            Severity::Error => Problem::error(code, "", message, hint),
            Severity::Warning => Problem::warning(code, "", message, hint),
        };
        self.put(at, problem);
    }
    pub(super) fn error(
        &mut self,
        at: Mark,
        code: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Error, at, code, message.into(), hint.into());
    }
    pub(super) fn put(&mut self, at: Mark, problem: Problem) {
        self.found.push((at.0, problem));
    }

    /// Says whether no error has been found so far.
    pub(super) fn is_sound(&self) -> bool {
        !self.found.iter().any(|(_, p)| p.is_error())
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
    pub(super) fn document(&mut self) -> Option<Document<String>> {
        if self.text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#')) {
            self.error(Mark(0), "empty-file", "the file is empty", "wgrelay init writes one");
            return None;
        }
        let mut text = self.text.clone();
        for _ in 0..MAX_SYNTAX_ERRORS {
            let fault = match Document::parse(text.clone()) {
                Ok(document) => return Some(document),
                Err(fault) => fault,
            };
            self.torn = true;
            let at = fault.span().map_or(0, |s| s.start).min(text.len());
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

    /// The line around an offset; an error at the very start of a line, or at the end, is about the line before.
    fn lines_at(&self, text: &str, at: usize) -> std::ops::Range<usize> {
        let mut line = self.lines.partition_point(|start| *start <= at).saturating_sub(1);
        let bounds = |line: usize| {
            self.lines[line]..self.lines.get(line + 1).map_or(text.len(), |next| next.saturating_sub(1))
        };
        while line > 0 && text[bounds(line)].trim().is_empty() {
            line -= 1;
        }
        bounds(line)
    }

    fn next_header(&self, text: &str, from: usize) -> usize {
        let after = self.lines.iter().filter(|start| **start > from);
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
    let hint = match value {
        Some("") => "a value is missing after \"=\"",
        Some(v) if bare(v) && !v.contains('"') => "text stands in double quotes: key = \"value\"",
        None if line.contains(':') && !line.starts_with('[') => "write key = \"value\", with \"=\"",
        None if !line.starts_with('[') => "a line is key = value, [table] or # comment",
        _ if message.contains("string") && !rest.trim_start().starts_with('"') => {
            "a text begins and ends with a double quote, on one line"
        }
        _ => "",
    };
    ("syntax", format!("not TOML: {message}"), hint.into())
}
