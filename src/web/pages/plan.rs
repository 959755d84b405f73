//! What `up` would change on this host.

use maud::{Markup, html};

use super::form::hidden;
use super::layout::page;
use super::review::plan_lines;
use super::{table, text};
use crate::web::view::{Frame, Plan};

/// Shows the plan, with the button that applies it.
pub fn plan(frame: &Frame, plan: &Plan) -> Markup {
    let body = html! {
        @if !plan.problems.is_empty() { (table::problems(&plan.problems)) }
        @if !plan.changes.is_empty() {
            @if frame.may_operate() {
                form.row.decide method="post" action=(frame.url("/apply")) {
                    (hidden(frame, &[("do", "up")]))
                    div.field {
                        label for="confirm" { (frame.say(text::CONFIRM_WITHIN)) }
                        input #confirm name="confirm" type="number" min="10" max="600" value="60";
                    }
                    button.main type="submit" name="up" value="yes" { (frame.say(text::APPLY_NOW)) }
                }
            }
            (plan_lines(frame, &plan.changes))
        }
    };
    let answer = html! {
        @if plan.changes.is_empty() { (frame.say(text::PLAN_EMPTY)) }
        @else { (frame.fill(text::PLAN_COUNT, &[&plan.changes.len()])) }
    };
    page(frame, None, frame.say(text::PLAN), &answer, &body)
}
