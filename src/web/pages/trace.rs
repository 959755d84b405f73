//! One packet there and back: the answer, where it ends and why, and a button that mends it.

use maud::{Markup, html};

use super::form::{Input, hidden};
use super::layout::{Section, page};
use super::{table, text};
use crate::web::view::{Frame, Hop, Mend, Trace};

/// Shows a packet's path; `None`: nothing was asked yet. `mends`: changes after which the pair was found to reach.
pub fn trace(frame: &Frame, asked: (&str, &str, &str), trace: Option<&Trace>, mends: &[Mend]) -> Markup {
    let body = html! {
        (form(frame, asked))
        @if let Some(trace) = trace {
            (ends(frame, trace, mends))
            (path(frame, "forward", text::FORWARD_PATH, &trace.forward))
            @if trace.reply.is_empty() && trace.verdict != "reaches" {
                p.dim { (frame.say(text::NO_REPLY)) }
            } @else {
                (path(frame, "reply", text::REPLY_PATH, &trace.reply))
            }
            @if !trace.notes.is_empty() {
                h2 { (frame.say(text::NOTES)) }
                ul lang="en" { @for note in &trace.notes { li { (note) } } }
            }
            p { a href=(table::trace_url(frame, &trace.to, &trace.from)) { (frame.say(text::REVERSE)) } }
        }
    };
    page(frame, Some(Section::Matrix), frame.say(text::TRACE), &answer(frame, asked.2, trace), &body)
}

fn answer(frame: &Frame, asked: &str, trace: Option<&Trace>) -> Markup {
    let Some(trace) = trace else { return html! { (frame.say(text::PICK_PAIR)) } };
    let ends: [&dyn std::fmt::Display; 2] = [&trace.from, &trace.to];
    // Where nothing was asked for and nothing gets through, one protocol is shown and none does.
    let told = trace.port.as_deref().filter(|_| trace.verdict == "reaches" || !asked.is_empty());
    let port = told.map(|port| format!(" ({port})")).unwrap_or_default();
    html! {
        // "Reaches" is said where nothing that was not looked at can decide otherwise.
        @match (trace.verdict.as_str(), trace.uncertain.is_empty()) {
            ("reaches", true) => strong.good { (frame.fill(text::DOES_REACH, &ends)) (port) },
            ("reaches", false) => strong.warn { (frame.fill(text::IS_UNCERTAIN, &ends)) (port) },
            (_, true) => strong.bad { (frame.fill(text::DOES_NOT_REACH, &ends)) (port) },
            (_, false) => strong.warn { (frame.fill(text::IS_UNCERTAIN, &ends)) (port) },
        }
        ". " span.dim { (frame.say(text::ASSUMED)) }
    }
}

fn form(frame: &Frame, (from, to, port): (&str, &str, &str)) -> Markup {
    html! {
        form.row method="get" action=(frame.url("/trace")) {
            (Input::text("from", text::FROM, from).required().markup(frame, "trace"))
            (Input::text("to", text::TO, to).required().markup(frame, "trace"))
            (Input::text("port", text::PORT, port).hint(text::PORT_HINT).markup(frame, "trace"))
            button type="submit" { (frame.say(text::TRACE)) }
        }
    }
}

fn ends(frame: &Frame, trace: &Trace, mends: &[Mend]) -> Markup {
    html! {
        @if !trace.uncertain.is_empty() {
            h2 { (frame.say(text::MAY_DECIDE)) }
            ul lang="en" { @for why in &trace.uncertain { li { (why) } } }
        }
        @if let Some(reason) = &trace.reason {
            section.reason aria-labelledby="reason" {
                h2 #reason { (frame.say(text::REASON)) }
                p {
                    code { (reason.code) }
                    @if let Some(node) = reason.node.as_deref().filter(|node| !node.is_empty()) {
                        " " (frame.fill(text::AT, &[&node]))
                    }
                    ": " span lang="en" { (reason.message) }
                }
                @if !reason.fix.is_empty() { p { strong { (frame.say(text::FIX)) ": " } span lang="en" { (reason.fix) } } }
                @if frame.may_operate() {
                    @for mend in mends {
                        form.inline method="post" action=(frame.url("/review")) {
                            (hidden(frame, &mend.fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>()))
                            button.main type="submit" { (mend_name(frame, mend)) "…" }
                        }
                    }
                    @if !mends.is_empty() { p.hint { (frame.say(text::MEND_CHECKED)) } }
                }
            }
        }
    }
}

fn mend_name(frame: &Frame, mend: &Mend) -> String {
    let field =
        |name: &str| mend.fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
    match (field("do"), field("key")) {
        ("allow", _) if field("ports").is_empty() => {
            frame.fill(text::MEND_ALLOW, &[&field("from"), &field("to")])
        }
        ("allow", _) => frame.fill(text::MEND_ALLOW_PORT, &[&field("from"), &field("to"), &field("ports")]),
        ("enable", _) => frame.fill(text::MEND_ENABLE, &[&field("name")]),
        ("set", "expires") => frame.fill(text::MEND_EXPIRES, &[&field("name")]),
        ("set", "routes") => frame.fill(text::MEND_ROUTES, &[&field("name"), &field("value")]),
        _ => frame.say(text::MENDS).into(),
    }
}

fn path(frame: &Frame, id: &str, title: text::Text, hops: &[Hop]) -> Markup {
    html! {
        @if !hops.is_empty() {
            section aria-labelledby=(id) {
                h2 #(id) { (frame.say(title)) }
                div.scroll tabindex="0" role="group" aria-labelledby=(id) {
                    table.path lang="en" {
                        thead { tr {
                            th scope="col" { (frame.say(text::AT_NODE)) }
                            th scope="col" { (frame.say(text::STEP)) }
                            th scope="col" { (frame.say(text::BY)) }
                            th scope="col" { (frame.say(text::PACKET)) }
                        } }
                        tbody {
                            @for (n, hop) in hops.iter().enumerate() {
                                @let is_new = n == 0 || hops[n - 1].node != hop.node;
                                tr.new[is_new] {
                                    th scope="row" { (hop.node) }
                                    td { (hop.step) }
                                    td { (hop.detail) }
                                    td.num { (hop.src) " → " (hop.dst) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
