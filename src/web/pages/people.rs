//! Users, sessions and tokens, and what each of them did.

use maud::{Markup, html};

use super::form::{Input, hidden, select};
use super::layout::{Section, page, role_name};
use super::{table, text};
use crate::model::Timestamp;
use crate::web::view::{AuditEntry, Frame, People};

/// Shows who may do what. `token`: one that was made just now, shown once.
pub fn people(frame: &Frame, people: &People, token: Option<&str>) -> Markup {
    let answer = html! { (people.users.len()) " · " (frame.say(text::USERS)) };
    let body = html! {
        @if let Some(token) = token {
            p.notice.good role="status" { (frame.say(text::TOKEN_ONCE)) " " code { (token) } }
        }
        (users(frame, people))
        (sessions(frame, people))
        (tokens(frame, people))
    };
    page(frame, Some(Section::People), frame.say(text::PEOPLE), &answer, &body)
}

/// A button that takes away a user, a session or a token.
fn take_away(frame: &Frame, what: &str, id: &str, label: &str) -> Markup {
    html! {
        form.inline method="post" action=(frame.url("/people")) {
            (hidden(frame, &[("do", what), ("id", id)]))
            button type="submit" { (label) }
        }
    }
}

fn users(frame: &Frame, people: &People) -> Markup {
    let roles = [
        ("owner", frame.say(text::OWNER)),
        ("viewer", frame.say(text::VIEWER)),
        ("operator", frame.say(text::OPERATOR)),
        ("admin", frame.say(text::ADMIN)),
    ];
    html! {
        section aria-labelledby="users" {
            h2 #users { (frame.say(text::USERS)) }
            (table::listed(table::Label::Heading("users"), &[frame.say(text::USER), frame.say(text::ROLE), frame.say(text::SECOND_FACTOR), frame.say(text::DEVICES_COLUMN), frame.say(text::REMOVE)], &html! {
                @for user in &people.users {
                    tr {
                        th scope="row" { (user.name) }
                        td { (frame.say(role_name(user.role))) }
                        td {
                            @if user.by_provider { (frame.say(text::BY_PROVIDER)) }
                            @else { (frame.say(if user.has_second_factor { text::YES } else { text::NO })) }
                        }
                        td.num {
                            @if !user.devices.is_empty() || user.most_devices > 0 {
                                (user.devices.len()) "/" (user.most_devices)
                                @if !user.devices.is_empty() { ": " (user.devices.join(", ")) }
                            }
                        }
                        td {
                            @if frame.user.as_deref() != Some(user.name.as_str()) {
                                (take_away(frame, "remove_user", &user.name, &frame.fill(text::REMOVE_OF, &[&user.name])))
                            }
                        }
                    }
                }
            }))
            form.row method="post" action=(frame.url("/people")) {
                (hidden(frame, &[("do", "add_user")]))
                (Input::text("user", text::USER, "").required().markup(frame, "user"))
                (Input::text("password", text::PASSWORD, "").hint(text::PASSWORD_RULE).required().kind("password", "new-password").markup(frame, "user"))
                (select(frame, "user", "role", text::ROLE, &roles, "viewer"))
                (Input::text("devices", text::MOST_DEVICES, "").kind("number", "off").markup(frame, "user"))
                button type="submit" { (frame.say(text::ADD_USER)) }
            }
            form.row method="post" action=(frame.url("/people")) {
                (hidden(frame, &[("do", "set_user")]))
                (Input::text("user", text::USER, "").required().markup(frame, "set"))
                (select(frame, "set", "role", text::ROLE, &roles, "viewer"))
                (Input::text("devices", text::MOST_DEVICES, "").kind("number", "off").markup(frame, "set"))
                button type="submit" { (frame.say(text::SET_USER)) }
            }
            form.row method="post" action=(frame.url("/people")) {
                (hidden(frame, &[("do", "give_device")]))
                (Input::text("node", text::NODE, "").required().markup(frame, "give"))
                (Input::text("user", text::USER, "").hint(text::GIVE_HINT).markup(frame, "give"))
                button type="submit" { (frame.say(text::GIVE_DEVICE)) }
            }
        }
    }
}

fn sessions(frame: &Frame, people: &People) -> Markup {
    html! {
        section aria-labelledby="sessions" {
            h2 #sessions { (frame.say(text::SESSIONS)) }
            (table::listed(table::Label::Heading("sessions"), &[frame.say(text::USER), frame.say(text::FROM_ADDRESS), frame.say(text::LAST_SEEN), frame.say(text::REVOKE)], &html! {
                @for session in &people.sessions {
                    tr {
                        th scope="row" { (session.user) }
                        td.num { (session.address) }
                        td.num { (Timestamp(session.seen)) }
                        td {
                            @if session.is_own { (frame.say(text::THIS_SESSION)) }
                            @else { (take_away(frame, "revoke_session", &session.id, &frame.fill(text::REVOKE_OF, &[&session.user]))) }
                        }
                    }
                }
            }))
        }
    }
}

fn tokens(frame: &Frame, people: &People) -> Markup {
    let scopes = [("read", "read"), ("operate", "operate")];
    html! {
        section aria-labelledby="tokens" {
            h2 #tokens { (frame.say(text::TOKENS)) }
            @if people.tokens.is_empty() { p { (frame.say(text::NONE)) } } @else {
                (table::listed(table::Label::Heading("tokens"), &[frame.say(text::NAME), frame.say(text::SCOPE), frame.say(text::EXPIRES), frame.say(text::LAST_SEEN), frame.say(text::REVOKE)], &html! {
                    @for token in &people.tokens {
                        tr {
                            th scope="row" { (token.name) }
                            td.num { (token.scope) }
                            td.num { @if let Some(at) = token.expires { (Timestamp(at)) } @else { (frame.say(text::NEVER)) } }
                            td.num { @if let Some(at) = token.seen { (Timestamp(at)) } @else { (frame.say(text::NEVER)) } }
                            td { (take_away(frame, "revoke_token", &token.id, &frame.fill(text::REVOKE_OF, &[&token.name]))) }
                        }
                    }
                }))
            }
            form.row method="post" action=(frame.url("/people")) {
                (hidden(frame, &[("do", "add_token")]))
                (Input::text("name", text::NAME, "").required().markup(frame, "token"))
                (select(frame, "token", "scope", text::SCOPE, &scopes, "read"))
                (Input::text("expires", text::EXPIRES, "").hint(text::EXPIRES_HINT).markup(frame, "token"))
                button type="submit" { (frame.say(text::ADD_TOKEN)) }
            }
        }
    }
}

/// Shows what was done, the newest first.
pub fn audit(frame: &Frame, entries: &[AuditEntry]) -> Markup {
    let answer = html! { @if entries.is_empty() { (frame.say(text::NO_ENTRY)) } };
    let body = html! {
        @if !entries.is_empty() {
            (table::listed(table::Label::Text(frame.say(text::AUDIT)), &[frame.say(text::WHEN), frame.say(text::WHO), frame.say(text::FROM_ADDRESS), frame.say(text::ACTION), frame.say(text::WHAT), frame.say(text::RESULT)], &html! {
                @for entry in entries {
                    tr {
                        td.num { (Timestamp(entry.at)) }
                        td { (entry.who) }
                        td.num { (entry.address) }
                        td { (entry.action) }
                        td { (entry.what) }
                        td { @if entry.is_done { (frame.say(text::DONE)) } @else { span.bad { (frame.say(text::REFUSED)) } } }
                    }
                }
            }))
        }
    };
    page(frame, Some(Section::Audit), frame.say(text::AUDIT), &answer, &body)
}
