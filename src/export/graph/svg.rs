//! A diagram as one SVG file: nothing from outside, no script, readable on light and on dark.

use std::f64::consts::TAU;
use std::fmt::Write as _;

use super::{Diagram, Item};

/// A box, in pixels.
const WIDTH: f64 = 156.0;
const LINE: f64 = 16.0;
const PADDING: f64 = 10.0;
/// So many letters fit into a box, as fonts go; bold ones are wider.
const MOST: usize = 19;
const MOST_BOLD: usize = 17;
/// Between two boxes of a ring, and between rings.
const GAP: f64 = 28.0;
/// Room for the answer above, and around everything.
const HEAD: f64 = 56.0;
const MARGIN: f64 = 24.0;
/// How many reasons are listed; and up to how many blocked pairs are drawn, as more cannot be told apart.
const REASONS: usize = 12;
const CURVES: usize = 40;

const STYLE: &str = "\
:root{color-scheme:light dark}\
svg{font:13px system-ui,sans-serif;background:#fff}.p{fill:#fff}\
.t{fill:#1a1a1a}.d{fill:#555}.b{fill:#f4f6f8;stroke:#7a8794}.r{fill:#dff0ff;stroke:#1f6fb2}\
.w{stroke:#9aa5b1;fill:none}.x{stroke:#c22;fill:none}.s{stroke-dasharray:5 5}.xt{fill:#b11}.off{opacity:.5}\
.n{font-weight:600}.h{font-size:16px;font-weight:600}\
@media(prefers-color-scheme:dark){svg{background:#16191d}.p{fill:#16191d}.t{fill:#eee}.d{fill:#aab}.b{fill:#23282e;stroke:#6b7785}\
.r{fill:#12314a;stroke:#5aa9e6}.w{stroke:#56606b}.x{stroke:#f66}.xt{fill:#f88}}";

/// Where a box's middle is.
#[derive(Debug, Clone, Copy)]
struct Spot {
    x: f64,
    y: f64,
}

fn height(item: &Item) -> f64 {
    (1 + item.lines.len() + item.sites.len()) as f64 * LINE + PADDING
}

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
    let relays = diagram.items.iter().filter(|item| item.is_relay).count();
    let spots = spots(diagram, relays);
    let reach = |edge: fn(&Spot) -> f64, size: fn(&Item) -> f64| {
        let ends =
            spots.iter().zip(&diagram.items).map(move |(spot, item)| edge(spot).abs() + size(item) / 2.0);
        ends.fold(0.0, f64::max)
    };
    let (half_width, half_height) = (reach(|s| s.x, |_| WIDTH), reach(|s| s.y, height));
    let listed = diagram.reasons.len().min(REASONS) + usize::from(diagram.reasons.len() > REASONS);
    let foot = if listed == 0 { 0.0 } else { (listed + 1) as f64 * LINE + PADDING };
    // The answer and the reasons are lines of text, which a picture of two boxes is too narrow for.
    let (head, narrowest) = if page.is_some() { (0.0, 0.0) } else { (HEAD, 560.0) };
    let width = (2.0 * (half_width + MARGIN)).max(narrowest);
    let total = head + 2.0 * (half_height + MARGIN) + foot;
    let (cx, cy) = (width / 2.0, head + MARGIN + half_height);
    let mut out = match page {
        Some((label, _)) => format!(
            "<svg viewBox=\"0 0 {width:.0} {total:.0}\" width=\"{width:.0}\" height=\"{total:.0}\" role=\"group\" \
             aria-label=\"{}\">\n",
            escaped(label)
        ),
        None => headed(diagram, (width, total)),
    };
    let at = |n: usize| Spot { x: cx + spots[n].x, y: cy + spots[n].y };
    for n in 1..diagram.items.len() {
        let (from, to) = (at(if n < relays { n - 1 } else { 0 }), at(n));
        let _ =
            writeln!(out, "<path class=\"w\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>", from.x, from.y, to.x, to.y);
    }
    // Some of many would look like all of them.
    let drawn = diagram.blocked.iter().filter(|_| diagram.blocked.len() <= CURVES);
    for ((from, to), between) in drawn {
        let (a, b) = (at(*from), at(*to));
        // Bent away from the relay, so that it does not lie on the lines to it.
        let (mx, my) = (f64::midpoint(a.x, b.x), f64::midpoint(a.y, b.y));
        let (bx, by) = (mx - (b.y - a.y) * 0.18, my + (b.x - a.x) * 0.18);
        let _ = writeln!(
            out,
            "<path class=\"{}\" d=\"M{:.1} {:.1}Q{bx:.1} {by:.1} {:.1} {:.1}\"><title>{} of {} pairs blocked</title></path>",
            if between.is_all() { "x" } else { "x s" },
            a.x,
            a.y,
            b.x,
            b.y,
            between.pairs,
            between.of
        );
    }
    for (n, item) in diagram.items.iter().enumerate() {
        draw(&mut out, item, at(n), page.and_then(|(_, marks)| marks.get(n)));
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

/// Relays in the middle, side by side; everybody else on rings around them, each as full as boxes fit.
fn spots(diagram: &Diagram, relays: usize) -> Vec<Spot> {
    let step = WIDTH + 2.0 * GAP;
    let middle = (relays.max(1) - 1) as f64 * step / 2.0;
    let mut spots: Vec<Spot> = (0..relays).map(|n| Spot { x: n as f64 * step - middle, y: 0.0 }).collect();
    let tallest = diagram.items.iter().map(height).fold(0.0, f64::max);
    let mut rest = diagram.items.len() - relays;
    // Ellipses, each a box's width and height outside the one before.
    let (mut wide, mut high) = (middle + step, tallest + 2.0 * GAP);
    while rest > 0 {
        // Ramanujan's first approximation of an ellipse's circumference.
        let round = TAU / 2.0 * (3.0 * (wide + high) - ((3.0 * wide + high) * (wide + 3.0 * high)).sqrt());
        let room = ((round / (WIDTH + GAP)) as usize).max(3);
        let here = rest.min(room);
        for n in 0..here {
            let angle = TAU * (n as f64 + 0.5) / here as f64;
            spots.push(Spot { x: wide * angle.sin(), y: -high * angle.cos() });
        }
        rest -= here;
        (wide, high) = (wide + WIDTH + GAP, high + tallest + GAP);
    }
    spots
}

fn draw(out: &mut String, item: &Item, at: Spot, mark: Option<&Mark>) {
    let height = height(item);
    let (x, y) = (at.x - WIDTH / 2.0, at.y - height / 2.0);
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
            at.x,
            escaped(&fitting(text, most))
        );
        line += LINE;
    };
    write(&item.title, "t n", MOST_BOLD);
    item.lines.iter().for_each(|text| write(text, "t", MOST));
    item.sites.iter().for_each(|text| write(text, "d", MOST));
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

    /// No two boxes lie on each other, however many there are.
    #[test]
    fn boxes_stand_apart() {
        for (relays, spokes) in [(1, 0), (1, 1), (1, 2), (1, 30), (3, 7), (2, 300)] {
            let item = |is_relay| Item {
                title: "a".into(),
                lines: vec!["b".into()],
                sites: vec!["c".into(); 2],
                is_relay,
                is_active: true,
            };
            let items: Vec<_> =
                (0..relays).map(|_| item(true)).chain((0..spokes).map(|_| item(false))).collect();
            let diagram = Diagram {
                name: String::new(),
                answer: String::new(),
                items,
                blocked: Default::default(),
                reasons: Vec::new(),
            };
            let spots = spots(&diagram, relays);
            assert_eq!(spots.len(), relays + spokes);
            let tall = height(&diagram.items[0]);
            for (i, a) in spots.iter().enumerate() {
                for b in &spots[i + 1..] {
                    let apart = (a.x - b.x).abs() >= WIDTH || (a.y - b.y).abs() >= tall;
                    assert!(apart, "{relays} and {spokes}: {a:?} {b:?}");
                }
            }
        }
    }
}
