//! Every place against every other: a table while it can be read, a list of what is blocked beyond that.

use std::collections::HashMap;

use maud::{Markup, html};

use super::form::Input;
use super::layout::{Section, page};
use super::{table, text};
use crate::web::view::{Check, Frame, Pair};

/// Up to so many classes are a table.
const TABLE: usize = 40;
/// So many pairs are listed.
const LISTED: usize = 500;

/// Shows who reaches whom. `only_blocked`: as a list of what is blocked.
pub fn matrix(frame: &Frame, check: &Check, only_blocked: bool) -> Markup {
    let (blocked, all) = check.counts();
    let answer = html! {
        @if all == 0 { (frame.say(text::NOTHING_EXAMINED)) }
        @else if blocked == 0 { span.good { (frame.say(text::ALL_REACH)) } }
        @else { span.bad { (frame.fill(text::BLOCKED_OF, &[&blocked, &all])) } }
        ". " span.dim { (frame.say(text::ASSUMED)) }
    };
    let as_list = only_blocked || check.classes.len() > TABLE;
    let body = html! {
        p.row {
            @if only_blocked { a href=(frame.url("/matrix")) { (frame.say(text::ALL_PAIRS)) } }
            @else { a href=(frame.url("/matrix?show=blocked")) { (frame.say(text::BLOCKED_ONLY)) } }
        }
        @if as_list { (list(frame, check)) } @else { (grid(frame, check)) }
        section aria-labelledby="trace" {
            h2 #trace { (frame.say(text::TRACE)) }
            form.row method="get" action=(frame.url("/trace")) {
                (Input::text("from", text::FROM, "").required().markup(frame, "trace"))
                (Input::text("to", text::TO, "").required().markup(frame, "trace"))
                (Input::text("port", text::PORT, "").hint(text::PORT_HINT).markup(frame, "trace"))
                button type="submit" { (frame.say(text::TRACE)) }
            }
        }
    };
    page(frame, Some(Section::Matrix), frame.say(text::MATRIX), &answer, &body)
}

/// What a class is called: its only place, or how many there are.
fn class_name(frame: &Frame, class: &[String]) -> String {
    match class {
        [] => String::new(),
        [only] => only.clone(),
        [first, ..] => frame.fill(text::CLASS_OF, &[first, &class.len()]),
    }
}

fn grid(frame: &Frame, check: &Check) -> Markup {
    let pairs: HashMap<(&str, &str), &Pair> =
        check.pairs.iter().map(|pair| ((pair.from.as_str(), pair.to.as_str()), pair)).collect();
    let at = |from: &Vec<String>, to: &Vec<String>| {
        let (first, other) = (from.first()?, to.first()?);
        // Inside a class, its first member to its second.
        let other = if first == other { to.get(1)? } else { other };
        pairs.get(&(first.as_str(), other.as_str())).copied()
    };
    html! {
        p.hint { (frame.say(text::PICK_PAIR)) }
        div.scroll tabindex="0" role="group" aria-label=(frame.say(text::MATRIX)) {
            table.matrix {
                thead { tr {
                    th scope="col" { (frame.say(text::FROM)) " \\ " (frame.say(text::TO)) }
                    @for to in &check.classes { th scope="col" { span { (class_name(frame, to)) } } }
                } }
                tbody {
                    @for from in &check.classes {
                        tr {
                            th scope="row" { (class_name(frame, from)) }
                            @for to in &check.classes { (cell(frame, at(from, to))) }
                        }
                    }
                }
            }
        }
    }
}

fn cell(frame: &Frame, pair: Option<&Pair>) -> Markup {
    let Some(pair) = pair else { return html! { td.self aria-hidden="true" { "·" } } };
    let reaches = pair.verdict == "reaches";
    let ports = table::ports(frame, &pair.ports);
    let limited = reaches && pair.ports != serde_json::Value::String("all".into());
    let (class, sign) = match (reaches, limited) {
        (true, false) => ("good", "✓"),
        (true, true) => ("warn", "◐"),
        (false, _) => ("bad", "✗"),
    };
    let code = pair.reason.as_ref().map(|reason| format!(", {}", reason.code)).unwrap_or_default();
    let said = if reaches {
        format!("{} {ports}", frame.fill(text::DOES_REACH, &[&pair.from, &pair.to]))
    } else {
        format!("{}{code}", frame.fill(text::DOES_NOT_REACH, &[&pair.from, &pair.to]))
    };
    html! {
        td {
            a class=(class) href=(table::trace_url(frame, &pair.from, &pair.to)) title=(said) aria-label=(said) { (sign) }
        }
    }
}

fn list(frame: &Frame, check: &Check) -> Markup {
    let blocked: Vec<&Pair> = check.pairs.iter().filter(|pair| pair.verdict != "reaches").collect();
    let sizes: HashMap<&str, usize> =
        check.classes.iter().filter_map(|class| Some((class.first()?.as_str(), class.len()))).collect();
    let alike = |place: &str| sizes.get(place).filter(|size| **size > 1).map(|size| size - 1);
    html! {
        @if blocked.is_empty() && check.unlisted.is_empty() { p { (frame.say(text::NOTHING_FOUND)) } } @else {
            (table::listed(table::Label::Text(frame.say(text::BLOCKED_PAIRS)), &[frame.say(text::FROM), frame.say(text::TO), frame.say(text::REASON), frame.say(text::TRACE)], &html! {
                @for pair in blocked.iter().take(LISTED) {
                    tr {
                        td { (pair.from) @if let Some(more) = alike(&pair.from) { " " span.dim { "+" (more) } } }
                        td { (pair.to) @if let Some(more) = alike(&pair.to) { " " span.dim { "+" (more) } } }
                        td lang="en" { @if let Some(reason) = &pair.reason { code { (reason.code) } " " (reason.message) } }
                        td { a href=(table::trace_url(frame, &pair.from, &pair.to)) aria-label=(format!("{}: {} → {}", frame.say(text::WHY_NOT), pair.from, pair.to)) { (frame.say(text::WHY_NOT)) } }
                    }
                }
                @for group in &check.unlisted {
                    tr { td colspan="4" {
                        a href=(table::trace_url(frame, &group.example[0], &group.example[1])) {
                            (frame.fill(text::UNLISTED, &[&group.count, &group.reason, &format!("{} → {}", group.example[0], group.example[1])]))
                        }
                    } }
                }
            }))
            @if blocked.len() > LISTED { p { "+" (blocked.len() - LISTED) } }
        }
    }
}
