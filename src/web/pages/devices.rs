//! Devices of one's own: what they are, and how another one comes.

use maud::{Markup, html};

use super::form::{Input, bytes, hidden, select};
use super::layout::{Section, page};
use super::login::proof;
use super::{table, text};
use crate::model::{Platform, Timestamp};
use crate::status::duration;
use crate::web::view::{Device, Frame, Waiting};

/// Shows them. `most`: how many there may be; `made`: a link that was made just now, as node and path, shown once.
pub fn devices(
    frame: &Frame,
    all: &[Device],
    waiting: &[Waiting],
    most: u64,
    made: Option<(&str, &str)>,
) -> Markup {
    let answer = html! {
        @if all.is_empty() { (frame.say(text::DEVICES_NONE)) " " }
        (frame.fill(text::DEVICES_OF, &[&all.len(), &most]))
    };
    let body = html! {
        @if let Some((node, path)) = made {
            p.notice.good role="status" {
                (frame.fill(text::LINK_ONCE, &[&node])) " " code data-link-path=(path) { (path) }
            }
        }
        @for device in all { (one(frame, device)) }
        @if !waiting.is_empty() { (links(frame, waiting)) }
        @if u64::try_from(all.len() + waiting.len()).is_ok_and(|has| has < most) { (add(frame)) }
    };
    page(frame, Some(Section::Devices), frame.say(text::DEVICES), &answer, &body)
}

fn one(frame: &Frame, device: &Device) -> Markup {
    let (heading, form) = (format!("device-{}", device.name), format!("file-{}", device.name));
    let url = |what: &str| frame.url(&format!("/devices/{}/{what}", device.name));
    html! {
        section aria-labelledby=(heading) {
            h2 id=(heading) { (device.name) }
            dl {
                dt { (frame.say(text::STATE)) }
                dd {
                    @if !device.enabled { span.bad { (frame.say(text::DISABLED)) } }
                    @else if !device.active { span.bad { (frame.say(text::EXPIRED)) } }
                    @else if let Some(health) = device.health {
                        @let (word, class) = table::health_word(health);
                        span class=(class) { (frame.say(word)) }
                    } @else { span.dim { (frame.say(text::UNKNOWN)) } }
                    @if let Some(age) = device.handshake_age {
                        " · " (frame.say(text::HANDSHAKE)) ": " (frame.fill(text::AGO, &[&duration(age)]))
                    }
                }
                dt { (frame.say(text::PLATFORM)) } dd { (device.platform) }
                dt { (frame.say(text::ADDRESS)) }
                dd.num { (device.address) @if let Some(other) = &device.address6 { ", " (other) } }
                @if let (Some(rx), Some(tx)) = (device.rx_bytes, device.tx_bytes) {
                    dt { (frame.say(text::TRAFFIC)) }
                    dd.num { (frame.say(text::RECEIVED)) " " (bytes(rx)) " · " (frame.say(text::SENT)) " " (bytes(tx)) }
                }
                @if let Some(at) = &device.expires { dt { (frame.say(text::EXPIRES)) } dd.num { (at) } }
            }
            form.row method="post" action=(url("file")) {
                (hidden(frame, &[]))
                (proof(frame, &form, Some(text::KEY_LEAVES), "/devices"))
                @if !frame.by_provider || frame.is_proved { button type="submit" { (frame.say(text::SHOW_FILE)) } }
            }
            form.inline method="post" action=(url("remove")) {
                (hidden(frame, &[]))
                button type="submit" { (frame.fill(text::REMOVE_OF, &[&device.name])) }
            }
        }
    }
}

fn links(frame: &Frame, waiting: &[Waiting]) -> Markup {
    html! {
        section aria-labelledby="links" {
            h2 #links { (frame.say(text::DEVICES_WAITING)) }
            (table::listed(table::Label::Heading("links"), &[frame.say(text::NAME), frame.say(text::PLATFORM), frame.say(text::EXPIRES), frame.say(text::REVOKE)], &html! {
                @for link in waiting {
                    tr {
                        th scope="row" { (link.node) }
                        td { (link.platform) }
                        td.num { (Timestamp(link.expires)) }
                        td {
                            form.inline method="post" action=(frame.url("/devices")) {
                                (hidden(frame, &[("do", "remove_link"), ("name", &link.node)]))
                                button type="submit" { (frame.fill(text::REVOKE_OF, &[&link.node])) }
                            }
                        }
                    }
                }
            }))
        }
    }
}

fn add(frame: &Frame) -> Markup {
    let platforms: Vec<(&str, &str)> = Platform::ALL.iter().map(|(word, _)| (*word, *word)).collect();
    html! {
        section aria-labelledby="add" {
            h2 #add { (frame.say(text::ADD_DEVICE)) }
            p { (frame.say(text::LINKS_WHAT)) }
            form.narrow method="post" action=(frame.url("/devices")) {
                (hidden(frame, &[]))
                (Input::text("name", text::NAME, "").hint(text::DEVICE_NAME_HINT).required().markup(frame, "device"))
                (select(frame, "device", "platform", text::PLATFORM, &platforms, "android"))
                button.main type="submit" name="do" value="link" { (frame.say(text::DEVICE_LINK)) }
                " "
                button type="submit" name="do" value="add" { (frame.say(text::DEVICE_HERE)) }
            }
        }
    }
}
