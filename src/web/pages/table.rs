//! What tables of several pages share: verdicts, health, places with a link to their node, and problems.

use maud::{Markup, html};
use serde_json::Value;

use super::form::with_query;
use super::text::{self, Text};
use crate::status::Health;
use crate::web::view::{Frame, Problem};

/// What a table is called for whoever does not see it.
#[derive(Debug, Clone, Copy)]
pub enum Label<'a> {
    /// By the heading with this id.
    Heading(&'a str),
    /// By this text.
    Text(&'a str),
}

/// A table that scrolls by itself where it is too wide, by keys as well: its columns, and its rows.
pub fn listed(label: Label<'_>, columns: &[&str], rows: &Markup) -> Markup {
    let (text, heading) = match label {
        Label::Text(text) => (Some(text), None),
        Label::Heading(id) => (None, Some(id)),
    };
    html! {
        div.scroll tabindex="0" role="group" aria-label=[text] aria-labelledby=[heading] {
            table {
                thead { tr { @for column in columns { th scope="col" { (column) } } } }
                tbody { (rows) }
            }
        }
    }
}

/// Says what passes: all, or which ports.
pub fn ports(frame: &Frame, ports: &Value) -> String {
    match ports {
        Value::String(word) if word == "all" => frame.say(text::ALL_PORTS).into(),
        Value::String(word) => word.clone(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        _ => String::new(),
    }
}

/// A verdict as a word, never as a colour alone.
pub fn verdict(frame: &Frame, reaches: bool) -> Markup {
    if reaches {
        html! { span.good { (frame.say(text::REACHES)) } }
    } else {
        html! { span.bad { (frame.say(text::BLOCKED)) } }
    }
}

/// The word of a peer's health, and its class.
pub const fn health_word(health: Health) -> (Text, &'static str) {
    match health {
        Health::Online => (text::ONLINE, "good"),
        Health::Uncertain => (text::UNCERTAIN, "warn"),
        Health::Down => (text::DOWN, "bad"),
        Health::Idle => (text::IDLE, "dim"),
        Health::Never => (text::NEVER, "dim"),
    }
}

/// A peer's health; `None`: nobody here knows.
pub fn health(frame: &Frame, health: Option<Health>) -> Markup {
    match health {
        Some(health) => {
            let (word, class) = health_word(health);
            html! { span class=(class) { (frame.say(word)) } }
        }
        None => html! { span.dim { (frame.say(text::UNKNOWN)) } },
    }
}

/// The path of a trace.
pub fn trace_url(frame: &Frame, from: &str, to: &str) -> String {
    frame.url(&with_query("/trace", &[("from", from), ("to", to)]))
}

/// The path of a node's page. Names of nodes are `[A-Za-z0-9_.-]`, but nothing here relies on it.
pub fn node_url(frame: &Frame, name: &str) -> String {
    let escaped = with_query("", &[("n", name)]);
    frame.url(&format!("/nodes/{}", escaped.trim_start_matches("?n=")))
}

/// Problems, the worst first, each with its place and what to do.
pub fn problems(problems: &[Problem]) -> Markup {
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    sorted.sort_by_key(|problem| problem.severity != "error");
    html! {
        ul.problems lang="en" {
            @for problem in sorted {
                li {
                    @if problem.severity == "error" { strong.bad { "error" } } @else { strong.warn { "warning" } }
                    " " code { (problem.code) } " " (problem.message)
                    @if !problem.hint.is_empty() { div.hint { (problem.hint) } }
                    div.dim { (problem.place) }
                }
            }
        }
    }
}
