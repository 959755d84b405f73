//! One key of a plain file with values of every kind that people and programs write there: what wg-quick does with each is what `lint`
//! says, by wg, wg-quick and ip(8) themselves.

use wgrelay::wgconf::{Client, decode};

use super::{errors, ip_knows_table, ip_takes, real};

const PRIVATE: &str = "aF3Y11OP6gcdsP6Sw+unMuzRWqnYzSiVN4O0fnQepHo=";
const PUBLIC: &str = "xAf6Ct3jYzPJKIAc7892TclrauVa+IbKlgv9eNhgaUQ=";

/// Values of a key in `[Interface]`.
const INTERFACE: [(&str, &[&str]); 6] = [
    ("SaveConfig", &["true", "TRUE", "False", "yes", "1", "", "true false", "\"true\"", "true # c", "t"]),
    (
        "ListenPort",
        &[
            "0",
            "65535",
            "65536",
            "-1",
            "+5",
            "05",
            "0x5",
            "5 6",
            "",
            "x",
            "51820/udp",
            "51820 # c",
            "5.0",
            "off",
            "4294967297",
            "2147483648",
            "99999999999999999999",
            "\u{665}",
            "ntp",
            "https",
            "ipsec-nat-t",
            "ssh",
            "NTP",
            "wireguard",
        ],
    ),
    (
        "FwMark",
        &[
            "0",
            "off",
            "OFF",
            "0x10",
            "0X10",
            "0x",
            "0xg",
            "010",
            "-1",
            "+1",
            "4294967295",
            "4294967296",
            "0x100000000",
            "",
            "x",
            "1 2",
            "0x1/0xff",
            "auto",
            "0b1",
        ],
    ),
    (
        "DNS",
        &[
            "9.9.9.9, lan..home",
            ".lan",
            "-x.lan",
            "a_b.lan",
            "~corp.lan",
            "10.0.0.1:5353",
            "1.1.1.300",
            "9.9.9.9 1.1.1.1",
            "9.9.9.9,,1.1.1.1",
            "9.9.9.9,",
            ",9.9.9.9",
            "",
            "m\u{fc}nchen.de",
            "https://dns.example/dns-query",
            "tls://1.1.1.1",
            "9.9.9.9/32",
            "fe80::1%eth0",
            "*.lan",
            "\"lan\"",
        ],
    ),
    (
        "PrivateKey",
        &[
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "aF3Y11OP6gcdsP6Sw+unMuzRWqnYzSiVN4O0fnQepHo",
            "aF3Y11OP6gcdsP6Sw+unMuzRWqnYzSiVN4O0fnQepHp=",
            "aF3Y11OP6gcdsP6Sw-unMuzRWqnYzSiVN4O0fnQepHo=",
            "",
            "aF3Y11OP6gcdsP6Sw+ unMuzRWqnYzSiVN4O0fnQepHo=",
            "aF3Y11OP6gcdsP6Sw+unMuzRWqnYzSiVN4O0fnQepHo==",
        ],
    ),
    ("IncludedApplications", &["org.a", "", ","]),
];

/// Values of a key in `[Peer]`; no host name, as none is resolved here.
const PEER: [(&str, &[&str]); 4] = [
    (
        "PersistentKeepalive",
        &[
            "0",
            "25",
            "off",
            "OFF",
            "Off",
            "-1",
            "+25",
            "025",
            "0x19",
            "65535",
            "65536",
            "25s",
            "25.0",
            "",
            "on",
            "2 5",
            "25 # c",
            "\u{662}\u{665}",
        ],
    ),
    (
        "PublicKey",
        &[
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "xAf6Ct3jYzPJKIAc7892TclrauVa+IbKlgv9eNhgaUR=",
            "xAf6Ct3jYzPJKIAc7892TclrauVa+IbKlgv9eNhgaUQ",
            "",
            "\"xAf6Ct3jYzPJKIAc7892TclrauVa+IbKlgv9eNhgaUQ=\"",
            "xAf6Ct3jYzPJKIAc7892TclrauVa+IbKlgv9eNhgaUQ= # x",
        ],
    ),
    (
        "AllowedIPs",
        &[
            "::ffff:1.2.3.0/120",
            "::1.2.3.4/128",
            "192.168.44.0/24,",
            ",192.168.44.0/24",
            "192.168.44.0/24,,10.0.0.0/8",
            ",",
            "",
            "192.168.44.0/24 10.0.0.0/8",
            "192.168.44.0/24;10.0.0.0/8",
            "192.168.44.0/33",
            "fd00::/129",
            "192.168.44.0/-1",
            "192.168.44.0/",
            "/24",
            "192.168.44.0/024",
            "192.168.44.0/ 24",
            "192.168.44.0/+24",
            "192.168.44.0/255.255.255.0",
            "192.168.44",
            "10/8",
            "0/0",
            "0",
            "01.02.03.04",
            "0x7f.0.0.1",
            "fe80::1%eth0/64",
            "[fd00::1]/64",
            "host.example",
            "192.168.44.0/24x",
            "192.168.44.0/0x18",
            "+192.168.44.0/24",
            "-192.168.44.0/24",
            "*",
            "192.168.44.0/24/24",
            "192.168.44.0/24 , 10.0.0.0/8",
            "(none)",
            "192.168.44.0/24 # c",
            "FD00::/8",
            "fd00::1.2.3.4/64",
            "192.168.044.0/24",
        ],
    ),
    (
        "Endpoint",
        &[
            "203.0.113.20:0",
            "203.0.113.20:00",
            "203.0.113.20:65536",
            "203.0.113.20:-1",
            "203.0.113.20:+1",
            "203.0.113.20:",
            "203.0.113.20",
            "203.0.113.20:0x50",
            "203.0.113.20:051820",
            "203.0.113.20:51820/udp",
            "203.0.113.20 51820",
            "203.0.113.20:51820,1.2.3.4:5",
            "203.0.113.20: 51820",
            "[203.0.113.20]:51820",
            "[::1]:51820",
            "[::1]",
            "::1:51820",
            "[::1]51820",
            "[]:51820",
            ":51820",
            "",
            "203.0.113:51820",
            "1:51820",
            "0x7f000001:51820",
            "203.0.113.020:51820",
            "[::ffff:1.2.3.4]:51820",
            "203.0.113.20:51820:51820",
            "203.0.113.20:4294967297",
            "\"203.0.113.20:51820\"",
            "203.0.113.20:51820#c",
            "203.0.113.08:51820",
            "203.0.113.20:ntp",
            "203.0.113.20:https",
            "[2001:db8::1]:domain",
        ],
    ),
];

/// Values that wg-quick hands on to ip(8), which judges them.
const ADDRESS: [&str; 41] = [
    "192.168.44.9/24",
    "192.168.44.9",
    "192.168.44.9/33",
    "192.168.44.9/-1",
    "192.168.44.9/",
    "192.168.44.9/024",
    "192.168.44.9/08",
    "192.168.44.9/00",
    "192.168.44.9/+24",
    "192.168.44.9/0x18",
    "192.168.44.9/255.255.255.0",
    "192.168.44.9/0.0.0.255",
    "192.168.44",
    "10/8",
    "10.1/16",
    "1.2.3.4.5",
    "256.1.1.1",
    "01.02.03.04",
    "1.2.3.08",
    "0x7f.0.0.1",
    "+192.168.44.9/24",
    "-192.168.44.9/24",
    "fd00::1/64",
    "fd00::1/129",
    "fd00::1/0x40",
    "fd00:::1/64",
    "[fd00::1]/64",
    "fe80::1%eth0/64",
    "::ffff:1.2.3.4/128",
    "::/64",
    "ff02::1/64",
    "192.168.44.9/24x",
    "192.168.44.9/24/24",
    "*",
    "host.example",
    "192.168.44.9/24, 192.168.44.9/24",
    "192.168.44.9/24, 192.168.44.9/16",
    "fd00::1/64, fd00::1/128",
    "192.168.44.9/24,",
    ",192.168.44.9/24",
    "192.168.44.9/24 10.0.0.1/8",
];
const MTU: [&str; 17] = [
    "0",
    "-1",
    "1",
    "575",
    "1420",
    "65535",
    "70000",
    "+1420",
    "01420",
    "0x58c",
    "1420.0",
    "1,420",
    "auto",
    "1420b",
    "4294967296",
    "2147483648",
    "\u{661}\u{664}",
];
const TABLE: [&str; 17] = [
    "OFF",
    "Auto",
    "aUTO",
    "main",
    "local",
    "0",
    "1",
    "254",
    "4294967295",
    "4294967296",
    "5000000000",
    "0x64",
    "0xffffffff",
    "0x100000000",
    "-1",
    "+5",
    "1 2",
];

fn text(in_interface: &str, public: &str, in_peer: &str, address: &str) -> String {
    format!("[Interface]\n{in_interface}Address = {address}\n[Peer]\nPublicKey = {public}\n{in_peer}")
}

/// What wg-quick and wg make of a text, hosts and links aside.
fn read_by_wg_quick(text: &str) -> bool {
    real::wg_quick_strip(text).and_then(|stripped| real::wg_setconf(&stripped)).is_ok()
}

#[test]
fn a_value_of_every_kind_has_the_verdict_of_the_real_programs() {
    if !real::has("wg-quick") || !real::has("wg") {
        return;
    }
    let (plain, private) = ("192.168.44.9/24", format!("PrivateKey = {PRIVATE}\n"));
    let allowed = "AllowedIPs = 192.168.44.0/24\n";
    let mut cases: Vec<(String, bool)> = Vec::new();
    // Without the list of services wg knows no name of one.
    let has_services = std::path::Path::new("/etc/services").exists();
    let is_judged = |value: &&&str| {
        has_services || !["ntp", "https", "domain", "nat-t"].iter().any(|name| value.ends_with(name))
    };
    for (key, values) in INTERFACE {
        for value in values.iter().filter(is_judged) {
            let first = if key == "PrivateKey" { String::new() } else { private.clone() };
            let text = text(&format!("{first}{key} = {value}\n"), PUBLIC, allowed, plain);
            let taken = read_by_wg_quick(&text);
            cases.push((text, taken));
        }
    }
    for (key, values) in PEER {
        for value in values.iter().filter(is_judged) {
            let (public, line) = if key == "PublicKey" {
                (*value, String::new())
            } else {
                (PUBLIC, format!("{key} = {value}\n"))
            };
            let text = text(&private, public, &line, plain);
            let taken = read_by_wg_quick(&text);
            cases.push((text, taken));
        }
    }
    // The rest wg-quick reads without looking, and ip(8) refuses or not.
    for address in ADDRESS {
        cases.push((text(&private, PUBLIC, allowed, address), ip_takes(address, "1400")));
    }
    for mtu in MTU {
        cases.push((text(&format!("{private}MTU = {mtu}\n"), PUBLIC, allowed, plain), ip_takes("", mtu)));
    }
    for table in TABLE {
        cases.push((
            text(&format!("{private}Table = {table}\n"), PUBLIC, allowed, plain),
            ip_knows_table(table),
        ));
    }
    let mut differences = Vec::new();
    for (text, taken) in &cases {
        let found = errors(text, Client::WgQuick);
        if found.is_empty() != *taken {
            differences.push(format!("taken: {taken}, of\n{text}  ours: {found:?}"));
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(cases.len() > 240, "{} values", cases.len());
}

#[test]
fn zero_bytes_are_nothing_to_wg_quick_alone() {
    let plain =
        text(&format!("PrivateKey = {PRIVATE}\n"), PUBLIC, "AllowedIPs = 10.0.0.0/8\n", "10.0.0.1/24");
    for at in [0, 5, plain.find("/24").unwrap() + 3, plain.find("# ").map_or(plain.len(), |i| i)] {
        let mut bytes = plain.clone().into_bytes();
        bytes.insert(at, 0);
        // A zero after the first byte alone is UTF-16 to whoever guesses.
        let verdict = |client| decode(&bytes).lint("x", client).iter().any(wgrelay::model::Problem::is_error);
        assert!(!verdict(Client::WgQuick), "a zero at {at}");
    }
}
