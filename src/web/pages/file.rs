//! network.toml in an editor, with every fault at its line.

use maud::{Markup, html};

use super::form::hidden;
use super::layout::{Section, page};
use super::{table, text};
use crate::web::view::{Frame, NetworkFile, Problem};

/// Shows the file, or what was typed in its place with its faults.
pub fn file(frame: &Frame, file: &NetworkFile, problems: &[Problem]) -> Markup {
    let faults = problems.iter().filter(|problem| problem.severity == "error").count();
    let answer = html! {
        @if faults > 0 { span.bad role="alert" { (frame.fill(text::FILE_FAULTS, &[&faults])) } }
        @else { (frame.say(text::FILE_HINT)) }
    };
    let rows = file.text.lines().count().clamp(12, 40);
    let body = html! {
        @if !problems.is_empty() {
            (faulty_lines(frame, &file.text, problems))
            (table::problems(problems))
        }
        form method="post" action=(frame.url("/review")) {
            (hidden(frame, &[("do", "write"), ("revision", &file.revision)]))
            label for="text" { "network.toml" }
            textarea #text name="text" rows=(rows) spellcheck="false" autocapitalize="none" autocomplete="off" wrap="off"
                readonly[!frame.may_operate()] data-lines="" {
                // A browser drops the first line break in here.
                "\n" (file.text)
            }
            @if frame.may_operate() { p { button.main type="submit" { (frame.say(text::REVIEW)) "…" } } }
        }
    };
    page(frame, Some(Section::File), frame.say(text::FILE), &answer, &body)
}

/// The line and column of a problem at `FILE:LINE:COLUMN`, from 1.
fn place(problem: &Problem) -> Option<(usize, usize)> {
    let mut parts = problem.place.rsplit(':');
    let column = parts.next()?.parse().ok()?;
    Some((parts.next()?.parse().ok()?, column))
}

/// Each line with a fault, with a sign under its column.
fn faulty_lines(frame: &Frame, source: &str, problems: &[Problem]) -> Markup {
    let lines: Vec<&str> = source.lines().collect();
    html! {
        ol.faults {
            @for problem in problems {
                @if let Some((line, column)) = place(problem) {
                    @if let Some(shown) = lines.get(line - 1) {
                        li {
                            a href="#text" data-line=(line) { (frame.fill(text::LINE, &[&line])) }
                            pre lang="en" tabindex="0" {
                                (shown) "\n"
                                (" ".repeat(column.saturating_sub(1).min(200))) span.bad { "^ " (problem.message) }
                            }
                        }
                    }
                }
            }
        }
    }
}
