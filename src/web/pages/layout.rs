//! The frame of every page: head, menu, landmarks, and what is told on top.

use maud::{DOCTYPE, Markup, html};

use super::text::{self, Text};
use crate::web::view::{Frame, Language, Notice, Role};

/// A page of the menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Overview,
    Nodes,
    Matrix,
    Rules,
    File,
    Changes,
    Doctor,
    Audit,
    People,
    Notifications,
    Devices,
}

impl Section {
    /// In the order of the menu.
    pub const ALL: [(Self, &'static str, Text); 11] = [
        (Self::Devices, "/devices", text::DEVICES),
        (Self::Overview, "/", text::OVERVIEW),
        (Self::Nodes, "/nodes", text::NODES),
        (Self::Matrix, "/matrix", text::MATRIX),
        (Self::Rules, "/rules", text::RULES),
        (Self::File, "/file", text::FILE),
        (Self::Changes, "/changes", text::CHANGES),
        (Self::Doctor, "/doctor", text::DOCTOR),
        (Self::Audit, "/audit", text::AUDIT),
        (Self::People, "/people", text::PEOPLE),
        (Self::Notifications, "/notifications", text::NOTIFICATIONS),
    ];

    fn is_for(self, frame: &Frame) -> bool {
        match self {
            Self::Devices => frame.has_devices,
            Self::Audit | Self::People | Self::Notifications => frame.may_administer(),
            _ => frame.may_look(),
        }
    }
}

impl Frame {
    /// Returns a text in the page's language.
    pub const fn say(&self, text: Text) -> &'static str {
        self.language.say(text)
    }
    /// Returns a text with its places filled in.
    pub fn fill(&self, text: Text, values: &[&dyn std::fmt::Display]) -> String {
        self.language.fill(text, values)
    }
    /// Returns a path of the page, as a browser sees it.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
    /// Says whether the viewer may look at the network.
    pub fn may_look(&self) -> bool {
        self.user.is_some() && self.role >= Role::Viewer
    }
    /// Says whether the viewer may change the network.
    pub fn may_operate(&self) -> bool {
        self.user.is_some() && self.role >= Role::Operator
    }
    /// Says whether the viewer may see users, tokens and the audit.
    pub fn may_administer(&self) -> bool {
        self.user.is_some() && self.role >= Role::Admin
    }
}

/// What a role is called.
pub const fn role_name(role: Role) -> Text {
    match role {
        Role::Owner => text::OWNER,
        Role::Viewer => text::VIEWER,
        Role::Operator => text::OPERATOR,
        Role::Admin => text::ADMIN,
    }
}

/// Makes a whole page. `answer` is its first line: what the page has to say, in one sentence.
pub fn page(frame: &Frame, here: Option<Section>, title: &str, answer: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(frame.language.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) @if !frame.network.is_empty() { " · " (frame.network) } " · wgrelay" }
                link rel="icon" href=(frame.url("/assets/icon.svg")) type="image/svg+xml";
                link rel="stylesheet" href=(frame.url("/assets/page.css"));
                script src=(frame.url("/assets/page.js")) defer {}
            }
            body {
                a.skip href="#content" { (frame.say(text::SKIP)) }
                (header(frame, here))
                main #content tabindex="-1" {
                    (notices(frame))
                    h1 { (title) }
                    p.answer { (answer) }
                    (body)
                }
                footer { (footer(frame)) }
            }
        }
    }
}

fn header(frame: &Frame, here: Option<Section>) -> Markup {
    html! {
        header {
            a.home href=(frame.url("/")) { @if !frame.network.is_empty() { strong { (frame.network) } " " } "wgrelay" }
            @if frame.user.is_some() {
                nav aria-label=(frame.say(text::MAIN_MENU)) {
                    ul {
                        @for (section, path, name) in Section::ALL.iter().filter(|(s, ..)| s.is_for(frame)) {
                            li {
                                a href=(frame.url(path)) aria-current=[(here == Some(*section)).then_some("page")] {
                                    (frame.say(*name))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn footer(frame: &Frame) -> Markup {
    html! {
        @if let Some(node) = &frame.by_tunnel {
            p {
                (frame.fill(text::BY_TUNNEL, &[node])) " · " (frame.say(text::READ_ONLY)) " · "
                a href=(frame.url("/login")) { (frame.say(text::LOG_IN)) }
            }
        } @else if let Some(user) = &frame.user {
            form method="post" action=(frame.url("/logout")) {
                input type="hidden" name="csrf" value=(frame.csrf);
                a href=(frame.url("/account")) { (frame.fill(text::LOGGED_IN_AS, &[user, &frame.say(role_name(frame.role))])) }
                @if frame.may_look() && !frame.may_operate() { " · " (frame.say(text::READ_ONLY)) }
                " " button.quiet type="submit" { (frame.say(text::LOG_OUT)) }
            }
        }
        nav aria-label=(frame.say(text::LANGUAGE)) {
            @for (lang, tag, name) in Language::ALL {
                @if lang == frame.language {
                    span aria-current="true" lang=(tag) { (name) }
                } @else {
                    a href=(switch(frame, tag)) lang=(tag) hreflang=(tag) { (name) }
                }
                " "
            }
        }
    }
}

/// The address of this page in another language.
fn switch(frame: &Frame, tag: &str) -> String {
    let and = if frame.query.is_empty() { "" } else { "&" };
    format!("?{}{and}lang={tag}", frame.query)
}

fn notices(frame: &Frame) -> Markup {
    html! {
        @for notice in &frame.notices {
            @match notice {
                Notice::Done(what) => p.notice.good role="status" { (what) },
                Notice::Failed(what) => p.notice.bad role="alert" { (what) },
                Notice::GoesBack(left) => {
                    form.notice.warn method="post" action=(frame.url("/confirm")) {
                        input type="hidden" name="csrf" value=(frame.csrf);
                        span role="status" data-countdown=(left) data-text=(frame.say(text::GOES_BACK)) {
                            (frame.fill(text::GOES_BACK, &[left]))
                        }
                        @if frame.may_operate() { " " button type="submit" { (frame.say(text::KEEP)) } }
                    }
                }
            }
        }
    }
}

/// Makes the page of something that did not work: what, and what to do.
pub fn refused(frame: &Frame, status: u16, message: &str, hint: &str) -> Markup {
    let body = html! {
        @if !hint.is_empty() { p lang="en" { (hint) } }
        p {
            @if status == 401 { a href=(frame.url("/login")) { (frame.say(text::LOG_IN)) } }
            @else { a href=(frame.url("/")) { (frame.say(text::OVERVIEW)) } }
        }
    };
    page(
        frame,
        None,
        frame.say(text::FAILED),
        &html! { span.bad lang="en" { (message) } " " span.dim { (status) } },
        &body,
    )
}
