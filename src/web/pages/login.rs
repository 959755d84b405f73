//! Who one is, and the first administrator.

use maud::{Markup, html};

use super::form::{Input, hidden};
use super::layout::page;
use super::text;
use crate::web::view::Frame;

/// What the page of logging in has to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LoginView<'a> {
    /// Nothing yet.
    #[default]
    Fresh,
    /// It was wrong; the name as it was typed.
    Wrong(&'a str),
    /// Too many attempts: so many seconds to wait.
    Wait(u64),
}

/// Asks for name, password and code. `next`: the path to go on to, one of ours.
pub fn login(frame: &Frame, view: LoginView<'_>, next: &str) -> Markup {
    let name = if let LoginView::Wrong(name) = view { name } else { "" };
    let answer = html! {
        @match view {
            LoginView::Fresh => "",
            LoginView::Wrong(_) => span.bad role="alert" { (frame.say(text::LOGIN_FAILED)) },
            LoginView::Wait(left) => span.bad role="alert" { (frame.fill(text::LOGIN_WAIT, &[&left])) },
        }
    };
    let body = html! {
        form.narrow method="post" action=(frame.url("/login")) {
            (hidden(frame, &[("next", next)]))
            (Input::text("user", text::USER, name).required().kind("text", "username").markup(frame, "login"))
            (Input::text("password", text::PASSWORD, "").required().kind("password", "current-password").markup(frame, "login"))
            (Input::text("code", text::CODE, "").hint(text::CODE_HINT).kind("text", "one-time-code").markup(frame, "login"))
            button.main type="submit" { (frame.say(text::LOG_IN)) }
        }
    };
    // A stranger is not told the network's name.
    let place = if frame.network.is_empty() { "wgrelay" } else { &frame.network };
    page(frame, None, &frame.fill(text::LOGIN_TITLE, &[&place]), &answer, &body)
}

/// Makes the first administrator, by the link of `web init`.
pub fn first_admin(frame: &Frame, link: &str, wrong: Option<&str>) -> Markup {
    let answer = html! {
        @match wrong {
            None => (frame.say(text::FIRST_ADMIN_HINT)),
            Some(why) => span.bad role="alert" lang="en" { (why) },
        }
    };
    let body = html! {
        form.narrow method="post" action=(frame.url("/init")) {
            (hidden(frame, &[("link", link)]))
            (Input::text("user", text::USER, "").required().kind("text", "username").markup(frame, "init"))
            (Input::text("password", text::PASSWORD, "").hint(text::PASSWORD_RULE).required().kind("password", "new-password").markup(frame, "init"))
            (Input::text("again", text::PASSWORD_AGAIN, "").required().kind("password", "new-password").markup(frame, "init"))
            button.main type="submit" { (frame.say(text::CREATE)) }
        }
    };
    page(frame, None, frame.say(text::FIRST_ADMIN), &answer, &body)
}
