//! The HTML, as pure functions from view models.

use maud::{DOCTYPE, Markup, html};

use super::view;

/// What every page has around it.
fn framed(frame: &view::Frame, title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html {
            head { meta charset="utf-8"; title { (title) " · " (frame.network) } }
            body { main { h1 { (title) } (content) } }
        }
    }
}

/// Who is online.
pub fn overview(frame: &view::Frame, status: &view::Status, list: &view::List) -> Markup {
    framed(frame, "Overview", &html! { p { (status.peers.len()) " / " (list.nodes.len()) } })
}

/// The nodes.
pub fn nodes(frame: &view::Frame, list: &view::List) -> Markup {
    framed(frame, "Nodes", &html! { ul { @for node in &list.nodes { li { (node.name) } } } })
}

/// Who reaches whom.
pub fn matrix(frame: &view::Frame, check: &view::Check) -> Markup {
    framed(
        frame,
        "Matrix",
        &html! { @for pair in &check.pairs { p { (pair.from) " → " (pair.to) " " (pair.verdict) } } },
    )
}

/// A packet there and back; `None`: nothing was asked yet.
pub fn trace(frame: &view::Frame, trace: Option<&view::Trace>) -> Markup {
    framed(frame, "Trace", &html! { @if let Some(trace) = trace { p { (trace.verdict) } } })
}

/// What `up` would change on this host.
pub fn plan(frame: &view::Frame, plan: &view::Plan) -> Markup {
    framed(frame, "Plan", &html! { @for line in &plan.changes { p { (line.kind) " " (line.target) } } })
}

/// The revisions.
pub fn changes(frame: &view::Frame, history: &view::History) -> Markup {
    framed(
        frame,
        "Changes",
        &html! { @for revision in history.revisions.iter().rev() { p { (revision.revision) " " (revision.why) } } },
    )
}

/// What differs between a revision and the network as it is now.
pub fn diff(frame: &view::Frame, diff: &view::Diff) -> Markup {
    framed(frame, "Difference", &html! { pre { @for line in &diff.lines { (line.sign) (line.text) "\n" } } })
}

/// The network's file, to edit.
pub fn file(frame: &view::Frame, file: &view::NetworkFile) -> Markup {
    framed(frame, "File", &html! { pre { (file.text) } })
}

/// An error, with what to do.
pub fn refused(frame: &view::Frame, status: u16, message: &str, hint: &str) -> Markup {
    framed(frame, "Refused", &html! { p { (status) " " (message) } p { (hint) } })
}
