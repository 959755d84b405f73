//! One's own account: password, one-time codes, sessions.

use maud::{Markup, PreEscaped, html};

use super::form::{Input, hidden};
use super::layout::page;
use super::{table, text};
use crate::model::Timestamp;
use crate::web::view::{Frame, Session};

/// What the page has to tell besides.
#[derive(Clone, Copy)]
pub enum AccountView<'a> {
    /// Nothing.
    Fresh,
    /// A secret that an app is to take: as a code to be scanned, and as it is typed. It waits for its first one-time code.
    Begun {
        /// The code, drawn.
        svg: &'a str,
        /// The secret, in base32.
        secret: &'a str,
        /// Whether a wrong code was typed.
        is_wrong: bool,
    },
    /// Recovery codes, shown this once.
    Recovery {
        /// Each is good once.
        codes: &'a [String],
    },
}

/// Shows it. `has_codes`: whether one-time codes are on.
pub fn account(frame: &Frame, has_codes: bool, sessions: &[Session], view: &AccountView<'_>) -> Markup {
    let said = if has_codes { text::CODES_ON } else { text::CODES_OFF };
    let body = html! {
        @match view {
            AccountView::Fresh => {}
            AccountView::Begun { svg, secret, is_wrong } => (begun(frame, svg, secret, *is_wrong)),
            AccountView::Recovery { codes } => (recovery(frame, codes)),
        }
        @if !frame.by_provider {
            @if !matches!(view, AccountView::Begun { .. }) { (codes(frame, has_codes)) }
            (password(frame, has_codes))
        }
        @if !sessions.is_empty() { (listed(frame, sessions)) }
    };
    let said = if frame.by_provider { text::IN_BY_PROVIDER } else { said };
    page(frame, None, frame.say(text::ACCOUNT), &html! { (frame.say(said)) }, &body)
}

/// The password, and the code where there is one.
fn proof(frame: &Frame, form: &str, with_code: bool) -> Markup {
    html! {
        (Input::text("password", text::YOUR_PASSWORD, "").required().kind("password", "current-password").markup(frame, form))
        @if with_code {
            (Input::text("code", text::CODE, "").required().kind("text", "one-time-code").markup(frame, form))
        }
    }
}

fn begun(frame: &Frame, svg: &str, secret: &str, is_wrong: bool) -> Markup {
    html! {
        section aria-labelledby="begun" {
            h2 #begun { (frame.say(text::CODES_SCAN)) }
            div.qr role="img" aria-label=(frame.say(text::CODES_QR)) { (PreEscaped(svg)) }
            p { (frame.say(text::CODES_TYPE)) " " code { (secret) } }
            form.narrow method="post" action=(frame.url("/account")) {
                (hidden(frame, &[("do", "codes_on")]))
                @if is_wrong { p.bad role="alert" { (frame.say(text::CODE_WRONG)) } }
                (Input::text("code", text::CODE_FIRST, "").required().kind("text", "one-time-code").markup(frame, "begun"))
                button.main type="submit" { (frame.say(text::CODES_TURN_ON)) }
            }
        }
    }
}

fn recovery(frame: &Frame, codes: &[String]) -> Markup {
    html! {
        section aria-labelledby="recovery" {
            h2 #recovery { (frame.say(text::RECOVERY)) }
            p { (frame.say(text::RECOVERY_ONCE)) }
            pre tabindex="0" aria-labelledby="recovery" { (codes.join("\n")) }
        }
    }
}

fn codes(frame: &Frame, has_codes: bool) -> Markup {
    let form = |what: &str, button: text::Text| {
        html! {
            form.row method="post" action=(frame.url("/account")) {
                (hidden(frame, &[("do", what)]))
                (proof(frame, what, has_codes))
                button type="submit" { (frame.say(button)) }
            }
        }
    };
    html! {
        section aria-labelledby="codes" {
            h2 #codes { (frame.say(text::SECOND_FACTOR)) }
            @if has_codes {
                (form("recovery", text::RECOVERY_ANEW))
                (form("codes_off", text::CODES_TURN_OFF))
            } @else {
                p { (frame.say(text::CODES_WHAT)) }
                (form("codes_begin", text::CODES_BEGIN))
            }
        }
    }
}

fn password(frame: &Frame, has_codes: bool) -> Markup {
    html! {
        section aria-labelledby="password" {
            h2 #password { (frame.say(text::NEW_PASSWORD)) }
            form.narrow method="post" action=(frame.url("/account")) {
                (hidden(frame, &[("do", "password")]))
                (proof(frame, "change", has_codes))
                (Input::text("new", text::NEW_PASSWORD, "").hint(text::PASSWORD_RULE).required().kind("password", "new-password").markup(frame, "change"))
                (Input::text("again", text::PASSWORD_AGAIN, "").required().kind("password", "new-password").markup(frame, "change"))
                button type="submit" { (frame.say(text::CHANGE_PASSWORD)) }
            }
        }
    }
}

fn listed(frame: &Frame, sessions: &[Session]) -> Markup {
    html! {
        section aria-labelledby="sessions" {
            h2 #sessions { (frame.say(text::SESSIONS)) }
            (table::listed(table::Label::Heading("sessions"), &[frame.say(text::FROM_ADDRESS), frame.say(text::LAST_SEEN), frame.say(text::REVOKE)], &html! {
                @for session in sessions {
                    tr {
                        th scope="row" { (session.address) }
                        td.num { (Timestamp(session.seen)) }
                        td {
                            @if session.is_own { (frame.say(text::THIS_SESSION)) } @else {
                                form.inline method="post" action=(frame.url("/account")) {
                                    (hidden(frame, &[("do", "revoke"), ("id", &session.id)]))
                                    button type="submit" { (frame.fill(text::REVOKE_OF, &[&session.address])) }
                                }
                            }
                        }
                    }
                }
            }))
        }
    }
}
