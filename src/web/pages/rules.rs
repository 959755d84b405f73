//! Who may talk to whom, what is promised, and which ports lead on.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::form::{Input, change_button, hidden, select};
use super::layout::{Section, page};
use super::{table, text};
use crate::model::{AllowRule, ForwardSource, Network, PlaceRef};
use crate::web::view::Frame;

/// Shows the rules. `broken`: what is said of a promise that does not hold, by its place in the file from 0.
pub fn rules(frame: &Frame, network: &Network, broken: &BTreeMap<usize, String>) -> Markup {
    let answer = html! {
        @if network.allow.is_empty() { (frame.say(text::ALLOW_ALL)) } @else { (frame.say(text::ALLOW_REST)) }
        @if !broken.is_empty() { " " span.bad { (frame.say(text::BROKEN)) ": " (broken.len()) } }
    };
    let body = html! {
        (allow(frame, network))
        (expect(frame, network, broken))
        (forward(frame, network))
    };
    page(frame, Some(Section::Rules), frame.say(text::RULES), &answer, &body)
}

fn places(places: &[PlaceRef]) -> String {
    places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn remove(frame: &Frame, kind: &str, index: usize, said: &str) -> Markup {
    let number = index.to_string();
    html! {
        @if frame.may_operate() {
            td { (change_button(frame, &[("do", "remove_rule"), ("kind", kind), ("index", &number)], &frame.fill(text::REMOVE_OF, &[&said]))) }
        }
    }
}

/// The columns, with one for the button where there is one.
fn with_removal<'a>(frame: &Frame, columns: &[&'a str]) -> Vec<&'a str> {
    let removal = frame.may_operate().then(|| frame.say(text::REMOVE));
    columns.iter().copied().chain(removal).collect()
}

fn allow(frame: &Frame, network: &Network) -> Markup {
    let ports = |rule: &AllowRule| {
        if rule.ports.is_empty() {
            return frame.say(text::ALL_PORTS).to_owned();
        }
        rule.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    html! {
        section aria-labelledby="allow" {
            h2 #allow { (frame.say(text::ALLOW)) }
            @if !network.allow.is_empty() {
                (table::listed(table::Label::Heading("allow"), &with_removal(frame, &["#", frame.say(text::FROM), frame.say(text::TO), frame.say(text::PORTS)]), &html! {
                    @for (n, rule) in network.allow.iter().enumerate() {
                        tr {
                            th scope="row" { (n + 1) }
                            td.num { (places(&rule.from)) }
                            td.num { (places(&rule.to)) }
                            td.num { (ports(rule)) }
                            (remove(frame, "allow", n, &format!("allow {}", n + 1)))
                        }
                    }
                }))
            }
            @if frame.may_operate() {
                form.row method="post" action=(frame.url("/review")) {
                    (hidden(frame, &[("do", "allow")]))
                    (Input::text("from", text::FROM, "").hint(text::PLACE_HINT).required().markup(frame, "allow"))
                    (Input::text("to", text::TO, "").required().markup(frame, "allow"))
                    (Input::text("ports", text::PORTS, "").hint(text::PORTS_HINT).markup(frame, "allow"))
                    button type="submit" { (frame.say(text::ADD_RULE)) "…" }
                }
            }
        }
    }
}

fn expect(frame: &Frame, network: &Network, broken: &BTreeMap<usize, String>) -> Markup {
    let verdicts = [("reaches", frame.say(text::REACHES)), ("blocked", frame.say(text::BLOCKED))];
    html! {
        section aria-labelledby="expect" {
            h2 #expect { (frame.say(text::EXPECT)) }
            @if network.expect.is_empty() { p { (frame.say(text::EXPECT_NONE)) } } @else {
                (table::listed(table::Label::Heading("expect"), &with_removal(frame, &["#", frame.say(text::PROMISE), frame.say(text::STATE)]), &html! {
                    @for (n, promise) in network.expect.iter().enumerate() {
                        tr {
                            th scope="row" { (n + 1) }
                            td {
                                a href=(table::trace_url(frame, &promise.from.to_string(), &promise.to.to_string())) {
                                    (promise.from) " → " (promise.to)
                                }
                                @if let Some(port) = promise.port { " " (port) }
                                " " (promise.verdict)
                            }
                            td {
                                @match broken.get(&n) {
                                    Some(why) => { strong.bad { (frame.say(text::BROKEN)) } " " span lang="en" { (why) } }
                                    None => span.good { (frame.say(text::KEPT)) },
                                }
                            }
                            (remove(frame, "expect", n, &format!("expect {}", n + 1)))
                        }
                    }
                }))
            }
            @if frame.may_operate() {
                form.row method="post" action=(frame.url("/review")) {
                    (hidden(frame, &[("do", "expect")]))
                    (Input::text("from", text::FROM, "").required().markup(frame, "expect"))
                    (Input::text("to", text::TO, "").required().markup(frame, "expect"))
                    (Input::text("port", text::PORT, "").hint(text::PORT_HINT).markup(frame, "expect"))
                    (select(frame, "expect", "verdict", text::VERDICT, &verdicts, "reaches"))
                    button type="submit" { (frame.say(text::ADD_PROMISE)) "…" }
                }
            }
        }
    }
}

fn forward(frame: &Frame, network: &Network) -> Markup {
    let sources = ForwardSource::ALL.map(|(word, _)| (word, word));
    html! {
        section aria-labelledby="forward" {
            h2 #forward { (frame.say(text::FORWARD)) }
            @if network.forward.is_empty() { p { (frame.say(text::FORWARD_NONE)) } } @else {
                (table::listed(table::Label::Heading("forward"), &with_removal(frame, &["#", frame.say(text::PORT), frame.say(text::ON_RELAY), frame.say(text::TO), frame.say(text::FROM), frame.say(text::SOURCE)]), &html! {
                    @for (n, forward) in network.forward.iter().enumerate() {
                        tr {
                            th scope="row" { (n + 1) }
                            td.num { (forward.port) }
                            td { @if let Some(on) = &forward.on { (on) } }
                            td.num { (forward.to) }
                            td.num {
                                @if forward.from.is_empty() { (frame.say(text::ANY)) }
                                @else { (forward.from.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")) }
                            }
                            td { (forward.source.as_str()) }
                            (remove(frame, "forward", n, &format!("forward {}", n + 1)))
                        }
                    }
                }))
            }
            @if frame.may_operate() {
                form.row method="post" action=(frame.url("/review")) {
                    (hidden(frame, &[("do", "forward")]))
                    (Input::text("port", text::PORT, "").hint(text::FORWARD_PORT_HINT).required().markup(frame, "forward"))
                    (Input::text("to", text::TO, "").hint(text::FORWARD_TO_HINT).required().markup(frame, "forward"))
                    (Input::text("from", text::FROM, "").hint(text::FORWARD_FROM_HINT).markup(frame, "forward"))
                    (Input::text("on", text::ON_RELAY, "").hint(text::ON_RELAY_HINT).markup(frame, "forward"))
                    (select(frame, "forward", "source", text::SOURCE, &sources, "auto"))
                    button type="submit" { (frame.say(text::ADD_FORWARD)) "…" }
                }
            }
        }
    }
}
