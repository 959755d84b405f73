//! Addresses that no route of the Internet leads to: private, shared, link-local, loopback, multicast and reserved ones.

use std::net::IpAddr;

use ipnet::IpNet;

/// RFC 1918, RFC 6598, RFC 3927, RFC 1122, RFC 5771, RFC 1112; RFC 4193, RFC 4291.
pub const PREFIXES: [&str; 12] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/3",
    "::/127",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// Says whether an address is one of them.
pub fn is_private(ip: IpAddr) -> bool {
    PREFIXES.iter().filter_map(|text| text.parse::<IpNet>().ok()).any(|net| net.contains(&ip))
}
