//! A change before it happens: the pairs it opens and closes, what this host would do, and the lines it writes. Nothing is
//! changed by looking at it.

use maud::{Markup, html};

use super::form::{Fields, hidden};
use super::layout::page;
use super::{table, text};
use crate::web::view::{Changed, ChangedPair, DiffLine, Frame, KeyChange, Line};

/// So many pairs and lines are shown of each kind.
const LISTED: usize = 200;

/// Shows a change. `fields`: what was asked for, given back by the button that does it.
pub fn review(frame: &Frame, changed: &Changed, fields: &Fields) -> Markup {
    let is_valid = !changed.problems.iter().any(|problem| problem.severity == "error");
    let answer = html! {
        @if is_valid { (summary(frame, changed)) " " span.dim { (frame.say(text::NOTHING_DONE)) } }
        @else { span.bad role="alert" { (frame.say(text::NOT_VALID)) } }
    };
    let body = html! {
        @if !changed.problems.is_empty() { (table::problems(&changed.problems)) }
        @if is_valid {
            (buttons(frame, changed, fields))
            (pairs(frame, "opens", text::PAIRS_OPENED, &changed.opens))
            (pairs(frame, "closes", text::PAIRS_CLOSED, &changed.closes))
            @if changed.unlisted > 0 { p { (frame.fill(text::PAIRS_MORE, &[&changed.unlisted])) } }
            (host(frame, changed))
        }
        (difference(frame, &changed.lines, &changed.keys))
    };
    page(frame, None, &frame.fill(text::REVIEW_TITLE, &[&changed.said]), &answer, &body)
}

fn summary(frame: &Frame, changed: &Changed) -> Markup {
    let (opens, closes) = (changed.opens.len(), changed.closes.len());
    html! {
        @if opens + closes + changed.unlisted == 0 {
            (frame.say(text::PAIRS_SAME))
        } @else {
            @if opens > 0 { strong { (frame.fill(text::PAIRS_OPENED, &[&opens])) "." } " " }
            @if closes > 0 { strong.bad { (frame.fill(text::PAIRS_CLOSED, &[&closes])) "." } }
        }
    }
}

fn buttons(frame: &Frame, changed: &Changed, fields: &Fields) -> Markup {
    let fixed: Vec<(&str, &str)> = fields
        .iter()
        .filter(|(name, _)| name != "csrf" && name != "revision")
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .chain([("revision", changed.revision.as_str())])
        .collect();
    html! {
        form.row.decide method="post" action=(frame.url("/apply")) {
            (hidden(frame, &fixed))
            div.field {
                label for="confirm" { (frame.say(text::CONFIRM_WITHIN)) }
                input #confirm name="confirm" type="number" min="10" max="600" value="60";
            }
            button.main type="submit" name="up" value="yes" { (frame.say(text::APPLY)) }
            button type="submit" name="up" value="no" { (frame.say(text::SAVE)) }
            a.button href=(frame.url("/")) data-back="" { (frame.say(text::BACK)) }
        }
    }
}

fn pairs(frame: &Frame, id: &str, title: text::Text, pairs: &[ChangedPair]) -> Markup {
    html! {
        @if !pairs.is_empty() {
            section aria-labelledby=(id) {
                h2 #(id) { (frame.fill(title, &[&pairs.len()])) }
                ul.pairs {
                    @for pair in pairs.iter().take(LISTED) {
                        li {
                            (pair.from) " → " (pair.to) " " span.num { (table::ports(frame, &pair.ports)) }
                        }
                    }
                    @if pairs.len() > LISTED { li { "+" (pairs.len() - LISTED) } }
                }
            }
        }
    }
}

fn host(frame: &Frame, changed: &Changed) -> Markup {
    let unknown = changed.plan_unknown.as_deref().unwrap_or_else(|| frame.say(text::UNKNOWN));
    html! {
        section aria-labelledby="plan" {
            h2 #plan { (frame.say(text::PLAN)) }
            @match changed.plan.as_deref() {
                None => p.warn { (frame.fill(text::PLAN_UNKNOWN, &[&unknown])) },
                Some([]) => p { (frame.say(text::PLAN_EMPTY)) },
                Some(lines) => (plan_lines(frame, lines)),
            }
        }
    }
}

/// The lines of a plan, as `wgrelay plan` has them.
pub(super) fn plan_lines(frame: &Frame, lines: &[Line]) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label=(frame.say(text::PLAN)) {
            table lang="en" {
                thead { tr {
                    th scope="col" { (frame.say(text::WHAT)) }
                    th scope="col" { (frame.say(text::BEFORE)) }
                    th scope="col" { (frame.say(text::AFTER)) }
                } }
                tbody {
                    @for line in lines.iter().take(LISTED) {
                        tr {
                            th scope="row" { (line.kind) " " code { (line.target) } }
                            td.num { @if let Some(from) = &line.from { del { (from) } } }
                            td.num { @if let Some(to) = &line.to { ins { (to) } } }
                        }
                    }
                    @if lines.len() > LISTED { tr { td colspan="3" { "+" (lines.len() - LISTED) } } }
                }
            }
        }
    }
}

/// Lines of network.toml that go and come, and whose keys differ.
pub(super) fn difference(frame: &Frame, lines: &[DiffLine], keys: &[KeyChange]) -> Markup {
    html! {
        section aria-labelledby="lines" {
            h2 #lines { (frame.say(text::LINES)) }
            @if lines.is_empty() { p { (frame.say(text::LINES_NONE)) } } @else {
                pre.diff tabindex="0" aria-labelledby="lines" lang="en" {
                    @for line in lines {
                        @match line.sign {
                            '+' => ins { "+" (line.text) "\n" },
                            '-' => del { "-" (line.text) "\n" },
                            '@' => span.dim { (line.text) "\n" },
                            sign => span { (sign) (line.text) "\n" },
                        }
                    }
                }
            }
            @if !keys.is_empty() {
                ul {
                    @for key in keys { li lang="en" { (frame.fill(text::KEY_OF, &[&key.kind, &key.of, &key.change])) } }
                }
            }
        }
    }
}
