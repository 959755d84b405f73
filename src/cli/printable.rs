//! What may reach a terminal: names, comments and rules come from files and from others' programs, and an escape sequence in
//! one would repaint the screen, hide a line or type for the reader. Everything that is printed passes here.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::output::Role;

/// Says whether a character does something to a terminal, or to the order of what stands around it, instead of being seen.
const fn acts(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x08' | '\x0b'..='\x1f' | '\x7f'..='\u{9f}'
            // Marks, embeddings, overrides and isolates of the direction of writing; separators of lines.
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
    )
}

/// Returns a text whose characters are all seen: one that would act is written as `\u{1b}`. The program's own colours stay,
/// where it paints at all.
pub fn printable(text: &str, painted: bool) -> Cow<'_, str> {
    if !text.contains(acts) {
        return text.into();
    }
    let own = if painted { Role::sequences() } else { Vec::new() };
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find(acts) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let skip = match own.iter().find(|sequence| rest.starts_with(sequence.as_str())) {
            Some(sequence) => {
                out.push_str(sequence);
                sequence.len()
            }
            None => {
                let c = rest.chars().next().unwrap_or_default();
                // A line that ends as Windows' do is one line all the same.
                if !rest.starts_with("\r\n") {
                    let _ = write!(out, "{}", c.escape_unicode());
                }
                c.len_utf8()
            }
        };
        rest = &rest[skip..];
    }
    out.push_str(rest);
    out.into()
}

/// Returns a JSON text that says the same in characters that a terminal only shows. Those that act stand in strings alone,
/// where each may be written by its number.
pub fn printable_json(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_shown_by_its_number() {
        for (text, shown) in [
            ("plain — ü 中文\n\ttext", "plain — ü 中文\n\ttext"),
            ("\u{1b}[2Ja", "\\u{1b}[2Ja"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("a\rb", "a\\u{d}b"),
            ("a\r\nb", "a\nb"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("user\u{202e}txt.exe", "user\\u{202e}txt.exe"),
        ] {
            assert_eq!(printable(text, false), shown);
            assert_eq!(printable(text, true), shown);
        }
    }

    #[test]
    fn own_colours_stay_where_there_are_any() {
        for sequence in Role::sequences() {
            let text = format!("{sequence}a");
            assert_eq!(printable(&text, true), text);
            assert!(!printable(&text, false).contains('\u{1b}'));
        }
    }

    #[test]
    fn json_says_the_same() {
        let value = serde_json::json!({"name": "\u{1b}[2J\u{7f}\u{9b}\u{202e}\r\n\"\\ü"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let printed = printable_json(&text);
        assert!(!printed.contains(acts), "{printed}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
    }
}
