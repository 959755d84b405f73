//! One node: its session, what it reaches and who reaches it, its changes, and its file.

use maud::{Markup, PreEscaped, html};

use super::form::{Input, bytes, change_button, hidden, or_none};
use super::layout::{Section, page};
use super::login::proof;
use super::nodes::handshake;
use super::{table, text};
use crate::status::{PeerStatus, Status};
use crate::web::view::{Check, Frame, Pair, Shown};

/// So many pairs are shown each way; the matrix has the rest.
const LISTED: usize = 200;

/// Shows a node. `status`: `None` where the agent does not answer; `history`: what [`super::node_history`] makes.
pub fn node(frame: &Frame, node: &Shown, status: Option<&Status>, check: &Check, history: &Markup) -> Markup {
    let (peer, is_here) = seen(&node.name, status);
    let url = |what: &str| format!("{}/{what}", table::node_url(frame, &node.name));
    let role = if node.role == "relay" { text::RELAY } else { text::SPOKE };
    let answer = html! {
        (frame.say(role)) " · " (node.platform) " · " (node.address) " · "
        @if !node.enabled { span.dim { (frame.say(text::DISABLED)) } }
        @else if !node.active { span.warn { (frame.say(text::EXPIRED)) } }
        @else if is_here { (frame.say(text::THIS_HOST)) }
        @else { (table::health(frame, peer.map(|peer| peer.health))) }
    };
    let body = html! {
        div.columns {
            div data-live=(url("live")) data-events=(url("events")) { (session(frame, peer, is_here)) }
            (facts(frame, node))
        }
        (history)
        (reach(frame, node, check))
        @if frame.may_operate() {
            (configuration(frame, node))
            (changes(frame, node))
        }
    };
    page(frame, Some(Section::Nodes), &node.name, &answer, &body)
}

/// The part of the page that is sent again when something changes.
pub fn node_live(frame: &Frame, node: &str, status: Option<&Status>) -> Markup {
    let (peer, is_here) = seen(node, status);
    session(frame, peer, is_here)
}

/// Returns what is known of a node's session, and whether it is this host.
fn seen<'s>(node: &str, status: Option<&'s Status>) -> (Option<&'s PeerStatus>, bool) {
    let Some(status) = status else { return (None, false) };
    let is_it =
        |name: &Option<crate::model::NodeName>| name.as_ref().is_some_and(|name| name.as_str() == node);
    (status.peers.iter().find(|peer| is_it(&peer.name)), is_it(&status.node))
}

fn session(frame: &Frame, peer: Option<&PeerStatus>, is_here: bool) -> Markup {
    html! {
        section aria-labelledby="session" {
            h2 #session { (frame.say(text::SESSION)) }
            @if let Some(peer) = peer {
                dl {
                    dt { (frame.say(text::HEALTH)) } dd { (table::health(frame, Some(peer.health))) }
                    dt { (frame.say(text::ENDPOINT)) }
                    dd.num { @if let Some(endpoint) = peer.endpoint { (endpoint) } @else { (or_none(frame, "")) } }
                    dt { (frame.say(text::HANDSHAKE)) } dd.num { (handshake(frame, Some(peer))) }
                    dt { (frame.say(text::RECEIVED)) } dd.num { (bytes(peer.rx_bytes)) }
                    dt { (frame.say(text::SENT)) } dd.num { (bytes(peer.tx_bytes)) }
                }
            } @else if is_here {
                p { (frame.say(text::THIS_HOST)) }
            } @else {
                p { (frame.say(text::NO_SESSION)) }
            }
        }
    }
}

fn facts(frame: &Frame, node: &Shown) -> Markup {
    let sites: Vec<String> = node
        .sites
        .iter()
        .map(|site| {
            let seen = site.alias.as_ref().map_or_else(String::new, |alias| format!(" as {alias}"));
            match &site.interface {
                Some(interface) => format!("{}{seen} ({interface})", site.subnet),
                None => format!("{}{seen}", site.subnet),
            }
        })
        .collect();
    html! {
        section aria-labelledby="facts" {
            h2 #facts { (frame.say(text::CONFIGURATION)) }
            dl {
                dt { (frame.say(text::PUBLIC_KEY)) } dd.num { (node.public_key) }
                @if let Some(endpoint) = &node.endpoint { dt { (frame.say(text::ENDPOINT)) } dd.num { (endpoint) } }
                @if let Some(address) = &node.address6 { dt { "IPv6" } dd.num { (address) } }
                dt { (frame.say(text::SITES)) } dd.num { (or_none(frame, &sites.join(", "))) }
                dt { (frame.say(text::GROUPS)) } dd { (or_none(frame, &node.groups.join(", "))) }
                dt { (frame.say(text::ROUTES)) } dd.num { (node.routes.join(", ")) }
                @if !node.dns.is_empty() { dt { (frame.say(text::DNS)) } dd.num { (node.dns.join(", ")) } }
                dt { (frame.say(text::MTU)) } dd.num { (node.mtu) }
                @if let Some(seconds) = node.keepalive { dt { (frame.say(text::KEEPALIVE)) } dd.num { (seconds) " s" } }
                dt { (frame.say(text::EXPIRES)) }
                dd.num { @if let Some(at) = &node.expires { (at) } @else { (frame.say(text::NEVER)) } }
                @for peer in node.allowed_ips.iter().take(8) {
                    dt { (frame.say(text::ALLOWED_IPS)) " · " (peer.peer) } dd.num { (peer.allowed_ips.join(", ")) }
                }
                @for rule in node.rules.iter().take(20) { dt { (frame.say(text::ALLOW)) } dd.num { (rule) } }
            }
        }
    }
}

/// The pairs of a node and of its sites, with those of its class: these have the same answers.
fn reach(frame: &Frame, node: &Shown, check: &Check) -> Markup {
    let own = |place: &str| {
        let class = check.classes.iter().find(|class| class.iter().any(|member| member == place));
        class.and_then(|class| class.first()).map_or_else(|| place.to_owned(), Clone::clone)
    };
    let mut places = vec![own(&node.name)];
    places.extend(node.sites.iter().map(|site| own(site.alias.as_ref().unwrap_or(&site.subnet))));
    let is_alone = |place: &str| {
        check.classes.iter().any(|class| class.len() == 1 && class.first().is_some_and(|p| p == place))
    };
    let from: Vec<&Pair> = check.pairs.iter().filter(|pair| places.contains(&pair.from)).collect();
    let to: Vec<&Pair> = check.pairs.iter().filter(|pair| places.contains(&pair.to)).collect();
    // Of a class, the first member stands here for the node: then the node's own name is what people want to follow.
    let shown = |place: &str| {
        if place == places[0] && !is_alone(place) { node.name.clone() } else { place.to_owned() }
    };
    html! {
        div.columns {
            (pairs(frame, ("reaches", text::REACHES_WHAT), &from, &shown, check))
            (pairs(frame, ("reached", text::REACHED_BY), &to, &shown, check))
        }
    }
}

fn pairs(
    frame: &Frame,
    (id, title): (&str, text::Text),
    pairs: &[&Pair],
    shown: &dyn Fn(&str) -> String,
    check: &Check,
) -> Markup {
    let mut sorted: Vec<&&Pair> = pairs.iter().collect();
    sorted.sort_by_key(|pair| pair.verdict == "reaches");
    html! {
        section aria-labelledby=(id) {
            h2 #(id) { (frame.say(title)) }
            @if pairs.is_empty() {
                p { (frame.say(text::NOTHING_EXAMINED)) }
            } @else {
                (table::listed(table::Label::Heading(id), &[frame.say(text::FROM), frame.say(text::TO), frame.say(text::VERDICT), frame.say(text::PORTS_OR_REASON)], &html! {
                    @for pair in sorted.into_iter().take(LISTED) {
                        @let reaches = pair.verdict == "reaches";
                        @let (from, to) = (shown(&pair.from), shown(&pair.to));
                        tr {
                            td { (from) (alike(check, &pair.from, &from)) }
                            td { (to) (alike(check, &pair.to, &to)) }
                            td {
                                (table::verdict(frame, reaches)) " "
                                a href=(table::trace_url(frame, &from, &to))
                                    aria-label=(format!("{}: {from} → {to}", frame.say(if reaches { text::TRACE } else { text::WHY_NOT }))) {
                                    @if reaches { (frame.say(text::TRACE)) } @else { (frame.say(text::WHY_NOT)) }
                                }
                            }
                            td.num {
                                @if reaches { (table::ports(frame, &pair.ports)) }
                                @else if let Some(reason) = &pair.reason { code { (reason.code) } }
                            }
                        }
                    }
                }))
                @if pairs.len() > LISTED { p { a href=(frame.url("/matrix")) { (frame.say(text::MATRIX)) } } }
            }
        }
    }
}

/// How many more places have the same answers as one that is shown for them.
fn alike(check: &Check, place: &str, shown: &str) -> Markup {
    let class =
        check.classes.iter().find(|class| class.len() > 1 && class.first().is_some_and(|p| p == place));
    html! { @if let Some(class) = class { @if shown == place { " " span.dim { "+" (class.len() - 1) } } } }
}

fn configuration(frame: &Frame, node: &Shown) -> Markup {
    html! {
        section aria-labelledby="file" {
            h2 #file { (frame.say(text::QR_CODE)) }
            p.hint { (frame.say(text::KEY_LEAVES)) }
            form.row method="post" action=(format!("{}/file", table::node_url(frame, &node.name))) {
                (hidden(frame, &[]))
                (proof(frame, "file", None, &format!("/nodes/{}", node.name)))
                @if !frame.by_provider || frame.is_proved { button type="submit" { (frame.say(text::SHOW_FILE)) } }
            }
        }
    }
}

fn changes(frame: &Frame, node: &Shown) -> Markup {
    let name = node.name.as_str();
    html! {
        section aria-labelledby="changes" {
            h2 #changes { (frame.say(text::CHANGES)) }
            p.hint { (frame.say(text::EACH_IS_SHOWN)) }
            div.row {
                a.button href=(format!("{}/edit", table::node_url(frame, name))) { (frame.say(text::EDIT)) }
                @if node.enabled {
                    (change_button(frame, &[("do", "disable"), ("name", name)], frame.say(text::DISABLE)))
                } @else {
                    (change_button(frame, &[("do", "enable"), ("name", name)], frame.say(text::ENABLE)))
                }
                (change_button(frame, &[("do", "rotate"), ("name", name)], frame.say(text::ROTATE)))
                (change_button(frame, &[("do", "remove"), ("name", name)], frame.say(text::REMOVE)))
            }
            form.row method="post" action=(frame.url("/review")) {
                (hidden(frame, &[("do", "rename"), ("name", name)]))
                (Input::text("to", text::NEW_NAME, "").required().markup(frame, "rename"))
                button type="submit" { (frame.say(text::RENAME)) "…" }
            }
            form.row method="post" action=(frame.url("/review")) {
                (hidden(frame, &[("do", "set"), ("name", name), ("key", "expires")]))
                (Input::text("value", text::EXPIRES, node.expires.as_deref().unwrap_or_default()).hint(text::EXPIRES_HINT).markup(frame, "expires"))
                button type="submit" { (frame.say(text::EXPIRES)) "…" }
            }
        }
    }
}

/// A node's file as it leaves: its text, and its QR code as SVG.
pub struct NodeFile<'a> {
    /// The node.
    pub name: &'a str,
    /// The file's name.
    pub file_name: &'a str,
    /// The configuration, private key included.
    pub conf: &'a str,
    /// The code, drawn; an error says why there is none.
    pub qr: Result<&'a str, &'a str>,
    /// The file in the way of `data:`, to be saved without another request.
    pub href: &'a str,
}

/// Shows a node's file, after its owner said once more who he is. The answer must not be stored.
pub fn node_file(frame: &Frame, file: &NodeFile<'_>) -> Markup {
    let body = html! {
        div.columns {
            section aria-labelledby="qr" {
                h2 #qr { (frame.say(text::QR_CODE)) }
                @match file.qr {
                    Ok(svg) => div.qr role="img" aria-label=(frame.fill(text::QR_LABEL, &[&file.name])) { (PreEscaped(svg)) },
                    Err(why) => p.warn lang="en" { (frame.fill(text::QR_NONE, &[&why])) },
                }
            }
            section aria-labelledby="conf" {
                h2 #conf { (file.file_name) }
                pre.conf tabindex="0" aria-labelledby="conf" { (file.conf) }
                p { a.button download=(file.file_name) href=(file.href) { (frame.fill(text::DOWNLOAD, &[&file.file_name])) } }
            }
        }
        p {
            @let back = if frame.may_look() { table::node_url(frame, file.name) } else { frame.url("/devices") };
            a href=(back) { (frame.say(text::BACK)) }
        }
    };
    page(
        frame,
        Some(if frame.may_look() { Section::Nodes } else { Section::Devices }),
        &frame.fill(text::FILE_OF, &[&file.name]),
        &html! { (frame.say(text::IS_SECRET)) },
        &body,
    )
}
