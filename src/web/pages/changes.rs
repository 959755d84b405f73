//! The revisions: who changed what and when, what differs, and the way back.

use maud::{Markup, html};

use super::form::change_button;
use super::layout::{Section, page};
use super::review::difference;
use super::{table, text};
use crate::model::Timestamp;
use crate::web::view::{Diff, Frame, History};

/// Lists the revisions, the newest first.
pub fn changes(frame: &Frame, history: &History) -> Markup {
    let answer = html! {
        @if history.revisions.is_empty() { (frame.say(text::NO_REVISION)) }
        @else if history.edited { (frame.say(text::EDITED_BY_HAND)) }
    };
    let body = html! {
        @if !history.revisions.is_empty() {
            (table::listed(table::Label::Text(frame.say(text::CHANGES)), &[frame.say(text::REVISION), frame.say(text::WHEN), frame.say(text::WHO), frame.say(text::WHY)], &html! {
                @for revision in history.revisions.iter().rev() {
                    tr {
                        th scope="row" {
                            a href=(frame.url(&format!("/changes/{}", revision.revision))) { (revision.revision) }
                            @if revision.current { " " span.good { (frame.say(text::CURRENT)) } }
                        }
                        td.num { (Timestamp(revision.at)) }
                        td { (revision.user.as_deref().unwrap_or("-")) }
                        td { (revision.why) }
                    }
                }
            }))
        }
    };
    page(frame, Some(Section::Changes), frame.say(text::CHANGES), &answer, &body)
}

/// Shows what differs between a revision and the network as it is now, with the way back.
pub fn diff(frame: &Frame, diff: &Diff) -> Markup {
    let number = diff.from.to_string();
    let is_same = diff.lines.is_empty() && diff.keys.is_empty();
    let body = html! {
        @if !is_same {
            @if frame.may_operate() {
                p { (change_button(frame, &[("do", "revert"), ("to", &number)], &frame.fill(text::REVERT, &[&number]))) }
            }
            (difference(frame, &diff.lines, &diff.keys))
        }
        p { a href=(frame.url("/changes")) { (frame.say(text::BACK)) } }
    };
    let answer = html! { @if is_same { (frame.say(text::SAME_AS_NOW)) } };
    page(frame, Some(Section::Changes), &frame.fill(text::DIFFERENCE, &[&number]), &answer, &body)
}
