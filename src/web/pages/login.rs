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
    /// What came back from the provider is not believed.
    NotBelieved,
    /// The provider is not there.
    NotThere,
    /// Whoever signed in with the provider may nothing here.
    MayNothing,
}

/// Asks for name, password and code. `next`: the path to go on to, one of ours.
pub fn login(frame: &Frame, view: LoginView<'_>, next: &str) -> Markup {
    let name = if let LoginView::Wrong(name) = view { name } else { "" };
    let answer = html! {
        @match view {
            LoginView::Fresh => "",
            LoginView::Wrong(_) => span.bad role="alert" { (frame.say(text::LOGIN_FAILED)) },
            LoginView::Wait(left) => span.bad role="alert" { (frame.fill(text::LOGIN_WAIT, &[&left])) },
            LoginView::NotBelieved => span.bad role="alert" { (frame.say(text::LOGIN_NOT_BELIEVED)) },
            LoginView::NotThere => span.bad role="alert" { (frame.say(text::LOGIN_NOT_THERE)) },
            LoginView::MayNothing => span.bad role="alert" { (frame.say(text::LOGIN_MAY_NOTHING)) },
        }
    };
    let body = html! {
        @if let Some(provider) = &frame.provider {
            // A link and no form: a form may lead to this host alone.
            p { a.button href=(by_provider(frame, next, false)) { (frame.fill(text::LOGIN_BY, &[provider])) } }
        }
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

/// Where one signs in by the provider. `again`: and proves anew who one is.
pub(super) fn by_provider(frame: &Frame, next: &str, again: bool) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("next", next);
    if again {
        query.append_pair("again", "yes");
    }
    frame.url(&format!("/oidc/login?{}", query.finish()))
}

/// Leads on whoever came back from the provider: `next` is one of our paths.
pub fn signed_in(frame: &Frame, next: &str) -> Markup {
    let to = frame.url(next);
    html! {
        (maud::DOCTYPE)
        html lang=(frame.language.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content=(format!("0;url={to}"));
                title { (frame.say(text::SIGNED_IN_TITLE)) " · wgrelay" }
                link rel="stylesheet" href=(frame.url("/assets/page.css"));
            }
            body { main { h1 { (frame.say(text::SIGNED_IN_TITLE)) } p { a href=(to) { (frame.say(text::GO_ON)) } } } }
        }
    }
}

/// Says to whoever signed out that the provider has him signed in still. `there`: where he signs out with it.
pub fn signed_out(frame: &Frame, there: &str) -> Markup {
    let provider = frame.provider.as_deref().unwrap_or_default();
    let answer = html! { (frame.fill(text::SIGNED_OUT_HERE, &[&provider])) };
    let body = html! {
        p { a href=(there) rel="noreferrer" { (frame.say(text::SIGN_OUT_THERE)) } }
        p { a href=(frame.url("/login")) { (frame.say(text::LOG_IN)) } }
    };
    page(frame, None, frame.say(text::SIGNED_OUT), &answer, &body)
}

/// Asks whoever is to have keys to prove who he is: by his password, or with the provider where he proved nothing of late. `back`: the
/// path of this page.
pub(super) fn proof(frame: &Frame, form: &str, hint: Option<text::Text>, back: &str) -> Markup {
    if frame.by_provider {
        return html! {
            @if let Some(hint) = hint { p.hint { (frame.say(hint)) } }
            @if !frame.is_proved { p { a.button href=(by_provider(frame, back, true)) { (frame.say(text::PROVE_AGAIN)) } } }
        };
    }
    let input = Input::text("password", text::YOUR_PASSWORD, "");
    let input = if let Some(hint) = hint { input.hint(hint) } else { input };
    html! { (input.required().kind("password", "current-password").markup(frame, form)) }
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
