//! WireGuard for macOS and iOS: TunnelConfiguration+WgQuickConfig.swift, IPAddressRange.swift and Endpoint.swift of
//! wireguard-apple at 2fec12a6e1f6.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{
    DNS, ENDPOINT, KEEPALIVE, KEY, MTU, NO_PUBLIC_KEY, PORT, PREFIX, Refusal, Refused, SYNTAX, UNKNOWN, Why,
    is_key, number, without_comment,
};

#[derive(Clone, Copy, PartialEq)]
enum State {
    Outside,
    Interface,
    Peer,
}

const INTERFACE: [&str; 5] = ["privatekey", "listenport", "address", "dns", "mtu"];
const PEER: [&str; 5] = ["publickey", "presharedkey", "allowedips", "endpoint", "persistentkeepalive"];
const LISTS: [&str; 3] = ["address", "allowedips", "dns"];

/// The lines of a key in one section: their numbers, whole and the values in them.
type Values<'t> = BTreeMap<String, Vec<(usize, &'t str, &'t str)>>;

pub(super) fn refusals(text: &str) -> Vec<Refusal> {
    let mut out = Reader::default();
    let lines: Vec<(usize, &str)> = lines(text).collect();
    for (at, (number, line)) in lines.iter().enumerate() {
        out.line(*number, line);
        let header = header(line);
        // A header in the last line ends the section before it and is itself never looked at.
        if at + 1 == lines.len() || header.is_some() {
            out.end_of_section();
        }
        if let Some(state) = header {
            out.state = state;
            out.values.clear();
            out.start = *number;
        }
    }
    if !out.has_interface {
        out.refused.at(1, ("missing-section", "there is no [Interface] with a private key"));
    }
    out.refused.0
}

/// Swift's lines end at whatever is a line break anywhere; empty ones are none. Numbers count line feeds.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let breaks = |c| matches!(c, '\r' | '\x0b' | '\x0c' | '\u{85}' | '\u{2028}' | '\u{2029}');
    text.split('\n')
        .enumerate()
        .flat_map(move |(n, line)| line.split(breaks).map(move |part| (n + 1, part)))
        .filter(|(_, line)| !line.is_empty())
}

fn header(line: &str) -> Option<State> {
    match without_comment(line).trim().to_lowercase().as_str() {
        "[interface]" => Some(State::Interface),
        "[peer]" => Some(State::Peer),
        _ => None,
    }
}

struct Reader<'t> {
    state: State,
    values: Values<'t>,
    /// Where the section begins.
    start: usize,
    has_interface: bool,
    peers: BTreeSet<&'t str>,
    refused: Refused,
}

impl Default for Reader<'_> {
    fn default() -> Self {
        Self {
            state: State::Outside,
            values: Values::new(),
            start: 1,
            has_interface: false,
            peers: BTreeSet::new(),
            refused: Refused::default(),
        }
    }
}

impl<'t> Reader<'t> {
    fn line(&mut self, number: usize, line: &'t str) {
        let trimmed = without_comment(line).trim();
        if trimmed.is_empty() {
            return;
        }
        let Some((name, value)) = trimmed.split_once('=') else {
            if header(line).is_none() {
                self.refused.part(number, line, trimmed, SYNTAX);
            }
            return;
        };
        let (name, value) = (name.trim(), value.trim());
        let key = name.to_lowercase();
        let known = match self.state {
            State::Interface => INTERFACE.contains(&key.as_str()),
            State::Peer => PEER.contains(&key.as_str()),
            // Before any section a line is read and forgotten.
            State::Outside => true,
        };
        let lines = self.values.entry(key.clone()).or_default();
        if !known {
            self.refused.part(number, line, name, UNKNOWN);
        } else if !lines.is_empty() && !LISTS.contains(&key.as_str()) {
            self.refused.part(number, line, name, ("repeated-key", "it takes this key once in a section"));
        }
        lines.push((number, line, value));
    }

    fn end_of_section(&mut self) {
        let values = std::mem::take(&mut self.values);
        match self.state {
            State::Outside => {}
            State::Interface => {
                if !values.contains_key("privatekey") {
                    self.refused
                        .at(self.start, ("missing-private-key", "an interface must have a private key"));
                }
                if self.has_interface {
                    self.refused.at(self.start, ("second-interface", "it takes one [Interface]"));
                }
                self.has_interface = true;
            }
            State::Peer => match values.get("publickey").and_then(|lines| lines.first()) {
                None => self.refused.at(self.start, NO_PUBLIC_KEY),
                Some((_, _, key)) if !self.peers.insert(key) => {
                    self.refused.at(self.start, ("duplicate-peer", "it takes each PublicKey once"));
                }
                Some(_) => {}
            },
        }
        for (key, lines) in &values {
            for (number, line, value) in lines {
                if let Some(why) = self.state.why(key, value) {
                    self.refused.part(*number, line, value, why);
                }
            }
        }
    }
}

impl State {
    fn why(self, key: &str, value: &str) -> Option<Why> {
        let (good, why) = match (self, key) {
            (Self::Outside, _) => (true, SYNTAX),
            (_, "privatekey" | "publickey" | "presharedkey") => (is_key(value), KEY),
            (_, "listenport") => (number::swift(value, 65535).is_some(), PORT),
            (_, "mtu") => (number::swift(value, 65535).is_some(), MTU),
            (_, "persistentkeepalive") => (number::swift(value, 65535).is_some(), KEEPALIVE),
            (_, "address" | "allowedips") => (
                // Empty parts vanish; one of white space does not.
                value.split(',').filter(|item| !item.is_empty()).all(|item| is_prefix(item.trim())),
                PREFIX,
            ),
            // Whatever is no address is a search domain.
            (_, "dns") => (true, DNS),
            (_, "endpoint") => (is_endpoint(value), ENDPOINT),
            _ => (true, SYNTAX),
        };
        (!good).then_some(why)
    }
}

/// A length that is too long is cut to the longest.
fn is_prefix(text: &str) -> bool {
    let (address, length) = text.rsplit_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    address.parse::<IpAddr>().is_ok() && length.is_none_or(|l| number::swift(l, 255).is_some())
}

fn is_endpoint(text: &str) -> bool {
    let parts = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').and_then(|(host, port)| Some((host, port.strip_prefix(':')?))),
        None => text.split_once(':'),
    };
    let Some((host, port)) = parts else { return false };
    let fits = |c: char| c.is_ascii_alphanumeric() || "!$&'()*+,-.:;=[]_~".contains(c);
    number::swift(port, 65535).is_some() && host.chars().all(fits)
}
