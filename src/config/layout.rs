//! How a network.toml is laid out: which lines, comments included, belong to which table. Edits cut and insert by it,
//! so that every byte they are not about stays as it was.

use std::ops::Range;

use toml_edit::{Document, Item, Table, TableLike, Value};

/// A `[header]` or `[[header]]` with its keys; the first block is what stands before any header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// The header's path; list positions are left out.
    pub(super) path: Vec<String>,
    /// The header, brackets included; empty for the first block.
    pub(super) header: Range<usize>,
    /// Where its last key's value ends, else its header.
    pub(super) end: usize,
}

/// The blocks of a file, in its order.
#[derive(Debug, Clone)]
pub(super) struct Layout<'t> {
    text: &'t str,
    pub(super) blocks: Vec<Block>,
}

impl<'t> Layout<'t> {
    pub(super) fn of(text: &'t str, document: &Document<String>) -> Self {
        let mut blocks = vec![Block { path: Vec::new(), header: 0..0, end: 0 }];
        let mut ends = Vec::new();
        collect(document.as_table(), &mut Vec::new(), text, &mut blocks, &mut ends);
        blocks.sort_by_key(|b| b.header.start);
        ends.sort_unstable();
        // Each value belongs to the last header before it.
        for end in ends {
            let owner = blocks.partition_point(|b| b.header.start < end);
            if let Some(block) = owner.checked_sub(1).and_then(|i| blocks.get_mut(i)) {
                block.end = end;
            }
        }
        Self { text, blocks }
    }

    /// The block in which an offset lies.
    pub(super) fn block_at(&self, offset: usize) -> &Block {
        let owner = self.blocks.partition_point(|b| b.header.start <= offset);
        &self.blocks[owner.saturating_sub(1)]
    }

    /// Where the line of an offset begins.
    pub(super) fn line_start(&self, offset: usize) -> usize {
        self.text[..offset].rfind('\n').map_or(0, |i| i + 1)
    }

    /// Where the line of an offset ends, before its line ending.
    pub(super) fn line_end(&self, offset: usize) -> usize {
        let end = self.text[offset..].find('\n').map_or(self.text.len(), |i| offset + i);
        if self.text[..end].ends_with('\r') && end > offset { end - 1 } else { end }
    }

    /// Where the next line begins, or the text ends.
    pub(super) fn next_line(&self, offset: usize) -> usize {
        self.text[offset..].find('\n').map_or(self.text.len(), |i| offset + i + 1)
    }

    fn is_comment(&self, line: usize) -> bool {
        self.text[line..self.line_end(line)].trim_start().starts_with('#')
    }

    fn is_blank(&self, line: usize) -> bool {
        self.text[line..self.line_end(line)].trim().is_empty()
    }

    /// Where a block ends with the comments right below its last key. Comments that run into the next header without a blank
    /// line between are that header's.
    pub(super) fn own_end(&self, block: &Block) -> usize {
        let keys_end = self.line_end(block.end);
        let mut end = keys_end;
        let mut line = self.next_line(end);
        while line < self.text.len() && self.is_comment(line) {
            end = self.line_end(line);
            line = self.next_line(end);
        }
        let into_header = line < self.text.len() && !self.is_blank(line);
        if into_header { keys_end } else { end }
    }

    /// Where a block begins with the comments right above its header.
    pub(super) fn own_start(&self, block: &Block) -> usize {
        let mut start = self.line_start(block.header.start);
        while start > 0 {
            let above = self.line_start(start - 1);
            if !self.is_comment(above) {
                break;
            }
            start = above;
        }
        start
    }

    /// The range to cut so that a block is gone, with its own comments and the blank lines above.
    pub(super) fn cut(&self, block: &Block) -> Range<usize> {
        let mut start = self.own_start(block);
        let mut end = self.own_end(block);
        while start > 0 {
            let above = self.line_start(start - 1);
            if !self.is_blank(above) {
                break;
            }
            start = above;
        }
        if start == 0 {
            end = self.next_line(end);
            while end < self.text.len() && self.is_blank(end) {
                end = self.next_line(end);
            }
        } else {
            // The line ending of the last line that stays goes as well, the cut block's own takes its place.
            start = self.line_end(self.line_start(start - 1));
        }
        start..end
    }

    /// The line ending of the file.
    pub(super) fn newline(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }
}

fn collect(
    table: &Table,
    path: &mut Vec<String>,
    text: &str,
    blocks: &mut Vec<Block>,
    ends: &mut Vec<usize>,
) {
    let header = |table: &Table, path: &[String], blocks: &mut Vec<Block>| {
        // Tables that dotted keys or deeper headers imply have no header of their own.
        if let Some(span) = table.span().filter(|s| text[s.clone()].starts_with('[')) {
            blocks.push(Block { path: path.to_vec(), end: span.end, header: span });
        }
    };
    for (key, item) in table.iter() {
        path.push(key.to_owned());
        match item {
            Item::Value(value) => ends.extend(value.span().map(|s| s.end)),
            Item::Table(inner) => {
                header(inner, path, blocks);
                collect(inner, path, text, blocks, ends);
            }
            Item::ArrayOfTables(list) => {
                for inner in list.iter() {
                    header(inner, path, blocks);
                    collect(inner, path, text, blocks, ends);
                }
            }
            Item::None => {}
        }
        path.pop();
    }
}

/// Where each key of a line `a."b".c = …` stands, given the text from the line's start.
pub(super) fn key_path(text: &str) -> Vec<(String, Range<usize>)> {
    let mut keys = Vec::new();
    let mut rest = 0;
    loop {
        let start = rest + text[rest..].len() - text[rest..].trim_start_matches([' ', '\t']).len();
        let tail = &text[start..];
        let length = match tail.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let mut escaped = false;
                let close = tail[1..].find(|c| {
                    let closes = c == quote && !escaped;
                    escaped = c == '\\' && quote == '"' && !escaped;
                    closes
                });
                match close {
                    Some(i) => i + 2,
                    None => return keys,
                }
            }
            _ => tail.find(|c: char| !(c.is_ascii_alphanumeric() || "_-".contains(c))).unwrap_or(tail.len()),
        };
        let Ok(key) = tail[..length].parse::<toml_edit::Key>() else { return keys };
        keys.push((key.get().to_owned(), start..start + length));
        let after = tail[length..].trim_start_matches([' ', '\t']);
        if !after.starts_with('.') {
            return keys;
        }
        rest = text.len() - after.len() + 1;
    }
}

/// Every value below a table that stands on a line of its own, with the span of its last key: dotted keys are opened,
/// tables with headers and inline tables are not.
pub(super) fn lines_of(table: &dyn TableLike) -> Vec<(Range<usize>, &Value)> {
    let mut lines = Vec::new();
    for (key, item) in table.iter() {
        match item {
            Item::Value(value) => {
                if let Some(span) = table.key(key).and_then(toml_edit::Key::span) {
                    lines.push((span, value));
                }
            }
            Item::Table(inner) if inner.is_dotted() => lines.extend(lines_of(inner)),
            _ => {}
        }
    }
    lines.sort_by_key(|(span, _)| span.start);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_paths() {
        let names = |t: &str| key_path(t).into_iter().map(|(k, r)| (k, t[r].to_owned())).collect::<Vec<_>>();
        assert_eq!(
            names(" a . \"b.c\".d = 1"),
            [("a".into(), "a".into()), ("b.c".into(), "\"b.c\"".into()), ("d".into(), "d".into())]
        );
        assert_eq!(names("x='y'"), [("x".to_owned(), "x".to_owned())]);
    }

    #[test]
    fn comments_belong_to_their_neighbour() {
        let text = "a = 1\n\n# of b\n[b]\nx = 1\n# below b\n\n# of c\n[c]\n# in c\n";
        let document = Document::parse(text.to_owned()).unwrap();
        let layout = Layout::of(text, &document);
        let own = |i: usize| &text[layout.own_start(&layout.blocks[i])..layout.own_end(&layout.blocks[i])];
        assert_eq!(own(1), "# of b\n[b]\nx = 1\n# below b");
        assert_eq!(own(2), "# of c\n[c]\n# in c");
        assert_eq!(&text[layout.cut(&layout.blocks[1])], "\n\n# of b\n[b]\nx = 1\n# below b");
    }
}
