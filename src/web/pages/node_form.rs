//! A node that is added, or whose keys are edited: one form for both.

use maud::{Markup, html};

use super::form::{Input, hidden, select};
use super::layout::{Section, page};
use super::text;
use crate::model::Platform;
use crate::web::view::{Frame, Shown};

/// What was typed, by the names of the fields; empty for a fresh form.
pub type Typed<'a> = &'a dyn Fn(&str) -> &'a str;

/// Asks for a new node. `wrong`: why what was typed is none.
pub fn add_form(frame: &Frame, typed: Typed<'_>, wrong: Option<(&str, &str)>) -> Markup {
    let platforms: Vec<(&str, &str)> = Platform::ALL.iter().map(|(word, _)| (*word, *word)).collect();
    let body = html! {
        form.narrow method="post" action=(frame.url("/review")) {
            (hidden(frame, &[("do", "add")]))
            (Input::text("name", text::NAME, typed("name")).required().markup(frame, "add"))
            (select(frame, "add", "platform", text::PLATFORM, &platforms, typed("platform")))
            (Input::text("address", text::ADDRESS, typed("address")).hint(text::ADDRESS_HINT).markup(frame, "add"))
            (Input::text("site", text::SITE, typed("site")).hint(text::SITE_HINT).markup(frame, "add"))
            (Input::text("public_key", text::PUBLIC_KEY, typed("public_key")).hint(text::PUBLIC_KEY_HINT).markup(frame, "add"))
            button.main type="submit" { (frame.say(text::REVIEW)) "…" }
        }
    };
    page(frame, Some(Section::Nodes), frame.say(text::ADD_NODE), &said(frame, wrong), &body)
}

/// Asks for the keys of a node that people change.
pub fn edit_form(frame: &Frame, node: &Shown, typed: Typed<'_>, wrong: Option<(&str, &str)>) -> Markup {
    let has = |name: &'static str, own: String| match typed(name) {
        "" => own,
        text => text.to_owned(),
    };
    let platforms: Vec<(&str, &str)> = Platform::ALL.iter().map(|(word, _)| (*word, *word)).collect();
    let (address, endpoint) =
        (has("address", node.address.clone()), has("endpoint", node.endpoint.clone().unwrap_or_default()));
    let (routes, dns) = (has("routes", node.routes.join(", ")), has("dns", node.dns.join(", ")));
    let (groups, expires) =
        (has("groups", node.groups.join(", ")), has("expires", node.expires.clone().unwrap_or_default()));
    let shown = node.sites.iter().map(|site| site.typed.as_str()).collect::<Vec<_>>().join(", ");
    let sites = has("sites", shown.clone());
    let platform = has("platform", node.platform.clone());
    let body = html! {
        form.narrow method="post" action=(frame.url("/review")) {
            (hidden(frame, &[("do", "edit"), ("name", &node.name), ("had_sites", &shown)]))
            (select(frame, "edit", "platform", text::PLATFORM, &platforms, &platform))
            (Input::text("address", text::ADDRESS, &address).required().markup(frame, "edit"))
            (Input::text("endpoint", text::ENDPOINT, &endpoint).hint(text::ENDPOINT_HINT).markup(frame, "edit"))
            (Input::text("routes", text::ROUTES, &routes).hint(text::ROUTES_HINT).markup(frame, "edit"))
            (Input::text("dns", text::DNS, &dns).hint(text::LIST_HINT).markup(frame, "edit"))
            (Input::text("groups", text::GROUPS, &groups).hint(text::LIST_HINT).markup(frame, "edit"))
            (Input::text("sites", text::SITES, &sites).hint(text::SITES_HINT).markup(frame, "edit"))
            (Input::text("expires", text::EXPIRES, &expires).hint(text::EXPIRES_HINT).markup(frame, "edit"))
            button.main type="submit" { (frame.say(text::REVIEW)) "…" }
        }
    };
    let title = frame.fill(text::EDIT_NODE, &[&node.name]);
    page(frame, Some(Section::Nodes), &title, &said(frame, wrong), &body)
}

fn said(frame: &Frame, wrong: Option<(&str, &str)>) -> Markup {
    html! {
        @match wrong {
            Some((message, hint)) => {
                span.bad role="alert" lang="en" { (message) }
                @if !hint.is_empty() { " " span lang="en" { (hint) } }
            }
            None => (frame.say(text::EACH_IS_SHOWN)),
        }
    }
}
