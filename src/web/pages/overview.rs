//! The first page: who is online, what is blocked, and the network as a picture.

use maud::{Markup, html};

use super::layout::{Section, page};
use super::picture::picture;
use super::{table, text};
use crate::status::{Health, State};
use crate::web::view::{Check, Frame, List, Pair, Status};

/// So many blocked pairs are listed here; the matrix has the rest.
const LISTED: usize = 12;

/// Shows the network as it is. `status`: `None` where the agent does not answer.
pub fn overview(frame: &Frame, status: Option<&Status>, list: &List, check: &Check) -> Markup {
    let body = html! {
        div #live data-live=(frame.url("/live")) data-events=(frame.url("/events")) { (live(frame, status, list, check)) }
    };
    page(frame, Some(Section::Overview), frame.say(text::OVERVIEW), &answer(frame, status, check), &body)
}

/// Says whether a pair is blocked because one of its ends takes no part, which is no news.
fn takes_no_part(pair: &Pair) -> bool {
    pair.reason.as_ref().is_some_and(|reason| matches!(reason.code.as_str(), "disabled" | "expired"))
}

fn answer(frame: &Frame, status: Option<&Status>, check: &Check) -> Markup {
    let online = status.map(|status| {
        if status.peers.is_empty() {
            return frame.say(text::NO_PEERS).to_owned();
        }
        let here = status.peers.iter().filter(|peer| peer.health == Health::Online).count();
        frame.fill(text::ONLINE_OF, &[&here, &status.peers.len()])
    });
    let (blocked, all) = check.counts();
    html! {
        span id="online" { (online.unwrap_or_else(|| frame.say(text::PEERS_UNKNOWN).into())) }
        "; "
        @if all == 0 {
            (frame.say(text::NOTHING_EXAMINED))
        } @else if blocked == 0 {
            (frame.say(text::ALL_REACH))
        } @else {
            span.bad { (frame.fill(text::BLOCKED_OF, &[&blocked, &all])) }
            @let away = check.count(takes_no_part);
            @if away > 0 { (frame.fill(text::AWAY_OF, &[&away])) }
        }
        ". " span.dim { (frame.say(text::ASSUMED)) }
    }
}

/// The part of the page that is sent again when something changes.
pub fn live(frame: &Frame, status: Option<&Status>, list: &List, check: &Check) -> Markup {
    html! {
        (state(frame, status))
        section aria-labelledby="picture" {
            h2 #picture { (frame.say(text::PICTURE)) }
            div.picture tabindex="0" role="group" aria-labelledby="picture" { (picture(frame, status, list, check)) }
        }
        @if !check.problems.is_empty() || status.is_some_and(|status| !status.problems.is_empty()) {
            section aria-labelledby="problems" {
                h2 #problems { (frame.say(text::PROBLEMS)) }
                @if let Some(status) = status { (table::problems(&status.problems.iter().map(Into::into).collect::<Vec<_>>())) }
                (table::problems(&check.problems))
            }
        }
        (drift(frame, status))
        (blocked(frame, check))
    }
}

fn state(frame: &Frame, status: Option<&Status>) -> Markup {
    let Some(status) = status else { return html! { p.warn { (frame.say(text::STATE_UNKNOWN)) } } };
    let (word, class) = match status.state {
        State::Up => (text::STATE_UP, "good"),
        State::Down => (text::STATE_DOWN, "bad"),
        State::Degraded => (text::STATE_DEGRADED, "warn"),
    };
    html! {
        p {
            (frame.say(text::STATE)) ": " strong class=(class) { (frame.say(word)) }
            @if let Some(node) = &status.node {
                " · " (frame.say(text::THIS_HOST)) ": " a href=(table::node_url(frame, node.as_str())) { (node) }
            }
            @if let Some(backend) = status.backend { " · " (backend) }
            " · " a href=(frame.url("/plan")) { (frame.say(text::PLAN)) }
        }
    }
}

fn drift(frame: &Frame, status: Option<&Status>) -> Markup {
    let lines = status.map_or(&[][..], |status| &status.drift);
    html! {
        @if !lines.is_empty() {
            section aria-labelledby="drift" {
                h2 #drift { (frame.say(text::DRIFT)) }
                p.hint { (frame.say(text::DRIFT_HINT)) }
                ul lang="en" {
                    @for drift in lines {
                        li {
                            code { (drift.line.kind) " " (drift.line.target) }
                            @if let Some(from) = &drift.line.from { " − " code { (from) } }
                            @if let Some(to) = &drift.line.to { " + " code { (to) } }
                        }
                    }
                }
            }
        }
    }
}

fn blocked(frame: &Frame, check: &Check) -> Markup {
    let mut blocked: Vec<_> = check.pairs.iter().filter(|pair| pair.verdict != "reaches").collect();
    blocked.sort_by_key(|pair| takes_no_part(pair));
    html! {
        @if !blocked.is_empty() || !check.unlisted.is_empty() {
            section aria-labelledby="blocked" {
                h2 #blocked { (frame.say(text::BLOCKED_PAIRS)) }
                ul.pairs {
                    @for pair in blocked.iter().take(LISTED) {
                        li {
                            a href=(table::trace_url(frame, &pair.from, &pair.to)) { (pair.from) " → " (pair.to) }
                            @if let Some(reason) = &pair.reason { " " code { (reason.code) } }
                        }
                    }
                    @for group in &check.unlisted {
                        li {
                            a href=(table::trace_url(frame, &group.example[0], &group.example[1])) {
                                (frame.fill(text::UNLISTED, &[&group.count, &group.reason, &format!("{} → {}", group.example[0], group.example[1])]))
                            }
                        }
                    }
                }
                @if blocked.len() > LISTED {
                    p { a href=(frame.url("/matrix?show=blocked")) { (frame.say(text::ALL_BLOCKED)) } " (" (blocked.len()) ")" }
                }
            }
        }
    }
}
