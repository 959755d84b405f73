//! Sentences that break between words where the terminal ends, the rest of a line under its own beginning.
//!
//! No word is cut, and nothing but line ends and spaces is put in: what a person copies stays whole.

/// Returns how many columns a text takes: characters, without colour.
fn columns(text: &str) -> usize {
    bare(text).chars().count()
}

/// Returns a text without its colour.
fn bare(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let mut bare = parts.next().unwrap_or_default().to_owned();
    // `ESC [ ... m`, as `anstyle` writes it.
    bare.extend(parts.map(|part| part.split_once('m').map_or("", |(_, rest)| rest)));
    bare
}

/// Wraps one line at words; its later parts begin `indent` columns in, less where a long word needs the room.
fn wrap(line: &str, width: usize, indent: usize) -> String {
    if columns(line) <= width {
        return line.into();
    }
    let mut text = String::new();
    let mut at = 0;
    for (i, (spaces, unit)) in units(line, width.saturating_sub(indent)).into_iter().enumerate() {
        let wide = columns(unit);
        // What fits on no line stays where it is.
        let breaks = i > 0 && wide <= width && at + spaces + wide > width;
        let margin = match (i, breaks) {
            (0, _) => spaces.min(width / 2),
            (_, true) => indent.min(width - wide),
            (_, false) => spaces,
        };
        if breaks {
            text.push('\n');
            at = 0;
        }
        text += &" ".repeat(margin);
        text += unit;
        at += margin + wide;
    }
    text
}

/// Wraps every line of a text, the rest of each under the last column that it begins with, or behind its `hint:`.
pub fn fold(text: &str, width: usize) -> String {
    text.split('\n').map(|line| wrap(line, width, hang(line, width))).collect::<Vec<_>>().join("\n")
}

/// Splits a line into what stays together, each with the spaces before it: words, and `a -> b`, `a = b` and a command in
/// backticks where they are at most `room` columns wide.
fn units(line: &str, room: usize) -> Vec<(usize, &str)> {
    let words: Vec<(usize, usize)> = words(line);
    let mut units: Vec<(usize, usize)> = Vec::new();
    let mut after_arrow = false;
    // Where a command that has begun ends, if it fits on a line: pasted from two lines, it would be two commands.
    let mut command_ends = 0;
    for (start, end) in words {
        let arrow = matches!(&line[start..end], "->" | "=");
        let in_command = start < command_ends;
        match units.last_mut() {
            Some(last) if in_command || (arrow || after_arrow) && columns(&line[last.0..end]) <= room => {
                last.1 = end;
            }
            _ => units.push((start, end)),
        }
        after_arrow = arrow;
        if end > command_ends && line[start..end].matches('`').count() % 2 == 1 {
            let closed = line[end..].find('`').map(|at| end + at + 1);
            // With what is written against it: a comma, a bracket.
            let ends = closed.map(|at| at + line[at..].find(' ').unwrap_or(line.len() - at));
            command_ends = ends.filter(|to| columns(&line[start..*to]) <= room).unwrap_or(end);
        }
    }
    let mut before = 0;
    units
        .into_iter()
        .map(|(start, end)| {
            let spaces = start - before;
            before = end;
            (spaces, &line[start..end])
        })
        .collect()
}

/// Where the words of a line begin and end, in bytes.
fn words(line: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    for part in line.split(' ') {
        if !part.is_empty() {
            found.push((at, at + part.len()));
        }
        at += part.len() + 1;
    }
    found
}

/// How far in the rest of a line begins; never past the middle.
fn hang(line: &str, width: usize) -> usize {
    /// The longest word that is taken for a label.
    const LABEL: usize = 12;
    let line = bare(line);
    let words = words(&line);
    let Some(&(start, end)) = words.first() else { return 0 };
    let half = width / 2;
    let label = &line[start..end];
    if label.ends_with(':') && !label.contains(['/', '.']) && label.len() <= LABEL && end < half {
        return columns(&line[..end]) + 1;
    }
    // Columns stand two spaces or more apart.
    let gaps = words.windows(2).filter(|pair| pair[1].0 - pair[0].1 >= 2);
    let column = gaps.map(|pair| columns(&line[..pair[1].0])).rfind(|at| *at <= half);
    column.unwrap_or_else(|| (start + 4).min(half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two three", 80, 4), "one two three");
        assert_eq!(wrap("one two three", 8, 2), "one two\n  three");
        assert_eq!(wrap("one two three", 7, 2), "one two\n  three");
        assert_eq!(wrap("one two three", 6, 0), "one\ntwo\nthree");
        assert_eq!(wrap("", 4, 2), "");
        // A word is never cut, and what it begins with stays.
        assert_eq!(wrap("  ab abcdefghij ab", 6, 4), "  ab abcdefghij\n    ab");
        // Where less of a margin helps, there is less.
        assert_eq!(wrap("a  abcde ab", 6, 3), "a\n abcde\n   ab");
        assert_eq!(wrap("        ab ab", 10, 8), "     ab ab");
        assert_eq!(wrap("abcdefghij", 4, 2), "abcdefghij");
        assert_eq!(wrap("ääää öööö", 5, 0), "ääää\nöööö");
        // Nothing is lost at any width, and nothing but spaces comes in.
        let text = "error[x]:  10.0.0.0/8 -> docker,  a";
        for width in 0..40 {
            let words = |t: &str| t.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&wrap(text, width, 4)), words(text));
            assert_eq!(words(&fold(text, width)), words(text));
        }
    }

    #[test]
    fn colour_takes_no_room() {
        assert_eq!(columns("\x1b[1m\x1b[31merror:\x1b[0m x"), 8);
        assert_eq!(wrap("\x1b[31mone\x1b[0m two", 7, 0), "\x1b[31mone\x1b[0m two");
        assert_eq!(wrap("\x1b[31mone\x1b[0m two", 6, 1), "\x1b[31mone\x1b[0m\n two");
    }

    #[test]
    fn both_ends_of_an_arrow_stay_together() {
        assert_eq!(wrap("ab -> cd, ef -> gh", 12, 0), "ab -> cd,\nef -> gh");
        assert_eq!(wrap("abcdef -> ghijkl", 9, 0), "abcdef ->\nghijkl");
        assert_eq!(wrap("and gateway = true", 16, 0), "and\ngateway = true");
    }

    #[test]
    fn a_command_stays_on_a_line_where_it_fits() {
        assert_eq!(wrap("run `wgrelay up`, or not", 16, 0), "run\n`wgrelay up`, or\nnot");
        assert_eq!(wrap("(`a b c`) d", 9, 0), "(`a b c`)\nd");
        assert_eq!(wrap("one `two three four` five", 10, 0), "one `two\nthree\nfour` five");
        assert_eq!(wrap("a `b c d e", 6, 0), "a `b c\nd e");
    }

    #[test]
    fn the_rest_of_a_line_is_under_its_beginning() {
        assert_eq!(fold("  hint: one two\nok\n", 11), "  hint: one\n     two\nok\n");
        assert_eq!(fold("  hint: one two three", 17), "  hint: one two\n        three");
        assert_eq!(fold("  \x1b[2mkey   \x1b[0m one two", 14), "  \x1b[2mkey   \x1b[0m one\n      two");
        let painted = "  \x1b[1mhint:\x1b[0m one two three";
        assert_eq!(fold(painted, 17), "  \x1b[1mhint:\x1b[0m one two\n        three");
        assert_eq!(fold("  a  send  one two three", 22), "  a  send  one two\n           three");
        assert_eq!(fold("/a/b.toml:1:1: error[x]: one two", 24), "/a/b.toml:1:1: error[x]:\n    one two");
        assert_eq!(fold("wg0 is up: node a, kernel", 20), "wg0 is up: node a,\n    kernel");
    }
}
