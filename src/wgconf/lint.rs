//! A `.conf` with the eyes of one client: what it refuses is an error, what it takes in another way than meant a warning.

use std::net::IpAddr;

use ipnet::IpNet;

use super::client::{Client, HookRepeats};
use super::grammar::{self, Refusal};
use super::walk::{Entry, Fault, Walk};
use super::{Dns, Document, Key, Table, script};
use crate::model::{Problem, Severity};

/// Returns the keys of a document that a client refuses, sorted.
pub fn rejected_keys(client: Client, document: &Document) -> Vec<Key> {
    document.keys().into_iter().filter(|key| !client.accepts(*key)).collect()
}

/// Tells what a client makes of a text; no error among the problems: it accepts it.
///
/// `file` is how problems call the text.
pub fn lint(text: &str, file: &str, client: Client) -> Vec<Problem> {
    let walk = Walk::through(text);
    let (refused, own) = match grammar::refusals(client, text) {
        Some(refusals) => by_grammar(&walk, refusals, client),
        None => {
            (walk.faults.iter().map(|f| is_error(f) && !f.taken_by.contains(&client)).collect(), Vec::new())
        }
    };
    let mut judged: Vec<(usize, usize, Problem)> = Vec::new();
    for (fault, refused) in walk.faults.iter().zip(refused) {
        // What the client itself says of these is told below.
        let told = |o: &Fault| o.line == fault.line && o.code == fault.code;
        if !refused && own.iter().any(told) {
            continue;
        }
        let severity = if refused { Severity::Error } else { Severity::Warning };
        judged.push((fault.line, fault.column, fault.problem(file, severity)));
    }
    for fault in own.into_iter().chain(own_rules(&walk, client)) {
        judged.push((fault.line, fault.column, fault.problem(file, fault.severity)));
    }
    judged.sort();
    judged.into_iter().map(|(.., problem)| problem).collect()
}

fn is_error(fault: &Fault) -> bool {
    fault.severity == Severity::Error
}

/// Holds what a client's grammar refuses against what the walk has found: which of those faults are refusals, and what it
/// refuses besides.
fn by_grammar(walk: &Walk, refusals: Vec<Refusal>, client: Client) -> (Vec<bool>, Vec<Fault>) {
    let mut refused = vec![false; walk.faults.len()];
    let mut own = Vec::new();
    for refusal in refusals {
        let first = walk.faults.partition_point(|f| f.line < refusal.line);
        let in_line = || {
            let of_line = walk.faults[first..].iter().enumerate().take_while(|(_, f)| f.line == refusal.line);
            of_line.filter(|(_, f)| is_error(f)).map(move |(i, f)| (first + i, f))
        };
        let alone = in_line().nth(1).is_none();
        let same: Vec<usize> = in_line()
            .filter(|(_, f)| alone || f.code == refusal.code || f.column == refusal.column)
            .map(|(i, _)| i)
            .collect();
        if same.is_empty() {
            own.push(in_words(walk, &refusal, client));
        }
        for i in same {
            refused[i] = true;
        }
    }
    (refused, own)
}

fn in_words(walk: &Walk, refusal: &Refusal, client: Client) -> Fault {
    let entry = walk.entries.iter().find(|e| e.line == refusal.line);
    let (message, hint) = match (refusal.code, entry) {
        ("refused-key", Some(entry)) => (format!("{client} refuses {}", entry.key), "take the line out"),
        ("repeated-key", Some(Entry { key, earlier: Some(line), .. })) => {
            (format!("{client} refuses a second {key}; the first is in line {line}"), "keep one of them")
        }
        ("missing-section", _) => (format!("{client} needs an [Interface] with a PrivateKey"), "add it"),
        ("missing-private-key", _) => (format!("{client} needs a PrivateKey"), "add it"),
        ("second-interface", _) => (format!("{client} refuses a second [Interface]"), "make one of them"),
        ("duplicate-peer", _) => {
            (format!("{client} refuses two peers with one key"), "make one section of them")
        }
        (_, Some(entry)) => (format!("{}: {client} refuses it: {}", entry.key, refusal.message), ""),
        (_, None) => (format!("{client} refuses it: {}", refusal.message), ""),
    };
    Fault {
        code: refusal.code,
        severity: Severity::Error,
        taken_by: &[],
        line: refusal.line,
        column: refusal.column,
        message,
        hint: hint.into(),
    }
}

/// Tells where a client would not take a file by its name, which becomes the tunnel's; `stem` is the name without `.conf`.
/// The content may be fine, so this is a warning. `wg` takes files by any name.
pub fn lint_name(stem: &str, file: &str, client: Client) -> Option<Problem> {
    if client == Client::Wg || client.accepts_name(stem) {
        return None;
    }
    let most = client.rules().max_name;
    let message = if stem.trim().is_empty() {
        format!("{client} refuses a tunnel without a name")
    } else if stem.len() > most {
        format!("{client} refuses a tunnel called {stem}: {} characters, and {most} is the most", stem.len())
    } else {
        format!("{client} refuses a tunnel called {stem}")
    };
    let hint = "the file's name is the tunnel's: give it another, such as wg0.conf";
    Some(Problem::warning("bad-tunnel-name", file, message, hint))
}

/// What a client takes in another way than meant, and the keys that wg and wg-quick refuse.
fn own_rules(walk: &Walk, client: Client) -> Vec<Fault> {
    let rules = client.rules();
    let mut out = Vec::new();
    let mut add = |severity, code, (line, column), message: String, hint: &str| {
        out.push(Fault { code, severity, taken_by: &[], line, column, message, hint: hint.into() });
    };
    for entry in &walk.entries {
        let (key, place) = (entry.key, (entry.line, entry.column));
        if !client.accepts(key) {
            if !client.has_grammar() {
                let message = format!("{client} refuses {key}");
                add(Severity::Error, "refused-key", place, message, "take the line out");
            }
            continue;
        }
        if let Some(line) =
            entry.earlier.filter(|_| key.is_hook() && rules.hook_repeats == HookRepeats::LastWins)
        {
            let message = format!("{client} runs only the last {key}; the one of line {line} is lost");
            add(Severity::Warning, "repeated-key", place, message, "join the commands with \";\" or \"&&\"");
        }
        if client == Client::Windows && key.is_hook() && entry.earlier.is_none() {
            let message =
                format!("WireGuard for Windows runs {key} only where DangerousScriptExecution is set");
            let hint =
                r"HKLM\Software\WireGuard, DWORD DangerousScriptExecution = 1; commands run as LocalSystem";
            add(Severity::Warning, "hook-not-run", place, message, hint);
        }
        if client == Client::WgQuick && calls_a_lost_script(&walk.document, key) && is_first(walk, entry) {
            let message = format!("{key} calls the script of this file, which is not in it");
            let hint = "export the file anew; lines that begin with a number sign and a bar are its script";
            add(Severity::Error, "missing-script", place, message, hint);
        }
        if client == Client::WgQuick
            && key == Key::Table
            && let Some(Table::Named(name)) = &walk.document.interface.table
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !["main", "local", "default"].contains(&name.as_str())
        {
            let message = format!("ip(8) knows a table called {name} only where rt_tables names it");
            add(Severity::Warning, "table-by-name", place, message, "a number needs no name");
        }
        if client == Client::WgQuick
            && key == Key::Address
            && walk.entries.iter().rfind(|e| e.key == Key::Address).is_some_and(|e| e.line == entry.line)
            && let Some((net, why)) = refused_address(&walk.document.interface.addresses)
        {
            let message = format!("the kernel refuses the address {net}: {why}");
            add(Severity::Error, "bad-address", place, message, "give the interface an address of its own");
        }
        let dns = &walk.document.interface.dns;
        let is_last = |e: &Entry| e.line == entry.line;
        if client == Client::WgQuick
            && key == Key::Dns
            && walk.entries.iter().rfind(|e| e.key == Key::Dns).is_some_and(is_last)
            && !dns.is_empty()
            && dns.iter().all(|d| matches!(d, Dns::Search(_)))
        {
            let message = "wg-quick sets search domains only beside a name server: these have no effect";
            add(
                Severity::Warning,
                "search-domain-alone",
                place,
                message.into(),
                "add the server that knows them",
            );
        }
    }
    out
}

/// Whether hooks of a key call a script that is gone, as where comments were stripped.
fn calls_a_lost_script(document: &Document, key: Key) -> bool {
    let i = &document.interface;
    let hooks = match key {
        Key::PreUp => &i.pre_up,
        Key::PostUp => &i.post_up,
        Key::PreDown => &i.pre_down,
        Key::PostDown => &i.post_down,
        _ => return false,
    };
    document.script.is_empty() && hooks.iter().any(script::is_call)
}

/// Whether an entry is the first of its key.
fn is_first(walk: &Walk, entry: &Entry) -> bool {
    walk.entries.iter().find(|e| e.key == entry.key).is_some_and(|e| e.line == entry.line)
}

/// The first address that the kernel gives no link (net/ipv4/devinet.c, net/ipv6/addrconf.c), and why.
fn refused_address(addresses: &[IpNet]) -> Option<(IpNet, &'static str)> {
    addresses.iter().enumerate().find_map(|(i, net)| {
        let again = |earlier: &IpNet| match net {
            IpNet::V4(_) => earlier == net,
            IpNet::V6(v6) => earlier.addr() == v6.addr(),
        };
        let why = match net.addr() {
            IpAddr::V6(ip) if ip.is_unspecified() => "it is none",
            IpAddr::V6(ip) if ip.is_multicast() => "it is a group's",
            IpAddr::V6(ip) if ip.is_loopback() => "it is loopback's",
            _ if addresses[..i].iter().any(again) => "it is there twice",
            _ => return None,
        };
        Some((*net, why))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=";

    /// Judges a text for every client: `!` refused, `?` taken with a warning, `.` taken.
    fn verdicts(text: &str) -> String {
        Client::ALL
            .iter()
            .map(|(_, client)| {
                let problems = lint(text, "f", *client);
                if problems.iter().any(Problem::is_error) {
                    '!'
                } else if problems.is_empty() {
                    '.'
                } else {
                    '?'
                }
            })
            .collect()
    }

    #[test]
    fn the_same_line_to_five_clients() {
        let interface = format!("[Interface]\nPrivateKey = {KEY}\n");
        // In the order of Client::ALL: wg, wg-quick, Windows, Apple, Android.
        for (line, expected) in [
            ("", "....."),
            ("ListenPort = 1", "....."),
            ("ListenPort = 666666666", "??!!!"),
            ("ListenPort = 1\nListenPort = 2", "???!?"),
            ("FwMark = 1", "..!!!"),
            ("Address = 10.0.0.1/24", "!...."),
            ("DNS = a_b", "!???!"),
            ("Table = off", "!..!!"),
            ("PostUp = a", "!.?!!"),
            ("SaveConfig = true", "!.!!!"),
            ("IncludedApplications = a.b", "!!!!."),
            ("MTU = 500", "!.!.."),
            ("MTU = 0", "!?!??"),
            ("Address =", "!?!?!"),
            ("[Interface]", "....."),
            ("[Interface]\nListenPort = 1", "...!."),
            ("[ Peer ]\nPublicKey = GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=", "??!!!"),
        ] {
            let found = verdicts(&format!("{interface}{line}\n"));
            assert_eq!(found, expected, "{line}");
        }
        let peer = format!("{interface}[Peer]\nPublicKey = {KEY}\n");
        for (line, expected) in [
            ("PersistentKeepalive = off", "...!!"),
            ("PersistentKeepalive = OFF", "..!!!"),
            ("AllowedIPs = 10.0.0.0/8,", "!!!??"),
            ("AllowedIPs = 10.0.0.1/8", "?????"),
            ("Endpoint = ::1:1", "???!!"),
            ("[Peer]\nPublicKey = GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=", "???!?"),
        ] {
            assert_eq!(verdicts(&format!("{peer}{line}\n")), expected, "{line}");
        }
        assert_eq!(verdicts(""), "..!!!");
        assert_eq!(verdicts("[Interface]\n"), "..!!!");
        assert_eq!(verdicts(&format!("\u{feff}{interface}")), "!!!!!");
    }

    #[test]
    fn a_script_that_was_lost_is_told() {
        let hook = script::call("post_up");
        let text = format!(
            "[Interface]\nPrivateKey = GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=\nPostUp = {hook}\nPostUp = {hook}\n"
        );
        let told = |text: &str, client| {
            let problems = lint(text, "f", client).into_iter();
            problems.filter(|p| p.code == "missing-script").map(|p| p.place).collect::<Vec<_>>()
        };
        assert_eq!(told(&text, Client::WgQuick), ["f:3:1"]);
        assert_eq!(told(&format!("{text}\n#| post_up() {{ :; }}\n"), Client::WgQuick), [""; 0]);
        assert_eq!(told(&text, Client::Android), [""; 0]);
    }

    #[test]
    fn each_fault_is_told_once() {
        let text = format!(
            "[Interface]\nPrivateKey = {KEY}\nListenPort = 1\nListenPort = 2\nPostUp = a\nPostUp = b\n"
        );
        let codes = |client| -> Vec<(String, String)> {
            lint(&text, "f", client).into_iter().map(|p| (p.code, p.place)).collect()
        };
        let told = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(c, p)| ((*c).into(), (*p).into())).collect()
        };
        assert_eq!(codes(Client::WgQuick), told(&[("repeated-key", "f:4:1")]));
        assert_eq!(
            codes(Client::Apple),
            told(&[("repeated-key", "f:4:1"), ("refused-key", "f:5:1"), ("refused-key", "f:6:1")])
        );
        assert_eq!(
            codes(Client::Windows),
            told(&[("repeated-key", "f:4:1"), ("hook-not-run", "f:5:1"), ("repeated-key", "f:6:1")])
        );
    }

    #[test]
    fn keys_of_a_document() {
        let text = format!("[Interface]\nPrivateKey = {KEY}\nFwMark = 1\nMTU = 1400\nPostUp = a\n");
        let document = super::super::parse(&text, "f").unwrap();
        assert_eq!(rejected_keys(Client::WgQuick, &document), []);
        assert_eq!(rejected_keys(Client::Windows, &document), [Key::FwMark]);
        assert_eq!(rejected_keys(Client::Apple, &document), [Key::FwMark, Key::PostUp]);
        assert_eq!(rejected_keys(Client::Wg, &document), [Key::Mtu, Key::PostUp]);
    }

    #[test]
    fn a_tunnels_name_is_judged_by_whoever_takes_the_file() {
        let told = |stem, client| lint_name(stem, "x.conf", client).map(|p| p.message);
        assert_eq!(told("wg0", Client::WgQuick), None);
        assert_eq!(
            told("office-in-helsinki", Client::WgQuick).unwrap(),
            "wg-quick refuses a tunnel called office-in-helsinki: 18 characters, and 15 is the most"
        );
        assert_eq!(told("office-in-helsinki", Client::Windows), None);
        assert_eq!(told("office-in-helsinki", Client::Wg), None);
        assert!(told("CON", Client::Windows).is_some());
    }
}
