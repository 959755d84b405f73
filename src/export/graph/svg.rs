//! A diagram as one SVG file: nothing from outside, no script, readable on light and on dark.

use std::fmt::Write as _;

use super::layout::{LINE, PADDING, Rect, WIDTH, layout};
use super::{Diagram, Item};

/// So many letters fit into a box, as fonts go; bold ones are wider.
const MOST: usize = 19;
const MOST_BOLD: usize = 17;
/// How wide a letter of a line of text is at most, as fonts go, in pixels.
const LETTER: f64 = 8.0;
/// Room for the answer above, and around everything.
const HEAD: f64 = 56.0;
const MARGIN: f64 = 24.0;
/// How many reasons are listed.
const REASONS: usize = 12;

const STYLE: &str = "\
:root{color-scheme:light dark}\
svg{font:13px system-ui,sans-serif;background:#fff}.p{fill:#fff}\
.t{fill:#1a1a1a}.d{fill:#555}.b{fill:#f4f6f8;stroke:#7a8794}.r{fill:#dff0ff;stroke:#1f6fb2}\
.w{stroke:#9aa5b1;fill:none}.x{stroke:#c22;fill:none}.s{stroke-dasharray:5 5}.xt{fill:#b11}.off{opacity:.5}\
.n{font-weight:600}.h{font-size:16px;font-weight:600}\
@media(prefers-color-scheme:dark){svg{background:#16191d}.p{fill:#16191d}.t{fill:#eee}.d{fill:#aab}.b{fill:#23282e;stroke:#6b7785}\
.r{fill:#12314a;stroke:#5aa9e6}.w{stroke:#56606b}.x{stroke:#f66}.xt{fill:#f88}}";

/// What a page tells of a box besides: its state, and where a click leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// A class of the page's style sheet.
    pub class: &'static str,
    /// The state in words.
    pub note: String,
    /// The path of what is in the box.
    pub href: String,
}

/// Draws a diagram for a page that brings the style: no style of its own, every box a link with its state in words.
pub fn inline_svg(diagram: &Diagram, label: &str, marks: &[Mark]) -> String {
    drawn(diagram, Some((label, marks)))
}

/// Draws a diagram.
pub fn svg(diagram: &Diagram) -> String {
    drawn(diagram, None)
}

fn drawn(diagram: &Diagram, page: Option<(&str, &[Mark])>) -> String {
    let laid = layout(diagram);
    let listed = diagram.reasons.len().min(REASONS) + usize::from(diagram.reasons.len() > REASONS);
    let foot = if listed == 0 { 0.0 } else { (listed + 1) as f64 * LINE + PADDING };
    // The answer and the reasons are lines of text, which a picture of two boxes is too narrow for.
    let texts = diagram.reasons.iter().take(REASONS).chain([&diagram.name, &diagram.answer]);
    let widest = texts.map(|t| t.chars().count()).max().unwrap_or(0) as f64 * LETTER + 2.0 * MARGIN;
    let (head, narrowest) = if page.is_some() { (0.0, 0.0) } else { (HEAD, 560.0) };
    let narrowest = if listed > 0 || page.is_none() { widest.max(narrowest) } else { narrowest };
    let width = (laid.width + 2.0 * MARGIN).max(narrowest);
    let total = head + laid.height + 2.0 * MARGIN + foot;
    let (left, top) = ((width - laid.width) / 2.0, head + MARGIN);
    let mut out = match page {
        Some((label, _)) => format!(
            "<svg viewBox=\"0 0 {width:.0} {total:.0}\" width=\"{width:.0}\" height=\"{total:.0}\" role=\"group\" \
             aria-label=\"{}\">\n",
            escaped(label)
        ),
        None => headed(diagram, (width, total)),
    };
    for path in &laid.paths {
        let _ = write!(
            out,
            "<path class=\"{}\" d=\"",
            match path.blocked {
                None => "w",
                Some(between) if between.is_all() => "x",
                Some(_) => "x s",
            }
        );
        for (n, (x, y)) in path.points.iter().enumerate() {
            let _ = write!(out, "{}{:.1} {:.1}", if n == 0 { 'M' } else { 'L' }, left + x, top + y);
        }
        let _ = match path.blocked {
            None => writeln!(out, "\"/>"),
            Some(between) => {
                writeln!(out, "\"><title>{} of {} pairs blocked</title></path>", between.pairs, between.of)
            }
        };
    }
    for (n, (item, rect)) in diagram.items.iter().zip(&laid.boxes).enumerate() {
        let rect = Rect { x: left + rect.x, y: top + rect.y, ..*rect };
        draw(&mut out, item, rect, page.and_then(|(_, marks)| marks.get(n)));
    }
    let mut y = total - foot + LINE;
    let mut line = |text: &str, class: &str| {
        let _ = writeln!(out, "<text class=\"{class}\" x=\"{MARGIN}\" y=\"{y:.0}\">{}</text>", escaped(text));
        y += LINE;
    };
    for reason in diagram.reasons.iter().take(REASONS) {
        line(reason, "xt");
    }
    if diagram.reasons.len() > REASONS {
        line(&format!("and {} more: wgrelay check", diagram.reasons.len() - REASONS), "d");
    }
    out + "</svg>\n"
}

/// The beginning of a file: its style, the name and the answer.
fn headed(diagram: &Diagram, (width, total): (f64, f64)) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {total:.0}\" width=\"{width:.0}\" height=\"{total:.0}\" \
         role=\"img\">\n<title>{} {}</title>\n<style>{STYLE}</style>\n",
        escaped(&diagram.name),
        escaped(&diagram.answer)
    );
    let _ = writeln!(
        out,
        "<text class=\"t h\" x=\"{MARGIN}\" y=\"28\">{}</text>\n<text class=\"{}\" x=\"{MARGIN}\" y=\"46\">{}</text>",
        escaped(&diagram.name),
        if diagram.blocked.is_empty() && diagram.reasons.is_empty() { "d" } else { "xt" },
        escaped(&diagram.answer)
    );
    out
}

fn draw(out: &mut String, item: &Item, at: Rect, mark: Option<&Mark>) {
    let Rect { x, y, height } = at;
    let (kind, round) = if item.is_relay { ("r", 14) } else { ("b", 5) };
    let off = if item.is_active { "" } else { " class=\"off\"" };
    if !item.is_active && mark.is_none() {
        // What is drawn faint does not cover the lines behind it.
        let _ = writeln!(
            out,
            "<rect class=\"p\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{WIDTH}\" height=\"{height}\" rx=\"{round}\"/>"
        );
    }
    if let Some(mark) = mark {
        let _ = write!(
            out,
            "<a href=\"{}\" class=\"{}\"><title>{}: {}</title>",
            escaped(&mark.href),
            mark.class,
            escaped(&item.title),
            escaped(&mark.note)
        );
    }
    let _ = writeln!(
        out,
        "<g{off}><rect class=\"{kind}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{WIDTH}\" height=\"{height}\" rx=\"{round}\"/>"
    );
    let mut line = y + LINE;
    let mut write = |text: &str, class: &str, most: usize| {
        let _ = writeln!(
            out,
            "<text class=\"{class}\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{line:.1}\">{}</text>",
            at.middle(),
            escaped(&fitting(text, most))
        );
        line += LINE;
    };
    write(&item.title, "t n", MOST_BOLD);
    item.lines.iter().for_each(|text| write(text, "t", MOST));
    item.sites.iter().for_each(|text| write(text, "d", MOST));
    item.blocked.iter().for_each(|text| write(text, "xt", MOST));
    out.push_str("</g>");
    if mark.is_some() {
        // A dot says what the title says in words; its shape differs too, for those who see no colours.
        let _ =
            write!(out, "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\"/></a>", x + 10.0, y + 10.0);
    }
    out.push('\n');
}

/// Cuts what is wider than a box in its middle: names in one network differ at their ends.
fn fitting(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.into();
    }
    let head = most / 2;
    text.chars().take(head).chain(['…']).chain(text.chars().skip(count - (most - head - 1))).collect()
}

/// A text as markup has it: what would be markup is escaped, and a control character is a space.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out() {
        assert_eq!(escaped("<a href=\"x\">&\n"), "&lt;a href=&quot;x&quot;&gt;&amp; ");
        assert_eq!(fitting("2001:db8:1234:5678::/64", MOST), "2001:db8:…5678::/64");
        assert_eq!(fitting("office-in-helsinki-12", MOST_BOLD), "office-i…sinki-12");
        assert_eq!(fitting("relay-frankfurt", MOST_BOLD), "relay-frankfurt");
    }
}
