//! Lines of a `.conf`, cut into what they are, each part with its column; what it means is [`super::walk`]'s matter.

use std::cell::Cell;

use super::script::MARK;

/// A line, comment cut off.
pub(super) struct Line<'a> {
    /// Counted from 1.
    pub number: usize,
    /// The whole line.
    text: &'a str,
    /// A byte offset and its column: where the last count ended. Without it a line of 60,000 prefixes with a fault
    /// each would be counted from its start as often.
    counted: Cell<(usize, usize)>,
    /// What it is.
    pub kind: Kind<'a>,
    /// The comment behind it, without `#`.
    pub comment: Option<&'a str>,
}

/// What a line is. Texts are trimmed.
pub(super) enum Kind<'a> {
    /// Nothing but white space.
    Blank,
    /// Nothing but a comment, given without `#`.
    Comment(&'a str),
    /// A line of the script that hooks call, without its mark.
    Script(&'a str),
    /// `[…]`.
    Header(&'a str),
    /// `name = value`.
    Entry { name: &'a str, value: &'a str },
    /// Anything else.
    Other(&'a str),
}

impl<'a> Line<'a> {
    /// Returns the column of a part of this line, in characters, counted from 1.
    pub fn column(&self, part: &str) -> usize {
        let offset = (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let (from, column) = Some(self.counted.get()).filter(|(from, _)| *from <= offset).unwrap_or((0, 1));
        let column = column + self.text.get(from..offset).map_or(0, |between| between.chars().count());
        self.counted.set((offset, column));
        column
    }

    fn new(number: usize, text: &'a str) -> Self {
        let (content, comment) = match text.split_once('#') {
            Some((content, comment)) => (trim(content), Some(comment)),
            None => (trim(text), None),
        };
        let kind = match (content, comment) {
            _ if text.starts_with(MARK) => Kind::Script(text[MARK.len()..].trim_end_matches(is_space)),
            _ if text.trim_end_matches(is_space) == MARK.trim_end() => Kind::Script(""),
            ("", None) => Kind::Blank,
            ("", Some(comment)) => Kind::Comment(trim(comment)),
            (content, _) if content.starts_with('[') => Kind::Header(content),
            (content, _) => match content.split_once('=') {
                Some((name, value)) => Kind::Entry { name: trim(name), value: trim(value) },
                None => Kind::Other(content),
            },
        };
        Self { number, text, counted: Cell::new((0, 1)), kind, comment: comment.map(trim) }
    }
}

/// Cuts a text into lines. A byte order mark in front is left out.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    text.split('\n').enumerate().map(|(index, line)| Line::new(index + 1, line))
}

/// What some editors on Windows write in front of a text.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

/// White space as `isspace(3)` has it in the C locale, which is how `wg(8)` and `wg-quick(8)` read.
pub(super) const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\x0b' | '\x0c')
}

/// Cuts white space off both ends.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Takes all white space out, as `wg(8)` does before it looks at a line.
pub(super) fn squash(text: &str) -> String {
    text.chars().filter(|c| !is_space(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_columns() {
        let text = "\u{feff}[Interface]\r\n\t Äddress =  a=b # c\r\n#x\n \nz";
        let lines: Vec<_> = lines(text).collect();
        assert!(matches!(lines[0].kind, Kind::Header("[Interface]")));
        let Kind::Entry { name, value } = lines[1].kind else { panic!("no entry") };
        assert_eq!((name, value), ("Äddress", "a=b"));
        assert_eq!((lines[1].column(name), lines[1].column(value)), (3, 14));
        assert!(matches!(lines[2].kind, Kind::Comment("x")));
        assert!(matches!(lines[3].kind, Kind::Blank));
        assert!(matches!(lines[4].kind, Kind::Other("z")));
    }
}
