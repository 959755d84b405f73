//! WireGuard for Windows: conf/parser.go of wireguard-windows at 5a7d225dcbd1, and Go's net/netip behind it.

use std::net::{IpAddr, Ipv6Addr};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::{
    DNS, ENDPOINT, KEEPALIVE, KEY, MTU, NO_PUBLIC_KEY, NO_VALUE, OUTSIDE, PORT, PREFIX, Refusal, Refused,
    SYNTAX, TABLE, UNKNOWN, Why, number, without_comment,
};

/// Go's decoder does not mind bits behind the last byte.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

#[derive(Clone, Copy, PartialEq)]
enum State {
    Outside,
    Interface,
    Peer,
}

pub(super) fn refusals(text: &str) -> Vec<Refusal> {
    let mut refused = Refused::default();
    let mut state = State::Outside;
    let mut saw_private_key = false;
    // Where each peer begins, and whether its key is one that counts: all zeros is none.
    let mut peers: Vec<(usize, bool)> = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let number = index + 1;
        let stripped = without_comment(line).trim();
        if stripped.is_empty() {
            continue;
        }
        let (name, value) = match stripped.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value)),
            None => (stripped, None),
        };
        let key = name.to_lowercase();
        match (key.as_str(), value) {
            ("[interface]", None) => state = State::Interface,
            ("[peer]", None) => {
                state = State::Peer;
                peers.push((number, false));
            }
            _ if state == State::Outside => refused.part(number, line, stripped, OUTSIDE),
            (_, None) => refused.part(number, line, stripped, SYNTAX),
            (key, Some(value)) => {
                // A hook's value is the whole rest of the line, "#" included.
                let whole = || line.split_once('=').map_or("", |(_, rest)| rest);
                let is_hook = matches!(key, "preup" | "postup" | "predown" | "postdown");
                let value = if is_hook { whole().trim() } else { value.trim() };
                if value.is_empty() {
                    refused.part(number, line, name, NO_VALUE);
                    continue;
                }
                saw_private_key |= key == "privatekey" && state == State::Interface;
                let why = match (state, key) {
                    (State::Interface, _) => interface(key, value),
                    (_, "publickey") => match decoded(value) {
                        Some(bytes) => {
                            if let Some(peer) = peers.last_mut() {
                                peer.1 = *bytes != [0; 32];
                            }
                            None
                        }
                        None => Some(KEY),
                    },
                    _ => peer(key, value),
                };
                if let Some(why) = why {
                    let part = if why == UNKNOWN { name } else { value };
                    refused.part(number, line, part, why);
                    if let Some(peer) = peers.last_mut().filter(|_| key == "publickey") {
                        peer.1 = true;
                    }
                }
            }
        }
    }
    for (line, _) in peers.iter().filter(|(_, has_key)| !has_key) {
        refused.at(*line, NO_PUBLIC_KEY);
    }
    if !saw_private_key {
        refused.at(1, ("missing-private-key", "an interface must have a private key"));
    }
    refused.0
}

fn interface(key: &str, value: &str) -> Option<Why> {
    let (good, why) = match key {
        "privatekey" => (decoded(value).is_some(), KEY),
        "listenport" => (is_port(value), PORT),
        "mtu" => (number::signed(value).is_some_and(|n| (576..=65535).contains(&n)), MTU),
        "address" => (is_list(value, is_prefix), PREFIX),
        // Whatever is no address is a search domain.
        "dns" => (is_list(value, |_| true), DNS),
        "preup" | "postup" | "predown" | "postdown" => (true, UNKNOWN),
        "table" => (
            matches!(value, "off" | "auto" | "main")
                || number::unsigned(value).is_some_and(|n| u32::try_from(n).is_ok()),
            TABLE,
        ),
        _ => (false, UNKNOWN),
    };
    (!good).then_some(why)
}

fn peer(key: &str, value: &str) -> Option<Why> {
    let (good, why) = match key {
        "presharedkey" => (decoded(value).is_some(), KEY),
        "allowedips" => (is_list(value, is_prefix), PREFIX),
        "persistentkeepalive" => (value == "off" || is_port(value), KEEPALIVE),
        "endpoint" => (is_endpoint(value), ENDPOINT),
        _ => (false, UNKNOWN),
    };
    (!good).then_some(why)
}

fn decoded(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut buffer = Zeroizing::new([0; 48]);
    let length = LENIENT.decode_slice(text, &mut *buffer).ok()?;
    let bytes: [u8; 32] = buffer[..length].try_into().ok()?;
    Some(Zeroizing::new(bytes))
}

fn is_port(text: &str) -> bool {
    number::signed(text).is_some_and(|n| (0..=65535).contains(&n))
}

fn is_list(text: &str, good: impl Fn(&str) -> bool) -> bool {
    text.split(',').map(str::trim).all(|item| !item.is_empty() && good(item))
}

/// `netip.ParseAddr`: an IPv6 address may have a zone of any characters.
fn is_address(text: &str) -> bool {
    match text.split_once('%') {
        Some((v6, zone)) => !zone.is_empty() && v6.parse::<Ipv6Addr>().is_ok(),
        None => text.parse::<IpAddr>().is_ok(),
    }
}

/// `netip.ParsePrefix`, else an address alone: so what looks like a zone and a length is a zone.
fn is_prefix(text: &str) -> bool {
    let prefix = text.rsplit_once('/').is_some_and(|(address, length)| {
        let most = match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        (length.len() == 1 || !length.starts_with('0')) && number::unsigned(length).is_some_and(|n| n <= most)
    });
    prefix || is_address(text)
}

fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    if host.is_empty() || !is_port(port) {
        return false;
    }
    if !host.starts_with('[') && !host.ends_with(']') && host.find(':').unwrap_or(0) == 0 {
        // Any name will do: it is looked up later.
        return true;
    }
    let Some(inside) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) else { return false };
    let v6 = inside.rsplit_once('%').filter(|(v6, _)| !v6.is_empty()).map_or(inside, |(v6, _)| v6);
    inside.len() > 1 && v6.parse::<Ipv6Addr>().is_ok()
}
