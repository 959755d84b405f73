//! All nodes: searched, filtered, sorted and paged here, so that 5,000 are a page of fifty.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::IpAddr;

use maud::{Markup, html};

use super::form::{bytes, select, with_query};
use super::layout::{Section, page};
use super::{table, text};
use crate::status::{Health, PeerStatus, duration};
use crate::web::view::{Frame, List, ListedNode, Status};

/// Nodes of a page.
const PAGE: usize = 50;

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodesQuery {
    /// A piece of a name, address, site, group or public key.
    pub search: String,
    /// `relay`, `spoke`, or empty.
    pub role: String,
    /// `online`, `uncertain`, `down`, `idle`, `never`, `disabled`, `expired`, or empty.
    pub state: String,
    /// A column; empty: the name.
    pub sort: String,
    /// From 1.
    pub page: usize,
}

impl NodesQuery {
    /// Reads what a query says, field by field.
    pub fn read<'f>(field: impl Fn(&str) -> Option<&'f str>) -> Self {
        let text = |name: &str| field(name).unwrap_or_default().trim().to_owned();
        let page = field("page").and_then(|page| page.parse().ok()).unwrap_or(1);
        Self { search: text("q"), role: text("role"), state: text("state"), sort: text("sort"), page }
    }

    fn url(&self, frame: &Frame, sort: &str, page: usize) -> String {
        let page = if page > 1 { page.to_string() } else { String::new() };
        let query = [
            ("q", self.search.as_str()),
            ("role", &self.role),
            ("state", &self.state),
            ("sort", sort),
            ("page", &page),
        ];
        frame.url(&with_query("/nodes", &query))
    }
}

/// A node with what is known of its session.
struct Row<'l> {
    node: &'l ListedNode,
    peer: Option<&'l PeerStatus>,
    is_here: bool,
}

impl Row<'_> {
    fn state(&self) -> &'static str {
        match self.peer.map(|peer| peer.health) {
            _ if !self.node.enabled => "disabled",
            _ if !self.node.is_active => "expired",
            Some(health) => health.as_str(),
            None => "unknown",
        }
    }

    fn fits(&self, query: &NodesQuery, search: &str) -> bool {
        let node = self.node;
        let has = |text: &str| text.to_lowercase().contains(search);
        (query.role.is_empty() || node.role == query.role)
            && (query.state.is_empty() || self.state() == query.state)
            && (search.is_empty()
                || has(&node.name)
                || has(&node.address)
                || node.address6.as_deref().is_some_and(has)
                || node.sites.iter().any(|site| has(site))
                || node.groups.iter().any(|group| has(group))
                || has(&node.public_key))
    }
}

/// The columns that sort, by the word of the query.
const COLUMNS: [(&str, text::Text); 6] = [
    ("name", text::NAME),
    ("role", text::ROLE),
    ("address", text::ADDRESS),
    ("health", text::HEALTH),
    ("handshake", text::HANDSHAKE),
    ("traffic", text::RECEIVED),
];

fn compare(column: &str, a: &Row<'_>, b: &Row<'_>) -> Ordering {
    let by_name = || a.node.name.cmp(&b.node.name);
    let rank = |row: &Row<'_>| match row.peer.map(|peer| peer.health) {
        Some(Health::Down) => 0,
        Some(Health::Uncertain) => 1,
        Some(Health::Online) => 2,
        Some(Health::Idle) => 3,
        Some(Health::Never) => 4,
        None => 5,
    };
    let age = |row: &Row<'_>| row.peer.and_then(|peer| peer.handshake_age).unwrap_or(u64::MAX);
    let traffic = |row: &Row<'_>| row.peer.map_or(0, |peer| peer.rx_bytes.saturating_add(peer.tx_bytes));
    let address = |row: &Row<'_>| row.node.address.parse::<IpAddr>().ok();
    match column {
        "role" => a.node.role.cmp(&b.node.role),
        "address" => address(a).cmp(&address(b)),
        "health" => rank(a).cmp(&rank(b)),
        "handshake" => age(a).cmp(&age(b)),
        "traffic" => traffic(b).cmp(&traffic(a)),
        _ => Ordering::Equal,
    }
    .then_with(by_name)
}

/// Shows the nodes that were asked for.
pub fn nodes(frame: &Frame, list: &List, status: Option<&Status>, query: &NodesQuery) -> Markup {
    let peers: HashMap<&str, &PeerStatus> = status
        .iter()
        .flat_map(|status| &status.peers)
        .filter_map(|peer| Some((peer.name.as_ref()?.as_str(), peer)))
        .collect();
    let here = status.and_then(|status| status.node.as_ref()).map(crate::model::NodeName::as_str);
    let search = query.search.to_lowercase();
    let mut rows: Vec<Row<'_>> = list
        .nodes
        .iter()
        .map(|node| Row {
            node,
            peer: peers.get(node.name.as_str()).copied(),
            is_here: here == Some(node.name.as_str()),
        })
        .filter(|row| row.fits(query, &search))
        .collect();
    rows.sort_by(|a, b| compare(&query.sort, a, b));
    let pages = rows.len().div_ceil(PAGE).max(1);
    let at = query.page.clamp(1, pages);
    let answer = if rows.len() == list.nodes.len() {
        frame.fill(text::NODES_COUNT, &[&list.nodes.len()])
    } else {
        frame.fill(text::NODES_FOUND, &[&rows.len(), &list.nodes.len()])
    };
    let body = html! {
        @if frame.may_operate() { p { a.button href=(frame.url("/new")) { (frame.say(text::ADD_NODE)) } " " a.button href=(frame.url("/links")) { (frame.say(text::ENROLL_LINKS)) } } }
        (asked(frame, query))
        @if rows.is_empty() {
            p { (frame.say(text::NOTHING_FOUND)) }
        } @else {
            (listed(frame, query, &rows[(at - 1) * PAGE..(at * PAGE).min(rows.len())]))
            (paging(frame, query, at, pages))
        }
    };
    page(frame, Some(Section::Nodes), frame.say(text::NODES), &html! { (answer) }, &body)
}

fn asked(frame: &Frame, query: &NodesQuery) -> Markup {
    let any = frame.say(text::ANY);
    let roles = [("", any), ("relay", frame.say(text::RELAY)), ("spoke", frame.say(text::SPOKE))];
    let states = [
        ("", any),
        ("online", frame.say(text::ONLINE)),
        ("uncertain", frame.say(text::UNCERTAIN)),
        ("down", frame.say(text::DOWN)),
        ("idle", frame.say(text::IDLE)),
        ("never", frame.say(text::NEVER)),
        ("unknown", frame.say(text::UNKNOWN)),
        ("disabled", frame.say(text::DISABLED)),
        ("expired", frame.say(text::EXPIRED)),
    ];
    html! {
        form.row role="search" method="get" action=(frame.url("/nodes")) {
            div.field {
                label for="q" { (frame.say(text::SEARCH)) }
                input #q type="search" name="q" value=(query.search) autocapitalize="none" spellcheck="false" aria-describedby="q-hint";
                small #q-hint { (frame.say(text::SEARCH_HINT)) }
            }
            (select(frame, "nodes", "role", text::ROLE, &roles, &query.role))
            (select(frame, "nodes", "state", text::STATE, &states, &query.state))
            @if !query.sort.is_empty() { input type="hidden" name="sort" value=(query.sort); }
            button type="submit" { (frame.say(text::SHOW)) }
        }
    }
}

fn listed(frame: &Frame, query: &NodesQuery, rows: &[Row<'_>]) -> Markup {
    let sorted = if query.sort.is_empty() { "name" } else { &query.sort };
    let head = |column: usize| {
        let (word, label) = COLUMNS[column];
        // Bytes sort from the most down, all else up.
        let order = if word == "traffic" { "descending" } else { "ascending" };
        html! {
            th scope="col" aria-sort=[(sorted == word).then_some(order)] {
                a href=(query.url(frame, word, 1)) aria-label=(frame.fill(text::SORTED_BY, &[&frame.say(label)])) { (frame.say(label)) }
            }
        }
    };
    html! {
        div.scroll tabindex="0" role="group" aria-label=(frame.say(text::NODES)) {
            table {
                thead {
                    tr {
                        (head(0)) (head(1)) (head(2))
                        th scope="col" { (frame.say(text::SITES)) }
                        (head(3)) (head(4)) (head(5))
                        th scope="col" { (frame.say(text::SENT)) }
                    }
                }
                tbody { @for row in rows { (line(frame, row)) } }
            }
        }
    }
}

fn line(frame: &Frame, row: &Row<'_>) -> Markup {
    let node = row.node;
    let role = if node.role == "relay" { text::RELAY } else { text::SPOKE };
    html! {
        tr {
            th scope="row" { a href=(table::node_url(frame, &node.name)) { (node.name) } }
            td { (frame.say(role)) " · " (node.platform) }
            td.num { (node.address) }
            td { (node.sites.join(", ")) }
            td {
                @if !node.enabled { span.dim { (frame.say(text::DISABLED)) } }
                @else if !node.is_active { span.warn { (frame.say(text::EXPIRED)) } }
                @else if row.is_here { (frame.say(text::THIS_HOST)) }
                @else { (table::health(frame, row.peer.map(|peer| peer.health))) }
            }
            td.num { (handshake(frame, row.peer)) }
            td.num { @if let Some(peer) = row.peer { (bytes(peer.rx_bytes)) } }
            td.num { @if let Some(peer) = row.peer { (bytes(peer.tx_bytes)) } }
        }
    }
}

/// How long ago the last handshake was.
pub(super) fn handshake(frame: &Frame, peer: Option<&PeerStatus>) -> String {
    let Some(peer) = peer else { return String::new() };
    match peer.handshake_age {
        Some(age) => frame.fill(text::AGO, &[&duration(age)]),
        None => frame.say(text::NEVER).into(),
    }
}

fn paging(frame: &Frame, query: &NodesQuery, at: usize, pages: usize) -> Markup {
    html! {
        @if pages > 1 {
            nav.paging aria-label=(frame.say(text::PAGES)) {
                @if at > 1 { a rel="prev" href=(query.url(frame, &query.sort, at - 1)) { (frame.say(text::PREVIOUS)) } }
                " " (frame.fill(text::PAGE_OF, &[&at, &pages])) " "
                @if at < pages { a rel="next" href=(query.url(frame, &query.sort, at + 1)) { (frame.say(text::NEXT)) } }
            }
        }
    }
}
