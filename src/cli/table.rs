//! Columns that line up, with colour that does not count as width.

use super::output::{Output, Role};

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
}

/// Returns the rows under their headings, two spaces between columns, nothing behind the last one.
pub fn table(out: &Output, headings: &[&str], rows: &[Vec<Cell>]) -> String {
    let heading: Vec<Cell> = headings.iter().map(|h| Cell::with(Role::Dim, *h)).collect();
    let all: Vec<&Vec<Cell>> = std::iter::once(&heading).chain(rows).collect();
    let widths: Vec<usize> = (0..headings.len())
        .map(|i| all.iter().filter_map(|row| row.get(i)).map(|c| c.text.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in all {
        let last = row.len().saturating_sub(1);
        for (i, cell) in row.iter().enumerate() {
            let painted = cell.role.map_or_else(|| cell.text.clone(), |role| out.paint(role, &cell.text));
            text += &painted;
            if i < last {
                let gap = widths[i] - cell.text.chars().count() + 2;
                text += &" ".repeat(gap);
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}
