//! Columns that line up, with colour that does not count as width, and that fit the terminal.

use super::output::{Output, Role};

/// Between columns.
const GAP: usize = 2;
/// A column cut below this tells nothing any more, and goes.
const LEAST: usize = 18;

/// One cell: its text, and what it means.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    role: Option<Role>,
}

impl Cell {
    /// Makes a cell in the terminal's own colour.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), role: None }
    }
    /// Makes a coloured cell.
    pub fn with(role: Role, text: impl Into<String>) -> Self {
        Self { text: text.into(), role: Some(role) }
    }
    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Returns the rows under their headings, two spaces between columns, nothing behind the last one. Where the terminal is too
/// narrow, the last columns are shortened, or left out.
pub fn table(out: &Output, headings: &[&str], rows: &[Vec<Cell>]) -> String {
    let heading: Vec<Cell> = headings.iter().map(|h| Cell::with(Role::Dim, *h)).collect();
    let all: Vec<&Vec<Cell>> = std::iter::once(&heading).chain(rows).collect();
    let natural: Vec<usize> = (0..headings.len())
        .map(|i| all.iter().filter_map(|row| row.get(i)).map(Cell::width).max().unwrap_or(0))
        .collect();
    let widths = fit(&natural, out.width());
    let mut text = String::new();
    for row in all {
        let cells = row.len().min(widths.len());
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let shown = shorten(&cell.text, *width);
            let gap = width - shown.chars().count() + GAP;
            text += &cell.role.map_or_else(|| shown.clone(), |role| out.paint(role, &shown));
            if i + 1 < cells {
                text += &" ".repeat(gap);
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// The widths that columns get, fewer than there are where the last ones have no room.
fn fit(natural: &[usize], limit: Option<usize>) -> Vec<usize> {
    let mut widths = natural.to_vec();
    let Some(limit) = limit else { return widths };
    loop {
        let total = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let Some(over) = total.checked_sub(limit).filter(|o| *o > 0) else { return widths };
        match widths.as_mut_slice() {
            [.., last] if *last >= LEAST + over => *last -= over,
            [_, _, _, ..] => drop(widths.pop()),
            _ => return widths,
        }
    }
}

/// Cuts a text with an ellipsis; of a list, whole elements stay.
pub(super) fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.into();
    }
    let head: String = text.chars().take(width.saturating_sub(1)).collect();
    match head.rfind(", ") {
        // The comma stays, and tells that more follows.
        Some(end) if text.contains(", ") => format!("{},…", &head[..end]),
        _ => format!("{head}…"),
    }
}

/// Joins words with commas into lines of at most `width` columns; a longer word has a line of its own.
pub(super) fn wrapped(words: &[impl AsRef<str>], width: Option<usize>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let comma = if i + 1 < words.len() { "," } else { "" };
        let word = format!("{}{comma}", word.as_ref());
        match lines.last_mut() {
            Some(line) if width.is_none_or(|w| line.chars().count() + 1 + word.chars().count() <= w) => {
                *line += " ";
                *line += &word;
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_columns_give_way() {
        assert_eq!(fit(&[8, 10, 30], None), [8, 10, 30]);
        assert_eq!(fit(&[8, 10, 30], Some(80)), [8, 10, 30]);
        assert_eq!(fit(&[8, 10, 30], Some(40)), [8, 10, 18]);
        assert_eq!(fit(&[8, 10, 30], Some(30)), [8, 10]);
        assert_eq!(fit(&[8, 10, 30], Some(41)), [8, 10, 19]);
        // Two columns stay, come what may.
        assert_eq!(fit(&[8, 10], Some(12)), [8, 10]);
    }

    #[test]
    fn lists_are_wrapped() {
        let words = ["10.0.0.0/8", "10.1.0.0/16", "a"];
        assert_eq!(wrapped(&words, None), ["10.0.0.0/8, 10.1.0.0/16, a"]);
        assert_eq!(wrapped(&words, Some(15)), ["10.0.0.0/8,", "10.1.0.0/16, a"]);
        assert_eq!(wrapped(&words, Some(3)), ["10.0.0.0/8,", "10.1.0.0/16,", "a"]);
    }

    #[test]
    fn a_list_keeps_whole_elements() {
        assert_eq!(shorten("10.0.0.0/8, 10.1.0.0/16", 30), "10.0.0.0/8, 10.1.0.0/16");
        assert_eq!(shorten("10.0.0.0/8, 10.1.0.0/16", 20), "10.0.0.0/8,…");
        assert_eq!(shorten("docker:webvirtcloud_default", 10), "docker:we…");
        assert_eq!(shorten("ab", 1), "…");
    }
}
