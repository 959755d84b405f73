//! WireGuard for Android: Config.java, Interface.java, Peer.java, InetNetwork.java and InetEndpoint.java of wireguard-android at
//! e7b3a3c11883, and Java's URI behind the last one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    DNS, ENDPOINT, KEEPALIVE, KEY, MTU, NO_PUBLIC_KEY, PORT, PREFIX, Refusal, Refused, UNKNOWN, Why, is_key,
    number, without_comment,
};

#[derive(Clone, Copy, PartialEq)]
enum State {
    Outside,
    /// In a section that was told already: its lines are no further faults.
    Unknown,
    Interface,
    Peer,
}

const BAD_LINE: Why = ("empty-value", "this is not KEY = VALUE with a value");

pub(super) fn refusals(text: &str) -> Vec<Refusal> {
    let mut refused = Refused::default();
    let mut state = State::Outside;
    let (mut saw_interface, mut saw_private_key) = (false, false);
    let (mut included, mut excluded) = (None, None);
    // Where each peer begins, and whether it has a key.
    let mut peers: Vec<(usize, bool)> = Vec::new();
    for (number, line) in lines(text) {
        // What String.trim() takes for white space.
        let content = without_comment(line).trim_matches(|c: char| c <= ' ');
        if content.is_empty() {
            continue;
        }
        if content.starts_with('[') {
            if content.eq_ignore_ascii_case("[Interface]") {
                state = State::Interface;
                saw_interface = true;
            } else if content.eq_ignore_ascii_case("[Peer]") {
                state = State::Peer;
                peers.push((number, false));
            } else {
                state = State::Unknown;
                refused.part(number, line, content, ("unknown-section", "it knows [Interface] and [Peer]"));
            }
            continue;
        }
        if state == State::Unknown {
            continue;
        }
        if state == State::Outside {
            refused.part(number, line, content, ("unknown-section", "a line stands before any section"));
            continue;
        }
        let Some((name, value)) = attribute(content) else {
            refused.part(number, line, content, BAD_LINE);
            continue;
        };
        let key = name.to_ascii_lowercase();
        match (state, key.as_str()) {
            (State::Interface, "privatekey") => saw_private_key = true,
            (State::Interface, "includedapplications") => included = Some(number),
            (State::Interface, "excludedapplications") => excluded = Some(number),
            (State::Peer, "publickey") => {
                if let Some(peer) = peers.last_mut() {
                    peer.1 = true;
                }
            }
            _ => {}
        }
        let why = if state == State::Interface { interface(&key, value) } else { peer(&key, value) };
        if let Some(why) = why {
            refused.part(number, line, if why == UNKNOWN { name } else { value }, why);
        }
    }
    for (line, _) in peers.iter().filter(|(_, has_key)| !has_key) {
        refused.at(*line, NO_PUBLIC_KEY);
    }
    if !saw_interface {
        refused.at(1, ("missing-section", "there is no [Interface]"));
    } else if !saw_private_key {
        refused.at(1, ("missing-private-key", "an interface must have a private key"));
    }
    if let (Some(a), Some(b)) = (included, excluded) {
        let why = ("both-applications", "it takes IncludedApplications or ExcludedApplications, not both");
        refused.at(a.max(b), why);
    }
    refused.0
}

/// Java's readLine: a carriage return alone ends a line, too. Numbers count line feeds.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split('\n').enumerate().flat_map(|(n, line)| line.split('\r').map(move |part| (n + 1, part)))
}

/// `(\w+)\s*=\s*([^\s#][^#]*)` over the whole line.
fn attribute(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\x0b' | '\x0c');
    let (name, value) = (name.trim_end_matches(is_space), value.trim_start_matches(is_space));
    let is_word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (is_word && !value.is_empty()).then_some((name, value))
}

/// `\s*,\s*`, and empty ones at the end are dropped.
fn items(value: &str) -> impl Iterator<Item = &str> {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\x0b' | '\x0c');
    let kept = value.trim_end_matches(|c| c == ',' || is_space(c));
    let none = kept.is_empty() && value.contains(',');
    kept.split(',').map(move |item| item.trim_matches(is_space)).filter(move |_| !none)
}

fn interface(key: &str, value: &str) -> Option<Why> {
    let (good, why) = match key {
        "address" => (items(value).all(is_prefix), PREFIX),
        "dns" => (items(value).all(|item| address(item).is_some() || is_host_name(item)), DNS),
        "excludedapplications" | "includedapplications" => (true, UNKNOWN),
        "listenport" => (is_16_bits(value), PORT),
        "mtu" => (number::int(value).is_some_and(|n| n >= 0), MTU),
        "privatekey" => (is_key(value), KEY),
        _ => (false, UNKNOWN),
    };
    (!good).then_some(why)
}

fn peer(key: &str, value: &str) -> Option<Why> {
    let (good, why) = match key {
        "allowedips" => (items(value).all(is_prefix), PREFIX),
        "endpoint" => (is_endpoint(value), ENDPOINT),
        "persistentkeepalive" => (is_16_bits(value), KEEPALIVE),
        "presharedkey" | "publickey" => (is_key(value), KEY),
        _ => (false, UNKNOWN),
    };
    (!good).then_some(why)
}

fn is_16_bits(text: &str) -> bool {
    number::int(text).is_some_and(|n| (0..=65535).contains(&n))
}

/// Java makes an IPv4 address of one that is mapped into IPv6; a zone may follow.
fn address(text: &str) -> Option<IpAddr> {
    let (bare, zone) = text.split_once('%').map_or((text, None), |(a, z)| (a, Some(z)));
    if zone.is_some_and(|z| z.is_empty() || bare.parse::<Ipv6Addr>().is_err()) {
        return None;
    }
    let ip: IpAddr = bare.parse().ok()?;
    Some(ip.to_canonical())
}

/// A negative length is the longest.
fn is_prefix(text: &str) -> bool {
    let (bare, length) = text.rsplit_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let most = match address(bare) {
        Some(IpAddr::V4(_)) => 32,
        Some(IpAddr::V6(_)) => 128,
        None => return false,
    };
    length.is_none_or(|l| number::int(l).is_some_and(|n| n <= most))
}

fn is_host_name(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.strip_suffix('.').unwrap_or(text).split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// `new URI("wg://" + text)`, of which the host and the port are there: an authority that Java takes for a server's.
fn is_endpoint(text: &str) -> bool {
    if text.contains(['/', '?', '#']) {
        return false;
    }
    let text = text.rsplit_once('@').map_or(text, |(_, server)| server);
    let parts = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').and_then(|(host, port)| Some((host, port.strip_prefix(':')?))),
        None => text.rsplit_once(':'),
    };
    let Some((host, port)) = parts else { return false };
    let is_host = if text.starts_with('[') {
        let (v6, zone) = host.split_once('%').map_or((host, None), |(a, z)| (a, Some(z)));
        let fits =
            |z: &str| !z.is_empty() && z.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        v6.parse::<Ipv6Addr>().is_ok() && zone.is_none_or(fits)
    } else {
        is_uri_host(host)
    };
    is_host && number::unsigned(port).is_some_and(|n| n <= 65535)
}

/// An IPv4 address, or labels of which the last begins with a letter.
fn is_uri_host(text: &str) -> bool {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let last = bare.rsplit('.').next().unwrap_or_default();
    text.parse::<Ipv4Addr>().is_ok()
        || (bare.split('.').all(|l| {
            !l.is_empty()
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }) && last.starts_with(|c: char| c.is_ascii_alphabetic()))
}
