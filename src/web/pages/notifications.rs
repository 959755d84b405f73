//! Who is told when something happens, and the forms that add one of each kind.

use maud::{Markup, html};

use super::form::{Input, hidden};
use super::layout::{Section, page};
use super::text::{self, Text};
use super::{form::or_none, table};
use crate::model::Timestamp;
use crate::web::database::TargetRow;
use crate::web::notify::{Kind, Topic};
use crate::web::view::Frame;

/// Shows them. `made`: one that was added just now, and what signs its messages: shown once.
pub fn notifications(frame: &Frame, targets: &[TargetRow], made: Option<(&str, &str)>) -> Markup {
    let answer = html! { (frame.fill(text::TOLD_COUNT, &[&targets.len()])) };
    let body = html! {
        @if let Some((name, secret)) = made {
            p.notice.good role="status" { (frame.fill(text::SIGNS_ONCE, &[&name])) " " code { (secret) } }
        }
        @if !targets.is_empty() { (listed(frame, targets)) }
        (webhook(frame))
        (ntfy(frame))
        (mail(frame))
    };
    page(frame, Some(Section::Notifications), frame.say(text::NOTIFICATIONS), &answer, &body)
}

const fn kind_name(kind: Kind) -> Text {
    match kind {
        Kind::Webhook => text::WEBHOOK,
        Kind::Ntfy => text::NTFY,
        Kind::Mail => text::MAIL,
    }
}

const fn topic_name(topic: Topic) -> Text {
    match topic {
        Topic::NodeOnline => text::EVENT_ONLINE,
        Topic::NodeOffline => text::EVENT_OFFLINE,
        Topic::Drift => text::EVENT_DRIFT,
        Topic::BrokenPromise => text::EVENT_PROMISE,
        Topic::FailedLogin => text::EVENT_LOGIN,
    }
}

fn listed(frame: &Frame, targets: &[TargetRow]) -> Markup {
    let heads = [text::NAME, text::KIND, text::SENT_TO, text::EVENTS, text::LAST_MESSAGE, text::ACTION]
        .map(|t| frame.say(t));
    table::listed(
        table::Label::Text(frame.say(text::NOTIFICATIONS)),
        &heads,
        &html! {
            @for TargetRow { target, tried, failure } in targets {
                tr {
                    th scope="row" { (target.name) }
                    td { (frame.say(kind_name(target.kind))) }
                    td { (target.url) @if !target.recipient.is_empty() { " " (target.recipient) } }
                    td { (target.topics.iter().map(|topic| frame.say(topic_name(*topic))).collect::<Vec<_>>().join(", ")) }
                    td {
                        @if let Some(at) = tried {
                            span.num { (Timestamp(*at)) } " "
                            @if let Some(failure) = failure { span.bad lang="en" { (failure) } } @else { (frame.say(text::ARRIVED)) }
                        } @else { (or_none(frame, "")) }
                    }
                    td {
                        (button(frame, "test", &target.name, &frame.fill(text::TEST_OF, &[&target.name])))
                        " " (button(frame, "remove", &target.name, &frame.fill(text::REMOVE_OF, &[&target.name])))
                    }
                }
            }
        },
    )
}

fn button(frame: &Frame, what: &str, name: &str, label: &str) -> Markup {
    html! {
        form.inline method="post" action=(frame.url("/notifications")) {
            (hidden(frame, &[("do", what), ("name", name)]))
            button type="submit" { (label) }
        }
    }
}

/// A form of its own for each kind, with the fields that the kind has.
fn added(frame: &Frame, kind: Kind, fields: &Markup) -> Markup {
    let id = kind.as_str();
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (frame.say(kind_name(kind))) }
            form method="post" action=(frame.url("/notifications")) {
                (hidden(frame, &[("do", "add"), ("kind", id)]))
                div.row {
                    (Input::text("name", text::NAME, "").required().markup(frame, id))
                    (fields)
                }
                fieldset {
                    legend { (frame.say(text::EVENTS)) }
                    @for topic in Topic::ALL {
                        @let of = format!("{id}-{}", topic.as_str());
                        label.check for=(of) {
                            input type="checkbox" id=(of) name=(topic.as_str()) value="yes" checked;
                            " " (frame.say(topic_name(topic)))
                        }
                        " "
                    }
                }
                button type="submit" { (frame.say(text::ADD_TARGET)) }
            }
        }
    }
}

fn webhook(frame: &Frame) -> Markup {
    added(
        frame,
        Kind::Webhook,
        &html! {
            (Input::text("url", text::TARGET_URL, "").hint(text::WEBHOOK_HINT).required().kind("url", "off").markup(frame, "webhook"))
        },
    )
}

fn ntfy(frame: &Frame) -> Markup {
    added(
        frame,
        Kind::Ntfy,
        &html! {
            (Input::text("url", text::TARGET_URL, "").hint(text::NTFY_HINT).required().kind("url", "off").markup(frame, "ntfy"))
            (Input::text("secret", text::NTFY_TOKEN, "").hint(text::SECRET_HINT).kind("password", "new-password").markup(frame, "ntfy"))
        },
    )
}

fn mail(frame: &Frame) -> Markup {
    added(
        frame,
        Kind::Mail,
        &html! {
            (Input::text("url", text::MAIL_SERVER, "").hint(text::MAIL_HINT).required().kind("url", "off").markup(frame, "mail"))
            (Input::text("sender", text::MAIL_SENDER, "").required().kind("email", "off").markup(frame, "mail"))
            (Input::text("recipient", text::MAIL_RECIPIENT, "").required().kind("email", "off").markup(frame, "mail"))
            (Input::text("account", text::MAIL_ACCOUNT, "").markup(frame, "mail"))
            (Input::text("secret", text::PASSWORD, "").hint(text::SECRET_HINT).kind("password", "new-password").markup(frame, "mail"))
        },
    )
}
