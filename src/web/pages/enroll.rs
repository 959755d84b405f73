//! Links by which devices enrol, and the page that a device opens with one: its key is made there, by script, and stays there.

use maud::{Markup, html};

use super::form::{Input, hidden, select};
use super::layout::{Section, page};
use super::{table, text};
use crate::model::{Platform, Timestamp};
use crate::web::database::Enrollment;
use crate::web::view::Frame;

/// Shows the links that are good. `made`: one that was made just now, as node and path, shown once; script puts the page's own address before it.
pub fn links(frame: &Frame, all: &[Enrollment], made: Option<(&str, &str)>) -> Markup {
    let platforms: Vec<(&str, &str)> = Platform::ALL.iter().map(|(word, _)| (*word, *word)).collect();
    let body = html! {
        @if let Some((node, path)) = made {
            p.notice.good role="status" {
                (frame.fill(text::LINK_ONCE, &[&node])) " " code data-link-path=(path) { (path) }
            }
        }
        @if !all.is_empty() {
            section aria-labelledby="links" {
                h2 #links { (frame.say(text::LINKS_GOOD)) }
                (table::listed(table::Label::Heading("links"), &[frame.say(text::NAME), frame.say(text::PLATFORM), frame.say(text::WHO), frame.say(text::EXPIRES), frame.say(text::REVOKE)], &html! {
                    @for link in all {
                        tr {
                            th scope="row" { (link.node) }
                            td { (link.platform) }
                            td { (link.maker) }
                            td.num { (Timestamp(link.expires)) }
                            td {
                                form.inline method="post" action=(frame.url("/links")) {
                                    (hidden(frame, &[("do", "remove"), ("name", &link.node)]))
                                    button type="submit" { (frame.fill(text::REVOKE_OF, &[&link.node])) }
                                }
                            }
                        }
                    }
                }))
            }
        }
        form.narrow method="post" action=(frame.url("/links")) {
            (hidden(frame, &[("do", "add")]))
            (Input::text("name", text::NAME, "").required().markup(frame, "link"))
            (select(frame, "link", "platform", text::PLATFORM, &platforms, "android"))
            (Input::text("hours", text::HOURS, "24").hint(text::HOURS_HINT).kind("number", "off").markup(frame, "link"))
            button.main type="submit" { (frame.say(text::MAKE_LINK)) }
        }
    };
    page(
        frame,
        Some(Section::Nodes),
        frame.say(text::ENROLL_LINKS),
        &html! { (frame.say(text::LINKS_WHAT)) },
        &body,
    )
}

/// Enrols the device that opens it.
pub fn enroll(frame: &Frame, link: &Enrollment, secret: &str) -> Markup {
    let body = html! {
        section aria-labelledby="here" data-enroll=(frame.url("/api/v1/enroll")) data-link=(secret)
            data-file=(format!("{}.conf", link.node)) data-insecure=(frame.say(text::ENROLL_INSECURE))
            data-unable=(frame.say(text::ENROLL_UNABLE)) data-working=(frame.say(text::ENROLL_WORKING))
            data-applied=(frame.say(text::ENROLLED)) data-waiting=(frame.say(text::ENROLLED_WAITS))
            data-download=(frame.fill(text::DOWNLOAD, &[&format!("{}.conf", link.node)]))
            data-make=(frame.say(text::ENROLL_MAKE)) data-code=(frame.say(text::ENROLL_CODE))
            data-failed=(frame.say(text::FAILED)) data-qr=(frame.fill(text::QR_LABEL, &[&link.node])) {
            h2 #here { (frame.say(text::ENROLL_HERE)) }
            p role="status" data-said="" { (frame.say(text::ENROLL_SCRIPT)) }
        }
        section aria-labelledby="command" {
            h2 #command { (frame.say(text::ENROLL_COMMAND)) }
            pre tabindex="0" aria-labelledby="command" lang="en" { "wgrelay enroll URL" }
        }
        section aria-labelledby="own" {
            h2 #own { (frame.say(text::ENROLL_OWN)) }
            form.narrow method="post" action=(frame.url("/enroll")) {
                (hidden(frame, &[("link", secret)]))
                (Input::text("public_key", text::PUBLIC_KEY, "").hint(text::ENROLL_OWN_HINT).required().markup(frame, "enroll"))
                button type="submit" { (frame.say(text::ENROLL)) }
            }
        }
        script src=(frame.url("/assets/qr.js")) defer {}
        script src=(frame.url("/assets/enroll.js")) defer {}
    };
    let title = frame.fill(text::ENROLL_TITLE, &[&link.node, &frame.network]);
    let answer = html! { (frame.fill(text::ENROLL_UNTIL, &[&Timestamp(link.expires)])) };
    page(frame, None, &title, &answer, &body)
}

/// A device that enrolled with a key of its own.
pub struct Enrolled<'a> {
    /// The node.
    pub node: &'a str,
    /// Its file, without the private key.
    pub file: &'a str,
    /// Whether this host takes it in already.
    pub is_applied: bool,
}

/// Shows the file, this once.
pub fn enrolled(frame: &Frame, done: &Enrolled<'_>) -> Markup {
    let said = if done.is_applied { text::ENROLLED } else { text::ENROLLED_WAITS };
    let body = html! {
        p { (frame.say(text::ENROLL_FILL_IN)) }
        pre tabindex="0" aria-label=(frame.fill(text::FILE_OF, &[&done.node])) lang="en" { (done.file) }
    };
    page(frame, None, &frame.fill(text::FILE_OF, &[&done.node]), &html! { (frame.say(said)) }, &body)
}
