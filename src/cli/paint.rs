//! Colours for the texts that the pure layers write: the answer, where it says no, and what to do.

use super::output::{Output, Role};

/// Paints a trace: its verdict, its two ways, its fix.
pub fn trace(out: &Output, text: &str) -> String {
    lines(text, |number, line| {
        let verdict = [(": reaches", Role::Good), (": blocked", Role::Bad), (": uncertain", Role::Warn)];
        if number == 0
            && let Some((words, role)) = verdict.iter().find(|(words, _)| line.contains(words))
        {
            return line.replacen(words, &format!(": {}", out.paint(*role, &words[2..])), 1);
        }
        let heads = [
            ("  fix:", Role::Head),
            ("there:", Role::Head),
            ("back:", Role::Head),
            ("uncertain:", Role::Warn),
        ];
        begun(out, line, &heads)
    })
}

/// Paints a matrix: the headline, the cells that say no, the fixes.
pub fn matrix(out: &Output, text: &str) -> String {
    lines(text, |number, line| {
        if number == 0 {
            let role = if line.contains("blocked") { Role::Warn } else { Role::Good };
            return out.paint(role, line);
        }
        if !line.starts_with(|c: char| c.is_ascii_digit()) {
            return begun(out, line, &[("  fix:", Role::Head)]);
        }
        // The cells are what a row ends with; a name never ends with a space and a mark.
        let cells = line.trim_end_matches([' ', '.', '+', '-', 'p']).len();
        let (name, cells) = line.split_at(cells);
        format!("{name}{}", cells.replace('-', &out.paint(Role::Bad, "-")))
    })
}

fn begun(out: &Output, line: &str, heads: &[(&str, Role)]) -> String {
    let found = heads.iter().find_map(|(head, role)| Some((head, role, line.strip_prefix(head)?)));
    found.map_or_else(|| line.to_owned(), |(head, role, rest)| format!("{}{rest}", out.paint(*role, head)))
}

fn lines(text: &str, paint: impl Fn(usize, &str) -> String) -> String {
    text.lines().enumerate().map(|(number, line)| paint(number, line) + "\n").collect()
}
