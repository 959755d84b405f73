//! Long commands as short lines: wg-quick(8) cuts white space off each line with patterns of bash whose cost grows with the square of
//! the line's length (34 sites took it half a minute).
//!
//! A long command is written into a file piece by piece, and the last line runs that. Nobody but root writes to /run.

/// The longest line that is left as it is, and the most of a piece, in bytes.
const LONGEST: usize = 500;
const PIECE: usize = 200;
const FILE: &str = "/run/wgrelay-q-%i.sh";

/// Returns the same commands, each in lines that are short.
pub(super) fn short(commands: Vec<String>) -> Vec<String> {
    commands.into_iter().flat_map(|c| if c.len() <= LONGEST { vec![c] } else { in_pieces(&c) }).collect()
}

fn in_pieces(command: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = command;
    while !rest.is_empty() {
        let mut end = end_of_piece(rest);
        // A character stays whole, and so does the placeholder that wg-quick fills in.
        while !rest.is_char_boundary(end) || (rest[..end].ends_with('%') && end < rest.len()) {
            end += 1;
        }
        let (piece, left) = rest.split_at(end);
        let to = if out.is_empty() { ">" } else { ">>" };
        out.push(format!("printf %s '{}' {to} {FILE}", piece.replace('\'', "'\\''")));
        rest = left;
    }
    // wg-quick runs each hook in a shell of its own, which ends here.
    out.push(format!("trap 'rm -f {FILE}' EXIT; . {FILE}"));
    out
}

/// Where a piece ends that a person may read: behind a statement of nft or the shell, before a line of iptables-restore, else
/// behind a word.
fn end_of_piece(rest: &str) -> usize {
    if rest.len() <= PIECE {
        return rest.len();
    }
    let mut most = PIECE;
    while !rest.is_char_boundary(most) {
        most -= 1;
    }
    let window = &rest[..most];
    let behind = |mark: &str| window.rfind(mark).map(|at| at + mark.len());
    let statement = behind("; ").max(window.rfind("\\n-"));
    let ends = [statement, behind(" ")];
    ends.into_iter().flatten().find(|end| *end > PIECE / 3).unwrap_or(PIECE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the pieces write, put together again.
    fn written(lines: &[String]) -> String {
        let pieces = lines[..lines.len() - 1].iter().map(|l| {
            let quoted = l.strip_prefix("printf %s '").unwrap().rsplit_once("' >").unwrap().0;
            assert!(
                l.len() < 2 * LONGEST && quoted.matches("%i").count() * 2 >= quoted.matches('%').count(),
                "{l}"
            );
            quoted.replace("'\\''", "'")
        });
        pieces.collect()
    }

    #[test]
    fn pieces_end_with_statements() {
        let command = format!("nft -f - <<< '{}'", "iifname \"%i\" ip daddr 10.9.0.0/24 drop; ".repeat(30));
        let lines = short(vec![command]);
        for line in &lines[..lines.len() - 2] {
            let piece = line.rsplit_once("' >").unwrap().0;
            assert!(piece.ends_with("drop; "), "{line}");
        }
        let command = format!("iptables-restore <<< $'*filter{}'", "\\n-A wgrelay-q-%i-f -j DROP".repeat(40));
        for line in &short(vec![command])[1..] {
            assert!(line.starts_with("printf %s '\\n-A ") || line.starts_with("trap "), "{line}");
        }
    }

    #[test]
    fn pieces_are_the_whole() {
        assert_eq!(short(vec!["a".into(), "b".repeat(LONGEST)]), ["a".to_owned(), "b".repeat(LONGEST)]);
        for word in ["it's 'quoted' %i ", "%i", "ä %i", "x"] {
            let command = word.repeat(900);
            if command.len() > LONGEST {
                assert_eq!(written(&short(vec![command.clone()])), command);
            }
        }
    }
}
