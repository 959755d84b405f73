//! What is right and wrong with this host, each with what to do.

use maud::{Markup, html};

use super::layout::{Section, page};
use super::text;
use crate::web::view::{Doctor, Frame};

/// Shows the findings, the worst first.
pub fn doctor(frame: &Frame, found: &Doctor) -> Markup {
    let rank = |verdict: &str| match verdict {
        "error" => 0,
        "warning" => 1,
        _ => 2,
    };
    let mut findings: Vec<_> = found.findings.iter().collect();
    findings.sort_by_key(|finding| rank(&finding.verdict));
    let body = html! {
        ul.problems {
            @for finding in findings {
                li {
                    @match finding.verdict.as_str() {
                        "error" => strong.bad { (frame.say(text::ERROR)) },
                        "warning" => strong.warn { (frame.say(text::WARNING)) },
                        _ => strong.good { (frame.say(text::OK)) },
                    }
                    " " code { (finding.code) } " "
                    span lang="en" { (finding.message) }
                    @if !finding.fix.is_empty() { div.hint { (frame.say(text::FIX)) ": " span lang="en" { (finding.fix) } } }
                }
            }
        }
    };
    page(
        frame,
        Some(Section::Doctor),
        frame.say(text::DOCTOR),
        &html! { span lang="en" { (found.answer) } },
        &body,
    )
}
