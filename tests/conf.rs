//! `.conf` texts of other projects, with their verdicts, and what `wg` and `wg-quick` say of the same texts.
//!
//! The other projects' files are found by `WGRELAY_CORPUS`, else in ../shared/corpus beside the checkout; a test that
//! misses them says so and checks nothing. The programs must be there where `WGRELAY_REAL=1`.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests read foreign files and run the real programs; a fault in their own set-up ends them"
)]

#[path = "export/real.rs"]
#[expect(dead_code, reason = "the export tests use the rest")]
mod real;
#[path = "conf/variants.rs"]
mod variants;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use wgrelay::model::Problem;
use wgrelay::wgconf::{Client, Comments, decode, lint, parse, read, render};

fn corpus(project: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let folder = std::env::var_os("WGRELAY_CORPUS").map_or_else(beside, PathBuf::from).join(project);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("not checked: no {} (set WGRELAY_CORPUS)", folder.display());
    None
}

/// The rows of a table of verdicts, without its head.
fn rows(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn confs(folder: &Path) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for kind in ["good", "bad"] {
        let Ok(files) = fs::read_dir(folder.join(kind)) else { continue };
        for file in files.map(|f| f.unwrap().path()) {
            out.push((
                format!("{kind}/{}", file.file_name().unwrap().display()),
                fs::read_to_string(&file).unwrap(),
            ));
        }
    }
    assert!(!out.is_empty(), "{} has no files", folder.display());
    out
}

fn errors(text: &str, client: Client) -> Vec<Problem> {
    lint(text, "x.conf", client).into_iter().filter(Problem::is_error).collect()
}

#[test]
fn android_takes_and_refuses_the_same() {
    let Some(folder) = corpus("wireguard-android") else { return };
    let codes = BTreeMap::from([
        ("INVALID_KEY", "bad-key"),
        ("INVALID_NUMBER", "bad-keepalive"),
        ("INVALID_VALUE", "bad-dns"),
        ("MISSING_ATTRIBUTE", "missing-public-key"),
        ("MISSING_SECTION", "missing-section"),
        ("SYNTAX_ERROR", "empty-value"),
        ("UNKNOWN_ATTRIBUTE", "unknown-key"),
        ("UNKNOWN_SECTION", "unknown-section"),
    ]);
    let texts: BTreeMap<String, String> = confs(&folder).into_iter().collect();
    for row in rows(&folder.join("EXPECTED.tsv")) {
        let (file, verdict, reason) = (&row[0], row[1].as_str(), row[2].as_str());
        let kind = if verdict == "accept" { "good" } else { "bad" };
        let found = errors(&texts[&format!("{kind}/{file}")], Client::Android);
        assert_eq!(found.is_empty(), verdict == "accept", "{file}: {found:?}");
        if let Some(code) = codes.get(reason) {
            assert_eq!(
                found.iter().map(|p| p.code.as_str()).collect::<Vec<_>>(),
                [*code],
                "{file}: {found:?}"
            );
        }
    }
}

#[test]
fn network_manager_finds_faults_in_the_same_lines() {
    let Some(folder) = corpus("NetworkManager") else { return };
    let texts: BTreeMap<String, String> = confs(&folder).into_iter().collect();
    for row in rows(&folder.join("EXPECTED.tsv")) {
        let (file, verdict, line) = (&row[0], row[1].as_str(), row[3].as_str());
        let kind = if verdict == "accept" { "good" } else { "bad" };
        let found: Vec<Problem> = read(&texts[&format!("{kind}/{file}")], "x")
            .problems
            .into_iter()
            .filter(Problem::is_error)
            .collect();
        assert_eq!(found.is_empty(), verdict == "accept", "{file}: {found:?}");
        if verdict == "reject" {
            assert_eq!(found.len(), 1, "{file}: {found:?}");
            assert!(found[0].place.starts_with(&format!("x:{line}:")), "{file}: {found:?}");
        }
    }
}

#[test]
fn good_files_read_whole_and_come_back() {
    for project in ["wireguard-tools", "wgconfig", "NetworkManager", "wireguard-android"] {
        let Some(folder) = corpus(project) else { continue };
        for (file, text) in confs(&folder).into_iter().filter(|(f, _)| f.starts_with("good")) {
            let document = parse(&text, &file).unwrap_or_else(|p| panic!("{project}/{file}: {p:?}"));
            assert_eq!(errors(&text, Client::WgQuick), [], "{project}/{file}");
            assert_eq!(parse(&render(&document, Comments::Keep), &file), Ok(document), "{project}/{file}");
        }
    }
}

#[test]
fn comments_name_peers() {
    let Some(folder) = corpus("wgconfig") else { return };
    let (_, text) = confs(&folder).remove(0);
    let document = parse(&text, "x").unwrap();
    assert_eq!(document.interface.comments, ["This is a first comment"]);
    assert_eq!(document.interface.notes, ["This is a second comment"]);
    assert_eq!(document.peers[0].comments, ["This is a third comment"]);
    assert_eq!(document.peers[1].notes, ["This is a fifth comment"]);
    assert_eq!(document.peers[1].allowed_ips.len(), 2);
}

/// Writes what netplan was given as a .conf.
fn as_conf(private_key: &str, peers: &serde_json::Value) -> String {
    let mut text = format!("[Interface]\nPrivateKey = {private_key}\n");
    for peer in peers.as_array().unwrap() {
        text.push_str("[Peer]\n");
        for (name, value) in peer.as_object().unwrap() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text += &match name.as_str() {
                "public-key" => format!("PublicKey = {value}\n"),
                "shared-key" => format!("PresharedKey = {value}\n"),
                "allowed-ips" => format!("AllowedIPs = {}\n", value.replace(['[', ']', '"'], "")),
                "keepalive" => format!("PersistentKeepalive = {value}\n"),
                "endpoint" => format!("Endpoint = {}\n", value.replace('"', "")),
                other => format!("{other} = {value}\n"),
            };
        }
    }
    text
}

fn netplan() -> Vec<(String, bool, String)> {
    let Some(folder) = corpus("netplan") else { return Vec::new() };
    let table = rows(&folder.join("EXPECTED.tsv"));
    table
        .into_iter()
        .map(|row| {
            let text = as_conf(&row[3], &serde_json::from_str(&row[4]).unwrap());
            (row[0].clone(), row[1] == "accept", text)
        })
        .collect()
}

#[test]
fn netplan_takes_and_refuses_the_same() {
    // Where netplan has rules of its own: prefixes need a length, a key may be a file, an empty endpoint is none, and
    // the last character of a key may carry bits that no byte has.
    let own_rules = [
        "test_fail_allowed_ips_noprefix4",
        "test_fail_allowed_ips_noprefix6",
        "test_privatekeyfile",
        "test_empty_string_as_endpoint_should_be_ignored",
        "test_2peers",
    ];
    for (case, accepted, text) in netplan() {
        // wg itself takes ports that nobody meant, so this is about a reader that is no client in particular.
        let found = parse(&text, "x").err();
        assert_eq!(found.is_none(), accepted != own_rules.contains(&case.as_str()), "{case}: {found:?}");
    }
}

/// Whether each client takes a file.
type Verdicts = Vec<(Client, bool)>;

/// What the applications' own parsers say of the files in tests/cases/lint: Windows' and Android's compiled, Apple's ported (the
/// commits are named in src/wgconf/grammar); wg-quick's verdicts are also the real one's, below.
fn lint_cases() -> Vec<(String, Vec<u8>, Verdicts)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/lint");
    let clients = [Client::WgQuick, Client::Windows, Client::Apple, Client::Android];
    let case = |row: Vec<String>| {
        let bytes = fs::read(folder.join(format!("{}.conf", row[0]))).unwrap();
        let verdicts = clients.into_iter().zip(row[1..].iter().map(|v| v == "takes")).collect();
        (row[0].clone(), bytes, verdicts)
    };
    rows(&folder.join("verdicts.tsv")).into_iter().map(case).collect()
}

#[test]
fn lint_has_the_verdict_of_each_client() {
    let mut differences = Vec::new();
    for (name, bytes, verdicts) in lint_cases() {
        for (client, taken) in verdicts {
            let found = decode(&bytes).lint("x.conf", client);
            if taken == found.iter().any(Problem::is_error) {
                differences.push(format!("{name}: {client} takes it: {taken}\n  ours: {found:?}"));
            }
            for problem in found {
                assert!(!problem.to_string().contains(&KEY[..12]), "{name}: {problem}");
            }
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

const KEY: &str = "GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=";

/// Texts at the edges of the grammar.
fn edges() -> Vec<String> {
    let interface = |lines: &str| format!("[Interface]\n{lines}\n");
    let peer = |lines: &str| format!("[Interface]\n[Peer]\nPublicKey = {KEY}\n{lines}\n");
    let mut out: Vec<String> = [
        "",
        "\n",
        "# x",
        "\u{feff}[Interface]\n",
        "[Interface]",
        "[interface]\r\n\r\n",
        "Interface",
        "[Peer]",
        "[Peer",
    ]
    .map(str::to_owned)
    .into();
    out.push(format!("PrivateKey = {KEY}\n"));
    out.push(format!("[Interface]\n[ Peer ]\nPublicKey = {KEY}\n"));
    out.push(format!("[Interface]\nListenPort = 1\n[Peer]\nPublicKey = {KEY}\n[Interface]\nListenPort = 2"));
    out.push(format!("[Peer]\nPublicKey = {KEY}\nPublicKey = {KEY}\n"));
    out.push(format!("[PEER]\npublickey={KEY}\nALLOWEDIPS=10.0.0.0/8\nallowedips=::/0"));
    for lines in [
        "ListenPort = 0",
        "ListenPort = 65535",
        "ListenPort = 65536",
        "ListenPort = 666666666",
        "ListenPort = -1",
        "ListenPort = +5",
        "ListenPort =",
        "ListenPort = 5 1 8 2 0",
        "Listen Port = 51820",
        "ListenPort\t=\t51820\r",
        "ListenPort 51820",
        "ListenPort = 1\nListenPort = 2",
        "ListenPort = x",
        "FwMark = off",
        "FwMark = OFF",
        "FwMark = 0x10",
        "FwMark = 0X10",
        "FwMark = 4294967295",
        "FwMark = 4294967296",
        "FwMark = -1",
        "FwMark = 0x",
        "FwMark = 0xfffffffff",
        "PrivateKey = abc",
        "PublicKey = GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=",
        "PrivateKey = GtL7fZc/bLnqZldpVofMCD6h DjrK28SsdLxevJ+qtKU=",
        "PrivateKey = GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKV=",
        "Address = 10.0.0.1/24",
        "SaveConfig = true",
        "SaveConfig = TRUE",
        "SaveConfig = maybe",
        "PostUp = echo a # b",
        "PostUp =",
        "Table = off",
        "DNS = 1.1.1.1, x",
        "Address = 10.0.0.1/24 10.0.0.2/24",
        "; x",
        "Foo = 1",
        "=",
        "= 1",
        "MTU = 1400",
        "Post Up = x",
        "AllowedIPs = 10.0.0.0/8",
    ] {
        out.push(interface(lines));
    }
    for lines in [
        "AllowedIPs =",
        "AllowedIPs = 10.0.0.0",
        "AllowedIPs = 10.0.0.1/8",
        "AllowedIPs = 10.0.0.0/33",
        "AllowedIPs = ::/129",
        "AllowedIPs = 10.0.0.0/8,",
        "AllowedIPs = ,10.0.0.0/8",
        "AllowedIPs = 10.0.0.0/8,,::/0",
        "AllowedIPs = 10.0.0.0/8 11.0.0.0/8",
        "AllowedIPs = 10.0.0.0 / 8",
        "AllowedIPs = 10.0.0.0/",
        "AllowedIPs = 10.0.0.0/+8",
        "AllowedIPs = 010.0.0.0/8",
        "AllowedIPs = 10.0.0/8",
        "AllowedIPs = x",
        "AllowedIPs = ::ffff:10.0.0.0/104",
        "AllowedIPs = 10.0.0.0/08",
        "AllowedIPs = +10.0.0.0/8",
        "AllowedIPs = fe80::1%eth0/64",
        "Endpoint = 1.2.3.4:5",
        "Endpoint = 1.2.3.4",
        "Endpoint = 1.2.3.4:",
        "Endpoint = 1.2.3.4:0",
        "Endpoint = 1.2.3.4:65536",
        "Endpoint = [::1]:5",
        "Endpoint = ::1:5",
        "Endpoint = [::1]",
        "Endpoint = [::1]5",
        "Endpoint = [1.2.3.4]:5",
        "Endpoint =",
        "Endpoint = :5",
        "Endpoint = [fe80::1%lo]:5",
        "Endpoint = 1.2.3.4 : 5",
        "Endpoint = 1.2.3.4:+5",
        "PersistentKeepalive = 0",
        "PersistentKeepalive = off",
        "PersistentKeepalive = OFF",
        "PersistentKeepalive = 65535",
        "PersistentKeepalive = 65536",
        "PersistentKeepalive = -1",
        "PersistentKeepalive = 25s",
        "PersistentKeepalive = +25",
        "PersistentKeepalive = 0x19",
        "PresharedKey = GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=",
        "PresharedKey = x",
        "PresharedKey =",
        "ListenPort = 1",
        "Endpoint = 1.2.3.4:5 # c",
        "PreSharedKey = GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=",
        "[Peer]\nPublicKey = GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=",
    ] {
        out.push(peer(lines));
    }
    out
}

/// Every text of other projects that names no host to be resolved.
fn foreign() -> Vec<String> {
    let mut out: Vec<String> = netplan().into_iter().map(|(.., text)| text).collect();
    for project in ["wireguard-tools", "wgconfig", "NetworkManager", "wireguard-android"] {
        out.extend(corpus(project).iter().flat_map(|f| confs(f)).map(|(_, text)| text));
    }
    let names = ["demo.wireguard.com", "test.wireguard.com", "fq.dn"];
    out.iter().map(|text| names.iter().fold(text.clone(), |t, name| t.replace(name, "192.0.2.7"))).collect()
}

/// Whether ip(8) takes a text for a routing table's number or name, as wg-quick hands it on.
fn ip_knows_table(text: &str) -> bool {
    let script = "ip link set lo up && ip route add 192.0.2.0/24 dev lo table \"$1\"";
    real::alone("sh").args(["-c", script, "sh", text]).output().unwrap().status.success()
}

/// Whether ip(8) gives a link an address and an MTU of these texts.
fn ip_takes(address: &str, mtu: &str) -> bool {
    // A link like wg-quick's for addresses; of loopback's, any MTU is one.
    let script = "set -f; ip tuntap add wgr0 mode tun && \
                  for a in $(echo \"$1\" | tr , ' '); do ip address add \"$a\" dev wgr0 || exit 1; done; \
                  ip link set mtu \"$2\" dev lo";
    real::alone("sh").args(["-c", script, "sh", address, mtu]).output().unwrap().status.success()
}

#[test]
fn verdicts_are_those_of_wg_and_wg_quick() {
    if !real::has("wg-quick") || !real::has("wg") {
        return;
    }
    let mut differences = Vec::new();
    for text in edges().into_iter().chain(foreign()) {
        let wg = real::wg_setconf(&text);
        let quick = real::wg_quick_strip(&text).and_then(|stripped| real::wg_setconf(&stripped));
        for (client, verdict) in [(Client::Wg, wg), (Client::WgQuick, quick)] {
            let found = errors(&text, client);
            if found.is_empty() != verdict.is_ok() {
                differences.push(format!("{client} on {text:?}: {verdict:?}\n  ours: {found:?}"));
            }
        }
    }
    for (name, bytes, verdicts) in lint_cases() {
        // Bash leaves zero bytes out, and what is not UTF-8 is beside the point for both.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let value = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(" = "));
        let table = value("Table").filter(|t| !["off", "auto"].contains(t));
        let by_ip = ip_takes(value("Address").unwrap_or_default(), value("MTU").unwrap_or("1400"));
        let stripped = real::wg_quick_strip(&text).and_then(|stripped| real::wg_setconf(&stripped));
        if stripped.as_ref().is_err_and(|why| why.contains("name resolution")) {
            // A name, which nobody can be asked for here.
            continue;
        }
        // Whether there is a table called vpn is each host's matter.
        let taken =
            stripped.is_ok() && by_ip && table.is_none_or(|table| table == "vpn" || ip_knows_table(table));
        if (Client::WgQuick, taken) != verdicts[0] {
            differences.push(format!("{name}: {stripped:?}, and its verdict is another"));
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}
