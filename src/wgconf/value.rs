//! The values of single keys: text to type, with the fault where it is none.
//!
//! No message repeats the text of a key, nor any text that might be one in the wrong place.

use std::net::IpAddr;

use ipnet::IpNet;

use super::c_library;
use super::{Client, Dns, Hook, HookError, Table};
pub(super) use crate::model::shown;
use crate::model::{Endpoint, EndpointError, KeyError};

/// Why a value is none.
pub(super) struct Bad {
    pub code: &'static str,
    pub message: String,
    pub hint: &'static str,
    /// Of wg and wg-quick, those that take it all the same, in a way that nobody meant.
    pub taken_by: &'static [Client],
}

impl Bad {
    pub fn new(code: &'static str, message: impl Into<String>, hint: &'static str) -> Self {
        Self { code, message: message.into(), hint, taken_by: &[] }
    }
    pub fn taken_by(mut self, clients: &'static [Client]) -> Self {
        self.taken_by = clients;
        self
    }
}

pub(super) fn key<K: std::str::FromStr<Err = KeyError>>(text: &str) -> Result<K, Bad> {
    text.parse().map_err(|e: KeyError| {
        Bad::new(
            "bad-key",
            format!("not a key: {e}"),
            "copy the whole key; wgrelay genkey and wg genkey make one",
        )
    })
}

fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().unwrap_or(u64::MAX))
}

/// What only wg and wg-quick take.
const BY_WG: &[Client] = &[Client::Wg, Client::WgQuick];

/// A port; with what is wrong comes what wg makes of the name of a service.
pub(super) fn port(text: &str) -> Result<u16, (Bad, Option<u16>)> {
    if let Some(port) = c_library::service(text) {
        let message = format!(
            "{text} is the name of a service, which wg and wg-quick look up in /etc/services ({port})"
        );
        return Err((Bad::new("bad-port", message, "write the number").taken_by(BY_WG), Some(port)));
    }
    numeric_port(text).map_err(|bad| (bad, None))
}

fn numeric_port(text: &str) -> Result<u16, Bad> {
    let bad = |message: String| Bad::new("bad-port", message, "use 0 to 65535");
    match number(text.strip_prefix('+').unwrap_or(text)) {
        Some(n) if n <= u64::from(u16::MAX) && !text.starts_with('+') => Ok(n as u16),
        // getaddrinfo(3), which wg asks, takes a sign, makes an int of it and keeps the lower 16 bits of one that is not negative.
        Some(n) if (n as i32) >= 0 => {
            let message = format!("{text} is not a UDP port; wg and wg-quick make {} of it", n & 0xffff);
            Err(bad(message).taken_by(BY_WG))
        }
        _ => Err(bad(format!("{} is not a UDP port", shown(text)))),
    }
}

pub(super) fn fwmark(text: &str) -> Result<u32, Bad> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(0);
    }
    let parsed = match text.strip_prefix("0x") {
        Some(hex) if hex.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None => number(text).and_then(|n| n.try_into().ok()),
    };
    parsed.ok_or_else(|| {
        Bad::new(
            "bad-fwmark",
            format!("{} is not a mark", shown(text)),
            "use off, a number of 32 bits, or 0x…",
        )
    })
}

pub(super) fn keepalive(text: &str) -> Result<u16, Bad> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(0);
    }
    number(text).and_then(|n| n.try_into().ok()).ok_or_else(|| {
        Bad::new(
            "bad-keepalive",
            format!("{} is not a number of seconds", shown(text)),
            "use 0 (or off) to 65535; 25 suits most NATs",
        )
    })
}

pub(super) fn mtu(text: &str) -> Result<u16, Bad> {
    let parsed = number(text);
    parsed.and_then(|n| n.try_into().ok()).filter(|n| *n > 0).ok_or_else(|| {
        let message = format!("{} is not an MTU", shown(text));
        let bad = Bad::new("bad-mtu", message, "use a number of bytes up to 65535");
        // A WireGuard link takes none and almost any (device.c: max_mtu), and wg-quick asks ip(8) alone.
        if c_library::number(text).is_some_and(|n| n <= i32::MAX as u64 - 95) {
            bad.taken_by(&[Client::WgQuick])
        } else {
            bad
        }
    })
}

/// An address of an interface: a prefix, of which wg-quick hands any spelling on to ip(8), a dotted mask among them.
///
/// With what is wrong comes what was meant, where that is plain.
pub(super) fn address(text: &str) -> Result<IpNet, (Bad, Option<IpNet>)> {
    let by_ip = c_library::ip_prefix(text);
    let taken = |bad: Bad| if by_ip.is_some() { bad.taken_by(&[Client::WgQuick]) } else { bad };
    match prefix(text) {
        Ok(net) if by_ip == Some(net) => Ok(net),
        Ok(net) => {
            let message = match by_ip {
                Some(other) => format!("{} is {other} to ip(8)", shown(text)),
                None => format!("{} is not an IP prefix to ip(8)", shown(text)),
            };
            let hint = "write the length without a zero in front, which is the sign of another base";
            Err((taken(Bad::new("bad-prefix", message, hint)), Some(net)))
        }
        Err(bad) => Err((taken(bad), by_ip)),
    }
}

pub(super) fn prefix(text: &str) -> Result<IpNet, Bad> {
    let bad = |hint| Err(Bad::new("bad-prefix", format!("{} is not an IP prefix", shown(text)), hint));
    if text.starts_with(['+', '-']) {
        return bad("older tools do not know + and -: write the whole list");
    }
    let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    // IpNet's own reading takes leading zeros, which are octal to some and refused by wg.
    let net = address.parse::<IpAddr>().ok().and_then(|ip| match length {
        None => Some(IpNet::from(ip)),
        Some(length) => IpNet::new(ip, number(length)?.try_into().ok()?).ok(),
    });
    net.map_or_else(|| bad("write ADDRESS/LENGTH, such as 192.168.3.0/24 or fd00::/64, commas between"), Ok)
}

/// An endpoint; with what is wrong comes what wg makes of one whose port is the name of a service.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, (Bad, Option<Endpoint>)> {
    const HINT: &str = "write HOST:PORT, an IPv6 address in brackets: [2001:db8::1]:51820";
    let fault = match text.parse() {
        Ok(endpoint) => return Ok(endpoint),
        Err(fault) => fault,
    };
    let mut meant = None;
    let bad = match fault {
        EndpointError::Url(_) => Bad::new("bad-endpoint", "this is a URL: an endpoint is HOST:PORT", HINT),
        EndpointError::NoPort => Bad::new("bad-endpoint", fault.to_string(), HINT),
        EndpointError::Port(given) => {
            let bad =
                Bad::new("bad-endpoint", format!("{} is not a UDP port", shown(&given)), "use 1 to 65535");
            match port(&given) {
                Ok(_) => bad.taken_by(BY_WG),
                Err((service, Some(port))) => {
                    meant = text.rsplit_once(':').and_then(|(host, _)| format!("{host}:{port}").parse().ok());
                    Bad { code: "bad-endpoint", ..service }
                }
                Err((same, None)) => bad.taken_by(same.taken_by),
            }
        }
        EndpointError::Host(host) => {
            let message = format!("{} is neither an address nor a host name", shown(&host));
            let bad = Bad::new("bad-endpoint", message, HINT);
            let is_address = host.split('%').next().is_some_and(|a| a.parse::<IpAddr>().is_ok());
            if is_address || c_library::inet_aton(&host).is_some() { bad.taken_by(BY_WG) } else { bad }
        }
    };
    Err((bad, meant))
}

pub(super) fn dns(text: &str) -> Result<Dns, Bad> {
    let parsed: Dns = text.parse().map_err(|_| {
        Bad::new("bad-dns", format!("{} is neither an address nor a domain", shown(text)), "")
            .taken_by(&[Client::WgQuick])
    })?;
    match &parsed {
        // Host names, to which Android holds search domains, have no underscore.
        Dns::Search(domain) if domain.contains('_') => Err(Bad::new(
            "bad-dns",
            format!("{} is not a domain", shown(text)),
            "use letters, digits, dots and hyphens",
        )
        .taken_by(&[Client::WgQuick])),
        _ => Ok(parsed),
    }
}

pub(super) fn table(text: &str) -> Result<Table, Bad> {
    let bad =
        |message: String| Bad::new("bad-table", message, "use auto, off, a number or a name of rt_tables");
    match Table::parse(text) {
        // Who reads it knows these two in lower case only, and takes anything else for the name of a table.
        Some(Table::Auto | Table::Off) if text.bytes().any(|b| b.is_ascii_uppercase()) => {
            Err(bad(format!("{text} is taken for the name of a table: auto and off are written small")))
        }
        Some(Table::Named(name)) if c_library::number(&name).is_some_and(|n| n > u64::from(u32::MAX)) => {
            Err(bad(format!("{name} is not a routing table: the largest is {}", u32::MAX)))
        }
        Some(table) => Ok(table),
        None => {
            let bad = bad(format!("{} is not a routing table", shown(text)));
            let is_number = c_library::number(text).is_some_and(|n| n <= u64::from(u32::MAX));
            Err(if is_number { bad.taken_by(&[Client::WgQuick]) } else { bad })
        }
    }
}

pub(super) fn boolean(text: &str) -> Result<bool, Bad> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Ok(true),
        _ if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(Bad::new("bad-boolean", format!("{} is neither true nor false", shown(text)), "")),
    }
}

pub(super) fn hook(text: &str) -> Result<Hook, Bad> {
    text.parse().map_err(|e: HookError| Bad::new("bad-hook", e.to_string(), "").taken_by(&[Client::WgQuick]))
}
