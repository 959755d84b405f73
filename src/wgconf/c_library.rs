//! Numbers and addresses as C programs read them, for what wg-quick hands on to ip(8) and wg to getaddrinfo(3): bases by prefix,
//! signs, and addresses with parts left out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// `strtoul(text, &end, 0)` of all of a text: a sign, `0x` for 16, a zero in front for 8. A minus turns it around.
pub(super) fn number(text: &str) -> Option<u64> {
    let (minus, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    let is_whole = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    // What is too large is the largest there is.
    let number = is_whole.then(|| u64::from_str_radix(digits, radix).unwrap_or(u64::MAX))?;
    Some(if minus && number != u64::MAX { number.wrapping_neg() } else { number })
}

/// An address and length as ip(8) reads them (`get_prefix` of iproute2's lib/utils.c): parts in any base, those at the end left
/// out; a mask in place of a length.
pub(super) fn ip_prefix(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let address = ip_address(address)?;
    let Some(length) = length else { return Some(IpNet::from(address)) };
    match number(length) {
        Some(n) if u8::try_from(n).is_ok_and(|n| IpNet::new(address, n).is_ok()) => {
            IpNet::new(address, n as u8).ok()
        }
        _ => IpNet::with_netmask(address, ip_address(length)?).ok(),
    }
}

fn ip_address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let parts: Vec<u8> = text.split('.').map(|p| number(p)?.try_into().ok()).collect::<Option<_>>()?;
    let mut bytes = [0; 4];
    bytes.get_mut(..parts.len())?.copy_from_slice(&parts);
    Some(IpAddr::from(bytes))
}

/// An IPv4 address as `inet_aton` reads it, and so getaddrinfo(3): one to four parts in any base, of which the last fills the rest.
pub(super) fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let begins = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    let parts: Vec<u64> = text.split('.').map(|p| begins(p).then(|| number(p))?).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    let room = 4_usize.checked_sub(first.len()).filter(|room| *room > 0)?;
    if *last >= 1 << (8 * room) || first.iter().any(|part| *part > 255) {
        return None;
    }
    let whole = first.iter().enumerate().fold(*last, |all, (i, part)| all | part << (8 * (3 - i)));
    u32::try_from(whole).ok().map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_base() {
        for (text, expected) in [
            ("25", Some(25)),
            ("+25", Some(25)),
            ("0x58c", Some(1420)),
            ("0X1f", Some(31)),
            ("024", Some(20)),
            ("00", Some(0)),
            ("0", Some(0)),
            ("99999999999999999999", Some(u64::MAX)),
            ("-1", Some(u64::MAX)),
            ("08", None),
            ("0x", None),
            ("", None),
            ("+", None),
            ("1 2", None),
            ("1.5", None),
            ("\u{668}", None),
        ] {
            assert_eq!(number(text), expected, "{text:?}");
        }
    }

    #[test]
    fn addresses_of_ip_and_of_getaddrinfo() {
        let net = |text: &str| ip_prefix(text).map(|n| n.to_string());
        for (text, expected) in [
            ("10.8/16", Some("10.8.0.0/16")),
            ("10.0.0.010/024", Some("10.0.0.8/20")),
            ("0x7f.0.0.1", Some("127.0.0.1/32")),
            ("+10.0.0.1/+8", Some("10.0.0.1/8")),
            ("10.0.0.1/255.255.255.0", Some("10.0.0.1/24")),
            ("10.0.0.1/0.0.0.255", None),
            ("fd00::1/0x40", Some("fd00::1/64")),
            ("1.2.3.08", None),
            ("256.1.1.1", None),
            ("10.0.0.1/33", None),
            ("fe80::1%eth0/64", None),
            ("1.2.3.4.5", None),
        ] {
            assert_eq!(net(text).as_deref(), expected, "{text:?}");
        }
        let aton = |text: &str| inet_aton(text).map(|a| a.to_string());
        for (text, expected) in [
            ("203.0.113", Some("203.0.0.113")),
            ("1", Some("0.0.0.1")),
            ("203.0.113.020", Some("203.0.113.16")),
            ("0x7f000001", Some("127.0.0.1")),
            ("1.65536", Some("1.1.0.0")),
            ("203.0.113.256", None),
            ("1.2.3.4.5", None),
            ("+1.2.3.4", None),
            ("1..2", None),
            ("", None),
        ] {
            assert_eq!(aton(text).as_deref(), expected, "{text:?}");
        }
    }
}
