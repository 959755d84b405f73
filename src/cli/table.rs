//! Columns that line up, with colour that does not count as width, and that fit the terminal.

use super::output::{Output, Role};

/// Between columns.
const GAP: usize = 2;
/// A last column cut below this tells nothing any more.
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

/// What becomes of the columns for which the terminal is too narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Narrow {
    /// They follow on lines of their own, row by row.
    Wrap,
    /// They go, and a last line says which.
    Leave,
}

/// Returns the rows under their headings, two spaces between columns, nothing behind the last one.
pub fn table(out: &Output, headings: &[&str], rows: &[Vec<Cell>], narrow: Narrow) -> String {
    let heading: Vec<Cell> = headings.iter().map(|h| Cell::with(Role::Dim, *h)).collect();
    let all: Vec<&Vec<Cell>> = std::iter::once(&heading).chain(rows).collect();
    let natural: Vec<usize> = (0..headings.len())
        .map(|i| all.iter().filter_map(|row| row.get(i)).map(Cell::width).max().unwrap_or(0))
        .collect();
    let mut lines = fit(&natural, out.width());
    if narrow == Narrow::Leave {
        lines.truncate(1);
    }
    let mut text = String::new();
    for row in all {
        let mut cells = row.iter();
        for (i, widths) in lines.iter().enumerate() {
            let cells: Vec<&Cell> = cells.by_ref().take(widths.len()).collect();
            let margin = if i == 0 { "" } else { MARGIN };
            text += &format!("{margin}{}\n", line(out, &cells, widths));
        }
    }
    let shown: usize = lines.iter().map(Vec::len).sum();
    if let Some(left) = headings.get(shown..).filter(|left| !left.is_empty()) {
        let left = format!("too narrow for {}; --json has all", left.join(", "));
        text += &format!("{}\n", out.paint(Role::Dim, &left));
    }
    text
}

/// Begins the second line of a row, and those after it.
const MARGIN: &str = "  ";

fn line(out: &Output, cells: &[&Cell], widths: &[usize]) -> String {
    let mut text = String::new();
    for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let shown = shorten(&cell.text, *width);
        let gap = width - shown.chars().count() + GAP;
        text += &cell.role.map_or_else(|| shown.clone(), |role| out.paint(role, &shown));
        if i + 1 < cells.len() {
            text += &" ".repeat(gap);
        }
    }
    text.truncate(text.trim_end_matches(' ').len());
    text
}

/// The widths that columns get, line by line. The last column is shortened before it has a line of its own.
fn fit(natural: &[usize], limit: Option<usize>) -> Vec<Vec<usize>> {
    let mut lines = vec![Vec::new()];
    let mut used = 0;
    for (i, width) in natural.iter().enumerate() {
        let room = limit.map_or(usize::MAX, |limit| limit.saturating_sub(used));
        let is_last = i + 1 == natural.len();
        let fits = *width <= room || (is_last && room >= LEAST);
        match lines.last_mut() {
            Some(line) if fits || line.is_empty() => {
                // Alone on its line, a column may be as wide as the terminal.
                line.push(if line.is_empty() { *width } else { (*width).min(room) });
                used += width + GAP;
            }
            _ => {
                lines.push(vec![*width]);
                used = MARGIN.len() + width + GAP;
            }
        }
    }
    lines
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
    fn what_has_no_room_goes_to_the_next_line() {
        assert_eq!(fit(&[8, 10, 30], None), [[8, 10, 30]]);
        assert_eq!(fit(&[8, 10, 30], Some(80)), [[8, 10, 30]]);
        // Shortened, as long as it tells something.
        assert_eq!(fit(&[8, 10, 30], Some(41)), [[8, 10, 19]]);
        assert_eq!(fit(&[8, 10, 30], Some(40)), [[8, 10, 18]]);
        assert_eq!(fit(&[8, 10, 30], Some(39)), [vec![8, 10], vec![30]]);
        assert_eq!(fit(&[8, 10, 4, 4], Some(20)), [[8, 10], [4, 4]]);
        assert_eq!(fit(&[8, 10], Some(3)), [[8], [10]]);
    }

    #[test]
    fn a_last_line_tells_what_is_not_shown() {
        let out = Output::plain(Some(20));
        let rows = [vec![Cell::new("office"), Cell::new("linux"), Cell::new("10.20.0.0/16")]];
        let headings = ["NODE", "PLATFORM", "SITES"];
        assert_eq!(
            table(&out, &headings, &rows, Narrow::Wrap),
            "NODE    PLATFORM\n  SITES\noffice  linux\n  10.20.0.0/16\n"
        );
        assert_eq!(
            table(&out, &headings, &rows, Narrow::Leave),
            "NODE    PLATFORM\noffice  linux\ntoo narrow for SITES; --json has all\n"
        );
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
